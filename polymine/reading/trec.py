"""TREC's judgments: `query 0 document grade` a line, by spaces or tabs, without a header."""

import re

import polars as pl

from polymine.data_contracts.errors import InputError
from polymine.data_contracts.notes import Understood
from polymine.reading.roles import Role
from polymine.reading.text import is_whole
from polymine.reading.understood import Table, broken_frame

_NUMBER = re.compile(r"[+-]?\d+(\.\d+)?([eE][+-]?\d+)?")
_SAMPLE = 200


def read_trec(lines: list[str], name: str, role: Role) -> Table | None:
    """Read TREC judgments (qrels) of three or four columns.

    Args:
        lines: those that are not blank.
        name: what errors call the file.

    Returns:
        query_id, doc_id, relevance as strings; None where the file is something else.

    Raises:
        InputError: a ranking of six columns, which says what a system found and not what is
            relevant.
    """
    rows = [line.split() for line in lines[:_SAMPLE]]
    widths = {len(row) for row in rows}
    if len(widths) != 1 or any(cell.lower() in role.known for cell in rows[0]):
        return None
    width = widths.pop()
    if width == 6 and all(_is_number(row[3]) and _is_number(row[4]) for row in rows):
        raise InputError(
            f"{name}: is a ranking (query, Q0, document, rank, score, system), which says what was "
            "found and not what is relevant; name judgments (query, 0, document, grade)"
        )
    if width not in (3, 4) or not all(_is_number(row[-1]) for row in rows):
        return None
    whole = [line.split() for line in lines]
    if any(len(row) != width for row in whole) or not is_whole("".join(lines)):
        return None
    columns = list(zip(*whole, strict=True))
    frame = pl.DataFrame(
        {"query_id": columns[0], "doc_id": columns[-2], "relevance": columns[-1]},
        schema=dict.fromkeys(("query_id", "doc_id", "relevance"), pl.String),
    )
    about = Understood(name, "TREC qrels", len(whole), len(whole), header=False)
    return Table(frame, broken_frame([]), about)


def _is_number(cell: str) -> bool:
    return _NUMBER.fullmatch(cell) is not None
