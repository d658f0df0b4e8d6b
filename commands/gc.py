"""Lists what of a store no kept run refers to, and removes it if asked to."""

from collections.abc import Callable, Sequence
from datetime import datetime
from pathlib import Path

from rich.console import Console
from rich.table import Table
from rich.text import Text

from polymine.reporting.formatting import count_of
from polymine.reporting.shown import visible
from polymine.tasks.store.datasets import Store
from polymine.tasks.store.items import Item
from polymine.tasks.store.removal import carry_out
from polymine.tasks.store.retention import Plan, make_plan

UNITS = ("B", "kB", "MB", "GB", "TB")


def collect_garbage(
    store: str | None,
    runs: Sequence[Path],
    *,
    keep_days: float,
    delete: bool,
    forgotten: Sequence[str] = (),
) -> None:
    """Do what `polymine gc` says."""
    folders = [run.expanduser().absolute() for run in runs]
    plan = make_plan(Store(store), folders, keep_days, forgotten)
    console = Console(highlight=False)
    show(plan, keep_days, console)
    if not delete:
        if plan.going:
            console.print("Nothing was removed; --delete removes what goes.", style="bold")
        return
    gone, spared = carry_out(plan)
    console.print(Text(f"Removed {_amount(gone)}.", style="bold"))
    for item in spared:
        console.print(Text(f"not removed, as it is in use: {visible(item.place)}"))


def show(plan: Plan, keep_days: float, console: Console) -> None:
    """Print what goes and what stays, by contract, with the reasons."""
    console.print(Text.assemble(("store  ", "dim"), visible(plan.store.root)))
    console.print(Text(f"kept   {count_of(len(plan.runs), 'run')}, what goes on, and what was "
                       f"touched within {count_of_days(keep_days)}"))  # fmt: skip
    for folder in plan.runs:
        console.print(Text(f"       {visible(str(folder))}", style="dim"))
    for folder in plan.silent:
        said = "does not say what it was made of, as an earlier version wrote it"
        console.print(Text(f"       {visible(str(folder))}: {said}", style="yellow"))
    if plan.elsewhere:
        hosts = ", ".join(f"{visible(host)} ({n})" for host, n in sorted(plan.elsewhere.items()))
        console.print(Text(f"kept   {count_of(sum(plan.elsewhere.values()), 'run')} of other "
                           f"machines, not looked for on this one: {hosts}. Call gc there, or "
                           "--forget-host NAME here"))  # fmt: skip
    for title, items in (("goes", plan.going), ("stays", plan.staying)):
        console.print()
        console.print(_table(title, items))


def count_of_days(days: float) -> str:
    """Write a number of days."""
    return "a day" if days == 1 else f"{days:g} days"


def format_bytes(size: float) -> str:
    """Write a size with the unit that leaves less than a thousand."""
    for unit in UNITS:
        if size < 1000 or unit == UNITS[-1]:
            return f"{size:.0f} {unit}" if unit == "B" else f"{size:.1f} {unit}"
        size /= 1000
    raise AssertionError("the last unit takes any size")


def _table(title: str, items: Sequence[Item]) -> Table:
    table = Table(
        title=f"{title}: {_amount(items)}", title_justify="left", title_style="bold", box=None,
        padding=(0, 2, 0, 0), pad_edge=False, header_style="dim",
    )  # fmt: skip
    table.add_column("what")
    for column in ("count", "size", "oldest"):
        table.add_column(column, justify="right")
    table.add_column("why", style="dim")
    of: Callable[[Item], tuple[str, str]] = lambda item: (item.family, item.why)  # noqa: E731
    for family, why in sorted(set(map(of, items))):
        some = [item for item in items if of(item) == (family, why)]
        oldest = datetime.fromtimestamp(min(item.touched for item in some))
        size = format_bytes(sum(item.size for item in some))
        table.add_row(family, f"{len(some):,}", size, f"{oldest:%Y-%m-%d %H:%M}", why)
    return table


def _amount(items: Sequence[Item]) -> str:
    size = format_bytes(sum(item.size for item in items))
    return f"{count_of(len(items), 'thing')}, {size}"
