"""What a person looks at: rich on a terminal and in a notebook, plain words where it is printed."""

import html
import io
import math
import os
import re
from importlib import import_module
from pathlib import Path
from typing import Any, ClassVar

from rich.console import Console, RenderableType

DIGITS = 7  # of numbers in JSON: what float32 holds
WIDTH = 110  # characters of a line in a notebook
LEAST_KEPT = 0.8  # of the characters that may be shown, where a text is cut at a word
PIPED = 200  # likewise where nobody says how many there are: names are long, and must not break
_HTML = '<pre style="font-family:monospace;line-height:1.35;overflow-x:auto">{code}</pre>'
# Line breaks and tabs apart, what moves a cursor, colours, or turns the direction of writing.
_CONTROLS = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")


class Shown:
    """A value that says what it holds.

    `drawn_by` names the module whose `draw` draws it: by its name, since it imports the value.
    """

    drawn_by: ClassVar[str]

    def __rich__(self) -> RenderableType:
        drawn: RenderableType = import_module(self.drawn_by).draw(self)
        return drawn

    def __str__(self) -> str:
        return self._drawn().export_text().rstrip()

    __repr__ = __str__

    def _repr_html_(self) -> str:
        return self._drawn().export_html(inline_styles=True, code_format=_HTML)

    def _drawn(self) -> Console:
        console = Console(record=True, file=io.StringIO(), width=WIDTH, highlight=False)
        console.print(self.__rich__())
        return console


def console() -> Console:
    """Make what prints: as wide as the terminal, wider into a pipe or a file."""
    made = Console(highlight=False)
    if made.is_terminal or "COLUMNS" in os.environ:
        return made
    return Console(highlight=False, width=PIPED)


def visible(text: str) -> str:
    """Replace what a terminal would obey instead of show: texts are the user's."""
    return _CONTROLS.sub("\N{REPLACEMENT CHARACTER}", text)


def shorten(text: str, longest: int) -> str:
    """Write a text of the data, made `visible`, in one line, cut with ` …`.

    It is cut at a word, unless that takes much away: Japanese and Thai have next to no blanks.
    """
    flat = " ".join(text.split())
    if len(flat) <= longest:
        return visible(flat)
    words = flat[: longest + 1].rpartition(" ")[0]
    return visible(f"{words if len(words) > LEAST_KEPT * longest else flat[:longest]} …")


def plain(value: Any) -> Any:
    """Bring a nested value into what JSON has: lists, rounded numbers, no infinity."""
    if isinstance(value, float):
        return float(f"{value:.{DIGITS}g}") if math.isfinite(value) else None
    if isinstance(value, dict):
        return {key: plain(of) for key, of in value.items()}
    return [plain(of) for of in value] if isinstance(value, (list, tuple)) else value


class Page:
    """A report that is written: a notebook shows it, `folder` is what it reports on."""

    def __init__(self, path: Path, headline: str = "") -> None:
        self.path, self.folder, self.headline = path, path.parent, headline

    def __str__(self) -> str:
        return str(self.path)

    def __repr__(self) -> str:
        return f"{self.headline}\n{self.path}".lstrip()

    def _repr_html_(self) -> str:
        page = html.escape(self.path.read_text(encoding="utf-8"))
        return f'<iframe srcdoc="{page}" width="100%" height="800" style="border:0"></iframe>'
