"""What a run prints at its end: its result, what was reused and where it all lies."""

from collections.abc import Mapping, Sequence
from typing import Any

from rich.console import Console, Group
from rich.panel import Panel
from rich.rule import Rule
from rich.table import Table
from rich.text import Text

from polymine.reporting.runs.funnel_view import draw_funnel
from polymine.reporting.shown import shorten

LINE = 200  # characters of a text outside of a terminal
LEAST = 0.1  # seconds of a stage worth a word
_LOOK = {"anchor": "bold", "positive": "green", "negative": "red"}


def show(
    summary: Mapping[str, Any],
    seconds: float,
    page: str | None = None,
    console: Console | None = None,
) -> None:
    """Print the summary of a run; `page` is where its server can be seen right now."""
    console = console or Console(highlight=False)
    if triplet := summary.get("triplet"):
        drawn = _triplet(triplet) if console.is_terminal else _in_lines(triplet)
        console.print(drawn, soft_wrap=not console.is_terminal)
    if summary.get("funnel") and console.is_terminal:  # the report has it, too
        console.print(draw_funnel(summary["funnel"]))
    if summary.get("arms"):
        console.print(_arms(summary["arms"]))
    parts = summary.get("parts") or {}
    for part, headline in parts.items():
        console.print(Text(f"{part}: {headline}"), soft_wrap=True)
    facts = _facts(summary, seconds, page)
    facts += [("Check this", str(said)) for said in summary.get("warnings") or []]
    width = max(len(name) for name, _ in facts) + 2 if console.is_terminal else 0
    for name, said in facts:  # the terminal wraps: a path stays whole and can be copied
        console.print(f"{name}: ".ljust(width + 1) + said, soft_wrap=True, markup=False)
    if summary["headline"] not in parts.values():
        console.print(Text(str(summary["headline"]), style="bold"), soft_wrap=True)


def _in_lines(triplet: Mapping[str, Any]) -> Text:
    """Show each text on a line of its own, for logs."""
    lines = [
        f"{' · '.join([role, *_details(triplet, role)])}: {shorten(str(triplet[role]), LINE)}"
        for role in _LOOK
    ]
    return Text("\n".join(lines))


def _triplet(triplet: Mapping[str, Any]) -> Panel:
    parts: list[Any] = []
    for role, style in _LOOK.items():
        title = Text(" · ".join([role, *_details(triplet, role)]), style=f"{style} italic")
        parts += [Rule(title, align="left", style="dim"), Text(str(triplet[role])), Text()]
    return Panel(Group(*parts[:-1]), title="One triplet", border_style="dim")


def _details(triplet: Mapping[str, Any], role: str) -> list[str]:
    language, score = triplet.get(f"{role}_language"), triplet.get(f"{role}_score")
    named = [str(language)] if language and language != "und" else []
    return named + ([f"score {score:.3f}"] if score is not None else [])


def _arms(arms: Sequence[Mapping[str, Any]]) -> Table:
    table = Table(title="Gain over the base", title_justify="left", box=None, padding=(0, 2, 0, 0))
    for name in ("set", "arm", "metric", "gain"):
        table.add_column(name)
    for row in arms:
        table.add_row(*(str(row[name]) for name in ("set", "arm", "metric", "gain")))
    return table


def _facts(summary: Mapping[str, Any], seconds: float, page: str | None) -> list[tuple[str, str]]:
    took = [row for row in summary.get("timings") or [] if row["seconds"] >= LEAST]
    timings = [f"{row['stage']} {row['seconds']:.1f} s" for row in took]
    facts = [
        ("Reused", ", ".join(summary.get("reused") or []) or "nothing"),
        ("Timings", " · ".join([*timings, f"whole command {seconds:.1f} s"])),
    ]
    facts += [("Searched", str(said)) for said in summary.get("searched") or []]
    if summary.get("recall"):
        facts.append(("Positives first / in ten", str(summary["recall"])))
    if summary.get("funnel"):
        facts.append(("Triplets", f"{summary['output']}/triplets/*.parquet"))
    else:
        facts.append(("Output", str(summary["output"])))
    facts.append(("Report", str(summary["report"])))
    return [*facts, ("The run in the Prefect UI", page or "polymine ui")]
