"""The dialect of delimited text: separator, quoting and header, each found by what it yields.

What can be read in two ways that give different rows is asked about: the error names the setting.
"""

import csv
import io
import re
import sys
from collections.abc import Sequence

from polymine.data_contracts.errors import InputError
from polymine.data_contracts.settings import Reading
from polymine.reading.roles import Role
from polymine.reading.text import is_whole

SEPARATORS = (",", "\t", ";", "|")
_NAME = re.compile(r"[\w.:/#()\[\]-]*( [\w.:/#()\[\]-]+){0,2}")  # of a column: three words at most
_NUMBER = re.compile(r"[+-]?\d+([.,]\d+)?")
_ENCLOSED = re.compile(r'(?:\A|(?<=[\t\n]))"((?:[^"]|"")*)"(?=[\t\r\n]|\Z)')  # a field of TSV
_SAY_WHICH = "Say which it is: `quoting = true` or `false`"


def find_separator(lines: list[str], suffix: str, known: frozenset[str], name: str) -> str:
    """Find the separator that gives most known columns, then the most even records.

    Args:
        lines: the first ones that are not blank.
        known: lower-case names of columns.
        name: what errors call the file.

    Returns:
        One of SEPARATORS. Where several do equally well, a tab for `.tsv`, else a comma.

    Raises:
        InputError: several give even records, and no name of a column tells; or it is Markdown.
    """
    if len(lines) > 1 and "-" in lines[1] and not lines[1].strip(" |:-\r"):
        raise InputError(f"{name}: is a table of Markdown; save it as CSV or JSON lines")
    usual = "\t" if suffix == ".tsv" else ","

    def yields(separator: str) -> tuple[int, float]:
        rows: list[list[str]] = [next(quoted_reader(line, separator), []) for line in lines]
        width = len(rows[0]) if rows else 0
        even = sum(len(row) == width for row in rows) / len(rows) if width > 1 else 0
        named = sum(cell.strip().lower() in known for cell in rows[0]) if rows else 0
        return named, round(even, 1)

    found = {separator: yields(separator) for separator in SEPARATORS}
    best = [separator for separator in SEPARATORS if found[separator] == max(found.values())]
    if len(best) > 1 and suffix != ".tsv" and found[best[0]][0] == 0 and found[best[0]][1] > 0:
        raise InputError(
            f"{name}: {' and '.join(map(repr, best))} yield even columns alike; say which it is, "
            'as `separator = ","`'
        )
    return usual if usual in best else best[0]


def is_quoted(
    text: str, strict: list[list[str]] | None, lines: list[str], separator: str, name: str
) -> bool:
    """Tell whether quotation marks enclose fields.

    Without quoting every line is a record; where that gives the same number of fields throughout
    and quoting would merge lines, nothing says that it is meant.

    Args:
        text: holds a quotation mark.
        strict: its records if they are quoted without a fault, as from `strict_records`.
        lines: those that are not blank.
        name: what errors call the file.

    Raises:
        InputError: quoting merges lines, and each of them is a record without it; or fields of TSV
            are enclosed where none needs to be.
    """
    width = lines[0].count(separator)
    even = all(line.count(separator) == width for line in lines)
    shown = strict is not None and (separator != "\t" or _shows_quoting(text, strict, name))
    if strict is None and even and (odd := _enclosed(lines, separator)):
        raise InputError(
            f"{name}: quotation marks enclose fields, as {odd!r:.80}, and others do not match; "
            f"marks within a field are doubled, a backslash says nothing. {_SAY_WHICH}"
        )
    if strict is None or not shown:
        return separator != "\t" and not even
    if even and len(strict) < len(lines):
        merged = next(row for row in strict if any("\n" in field for field in row))
        raise InputError(
            f"{name}: quotation marks merge lines, {len(strict):,} records in {len(lines):,} "
            f"lines, and every line is a record without them; the first merged one is "
            f"{separator.join(merged)!r:.160}. {_SAY_WHICH}"
        )
    return True


