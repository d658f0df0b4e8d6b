"""Shows one query of a finished run: its candidates, the evidence on each, and why it is so.

Texts are the user's: they are shown as they are written, never read as markup, and what a terminal
would obey is made visible.
"""

import json
import math
import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from rich.console import Console, ConsoleOptions, Group, RenderableType, RenderResult
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from polymine.reporting.formatting import count_of, format_share
from polymine.reporting.mining.inspection import (
    OPINIONS,
    ROLES,
    Candidate,
    Contribution,
    Inspection,
    Role,
)
from polymine.reporting.mining.inspection import inspect as put_together
from polymine.tasks.reporting.inspection import read_query

GAP = "  "
UNDECIDED = 0.5  # a label is 0 or 1
LONGEST = 480  # characters of a text, unless asked for all: six lines of 80
DIGITS = 7  # of numbers in JSON: what float32 holds
LOOK: dict[Role, str] = {
    "positive": "green", "negative": "red", "promoted": "cyan", "excluded": "yellow",
}  # fmt: skip
KEYS: dict[Role, str] = {
    "positive": "positives", "negative": "negatives", "promoted": "promoted",
    "excluded": "excluded",
}  # fmt: skip
TITLES: dict[Role, str] = {
    "positive": "known positives", "negative": "kept as hard negatives",
    "promoted": "promoted to positives", "excluded": "excluded",
}  # fmt: skip
FEATURES = {
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
# Line breaks and tabs apart, what moves a cursor, colours, or turns the direction of writing.
_CONTROLS = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")


def inspect(run: Path, query_id: str, *, limit: int | None, full: bool, as_json: bool) -> None:
    """Do what `polymine inspect` says."""
    tables, missing = read_query(run.expanduser().resolve(), query_id)
    found = put_together(tables, limit)
    if as_json:
        print(to_json(found, missing))
    else:
        show(found, missing, full=full)


def to_json(found: Inspection, missing: str | None) -> str:
    """Write all that is shown, by role, for scripts."""
    content = asdict(found)
    shown = content.pop("candidates")
    for role, key in KEYS.items():
        content[key] = [candidate for candidate in shown if candidate["role"] == role]
    content["sources"] = [source.model_dump() for source in found.sources]
    return json.dumps(_rounded({**content, "note": missing}), ensure_ascii=False, indent=1)


def show(
    found: Inspection, missing: str | None, *, full: bool = False, console: Console | None = None
) -> None:
    """Print a query and its candidates, the most important first."""
    console = console or Console(highlight=False)
    longest = None if full else LONGEST
    console.print(_query(found, missing, longest))
    for role in ROLES:
        shown = found.of(role)
        if not shown and role != "negative":
            continue
        console.print()
        console.print(_title(role, len(shown), found.counts[role]))
        for candidate in shown:
            console.print()
            console.print(_candidate(candidate, found, longest))
    if any(candidate.risk for candidate in found.candidates):
        console.print()
        console.print(_legend(found))
        console.print(_fit(found), style="dim")


def _query(found: Inspection, missing: str | None, longest: int | None) -> RenderableType:
    counts = found.counts
    lines: list[RenderableType] = [
        Text.assemble(("query  ", "dim"), (visible(found.query_id), "bold"), _language(found)),
        Padding(_text(found.text, longest), (0, 0, 0, 2), expand=False),
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
    if missing:
        lines.append(Text(missing, style="yellow"))
    return Group(*lines)


def _rule(found: Inspection) -> str:
    said = [f"rule {found.rule}, scores of {found.teacher}"]
    if found.positive_score is not None:
        said.append(f"known positives score {_figure(found.positive_score)} or more")
    if found.price is not None and found.highest_risk is not None:
        said.append(
            f"taken by worth = score − {found.price:.3g} × risk, "
            f"up to a risk of {format_share(found.highest_risk)}"
        )
    if found.last_worth is not None:
        said.append(f"the last one taken is worth {_figure(found.last_worth)}")
    return "; ".join(said)


def _title(role: Role, shown: int, of: int) -> Text:
    more = f", the first {shown} of them" if shown < of else ""
    return Text(f"{TITLES[role]}: {of}{more}", style=f"bold {LOOK[role]}")


def _candidate(found: Candidate, query: Inspection, longest: int | None) -> RenderableType:
    body: list[RenderableType] = [
        _text(found.text, longest),
        Text(_why(found), style=LOOK[found.role]),
        _opinions(found),
    ]
    if remarks := _remarks(found):
        body.append(Text(" · ".join(remarks), style="dim"))
    if found.risk:
        body.append(_risk(found))
    name = f"negative {found.position}" if found.position else found.role
    named = (visible(found.doc_id), "bold")
    head = Text.assemble((f"{name}  ", LOOK[found.role]), named, _language(found))
    return Group(head, Padding(Group(*body), (0, 0, 0, 2), expand=False))


def _why(found: Candidate) -> str:
    said = [found.reason]
    if found.risk and found.risk.updated_by != "label":
        by = " by the validator" if found.risk.updated_by else ""
        said.append(f"risk {format_share(found.risk.final)}{by}")
    if found.worth is not None:
        said.append(f"worth {_figure(found.worth)}")
    if found.weight is not None:
        said.append(f"weight {found.weight:.2f}")
    return " · ".join(said)


def _opinions(found: Candidate) -> Table:
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="dim", pad_edge=False)
    table.add_column("teacher")
    for name in OPINIONS:
        table.add_column(name.replace("_", " "), justify="right")
    for opinion in found.opinions:
        table.add_row(Text(opinion.teacher), *map(_figure, opinion.evidence.values()))
    return table


def _remarks(found: Candidate) -> list[str]:
    """Say what is remarkable about the pair beside numbers per teacher."""
    remarks = []
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


def _risk(found: Candidate) -> "_Packed":
    """Write where the risk comes from: what adds most first, the starting point before all."""
    assert found.risk is not None
    risk = found.risk
    start, *added = risk.contributions
    parts = [Text(f"log-odds {_signed(risk.log_odds)} = {_signed(start.log_odds)} intercept")]
    for part in sorted(added, key=lambda part: -abs(part.log_odds)):
        if part.weight != 0:
            parts.append(_part(part))
    parts.append(Text(f"→ risk {format_share(risk.estimated)}"))
    if risk.updated_by == "label":
        says = "relevant" if risk.final > UNDECIDED else "not relevant"
        parts.append(Text(f"→ {says}: it is known", "bold"))
    elif found.validator_score is not None:
        changed = f"→ {format_share(risk.final)} by" if risk.updated_by else "unchanged by"
        logit = _figure(found.validator_score)
        parts.append(Text(f"{changed} the validator, logit {logit}", "bold"))
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
            if line and line.cell_len + len(GAP) + part.cell_len > options.max_width:
                yield line
                line = Text()
            line.append(GAP if line else "").append_text(part)
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
            table.add_row(part.feature, f"{weight:.2f}", _figure(part.centre),
                          FEATURES.get(part.feature, ""))  # fmt: skip
    return table


def _fit(found: Inspection) -> Text:
    fitted = [f"{source.name} ({source.pairs:,} pairs)" for source in found.sources]
    said = f"Weights fitted on {', '.join(fitted)}." if fitted else "The shipped weights."
    return Text(" ".join([said, *(f"{note}." for note in found.notes)]))


def _language(found: Candidate | Inspection) -> tuple[str, str]:
    return (f"  {found.language}" if found.language else "", "dim")


def _text(text: str | None, longest: int | None) -> Text:
    if text is None:
        return Text("(its text is not at hand)", style="dim italic")
    if longest is None:
        return Text(visible(text))
    flat = " ".join(text.split())
    if len(flat) <= longest:
        return Text(visible(flat))
    cut = flat[:longest].rsplit(" ", 1)[0]
    return Text.assemble(visible(cut), (f" … [{len(text):,} characters]", "dim"))


def visible(text: str) -> str:
    """Replace what a terminal would obey instead of show."""
    return _CONTROLS.sub("\N{REPLACEMENT CHARACTER}", text)


def _figure(value: float | None) -> str:
    if value is None:
        return "–"
    if isinstance(value, int):
        return f"{value}"
    return (f"{value:.3f}" if abs(value) < 10 else f"{value:.1f}").replace("-", "−")


def _signed(value: float) -> str:
    return f"{value:+.2f}".replace("-", "−")


def _rounded(value: Any) -> Any:
    if isinstance(value, float):
        return float(f"{value:.{DIGITS}g}")
    if isinstance(value, dict):
        return {key: _rounded(of) for key, of in value.items()}
    if isinstance(value, Sequence) and not isinstance(value, str):
        return [_rounded(of) for of in value]
    return value
