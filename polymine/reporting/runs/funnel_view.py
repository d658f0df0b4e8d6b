"""Draws what a run made: its headline, and the funnel from what went in to what came out."""

from collections.abc import Mapping
from typing import Any

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from polymine.reporting.reasons import name_reason
from polymine.reporting.shown import visible


def draw(name: str, info: Mapping[str, Any]) -> RenderableType:
    """Draw a run by what its manifest notes."""
    head = Text.assemble((visible(name), "bold"), "  ", visible(str(info.get("headline", ""))))
    return Group(head, draw_funnel(info.get("funnel", [])))


def draw_funnel(funnel: list[Mapping[str, Any]]) -> Table:
    """Draw a line for each step: what it is, how many, and a note."""
    table = Table(title="Funnel", title_justify="left", box=None, padding=(0, 2, 0, 0))
    table.add_column("step")
    table.add_column("count", justify="right")
    table.add_column("", style="dim")
    for row in funnel:
        note = visible(name_reason(str(row.get("note", ""))))
        table.add_row(str(row["step"]), f"{row['count']:,}", note)
    return table
