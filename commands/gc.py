"""`polymine gc`: what of a store is old and named by no kept run."""

from collections.abc import Sequence
from datetime import datetime
from pathlib import Path

from humanize import naturalsize
from rich.console import Console
from rich.table import Table
from rich.text import Text

from polymine.reporting.formatting import count_of
from polymine.reporting.shown import console as make_console
from polymine.reporting.shown import visible
from polymine.tasks.store.datasets import Store
from polymine.tasks.store.retention import Item, Plan, make_plan, remove


def collect_garbage(
    store: str | None, runs: Sequence[Path], *, keep_days: float, delete: bool
) -> None:
    """Do what `polymine gc` says."""
    opened, console = Store(store), make_console()
    plan = make_plan(opened, [run.expanduser() for run in runs], keep_days)
    console.print(Text.assemble(("store  ", "dim"), visible(opened.root)))
    _show(plan, keep_days, console)
    if not delete:
        if plan.going and not plan.runs:
            console.print("No run was named, so none keeps what it was made of: see --runs.")
        if plan.going:
            console.print("Nothing was removed; --delete removes what goes.", style="bold")
        return
    gone, spared = remove(plan.going)
    console.print(Text(f"Removed {_amount(gone)}.", style="bold"))
    for item in spared:
        console.print(Text(f"not removed, as it is in use: {visible(item.path)}"))


def _show(plan: Plan, keep_days: float, console: Console) -> None:
    """Print the kept runs, and what goes and stays by contract."""
    for folder in plan.runs:
        console.print(Text(f"kept   {visible(str(folder))}", style="dim"))
    days = count_of(round(keep_days), "day") if keep_days.is_integer() else f"{keep_days:g} days"
    for title, items in (
        ("goes", plan.going),
        ("stays, as a kept run names it", plan.named),
        (f"stays, as it was touched within {days}", plan.young),
    ):
        if items:
            console.print()
            console.print(Text(f"{title}: {_amount(items)}", style="bold"))
            console.print(_table(items))


def _table(items: Sequence[Item]) -> Table:
    table = Table(box=None, padding=(0, 2, 0, 0), pad_edge=False, header_style="dim")
    table.add_column("what")
    for column in ("count", "size", "oldest"):
        table.add_column(column, justify="right")
    for what in sorted({(item.family, item.kind) for item in items}):
        some = [item for item in items if (item.family, item.kind) == what]
        oldest = datetime.fromtimestamp(min(item.touched for item in some))
        size = naturalsize(sum(item.size for item in some))
        name = f"{what[0]}, unfinished" if what[1] == "unfinished" else what[0]
        table.add_row(name, f"{len(some):,}", size, f"{oldest:%Y-%m-%d %H:%M}")
    return table


def _amount(items: Sequence[Item]) -> str:
    return f"{count_of(len(items), 'thing')}, {naturalsize(sum(item.size for item in items))}"
