"""How long evaluation takes, and in how much memory: ranks, intervals, the guard.

    python -m benchmarks.speed.evaluation --documents 10000000 --queries 10000 --texts 10000000

Vectors and texts are made up; vectors lie on disk, as stored ones do (15 GB of ten million). Each
part runs in a process of its own, so that peaks are its own. Memory is what a process holds for
itself (RssAnon): pages of mapped vectors are the kernel's cache, which it drops for others.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import polars as pl

from benchmarks.speed.nodes import Memory
from polymine.evaluation.collection import EvaluationCollection
from polymine.evaluation.contamination import find_overlap
from polymine.evaluation.retrieval import measure
from polymine.evaluation.significance import Resampling, interval_of_means

WORDS = 40  # of a made-up text
MADE = 1 << 16  # vectors or texts made at once


def rank(documents: int, queries: int, components: int, folder: Path) -> Callable[[], object]:
    """Make a collection with one relevant document a query, and its vectors."""
    rng = np.random.default_rng(0)

    def vectors(name: str, count: int) -> np.ndarray:
        made = np.memmap(folder / name, np.float32, "w+", shape=(count, components))
        for start in range(0, count, MADE):
            part = rng.standard_normal((min(MADE, count - start), components), dtype=np.float32)
            made[start : start + MADE] = part / np.linalg.norm(part, axis=1, keepdims=True)
        made.flush()
        return np.memmap(folder / name, np.float32, "r", shape=(count, components))

    def table(key: str, count: int) -> pl.DataFrame:
        ids = pl.format("{}", pl.int_range(count))
        frame = pl.select(ids.alias(key))
        return frame.with_columns(text=pl.col(key), language=pl.lit("en"))

    answers = rng.choice(documents, queries, replace=False)
    judged = pl.DataFrame({"query_id": np.arange(queries), "doc_id": answers}).cast(pl.String)
    collection = EvaluationCollection(
        table("doc_id", documents), table("query_id", queries),
        judged.with_columns(relevance=pl.lit(1)),
    )  # fmt: skip
    asked, found = vectors("queries", queries), vectors("documents", documents)
    return lambda: measure(collection, asked, found, name="made-up", pooled=False)


def bootstrap(questions: int) -> Callable[[], object]:
    """Make the gains of four metrics."""
    gains = np.random.default_rng(0).normal(0.01, 0.2, size=(questions, 1, 4))
    ones, members = np.ones((questions, 1)), np.ones((1, 1), bool)
    return lambda: interval_of_means(gains, ones, members, Resampling())


def guard(texts: int) -> Callable[[], object]:
    """Make training texts and a tenth as many of evaluation, one of which is in both."""
    rng = np.random.default_rng(0)

    def made(count: int) -> pl.Series:
        starts = range(0, count, MADE)
        tables = (rng.integers(50_000, size=(min(MADE, count - at), WORDS)) for at in starts)
        rows = ([" ".join(f"w{word}" for word in row) for row in part.tolist()] for part in tables)
        return pl.concat([pl.Series("text", part) for part in rows])

    trained = made(texts)
    training = pl.DataFrame({"text": trained}).with_row_index("row")
    tested = pl.DataFrame({"text": pl.concat([made(texts // 10 - 1), trained[:1]])}).with_columns(
        set=pl.lit("made-up"), id=pl.format("{}", pl.int_range(pl.len()))
    )
    return lambda: find_overlap(training.with_columns(side=pl.lit("positive")), tested)


def main() -> None:
    """Measure every part; figures go to the console as a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    for name, default in (("documents", 1_000_000), ("queries", 1_000), ("components", 384),
                          ("questions", 1_000_000), ("texts", 200_000)):  # fmt: skip
        parser.add_argument(f"--{name}", type=int, default=default)
    parser.add_argument("--part", choices=["rank", "bootstrap", "guard"], help="only this one")
    parser.add_argument("--inside", action="store_true", help=argparse.SUPPRESS)
    chosen = parser.parse_args()
    names = [chosen.part] if chosen.part else ["rank", "bootstrap", "guard"]
    if not chosen.inside:
        print("| part | seconds | peak MB, of which the data |\n|---|--:|--:|")
        for name in names:
            command = [sys.executable, "-m", "benchmarks.speed.evaluation", *sys.argv[1:]]
            command += ["--part", name, "--inside"]
            done = subprocess.run(command, check=True, stdout=subprocess.PIPE)
            found = json.loads(done.stdout)
            print(f"| {name} | {found['seconds']:.1f} | {found['peak']:,} ({found['data']:,}) |",
                  flush=True)  # fmt: skip
        return
    with tempfile.TemporaryDirectory() as folder:
        made = {
            "rank": lambda: rank(chosen.documents, chosen.queries, chosen.components, Path(folder)),
            "bootstrap": lambda: bootstrap(chosen.questions),
            "guard": lambda: guard(chosen.texts),
        }
        print(json.dumps(cost(made[names[0]]())))


def cost(work: Callable[[], object]) -> dict[str, float]:
    """Run `work`; say in how many seconds, and in how many MB beside the data it was given."""
    memory = Memory({"before": os.getpid()})
    with memory.watched():
        time.sleep(1)
        memory.roots = {"work": os.getpid()}
        began = time.perf_counter()
        work()
        seconds = time.perf_counter() - began
    data = round(memory.peaks["before"])
    return {"seconds": seconds, "data": data, "peak": round(memory.peaks.get("work", data))}


if __name__ == "__main__":
    main()
