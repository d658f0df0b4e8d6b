"""Break the pipeline in every way that nights break it, and look whether anything is lost.

`python -m robustness.faults` runs the whole pipeline on a small data set in small pieces, kills it
with -9 at random moments of every stage and resumes it, and then makes every other fault: damaged
files, full disks, two runs at once, jumping clocks, short memory, workers and servers that die.
Each time the result must be that of an undisturbed run, byte for byte, and the fault must be named.
What is compared and what is not is written at `work.results`. Exits with 1 if anything was
lost or differs. `--kills 5 --only kills` is a first look.
"""

import argparse
import shutil
import sys
import tempfile
import time
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from benchmarks.processes import machine, save, table, told
from robustness import RESULTS
from robustness.faults.clocks import jump_clocks
from robustness.faults.kills import Case, Reference, count_stages, make_reference, run_kills
from robustness.faults.memory import short_of_memory
from robustness.faults.servers import break_prefect
from robustness.faults.storage import (
    Outcome,
    damage_checkpoints,
    damage_finished,
    damage_unfinished,
    fill_disks,
    run_together,
)
from robustness.faults.work import RULES, Forks, Job, make_world

PARTS = ("kills", "store", "disk", "together", "clock", "memory", "prefect")


def main() -> None:
    """Make the faults asked for, print a table, keep it as JSON."""
    options = read_options()
    began = time.monotonic()
    with tempfile.TemporaryDirectory(dir=options.work) as scratch:
        bench = Bench(Path(scratch), options)
        outcomes: list[Outcome] = []
        for part in options.only:
            started = time.monotonic()
            made = getattr(bench, part)()
            seconds = time.monotonic() - started
            print(f"{part}: {seconds:.0f} s, {sum(len(o.wrong) for o in made)} wrong", flush=True)
            outcomes += [without_places(each, scratch) for each in made]
        results = {
            "machine": machine(), "options": told(options), "references": bench.described(),
            "kills_by_stage": count_stages(bench.cases),
            "faults": [asdict(outcome) for outcome in outcomes],
            "seconds": round(time.monotonic() - began),
        }  # fmt: skip
    print(show(results, outcomes))
    if not options.no_results:
        print(f"\nwritten to {save('faults', results, RESULTS)}")
    sys.exit(any(outcome.wrong for outcome in outcomes))


def read_options() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--kills", type=int, default=50, help="that hit a run at work")
    parser.add_argument("--seed", type=int, default=0, help="of all random moments and files")
    parser.add_argument("--only", nargs="*", default=PARTS, choices=PARTS)
    parser.add_argument("--work", type=Path, help="folder for scratch; the system's if not set")
    parser.add_argument("--no-results", action="store_true", help="keep no JSON")
    return parser.parse_args()


class Bench:
    """The faults, part by part; undisturbed runs are made once per rule."""

    def __init__(self, scratch: Path, options: argparse.Namespace) -> None:
        self._scratch, self._options, self._forks = scratch, options, Forks()
        world = scratch / "world"
        world.mkdir()
        self._world = make_world(world)
        self._references: dict[str, Reference] = {}
        self.cases: list[Case] = []

    def kills(self) -> list[Outcome]:
        """Kill -9 at random moments."""
        references = [self._reference(rule) for rule in RULES]
        self.cases = run_kills(
            self._forks, self._world, references, self._options.kills, self._options.seed,
            self._scratch,
        )  # fmt: skip
        outcomes = []
        for rule in RULES:
            cases = [case for case in self.cases if case.rule == rule]
            rows = sum(len(case.died) > 1 for case in cases)
            outcomes.append(
                Outcome(
                    f"kill -9, rule {rule}",
                    times=sum(len(case.died) for case in cases),
                    wrong=[text for case in cases for text in case.wrong],
                    note=f"{len(cases)} runs, {rows} of them killed several times in a row",
                )
            )
        return outcomes

    def store(self) -> list[Outcome]:
        """Damage files of the store."""
        outcomes = []
        for number, rule in enumerate(RULES):
            job, expected = self._job(f"store-{rule}", rule), self._reference(rule)
            shutil.copytree(self._scratch / f"reference-{rule}", job.root)
            seed = self._options.seed + number
            outcomes += _named(damage_finished(self._forks, job, expected, seed), rule)
            shutil.rmtree(job.root)
            outcomes += _named(damage_unfinished(self._forks, job, expected, seed), rule)
        outcomes += damage_checkpoints(
            self._forks, self._job("checkpoints"), self._reference(RULES[0]), self._options.seed
        )
        return outcomes

    def disk(self) -> list[Outcome]:
        """Fill the disk."""
        expected, held = self._reference(RULES[0]), self._scratch / f"reference-{RULES[0]}"
        parts = (held / "store", held / "out")
        needed = sum(p.stat().st_size for part in parts for p in part.rglob("*") if p.is_file())
        return fill_disks(self._forks, self._job("disk"), expected, needed)

    def together(self) -> list[Outcome]:
        """Run twice at once."""
        return run_together(self._forks, self._job("together"), self._reference(RULES[0]))

    def clock(self) -> list[Outcome]:
        """Set the clock."""
        return jump_clocks(self._job("clock"), self._reference(RULES[0]))

    def memory(self) -> list[Outcome]:
        """Run with little memory."""
        return short_of_memory(self._forks, self._job("memory"))

    def prefect(self) -> list[Outcome]:
        """Kill servers and workers."""
        return break_prefect(self._job("prefect"), self._reference(RULES[0]))

    def described(self) -> dict[str, Any]:
        """What the undisturbed runs made."""
        return {
            rule: {
                "stages": len(each.stages), "files_compared": len(each.results),
                "datasets_compared": len(each.stored),
                "stage_seconds": round(sum(entry["seconds"] for entry in each.stages), 1),
            }
            for rule, each in self._references.items()
        }  # fmt: skip

    def _job(self, name: str, rule: str = RULES[0]) -> Job:
        return Job(str(self._scratch / name), self._world, rule)

    def _reference(self, rule: str) -> Reference:
        if rule not in self._references:
            self._references[rule] = make_reference(
                self._forks, self._job(f"reference-{rule}", rule)
            )
        return self._references[rule]


def without_places(outcome: Outcome, scratch: str) -> Outcome:
    """Take this machine's folders out of what went wrong."""
    return replace(outcome, wrong=[text.replace(scratch, "SCRATCH") for text in outcome.wrong])


def _named(outcomes: list[Outcome], rule: str) -> list[Outcome]:
    return [replace(outcome, fault=f"{outcome.fault}, rule {rule}") for outcome in outcomes]


def show(results: dict[str, Any], outcomes: list[Outcome]) -> str:
    """Lay the outcomes out, then what went wrong."""
    rows = [["fault", "times", "named", "lost or different", "note"]]
    for outcome in outcomes:
        named = "" if outcome.named is None else str(outcome.named)
        wrong = str(len(outcome.wrong)) if outcome.wrong else "nothing"
        rows.append([outcome.fault, str(outcome.times), named, wrong, outcome.note])
    lines = [table(rows), ""]
    if results["kills_by_stage"]:
        counts = (f"{stage} {count}" for stage, count in results["kills_by_stage"].items())
        lines += [f"Kills by stage: {', '.join(counts)}", ""]
    for outcome in outcomes:
        lines += [f"{outcome.fault}: {text}" for text in outcome.wrong[:10]]
    return "\n".join(lines)


if __name__ == "__main__":
    main()
