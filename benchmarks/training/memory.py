"""How much memory do many rows take, and how long until the first step?

    python -m benchmarks.training.memory [--rows 500000]

A Parquet file of rows with a query, a positive and seven negatives; a fifth as many documents as
rows, of 600 characters each, so that each stands in 40 rows. Two sides train one step on it, each
in a process of its own: Polymine with all that comes before (reading, checking and storing the
rows, twice), and sentence-transformers' trainer on the same file as its documentation shows it,
which reads the file through a cache on disk and keeps copies out of batches. Model, adapter, batch
and loss are the same. Seconds run from the start of the process to the end of the first step; peak
memory is the process's, pages of mapped files included.
Figures are kept in benchmarks/results/memory.json.
"""

import argparse
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from benchmarks.processes import machine, measure, save, table, told

SIDES = ("polymine", "sentence-transformers")
NEGATIVES = 7
WORDS = np.array([f"w{number:05d}" for number in range(20_000)])


def write_rows(rows: int, path: Path) -> None:
    """Write rows of random words whose documents repeat."""
    rng = np.random.default_rng(0)

    def texts(count: int, words: int) -> pl.Series:
        drawn = (rng.integers(0, len(WORDS), words) for _ in range(count))
        return pl.Series([" ".join(WORDS[each]) for each in drawn])

    documents, questions = texts(max(1 + NEGATIVES, rows // 5), 86), texts(rows, 8)
    places = rng.integers(0, len(documents), (rows, 1 + NEGATIVES))
    names = ["positive", *(f"negative_{number + 1}" for number in range(NEGATIVES))]
    columns = {name: documents.gather(at) for name, at in zip(names, places.T, strict=True)}
    pl.DataFrame({"anchor": questions, **columns}).write_parquet(path)


def main() -> None:
    """Measure both sides and keep the figures."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--rows", type=int, default=500_000)
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--sides", nargs="+", choices=SIDES, default=SIDES)
    options = parser.parse_args()
    result: dict[str, Any] = {"options": told(options), "machine": machine(), "sides": {}}
    with tempfile.TemporaryDirectory() as scratch:
        path = Path(scratch) / "rows.parquet"
        write_rows(options.rows, path)
        result["file_mb"] = round(path.stat().st_size / 1e6)
        for side in options.sides:
            job = {"side": side, "rows": str(path), "batch": options.batch}
            job["work"] = str(Path(scratch) / side)
            result["sides"][side] = measure("benchmarks.training.memory_side", job)
    save("memory", result)
    print(render(result))


def render(result: dict[str, Any]) -> str:
    """Lay out both sides, and ours as a share of theirs."""
    sides: dict[str, dict[str, float]] = result["sides"]
    lines = [["side", "first step, s", "of the processor, s", "peak MB", "before the step, MB"]]
    names = ("first_step_s", "processor_s", "peak_mb", "before_mb")
    lines += [[side, *(f"{held[name]:,.0f}" for name in names)] for side, held in sides.items()]
    if len(sides) == len(SIDES):
        ours, theirs = (sides[side] for side in SIDES)
        lines.append(["ratio", *(f"{ours[name] / theirs[name]:.2f}" for name in names)])
    return f"{result['options']['rows']:,} rows, {result['file_mb']:,} MB\n\n{table(lines)}"


if __name__ == "__main__":
    main()
