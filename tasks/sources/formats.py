"""Reads one file of any known format into a frame, and says which of its lines it could not read.

CSV and TSV columns are all strings, so that ids keep their leading zeros. JSON lines are parsed
by Python: polars is a few times faster, but silently writes a list among strings as a string.
Large corpora are better kept as Parquet.
"""

import codecs
import csv
import gzip
import io
import json
import zlib
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import polars as pl

from polymine.data_contracts.errors import InputError
from polymine.mining.input_checks import BROKEN, as_json

SUFFIXES = (".parquet", ".pq", ".csv", ".tsv", ".jsonl", ".ndjson")

_Broken = list[tuple[str, list[str], str]]
_OTHER_CODES = {
    codecs.BOM_UTF32_LE: "UTF-32", codecs.BOM_UTF32_BE: "UTF-32", codecs.BOM_UTF16_LE: "UTF-16",
    codecs.BOM_UTF16_BE: "UTF-16",
}  # fmt: skip


def suffix_of(path: Path) -> str:
    """Format of a file by its name, a final `.gz` aside; empty if unknown."""
    name = path.name.lower().removesuffix(".gz")
    return next((suffix for suffix in SUFFIXES if name.endswith(suffix)), "")


def read_file(path: Path, name: str, known: frozenset[str]) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Read one file: its rows, and those that could not be read (a BROKEN frame).

    `known` are the lower-case names of the columns that matter: a JSON line breaks a rule only if
    it differs in one of them from the others in kind. Raises InputError if the file as a whole
    cannot be read.
    """
    suffix = suffix_of(path)
    if path.stat().st_size == 0:
        raise InputError(f"{name}: the file is empty")
    try:
        if suffix in (".parquet", ".pq"):
            return pl.read_parquet(path, hive_partitioning=False, glob=False), _broken_frame([])
        content = path.read_bytes()
        if path.suffix.lower() == ".gz":
            content = gzip.decompress(content)
        _check_encoding(content, name)
        if suffix in (".jsonl", ".ndjson"):
            return _read_json_lines(content, name, known)
        return _read_delimited(content, name, "\t" if suffix == ".tsv" else ",")
    except _UNREADABLE as error:
        what = suffix.removeprefix(".").upper()
        raise InputError(f"{name}: cannot be read as {what}: {error!s:.500}") from error


_UNREADABLE = (
    pl.exceptions.PolarsError, pl.exceptions.PanicException, OSError, EOFError, csv.Error,
    zlib.error,
)  # fmt: skip


def _check_encoding(content: bytes, name: str) -> None:
    """Refuse what is plainly another encoding than UTF-8, which would come out as noise."""
    found = next((code for mark, code in _OTHER_CODES.items() if content.startswith(mark)), None)
    if found is None and len(content) > 1 and (content[0] == 0) != (content[1] == 0):
        found = "UTF-16"  # without its mark: every other byte of plain letters is 0
    if found is not None:
        raise InputError(f"{name}: is in {found}; save it as UTF-8")


def _read_delimited(content: bytes, name: str, separator: str) -> tuple[pl.DataFrame, pl.DataFrame]:
    _check_header(content, name, separator)
    if content.count(b'"') % 2:  # perhaps cut within quotes, which polars may pass over
        return _read_row_by_row(content, name, separator)
    try:
        frame = pl.read_csv(io.BytesIO(content), separator=separator, infer_schema=False)
    except pl.exceptions.PolarsError:
        return _read_row_by_row(content, name, separator)
    return frame, _broken_frame([])


def _check_header(content: bytes, name: str, separator: str) -> None:
    """Refuse a column that stands twice: nothing says which of the two is meant."""
    first = content.removeprefix(codecs.BOM_UTF8).partition(b"\n")[0]
    header = next(csv.reader([first.decode("utf-8", "replace")], delimiter=separator), [])
    twice = sorted({column for column in header if column and header.count(column) > 1})
    if twice:
        raise InputError(f"{name}: column `{twice[0]}` stands twice in the header")


def _read_row_by_row(
    content: bytes, name: str, separator: str
) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Read what polars refused as a whole, to keep what can be read and name what cannot."""
    text = content.decode("utf-8-sig", errors="replace")
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=separator)
    header = next(reader, [])
    rows: list[list[str | None]] = []
    broken: _Broken = []
    lines, begin = text.splitlines(keepends=True), reader.line_num
    for fields in reader:
        shown = _line(reader.line_num, separator.join(fields))
        end = reader.line_num == len(lines)
        if end and _is_cut("".join(lines[begin:]), separator):
            broken.append((name, ["ends within quotes"], shown))
        elif len(fields) > len(header):
            broken.append((name, ["more fields than the header"], shown))
        elif any("\ufffd" in field for field in fields):
            broken.append((name, ["not UTF-8"], shown))
        elif fields:
            padding = [None] * (len(header) - len(fields))
            rows.append([*(field or None for field in fields), *padding])
        begin = reader.line_num
    frame = pl.DataFrame(rows, schema=dict.fromkeys(header, pl.String), orient="row")
    return frame, _broken_frame(broken)


