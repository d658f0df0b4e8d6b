"""Cleans a file of triplets by what mining says of the negatives that it gives."""

import re
from dataclasses import dataclass
from pathlib import Path

import polars as pl
from rich.console import RenderableType
from rich.table import Table as Drawn
from rich.text import Text

from polymine.data_contracts.errors import InputError, StoreError
from polymine.data_contracts.settings import Reading
from polymine.data_contracts.tables import Cleaned as CleanedRows
from polymine.mining.broken_rows import input_error
from polymine.mining.cleaning import decide_slots, expected_rates
from polymine.reading.columns import take_columns
from polymine.reading.files import read_file, suffix_of
from polymine.reading.pairs import split_broken, text_ids, text_problems
from polymine.reading.rewriting import Edits, rewrite, slots_of
from polymine.reading.roles import PAIRS
from polymine.reading.understood import Table
from polymine.reporting.formatting import format_rate
from polymine.reporting.shown import Shown, visible
from polymine.tasks.runs.run import FinishedRun
from polymine.tasks.store.atomic import write_frame, write_whole
from polymine.tasks.store.datasets import check

_SCORES = re.compile(
    "score|logit|sim", re.IGNORECASE
)  # what columns that speak of single negatives are called


@dataclass(frozen=True)
class TripletFile:
    """A file whose negatives can be judged, before they are.

    Args:
        table: as it was read.
        rows: of the table that can be used, ascending.
        slots: a row per given negative, as `decide_slots` takes it, and the `query` and `negative`.
        stale: columns that may speak of single negatives, and are left as they are.
    """

    path: Path
    table: Table
    rows: tuple[int, ...]
    slots: pl.DataFrame
    stale: tuple[str, ...]

    @property
    def most(self) -> int:
        """The largest number of different negatives of a query."""
        counts = self.slots.group_by("query_id").agg(pl.col("doc_id").n_unique())
        return int(counts["doc_id"].max())  # type: ignore[arg-type]


@dataclass(frozen=True)
class Cleaned(Shown):
    """A cleaned file, and what was done to it.

    Args:
        path: the file, in the format of the one that was given.
        explained: Parquet, contract Cleaned: a row per given negative.
        run: the mining run that judged them.
        rates: expected share of false negatives before and after.
        stale: columns that may speak of single negatives, and were left as they were.
    """

    path: Path
    explained: Path
    run: FinishedRun
    rates: tuple[float, float]
    stale: tuple[str, ...] = ()

    @property
    def changes(self) -> pl.DataFrame:
        """What became of each given negative, and why (contract Cleaned)."""
        return pl.read_parquet(self.explained, glob=False)

    def __rich__(self) -> RenderableType:
        counts = self.changes.group_by("action", "reason").len().sort("action", "len", "reason")
        table = Drawn(box=None, padding=(0, 2, 0, 0), pad_edge=False, header_style="dim")
        for name in ("negatives", "", "why"):
            table.add_column(name, justify="right" if name == "negatives" else "left")
        for action, reason, count in counts.rows():
            table.add_row(f"{count:,}", action, visible(reason))
        before, after = map(format_rate, self.rates)
        table.add_row("", "", "")
        table.add_row("", "false", f"expected before {before}, now {after}")
        for warning in self.run.info.get("warnings") or ():
            table.add_row("", "check this", Text(warning))
        table.add_row("", "file", Text(str(self.path)))
        table.add_row("", "explained", Text(str(self.explained)))
        if self.stale:
            names = ", ".join(self.stale)
            table.add_row("", "not changed", f"{names}: may speak of what was replaced")
        return table


