"""Reads JSON lines, and arrays of JSON objects, into a frame with one kind of value per column."""

import json
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any

import polars as pl

from polymine.data_contracts.errors import InputError
from polymine.data_contracts.notes import Understood
from polymine.mining.broken_rows import Broken, as_json, broken_frame
from polymine.reading.text import is_whole, shown
from polymine.reading.trainer_records import flattened
from polymine.reading.understood import Table

Row = dict[str, Any]


def read_json(text: str, name: str, known: frozenset[str], whole: bool) -> Table:
    """Read JSON lines, or an array of objects.

    Args:
        name: what errors call the file.
        known: lower-case names of the columns that matter: a row breaks a rule only if it differs
            in one of them from the others in kind.
        whole: whether the text is an array of objects, or holds one as `data` (NeMo).

    Returns:
        The rows, trainers' records as flat columns; Python's `NaN` is a missing value.
    """
    broken: Broken = []
    given = array_of(text) if whole else None
    numbered = enumerate(text.split("\n"), start=1) if given is None else ()
    lines = [(number, line) for number, line in numbered if line.strip()]
    rows, numbers, forms = [], list[int](), Counter[str]()
    for number, line in lines if given is None else enumerate(given, start=1):
        try:
            row, form = flattened(_object(line))
            rows.append(row)
            numbers.append(number)
            forms[form] += 1
        except ValueError as error:
            seen = line if isinstance(line, str) else json.dumps(line)
            shown_line = as_json({"line": number, "text": shown(seen).rstrip("\r\n")})
            broken.append((name, [str(error)], shown_line))
    frame, misfits, ignored = _columns(rows, known)
    broken += [(name, rules, as_json(rows[index])) for index, rules in sorted(misfits.items())]
    form = forms.most_common(1)[0][0] if forms else ""
    form = form or ("JSON" if given is not None else "JSON lines")
    read = len(lines) if given is None else len(given)
    counted = len(lines) if given is None else None
    about = Understood(name, form, read, counted, ignored=ignored)
    kept = [number for index, number in enumerate(numbers) if index not in misfits]
    return Table(frame, broken_frame(broken), about, kept)


def array_of(text: str) -> list[Any] | None:
    """The objects of a JSON array or of a list under `data`; None for JSON lines."""
    try:
        value = json.loads(text, parse_constant=_nothing)
    except RecursionError as error:
        raise InputError("too deep for a table") from error
    except ValueError:
        return None
    if isinstance(value, dict):
        value = value.get("data")
    return value if isinstance(value, list) else None


def _columns(
    rows: Sequence[Row], known: frozenset[str]
) -> tuple[pl.DataFrame, dict[int, list[str]], tuple[str, ...]]:
    """A column per key; rows that differ from most in a column that matters, with what is wrong.

    Last, the keys that are no columns: nothing that Polymine reads looks like their values.
    """
    columns, misfits, ignored = {}, dict[int, list[str]](), list[str]()
    for column in dict.fromkeys(column for row in rows for column in row):
        values = [row.get(column) for row in rows]
        kind = _common_kind(values)
        if kind in ("object", "mixed list"):
            ignored.append(column)
            continue
        columns[column] = _series(values, kind)
        for index in _misfits(values, kind) if column.lower() in known else ():
            rule = f"`{column}` is a {_kind(values[index])}, not a {kind} as in most lines"
            misfits.setdefault(index, []).append(rule)
    frame = pl.DataFrame(columns)
    whole = frame[[i for i in range(len(rows)) if i not in misfits]] if misfits else frame
    return whole, misfits, tuple(ignored)


def _object(line: Any) -> Row:
    """One row; ValueError says what is wrong with it."""
    if isinstance(line, str):
        if not is_whole(line):
            raise ValueError("not UTF-8")
        try:
            row = json.loads(line, parse_constant=_nothing)
        except (ValueError, RecursionError):
            raise ValueError("not a line of JSON") from None
    else:
        row = line
    if not isinstance(row, dict):
        raise ValueError("not a JSON object")
    if isinstance(line, str):
        # Only then is it worth the time to look: of a key that stands twice, the last one counts.
        if line.count('":') + line.count('" :') > len(row) and _key_twice(line):
            raise ValueError("a key stands twice")
        if "\\ud" not in line.lower():
            return row
    try:  # half a surrogate pair is legal JSON, and no legal text
        as_json(row).encode()
    except UnicodeEncodeError:
        raise ValueError("holds half of a surrogate pair") from None
    return row


def _nothing(constant: str) -> None:
    """Read NaN and its like, which Python writes for missing values, as null."""


def _key_twice(line: str) -> bool:
    def keys_of(pairs: Iterable[tuple[str, Any]]) -> list[str]:
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
