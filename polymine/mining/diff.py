"""What became of the negatives from one run to another, pair by pair, and why.

Why a pair is a negative in one run and not in the other is what the other run says of it: nothing
here guesses. Only what a refusal goes back to, text, risk or budget, is told by comparing both.
"""

from dataclasses import dataclass

import polars as pl

from polymine.data_contracts.tables import CAUSES, CHANGES, Changes
from polymine.mining.selection import CLOSED

KEYS = ["query_id", "doc_id"]
# What may follow from another text: if it is another one, that is the reason.
_OF_TEXT = ["candidate", "risk", "ceiling", "shifted", "validator", "refused", "order"]


@dataclass(frozen=True)
class RunTables:
    """What a run knows of its pairs.

    Args:
        queries, documents: contracts QueryHashes and DocumentHashes.
        negatives: contract Negatives, with all verdicts.
        positives: query_id, doc_id of the known positives.
        ceilings: query_id, ceiling of every query that has a known positive.
        evidence: query_id, doc_id, rank, score and risk of every candidate; read only for queries
            that have a change.
    """

    queries: pl.DataFrame
    documents: pl.DataFrame
    negatives: pl.DataFrame
    positives: pl.DataFrame
    ceilings: pl.DataFrame
    evidence: pl.LazyFrame


def compare(before: RunTables, after: RunTables) -> pl.DataFrame:
    """List the changes that make the negatives of one run those of the other.

    Args:
        before, after: tables of two runs; texts are compared by their hashes.

    Returns:
        Rows of the contract Changes, ordered by query_id, change (as in the contract), position.
        None for a run and itself.
    """
    pairs = _changed(before, after)
    candidates = [_candidates(run, pairs) for run in (before, after)]
    table = pairs
    for run, known, side in zip((before, after), candidates, ("before", "after"), strict=True):
        facts = _facts(run, known, pairs)
        kept = [*KEYS, *(name for name in facts.columns if name not in KEYS)]
        names = {name: f"{name}_{side}" for name in kept if name not in KEYS}
        table = table.join(facts.rename(names), on=KEYS, how="left", maintain_order="left")
    table = _with_reasons(table)
    table = _with_others(table, *candidates)
    columns = Changes.column_names()
    order = ["query_id", "change", "position_after", "position_before", "doc_id"]
    return Changes.cast(table.select(columns)).sort(order)


def count_reasons(changes: pl.DataFrame) -> pl.DataFrame:
    """Count pairs and queries by change and reason.

    Args:
        changes: contract Changes.

    Returns:
        change, reason, pairs, queries; within a change the reason of most pairs first. A query
        counts for each of its reasons.
    """
    counted = changes.group_by("change", "reason").agg(
        pairs=pl.len(), queries=pl.col("query_id").n_unique()
    )
    return counted.sort("change", "pairs", "reason", descending=[False, True, False])


def _changed(before: RunTables, after: RunTables) -> pl.DataFrame:
    """Pairs that are negatives in one run, or in both with another position or text."""
    kept = [
        run.negatives.filter(pl.col("verdict") == "negative").select(
            *KEYS, pl.col("position").alias(f"position_{side}")
        )
        for run, side in ((before, "before"), (after, "after"))
    ]
    pairs = kept[0].join(kept[1], on=KEYS, how="full", coalesce=True)
    other_text = pl.col("query_id").is_in(
        _edited(before.queries, after.queries, "query_id").implode()
    ) | pl.col("doc_id").is_in(_edited(before.documents, after.documents, "doc_id").implode())
    change = (
        pl.when(pl.col("position_before").is_null())
        .then(pl.lit("came"))
        .when(pl.col("position_after").is_null())
        .then(pl.lit("went"))
        .when("other_text")
        .then(pl.lit("edited"))
        .when(pl.col("position_before") != pl.col("position_after"))
        .then(pl.lit("moved"))
        .cast(pl.Enum(CHANGES))
    )
    pairs = pairs.with_columns(other_text=other_text).with_columns(change=change)
    return pairs.filter(pl.col("change").is_not_null())


def _edited(before: pl.DataFrame, after: pl.DataFrame, key: str) -> pl.Series:
    """Ids that both runs have, with another text each."""
    both = before.join(after, on=key, suffix="_after")
    return both.filter(pl.col("text_hash") != pl.col("text_hash_after"))[key]


def _candidates(run: RunTables, pairs: pl.DataFrame) -> pl.DataFrame:
    """Read the candidates of the queries that have a change."""
    asked = pairs.select("query_id").unique().lazy()
    return run.evidence.join(asked, on="query_id", how="semi").collect()


