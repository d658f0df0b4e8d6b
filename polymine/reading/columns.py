"""Which of a file's columns means what: by the settings, by its name, or by its place.

Place speaks only for the texts of pairs, and only where nothing else would do: not for numbers, an
index without a name or a column whose name says negative, and not where several columns are left.
"""

import re
from dataclasses import dataclass, replace

import polars as pl

from polymine.data_contracts.notes import Understood
from polymine.data_contracts.settings import Reading
from polymine.data_contracts.tables import INVISIBLE
from polymine.reading.doubts import NO_TEXT, third_column, value_doubts
from polymine.reading.roles import Role
from polymine.reading.shared_texts import join_lists
from polymine.reading.understood import Table

# Marks of other libraries and spreadsheets for a value that is not there, as a whole cell.
MARKS = ("NaN", "nan", "NAN", "null", "NULL", "None", "NA", "N/A", "n/a", "<NA>", "#N/A",
         "#NA", r"\N")  # fmt: skip
_MARKED = rf"^\s*({'|'.join(map(re.escape, MARKS))})\s*$"
_NUMBERED = re.compile(r"(hard_)?neg(ative)?s?_?(\d+)")
_LISTED = pl.List(pl.String)


@dataclass(frozen=True)
class Taken:
    """A table under the names of its role, what was understood, and what keeps it from use."""

    rows: pl.DataFrame
    understood: Understood
    problems: tuple[str, ...]


def take_columns(table: Table, role: Role, hints: Reading) -> Taken:
    """Give the columns that matter the role's names; the others stay, for errors to list them.

    Args:
        table: as it was read, under its own names.
        role: what the table is for.
        hints: columns and grades that the settings name; they win over names and positions.

    Returns:
        The table; its marks of missing values are null, given negatives one column of lists, and
        grades 0 or 1 where the settings say which are relevant. Its `problems` are sentences.
    """
    frame = table.rows
    found = _by_name(frame, role, hints)
    negatives = _negatives(frame, role, hints) if "negative" in role.columns else []
    found.pop("negative", None)
    free = [name for name in frame.columns if name not in {*found.values(), *negatives}]
    placed, doubts = _by_place(frame.select(free), role, found, table.understood.ignored)
    found |= placed
    used = [*found.items(), *(("negative", name) for name in negatives)]
    if negatives:
        each = pl.element()
        text = each.str.contains(f"[^{INVISIBLE}]") & ~each.str.contains(_MARKED)
        given = pl.col("negative").list.eval(each.filter(text))
        joined = join_lists(frame, negatives).alias("negative")
        frame, found["negative"] = frame.with_columns(joined).with_columns(given), "negative"
    # A column that has a meaning's name and is not used for it must not stand for it later.
    called = {column: name for name, column in found.items()}
    kept = [name for name in frame.columns if name in called or name not in role.columns]
    frame = frame.select(pl.col(name).alias(called.get(name, name)) for name in kept)
    frame, missing = _without_marks(frame, list(found))
    if role.is_pairs and table.understood.header is False:
        doubts += third_column(frame, table.understood.file, hints)
    first = dict(zip(["negative"], negatives, strict=False))  # as the file calls it
    doubts += value_doubts(frame, role, found | first, hints) + _unread(table.rows, role, hints)
    if role.is_pairs and table.understood.header is False:
        placed = found  # a line without a header says nothing else
    about = replace(
        table.understood, columns=tuple(used), by_position=tuple(placed), missing=missing,
        ignored=(*(name for name in free if name not in placed.values()),
                 *table.understood.ignored),
    )  # fmt: skip
    problems = tuple(f"{about.file}: {doubt}" for doubt in doubts)
    return Taken(_graded(frame, hints), about, problems)


def _by_name(frame: pl.DataFrame, role: Role, hints: Reading) -> dict[str, str]:
    """The column of each meaning: what the settings say, or else its first name that is there.

    A column stands for one meaning only: `_id` of a pair file is not its query and its document.
    """
    said = {role.keys.get(key, key): column for key, column in hints.columns.items()}
    given = {column.lower(): column for column in reversed(frame.columns)}
    found = {name: said[name] for name in role.columns if said.get(name) in frame.columns}
    for meaning, synonyms in role.columns.items():
        if said.get(meaning) == "":
            continue  # there is none, the settings say
        column = next((given[synonym] for synonym in synonyms if synonym in given), None)
        if column is not None and meaning not in found and column not in found.values():
            found[meaning] = column
    return found


