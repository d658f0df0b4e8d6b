"""Compares measured models with the untouched base, on every set."""

from collections.abc import Mapping
from functools import partial
from math import comb
from typing import Any

import polars as pl

from polymine.data_contracts.learning import (
    Changes,
    Comparisons,
    Differences,
    QueryScores,
    SetScores,
)
from polymine.data_contracts.references import DatasetRef
from polymine.data_contracts.settings import EvaluationSettings
from polymine.evaluation.arms import adjust, compare_pairs, enough_draws
from polymine.evaluation.changes import changed_most
from polymine.evaluation.collection import EvaluationCollection
from polymine.evaluation.gains import score_models
from polymine.evaluation.matrix import FEWEST, compare
from polymine.evaluation.metrics import METRICS
from polymine.evaluation.significance import Resampling
from polymine.tasks.engine.context import Context
from polymine.tasks.engine.plan import Maker, Plan
from polymine.tasks.engine.progress import track
from polymine.tasks.engine.stage import stage
from polymine.tasks.evaluation.sets import kind_of, open_collection
from polymine.tasks.store.datasets import Dataset, load, open_folder

VERSION = 9
COMPARISONS, SCORES = "comparisons.parquet", "scores.parquet"
CHANGES, DIFFERENCES = "changes.parquet", "differences.parquet"
Systems = Mapping[str, Mapping[str, DatasetRef]]  # model and set name to measures


@stage("compare")
def compare_models(
    run: Context,
    sets: Mapping[str, DatasetRef],
    systems: Systems,
    evaluation: EvaluationSettings,
    further: Mapping[int, Systems],
) -> Plan:
    """Compare every model with the base on every set, with intervals.

    Args:
        run: of the stage.
        sets: set name to its tables.
        systems: `base` and models to the measures of each set.
        evaluation: says how to resample, and the pivot.
        further: the same by further cut-offs.

    Returns:
        The plan of `comparisons`, `changes` and, of several models, `differences` of every pair
        (retrieval), and `scores` (all else). Without models
        `comparisons` holds the base's own figures, as gains over 0.
    """
    return Plan(
        contract="comparisons",
        depends={
            "version": VERSION,
            "sets": dict(sets),
            "systems": {name: dict(of) for name, of in systems.items()},
            "further": {
                f"{name}@{k}": dict(of) for k, each in further.items() for name, of in each.items()
            },
            "resampling": [evaluation.confidence, evaluation.resamples, evaluation.seed],
            "pivot": evaluation.pivot,
        },
        open=lambda _: Maker(lambda *_: partial(_write, sets, systems, evaluation, further)),
        resumable=False,
    )


def _write(
    sets: Mapping[str, DatasetRef],
    systems: Systems,
    evaluation: EvaluationSettings,
    further: Mapping[int, Systems],
    dataset: Dataset,
) -> None:
    resampling = Resampling(evaluation.confidence, evaluation.resamples, evaluation.seed)
    searched = [name for name in sets if kind_of(sets[name]) == "retrieval"]
    rivals = {name: [m for m, of in systems.items() if m != "base" and name in of] for name in sets}
    count = sum(comb(len(rivals[name]), 2) for name in searched)
    compared: list[pl.DataFrame] = [Comparisons.create_empty()]
    scored: list[pl.DataFrame] = [SetScores.create_empty()]
    changed: list[pl.DataFrame] = [Changes.create_empty()]
    pairs: list[pl.DataFrame] = []
    for (name,) in track([(name,) for name in sets], "compare", len(sets), "sets"):
        before, after = _load(systems, name)
        kind = kind_of(sets[name])
        if kind != "retrieval":
            scored.append(score_models(kind, before, after, set=name, resampling=resampling))
            continue
        compared += _compare(name, sets[name], before, after, evaluation.pivot, resampling)
        for k, each in further.items():
            rows = _compare(name, sets[name], *_load(each, name), evaluation.pivot, resampling)
            cut = pl.concat(rows).filter(pl.col("metric").is_in(["ndcg", "recall"]))
            compared.append(cut.with_columns(metric=pl.format("{}@{}", "metric", pl.lit(k))))
        collection = open_collection(sets[name])
        several = enough_draws(resampling, count)
        pairs.append(_pairs(name, collection, after, evaluation.pivot, several))
        changed += [changed_most(collection, before, own, of) for of, own in after.items()]
    dataset.write(COMPARISONS, pl.concat(compared), Comparisons)
    dataset.write(SCORES, pl.concat(scored), SetScores)
    dataset.write(CHANGES, pl.concat(changed), Changes)
    found = adjust(pl.concat(pairs)) if pairs else Differences.create_empty()
    dataset.write(DIFFERENCES, found, Differences)


def _load(systems: Systems, name: str) -> tuple[pl.DataFrame, dict[str, pl.DataFrame]]:
    """Read the base's measures of a set, and those of each model that has any."""
    found = {model: load(of[name]) for model, of in systems.items() if name in of}
    return found.pop("base"), found


def read_comparisons(compared: DatasetRef) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Read Comparisons and SetScores."""
    folder = open_folder(compared.path)
    return (
        pl.read_parquet(folder / COMPARISONS, glob=False),
        pl.read_parquet(folder / SCORES, glob=False),
    )


def _compare(
    name: str,
    tables: DatasetRef,
    base: pl.DataFrame,
    models: Mapping[str, pl.DataFrame],
    pivot: str | None,
    resampling: Resampling,
) -> list[pl.DataFrame]:
    """Compare all models on one set of retrieval."""
    collection = open_collection(tables)
    options = _options(name, collection, pivot, resampling)
    before = QueryScores.validate(base, cast=True)
    if not models:  # the base alone: its figures are what it gains over nothing
        nothing = QueryScores.validate(before.with_columns(pl.col(METRICS) * 0.0))
        alone = compare(nothing, before, name="base", **options)
        return [alone.with_columns(pl.col("low").clip(0.0))]
    return [
        compare(before, QueryScores.validate(scores, cast=True), name=model, **options)
        for model, scores in models.items()
    ]


def _pairs(
    name: str,
    collection: EvaluationCollection,
    models: Mapping[str, pl.DataFrame],
    pivot: str | None,
    resampling: Resampling,
) -> pl.DataFrame:
    """Compare all models with each other on one set of retrieval."""
    scores = {model: [QueryScores.validate(own, cast=True)] for model, own in models.items()}
    return compare_pairs(scores, **_options(name, collection, pivot, resampling))


def _options(
    name: str, collection: EvaluationCollection, pivot: str | None, resampling: Resampling
) -> dict[str, Any]:
    return {
        "questions": collection.clusters.with_columns(set=pl.lit(name)),
        "pivot": pivot if pivot in collection.languages else None,
        "fewest": FEWEST,
        "resampling": resampling,
    }
