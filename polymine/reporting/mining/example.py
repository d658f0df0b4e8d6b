"""The one triplet that a run shows first: a hard negative as one would put it into a textbook."""

from typing import Any

import polars as pl

from polymine.mining.selection import SAFE
from polymine.reporting.mining.tables import Tables

TRIED = 5000  # triplets that it is looked for among
READABLE = (120, 1200)  # characters of its texts together
NEAR = 10  # rank within which every teacher has it


def choose_example(tables: Tables) -> dict[str, Any]:
    """Return one triplet in full, or nothing where there is none.

    If any is, it is one that every teacher finds plausible, among its ten best, and that is wrong
    by all that is known: every teacher scores the positive higher, and the risk is small. Of these
    it is the hardest. Else it is the first of a readable length, or the first.
    """
    rows = tables.triplets.head(TRIED).collect()
    texts = pl.sum_horizontal(pl.col("anchor", "positive", "negative").str.len_chars())
    readable = rows.filter(texts.is_between(*READABLE))
    for choice in (_textbook(readable, tables), readable.filter(position=1), rows):
        if len(choice):
            return choice.row(0, named=True)
    return {}


def _textbook(rows: pl.DataFrame, tables: Tables) -> pl.DataFrame:
    """Take the triplets that are plausible and wrong, hardest first."""
    ids = rows["query_id"]
    first, last = (pl.lit(each, pl.String) for each in (ids.min(), ids.max()))
    asked = pl.col("query_id").is_between(first, last)
    pair, names = ["query_id", "negative_id"], tables.teachers
    near = pl.all_horizontal(pl.col(f"rank_{name}") <= NEAR for name in names)
    plausible = tables.evidence.filter(asked, near).select(
        "query_id", negative_id="doc_id", **{f"negative_{name}": f"score_{name}" for name in names}
    )
    safe = tables.kept.filter(asked, pl.col("risk") <= SAFE)
    known = tables.positives.filter(asked).select(
        "query_id", positive_id="doc_id", **{f"positive_{name}": f"score_{name}" for name in names}
    )
    found = (
        rows.lazy()
        .join(safe.select("query_id", negative_id="doc_id"), on=pair, how="semi")
        .join(plausible, on=pair)
        .join(known, on=["query_id", "positive_id"])
        .filter(pl.all_horizontal(pl.col(f"positive_{n}") > pl.col(f"negative_{n}") for n in names))
    )
    order = ["negative_score", "query_id", "positive_id", "position"]
    hardest = found.sort(order, descending=[True, False, False, False])
    return hardest.select(rows.columns).collect()
