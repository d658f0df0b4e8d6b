"""Numbers, languages and texts the way people read them."""

import html
import re
from functools import cache

LONGEST = 1500  # characters of a text in a summary


@cache
def name_language(code: str) -> str:
    """Write a language code with its name.

    Args:
        code: BCP 47, or `*` for all languages.

    Returns:
        `Russian (ru)`; the code alone where it is no valid one.
    """
    import langcodes

    if code in ("*", "und"):
        return {"*": "all languages", "und": "not stated (und)"}[code]
    if not langcodes.tag_is_valid(code):
        return code
    return f"{langcodes.Language.get(code).language_name()} ({code})"


def name_pair(document: str, query: str) -> str:
    """Name a direction of languages.

    Args:
        document, query: codes as in `name_language`.

    Returns:
        One name where both are the same, otherwise `Arabic (ar) and English (en)`.
    """
    sides = dict.fromkeys((name_language(document), name_language(query)))
    return " and ".join(sides)


def plain(text: str) -> str:
    """Write a text so that its own markup is shown in Markdown and not obeyed.

    Args:
        text: of the data; may hold anything.

    Returns:
        One line of at most `LONGEST` characters of the text, escaped for Markdown and HTML.
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


def format_count(value: float) -> str:
    """Write 1234 as 1,234."""
    import humanize

    return humanize.intcomma(round(value))


def format_share(value: float) -> str:
    """Write a share as percent.

    Args:
        value: from 0 to 1.

    Returns:
        `25 %`, below a tenth `2.5 %`; small ones are `< 0.1 %` and not rounded to nothing.
    """
    if 0 < value < 0.001:
        return "< 0.1 %"
    return f"{value * 100:.0f} %" if value >= 0.1 or value == 0 else f"{value * 100:.1f} %"


def format_rate(value: float | None) -> str:
    """Write a rate as percent with two digits, however small it is.

    Args:
        value: from 0 to 1, or None.

    Returns:
        `12 %`, `0.031 %`, or a dash for None.
    """
    if value is None:
        return "–"
    return f"{value * 100:.0f} %" if value >= 0.1 else f"{value * 100:.2g} %"


def format_score(value: float | None) -> str:
    """Write a score with three decimals, or one where it is large.

    Args:
        value: a score, or None.

    Returns:
        `0.512`, `123.4`, with a true minus sign, or a dash for None.
    """
    if value is None:
        return "–"
    return f"{value:.1f}" if abs(value) >= 100 else f"{value:.3f}".replace("-", "−")


def format_gain(value: float | None) -> str:
    """Write a difference of scores with its sign.

    Args:
        value: a difference, or None.

    Returns:
        As `format_score`, `+0.035`.
    """
    shown = format_score(value)
    return shown if shown[0] in "–−" else f"+{shown}"


def format_interval(low: float | None, high: float | None) -> str:
    """Write the bounds of a difference.

    Args:
        low, high: both or neither.

    Returns:
        `[+0.021, +0.049]`, or a dash where one is None.
    """
    if low is None or high is None:
        return "–"
    return f"[{format_gain(low)}, {format_gain(high)}]"


def format_seconds(seconds: float) -> str:
    """Write a duration as a person would say it.

    Args:
        seconds: any number from 0 on; from two minutes on it is rounded to minutes.

    Returns:
        As `3.21 seconds`, `1 hour 5 minutes`.
    """
    import humanize

    digits = "%.2f" if seconds < 10 else "%.0f"
    shown = humanize.precisedelta(
        seconds if seconds < 120 else round(seconds / 60) * 60, format=digits
    )
    return shown.replace(" and ", " ")


def count_of(count: int, noun: str, plural: str | None = None) -> str:
    """Write a count with its noun.

    Args:
        count: from 0 on.
        noun: in the singular.
        plural: where it is not the noun with an `s`.

    Returns:
        `1 query`, `2,000 queries`.
    """
    return f"{count:,} {noun if count == 1 else plural or noun + 's'}"
