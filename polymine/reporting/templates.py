"""The templates of this package: pages in HTML, cards and summaries in Markdown, sentences."""

import math
from functools import cache
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from polymine.reading.understood import details
from polymine.reporting import formatting
from polymine.reporting.shown import shorten


@cache
def templates() -> Environment:
    """Open the templates; what they are given is text unless marked as markup."""
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        auto_reload=False,
    )
    environment.filters |= {
        "count": formatting.format_count,
        "share": formatting.format_share,
        "rate": formatting.format_rate,
        "score": formatting.format_score,
        "gain": formatting.format_gain,
        "seconds": formatting.format_seconds,
        "language": formatting.name_language,
        "plain": formatting.plain,
        "code": formatting.code,
        "exp": math.exp,
        "shorten": shorten,
        "details": details,
        "sure": lambda share: f"{share:.0%}".replace("%", " %"),
    }
    environment.globals |= {
        "interval": formatting.format_interval,
        "count_of": formatting.count_of,
        "name_pair": formatting.name_pair,
        "say": say,
    }
    return environment


@cache
def markdown() -> Environment:
    """Open the templates of Markdown, which is no markup: the page's escaping would show in it."""
    return templates().overlay(autoescape=False)


def say(sentences: str, name: str, *about: Any) -> str:
    """Write a sentence as one line of plain text: `name` is a macro of `SENTENCES/sentences.j2`."""
    macros = markdown().get_template(f"{sentences}/sentences.j2").module
    return " ".join(str(getattr(macros, name)(*about)).split())
