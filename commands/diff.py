"""Shows what became of the negatives between two runs: counts and causes first, then examples."""

import json
from pathlib import Path
from typing import Any

import polars as pl
from rich.console import Console
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from polymine.commands.inspect import LONGEST, visible
from polymine.mining.diff import KEYS, count_reasons
from polymine.reporting.formatting import count_of
from polymine.reporting.mining.changes import explain_change, name_change
from polymine.tasks.reporting.run_diff import (
    Differences,
    RunDiff,
    diff_runs,
    find_texts,
    write_diff,
)

ALL, SHOWN = 0, 2  # changes shown of each reason: without a limit, and on a terminal
LOOK = {"came": "green", "went": "red", "moved": "cyan", "edited": "yellow"}
Texts = dict[tuple[str, str], tuple[str, str]]


def diff(
    before: Path,
    after: Path,
    *,
    query_id: str | None,
    limit: int | None,
    as_json: bool,
    to: Path | None,
) -> None:
    """Do what `polymine diff` says."""
    old, new = (run.expanduser().resolve() for run in (before, after))
    found = diff_runs(old, new, query_id)
    if to is not None:
        write_diff(found, to_json(found, found.changes.clear()), to.expanduser().absolute())
    if limit is None:
        limit = ALL if as_json else SHOWN
    shown = examples(found.changes, limit)
    if as_json:
        print(to_json(found, shown))
    else:
        show(found, shown, find_texts(found, shown))


def examples(changes: pl.DataFrame, limit: int) -> pl.DataFrame:
    """Take the first changes of every reason, in the order of the queries."""
    if limit == ALL:
        return changes
    nth = pl.int_range(pl.len()).over("change", "reason")
    return changes.filter(nth < limit)


def to_json(found: RunDiff, shown: pl.DataFrame) -> str:
    """Write the summary and some changes, for scripts."""
    texts = find_texts(found, shown)
    rows = []
    for row in shown.to_dicts():
        query, negative = texts.get((row["query_id"], row["doc_id"]), (None, None))
        rows.append({**row, "explanation": explain_change(row), "query": query, "text": negative})
    content = {
        "before": str(found.before),
        "after": str(found.after),
        "settings": _listed(found.settings),
        "versions": _listed(found.versions),
        "stages": {**found.stages, "reused": found.reused},
        "choice": dict(zip(("before", "after"), found.choices, strict=True)),
        "unchanged": found.kept,
        "counts": count_reasons(found.changes).to_dicts(),
        "changes": rows,
    }
    return json.dumps(_finite(content), ensure_ascii=False, indent=1)


def show(found: RunDiff, shown: pl.DataFrame, texts: Texts, console: Console | None = None) -> None:
    """Print what differs between the runs, how many negatives changed and why, and examples."""
    console = console or Console(highlight=False)
    console.print(Text.assemble(("before ", "dim"), visible(str(found.before))))
    console.print(Text.assemble(("after  ", "dim"), visible(str(found.after))))
    for title, differing in (("setting", found.settings), ("version", found.versions)):
        if differing:
            console.print(_differences(title, differing))
    console.print(_stages(found))
    if prices := _prices(found):
        console.print(prices)
    if not len(found.changes):
        console.print(Text(f"\nThe same {count_of(found.kept, 'negative')}.", style="bold"))
        return
    console.print()
    console.print(_counts(found))
    for row in shown.to_dicts():
        console.print()
        _example(console, row, texts)


def _differences(title: str, differing: Differences) -> Table:
    table = Table(box=None, padding=(0, 2, 0, 0), pad_edge=False, header_style="dim")
    for column in (title, "before", "after"):
        table.add_column(column, overflow="fold")
    for name, before, after in differing:
        table.add_row(*(Text(visible(word)) for word in (name, _value(before), _value(after))))
    return table


def _value(value: Any) -> str:
    return "–" if value is None else f"{value}"


def _stages(found: RunDiff) -> Text:
    """Say which stages gave the same, and which the later run reused."""
    parts = {
        "same": "the same result",
        "other": "another result",
        "before_only": "before only",
        "after_only": "after only",
    }
    said = [
        f"{words}: {', '.join(of)}" for key, words in parts.items() if (of := found.stages[key])
    ]
    said.append(f"reused by the later run: {', '.join(found.reused) or 'none'}")
    return Text("stages – " + "; ".join(said), style="dim")


def _prices(found: RunDiff) -> Text | None:
    before, after = found.choices
    if before is None or after is None or before == after:
        return None
    names = {"price": "price of risk", "ceiling": "highest risk"}
    said = [f"{words} {before[key]:.3g} → {after[key]:.3g}" for key, words in names.items()]
    return Text("budget – " + "; ".join(said), style="dim")


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
        named = Text(change, style=LOOK[change])
        table.add_row(named, name_change(change, reason), f"{pairs:,}", f"{queries:,}")
    return table


def _example(console: Console, row: dict[str, Any], texts: Texts) -> None:
    query_id, doc_id = (row[key] for key in KEYS)
    look = LOOK[row["change"]]
    console.print(
        Text.assemble((f"{row['change']}  ", look), (visible(doc_id), "bold"),
                      ("  for  ", "dim"), visible(query_id))
    )  # fmt: skip
    lines = [Text(visible(explain_change(row)), style=look)]
    if (query_id, doc_id) in texts:
        question, negative = texts[query_id, doc_id]
        lines += [Text(f"query     {_short(question)}"), Text(f"negative  {_short(negative)}")]
    for line in lines:
        console.print(Padding(line, (0, 0, 0, 2), expand=False))


def _short(text: str) -> str:
    flat = " ".join(text.split())
    return visible(flat if len(flat) <= LONGEST else flat[:LONGEST].rsplit(" ", 1)[0] + " …")


def _listed(differing: Differences) -> list[dict[str, Any]]:
    return [{"name": name, "before": old, "after": new} for name, old, new in differing]


def _finite(value: Any) -> Any:
    """JSON has no infinity: a rule without a ceiling has none."""
    if isinstance(value, float) and value in (float("inf"), float("-inf")):
        return None
    if isinstance(value, dict):
        return {key: _finite(of) for key, of in value.items()}
    if isinstance(value, (list, tuple)):
        return [_finite(of) for of in value]
    return value
