"""What becomes of the negatives that a file of triplets gives: kept, replaced or taken out."""

import polars as pl

BAD = ("excluded", "promoted")
_GROUP = ["query_id", "positives"]
_PAIR = ["query_id", "doc_id"]


def decide_slots(slots: pl.DataFrame, verdicts: pl.DataFrame, spares: pl.DataFrame) -> pl.DataFrame:
    """Say of each given negative whether it stays, and what else stands in its place.

    A bad negative is replaced by its query's next best one that no row of the query has yet; the
    same one in several rows of a query and its positives is replaced by the same. Where there is
    none left it is removed, and so is a row that is left without any.

    Args:
        slots: a row per given negative: `row` of the file, `column`, `place` within the cell,
            query_id, doc_id, and `positives`, the same for rows with the same ones.
        verdicts: query_id, doc_id, verdict, reason, risk (contract GivenVerdicts).
        spares: query_id, doc_id, text, position, risk of the negatives that were mined.

    Returns:
        `slots` in their order with verdict, reason, risk, `replacement`, `replacement_risk` and
        `action`: kept, replaced, removed, or `row removed`.
    """
    judged = slots.join(
        verdicts.select(*_PAIR, pl.col("verdict").cast(pl.String), "reason", "risk"),
        on=_PAIR, how="left", maintain_order="left",
    )  # fmt: skip
    bad = pl.col("verdict").is_in(BAD)
    free = spares.join(slots, on=_PAIR, how="anti").sort("query_id", "position", "doc_id")
    free = free.select(
        "query_id",
        replacement="text",
        replacement_risk="risk",
        nth=pl.int_range(pl.len()).over("query_id"),
    )
    wanted = judged.filter(bad).unique([*_GROUP, "doc_id"], keep="first", maintain_order=True)
    wanted = wanted.select(*_GROUP, "doc_id", nth=pl.int_range(pl.len()).over(_GROUP))
    found = wanted.join(free, on=["query_id", "nth"]).drop("nth")
    judged = judged.join(found, on=[*_GROUP, "doc_id"], how="left", maintain_order="left")
    lost = bad & pl.col("replacement").is_null()
    return judged.with_columns(
        action=pl.when(lost.all().over("row"))
        .then(pl.lit("row removed"))
        .when(lost)
        .then(pl.lit("removed"))
        .when(bad)
        .then(pl.lit("replaced"))
        .otherwise(pl.lit("kept"))
    )


def expected_rates(decided: pl.DataFrame) -> tuple[float, float]:
    """Expected share of false negatives before and after.

    Args:
        decided: as from `decide_slots`; what is known to be relevant counts as 1.

    Returns:
        Two shares from 0 to 1; 0 of nothing.
    """
    known = pl.col("reason").str.starts_with("known positive")
    before = pl.when(known).then(1.0).otherwise(pl.col("risk"))
    after = pl.when(pl.col("action") == "replaced").then("replacement_risk").otherwise(before)
    left = decided.filter(pl.col("action").is_in(["kept", "replaced"]))
    return (
        float(decided.select(before.mean()).item() or 0.0),
        float(left.select(after.mean()).item() or 0.0),
    )
