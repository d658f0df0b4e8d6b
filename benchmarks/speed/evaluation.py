"""How long evaluation takes, and in how much memory: ranks, intervals, the guard.

    python -m benchmarks.speed.evaluation --documents 1000000 --queries 1000

Vectors and texts are made up. Each part runs in a process of its own, so that peaks are its own.
"""

import argparse
import json
import resource
import subprocess
import sys
import time
from collections.abc import Callable

import numpy as np
import polars as pl

from polymine.evaluation.collection import EvaluationCollection
from polymine.evaluation.contamination import find_overlap
from polymine.evaluation.retrieval import measure
from polymine.evaluation.significance import Resampling, interval_of_means

WORDS = 40  # of a made-up text


def rank(documents: int, queries: int, components: int) -> Callable[[], object]:
    """Make a collection with one relevant document a query, and its vectors."""
    rng = np.random.default_rng(0)

    def vectors(count: int) -> np.ndarray:
        made = np.empty((count, components), dtype=np.float32)
        for start in range(0, count, 1 << 16):
            part = made[start : start + (1 << 16)]
            part[:] = rng.standard_normal(part.shape, dtype=np.float32)
            part /= np.linalg.norm(part, axis=1, keepdims=True)
        return made

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
    asked, found = vectors(queries), vectors(documents)
    return lambda: measure(collection, asked, found, name="made-up", pooled=False)


def bootstrap(questions: int) -> Callable[[], object]:
    """Make the gains of four metrics."""
    gains = np.random.default_rng(0).normal(0.01, 0.2, size=(questions, 1, 4))
    ones, members = np.ones((questions, 1)), np.ones((1, 1), bool)
    return lambda: interval_of_means(gains, ones, members, Resampling())


def guard(texts: int) -> Callable[[], object]:
    """Make training texts and a tenth as many of evaluation, one of which is in both."""
    rng = np.random.default_rng(0)
    words = rng.integers(50_000, size=(texts + texts // 10, WORDS))
    made = [" ".join(f"w{word}" for word in row) for row in words.tolist()]
    made[-1] = made[0]
    training = pl.DataFrame({"row": np.arange(texts), "text": made[:texts]})
    tested = pl.DataFrame({"text": made[texts:]}).with_columns(
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
    chosen = parser.parse_args()
    parts: dict[str, Callable[[], Callable[[], object]]] = {
        "rank": lambda: rank(chosen.documents, chosen.queries, chosen.components),
        "bootstrap": lambda: bootstrap(chosen.questions),
        "guard": lambda: guard(chosen.texts),
    }
    if chosen.part is None:
        print("| part | seconds | peak MB, of which the data |\n|---|--:|--:|")
        for part in parts:
            command = [sys.executable, "-m", "benchmarks.speed.evaluation", *sys.argv[1:]]
            done = subprocess.run([*command, "--part", part], check=True, stdout=subprocess.PIPE)
            found = json.loads(done.stdout)
            print(f"| {part} | {found['seconds']:.1f} | {found['peak']:,} ({found['data']:,}) |")
        return
    work = parts[chosen.part]()
    data, began = _peak(), time.perf_counter()
    work()
    print(json.dumps({"seconds": time.perf_counter() - began, "data": data, "peak": _peak()}))


def _peak() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024


if __name__ == "__main__":
    main()
