"""Malformed inputs by the thousand: each a clear error or quarantine, and no wrong row out.

`python -m robustness.bad_input` makes files, columns, values, encodings and settings that are wrong
in ways drawn from a seed, reads each with `on_invalid = "fail"` and with `"quarantine"`, and lets
an oracle of its own say which rows may be kept. Files that can be read rightly, in dialects of all
kinds, with columns, grades, marks and encodings of all kinds, may be asked about and must not be
misread; what is misread without a word is counted apart. A few dozen go through the real command.
It ends with status 1 when anything was a defect: another exception than Polymine's, an error that
names neither file nor setting, a row that should not be there, a count that does not add up.
"""

import argparse
import json
import logging
import os
import random
import subprocess
import sys
import tempfile
import time
import warnings
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from benchmarks.processes import save
from polymine.data_contracts.errors import PolymineError, SettingsError
from robustness import RESULTS
from robustness.bad_input import dialects, learning, meanings
from robustness.bad_input import settings as bad_settings
from robustness.bad_input.dialects import WRONG
from robustness.bad_input.files import bad_file
from robustness.bad_input.oracle import compare, count_good
from robustness.bad_input.tables import Case, bad_columns, bad_encoding, bad_value, odd_pointers

MAKERS: dict[str, tuple[Callable[[Path, random.Random], Case], ...]] = {
    "files": (bad_file,), "columns": (bad_columns,), "values": (bad_value, odd_pointers),
    "encodings": (bad_encoding,),
}  # fmt: skip

SHARES = {
    "files": 3, "columns": 2, "values": 5, "encodings": 2, "settings": 4, "dialects": 8,
    "meanings": 8, "learning": 4,
}  # fmt: skip
ATTEMPTS = {
    "dialects": dialects.attempt, "meanings": meanings.attempt, "learning": learning.attempt,
}  # fmt: skip
OUTCOMES = ("clear error", "quarantined", "accepted rightly", "defect", WRONG)


@dataclass
class Tally:
    """Outcomes by kind, and what the defects were."""

    counts: dict[str, Counter[str]] = field(default_factory=dict)
    defects: list[str] = field(default_factory=list)

    def add(self, kind: str, outcome: str, what: str) -> None:
        """Count one input; `outcome` is one of OUTCOMES or says what the defect is."""
        named = outcome.partition(":")[0]
        known = named if named in OUTCOMES else "defect"
        self.counts.setdefault(kind, Counter())[known] += 1
        if known in ("defect", WRONG):
            self.defects.append(f"{kind}: {what}: {outcome}")


