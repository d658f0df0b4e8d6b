"""What a user's tables must be before anything else looks at them.

Shapes (columns, types) belong to a whole file and always stop the run. Rules belong to rows: all
that are broken are found first, and only then does `on_invalid` decide whether they stop the run
or are set aside, so that "fail" and "quarantine" cannot disagree about what is wrong.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

import dataframely as dy
import polars as pl

from polymine.data_contracts.tables import Documents, Given, Judgments, Queries, Rejected
from polymine.mining.broken_rows import (
    BROKEN,
    SOURCE_COLUMN,
    as_json,
    broken_frame,
    input_error,
    nearest,
    rejected_rows,
)

OnInvalid = Literal["fail", "quarantine"]
NAMES = ("corpus.parquet", "queries.parquet", "qrels.parquet", "labels.parquet", "run.trec")
_LANGUAGE = r"^[A-Za-z]{2,3}([-_][A-Za-z0-9]{2,8})*$|^.?$"  # the contract says what is too short


class _DocumentRows(Documents):
    """The contract, plus the row's number (to trace a failure) and what only input can break."""

    number = dy.UInt32()

    @dy.rule()
    def language_is_a_code(cls) -> pl.Expr:
        return pl.col("language").str.contains(_LANGUAGE)


class _QueryRows(Queries):
    number = dy.UInt32()

    @dy.rule()
    def language_is_a_code(cls) -> pl.Expr:
        return pl.col("language").str.contains(_LANGUAGE)


class _JudgmentRows(Judgments):
    number = dy.UInt32()
    whole = dy.Bool()

    @dy.rule()
    def relevance_is_whole(cls) -> pl.Expr:
        return pl.col("whole")


class _GivenRows(Given):
    number = dy.UInt32()


_ROWS: dict[type[dy.Schema], type[dy.Schema]] = {
    Documents: _DocumentRows,
    Queries: _QueryRows,
    Judgments: _JudgmentRows,
    Given: _GivenRows,
}
_PHRASES = {
    "text_is_not_empty": "`text` is empty",
    "language_is_a_code": "`language` is not a code such as `en` or `zh-Hans`",
    "relevance_is_whole": "`relevance` is not a whole number from 0 to 127",
    "relevance|min": "`relevance` is below 0",
    "language|min_length": "`language` is shorter than 2 characters",
}


@dataclass(frozen=True)
class Checked:
    """Tables that obey their contracts, and the rows that did not."""

    documents: dy.DataFrame[Documents]
    queries: dy.DataFrame[Queries]
    judgments: dy.DataFrame[Judgments]
    labels: dy.DataFrame[Judgments]
    given: dy.DataFrame[Given]
    rejected: dy.DataFrame[Rejected]


class _Table:
    """One input table while it is checked: its rows in the contract's types, and what they break.

    `marks` has one line per broken rule of a row: `number`, `rule`.
    """

    def __init__(self, given: pl.DataFrame, contract: type[dy.Schema], source: str) -> None:
        self.given, self.contract, self.source = given, contract, source
        self.rows = _aligned(given, contract)
        self.marks = _broken_rules(self.rows, contract)

    def mark(self, numbers: pl.Series, rule: str) -> None:
        self.marks = self.marks.vstack(
            pl.DataFrame({"number": numbers}).with_columns(rule=pl.lit(rule))
        )

    def kept(self) -> pl.DataFrame:
        valid = self.rows.join(self.marks, on="number", how="anti", maintain_order="left")
        return valid.select(self.contract.column_names())

    def broken(self) -> pl.DataFrame:
        rules = self.marks.group_by("number").agg(pl.col("rule").alias("rules")).sort("number")
        given = self.given[rules["number"]]
        source = [self.source] * given.height
        if SOURCE_COLUMN in given.columns:
            source = given[SOURCE_COLUMN].to_list()
        rows = [
            as_json(row) for row in given.drop(SOURCE_COLUMN, strict=False).iter_rows(named=True)
        ]
        return pl.DataFrame({"source": source, "rules": rules["rules"], "row": rows}, schema=BROKEN)


def check_tables(
    documents: pl.DataFrame,
    queries: pl.DataFrame,
    judgments: pl.DataFrame,
    labels: pl.DataFrame | None = None,
    given: pl.DataFrame | None = None,
    *,
    on_invalid: OnInvalid,
    names: Sequence[str] = NAMES,
) -> Checked:
    """Split raw tables into rows that obey the contracts and rows that do not.

    A judgment is rejected with the document or query it points to. Of rows that repeat each other
    exactly the first is kept; rows that share an id and differ are all rejected, since nothing
    says which is right. Queries without a positive are legal.

    Args:
        documents, queries, judgments, labels, given: ids may be strings or integers, relevance any
            kind of number; `title` and `group_id` may be missing; other columns are left out.
        on_invalid: "fail" stops at broken rules of rows, "quarantine" sets the rows aside.
        names: what errors call the five tables.

    Returns:
        The tables in the order of their rows, and what was set aside.

    Raises:
        InputError: lists every broken rule with file, number of rows and examples: missing columns,
            wrong types, no rows, no positive; and any other rule if `on_invalid` is "fail".
    """
    contracts = (Documents, Queries, Judgments, Judgments, Given)
    frames = (documents, queries, judgments, labels, given)
    named = [
        (contract, frame, name)
        for contract, frame, name in zip(contracts, frames, names, strict=True)
        if frame is not None
    ]
    problems = [
        problem
        for contract, frame, name in named
        for problem in shape_problems(frame, contract, name)
    ]
    if problems:
        raise input_error(problems, broken_frame([]))
    tables = [_Table(frame, contract, name) for contract, frame, name in named]
    for pointing in tables[2:]:
        _mark_pointers(pointing, tables[0], "doc_id", on_invalid)
        _mark_pointers(pointing, tables[1], "query_id", on_invalid)
    broken = pl.concat([table.broken() for table in tables])
    problems = _empty_tables(tables)
    if problems or (on_invalid == "fail" and broken.height):
        raise input_error(problems, broken)
    kept = iter([table.kept() for table in tables])
    return Checked(
        documents=Documents.validate(next(kept)),
        queries=Queries.validate(next(kept)),
        judgments=Judgments.validate(next(kept)),
        labels=Judgments.create_empty() if labels is None else Judgments.validate(next(kept)),
        given=Given.create_empty() if given is None else Given.validate(next(kept)),
        rejected=rejected_rows(broken),
    )