def _facts(run: RunTables, candidates: pl.DataFrame, pairs: pl.DataFrame) -> pl.DataFrame:
    """Say of each pair what it is in a run: `state`, `refusal` and the values there."""
    verdicts = run.negatives.select(
        *KEYS, "verdict", "reason", "validator_score", final=pl.col("risk")
    )
    table = (
        pairs.select(KEYS)
        .join(run.queries.select("query_id", asked=True), on="query_id", how="left")
        .join(run.documents, on="doc_id", how="left")
        .join(run.ceilings.with_columns(answered=True), on="query_id", how="left")
        .join(run.positives.select(*KEYS, positive=True), on=KEYS, how="left")
        .join(candidates.with_columns(found=True), on=KEYS, how="left")
        .join(verdicts, on=KEYS, how="left")
    )
    refusal = pl.when(pl.col("verdict") != "negative").then("reason")
    return table.select(
        *KEYS, "rank", "score", "ceiling", "validator_score", "kept_id",
        risk=pl.coalesce("final", "risk"), refusal=refusal, state=_state(),
    )  # fmt: skip


def _state() -> pl.Expr:
    """What a pair is in a run that does not have it as a negative."""
    reason = pl.col("reason")
    return (
        pl.when(pl.col("asked").is_null())
        .then(pl.lit("query"))
        .when(pl.col("kept_id").is_not_null())
        .then(pl.lit("copy"))
        .when(pl.col("text_hash").is_null())
        .then(pl.lit("document"))
        .when(pl.col("answered").is_null())
        .then(pl.lit("positive"))
        .when(pl.col("verdict") == "promoted")
        .then(pl.lit("promoted"))
        .when(pl.col("positive") | reason.str.starts_with(CLOSED))
        .then(pl.lit("closed"))
        .when(reason.str.starts_with("risk: "))
        .then(pl.lit("risk"))
        .when(reason.str.ends_with("at or above the ceiling"))
        .then(pl.lit("ceiling"))
        .when(reason.str.starts_with("shifted: "))
        .then(pl.lit("shifted"))
        .when(reason.str.starts_with("validator: "))
        .then(pl.lit("validator"))
        .when(reason.is_not_null())
        .then(pl.lit("refused"))
        .when(pl.col("found").is_null())
        .then(pl.lit("candidate"))
        .otherwise(pl.lit("order"))
    )


def _with_reasons(table: pl.DataFrame) -> pl.DataFrame:
    """Tell from the state in the run without the negative why it is none there."""
    came, went = pl.col("change") == "came", pl.col("change") == "went"
    state = pl.when(came).then("state_before").otherwise("state_after")
    here = pl.when(came).then("risk_after").otherwise("risk_before")
    there = pl.when(came).then("risk_before").otherwise("risk_after")
    reason = (
        pl.when(pl.col("change") == "moved")
        .then(pl.lit("position"))
        .when(pl.col("change") == "edited")
        .then(pl.lit("text"))
        .when(pl.col("other_text") & state.is_in(_OF_TEXT))
        .then(pl.lit("text"))
        .when((state == "risk") & (there <= here))
        .then(pl.lit("budget"))
        .otherwise(state)
    )
    refusal = pl.when(came).then("refusal_before").when(went).then("refusal_after")
    kept_id = pl.when(came).then("kept_id_before").when(went).then("kept_id_after")
    return table.with_columns(reason=reason, refusal=refusal, kept_id=kept_id)


def _with_others(table: pl.DataFrame, before: pl.DataFrame, after: pl.DataFrame) -> pl.DataFrame:
    """Name the document on the other side of a change, where there is one."""
    came, went = table.filter(change="came"), table.filter(change="went")
    places = [
        ("went", "order", _first(came, "position_after")),
        ("came", "order", _first(went, "position_before")),
        ("went", "candidate", _first(after.join(before, on=KEYS, how="anti"), "rank")),
        ("came", "candidate", _first(before.join(after, on=KEYS, how="anti"), "rank")),
    ]
    others = [
        first.with_columns(
            change=pl.lit(change, pl.Enum(CHANGES)), reason=pl.lit(reason, pl.String)
        )
        for change, reason, first in places
    ]
    on = ["query_id", "change", "reason"]
    table = table.join(pl.concat(others), on=on, how="left", maintain_order="left")
    without_place = (pl.col("reason") == "order") & _is_beyond_places()
    other_id = pl.when(~without_place).then("other_id")
    reason = pl.when(without_place).then(pl.lit("wanted")).otherwise("reason")
    return table.with_columns(
        reason=reason.cast(pl.Enum(CAUSES)), other_id=pl.coalesce("kept_id", other_id)
    )


def _is_beyond_places() -> pl.Expr:
    """Whether a query has fewer places in the other run, and a negative's place is one of those.

    As many as the one run has more than the other are of no other document: the last ones among
    those that would have passed.
    """
    came = pl.col("change") == "came"
    more = (came.cast(pl.Int64) - (pl.col("change") == "went").cast(pl.Int64)).sum()
    more = more.over("query_id")
    place = pl.when(came).then("position_after").otherwise("position_before")
    from_last = place.rank("ordinal", descending=True).over("query_id", "change", "reason")
    return from_last <= pl.when(came).then(more).otherwise(-more)


def _first(rows: pl.DataFrame, by: str) -> pl.DataFrame:
    """The lowest document of each query by a column; nulls come last."""
    ordered = rows.sort("query_id", by, "doc_id", nulls_last=True)
    return ordered.group_by("query_id", maintain_order=True).agg(other_id=pl.first("doc_id"))