def main() -> None:
    """Make the inputs, print what came of them and keep it as JSON."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--inputs", type=int, default=1600)
    parser.add_argument("--commands", type=int, default=30, help="of them through the command")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--name", default="bad_input", help="of the JSON file in results")
    options = parser.parse_args()
    logging.disable(logging.WARNING)  # what the reader took each file for
    began = time.monotonic()
    tally = run(options.inputs, options.seed)
    if options.commands:
        run_commands(options.commands, options.seed, tally)
    seconds = round(time.monotonic() - began, 1)
    counts = {kind: dict(found) for kind, found in tally.counts.items()}
    result = {"seed": options.seed, "seconds": seconds, "kinds": counts, "defects": tally.defects}
    save(options.name, result, RESULTS)
    print(as_table(tally, seconds))
    sys.exit(1 if tally.defects else 0)


def run(inputs: int, seed: int) -> Tally:
    """Read so many malformed inputs in this process."""
    tally = Tally()
    kinds = random.Random(seed).choices(list(SHARES), list(SHARES.values()), k=inputs)
    with tempfile.TemporaryDirectory(prefix="bad-input-") as scratch, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for number, kind in enumerate(kinds):
            rng, folder = random.Random(f"{seed}-{number}"), Path(scratch) / str(number)
            folder.mkdir()
            if kind == "settings":
                wrong = bad_settings.make(rng)
                tally.add(kind, try_settings(wrong, folder), f"[{number}] {wrong.what}")
                continue
            if kind in ATTEMPTS:
                outcome, what = ATTEMPTS[kind](rng, folder)
                tally.add(kind, outcome, f"[{number}] {what}")
                continue
            case = rng.choice(MAKERS[kind])(folder, rng)
            tally.add(kind, try_tables(case), f"[{number}] {case.what}")
    return tally


def try_tables(case: Case) -> str:
    """Ingest a case in both ways and say what came of it."""
    strict, loose = ingest(case, "fail"), ingest(case, "quarantine")
    for found in (strict, loose):
        if isinstance(found, BaseException) and (fault := unclear(found, case.mentions)):
            return fault
    form = Path(case.settings["corpus"]).name.partition(".")[2] if case.given is not None else ""
    if isinstance(loose, BaseException):
        if case.given is not None and (good := count_good(case, form)):
            return f"refused as a whole, though {good} judgments are right: {loose!s:.200}"
        return "clear error" if isinstance(strict, BaseException) else "refused in quarantine only"
    if case.given is None:
        return "accepted, and nothing of it is right"
    if faults := compare(case, form, loose):
        return "; ".join(faults[:3])
    if isinstance(strict, BaseException):
        return "quarantined" if loose.rejected.height else f"refused without a reason: {strict}"
    return "accepted rightly" if not loose.rejected.height else "accepted with broken rows"


def ingest(case: Case, on_invalid: str) -> Any:
    """Read, check and close the tables as the first stage does; what was raised is returned."""
    from polymine.data_contracts.settings import DatasetSettings
    from polymine.data_contracts.settings.locations import check_locations
    from polymine.mining.ingestion import ingest as ingest_tables
    from polymine.tasks.sources.reading import read_sources

    try:
        settings = DatasetSettings(**{**case.settings, "on_invalid": on_invalid})
        check_locations(settings, "dataset")
        raw = read_sources(settings)
        made = ingest_tables(
            raw.documents, raw.queries, raw.judgments, raw.labels, raw.given,
            near_copy=settings.near_copy, on_invalid=settings.on_invalid, names=raw.names,
        )  # fmt: skip
        return _Made(made, raw.rows_rejected)
    except BaseException as error:  # a panic of polars is no Exception
        if isinstance(error, (KeyboardInterrupt, SystemExit)):
            raise
        return error


class _Made:
    """An ingested collection, with all rows that were set aside."""

    def __init__(self, made: Any, unread: Any) -> None:
        import polars as pl

        self.documents, self.queries, self.judgments = made.documents, made.queries, made.judgments
        self.copies, self.rejected = made.copies, pl.concat([unread, made.rejected])


def unclear(error: BaseException, mentions: tuple[str, ...]) -> str | None:
    """Say what an error lacks to be acted on; None if it lacks nothing."""
    message = str(error)
    if type(error).__name__ == "ValidationError":  # of the settings; the command says it shorter
        return None
    if not isinstance(error, PolymineError):
        return f"{type(error).__name__}: {message[:200]}"
    if not any(word in message for word in mentions):
        return f"names none of {', '.join(mentions)}: {message[:200]}"
    if len(message) > 20_000 or "Traceback" in message:
        return f"{len(message)} characters of error"
    return None


def try_settings(wrong: bad_settings.Wrong, folder: Path) -> str:
    """Load settings that are wrong."""
    from polymine.data_contracts.settings import load_as

    try:
        settings = bad_settings.load(wrong, folder, load_as)
    except SettingsError as error:
        said = wrong.says in str(error) and "secret@" not in str(error)
        return "clear error" if said else f"does not say `{wrong.says}`: {str(error)[:200]}"
    except BaseException as error:
        return f"{type(error).__name__}: {str(error)[:200]}"
    return f"accepted: {str(settings)[:80]}"


def run_commands(count: int, seed: int, tally: Tally) -> None:
    """Give some inputs to the real command: exit status 2, a message, no traceback."""
    with tempfile.TemporaryDirectory(prefix="bad-input-") as scratch:
        home = {**os.environ, "POLYMINE_HOME": f"{scratch}/home"}
        polymine = [sys.executable, "-m", "polymine.commands.main"]
        subprocess.run([*polymine, "server", "start"], env=home, check=True, capture_output=True)
        try:
            for number in range(count):
                rng, folder = (
                    random.Random(f"command-{seed}-{number}"),
                    Path(scratch, f"{number}"),
                )
                folder.mkdir()
                arguments, what = _command(number, rng, folder)
                ended = subprocess.run([*polymine, *arguments], env=home, cwd=folder, text=True,
                                       capture_output=True, timeout=300)  # fmt: skip
                tally.add("command", _judge(ended), f"[{number}] {what}")
        finally:
            subprocess.run([*polymine, "server", "stop"], env=home, capture_output=True)


def _command(number: int, rng: random.Random, folder: Path) -> tuple[list[str], str]:
    path = folder / "run.toml"
    if number % 4:
        wrong = bad_settings.make(rng)
        path.write_bytes(wrong.text)
        flow = "run" if wrong.flow == "mine" else wrong.flow
        overrides = [word for each in wrong.overrides for word in ("--set", each)]
        return [flow, str(path), *overrides], wrong.what
    while True:
        case = rng.choice(MAKERS[rng.choice(["files", "columns"])])(folder, rng)
        if case.given is None and "\0" not in str(case.settings):
            break
    dataset = "\n".join(f"{name} = {json.dumps(value)}" for name, value in case.settings.items())
    path.write_text(f'[dataset]\n{dataset}\n[output]\npath = "{folder}/out"\n', encoding="utf-8")
    return ["run", str(path)], case.what


def _judge(ended: "subprocess.CompletedProcess[str]") -> str:
    if ended.returncode == 2 and "Traceback" not in ended.stderr and len(ended.stderr) > 20:
        return "clear error"
    return f"status {ended.returncode}: {ended.stderr[-300:]}"


def as_table(tally: Tally, seconds: float) -> str:
    """Write the counts as a table, the defects below it."""
    head = f"{'kind':<11}" + "".join(f"{name:>18}" for name in ("inputs", *OUTCOMES))
    lines = [head]
    for kind, found in sorted(tally.counts.items()):
        numbers = (sum(found.values()), *(found[name] for name in OUTCOMES))
        lines.append(f"{kind:<11}" + "".join(f"{number:>18,}" for number in numbers))
    total = sum(sum(found.values()) for found in tally.counts.values())
    lines.append(f"{total:,} inputs in {seconds} s, {len(tally.defects)} defects")
    return "\n".join([*lines, *tally.defects])


if __name__ == "__main__":
    main()
