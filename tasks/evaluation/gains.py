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

VERSION = 6
FEWEST = 10  # queries a direction needs to count in a mean
COMPARISONS, SCORES = "comparisons.parquet", "scores.parquet"
CHANGES = "changes.parquet"
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
        The plan of `comparisons` and `changes` (retrieval) and `scores` (all else). Without models
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
    compared: list[pl.DataFrame] = [Comparisons.create_empty()]
    scored: list[pl.DataFrame] = [SetScores.create_empty()]
    changed: list[pl.DataFrame] = [Changes.create_empty()]
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
        changed += [changed_most(collection, before, own, of) for of, own in after.items()]
    dataset.write(COMPARISONS, pl.concat(compared), Comparisons)
    dataset.write(SCORES, pl.concat(scored), SetScores)
    dataset.write(CHANGES, pl.concat(changed), Changes)


def _load(systems: Systems, name: str) -> tuple[pl.DataFrame, dict[str, pl.DataFrame]]:
    """Read the base's measures of a set, and those of each model that has any."""
    found = {model: load(of[name]) for model, of in systems.items() if name in of}
    return found.pop("base"), found


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
            questions=collection.clusters.with_columns(set=pl.lit(name)),
            pivot=pivot if pivot in collection.languages else None,
            fewest=fewest_of(base),
            resampling=resampling,
        )
        for model, scores in models.items()
    ]
