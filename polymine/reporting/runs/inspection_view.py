"""Draws one query of a run: its candidates, the evidence on each, and why it is so.

Texts are the user's: they are shown as they are written, never read as markup.
"""

import math
from dataclasses import dataclass

from rich.console import Console, ConsoleOptions, Group, RenderableType, RenderResult
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from polymine.reporting.formatting import count_of, format_share
from polymine.reporting.runs.inspected import (
    OPINIONS,
    ROLES,
    Candidate,
    Contribution,
    Inspection,
    Risk,
    Role,
)
from polymine.reporting.shown import shorten, visible

LONGEST = 480  # characters of a text, unless asked for all: six lines of 80
_GAP = "  "
_LOOK: dict[Role, tuple[str, str]] = {
    "positive": ("green", "known positives"),
    "negative": ("red", "kept as hard negatives"),
    "promoted": ("cyan", "promoted to positives"),
    "excluded": ("yellow", "excluded"),
    "unused": ("blue", "given by a file and not needed"),
}
_FEATURES = {
    "intercept": "where a candidate starts whose features are all at their centre",
    "query": "how far its score for the query lies above other documents' (z)",
    "document": "how far the query lies above other queries for it (document z)",
    "positive": "how close it is to a known positive (positive z)",
    "gap": "how far its score lies above that of the lowest known positive (gap z)",
    "feedback": "how close it is to query, positives and best candidates together (feedback z)",
    "words": "how many words it shares with the query (z of a lexical teacher)",
    "positive_words": "how many words it shares with a known positive (its positive z)",
    "language": "what was learned of the query's language",
}


def draw(found: Inspection, *, full: bool = False) -> RenderableType:
    """Draw a query and its candidates, the most important first; `full`: texts are not cut."""
    parts: list[RenderableType] = [_query(found, full)]
    for role in ROLES:
        shown = found.of(role)
        if not shown and role != "negative":
            continue
        parts += [Text(), _title(role, len(shown), found.counts[role])]
        for candidate in shown:
            parts += [Text(), _candidate(candidate, full)]
    if any(candidate.risk for candidate in found.candidates):
        parts += [Text(), _legend(found), _fit(found)]
    return Group(*parts)


def _query(found: Inspection, full: bool) -> RenderableType:
    counts = found.counts
    lines: list[RenderableType] = [
        Text.assemble(("query  ", "dim"), (visible(found.query_id), "bold"), _language(found)),
        Padding(_text(found.text, full), (0, 0, 0, 2), expand=False),
        Text(),
        Text(
            f"{counts['negative']} of {found.wanted} negatives from "
            f"{count_of(counts['candidates'], 'candidate')}: "
            f"{counts['positive_candidates']} known, {counts['promoted']} promoted, "
            f"{counts['excluded']} excluded, {counts['not_needed']} passed and not needed"
        ),
        Text(_rule(found), style="dim"),
    ]
    if found.shortfall:
        lines.append(Text(f"short of negatives: {found.shortfall}", style="bold yellow"))
    if found.note:
        lines.append(Text(found.note, style="yellow"))
    return Group(*lines)


def _rule(found: Inspection) -> str:
    said = [f"rule {found.rule}, scores of {found.teacher}"]
    if found.positive_score is not None:
        said.append(f"known positives score {_figure(found.positive_score)} or more")
    if found.price is not None and found.highest_risk is not None:
        utility = f"utility = score − {found.price:.3g} × risk" if found.price else "score"
        said.append(f"taken by {utility}, up to a risk of {format_share(found.highest_risk)}")
    if found.lowest_utility is not None:
        said.append(f"the last one taken has a utility of {_figure(found.lowest_utility)}")
    return "; ".join(said)


def _title(role: Role, shown: int, of: int) -> Text:
    colour, title = _LOOK[role]
    more = f", the first {shown} of them" if shown < of else ""
    return Text(f"{title}: {of}{more}", style=f"bold {colour}")


def _candidate(found: Candidate, full: bool) -> RenderableType:
    colour = _LOOK[found.role][0]
    body = [_text(found.text, full), Text(_why(found), style=colour), _opinions(found)]
    if remarks := _remarks(found):
        body.append(Text(" · ".join(remarks), style="dim"))
    if found.risk:
        body.append(_risk(found.risk, found.validator_score))
    name = f"negative {found.position}" if found.position else found.role
    named = (visible(found.doc_id), "bold")
    head = Text.assemble((f"{name}  ", colour), named, _language(found))
    return Group(head, Padding(Group(*body), (0, 0, 0, 2), expand=False))


def _why(found: Candidate) -> str:
    said = [found.reason]
    if found.risk and found.risk.updated_by != "label":
        by = " by the validator" if found.risk.updated_by else ""
        said.append(f"risk {format_share(found.risk.final)}{by}")
    if found.utility is not None:
        said.append(f"utility {_figure(found.utility)}")
    if found.weight is not None:
        said.append(f"weight {found.weight:.2f}")
    return " · ".join(said)