def _shows_quoting(text: str, rows: list[list[str]], name: str) -> bool:
    """Tell from fields by tabs whether marks enclose them.

    For it speaks a mark that has to be there, or that all fields of a column have; against it a
    mark within a field without any around it, as nobody would write who encloses fields.

    Raises:
        InputError: both, or nothing but fields that would need no marks.
    """
    enclosed = [match[1] for match in _ENCLOSED.finditer(text)]
    if not enclosed:
        return False
    bare = '"' in _ENCLOSED.sub("", text)
    needed = any(not inner or '"' in inner or "\t" in inner or "\n" in inner for inner in enclosed)
    # Whole columns: of all records, or of all but a header without quotation marks.
    below = len(rows) - 1 if '"' not in text.partition("\n")[0] else len(rows)
    whole = any(len(enclosed) % (count or 1) == 0 for count in (len(rows), below))
    if bare == (needed or whole):
        raise InputError(
            f"{name}: quotation marks enclose {len(enclosed):,} fields, as {enclosed[0]!r:.80}, "
            f"and nothing tells whether they belong to the texts. {_SAY_WHICH}"
        )
    return not bare


def _enclosed(lines: list[str], separator: str) -> str | None:
    """A field that marks enclose; of TSV only with `\\"` in it, as Spark and MySQL write it."""
    for line in lines:
        for field in line.rstrip("\r").split(separator):
            inner = field.strip()[1:-1]
            within = inner.replace('\\"', "")
            told = separator != "\t" or within != inner
            if told and field.strip() == f'"{inner}"' and '"' not in within:
                return field
    return None


def strict_records(text: str, separator: str) -> list[list[str]] | None:
    """The records of text that is quoted without a fault; None if it is not."""
    try:
        return [row for row in quoted_reader(text, separator, strict=True) if row]
    except csv.Error:
        return None


def quoted_reader(text: str, separator: str, strict: bool = False):  # type: ignore[no-untyped-def]
    csv.field_size_limit(sys.maxsize)  # a long text is no fault; 128 KiB is the library's limit
    blank = separator != "\t" and f'{separator} "' in text  # before a mark: `"a", "b"`
    stream = io.StringIO(text, newline="")
    return csv.reader(stream, delimiter=separator, strict=strict, skipinitialspace=blank)


def find_header(
    first: list[str], name: str, separator: str, role: Role, hints: Reading, others: Sequence[str]
) -> tuple[list[str], bool]:
    """Name the columns.

    Args:
        first: fields of the first record.
        name: what errors call the file.
        others: some lines after the first.
        hints: `header` decides if it is set; names of columns count as known ones.

    Returns:
        The names, and whether the first record holds them; without a header they are the role's
        for so many columns.

    Raises:
        InputError: the first line is not UTF-8, has a column twice, or is no header where the
            columns cannot be known without one.
    """
    cells = [cell.strip() for cell in first]
    if not is_whole(separator.join(cells)):
        raise InputError(f"{name}: the first line is not UTF-8; name the `encoding` it is in")
    wanted = role.known | {column.lower() for column in hints.columns.values()}
    has = hints.header
    if has is None:
        has = any(cell.lower() in wanted for cell in cells) or not _is_data(cells)
        if has and role.is_pairs and not any(cell.lower() in wanted for cell in cells):
            _doubt_header(cells, name, separator, others)
        if not has and separator != "\t":
            raise InputError(
                f"{name}: the first line is no header (found: {', '.join(cells)!r:.200}); add one, "
                "or say `header = false`"
            )
    if has:
        twice = sorted({cell for cell in cells if cell and cells.count(cell) > 1})
        if twice:
            raise InputError(f"{name}: column `{twice[0]}` stands twice in the header")
        return cells, True
    if names := role.without_header.get(len(cells)):
        return list(names), False
    known = " or ".join(", ".join(names) for names in role.without_header.values())
    expected = f"; without one expected is {known}" if known else ""
    raise InputError(
        f"{name}: {len(cells)} columns without a header{expected}. Add a header that names the "
        "columns"
    )


def _doubt_header(cells: list[str], name: str, separator: str, others: Sequence[str]) -> None:
    """Raise InputError where no name is known, and most lines look like names as much."""
    alike = [
        line
        for line in others
        if all(_NAME.fullmatch(cell.strip()) for cell in line.rstrip("\r").split(separator))
    ]
    if others and 2 * len(alike) > len(others):
        raise InputError(
            f"{name}: the first line ({', '.join(cells)!r:.200}) may be names of columns or data "
            "like the others; say which, as `header = true` or `false`"
        )


def _is_data(cells: list[str]) -> bool:
    """Whether a first record looks like data: a number, or what is no name of a column."""
    return any(_NUMBER.fullmatch(cell) or not _NAME.fullmatch(cell) for cell in cells)
