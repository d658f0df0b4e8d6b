"""The triplet shown first is plausible to every teacher and wrong by all that is known."""

from typing import Any

import polars as pl
import pytest

from polymine.reporting.mining.example import choose_example
from polymine.reporting.mining.tables import Tables
from tests.reporting.mining.small_run import make_tables

LONG = "words that make up a text of readable length, " * 3
# what is wrong with it, score by one, rank by one, score by two, rank by two, risk, characters
FAULTS = {
    "too risky": (0.79, 2, 5.0, 2, 0.03, LONG),
    "above the positive by one": (0.85, 1, 5.0, 2, 0.01, LONG),
    "above the positive by two": (0.78, 2, 9.5, 1, 0.01, LONG),
    "far down for one": (0.77, 11, 5.0, 2, 0.01, LONG),
    "not found by two": (0.76, 2, 0.0, None, 0.01, LONG),
    "too long": (0.75, 2, 5.0, 2, 0.01, LONG * 12),
    "nothing": (0.6, 9, 5.0, 9, 0.019, LONG),
    "easier": (0.5, 9, 5.0, 9, 0.001, LONG),
}


def tables_of(names: list[str]) -> Tables:
    """One query, whose positive scores .8 and 9, and these negatives in this order."""
    rows: list[dict[str, Any]] = []
    for position, name in enumerate(names, 1):
        one, rank_one, two, rank_two, risk, text = FAULTS[name]
        rows.append(
            {
                "query_id": "q", "doc_id": name, "score_one": one, "rank_one": rank_one,
                "score_two": two, "rank_two": rank_two, "risk": risk, "position": position,
                "text": text,
            }
        )  # fmt: skip
    candidates = pl.LazyFrame(rows, schema_overrides={"rank_two": pl.Int64})
    triplets = candidates.select(
        "query_id", "position", positive_id=pl.lit("p"), negative_id="doc_id",
        anchor=pl.lit("which?"), positive=pl.lit("this one"), negative="text",
        positive_score=pl.lit(0.8), negative_score="score_one",
    )  # fmt: skip
    kept = candidates.select("query_id", "doc_id", "risk", verdict=pl.lit("negative"))
    positive = {"query_id": "q", "doc_id": "p", "score_one": 0.8, "score_two": 9.0}
    return make_tables(
        triplets=triplets, negatives=kept.with_columns(score=0.5), evidence=candidates,
        positives=pl.LazyFrame([positive]),
    )  # fmt: skip


def test_the_hardest_that_nothing_speaks_against() -> None:
    found = choose_example(tables_of(list(FAULTS)))
    assert found["negative_id"] == "nothing"
    assert set(found) >= {"anchor", "positive", "negative", "negative_score"}
    assert choose_example(tables_of(list(FAULTS)[::-1])) == {**found, "position": 2}


@pytest.mark.parametrize("fault", [name for name in FAULTS if name not in ("nothing", "easier")])
def test_each_fault_is_one(fault: str) -> None:
    assert choose_example(tables_of([fault, "easier"]))["negative_id"] == "easier"
    assert choose_example(tables_of([fault]))["negative_id"] == fault  # better than none


def test_where_each_has_a_fault_it_is_the_first_that_reads_well() -> None:
    assert choose_example(tables_of(["too risky", "not found by two"]))["position"] == 1
    assert choose_example(make_tables(triplets=tables_of(["easier"]).triplets.head(0))) == {}
