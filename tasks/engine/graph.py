"""Which stage needed what: the edges of a run's graph, for the Prefect UI and `polymine plan`."""

import threading
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, fields, is_dataclass
from typing import Any

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from polymine.data_contracts.references import DatasetRef
from polymine.reporting.shown import Shown


@dataclass(frozen=True)
class Node:
    """A stage of a run.

    Args:
        name: as the task run is called.
        needs: names of the stages whose results it takes.
        reused: whether its result was there already.
    """

    name: str
    needs: tuple[str, ...]
    reused: bool


class Graph(Shown):
    """The stages of a run and what each of them was made from."""

    def __init__(self) -> None:
        self.nodes: list[Node] = []
        self.sources: list[str] = []  # what each file of the data set was taken for
        self._makers: dict[tuple[str, str], tuple[str, Any]] = {}  # name and Prefect state
        self._lock = threading.Lock()

    def add(self, node: Node, made: Any, state: Any = None) -> None:
        """Note a stage that has ended and what came out of it."""
        with self._lock:
            self.nodes.append(node)
            for dataset in datasets_in(made):
                self._makers[dataset] = (node.name, state)

    def needs(self, arguments: Any) -> dict[str, Any]:
        """Name the stages that made what is in the arguments, with their Prefect states."""
        with self._lock:
            known = self._makers
            found = [known[each] for each in datasets_in(arguments) if each in known]
        return dict(found)

    def __rich__(self) -> RenderableType:
        return Group(*map(Text, self.sources), draw(self.nodes))


def draw(nodes: Sequence[Node]) -> Table:
    """Draw a line for each stage: what it needs, and what is there already."""
    table = Table(box=None, padding=(0, 2, 0, 0), pad_edge=False, header_style="dim")
    for column in ("stage", "", "after"):
        table.add_column(column, overflow="fold")
    for node in nodes:
        state = Text("in the store", "green") if node.reused else Text("to be made", "yellow")
        table.add_row(node.name, state, ", ".join(node.needs))
    return table


def datasets_in(value: Any) -> Iterator[tuple[str, str]]:
    """Walk the references within a value, in lists, mappings and dataclasses.

    The path alone does not name one: the vectors of queries and documents may be of one family.
    """
    if isinstance(value, DatasetRef):
        yield value.path, value.fingerprint
    elif isinstance(value, Mapping):
        yield from datasets_in(list(value.values()))
    elif is_dataclass(value) and not isinstance(value, type):
        for field in fields(value):
            yield from datasets_in(getattr(value, field.name))
    elif isinstance(value, (list, tuple)):
        for item in value:
            yield from datasets_in(item)
