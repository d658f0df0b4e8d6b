"""Does a model gain by learning the order of a list, and by which teacher's scores?

    python -m benchmarks.training.lists [SET ...] [--seeds 3] [--cache DIR]

The sets, the split, the student of seconds and the measure are those of
`benchmarks.training.objectives`. All arms know one positive of each query. `infonce` has its seven
negatives, `infonce of 15` as many documents as a list has. A list has negatives and candidates from
the whole range of scores and risks in turn; `top` has the best candidates by cosine in their place.
The divergence from the teacher's order counts 1 and InfoNCE 1, or what the arm says. The teacher's
temperature is the spread of its scores; `proportional` shares the target by the risk itself.
Figures are kept in benchmarks/results/lists.json.
"""

import argparse
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from benchmarks.negatives.cases import Encoder
from benchmarks.processes import machine, save, told
from benchmarks.training.objective_sets import Mined, mine
from benchmarks.training.objectives import (
    LARGE,
    NEGATIVES,
    STEPS,
    choose_negatives,
    hardest,
    interval,
    make_rows,
)
from benchmarks.training.proxy import Proxy, Rows, ndcg
from polymine.mining.export import LOWEST_WEIGHT
from polymine.mining.lists import draw_further

SETS = ("xquad", "cranfield", "epqa-dev")
LISTED, LEAST = 15, 1e-3  # documents beside the positive; risk below which none is told apart
Arm = tuple[Rows, float]


def listed(given: pl.DataFrame, seed: int) -> pl.DataFrame:
    """Negatives and further candidates in turn: query, document, risk, fused, and their place."""
    chosen = choose_negatives(given).with_columns(spare=pl.lit(value=False))
    rest = given.join(chosen, on=["query", "document"], how="anti")
    drawn = draw_further(rest, LISTED, seed).with_columns(spare=pl.lit(value=True))
    both = pl.concat([chosen, drawn], how="diagonal_relaxed")
    nth = pl.int_range(pl.len()).over("query", "spare")
    turns = both.sort("query", "order").with_columns(nth=nth).sort("query", "nth", "spare")
    return turns.filter(pl.int_range(pl.len()).over("query") < LISTED)


def ordered(mined: Mined, others: pl.DataFrame, target: str) -> Rows:
    """Rows with the order that a target gives them."""
    known = mined.known.with_columns(weight=pl.lit(1.0), risk=pl.lit(1.0))
    rows = make_rows(known.select("query", "document", "weight"), others, LISTED)
    columns = ["query", "document", "fused", "risk"]
    table = pl.concat(
        [known.select(columns), others.select(columns)], how="vertical_relaxed"
    ).with_columns(proportional=pl.col("risk").clip(LEAST, 1.0).log())
    numbers = np.concatenate([rows.positives[:, None], rows.negatives], axis=1)
    pairs = pl.DataFrame(
        {"query": np.repeat(rows.queries, 1 + LISTED), "document": numbers.ravel()}
    ).join(table, on=["query", "document"], how="left", maintain_order="left")
    scores, risks = (
        pairs[name].cast(pl.Float64).to_numpy().reshape(numbers.shape) for name in (target, "risk")
    )  # NaN where a list is padded, or its positive ranked by nobody
    spread = 1.0 if target == "proportional" else np.sqrt(np.nanmean(np.nanvar(scores, axis=1)))
    counts = np.nan_to_num(1 - risks[:, 1:], nan=1.0).clip(LOWEST_WEIGHT)
    order = np.where(np.isnan(scores), -np.inf, scores / spread)
    return replace(rows, counts=counts.astype(np.float32), order=order.astype(np.float32))


def make_arms(mined: Mined) -> dict[str, Arm]:
    """Every arm's rows, and what InfoNCE counts in it."""
    known = mined.known.select("query", "document", weight=pl.lit(1.0))
    given, drawn = mined.candidates, listed(mined.candidates, mined.seed)
    ours = make_rows(known, choose_negatives(given), NEGATIVES)
    long = make_rows(known, choose_negatives(given, LISTED), LISTED)
    arms: dict[str, Arm] = {"infonce": (ours, 1.0), "infonce of 15": (long, 1.0)}
    for target in ("fused", "risk", "proportional"):
        arms[f"list {target}"] = ordered(mined, drawn, target), 1.0
    arms["list fused, infonce .2"] = ordered(mined, drawn, "fused"), 0.2
    arms["list risk, infonce .2"] = ordered(mined, drawn, "risk"), 0.2
    arms["list fused, top"] = ordered(mined, hardest(given, LISTED), "fused"), 1.0
    return arms


def measure(mined: Mined) -> dict[str, NDArray[np.float64]]:
    """nDCG@10 of the base and of each arm, per measured query."""
    numbers = mined.tested["query"].unique().sort()
    place = pl.int_range(len(numbers), eager=True)
    relevant = mined.tested.with_columns(query=pl.col("query").replace_strict(numbers, place))
    sides = mined.queries[numbers.to_numpy()], mined.documents
    steps = STEPS[mined.known["query"].n_unique() > LARGE]
    found = {"base": ndcg(*sides, relevant, None)}
    for name, (rows, weight) in make_arms(mined).items():
        student = Proxy(steps=steps, infonce=weight)
        trained = student.train(mined.queries, mined.documents, rows, mined.seed)
        found[name] = ndcg(*sides, relevant, trained)
    return found


def run_set(name: str, seeds: int, encoder: Encoder) -> dict[str, Any]:
    """Mine, train and measure a set with every seed."""
    scores, components = [], []
    for seed in range(seeds):
        mined = mine(name, seed, encoder, 0, NEGATIVES)
        scores.append(measure(mined))
        components.append(mined.components.sort("query")["component"].to_numpy())
    drawn = np.concatenate(components)
    joined = {arm: np.concatenate([each[arm] for each in scores]) for arm in scores[0]}
    base = joined.pop("base")
    return {
        "set": name, "base": round(float(base.mean()), 4),
        "gain": {arm: interval(values - base, drawn) for arm, values in joined.items()},
        "over infonce": {
            arm: interval(values - joined["infonce"], drawn) for arm, values in joined.items()
        },
    }  # fmt: skip


def main() -> None:
    """Run the sets asked for, print the figures and keep them."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("sets", nargs="*", default=[*SETS])
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--cache", type=Path)
    parser.add_argument("--no-results", action="store_true")
    options = parser.parse_args()
    encoder, results = Encoder(options.cache), []
    for name in options.sets:
        results.append(run_set(name, options.seeds, encoder))
        print(f"{name}: base {results[-1]['base']:.4f}")
        for arm, gain in results[-1]["gain"].items():
            print(f"  {arm:24} {gain}  over infonce {results[-1]['over infonce'][arm]}")
        sys.stdout.flush()
    if not options.no_results:
        save("lists", {"machine": machine(), "options": told(options), "sets": results})


if __name__ == "__main__":
    main()
