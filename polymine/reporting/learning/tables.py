"""Rows of the tables of a learning page, picked from frames of comparisons."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import polars as pl

from polymine.data_contracts.notes import Chosen, InLanguage
from polymine.evaluation.matrix import overall
from polymine.reporting.formatting import name_pair

PRIMARY = "ndcg"  # what matrices, means and headlines show
METRICS = ("ndcg", "recall", "mrr", "map")
EVERY = "*"
GROUPS = {
    "all": "all directions",
    "same": "query and document in the same language",
    "cross": "query and document in different languages",
    "pivot": "one side in the pivot language",
    "non-pivot": "neither side in the pivot language",
}
Verdict = Literal["better", "worse", "unclear"]


@dataclass(frozen=True)
class Gain:
    """A number before and after; the interval is of the gain, None where there is none.

    Of a base that is measured alone there is no gain, and the interval is of its value.

    `document` and `query` are languages, `*` for all of them.
    """

    name: str
    base: float | None
    value: float
    gain: float | None
    low: float | None
    high: float | None
    queries: int = 0
    metric: str = PRIMARY
    document: str = EVERY
    query: str = EVERY

    @property
    def verdict(self) -> Verdict | None:
        """Whether the interval excludes 0, and on which side; None without an interval."""
        if self.gain is None or self.low is None or self.high is None:
            return None
        return "better" if self.low > 0 else "worse" if self.high < 0 else "unclear"


@dataclass(frozen=True)
class SetResult:
    """A model on a set, against the base.

    Args:
        overall: over all directions, or what comes nearest, a row per metric.
        means: of groups of directions, by the primary metric, as are the following.
        documents: per language of the documents, over all query languages.
        pools: documents of all languages ranked together, per query language.
    """

    model: str
    set: str
    overall: tuple[Gain, ...]
    means: tuple[Gain, ...]
    documents: tuple[Gain, ...]
    pools: tuple[Gain, ...]
    directions: tuple[Gain, ...]

    @property
    def headline(self) -> Gain:
        """The one row to look at first."""
        return self.overall[0]

    @property
    def languages(self) -> list[str]:
        """Languages of the directions."""
        return sorted({code for d in self.directions for code in (d.document, d.query)})


@dataclass(frozen=True)
class ArmResult:
    """One way to mine, on one set, by one metric: all seeds together, then each of them.

    `together.low` and `high` are None where nobody computed an interval over the seeds.
    """

    arm: str
    set: str
    metric: str
    together: Gain
    seeds: tuple[Gain, ...]


@dataclass(frozen=True)
class Pair:
    """Two arms on one set: `arm` minus `reference`; `surely`: told apart after correction."""

    arm: str
    reference: str
    gain: float
    low: float
    high: float
    adjusted: float
    surely: bool


def list_pairs(
    differences: pl.DataFrame, name: str, metric: str, confidence: float
) -> tuple[Pair, ...]:
    """List the pairs of a set, the largest difference first.

    Args:
        differences: contract Differences.
        name, metric: of the set, and to look at.
        confidence: with which a pair is told apart.

    Returns:
        A pair per row.
    """
    rows = differences.filter(set=name, metric=metric).sort("gain", descending=True)
    return tuple(
        Pair(
            row["arm"], row["reference"], row["gain"], row["low"], row["high"], row["adjusted"],
            row["adjusted"] <= 1 - confidence,
        )
        for row in rows.to_dicts()
    )  # fmt: skip


def list_results(comparisons: pl.DataFrame) -> list[SetResult]:
    """Sort comparisons into a result per set and model, in order.

    The base's own rows are left out of a set that has others.
    """
    beside = pl.col("model") != "base"
    pairs = comparisons.filter(beside | ~beside.any().over("set")).select("set", "model")
    order = {name: at for at, name in enumerate(pairs["set"].unique(maintain_order=True))}
    unique = pairs.unique(maintain_order=True).rows()
    return [
        pick_result(comparisons, name, model)
        for name, model in sorted(unique, key=lambda pair: order[pair[0]])
    ]


def pick_result(comparisons: pl.DataFrame, name: str, model: str) -> SetResult:
    """Pick everything about a model on a set; `overall` is empty where there is nothing."""
    rows = comparisons.filter(pl.col("set") == name, pl.col("model") == model)
    primary = rows.filter(metric=main_metric(rows))
    grouped = {
        str(group): tuple(_gain(row, _name(row)) for row in part.to_dicts())
        for (group,), part in primary.group_by("group", maintain_order=True)
    }
    return SetResult(
        model=model,
        set=name,
        overall=tuple(_overall(rows)),
        means=tuple(gain for group in GROUPS for gain in grouped.get(group, ())),
        documents=grouped.get("document", ()),
        pools=grouped.get("pool", ()),
        directions=grouped.get("direction", ()),
    )


def main_metric(rows: pl.DataFrame) -> str:
    """Choose the metric to show first: nDCG, or the first where that is not there."""
    found = rows["metric"].unique(maintain_order=True).to_list()
    return min(found, key=_place, default=PRIMARY)


def list_arms(arms: pl.DataFrame) -> list[ArmResult]:
    """Gather the rows of each arm on each set.

    Args:
        arms: contract Arms; `seed` is null in the row for all seeds.

    Returns:
        Results by metric, the main one first; without a row for all seeds their mean, which has no
        interval, stands in.
    """
    results = []
    for (name, metric, arm), part in arms.group_by("set", "metric", "arm", maintain_order=True):
        each = part.filter(pl.col("seed").is_not_null())
        whole = part.filter(pl.col("seed").is_null())
        if whole.height:
            together = _gain(whole.row(0, named=True), str(arm))
        else:
            means = each.select(pl.col("base", "value", "gain").mean()).row(0, named=True)
            together = _gain({**means, "low": None, "high": None, "metric": metric}, str(arm))
        seeds = tuple(_gain(row, f"seed {row['seed']}") for row in each.iter_rows(named=True))
        results.append(ArmResult(str(arm), str(name), str(metric), together, seeds))
    return sorted(results, key=lambda result: _place(result.metric))


def list_scores(scores: pl.DataFrame) -> list[dict[str, Any]]:
    """List numbers of sets without queries, each beside the base's own.

    Args:
        scores: contract SetScores of models and of `base`.

    Returns:
        A dict per row of a model: its columns, `row` (a Gain) and `pair` (the languages' names).
    """
    keys = ["set", "document_language", "query_language", "metric"]
    base = scores.filter(pl.col("model") == "base").select(*keys, base="value")
    joined = scores.filter(pl.col("model") != "base").join(
        base, on=keys, how="left", maintain_order="left"
    )
    return [
        {**row, "row": _gain(row, row["set"], row["count"]),
         "pair": name_pair(row["document_language"], row["query_language"])}
        for row in joined.to_dicts()
    ]  # fmt: skip


def count_verdicts(gains: Sequence[Gain]) -> dict[Verdict, int]:
    """Count how many are better, worse and unclear."""
    verdicts = [gain.verdict for gain in gains]
    order: tuple[Verdict, ...] = ("better", "worse", "unclear")
    return {verdict: verdicts.count(verdict) for verdict in order}


def _overall(rows: pl.DataFrame) -> list[Gain]:
    gains = [_gain(row, row["metric"]) for row in overall(rows).iter_rows(named=True)]
    return sorted(gains, key=lambda gain: _place(gain.metric))


def _place(metric: str) -> int:
    stem = metric.partition("@")[0]
    return METRICS.index(stem) if stem in METRICS else len(METRICS)


def _name(row: dict[str, Any]) -> str:
    """What a row of a group of directions is called in its table."""
    named = {"document": row["document_language"], "pool": row["query_language"]}
    return str(named.get(row["group"], GROUPS.get(row["group"], "")))


def _gain(row: dict[str, Any], name: str, queries: int | None = None) -> Gain:
    alone = row.get("model") == "base"  # measured by itself: the interval is of its value
    return Gain(
        name, None if alone else row["base"], row["value"], None if alone else row["gain"],
        row["low"], row["high"],
        row.get("queries", 0) if queries is None else queries, row["metric"],
        row.get("document_language", EVERY), row.get("query_language", EVERY),
    )  # fmt: skip


def list_languages_chosen(chosen: Mapping[str, Chosen]) -> list[tuple[str, InLanguage]]:
    """List what was chosen by step and language of the queries.

    Args:
        chosen: step to what was chosen.

    Returns:
        Step and language; nothing of steps with one language, whose chart shows it.
    """
    several = ((name, found.languages) for name, found in chosen.items())
    return [(name, one) for name, each in several if len(each) > 1 for one in each]
