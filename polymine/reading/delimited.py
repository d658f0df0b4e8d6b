"""Reads CSV, TSV and other delimited text as strings, one record after the other."""

import io
import re
from collections.abc import Iterator

import polars as pl

from polymine.data_contracts.notes import Understood
from polymine.data_contracts.settings import Reading
from polymine.mining.broken_rows import Broken, as_json, broken_frame
from polymine.reading.dialect import (
    find_header,
    find_separator,
    is_quoted,
    quoted_reader,
    strict_records,
)
from polymine.reading.roles import Role
from polymine.reading.text import is_whole, shown
from polymine.reading.trec import read_trec
from polymine.reading.understood import Table

_SAMPLE = 200  # lines that the separator is chosen by
EXCEL = re.compile(r"sep=(.)\r?\n")  # what Excel writes before the header

Record = tuple[int, str, list[str]]  # number of the last line, raw text, fields


def read_delimited(
    text: str, name: str, suffix: str, role: Role, hints: Reading, encoding: str
) -> Table:
    """Read delimited text as strings; a missing or empty cell is null.

    Args:
        text: with half surrogates where bytes could not be decoded.
        name: what errors call the file.
        suffix: of the file; `.tsv` speaks for tabs.
        hints: separator, quoting and header where the settings name them; else they are found.
        encoding: what the text was decoded from, to be told.

    Returns:
        String columns under the file's own names, and the records that cannot be read.

    Raises:
        InputError: a header has a column twice, or the file can be read in two ways that give
            different rows; the settings that decide are named.
    """
    lines = [line for line in text.split("\n") if line.strip()]
    separator = hints.separator
    if told := EXCEL.match(text):
        separator, text, lines = separator or told[1], text[told.end() :], lines[1:]
    trec = role.is_trec and separator in (None, " ", "\t") and hints.header is not True
    if trec and (found := read_trec(lines, name, role)):
        return found
    separator = separator or find_separator(lines[:_SAMPLE], suffix, role.known, name)
    strict = strict_records(text, separator) if '"' in text and hints.quoting is not False else None
    quoting = hints.quoting
    if quoting is None:
        quoting = '"' in text and is_quoted(text, strict, lines, separator, name)
    records = _quoted(text, separator) if quoting else _plain(text, separator)
    first = next(records, (0, "", []))
    names, header = find_header(first[2], name, separator, role, hints, lines[1:_SAMPLE])
    if not header:
        records = _quoted(text, separator) if quoting else _plain(text, separator)
    frame, broken, height = _gathered(
        records, names, name, separator if quoting and strict is None else None, header
    )
    form = "TSV" if separator == "\t" else "CSV"
    counted = len(lines) - (header and bool(lines))
    about = Understood(
        name, form, height, counted, encoding, separator, quoting and '"' in text, header
    )
    return Table(frame, broken_frame(broken), about)


def _plain(text: str, separator: str) -> Iterator[Record]:
    """A record a line; quotation marks are letters."""
    for number, line in enumerate(text.split("\n"), start=1):
        line = line.removesuffix("\r")
        if line.strip():
            yield number, line, line.split(separator)


def _quoted(text: str, separator: str) -> Iterator[Record]:
    lines = list(io.StringIO(text, newline=""))  # as the reader counts them: no form feeds
    begin, reader = 0, quoted_reader(text, separator)
    for fields in reader:
        if any(field.strip() for field in fields):
            yield reader.line_num, "".join(lines[begin : reader.line_num]), fields
        begin = reader.line_num


def _gathered(
    records: Iterator[Record], names: list[str], name: str, doubted: str | None, header: bool
) -> tuple[pl.DataFrame, Broken, int]:
    """Columns of the records that can be read, the others with their rules, and the number."""
    columns: list[list[str | None]] = [[] for _ in names]
    broken: Broken = []
    height = 0
    for number, raw, fields in records:
        height += 1
        while len(fields) > len(names) and not fields[-1].strip():
            fields.pop()  # spreadsheets end lines with empty cells
        rule = ""
        if len(fields) > len(names):
            rule = "more fields than the header"
        elif header and len(names) > 1 and [field.strip() for field in fields] == names:
            rule = "repeats the header, as of files put together"
        elif not is_whole(raw):
            rule = "not UTF-8"
        elif doubted and '"' in raw and strict_records(raw, doubted) is None:
            rule = "ends within quotes" if raw.count('"') % 2 else "quotation marks do not match"
        if rule:
            row = as_json({"line": number, "text": shown(raw).rstrip("\r\n")})
            broken.append((name, [rule], row))
            continue
        for index, column in enumerate(columns):
            column.append((fields[index] or None) if index < len(fields) else None)
    unique = [each or f"column {place}" for place, each in enumerate(names, start=1)]
    data = dict(zip(unique, columns, strict=True))
    return pl.DataFrame(data, schema=dict.fromkeys(unique, pl.String)), broken, height
