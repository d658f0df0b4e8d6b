"""Does a development part choose better than the last step? A student of seconds, on vectors.

    python -m benchmarks.training.development [SET ...] [--seeds 3] [--steps 400] [--cache DIR]

Half of what a set measures on, by components, is the development part, the other half the test
part. The student learns as `benchmarks.training.objectives`' arm `ours` does. Looked at are LOOKS
steps, each in full and at half its scale, and the beginning, as training itself looks; what is best
on the development part is held against the last step on the test part: nDCG@10 over the whole
corpus, intervals by component, seeds averaged. Figures are kept after each set in
benchmarks/results/development.json.
"""

import argparse
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import torch
from numpy.typing import NDArray

from benchmarks.negatives.cases import Encoder
from benchmarks.processes import measure_sets
from benchmarks.training.objective_sets import Mined, mine
from benchmarks.training.objectives import NEGATIVES, choose_negatives, interval, make_rows
from benchmarks.training.proxy import Proxy, ndcg

SETS = ("cranfield", "cisi", "piaf", "medquad")
LOOKS = 5
Look = tuple[int, float]  # step and scale


def look(mined: Mined, steps: int) -> dict[Look, NDArray[np.float64]]:
    """Measure every query (in the order of their numbers) at every step and scale."""
    known = mined.known.with_columns(weight=pl.lit(1.0))
    rows = make_rows(known, choose_negatives(mined.candidates), NEGATIVES)
    sides = (mined.queries, mined.documents)
    found = {(0, 1.0): ndcg(*sides, mined.tested, None)}
    for step in np.linspace(0, steps, LOOKS + 1, dtype=int)[1:].tolist():
        # the same seed draws the same batches: a shorter training is the beginning of a longer one
        student = replace(Proxy(), steps=step).train(*sides, rows, mined.seed)
        found[step, 1.0] = ndcg(*sides, mined.tested, student)
        with torch.no_grad():
            student.up.weight *= 0.5  # type: ignore[operator, union-attr]
        found[step, 0.5] = ndcg(*sides, mined.tested, student)
    return found


def choose(found: dict[Look, NDArray[np.float64]], chosen_by: NDArray[np.bool_]) -> Look:
    """Take the best look on the development part; of equals the least training."""
    return max(sorted(found), key=lambda each: found[each][chosen_by].mean())


def run_set(name: str, options: argparse.Namespace, encoder: Encoder) -> dict[str, Any]:
    """Train, choose and measure a set with every seed."""
    parts = []
    looks: list[Look] = []
    for seed in range(options.seeds):
        mined = mine(name, seed, encoder, 0, NEGATIVES)
        found = look(mined, options.steps)
        components = mined.components.sort("query")["component"].to_numpy()
        names = np.unique(components)
        half = np.random.default_rng(seed).permutation(names)[: len(names) // 2]
        chosen_by = np.isin(components, half)
        looks.append(choose(found, chosen_by))
        test = {"base": (0, 1.0), "chosen": looks[-1], "last": (options.steps, 1.0)}
        figures = {arm: found[each][~chosen_by] for arm, each in test.items()}
        parts.append(pl.DataFrame({"component": components[~chosen_by], **figures}))
    whole = pl.concat(parts)
    base, chosen, last = (whole[arm].to_numpy() for arm in ("base", "chosen", "last"))
    drawn = whole["component"].to_numpy()
    return {
        "set": name, "queries": len(whole), "base": round(float(base.mean()), 4), "looks": looks,
        "chosen": interval(chosen - base, drawn), "last": interval(last - base, drawn),
        "chosen over last": interval(chosen - last, drawn),
    }  # fmt: skip


def main() -> None:
    """Run the sets asked for, print the figures and keep them."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("sets", nargs="*", default=list(SETS))
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=400)
    parser.add_argument("--cache", type=Path)
    parser.add_argument("--no-results", action="store_true")
    options = parser.parse_args()
    encoder = Encoder(options.cache)
    measure_sets("development", options, lambda name: run_set(name, options, encoder))


if __name__ == "__main__":
    main()
