"""Leaves out of a set what models have learned from, and the same of other forms of the set."""

from collections.abc import Callable, Sequence
from typing import Any

import polars as pl

from polymine.data_contracts.errors import InputError
from polymine.data_contracts.notes import SetNote
from polymine.data_contracts.references import DatasetRef
from polymine.tasks.engine.context import Context
from polymine.tasks.engine.plan import Plan
from polymine.tasks.engine.stage import stage
from polymine.tasks.evaluation.sets import (
    COLLECTION,
    count_texts,
    open_collection,
    plan_set,
    read_table,
    tables_in,
)
from polymine.tasks.store.datasets import load, note_of

VERSION = 1
LEFT_OUT = "left_out"  # table of a set: id of each query, pair, sentence or item that is gone


@stage("leave-out", "leave-out-{name}")
def leave_out(run: Context, name: str, tables: DatasetRef, seen: Sequence[DatasetRef]) -> Plan:
    """Write a set without the queries, pairs, sentences or items that models learned from."""
    depends = {"set": tables, "name": name, "seen": list(seen)}

    def ids() -> pl.Series:
        return _ids(tables, pl.concat(load(each) for each in seen).filter(set=name))

    return _plan(tables, depends, ids)


@stage("leave-out-alike", "leave-out-alike-{name}")
def leave_out_alike(run: Context, name: str, tables: DatasetRef, other: DatasetRef) -> Plan:
    """Write another form of a set without what `other` is without."""
    return _plan(tables, {"set": tables, "other": other}, lambda: left_out_of(other))


def left_out_of(reference: DatasetRef) -> pl.Series:
    """List the ids of what was left out of a set."""
    if LEFT_OUT not in tables_in(reference):
        return pl.Series("id", [], dtype=pl.String)
    return read_table(reference, LEFT_OUT)["id"]


def _plan(tables: DatasetRef, depends: dict[str, Any], ids: Callable[[], pl.Series]) -> Plan:
    return plan_set({"version": VERSION, **depends}, lambda: _without(tables, ids()))


def _ids(reference: DatasetRef, seen: pl.DataFrame) -> pl.Series:
    """Name what goes; queries by their own text and by documents that are relevant to them."""
    if note_of(reference, SetNote).kind != "retrieval":
        return seen["id"].unique().sort()
    known = seen.filter(part="document")
    relevant = open_collection(reference).relevant
    gone = relevant.join(known, left_on="doc_id", right_on="id", how="semi")
    return pl.concat([seen.filter(part="query")["id"], gone["query_id"]]).unique().sort()


def _without(reference: DatasetRef, ids: pl.Series) -> tuple[SetNote, dict[str, pl.DataFrame]]:
    """Make a set's note and tables without these; InputError where nothing is left."""
    note = note_of(reference, SetNote)
    tables = {name: read_table(reference, name) for name in tables_in(reference)}
    if note.kind == "retrieval":
        whole = open_collection(reference)
        asked = whole.queries.filter(~pl.col("query_id").is_in(ids.implode()))
        tables |= {name: getattr(whole.ask(asked), name) for name in COLLECTION}
        before, counts = note.queries, count_texts(tables)
        left = counts["queries"]
    else:
        (table,) = (name for name in ("pairs", "sentences", "items") if name in tables)
        key = pl.col("item_id" if table == "items" else "id").cast(pl.String)
        before, counts = tables[table].height, {}
        tables[table] = tables[table].filter(~key.is_in(ids.implode()))
        left = tables[table].height
    if not left:
        raise InputError(
            f"{note.name}: models have learned from everything that it measures; choose another "
            'set, or set evaluation.contaminated = "report"'
        )
    tables[LEFT_OUT] = pl.DataFrame({"id": ids})
    return note.model_copy(update={**counts, "left_out": before - left}), tables
