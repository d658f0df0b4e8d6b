"""Compares measured models with the untouched base, on every set."""

from collections.abc import Mapping
from functools import partial

import polars as pl

from polymine.data_contracts.learning import Changes, Comparisons, QueryScores, SetScores
from polymine.data_contracts.references import DatasetRef
from polymine.data_contracts.settings import EvaluationSettings
from polymine.evaluation.changes import changed_most
from polymine.evaluation.gains import score_models
from polymine.evaluation.matrix import compare
from polymine.evaluation.metrics import METRICS
from polymine.evaluation.significance import Resampling
from polymine.tasks.engine.context import Context
from polymine.tasks.engine.plan import Maker, Plan
from polymine.tasks.engine.progress import track
from polymine.tasks.engine.stage import stage
from polymine.tasks.evaluation.sets import kind_of, open_collection
from polymine.tasks.store.datasets import Dataset, load, open_folder

VERSION = 5
FEWEST = 10  # queries a direction needs to count in a mean
COMPARISONS, SCORES = "comparisons.parquet", "scores.parquet"
CHANGES = "changes.parquet"
Measures = Mapping[str, DatasetRef]  # set name to the measures of one model


@stage("compare")
def compare_models(
    run: Context,
    sets: Mapping[str, DatasetRef],
    base: Measures,
    models: Mapping[str, Measures],
    evaluation: EvaluationSettings,
) -> Plan:
    """Compare every model with the base on every set, with intervals.

    Args:
        run: of the stage.
        sets: set name to its tables.
        base: set name to the base's measures.
        models: model name to the same.
        evaluation: says how to resample, and the pivot.

    Returns:
        The plan of `comparisons` and `changes` (retrieval) and `scores` (all else). Without models
        `comparisons` holds the base's own figures, as gains over 0.
    """
    return Plan(
        contract="comparisons",
        depends={
            "version": VERSION,
            "sets": dict(sets),
            "base": dict(base),
            "models": {model: dict(of) for model, of in models.items()},
            "resampling": [evaluation.confidence, evaluation.resamples, evaluation.seed],
            "pivot": evaluation.pivot,
        },
        open=lambda _: Maker(lambda *_: partial(_write, sets, base, models, evaluation)),
        resumable=False,
    )


def _write(
    sets: Mapping[str, DatasetRef],
    base: Measures,
    models: Mapping[str, Measures],
    evaluation: EvaluationSettings,
    dataset: Dataset,
) -> None:
    resampling = Resampling(evaluation.confidence, evaluation.resamples, evaluation.seed)
    compared: list[pl.DataFrame] = [Comparisons.create_empty()]
    scored: list[pl.DataFrame] = [SetScores.create_empty()]
    changed: list[pl.DataFrame] = [Changes.create_empty()]
    for (name,) in track([(name,) for name in sets], "compare", len(sets), "sets"):
        before = load(base[name])
        after = {model: load(of[name]) for model, of in models.items() if name in of}
        kind = kind_of(sets[name])
        if kind == "retrieval":
            compared += _compare(name, sets[name], before, after, evaluation.pivot, resampling)
            collection = open_collection(sets[name])
            changed += [changed_most(collection, before, own, of) for of, own in after.items()]
        else:
            scored.append(score_models(kind, before, after, set=name, resampling=resampling))
    dataset.write(COMPARISONS, pl.concat(compared), Comparisons)
    dataset.write(SCORES, pl.concat(scored), SetScores)
    dataset.write(CHANGES, pl.concat(changed), Changes)


def fewest_of(scores: pl.DataFrame) -> int:
    """Say how many queries a direction needs to count in means; 1 where no direction has enough."""
    counts = scores.group_by("document_language", "query_language").len()["len"]
    return FEWEST if int(counts.max() or 0) >= FEWEST else 1  # type: ignore[arg-type]


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
    before = QueryScores.validate(base, cast=True)
    if not models:  # the base alone: its figures are what it gains over nothing
        nothing = before.with_columns(pl.col(METRICS) * 0.0)
        models, before = {"base": base}, QueryScores.validate(nothing)
    return [
        compare(
            before,
            QueryScores.validate(scores, cast=True),
            name=model,
            questions=collection.questions.with_columns(set=pl.lit(name)),
            pivot=pivot if pivot in collection.languages else None,
            fewest=fewest_of(base),
            resampling=resampling,
        )
        for model, scores in models.items()
    ]
