"""TREC's judgments and rankings, by spaces or tabs, without a header.

Judgments (qrels) are `query 0 document grade` a line, rankings (runs) `query Q0 document rank score
system`; MS MARCO leaves the constant out of both.
"""

import re

import polars as pl

from polymine.data_contracts.errors import InputError
from polymine.data_contracts.notes import Understood
from polymine.mining.broken_rows import broken_frame
from polymine.reading.roles import Role
from polymine.reading.text import is_whole
from polymine.reading.understood import Table

_NUMBER = re.compile(r"[+-]?\d+(\.\d+)?([eE][+-]?\d+)?")
_SAMPLE = 200
_QRELS = {3: ("query_id", "doc_id", "relevance"), 4: ("query_id", "", "doc_id", "relevance")}
_RUN = {3: ("query_id", "doc_id", ""), 6: ("query_id", "", "doc_id", "", "", "")}


def read_trec(lines: list[str], name: str, role: Role) -> Table | None:
    """Read judgments of three or four columns, or a ranking of three or six.

    Args:
        lines: those that are not blank.
        name: what errors call the file.
        role: judgments or candidates.

    Returns:
        query_id, doc_id and, of judgments, relevance as strings; None where the file is something
        else.

    Raises:
        InputError: a ranking for judgments, which says what a system found and not what is
            relevant, or judgments for candidates.
    """
    by_tabs = all(line.count("\t") > 1 for line in lines)  # then ids may hold blanks

    def cells_of(line: str) -> list[str]:
        return [cell.strip() for cell in line.split("\t")] if by_tabs else line.split()

    rows = [cells_of(line) for line in lines[:_SAMPLE]]
    widths = {len(row) for row in rows}
    if len(widths) != 1 or any(cell.lower() in role.known for cell in rows[0]):
        return None
    width = widths.pop()
    if width == 6 and role.is_judgments and all(map(_is_ranked, rows)):
        raise InputError(
            f"{name}: is a ranking (query, Q0, document, rank, score, system), which says what was "
            "found and not what is relevant; name judgments (query, 0, document, grade) here, and "
            "the ranking as `candidates`"
        )
    if width == 3 and role.is_judgments and _are_ranks(rows):
        raise InputError(
            f"{name}: is a ranking (query, document, rank), which says what was found and not what "
            "is relevant; name it as `candidates`, or, if they are grades, give a header with "
            "`query_id`, `doc_id` and `relevance`"
        )
    if width == 4 and not role.is_judgments and all(_is_number(row[-1]) for row in rows):
        raise InputError(
            f"{name}: holds judgments (query, 0, document, grade); name them as `judgments` or "
            "`labels`, and here a ranking (query, Q0, document, rank, score, system)"
        )
    columns = (_QRELS if role.is_judgments else _RUN).get(width)
    numbered = _is_ranked if width == 6 else lambda row: _is_number(row[-1])
    if columns is None or not all(map(numbered, rows)):
        return None
    whole = [cells_of(line) for line in lines]
    if any(len(row) != width for row in whole) or not is_whole("".join(lines)):
        return None
    taken = zip(columns, zip(*whole, strict=True), strict=True)
    held = {column: values for column, values in taken if column}
    form = "TREC qrels" if role.is_judgments else "TREC run"
    about = Understood(name, form, len(whole), len(whole), header=False)
    frame = pl.DataFrame(held, schema=dict.fromkeys(held, pl.String))
    return Table(frame, broken_frame([]), about)


def _are_ranks(rows: list[list[str]]) -> bool:
    """Whether the last of three columns counts from 1 within every query, to 3 at least."""
    counted: dict[str, list[str]] = {}
    for query, _, last in rows:
        counted.setdefault(query, []).append(last)
    *whole, cut = counted.values()  # the sample may end within the last query
    return max(map(len, (*whole, cut))) > 2 and all(
        values == [f"{place}" for place in range(1, len(values) + 1)] for values in (*whole, cut)
    )


def _is_ranked(row: list[str]) -> bool:
    return _is_number(row[3]) and _is_number(row[4])


def _is_number(cell: str) -> bool:
    return _NUMBER.fullmatch(cell) is not None