def _is_cut(record: str, separator: str) -> bool:
    """Whether a file's last record ends before its quotes do."""
    try:
        list(csv.reader(io.StringIO(record, newline=""), delimiter=separator, strict=True))
    except csv.Error as error:
        return "end of data" in str(error)
    return False


def _read_json_lines(
    content: bytes, name: str, known: frozenset[str]
) -> tuple[pl.DataFrame, pl.DataFrame]:
    rows: list[dict[str, Any]] = []
    broken: _Broken = []
    for number, line in enumerate(content.removeprefix(b"\xef\xbb\xbf").split(b"\n"), start=1):
        try:
            if line.strip():
                rows.append(_json_object(line))
        except ValueError as error:
            shown = _line(number, line.decode("utf-8", errors="replace"))
            broken.append((name, [str(error)], shown))
    columns, misfits = {}, dict[int, list[str]]()
    for column in dict.fromkeys(column for row in rows for column in row):
        values = [row.get(column) for row in rows]
        kind = _common_kind(values)
        if kind in ("object", "mixed list"):
            continue  # nothing that Polymine reads looks like this
        columns[column] = _series(values, kind)
        for index in _misfits(values, kind) if column.lower() in known else ():
            rule = f"`{column}` is a {_kind(values[index])}, not a {kind} as in most lines"
            misfits.setdefault(index, []).append(rule)
    broken += [(name, rules, as_json(rows[index])) for index, rules in sorted(misfits.items())]
    fit = [index for index in range(len(rows)) if index not in misfits]
    frame = pl.DataFrame(columns)
    return frame[fit] if misfits else frame, _broken_frame(broken)


def _json_object(line: bytes) -> dict[str, Any]:
    try:
        row = json.loads(line.decode())  # bytes it would take in other encodings, too
    except UnicodeDecodeError:
        raise ValueError("not UTF-8") from None
    except (ValueError, RecursionError):
        raise ValueError("not a line of JSON") from None
    if not isinstance(row, dict):
        raise ValueError("not a JSON object")
    # Only then is it worth the time to look: of a key that stands twice, the last one counts.
    if line.count(b'":') + line.count(b'" :') > len(row) and _key_twice(line):
        raise ValueError("a key stands twice")
    if b"\\ud" in line.lower():  # half a surrogate pair is legal JSON, and no legal text
        try:
            as_json(row).encode()
        except UnicodeEncodeError:
            raise ValueError("holds half of a surrogate pair") from None
    return row


def _key_twice(line: bytes) -> bool:
    def keys_of(pairs: list[tuple[str, Any]]) -> list[str]:
        return [key for key, _ in pairs]

    keys = json.loads(line, object_pairs_hook=keys_of)  # the outermost object comes last
    return len(set(keys)) < len(keys)


def _kind(value: Any) -> str:
    if value is None:
        return "nothing"
    if isinstance(value, bool):
        return "truth value"
    if isinstance(value, str):
        return "string"
    if isinstance(value, (int, float)):
        return "number"
    if isinstance(value, list):
        kinds = {_kind(item) for item in value} - {"nothing"} or {"string"}
        return f"list of {kinds.pop()}s" if len(kinds) == 1 else "mixed list"
    return "object"


def _common_kind(values: Sequence[Any]) -> str:
    kinds = Counter(_kind(value) for value in values if value is not None)
    return kinds.most_common(1)[0][0] if kinds else "nothing"


def _misfits(values: Sequence[Any], kind: str) -> list[int]:
    """Rows whose value is of another kind; numbers and strings both do for an id or a score."""
    fitting = {kind, "nothing"} | ({"string", "number"} if kind in ("string", "number") else set())
    return [index for index, value in enumerate(values) if _kind(value) not in fitting]


def _series(values: Sequence[Any], kind: str) -> pl.Series:
    """A column of one kind, with nulls for misfits; numbers among strings become strings."""
    kinds = {_kind(value) for value in values}
    if kinds >= {"string", "number"}:
        values = [str(value) if _kind(value) == "number" else value for value in values]
        kind = "string"
    fitting = [value if _kind(value) == kind else None for value in values]
    dtype = {"string": pl.String(), "list of strings": pl.List(pl.String)}.get(kind)
    return pl.Series(fitting, dtype=dtype, strict=False)


def _line(number: int, text: str) -> str:
    return as_json({"line": number, "text": text.rstrip("\r\n")})


def _broken_frame(rows: _Broken) -> pl.DataFrame:
    return pl.DataFrame(rows, schema=BROKEN, orient="row")