_TEXT_KEYS: dict[type[dy.Schema], str] = {Documents: "document", Queries: "query"}


def shape_problems(frame: pl.DataFrame, contract: type[dy.Schema], source: str) -> list[str]:
    """Look for missing columns and wrong types in one table.

    Args:
        contract: of the table; columns that may be null there may be missing here.
        source: what errors call the table.

    Returns:
        A sentence per problem.
    """
    problems = []
    for name, column in contract.columns().items():
        if name not in frame.columns:
            if not column.nullable:
                key = _TEXT_KEYS.get(contract, name) if name == "text" else name
                problems.append(
                    f"{source}: column `{name}` is missing{nearest(name, frame)}; "
                    f'`[dataset.columns]` says what it is called, as `{key} = "..."`'
                )
        elif not _is_acceptable(name, frame.schema[name]):
            expected = "whole numbers" if name == "relevance" else "strings"
            problems.append(
                f"{source}: column `{name}` should hold {expected}, got {frame.schema[name]}"
            )
    return problems


def _aligned(frame: pl.DataFrame, contract: type[dy.Schema]) -> pl.DataFrame:
    columns = []
    for name in contract.column_names():
        value = pl.col(name) if name in frame.columns else pl.lit(None)
        kind = pl.Float64 if name == "relevance" else pl.String
        columns.append(value.cast(kind, strict=False).alias(name))
    aligned = frame.select(pl.int_range(pl.len(), dtype=pl.UInt32).alias("number"), *columns)
    if contract is not Judgments:
        return aligned
    # An unreadable string has become null by now, and must not be taken for a missing value.
    given, number = frame["relevance"].is_not_null(), pl.col("relevance")
    whole = (number.is_between(-128, 127) & (number == number.floor())).fill_null(False)
    return aligned.with_columns(
        whole=pl.when(given).then(whole).otherwise(True),
        relevance=pl.when(whole).then(number).when(given).then(0).cast(pl.Int8),
    )


def _broken_rules(rows: pl.DataFrame, contract: type[dy.Schema]) -> pl.DataFrame:
    first = rows.select(pl.struct(pl.exclude("number")).is_first_distinct()).to_series()
    failures = _ROWS[contract].filter(rows.filter(first))[1].details()
    rules = [name for name in failures.columns if name not in rows.columns]
    broken = (
        failures.unpivot(rules, index="number", variable_name="rule")
        .filter(pl.col("value") == "invalid")
        .select("number", pl.col("rule").replace(_phrases(rules, contract.primary_key())))
    )
    repeated = rows.filter(~first).select("number", rule=pl.lit("duplicate row"))
    return pl.concat([broken, repeated])


def _phrases(rules: Iterable[str], key: Sequence[str]) -> dict[str, str]:
    named = dict(_PHRASES)
    named["primary_key"] = " and ".join(f"`{name}`" for name in key) + " is not unique"
    for rule in rules:
        column, _, kind = rule.partition("|")
        named.setdefault(rule, f"`{column}` {'is null' if kind == 'nullability' else 'is empty'}")
    return named


def _mark_pointers(judgments: _Table, target: _Table, key: str, on_invalid: OnInvalid) -> None:
    pointers = judgments.rows.select("number", key).drop_nulls()
    dangling = pointers.join(target.rows, on=key, how="anti")
    judgments.mark(dangling["number"], f"`{key}` is not in {target.source}")
    if on_invalid == "quarantine":  # otherwise the row pointed to is reported, once
        orphaned = pointers.join(dangling, on="number", how="anti")
        orphaned = orphaned.join(target.kept(), on=key, how="anti")
        judgments.mark(orphaned["number"], f"`{key}` points to a rejected row of {target.source}")


def _empty_tables(tables: Sequence[_Table]) -> list[str]:
    problems = []
    for table in tables:
        if table.contract is Given:
            continue  # pairs need not bring negatives
        if table.given.height == 0:
            problems.append(f"{table.source}: there are no rows")
        elif table.kept().height == 0:
            problems.append(f"{table.source}: no row is left, all break a rule")
    judgments = tables[2]
    if not problems and judgments.kept().filter(pl.col("relevance") > 0).height == 0:
        problems.append(
            f"{judgments.source}: not one positive pair; at least one `relevance` must be above 0"
        )
    return problems


def _is_acceptable(name: str, dtype: pl.DataType) -> bool:
    if name == "relevance":
        return dtype.is_numeric() or dtype in (pl.String, pl.Null, pl.Boolean)
    if name.endswith("_id") and dtype.is_integer():
        return True
    return dtype in (pl.String, pl.Null, pl.Categorical, pl.Enum)
