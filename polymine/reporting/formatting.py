"""Numbers, languages and texts the way people read them."""

import html
import re
from functools import cache

LONGEST = 1500  # characters of a text in a summary


@cache
def name_language(code: str) -> str:
    """Write a BCP 47 code as `Russian (ru)`; alone where it is not valid; `*` is all languages."""
    import langcodes

    if code in ("*", "und"):
        return {"*": "all languages", "und": "not stated (und)"}[code]
    if not langcodes.tag_is_valid(code):
        return code
    return f"{langcodes.Language.get(code).language_name()} ({code})"


def name_pair(document: str, query: str) -> str:
    """Name a direction, as `Arabic (ar) and English (en)`; one name where both are the same."""
    sides = dict.fromkeys((name_language(document), name_language(query)))
    return " and ".join(sides)


def plain(text: str) -> str:
    """Write a text of the data in one line, its own markup shown in Markdown and not obeyed.

    It is cut to `LONGEST` characters.
    """
    short = text if len(text) <= LONGEST else text[:LONGEST] + " …"
    flat = html.escape(" ".join(short.split()), quote=False)
    return re.sub(r"([\\`*_\[\]#|~!])", r"\\\1", flat)


def code(text: str) -> str:
    """Write a name or path as code in Markdown, whatever quotes and lines it holds itself."""
    flat = " ".join(text.split())
    longest = max((len(run) for run in re.findall(r"`+", flat)), default=0)
    space = " " if longest else ""
    return f"{'`' * (longest + 1)}{space}{flat}{space}{'`' * (longest + 1)}"


def as_key(*names: str) -> str:
    """Join names to a key as Prefect demands: lower case, digits and dashes."""
    return re.sub(r"[^a-z0-9]+", "-", "-".join(names).lower()).strip("-")


def format_count(value: float) -> str:
    """Write 1234 as 1,234."""
    import humanize

    return humanize.intcomma(round(value))


def format_share(value: float) -> str:
    """Write a share as `25 %`, below a tenth as `2.5 %`; small ones are `< 0.1 %`, not nothing."""
    if 0 < value < 0.001:
        return "< 0.1 %"
    return f"{value * 100:.0f} %" if value >= 0.1 or value == 0 else f"{value * 100:.1f} %"


def format_rate(value: float | None) -> str:
    """Write a rate with two digits, however small: `12 %`, `0.031 %`; a dash for None."""
    if value is None:
        return "–"
    return f"{value * 100:.0f} %" if value >= 0.1 else f"{value * 100:.2g} %"


def format_score(value: float | None) -> str:
    """Write a score as `0.512`, a large one as `123.4`, with a true minus sign; a dash for None."""
    if value is None:
        return "–"
    return f"{value:.1f}" if abs(value) >= 100 else f"{value:.3f}".replace("-", "−")


def format_gain(value: float | None) -> str:
    """Write a difference of scores with its sign, as `+0.035`; a dash for None."""
    shown = format_score(value)
    return shown if shown[0] in "–−" else f"+{shown}"


def format_interval(low: float | None, high: float | None) -> str:
    """Write the bounds of a difference, as `[+0.021, +0.049]`; a dash where one is None."""
    if low is None or high is None:
        return "–"
    return f"[{format_gain(low)}, {format_gain(high)}]"


def format_seconds(seconds: float) -> str:
    """Write a duration as `3.21 seconds` or `1 hour 5 minutes`; minutes from two of them on."""
    import humanize

    digits = "%.2f" if seconds < 10 else "%.0f"
    shown = humanize.precisedelta(
        seconds if seconds < 120 else round(seconds / 60) * 60, format=digits
    )
    return shown.replace(" and ", " ")


def count_of(count: int, noun: str, plural: str | None = None) -> str:
    """Write a count with its noun, as `1 query` or `2,000 queries`."""
    return f"{count:,} {noun if count == 1 else plural or noun + 's'}"
