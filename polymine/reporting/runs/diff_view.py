"""Draws what became of the negatives between two runs: counts and causes, then examples."""

from typing import Any

from rich.console import Group, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from polymine.mining.diff import KEYS, count_reasons
from polymine.reporting.formatting import count_of
from polymine.reporting.runs.changes import explain_change, name_change
from polymine.reporting.runs.diff import SHOWN, Differences, RunDiff, Texts
from polymine.reporting.runs.inspection_view import LONGEST
from polymine.reporting.shown import shorten, visible

_LOOK = {"came": "green", "went": "red", "moved": "cyan", "edited": "yellow"}
_STAGES = {
    "same": "the same result", "other": "another result", "before_only": "before only",
    "after_only": "after only",
}  # fmt: skip


def draw(found: RunDiff, limit: int | None = SHOWN) -> RenderableType:
    """Draw what differs, how many negatives changed and why, and examples of each reason."""
    parts: list[RenderableType] = [
        Text.assemble(("before ", "dim"), visible(found.before)),
        Text.assemble(("after  ", "dim"), visible(found.after)),
    ]
    told = {"setting": found.settings, "version": found.versions, "result": found.figures}
    for title, differing in told.items():
        if differing:
            parts.append(_differences(title, differing))
    parts += [_stages(found), *_prices(found)]
    if not len(found.changes):
        same = Text(f"\nThe same {count_of(found.kept, 'negative')}.", style="bold")
        return Group(*parts, same)
    shown = found.examples(limit)
    texts = found.texts(shown)
    parts += [Text(), _counts(found)]
    for row in shown.iter_rows(named=True):
        parts += [Text(), *_example(row, texts)]
    return Group(*parts)


def _differences(title: str, differing: Differences) -> Table:
    table = Table(box=None, padding=(0, 2, 0, 0), pad_edge=False, header_style="dim")
    for column in (title, "before", "after"):
        table.add_column(column, overflow="fold")
    for row in differing:
        table.add_row(*(Text("–" if word is None else visible(f"{word}")) for word in row))
    return table


def _stages(found: RunDiff) -> Text:
    """Say which stages gave the same, and which the later run reused."""
    said = [f"{words}: {', '.join(of)}" for key, words in _STAGES.items()
            if (of := found.stages[key])]  # fmt: skip
    said.append(f"reused by the later run: {', '.join(found.reused) or 'none'}")
    return Text("stages – " + "; ".join(said), style="dim")


def _prices(found: RunDiff) -> list[Text]:
    before, after = found.choices
    if before is None or after is None or before == after:
        return []
    names = {"price": "price of risk", "ceiling": "highest risk"}
    said = [f"{words} {before[key]:.3g} → {after[key]:.3g}" for key, words in names.items()]
    return [Text("budget – " + "; ".join(said), style="dim")]


def _counts(found: RunDiff) -> Table:
    table = Table(
        title=f"{count_of(len(found.changes), 'change')}, "
        f"{count_of(found.kept, 'negative')} as before",
        title_justify="left", title_style="bold", box=None, padding=(0, 2, 0, 0), pad_edge=False,
        header_style="dim",
    )  # fmt: skip
    table.add_column("change")
    table.add_column("why")
    for column in ("negatives", "queries"):
        table.add_column(column, justify="right")
    for change, reason, pairs, queries in count_reasons(found.changes).rows():
        named = Text(change, style=_LOOK[change])
        table.add_row(named, name_change(change, reason), f"{pairs:,}", f"{queries:,}")
    return table


def _example(row: dict[str, Any], texts: Texts) -> list[RenderableType]:
    query_id, doc_id = (row[key] for key in KEYS)
    look = _LOOK[row["change"]]
    head = Text.assemble(
        (f"{row['change']}  ", look), (visible(doc_id), "bold"), ("  for  ", "dim"),
        visible(query_id),
    )  # fmt: skip
    lines = [Text(visible(explain_change(row)), style=look)]
    if (query_id, doc_id) in texts:
        question, negative = texts[query_id, doc_id]
        lines.append(Text(f"query     {shorten(question, LONGEST)}"))
        lines.append(Text(f"negative  {shorten(negative, LONGEST)}"))
    return [head, *(Padding(line, (0, 0, 0, 2), expand=False) for line in lines)]
