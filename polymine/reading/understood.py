"""What a file was taken for: a value that the log, the manifest and the report show."""

from dataclasses import asdict, dataclass, replace
from typing import Any

import polars as pl

from polymine.mining.input_checks import BROKEN, SOURCE_COLUMN

_NAMED = {",": "comma", ";": "semicolon", "\t": "tab", "|": "bar", " ": "space"}
_SHOWN = 6  # languages and grades that the sentence lists

Broken = list[tuple[str, list[str], str]]  # source, rules, row


@dataclass(frozen=True)
class Understood:
    """What one file was understood to be.

    Args:
        file: what errors call it.
        format: `CSV`, `TSV`, `JSON lines`, `Parquet`, `TREC qrels` ...
        rows: records read, broken ones included.
        lines: lines counted, header and blank ones aside; None where a format has none.
        encoding, separator, quoting, header: of delimited text only.
        columns: (meaning, column) of what is used.
        by_position: meanings for which only the position of a column spoke.
        ignored: columns that are not used.
        missing: cells that hold a mark such as `NaN` and are read as missing.
        languages, grades: values seen, with their number of rows.
    """

    file: str
    format: str
    rows: int = 0
    lines: int | None = None
    encoding: str | None = None
    separator: str | None = None
    quoting: bool | None = None
    header: bool | None = None
    columns: tuple[tuple[str, str], ...] = ()
    by_position: tuple[str, ...] = ()
    ignored: tuple[str, ...] = ()
    missing: int = 0
    languages: tuple[tuple[str, int], ...] = ()
    grades: tuple[tuple[str, int], ...] = ()

    def with_values(self, table: pl.DataFrame) -> "Understood":
        """Add the languages and grades that the table made of this file holds."""
        return replace(
            self, languages=_counted(table, "language"), grades=_counted(table, "relevance")
        )

    def as_info(self) -> dict[str, Any]:
        """Plain values, for a manifest."""
        return asdict(self)

    def __str__(self) -> str:
        """Say it in one line."""
        lines = f" in {self.lines:,} lines" if self.lines not in (None, self.rows) else ""
        parts = [f"{self.rows:,} rows{lines}"]
        if self.separator is not None:
            quoting = "quotes" if self.quoting else "no quotes"
            header = "a header" if self.header else "no header"
            parts.append(f"{_NAMED.get(self.separator, self.separator)}, {quoting}, {header}")
        if self.encoding not in (None, "utf-8"):
            parts.append(f"encoded in {self.encoding}")
        for meaning, column in self.columns:
            chosen = " (by its position)" if meaning in self.by_position else ""
            parts.append(f"{meaning} = `{column}`{chosen}")
        if self.ignored:
            parts.append("not used: " + ", ".join(f"`{name}`" for name in self.ignored[:12]))
        if self.missing:
            parts.append(f"{self.missing:,} cells marked as missing")
        for what, values in (("languages", self.languages), ("grades", self.grades)):
            if values:
                counted = ", ".join(f"{value} ({count:,})" for value, count in values[:_SHOWN])
                parts.append(f"{what} {counted}{' ...' if len(values) > _SHOWN else ''}")
        return f"{self.file}: {self.format}; " + "; ".join(parts)


@dataclass(frozen=True)
class Table:
    """A file's rows under its own column names, those that cannot be read, and what it is."""

    rows: pl.DataFrame
    broken: pl.DataFrame
    understood: Understood


def broken_frame(rows: Broken) -> pl.DataFrame:
    """Rows that cannot be read, as errors and `rejected/` take them."""
    return pl.DataFrame(rows, schema=BROKEN, orient="row")


def _counted(table: pl.DataFrame, name: str) -> tuple[tuple[str, int], ...]:
    if name not in table.columns or name == SOURCE_COLUMN:
        return ()
    counts = table[name].cast(pl.String).value_counts().drop_nulls()
    return tuple(counts.sort("count", name, descending=[True, False]).rows())
