"""False negatives against hardness: risk, the other rules and a baseline on judged collections.

`python -m benchmarks.negatives.false_negatives` reveals one positive of every query that has
several, lets each method choose negatives, and counts how many of them are among the positives it
was not shown. Every method is swept over its own trade-off, over the same values on every
collection, and read where it is as hard as percent 0.95, with at least 95 % of the negatives
wanted. Results are kept as JSON and as a picture in `benchmarks/results`. Name other collections,
or folders in the layout that `benchmarks.negatives.judged` describes.
"""

import argparse
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

from benchmarks.data import collection
from benchmarks.negatives.cases import DENSE, LEXICAL, Encoder, Prepared, open_case, prepare
from benchmarks.negatives.curves import draw
from benchmarks.negatives.judged import load, reveal
from benchmarks.negatives.miners import (
    CANDIDATE,
    METHODS,
    REFERENCE,
    REFERENCE_VALUE,
    RiskWithValidator,
)
from benchmarks.negatives.sweeps import Method
from benchmarks.negatives.trade_off import (
    FULL_YIELD,
    LSA_DIMENSIONS,
    TEMPERATURE,
    Outsider,
    Point,
    Referee,
    compare,
    find_cleaner,
    summarise,
)
from benchmarks.negatives.trade_off_tables import show
from benchmarks.processes import machine, save

GOAL = ("med", "cranfield", "cisi", "cacm")  # judged completely: the ratios that are averaged
NAMES = (*GOAL, "scifact", "epqa-dev", "xquad", "medquad")
QUICK_NAMES = ("med", "cranfield")


@dataclass(frozen=True)
class Plan:
    """What is measured: `seeds` ways to hide the truth, at most `queries` of a collection each."""

    seeds: int = 5
    queries: int = 500
    negatives: int = 7
    depth: int = 100
    methods: Sequence[Method] = METHODS


QUICK = Plan(seeds=1, queries=40)


def main() -> None:
    """Measure the collections asked for, print the tables, keep JSON and picture."""
    options = _parse()
    plan = QUICK if options.quick else Plan()
    plan = replace(
        plan,
        seeds=options.seeds or plan.seeds,
        queries=options.queries or plan.queries,
        negatives=options.negatives,
        depth=options.depth,
    )
    if options.validator:
        plan = replace(plan, methods=(*plan.methods, RiskWithValidator(model=options.validator)))
    name = options.name or ("false_negatives_quick" if options.quick else "false_negatives")
    results: dict[str, Any] = {"machine": machine(), "settings": describe(plan), "collections": {}}
    encoder = Encoder(options.cache)
    names = options.names or (QUICK_NAMES if options.quick else NAMES)
    for folder in [collection(name) for name in names]:
        measured = measure(folder, plan, encoder)
        results["collections"][folder.name] = measured
        print(f"{folder.name}: {measured['seconds']} s", flush=True)
        kept = save(name, results)
    picture = draw(results, kept.with_suffix(".png"))
    print(f"\n{show(results, GOAL)}\n\n{kept}\n{picture}")


def measure(folder: Path, plan: Plan, encoder: Encoder) -> dict[str, Any]:
    """Measure all methods on one collection: curves, and what they are at the reference."""
    began = time.monotonic()
    judged = load(folder)
    prepared = prepare(judged, encoder)
    texts = judged.queries["text"].to_list(), judged.documents["text"].to_list()
    outside = Outsider.fit(*texts)
    runs = [run_seed(prepared, outside, seed, plan) for seed in range(plan.seeds)]
    curves = {method.name: [run[method.name] for run in runs] for method in plan.methods}
    reference = [_point_at(points, REFERENCE_VALUE) for points in curves[REFERENCE.name]]
    sampled = reveal(judged, 0, plan.queries)
    means = {name: _mean_curve(seeds) for name, seeds in curves.items()}
    others = {name: points for name, points in means.items() if name != CANDIDATE}
    measured = {
        "documents": judged.documents.height,
        "queries": sampled.queries.height,
        "hidden_per_query": sampled.hidden.height / sampled.queries.height,
        "instructive_per_query": sampled.instructive.height / sampled.queries.height,
        "seconds": round(time.monotonic() - began, 1),
        "reference": summarise(reference),
        "at_reference": {name: compare(seeds, reference) for name, seeds in curves.items()},
        "cleaner_than_candidate": find_cleaner(means[CANDIDATE], others),
        "curves": means,
    }
    return {name: _rounded(value) for name, value in measured.items()}


def run_seed(
    prepared: Prepared, outside: Outsider, seed: int, plan: Plan
) -> dict[str, list[Point]]:
    """Hide the truth by one seed and sweep every method."""
    revealed = reveal(prepared.collection, seed, plan.queries)
    case = open_case(prepared, revealed, plan.depth)
    rows = prepared.collection.queries["query_id"].search_sorted(revealed.queries["query_id"])
    asked = replace(outside, queries=outside.queries[rows.to_numpy()])
    referee = Referee(case, revealed, asked, plan.negatives)
    return {
        method.name: [
            {"value": value, **referee.measure(method.choose(case, value, plan.negatives))}
            for value in method.values
        ]
        for method in plan.methods
    }


def describe(plan: Plan) -> dict[str, Any]:
    """Everything that decides the figures, the values of every sweep included."""
    return {
        "seeds": list(range(plan.seeds)),
        "queries_at_most": plan.queries,
        "negatives": plan.negatives,
        "depth": plan.depth,
        "teachers": [teacher.model_dump() for teacher in (DENSE, LEXICAL)],
        "reference": f"{REFERENCE.name} {REFERENCE_VALUE}",
        "candidate": CANDIDATE,
        "full_yield": FULL_YIELD,
        "lsa_dimensions": LSA_DIMENSIONS,
        "loss_temperature": TEMPERATURE,
        "sentence_transformers": version("sentence-transformers"),
        "values": {method.name: list(method.values) for method in plan.methods},
    }


def _point_at(points: Sequence[Point], value: float) -> Point:
    return next(point for point in points if point["value"] == value)


def _mean_curve(seeds: Sequence[Sequence[Point]]) -> list[Point]:
    """Mean over seeds at every value of the sweep."""
    return [
        {"value": points[0]["value"], **summarise(points)["mean"]}
        for points in zip(*seeds, strict=True)
    ]


def _rounded(value: Any) -> Any:
    """Cut every number in a result to five digits: more is noise, and a file nobody can read."""
    if isinstance(value, float):
        return round(value, 5)
    if isinstance(value, dict):
        return {name: _rounded(inner) for name, inner in value.items()}
    return [_rounded(inner) for inner in value] if isinstance(value, list) else value


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("names", nargs="*", metavar="NAME", help="collections, or their folders")
    parser.add_argument("--seeds", type=int, help="ways to hide the truth (5)")
    parser.add_argument("--queries", type=int, help="at most, of a collection and seed (500)")
    parser.add_argument("--negatives", type=int, default=7)
    parser.add_argument("--depth", type=int, default=100, help="candidates per query and teacher")
    parser.add_argument("--quick", action="store_true", help="two collections, 1 seed, 40 queries")
    parser.add_argument("--validator", metavar="MODEL", help="a cross-encoder: risk with it, too")
    parser.add_argument("--cache", type=Path, help="folder that keeps vectors between calls")
    parser.add_argument("--name", help="of the files in benchmarks/results")
    return parser.parse_args()


if __name__ == "__main__":
    main()
