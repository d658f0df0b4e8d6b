"""What a file was taken for: said in one line, and kept with what was read."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import polars as pl

from polymine.data_contracts.notes import Understood

_NAMED = {",": "comma", ";": "semicolon", "\t": "tab", "|": "bar", " ": "space"}
_SHOWN = 6  # languages and grades that the sentence lists
_LANGUAGES = ("language", "anchor_language", "positive_language", "lang_a", "lang_b")
_KEPT = 100  # that are kept: scores taken for grades may all differ


@dataclass(frozen=True)
class Table:
    """A file's rows under its own column names, those that cannot be read, and what it is.

    `numbers` are of JSON alone: which line or object of the file, from 1, a row was.
    """

    rows: pl.DataFrame
    broken: pl.DataFrame
    understood: Understood
    numbers: Sequence[int] = ()


def describe(file: Understood) -> str:
    """Say in one line what a file was taken for."""
    return f"{file.file}: {file.format}; " + "; ".join(details(file))


def details(file: Understood) -> list[str]:
    """Say what a file was taken for: rows, dialect, columns and values, a few words each."""
    lines = f" in {file.lines:,} lines" if file.lines not in (None, file.rows) else ""
    parts = [f"{file.rows:,} rows{lines}"]
    if file.separator is not None:
        quoting = "quotes" if file.quoting else "no quotes"
        header = "a header" if file.header else "no header"
        parts.append(f"{_NAMED.get(file.separator, file.separator)}, {quoting}, {header}")
    if file.encoding not in (None, "utf-8"):
        parts.append(f"encoded in {file.encoding}")
    for meaning, column in file.columns:
        chosen = " (by its position)" if meaning in file.by_position else ""
        parts.append(f"{meaning} = `{column}`{chosen}")
    if file.ignored:
        parts.append("not used: " + ", ".join(f"`{name}`" for name in file.ignored[:12]))
    if file.missing:
        parts.append(f"{file.missing:,} cells marked as missing")
    for what, values in (("languages", file.languages), ("grades", file.grades)):
        if values:
            counted = ", ".join(f"{value} ({count:,})" for value, count in values[:_SHOWN])
            parts.append(f"{what} {counted}{' ...' if len(values) > _SHOWN else ''}")
    return parts


def with_values(file: Understood, table: pl.DataFrame) -> Understood:
    """Add the 100 commonest languages and grades of the table made of this file, with counts."""
    languages = _counted(table, *_LANGUAGES)
    return replace(file, languages=languages, grades=_counted(table, "relevance"))


def _counted(table: pl.DataFrame, *names: str) -> tuple[tuple[str, int], ...]:
    """Values of some columns, the commonest first; of two sides each counts."""
    held = [table[name].cast(pl.String).alias("value") for name in names if name in table.columns]
    if not held:
        return ()
    counts = pl.concat(held).value_counts().drop_nulls()
    return tuple(counts.sort("count", "value", descending=[True, False]).head(_KEPT).rows())