def _opinions(found: Candidate) -> RenderableType:
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="dim", pad_edge=False)
    table.add_column("teacher")
    for name in OPINIONS:
        table.add_column(name.replace("_", " "), justify="right")
    for opinion in found.opinions:
        table.add_row(Text(opinion.teacher), *map(_figure, opinion.evidence.values()))
    return table


def _remarks(found: Candidate) -> list[str]:
    """Say what is remarkable about the pair beside numbers per teacher."""
    remarks = ["given by a file"] if found.given and found.role != "unused" else []
    if not found.is_candidate:
        remarks.append("no teacher ranked it among the candidates: no further evidence")
    if found.deep:
        remarks.append("found deeper than any teacher ranked")
    if found.positive_similarity is not None:
        remarks.append(f"similarity to a known positive {_figure(found.positive_similarity)}")
    if found.length_ratio is not None:
        remarks.append(f"{math.exp(found.length_ratio):.2g} × the median length")
    if found.same_language is False:
        remarks.append("in another language than the query")
    return remarks


def _risk(risk: Risk, logit: float | None) -> "_Packed":
    """Write where a risk comes from: the starting point, then what adds most."""
    start, *added = risk.contributions
    parts = [Text(f"log-odds {_signed(risk.log_odds)} = {_signed(start.log_odds)} intercept")]
    for part in sorted(added, key=lambda part: -abs(part.log_odds)):
        if part.weight != 0:
            parts.append(_part(part))
    parts.append(Text(f"→ risk {format_share(risk.estimated)}"))
    if risk.updated_by == "label":
        says = "relevant" if risk.final > 0.5 else "not relevant"
        parts.append(Text(f"→ {says}: it is known", "bold"))
    elif logit is not None:
        changed = f"→ {format_share(risk.final)} by" if risk.updated_by else "unchanged by"
        parts.append(Text(f"{changed} the validator, logit {_figure(logit)}", "bold"))
    return _Packed(parts)


def _part(part: Contribution) -> Text:
    value = f" ({_figure(part.value)})" if part.weight is not None else ""
    words = f"{_signed(part.log_odds)} {part.feature}{value}"
    return Text(words, style="red" if part.log_odds > 0 else "green")


@dataclass(frozen=True)
class _Packed:
    """Words that belong together stay together at the end of a line."""

    parts: list[Text]

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        line = Text()
        for part in self.parts:
            if line and line.cell_len + len(_GAP) + part.cell_len > options.max_width:
                yield line
                line = Text()
            line.append(_GAP if line else "").append_text(part)
        yield line


def _legend(found: Inspection) -> Table:
    table = Table(
        title="How a risk comes about: log-odds = intercept + Σ weight × (value − centre)",
        title_justify="left", title_style="bold", box=None, padding=(0, 2, 0, 0), pad_edge=False,
        header_style="dim",
    )  # fmt: skip
    table.add_column("feature")
    table.add_column("weight", justify="right")
    table.add_column("centre", justify="right")
    table.add_column("what it says of a candidate", style="dim")
    for foreign in (False, True):
        example = next(
            (c.risk for c in found.candidates if c.risk and c.same_language is not foreign), None
        )
        if example is None:
            continue
        if foreign:
            table.add_row(Text("in another language than the query:", style="dim"))
        for part in example.contributions:
            weight = part.log_odds if part.weight is None else part.weight
            said = _FEATURES.get(part.feature, "")
            table.add_row(part.feature, f"{weight:.2f}", _figure(part.centre), said)
    return table


def _fit(found: Inspection) -> Text:
    fitted = [f"{source.name} ({source.pairs:,} pairs)" for source in found.sources]
    said = f"Weights fitted on {', '.join(fitted)}." if fitted else "The shipped weights."
    return Text(" ".join([said, *(f"{note}." for note in found.notes)]), style="dim")


def _language(found: Candidate | Inspection) -> tuple[str, str]:
    return (f"  {found.language}" if found.language else "", "dim")


def _text(text: str | None, full: bool) -> RenderableType:
    if text is None:
        return Text("(its text is not at hand)", style="dim italic")
    if full:
        return Text(visible(text))
    cut = shorten(text, LONGEST)
    more = f" [{len(text):,} characters]" if cut.endswith(" …") else ""
    return Text.assemble(cut, (more, "dim"))


def _figure(value: float | None) -> str:
    if value is None:
        return "–"
    if isinstance(value, int):
        return f"{value}"
    return (f"{value:.3f}" if abs(value) < 10 else f"{value:.1f}").replace("-", "−")


def _signed(value: float) -> str:
    return f"{value:+.2f}".replace("-", "−")