def _negatives(frame: pl.DataFrame, role: Role, hints: Reading) -> list[str]:
    """Columns of given negatives: what the settings name, or all by their names and numbers.

    A file may have easy ones beside hard ones, as DPR's.
    """
    if (said := hints.columns.get("negative")) is not None:
        names = [said] if said in frame.columns else []
    else:
        synonyms = role.columns["negative"]
        named = [name for name in frame.columns if name.lower() in synonyms]
        numbered = {
            int(match[3]): name
            for name in frame.columns
            if (match := _NUMBERED.fullmatch(name.lower()))
        }
        named.sort(key=lambda name: synonyms.index(name.lower()))
        names = named + [numbered[number] for number in sorted(numbered)]
    return [name for name in names if frame.schema[name] in (pl.String, _LISTED)]


def _unread(frame: pl.DataFrame, role: Role, hints: Reading) -> list[str]:
    """Columns of negatives that hold neither texts nor lists of them, and are not read."""
    if "negative" in hints.columns:
        return []
    return [
        f"`{name}` is called as negatives are and holds {kind}, no texts; write texts or lists of "
        'them, or say that there are none: `[dataset.columns] negative = ""`'
        for name, kind in frame.schema.items()
        if name.lower() in role.columns.get("negative", ())
        and kind not in (pl.String, _LISTED, pl.Null, pl.List(pl.Null))
    ]


def _by_place(
    others: pl.DataFrame, role: Role, found: dict[str, str], objects: tuple[str, ...]
) -> tuple[dict[str, str], list[str]]:
    """For pairs: the texts nobody named, where exactly as many columns are left as are missing."""
    missing = [meaning for meaning in role.needed if meaning not in found]
    if not role.is_pairs or not missing:
        return {}, []
    free = [column.name for column in others if _may_be_text(column)]
    if len(free) == len(missing):
        return dict(zip(missing, free, strict=True)), []
    what = f"missing is {' and '.join(missing)}"
    if len(free) > len(missing):
        what += f", and {', '.join(f'`{name}`' for name in free[:8])} would do"
    columns = ", ".join([*found.values(), *others.columns]) or "no columns"
    if objects:
        columns += f"; {', '.join(objects)} hold objects, which are not read"
    return {}, [
        f"pairs need two text columns, `anchor` and `positive`; {what} (found: {columns}); name "
        'them, as `[dataset.columns] query = "..."` and `positive = "..."`'
    ]


def _may_be_text(column: pl.Series) -> bool:
    if column.dtype not in (pl.String, _LISTED) or NO_TEXT.fullmatch(column.name):
        return False
    written = column.drop_nulls()
    numbers = column.dtype == pl.String and len(written)
    return not (numbers and written.cast(pl.Float64, strict=False).null_count() == 0)


def _without_marks(frame: pl.DataFrame, names: list[str]) -> tuple[pl.DataFrame, int]:
    """Read marks of missing values as missing; a column of nothing else holds no numbers."""
    kept, missing = [], 0
    for name in names:
        values = frame[name]
        if values.dtype == pl.String:
            marked = values.str.contains(_MARKED).fill_null(False)
            values = values.set(marked, None) if marked.any() else values
            missing += int(marked.sum())
        elif values.dtype == _LISTED:  # a text that is missing breaks the row's rule
            text = pl.element()
            bare = pl.when(~text.str.contains(_MARKED)).then(text)
            values = values.to_frame().select(pl.col(values.name).list.eval(bare)).to_series()
        elif values.dtype.is_float():
            values = values.fill_nan(None)
            if values.null_count() == len(values) and name != "relevance":
                values = values.cast(pl.String)
            missing += values.null_count() - frame[name].null_count()
        kept.append(values.alias(name))
    return frame.with_columns(kept), missing


def _graded(frame: pl.DataFrame, hints: Reading) -> pl.DataFrame:
    """Read grades as the settings say: relevant are values from a number on, or those listed."""
    if hints.grades is None or "relevance" not in frame.columns:
        return frame
    given = pl.col("relevance").cast(pl.String).str.strip_chars()
    number = given.cast(pl.Float64, strict=False)
    if isinstance(hints.grades, tuple):
        numbers = [float(value) for value in hints.grades if not isinstance(value, str)]
        relevant = given.is_in([f"{value}" for value in hints.grades])
        relevant |= number.is_in(numbers).fill_null(False)
    else:
        relevant = number >= hints.grades
    return frame.with_columns(relevance=relevant.cast(pl.Int8))
