"""What stands in the place of bad negatives, against rules written out by hand."""

import polars as pl
import pytest

from polymine.mining.cleaning import decide_slots, expected_rates


def slots(*rows: tuple) -> pl.DataFrame:
    """Rows of (row, query, positives, document)."""
    frame = pl.DataFrame(rows, ["row", "query_id", "positives", "doc_id"], orient="row")
    return frame.with_columns(column=pl.lit("negative"), place=pl.lit(0))


def decide(given: pl.DataFrame, bad: set[str], spares: list[str]) -> list[tuple[str, str | None]]:
    verdicts = given.select("query_id", "doc_id").unique().with_columns(
        verdict=pl.when(pl.col("doc_id").is_in(list(bad))).then(pl.lit("excluded"))
        .otherwise(pl.lit("unused")),
        reason=pl.lit("risk"), risk=pl.lit(0.5, pl.Float32),
    )  # fmt: skip
    table = pl.DataFrame(
        {"doc_id": spares, "position": range(len(spares))}, schema_overrides={"doc_id": pl.String}
    ).with_columns(query_id=pl.lit("q"), text=pl.col("doc_id"), risk=pl.lit(0.01, pl.Float32))
    decided = decide_slots(given, verdicts, table)
    assert decided.select(given.columns).equals(given)
    return decided.select("action", "replacement").rows()


def test_rows_of_a_query_get_different_ones_and_equal_bad_ones_the_same():
    given = slots((0, "q", "p", "x"), (1, "q", "p", "y"), (2, "q", "p", "x"), (3, "q", "r", "y"))
    assert decide(given, {"x", "y"}, ["a", "b"]) == [
        ("replaced", "a"), ("replaced", "b"), ("replaced", "a"), ("replaced", "a"),
    ]  # fmt: skip


def test_what_the_query_has_already_is_no_replacement():
    given = slots((0, "q", "p", "a"), (1, "q", "p", "x"))
    assert decide(given, {"x"}, ["a", "b"]) == [("kept", None), ("replaced", "b")]


def test_without_one_it_is_removed_and_a_row_with_nothing_left_goes():
    given = slots((0, "q", "p", "x"), (0, "q", "p", "good"), (1, "q", "p", "y"), (2, "q", "p", "z"))
    assert decide(given, {"x", "y", "z"}, ["a"]) == [
        ("replaced", "a"), ("kept", None), ("row removed", None), ("row removed", None),
    ]  # fmt: skip
    assert decide(given, {"x"}, []) == [
        ("removed", None), ("kept", None), ("kept", None), ("kept", None),
    ]  # fmt: skip


def test_expected_rates_count_what_is_known_as_wrong_before():
    decided = pl.DataFrame({
        "action": ["kept", "replaced", "row removed"], "risk": [0.1, 0.3, 0.8],
        "reason": ["passed the rule", "known positive: copy", "risk"],
        "replacement_risk": [None, 0.2, None],
    })  # fmt: skip
    assert expected_rates(decided) == pytest.approx(((0.1 + 1 + 0.8) / 3, (0.1 + 0.2) / 2))
