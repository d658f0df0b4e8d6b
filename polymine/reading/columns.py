"""Which of a file's columns means what: by the settings, by its name, or by its place.

Place speaks only for the texts of pairs, and only where nothing else would do: not for numbers, an
index without a name or a column whose name says negative, and not where several columns are left.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace

import polars as pl

from polymine.data_contracts.settings import Reading
from polymine.data_contracts.tables import INVISIBLE
from polymine.reading.roles import PAIRS, Role
from polymine.reading.understood import Table, Understood

# Marks of other libraries and spreadsheets for a value that is not there, as a whole cell.
MARKS = ("NaN", "nan", "NAN", "null", "NULL", "None", "NA", "N/A", "<NA>", "#N/A")
_NEGATIVE = re.compile(r"neg|distract|incorrect|wrong|reject", re.IGNORECASE)
_NUMBERED = re.compile(r"(hard_)?neg(ative)?s?_?(\d+)")
_NO_TEXT = re.compile(
    r"_*|column \d+|unnamed: ?\d+|__index_level_\d+__|_?id|.*_id|idx|index|title|score|split|source"
    r"|language|lang",
    re.IGNORECASE,
)
_TEXTS = ("document", "query", "positive", "negative")  # keys that must name a column of the file


@dataclass(frozen=True)
class Taken:
    """A table under the names of its role, what was understood, and what keeps it from use."""

    rows: pl.DataFrame
    understood: Understood
    problems: tuple[str, ...]


def take_columns(table: Table, role: Role, hints: Reading) -> Taken:
    """Give the columns that matter the role's names; the others stay, for errors to list them."""
    frame, file = table.rows, table.understood.file
    found, problems = _by_settings(frame, role, hints, file)
    for meaning, column in _by_name(frame, role, found).items():
        found[meaning] = column
    negatives = _negatives(frame, found) if "negative" in role.columns else []
    placed, doubts = _by_place(frame, role, found, negatives, file)
    found |= placed
    taken = {*found.values(), *negatives}
    ignored = tuple(name for name in frame.columns if name not in taken)
    used = tuple(found.items())
    if negatives:
        used = tuple(item for item in used if item[0] != "negative")
        used += tuple(("negative", name) for name in negatives)
        frame = frame.with_columns(_as_list(frame, negatives).alias("negative"))
        found["negative"] = "negative"
    shadowed = [name for name in found if name in frame.columns and found[name] != name]
    frame = frame.drop(shadowed).rename({column: name for name, column in found.items()})
    frame, missing = _without_marks(frame, list(found))
    doubts += _label_doubts(frame, role, found, hints, file)
    about = replace(table.understood, columns=used, by_position=tuple(placed), ignored=ignored,
                    missing=missing)  # fmt: skip
    return Taken(_graded(frame, hints), about, (*problems, *doubts))


def _by_settings(
    frame: pl.DataFrame, role: Role, hints: Reading, file: str
) -> tuple[dict[str, str], list[str]]:
    """Columns that `columns` names; a text has to be there, an id may be the other table's."""
    found, problems = {}, []
    for key, column in hints.columns.items():
        meaning = role.keys.get(key, key)
        if meaning not in role.columns or (meaning == key and key in _shadowed(role)):
            continue
        if column in frame.columns:
            found[meaning] = column
        elif key in _TEXTS:
            problems.append(
                f"{file}: has no column `{column}`, which `columns.{key}` names "
                f"(found: {', '.join(frame.columns)})"
            )
    return found, problems


def _shadowed(role: Role) -> set[str]:
    """Meanings that the settings call otherwise in this role."""
    return set(role.keys.values())


def _by_name(frame: pl.DataFrame, role: Role, found: dict[str, str]) -> dict[str, str]:
    """The first column found of each meaning's names, whatever its case.

    A column stands for one meaning only: `_id` of a pair file is not its query and its document.
    """
    given = {column.lower(): column for column in reversed(frame.columns)}
    named: dict[str, str] = {}
    for meaning, synonyms in role.columns.items():
        column = next((given[synonym] for synonym in synonyms if synonym in given), None)
        free = column not in found.values() and column not in named.values()
        if column is not None and meaning not in found and free:
            named[meaning] = column
    return named


def _negatives(frame: pl.DataFrame, found: dict[str, str]) -> list[str]:
    """Columns of given negatives: one, or `negative_1` to `negative_n` in the order of numbers."""
    numbered = [name for name in frame.columns if _NUMBERED.fullmatch(name.lower())]
    numbered.sort(key=lambda name: int(_NUMBERED.fullmatch(name.lower())[3]))  # type: ignore[index]
    single = [found["negative"]] if "negative" in found else []
    kinds = (pl.String, pl.List(pl.String))
    return [name for name in single + numbered if frame.schema[name] in kinds]


