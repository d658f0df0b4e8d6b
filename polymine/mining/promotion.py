"""Further positives that nobody marked: as many as a budget of wrong ones allows.

Candidates are promoted from the most precise down as long as the expected share of wrong ones stays
within `max_false_positive_rate`, as negatives are chosen within the other budget. What a risk is
worth `precision` learns, from the pairs of known truth that are found here.
"""

from collections.abc import Sequence

import numpy as np
import polars as pl

from polymine.data_contracts.notes import Precision, Promotion
from polymine.mining import precision
from polymine.mining.likelihoods import DECIMALS
from polymine.mining.precision import assess, fit_precisions
from polymine.mining.risk import Array


def keep_labelled(assessed: pl.DataFrame) -> pl.DataFrame:
    """Keep what may calibrate: labelled pairs.

    Args:
        assessed: rows of the contract Evidence.

    Returns:
        These rows, with all their columns.
    """
    return assessed.filter(pl.col("label").is_not_null())


def keep_likely(assessed: pl.DataFrame) -> pl.DataFrame:
    """Keep what may be promoted: what is open, without a label and likely enough.

    Args:
        assessed: rows of the contract Evidence, and their `risk`.

    Returns:
        query_id, doc_id, same_language, risk.
    """
    open_ = pl.col("closed").is_null() & pl.col("label").is_null()
    likely = assessed.filter(open_ & (pl.col("risk") >= precision.LEAST_RISK))
    return likely.select("query_id", "doc_id", "same_language", "risk")


def name_languages(
    pairs: pl.DataFrame, queries: pl.DataFrame, documents: pl.DataFrame
) -> pl.DataFrame:
    """Put `kind` and `languages` to pairs.

    Args:
        pairs: query_id, doc_id, same_language and more.
        queries, documents: their ids and `language`.

    Returns:
        The same, in their order, without `same_language`.
    """
    named = pairs.join(
        queries.select("query_id", asked="language"), on="query_id", how="left",
        maintain_order="left",
    ).join(
        documents.select("doc_id", read="language"), on="doc_id", how="left", maintain_order="left"
    )  # fmt: skip
    same = pl.when("same_language").then(pl.lit("same")).otherwise(pl.lit("foreign"))
    columns = {"kind": same, "languages": pl.format("{}-{}", "read", "asked")}
    return named.with_columns(**columns).drop("asked", "read", "same_language")


def find_precisions(known: pl.DataFrame, labels: pl.DataFrame) -> tuple[Precision, ...]:
    """Learn how precise the risk is from labels of pairs that nobody had marked.

    Nothing else tells. Judgments of 0 are of a few queries, and hidden known positives say how many
    a careful judge would have marked, not how many are left where the judging is done.

    Args:
        known: query_id, doc_id, kind, languages, label, `risk` as if nothing were known of them, as
            from `keep_labelled`.
        labels: contract Labels.

    Returns:
        As of `fit_precisions`.
    """
    said = labels.filter(pl.col("source").cast(pl.String) == "labels")
    pairs = known.join(said, on=["query_id", "doc_id"], how="semi")
    return fit_precisions(pairs.with_columns(right=pl.col("label") > 0))


def leave_out_refuted(
    likely: pl.DataFrame, labels: pl.DataFrame, versions: pl.DataFrame
) -> pl.DataFrame:
    """Leave out what stands for a pair that somebody has looked at and called wrong.

    Args:
        likely: query_id, doc_id and more.
        labels: contract Labels.
        versions: contract Versions.

    Returns:
        The other rows, with all their columns.
    """
    refuted = labels.filter(relevance=0).select("query_id", "doc_id")
    return likely.join(widen(refuted, versions), on=["query_id", "doc_id"], how="anti")


def promote_within(
    likely: pl.DataFrame,
    positives: pl.DataFrame,
    precisions: Sequence[Precision],
    budget: float,
) -> tuple[pl.DataFrame, Promotion]:
    """Promote the candidates that are precise enough.

    Args:
        likely: query_id, doc_id, kind, languages, risk of open candidates.
        positives: query_id, doc_id of the known ones; only queries that have one get further ones.
        precisions: as from `find_precisions`.
        budget: expected share of wrong ones among the promoted.

    Returns:
        query_id, doc_id, precision; and what was found, for the report.
    """
    asked = likely.join(positives, on="query_id", how="semi")
    assessed = assess(asked, precisions)
    known = [each.pair for each in precisions]
    unknown = asked.filter(~pl.col("kind").is_in(known) & ~pl.col("languages").is_in(known))
    counts = unknown.group_by("kind").len().sort("kind")
    cut = find_cut(assessed["lower"].to_numpy(), budget, precision.LEAST_PRECISION)
    promoted = assessed.clear() if cut is None else assessed.filter(pl.col("lower") >= cut)
    expected = float((1 - promoted["lower"]).mean() or 0.0)  # type: ignore[arg-type]
    found = Promotion(
        precisions=tuple(precisions), cut=cut, promoted=len(promoted),
        expected=round(expected, DECIMALS), unknown=dict(counts.rows()),
    )  # fmt: skip
    return promoted.select("query_id", "doc_id", "precision"), found


def find_cut(lower: Array, budget: float, least: float) -> float | None:
    """Find how precise a candidate has to be to be promoted.

    Args:
        lower: cautious precisions of all candidates, (n,).
        budget: expected share of wrong ones among the promoted, from 0 to 1.
        least: precision below which nothing is promoted: many sure ones must not pay for it.

    Returns:
        The lowest `lower` from which the mean of 1 - `lower` is within the budget; None where none
        is.
    """
    ordered = np.sort(lower[lower >= least])[::-1]
    wrong = np.cumsum(1 - ordered) / np.arange(1, len(ordered) + 1)
    last = np.append(ordered[1:] < ordered[:-1], True)  # a cut lets in all that are equal
    within = last[: len(ordered)] & (wrong <= budget)
    return float(ordered[within].min()) if within.any() else None


def close_versions(promoted: pl.DataFrame, versions: pl.DataFrame) -> pl.DataFrame:
    """Close what stands for a promoted document, for every query that asks the same.

    Args:
        promoted: query_id, doc_id, precision.
        versions: contract Versions.

    Returns:
        Contract Promotions: the promoted pairs, and what closes with them; by query_id, doc_id.
    """
    table = promoted.select("query_id", "doc_id", pl.col("precision").cast(pl.Float32))
    wide = widen(table.select("query_id", "doc_id"), versions)
    closed = wide.join(table, on=["query_id", "doc_id"], how="anti")
    return pl.concat([table, closed], how="diagonal").sort("query_id", "doc_id")


def widen(pairs: pl.DataFrame, versions: pl.DataFrame) -> pl.DataFrame:
    """Add what stands for the documents of pairs, for every query that asks the same.

    Args:
        pairs: query_id, doc_id.
        versions: contract Versions.

    Returns:
        query_id, doc_id of all of them, each pair once.
    """
    for side, key in (("document", "doc_id"), ("query", "query_id")):
        named = versions.filter(pl.col("side").cast(pl.String) == side).select("id", "version")
        others = (
            pairs.join(named.rename({"id": key}), on=key)
            .drop(key)
            .join(named.rename({"id": key}), on="version")
            .select("query_id", "doc_id")
        )
        pairs = pl.concat([pairs, others]).unique()
    return pairs