def read_triplets(path: Path, reading: Reading) -> TripletFile:
    """Read a file of triplets or n-tuples, flat columns or a trainer's records.

    Raises InputError for what is no single file, for rows that cannot be used unless they are to
    be set aside, and for a file without negatives or with ids in their place.
    """
    name = str(path)
    if not path.is_file() or not suffix_of(path):
        raise InputError(f"{name}: expected one file of triplets, as Parquet, JSON lines or CSV")
    table = read_file(path, name, PAIRS, reading)
    if "negative_ids" in table.rows.columns:
        raise InputError(
            f"{name}: names documents by their ids, and has no place for the text of another; mine "
            "it as `pairs` beside its `corpus`, which judges its negatives, and write it anew with "
            "`polymine export`"
        )
    taken = take_columns(table, PAIRS, reading)
    problems = [*taken.problems, *text_problems(taken.rows, PAIRS, name)]
    columns = [column for meaning, column in taken.understood.columns if meaning == "negative"]
    if not problems and not columns:
        found = ", ".join(table.rows.columns)
        problems.append(f"{name}: no column of negatives, so nothing to clean (found: {found})")
    if problems:
        raise input_error(problems, table.broken)
    numbered = taken.rows.drop("row", strict=False).with_row_index("row")
    rows, broken = split_broken(numbered, PAIRS, name)
    broken = pl.concat([table.broken, broken])
    if broken.height and reading.on_invalid == "fail":
        raise input_error([], broken)
    scores = (each for each in taken.understood.ignored if _SCORES.search(each))
    beside = tuple(f"{column}_" for column in columns)  # lists of scores follow their texts
    stale = tuple(
        each
        for each in scores
        if not (each.startswith(beside) and table.rows.schema.get(each, pl.Null).is_nested())
    )
    slots = _slots(table, rows, columns)
    if slots.is_empty():
        raise InputError(f"{name}: not one negative in {', '.join(columns)}, so nothing to clean")
    return TripletFile(path, table, tuple(rows["row"]), slots, stale)


def _slots(table: Table, rows: pl.DataFrame, columns: list[str]) -> pl.DataFrame:
    positives = pl.col("positive")
    if rows.schema["positive"] == pl.List(pl.String):
        positives = positives.list.join("\n")
    asked = rows.select(
        pl.col("row").cast(pl.Int64), "negative", query="anchor", positives=positives
    )
    slots = slots_of(table, columns).join(asked, on="row", maintain_order="left")
    given = slots.filter(pl.col("text").is_in(pl.col("negative")))  # neither blank nor a mark
    return given.select(
        "row", "column", "place", "positives", "query", negative="text",
        query_id=pl.Series(text_ids("q", given["query"]), dtype=pl.String),
        doc_id=pl.Series(text_ids("d", given["text"]), dtype=pl.String),
    )  # fmt: skip


def clean_file(file: TripletFile, run: FinishedRun, target: Path) -> Cleaned:
    """Write the file anew by what a run found of its negatives, and a table that explains it.

    Raises StoreError where the target is there already.
    """
    explained = target.with_name(f"{target.name.partition('.')[0]}-explained.parquet")
    for place in (target, explained):
        if place.exists():
            raise StoreError(f"{place}: already there; remove it, or name another file with --to")
    copies = run.read("document_hashes").drop_nulls("kept_id")
    kept_as = dict(copies.select("doc_id", "kept_id").rows())
    slots = file.slots.with_columns(pl.col("doc_id").replace(kept_as))
    decided = decide_slots(slots, run.read("given"), _spares(run))
    lost = set(decided.filter(action="row removed")["row"])
    edits = _edits(decided)
    kept = [row for row in file.rows if row not in lost]
    write_whole(target, lambda part: rewrite(file.path, part, file.table, kept, edits))
    rows = decided.select(pl.col("row") + 1, *CleanedRows.column_names()[1:])
    write_frame(check(rows, CleanedRows, "explained"), explained)
    return Cleaned(target, explained, run, expected_rates(decided), file.stale)


def _spares(run: FinishedRun) -> pl.DataFrame:
    """Negatives that were mined, with their texts: also of queries whose pairs are doubtful."""
    chosen = run.negatives.filter(verdict="negative").select(
        "query_id", "doc_id", "position", "risk"
    )
    texts = run.collection("documents", "doc_id", chosen["doc_id"].unique())
    if texts is None:
        raise StoreError(f"{run.store_name()}: no longer has the documents; clean the file again")
    return chosen.join(texts.select("doc_id", "text"), on="doc_id")


def _edits(decided: pl.DataFrame) -> Edits:
    """New texts of the rows in which something is replaced or removed."""
    edits: dict[int, dict[str, dict[int, str | None]]] = {}
    changed = decided.filter(pl.col("action").is_in(["replaced", "removed"]))
    for row, column, cells in changed.group_by("row", "column", maintain_order=True).agg(
        pl.struct("place", "replacement")
    ).rows():  # fmt: skip
        new = {cell["place"]: cell["replacement"] for cell in cells}
        edits.setdefault(row, {})[column] = new
    return edits