def _as_list(frame: pl.DataFrame, names: Sequence[str]) -> pl.Expr:
    lists = [
        pl.col(name) if frame.schema[name] == pl.List(pl.String) else pl.concat_list(name)
        for name in names
    ]
    text = pl.element().filter(pl.element().str.contains(f"[^{INVISIBLE}]"))
    return pl.concat_list([each.fill_null([]) for each in lists]).list.eval(text)


def _by_place(
    frame: pl.DataFrame, role: Role, found: dict[str, str], negatives: list[str], file: str
) -> tuple[dict[str, str], list[str]]:
    """For pairs: the texts nobody named, where exactly as many columns are left as are missing."""
    missing = [meaning for meaning in role.needed if meaning not in found]
    if role is not PAIRS or not missing:
        return {}, []
    free = [
        name
        for name in frame.columns
        if name not in found.values() and name not in negatives and _may_be_text(frame[name])
    ]
    if len(free) == len(missing):
        return dict(zip(missing, free, strict=True)), []
    lacking = f"missing is {' and '.join(missing)} (found: {', '.join(frame.columns) or 'nothing'})"
    say = 'name them, as `[dataset.columns] query = "..."` and `positive = "..."`'
    if len(free) < len(missing):
        what = "pairs need two text columns, `anchor` and `positive`"
        return {}, [f"{file}: {what}; {lacking}; {say}"]
    several = ", ".join(f"`{name}`" for name in free[:8])
    return {}, [f"{file}: {several} would do as {' and '.join(missing)}; {say}"]


def _may_be_text(column: pl.Series) -> bool:
    if column.dtype not in (pl.String, pl.List(pl.String)):
        return False
    if _NEGATIVE.search(column.name) or _NO_TEXT.fullmatch(column.name):
        return False
    if column.dtype != pl.String:
        return True
    written = column.drop_nulls()
    return len(written) == 0 or written.cast(pl.Float64, strict=False).null_count() > 0


def _without_marks(frame: pl.DataFrame, names: list[str]) -> tuple[pl.DataFrame, int]:
    """Read marks of missing values as missing; a column of nothing else holds no numbers."""
    kept, missing = [], 0
    for name in names:
        values = frame[name]
        if values.dtype == pl.String:
            marked = values.str.strip_chars().is_in(MARKS)
            missing += int(marked.sum())
            values = values.set(marked.fill_null(False), None) if marked.any() else values
        elif values.dtype.is_float():
            missing += int(values.is_nan().sum())
            values = values.fill_nan(None)
            if values.null_count() == len(values) and name != "relevance":
                values = values.cast(pl.String)
        kept.append(values.alias(name))
    return frame.with_columns(kept), missing


def _graded(frame: pl.DataFrame, hints: Reading) -> pl.DataFrame:
    """Read grades as the settings say: relevant are values from a number on, or those listed."""
    if hints.grades is None or "relevance" not in frame.columns:
        return frame
    given = pl.col("relevance").cast(pl.String).str.strip_chars()
    number = given.cast(pl.Float64, strict=False)
    if isinstance(hints.grades, tuple):
        named = [f"{value}" for value in hints.grades]
        numbers = [float(value) for value in hints.grades if not isinstance(value, str)]
        relevant = given.is_in(named) | number.is_in(numbers).fill_null(False)
    else:
        relevant = number >= hints.grades
    return frame.with_columns(relevance=relevant.cast(pl.Int8))


def _label_doubts(
    frame: pl.DataFrame, role: Role, found: dict[str, str], hints: Reading, file: str
) -> list[str]:
    """A column called `label` may hold classes, as those of inference, and no grades."""
    if hints.grades is not None or found.get("relevance", "").lower() != "label":
        return []
    given = frame["relevance"].drop_nulls()
    numbers = given.cast(pl.Float64, strict=False).drop_nulls()
    highest = 1 if role is PAIRS else 127
    if len(numbers) and (numbers >= 0).all() and (numbers <= highest).all():
        return []
    if not len(given) or (role is not PAIRS and not (numbers < 0).any()):
        return []
    values = ", ".join(given.cast(pl.String).unique().sort().to_list()[:5])
    return [
        f"{file}: `label` holds {values}, which are classes rather than grades; say which values "
        "are relevant, as `grades = [1]`, or call the column `relevance` if they are grades"
    ]
