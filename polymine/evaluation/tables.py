"""Checks of the tables that evaluation reads and writes, each with an error for people."""

from collections.abc import Iterable, Mapping, Sequence

import polars as pl

from polymine.data_contracts.errors import InputError
from polymine.data_contracts.learning import SetScores


def texts(table: pl.DataFrame, what: str, identity: str) -> pl.DataFrame:
    """Check documents or queries.

    Args:
        table: the id, text, language and, if known, group_id.
        what: the table's name in errors.
        identity: column of the ids.

    Returns:
        These four columns as strings; `group_id` is null where it is not given.

    Raises:
        InputError: a column is missing, a value is empty, or an id is there twice.
    """
    if "group_id" not in table.columns:
        table = table.with_columns(group_id=pl.lit(None, dtype=pl.String))
    checked = typed(table, what, dict.fromkeys((identity, "text", "language", "group_id")))
    check_unique(checked, what, [identity])
    return checked


def typed(table: pl.DataFrame, what: str, columns: Mapping[str, object]) -> pl.DataFrame:
    """Select columns of a table; only `group_id` may have nulls.

    Args:
        table: with more columns or without.
        what: its name in errors.
        columns: to take; `pl.Int8` as the value makes a column one, anything else a string.

    Returns:
        The columns, rows in their order.

    Raises:
        InputError: a column is missing, or a value is empty or out of range.
    """
    need_columns(table, columns, what)
    chosen = table.select(
        pl.col(name).cast(pl.Int8 if kind == pl.Int8 else pl.String, strict=False)
        for name, kind in columns.items()
    )
    for name in chosen.columns:
        empty = pl.col(name).is_null()
        if chosen.schema[name] == pl.String:
            empty = empty | (pl.col(name).str.strip_chars() == "")
        rows = chosen.with_row_index("row").filter(empty)["row"].to_list()
        if rows and name != "group_id":
            raise InputError(
                f"{what}: `{name}` is empty or out of range in {len(rows)} rows, the first is row "
                f"{rows[0]}; fill it in or leave the row out"
            )
    return chosen


def need_columns(table: pl.DataFrame, columns: Iterable[str], what: str) -> None:
    """Refuse a table that lacks a column, naming it and those there are."""
    if missing := [column for column in columns if column not in table.columns]:
        raise InputError(
            f"{what}: has no column {', '.join(missing)}; it has {', '.join(table.columns)}"
        )


def check_unique(table: pl.DataFrame, what: str, columns: Sequence[str]) -> None:
    """Check that no key is there twice."""
    twice = table.filter(pl.struct(columns).is_duplicated())
    if twice.height:
        raise InputError(
            f"{what}: expected one row per {' and '.join(columns)}, found {twice.height} rows "
            f"that share theirs, as {'/'.join(twice.select(columns).row(0))}; remove copies"
        )


def check_known(pairs: pl.DataFrame, what: str, table: pl.DataFrame, identity: str) -> None:
    """Check that ids in pairs are those of rows of `table`."""
    unknown = pairs.join(table, on=identity, how="anti")
    if unknown.height:
        raise InputError(
            f"{what}: {unknown.height} rows name a {identity} that is not there, as "
            f"`{unknown[identity][0]}`; add the text or leave these rows out"
        )


def as_set_scores(scores: pl.DataFrame, model: str, set: str) -> pl.DataFrame:
    """Check scores of one model on one set against their contract.

    Args:
        scores: the columns of SetScores but these two.
        model, set: names.

    Returns:
        SetScores, sorted by primary key.
    """
    named = scores.with_columns(model=pl.lit(model), set=pl.lit(set))
    ordered = named.select(SetScores.column_names()).sort(SetScores.primary_key())
    return SetScores.validate(ordered, cast=True)
