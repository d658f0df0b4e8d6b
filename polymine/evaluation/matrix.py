"""A model against the base in every direction, and means that say where it gained.

Means are macro averages: every direction counts alike, however many queries it has. Their
intervals come from drawing questions with all their directions (`significance`).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import polars as pl
import polars.selectors as cs
from numpy.typing import NDArray

from polymine.data_contracts.errors import InputError
from polymine.data_contracts.learning import Comparisons
from polymine.evaluation.collection import POOL
from polymine.evaluation.metrics import METRICS
from polymine.evaluation.shared import widening
from polymine.evaluation.significance import (
    Numbers,
    Resampling,
    SeedNoise,
    draw_means,
    mean_over,
    sum_by_question,
)

FEWEST = 10  # queries from which a direction counts in a mean
_DIRECTION = ["document_language", "query_language"]
_KEY = ["set", *_DIRECTION, "query_id"]
# Means that sum a set up, the widest first; a lone direction is its own mean.
_WIDEST = ("all", "same", "pool", "document", "direction")


@dataclass(frozen=True)
class _Mean:
    """One row of the comparison: a mean over `directions` (numbers)."""

    group: str
    document_language: str
    query_language: str
    directions: tuple[int, ...]


def compare(
    base: pl.DataFrame,
    model: pl.DataFrame,
    *,
    name: str,
    questions: pl.DataFrame | None = None,
    pivot: str | None = "en",
    fewest: int = 1,
    resampling: Resampling | None = None,
) -> pl.DataFrame:
    """Compare the scores of the same queries, per direction and as means over directions.

    Args:
        base, model: `QueryScores` of the untouched base and of the model.
        name: of the model.
        questions: set, query_id, question: queries of one question are drawn together, as
            translations are (`EvaluationCollection.clusters`); each query by itself if None.
            `answers` beside them are the documents of those that share some and are yet drawn
            apart, which makes intervals wider.
        pivot: language with which pairs are `pivot` (exactly one side is in it) or `non-pivot`
            (neither is, and the languages differ); neither mean is there without it.
        fewest: queries that a direction needs to count in means; the few pairs that two languages
            happen to share would weigh as much as whole languages.
        resampling: of the intervals.

    Returns:
        `Comparisons`, by set, group, direction and metric. `queries` counts different query ids.
        Means without any direction are not there.

    Raises:
        InputError: the frames do not hold the same queries, or `questions` lacks one of them.
    """
    found = compare_seeds(
        [base], [model], name=name, questions=questions, pivot=pivot, fewest=fewest,
        resampling=resampling,
    )  # fmt: skip
    return Comparisons.validate(found.select(Comparisons.column_names()), cast=True)


def compare_seeds(
    base: Sequence[pl.DataFrame],
    model: Sequence[pl.DataFrame],
    *,
    name: str,
    questions: pl.DataFrame | None = None,
    pivot: str | None = "en",
    fewest: int = 1,
    resampling: Resampling | None = None,
    arms: Sequence[Sequence[pl.DataFrame]] = (),
) -> pl.DataFrame:
    """Compare models of several seeds, whose spread counts as that of questions does.

    Args:
        base, model: `QueryScores` of every seed, the same queries in all; of a base without seeds
            one frame. Seeds are paired in their order.
        name, questions, pivot, fewest, resampling: as for `compare`.
        arms: `QueryScores` of every seed of all models that were trained alike, this one's among
            them: together they say what a seed makes of a mean. This one's alone if empty.

    Returns:
        Columns of `Comparisons`, means over the seeds, and `p`: of the gain being 0, two-sided.

    Raises:
        InputError: as `compare`.
    """
    bases = list(base) * len(model) if len(base) == 1 else base
    sides = 1 if len(base) == 1 else 2
    paired = [_paired(one, other) for one, other in zip(bases, model, strict=True)]
    for other in paired[1:]:
        _paired(paired[0].select(_KEY), other.select(_KEY))  # the same queries in every seed
    if questions is not None:
        paired = [_with_questions(scores, questions) for scores in paired]
    else:
        paired = [scores.with_columns(question="query_id") for scores in paired]
    sets = paired[0]["set"].unique(maintain_order=True)
    parts = [
        _compare_set(
            [scores.filter(set=chosen) for scores in paired], pivot, fewest,
            resampling or Resampling(),
            [[scores.filter(set=chosen) for scores in seeds] for seeds in arms], sides,
        )
        for chosen in sets
    ]  # fmt: skip
    found = pl.concat(parts) if parts else Comparisons.create_empty().with_columns(p=pl.lit(1.0))
    return found.with_columns(model=pl.lit(name))


def overall(comparisons: pl.DataFrame) -> pl.DataFrame:
    """Take the rows that sum up each model and set: the widest mean there is.

    Args:
        comparisons: of `compare`, of any models and sets.

    Returns:
        Rows of `comparisons`, one per model, set and metric. Of several languages only their mean
        sums up; where that is not there, neither is a row.
    """
    widest = pl.DataFrame({"group": _WIDEST}).with_row_index("place")
    ranked = comparisons.join(widest, on="group", maintain_order="left")
    alone = pl.struct("model", "set", "group", "metric").is_unique()
    whole = (pl.col("document_language") == POOL) & (pl.col("query_language") == POOL)
    found = ranked.filter(alone | whole)
    nearest = pl.col("place") == pl.col("place").min().over("model", "set")
    return found.filter(nearest).select(comparisons.columns)


def _paired(base: pl.DataFrame, model: pl.DataFrame) -> pl.DataFrame:
    """Join both frames, columns of the base ending in `_base`; sorted by key."""
    for left, right, whose in ((base, model, "base"), (model, base, "model")):
        lonely = left.join(right, on=_KEY, how="anti")
        if lonely.height:
            key = dict(zip(_KEY, lonely.select(_KEY).row(0), strict=True))
            raise InputError(
                f"base and model must be measured on the same queries: {lonely.height} of "
                f"{left.height} rows are only the {whose}'s, as {key['query_id']} in set "
                f"{key['set']}, {key['document_language']}-{key['query_language']}; measure both "
                "on the same sets, languages and draw"
            )
    return model.join(base, on=_KEY, suffix="_base", validate="1:1").sort(_KEY)


def _with_questions(scores: pl.DataFrame, questions: pl.DataFrame) -> pl.DataFrame:
    known = questions.select(
        "set", "query_id", "question", cs.by_name("answers", require_all=False)
    )
    joined = scores.join(known, on=["set", "query_id"], how="left", validate="m:1")
    missing = joined.filter(pl.col("question").is_null())
    if missing.height:
        raise InputError(
            f"`questions` lacks {missing['query_id'].n_unique()} queries, as "
            f"{missing['query_id'][0]} of set {missing['set'][0]}; give every query's question"
        )
    return joined.sort(_KEY)


def _compare_set(
    seeds: Sequence[pl.DataFrame],
    pivot: str | None,
    fewest: int,
    resampling: Resampling,
    arms: Sequence[Sequence[pl.DataFrame]],
    sides: int,
) -> pl.DataFrame:
    """Compare one set, from the paired scores of every seed; `sides` of a difference have seeds."""
    scores = seeds[0]
    directions = scores.group_by(_DIRECTION).agg(queries=pl.len()).sort(_DIRECTION)
    old_columns = [f"{metric}_base" for metric in METRICS]
    counts = sum_by_question(scores, directions, "question", METRICS)[1]
    new, old = (
        np.stack([sum_by_question(each, directions, "question", names)[0] for each in seeds])
        for names in (METRICS, old_columns)
    )
    means = list(_means(directions, pivot, fewest))
    members = np.zeros((len(means), directions.height), dtype=bool)
    for row, mean in enumerate(means):
        members[row, list(mean.directions)] = True
    base, value = (mean_over(part.mean(0), counts, members) for part in (old, new))
    noise = _seed_noise(arms, directions, members, sides)
    wider = widening((new - old).mean(0), counts, members, _answers(scores))
    drawn = draw_means(new - old, counts, members, resampling, noise, wider)
    low, high = np.clip(drawn.interval(resampling), -1, 1)  # all metrics are from 0 to 1
    asked = _asked(scores, means, directions)
    return pl.concat(
        _rows(scores["set"][0], mean, *row)
        for mean, *row in zip(means, asked, base, value, low, high, drawn.p_values(), strict=True)
    )


def _seed_noise(
    arms: Sequence[Sequence[pl.DataFrame]],
    directions: pl.DataFrame,
    members: NDArray[np.bool_],
    sides: int,
) -> SeedNoise | None:
    """Variance over seeds, pooled over arms, of the means of one arm or a difference of two."""
    freedom = sum(len(seeds) - 1 for seeds in arms)
    if not freedom:
        return None
    share = members / members.sum(1, keepdims=True)
    spread = np.zeros((len(members), len(METRICS)))
    for seeds in arms:
        means = [
            share @ directions.join(
                scores.group_by(_DIRECTION).agg(pl.col(METRICS).mean()), on=_DIRECTION, how="left",
                maintain_order="left",
            ).select(METRICS).to_numpy()
            for scores in seeds
        ]  # fmt: skip
        spread += np.var(means, axis=0) * len(seeds)
    return SeedNoise(sides * spread / freedom, freedom)


def _answers(scores: pl.DataFrame) -> list[list[int]] | None:
    """Documents that answer each question, where several questions share some; else None."""
    if "answers" not in scores.columns or scores["answers"].null_count() == scores.height:
        return None
    each = (
        scores.group_by("question")
        .agg(pl.col("answers").list.explode(keep_nulls=False, empty_as_null=False).unique())
        .sort("question")
    )
    return [[int(answer) for answer in row if answer is not None] for row in each["answers"]]


def _means(directions: pl.DataFrame, pivot: str | None, fewest: int) -> Iterator[_Mean]:
    """List every direction and every mean that has directions."""
    pairs = [
        (str(document), str(query)) for document, query in directions.select(_DIRECTION).rows()
    ]
    for place, (document, query) in enumerate(pairs):
        kind = "pool" if document == POOL else "direction"
        yield _Mean(kind, document, query, (place,))
    enough = [number for number, count in enumerate(directions["queries"]) if count >= fewest]
    for document in sorted({document for document, _ in pairs} - {POOL}):
        found = tuple(place for place in enough if pairs[place][0] == document)
        if found:
            yield _Mean("document", document, POOL, found)
    for group in ("pool", "all", "same", "cross", "pivot", "non-pivot"):
        found = tuple(place for place in enough if group in _groups(*pairs[place], pivot))
        if found:
            yield _Mean(group, POOL, POOL, found)


def _groups(document: str, query: str, pivot: str | None) -> tuple[str, ...]:
    """Name the means over whole sets that a direction belongs to."""
    if document == POOL:
        return ("pool",)
    if document == query:
        return ("all", "same")
    if pivot is None:
        return ("all", "cross")
    return ("all", "cross", "pivot" if pivot in (document, query) else "non-pivot")


def _asked(scores: pl.DataFrame, means: list[_Mean], directions: pl.DataFrame) -> list[int]:
    """Count the different queries of each mean."""
    ids = scores.select(*_DIRECTION, pl.col("query_id").rank("dense")).partition_by(
        _DIRECTION, as_dict=True
    )
    asked = [ids[pair]["query_id"].to_numpy() for pair in directions.select(_DIRECTION).rows()]
    return [
        len(asked[mean.directions[0]])
        if len(mean.directions) == 1
        else len(np.unique(np.concatenate([asked[place] for place in mean.directions])))
        for mean in means
    ]


def _rows(
    set_name: str,
    mean: _Mean,
    queries: int,
    base: Numbers,
    value: Numbers,
    low: Numbers,
    high: Numbers,
    p: Numbers,
) -> pl.DataFrame:
    return pl.DataFrame(
        {"metric": list(METRICS), "base": base, "value": value, "gain": value - base}
        | {"low": low, "high": high, "p": p}
    ).with_columns(
        set=pl.lit(set_name),
        group=pl.lit(mean.group),
        document_language=pl.lit(mean.document_language),
        query_language=pl.lit(mean.query_language),
        queries=pl.lit(queries),
    )
