"""Turns a numpydoc docstring into a query and a passage that read like text, not like markup."""

import itertools
import re
from collections.abc import Iterator

from docstring_parser.common import Docstring
from docstring_parser.numpydoc import NumpydocParser, Section

LONGEST = 1_000  # characters of a passage, cut between paragraphs
SHORTEST = 120  # characters below which a passage says too little to be found
_SHORTEST_QUERY = 16
_SIGNATURE = re.compile(r"^[\w.]+\(.*\)(\s*->.*)?$")
_NAME = re.compile(r"^\*{0,2}\w[\w, *]*$")
_PLACEHOLDER = re.compile(r"%\(\w+\)|(?<!\{)\{\w+\}")
_BULLETS = ("- ", "* ")
_POINTER = re.compile(
    r"^(Read more in|See the|To learn more|For more (information|details)).{0,80}$"
)
_LATEX = re.compile(r"\\[a-z]{3,}")  # what is left of formulas reads badly
_INLINE = (
    (re.compile(r":[\w:]+:`~?(?:[\w.]*\.)?([^`<>]+?)(?:\s*<[^`]*>)?`"), r"\1"),  # :role:`text`
    (re.compile(r"`([^`<>]+?)\s*<[^`>]+>`_{0,2}"), r"\1"),  # `text <address>`_
    (re.compile(r"\s*(_\[\d+\]|\[[\w*#]+\]_)"), ""),  # [1]_
    (re.compile(r"``?~?([^`]+)``?_?"), r"\1"),
    (re.compile(r"\*\*([^*\n]+)\*\*"), r"\1"),
    (re.compile(r"(?<![\w*])\*([^*\s][^*\n]*)\*(?![\w*])"), r"\1"),
    (re.compile(r"\\([*_`|])"), r"\1"),
)
_PARSER = NumpydocParser()
for _title in ("See also", "Methods"):  # headings of these libraries that the parser does not know
    _PARSER.add_section(Section(_title, _title))


def passage_of(docstring: str) -> tuple[str, str] | None:
    """Part a cleaned docstring into (summary, passage); None if it makes no good pair.

    The passage holds the extended description and the notes, then, as long as there is room,
    parameters and results; examples, references, formulas and tables are left out.
    """
    if _PLACEHOLDER.search(docstring):
        return None  # a template, filled in while importing
    parsed = _PARSER.parse(docstring)
    lead = _lead(parsed)
    if lead and _SIGNATURE.match(lead[0].strip()):
        lead = lead[1:]
    paragraphs = _paragraphs(lead)
    if not paragraphs:
        return None
    summary, *prose = paragraphs
    for part in parsed.meta:
        if part.args == ["notes"]:
            prose += _paragraphs((part.description or "").splitlines())
    if not prose or not _is_query(summary):
        return None
    details = [f"{name}: {text}" for name, text in _described(parsed, "param")]
    details += [f"Returns: {text}" for _, text in _described(parsed, "returns")]
    passage = _joined([*prose, *details])
    enough = min(len(passage), sum(map(len, prose))) >= SHORTEST
    return (summary, passage) if enough else None


def _is_query(summary: str) -> bool:
    return len(summary) >= _SHORTEST_QUERY and summary.count(" ") >= 2 and summary[-1] not in ":,"


def _joined(paragraphs: list[str]) -> str:
    """As many whole paragraphs as fit; of a first one that is too long, as many sentences."""
    first, *others = paragraphs
    if len(first) > LONGEST:
        return first[:LONGEST].rpartition(". ")[0] + "."
    lengths = itertools.accumulate((len(other) + 1 for other in others), initial=len(first))
    count = sum(length <= LONGEST for length in lengths)
    return "\n".join(paragraphs[:count])


def _lead(parsed: Docstring) -> list[str]:
    """Lines before the first section."""
    gap = [""] if parsed.blank_after_short_description else []
    return [parsed.short_description or "", *gap, *(parsed.long_description or "").splitlines()]


def _described(parsed: Docstring, kind: str) -> Iterator[tuple[str, str]]:
    """Parameters or results with the first paragraph of their descriptions, where there is one."""
    for part in parsed.meta:
        text = _paragraphs((part.description or "").splitlines()) if part.args[0] == kind else []
        name = getattr(part, "arg_name", None) or getattr(part, "return_name", None)
        name = name or getattr(part, "type_name", None) or ""
        if text and not text[0].endswith(":") and _NAME.match(name):
            yield name, text[0].removeprefix("- ")


def _paragraphs(lines: list[str]) -> list[str]:
    """Paragraphs of prose: without directives, literal blocks, doctests, formulas and tables."""
    found = []
    skipped_indent: int | None = None
    for blank, block in itertools.groupby(lines, key=lambda line: not line.strip()):
        if blank:
            continue
        rows = list(block)
        indent = len(rows[0]) - len(rows[0].lstrip())
        if skipped_indent is not None and indent > skipped_indent:
            continue
        text = rows[0].lstrip()
        opens_literal = rows[-1].rstrip().endswith("::")
        skipped_indent = indent if text.startswith("..") or opens_literal else None
        if not text.startswith(("..", ">>>", "|", "+-", "==")) and ">>>" not in "".join(rows):
            found += [_plain(item) for item in _items(rows)]
    return [
        prose
        for prose, below in itertools.pairwise([*found, ""])
        if prose
        and not _LATEX.search(prose)
        and not _POINTER.match(prose)
        and (prose[-1] != ":" or below.startswith(_BULLETS))  # announces what was left out
    ]


def _items(rows: list[str]) -> Iterator[str]:
    """The items of a list, or the whole paragraph if it is none."""
    item = ""
    for row in map(str.strip, rows):
        if item and row.startswith(_BULLETS):
            yield item
            item = ""
        item += f" {row}"
    yield item


def _plain(text: str) -> str:
    for pattern, replacement in _INLINE:
        text = pattern.sub(replacement, text)
    return " ".join(text.replace("::", ":").split())
