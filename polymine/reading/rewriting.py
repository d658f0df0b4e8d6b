"""Writes a file again with some cells changed and some records left out, in the form it had.

What is not changed keeps every field to the byte: lines of JSON are copied, Parquet and Arrow keep
their schema with its metadata, delimited text its separator, header, encoding and line ends.
"""

import codecs
import csv
import gzip
import io
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import polars as pl
import pyarrow as pa
from pyarrow import parquet

from polymine.data_contracts.errors import InputError
from polymine.data_contracts.notes import Understood
from polymine.reading.delimited import EXCEL
from polymine.reading.json_records import array_of
from polymine.reading.text import decoded
from polymine.reading.trainer_records import New, changed, edited, scores_beside
from polymine.reading.understood import Table

Edits = Mapping[int, Mapping[str, New]]  # new texts by row, column and place in its cell


def rewrite(path: Path, target: Path, table: Table, kept: Sequence[int], edits: Edits) -> None:
    """Write some rows of a file to another file, with other cells.

    Args:
        path: the file that `table` was read from.
        kept: rows of the table that stay, ascending.
        edits: of rows that stay. Of trainers' records the columns are lists of what holds a text.
    """
    about = table.understood
    if about.format in ("Parquet", "Arrow"):
        _rewrite_columnar(path, target, about.format, kept, edits)
        return
    content = path.read_bytes()
    compressed = path.suffix.lower() == ".gz"
    content = gzip.decompress(content) if compressed else content
    text, _ = decoded(content, about.file, about.encoding)
    write = _json_text if about.separator is None else _delimited_text
    try:
        written = write(text, table, kept, edits).encode(about.encoding or "utf-8")
    except UnicodeEncodeError as error:
        raise InputError(
            f"{about.file}: is in {about.encoding}, which has no place for "
            f"{error.object[error.start : error.end]!r} of a negative that replaces another; "
            "convert the file to UTF-8 and clean it again: what was mined is reused"
        ) from error
    if content.startswith(codecs.BOM_UTF8):
        written = codecs.BOM_UTF8 + written
    target.write_bytes(gzip.compress(written, mtime=0) if compressed else written)


def _rewrite_columnar(
    path: Path, target: Path, form: str, kept: Sequence[int], edits: Edits
) -> None:
    if form == "Parquet":
        table = parquet.read_table(path, partitioning=None)
    else:
        with pa.memory_map(str(path)) as file:
            streamed = file.read(6) != b"ARROW1"
            file.seek(0)
            opened = pa.ipc.open_stream(file) if streamed else pa.ipc.open_file(file)
            table = opened.read_all()
    columns: dict[str, list[Any]] = {}

    def column(name: str) -> list[Any]:
        if name not in columns:
            columns[name] = table.column(name).to_pylist()
        return columns[name]

    for row, cells in edits.items():
        for name, new in cells.items():
            old = column(name)[row]
            beside = {n: column(n)[row] for n in table.column_names if n.startswith(f"{name}_")}
            for scores in scores_beside(beside, name, old):
                spoilt = any(text is not None for text in new.values())
                column(scores)[row] = None if spoilt else changed(beside[scores], new)
            column(name)[row] = changed(old, new)
    for name, values in sorted(columns.items()):
        at = table.schema.get_field_index(name)
        field = table.schema.field(at)
        if pa.types.is_fixed_size_list(field.type):  # a list may have become shorter
            field = field.with_type(pa.list_(field.type.value_field))
        table = table.set_column(at, field, pa.array(values, type=field.type))
    table = table.take(pa.array(kept, type=pa.int64()))
    if form == "Parquet":
        parquet.write_table(table, target)
        return
    new = pa.ipc.new_stream if streamed else pa.ipc.new_file
    with pa.OSFile(str(target), "wb") as sink, new(sink, table.schema) as writer:
        writer.write_table(table)


def _json_text(text: str, table: Table, kept: Sequence[int], edits: Edits) -> str:
    """JSON lines as they stood, or an array; `numbers` say which record a row was."""
    array = array_of(text) if table.understood.lines is None else None
    if array is not None:
        records = [edited(array[table.numbers[row] - 1], edits.get(row, {})) for row in kept]
        whole = json.loads(text)
        whole = whole | {"data": records} if isinstance(whole, dict) else records
        return json.dumps(whole, ensure_ascii=text.isascii(), indent=1) + "\n"
    lines, written = text.split("\n"), []
    for row in kept:
        line = lines[table.numbers[row] - 1].removesuffix("\r")
        if row in edits:
            line = json.dumps(edited(json.loads(line), edits[row]), ensure_ascii=line.isascii())
        written.append(f"{line}\n")
    return "".join(written)


def _delimited_text(text: str, table: Table, kept: Sequence[int], edits: Edits) -> str:
    about, names = table.understood, table.rows.columns
    assert about.separator is not None
    told = EXCEL.match(text)
    ending = "\r\n" if "\r\n" in text else "\n"
    cells = [["" if name == f"column {at}" else name for at, name in enumerate(names, start=1)]]
    rows = [cells[0]] if about.header else []
    values = table.rows.rows()
    for row in kept:
        new = {name: changed(None, cell) for name, cell in edits.get(row, {}).items()}
        rows.append(
            [new.get(name, old) or "" for name, old in zip(names, values[row], strict=True)]
        )
    return (told[0] if told else "") + _joined(rows, about, ending, '"' in text)


def _joined(rows: list[list[str]], about: Understood, ending: str, marks: bool) -> str:
    """Write fields; where quotation marks are letters, what would end a field becomes a blank."""
    separator = about.separator or ","
    if about.quoting or (separator != "\t" and not marks):
        stream = io.StringIO()
        csv.writer(stream, delimiter=separator, lineterminator=ending).writerows(rows)
        return stream.getvalue()
    ends = str.maketrans(dict.fromkeys(f"{separator}\r\n", " "))
    return "".join(separator.join(cell.translate(ends) for cell in row) + ending for row in rows)


def slots_of(table: Table, columns: Sequence[str]) -> pl.DataFrame:
    """List the texts of some columns, each a string or a list of them.

    Returns:
        `row` of the table, `column`, `place` in its cell from 0, `text`; no nulls.
    """
    parts = []
    for column in columns:
        cells = table.rows.select(
            row=pl.int_range(pl.len()), column=pl.lit(column), text=pl.col(column)
        )
        if cells.schema["text"] == pl.List(pl.String):
            cells = cells.with_columns(place=pl.int_ranges(0, pl.col("text").list.len()))
            cells = cells.explode("text", "place", empty_as_null=True)
        else:
            cells = cells.with_columns(place=pl.lit(0, pl.Int64))
        parts.append(cells.select("row", "column", "place", "text").drop_nulls("text"))
    return pl.concat(parts).sort("row", maintain_order=True)
