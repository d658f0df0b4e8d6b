"""Rows that break a rule, and the error that names all of them.

They travel as a frame of `source`, `rules` (list) and `row` (JSON, as it was given), from reading
to checking, and end in an error or among the rejected rows.
"""

import difflib
import json
import math
from collections.abc import Sequence
from typing import Any

import dataframely as dy
import polars as pl

from polymine.data_contracts.errors import InputError
from polymine.data_contracts.tables import Rejected

SOURCE_COLUMN = "source_file"  # optional, beside the contract's: the file a row came from
BROKEN = pl.Schema([("source", pl.String()), ("rules", pl.List(pl.String)), ("row", pl.String())])
EXAMPLES = 3  # rows shown for a broken rule
_EXAMPLE_CHARACTERS = 160
PROBLEM = 2000  # characters shown of what is wrong with a file, whose columns may be very many
_ADVICE = {  # beside correcting a row that breaks such a rule
    "not a whole number": "Grades that are no whole numbers need a threshold, as `grades = 0.5`.",
    "`relevance` is not a number": 'Say which values are relevant, as `grades = ["yes"]`.',
    "not UTF-8": 'A file in another encoding needs its name, as `encoding = "cp1252"`.',
    "quotation marks": "Where quotation marks are letters, say so: `quoting = false`; within "
    "a field they are doubled, a backslash says nothing.",
}

Broken = list[tuple[str, list[str], str]]  # source, rules, row


def broken_frame(rows: Broken) -> pl.DataFrame:
    """Rows that cannot be read, as errors and `rejected/` take them: source, rules (list), row."""
    return pl.DataFrame(rows, schema=BROKEN, orient="row")


def input_error(problems: Sequence[str], broken: pl.DataFrame) -> InputError:
    """Put all that is wrong into one error.

    Args:
        problems: sentences on whole files.
        broken: rules broken by rows: source, rules, row.

    Returns:
        The error to raise, with three example rows per rule and advice on how to fix them.
    """
    lines = [f"  {_shortened(problem, PROBLEM)}" for problem in problems]
    rules = broken.explode("rules").group_by("source", "rules", maintain_order=True)
    for (source, rule), rows in rules:
        lines.append(f"  {source}: {rule} ({rows.height} row{'s' if rows.height > 1 else ''})")
        lines += [f"    {_shortened(row)}" for row in rows["row"].head(EXAMPLES)]
        if rows.height > EXAMPLES:
            lines.append("    ...")
    named = " ".join(broken["rules"].explode().unique().drop_nulls())
    lines += [advice for part, advice in _ADVICE.items() if part in named]
    if broken.height and not problems:
        lines.append('Correct these rows, or set them aside with `on_invalid = "quarantine"`.')
    return InputError("\n".join(["The input cannot be used as it is:", *lines]))


def rejected_rows(broken: pl.DataFrame) -> dy.DataFrame[Rejected]:
    """Rows set aside (contract Rejected), sorted; one that breaks several rules names them all."""
    rows = broken.select("source", pl.col("rules").list.join("; ").alias("rule"), "row")
    return Rejected.validate(rows.sort(pl.all()))


def as_json(row: dict[str, Any]) -> str:
    """A row as one line of JSON; what JSON does not know (NaN, dates, bytes) becomes text."""
    plain = {
        name: str(value) if isinstance(value, float) and not math.isfinite(value) else value
        for name, value in row.items()
    }
    return json.dumps(plain, ensure_ascii=False, default=str)


def nearest(name: str, frame: pl.DataFrame) -> str:
    """Name the column that a missing one may be, and all that were found."""
    found = [column for column in frame.columns if column != SOURCE_COLUMN]
    close = difflib.get_close_matches(name, found, n=1, cutoff=0.5)
    hint = f"; did you mean `{close[0]}`?" if close else ""
    return f"{hint} (found: {', '.join(found) or 'no columns'})"


def _shortened(text: str, longest: int = _EXAMPLE_CHARACTERS) -> str:
    return text if len(text) <= longest else text[: longest - 3] + "..."
