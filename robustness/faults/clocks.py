"""Clocks that jump: of a whole run with its server, and of a clean-up a year later.

A library in front of the C library's (`jumping_clock.c`, built here with `cc`) moves the wall clock
of every process of the run at once, whatever language reads it: Python, SQLite, polars.
"""

import itertools
import json
import mmap
import shutil
import struct
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

from robustness.faults.kills import Reference
from robustness.faults.servers import ROOT, environment, is_amid_stages, until
from robustness.faults.storage import Outcome, compare
from robustness.faults.work import Job, settings

JUMPS = (-86_400, 3_600, -7, 31_536_000)  # seconds: a day back, an hour on, a year on
JUMP_EVERY = 1.0  # seconds
YEAR = 31_536_000
LIMIT = 600.0  # seconds for a run


def jump_clocks(job: Job, expected: Reference) -> list[Outcome]:
    """Run while the clock jumps back and forth; then clean up by a clock that is a year ahead."""
    amid = Outcome("clock jumps amid a run with its server")
    after = Outcome("clean-up by a clock a year ahead", times=1)
    place = Path(job.root)
    place.mkdir(parents=True)
    clock = build_clock(place)
    if clock is None:
        return [replace(each, wrong=["not tried: no C compiler"]) for each in (amid, after)]
    own = replace(job, root=str(place / "run"), store=str(place / "run" / "store"))
    if not _run(own, clock, amid, jumping=True):
        return [amid]
    compare(Path(own.root), own, expected, amid)
    _clean_up(own, clock, expected, after)
    shutil.rmtree(place)
    return [amid, after]


def _clean_up(job: Job, clock: "Clock", expected: Reference, outcome: Outcome) -> None:
    """Remove by a clock a year ahead what no kept run needs; all must be there to be reused."""
    clock.offset(YEAR)
    command = ("-m", "polymine.commands.main", "gc", "--store", str(job.store), "--delete")
    kept = ("--runs", str(job.out or f"{job.root}/out"))
    if code := clock.start(*command, *kept, log="gc.log").wait(LIMIT):
        outcome.wrong.append(f"gc ended with {code}: {clock.said('gc.log')}")
    clock.offset(0)
    again = replace(job, out=f"{job.root}/again")
    if not _run(again, clock, outcome):
        return
    compare(Path(job.root), again, expected, outcome)
    made = json.loads(Path(f"{again.out}/mining/manifest.json").read_text())["info"]
    rebuilt = {timing["stage"] for timing in made["timings"]} - {*made["reused"], "report"}
    outcome.wrong += [f"{stage} was rebuilt" for stage in sorted(rebuilt)]
    outcome.note = f"{len(made['reused'])} stages of mining reused after it"


def _run(job: Job, clock: "Clock", outcome: Outcome, jumping: bool = False) -> bool:
    """Run the pipeline as a command does; tell whether it ended well."""
    sections = {name: part.model_dump(mode="json") for name, part in settings(job).items()}
    run = clock.start("-m", "robustness.faults.command", json.dumps(sections), log="command.log")
    if jumping:
        until(lambda: is_amid_stages(job) or run.poll() is not None, "the command works")
    deadline = time.monotonic() + LIMIT
    for jump in itertools.cycle(JUMPS if jumping else (0,)):
        if run.poll() is not None:
            break
        if time.monotonic() > deadline:
            run.kill()
            outcome.wrong.append(f"not within {LIMIT:.0f} s")
            break
        clock.offset(jump)
        outcome.times += jumping
        time.sleep(JUMP_EVERY)
    clock.offset(0)
    if code := run.wait():
        outcome.wrong.append(f"ended with {code}: {clock.said('command.log')}")
    return not outcome.wrong


class Clock:
    """Processes whose wall clock is off by as much as is written into a file."""

    def __init__(self, place: Path, library: Path) -> None:
        self._place, file = place, place / "offset"
        file.write_bytes(struct.pack("q", 0))
        with file.open("r+b") as opened:
            self._page = mmap.mmap(opened.fileno(), 8)
        self._environment = environment(place / "home") | {
            "LD_PRELOAD": str(library), "JUMPING_CLOCK": str(file),
        }  # fmt: skip

    def offset(self, seconds: int) -> None:
        """Set all their clocks."""
        self._page[:] = struct.pack("q", seconds)

    def start(self, *arguments: str, log: str) -> subprocess.Popen[bytes]:
        """Start Python with these arguments."""
        with (self._place / log).open("wb") as file:
            return subprocess.Popen(
                [sys.executable, *arguments], env=self._environment, cwd=ROOT, stdout=file,
                stderr=subprocess.STDOUT,
            )  # fmt: skip

    def said(self, log: str) -> str:
        """Read the end of what a process said."""
        return (self._place / log).read_text(errors="replace")[-600:]


def build_clock(place: Path) -> Clock | None:
    """Build the library in a folder; None without a C compiler."""
    compiler = shutil.which("cc")
    if compiler is None:
        return None
    source, library = Path(__file__).with_name("jumping_clock.c"), place / "jumping_clock.so"
    options = ["-O2", "-shared", "-fPIC", "-o", str(library), str(source), "-ldl"]
    subprocess.run([compiler, *options], check=True)
    return Clock(place, library)
