"""Which stage needed what: the edges of a run's graph, for the Prefect UI and `polymine plan`."""

import os
import threading
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields, is_dataclass, replace
from typing import Any

from pydantic import BaseModel
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from polymine.data_contracts.references import DatasetRef
from polymine.reporting.formatting import format_seconds
from polymine.reporting.shown import Shown
from polymine.tasks.engine.load import Load


@dataclass(frozen=True)
class Node:
    """A stage of a run.

    Args:
        name: as the task run is called.
        needs: names of the stages whose results it takes.
        reused: whether its result was there already.
        load: of a stage that is only planned, what there is to do; None where nothing tells.
    """

    name: str
    needs: tuple[str, ...]
    reused: bool
    load: Load | None = None


UNKNOWN = (
    "unknown: no run has noted it in this store; a run says how long is left, from ten seconds on"
)


class Graph(Shown):
    """The stages of a run and what each of them was made from."""

    def __init__(self) -> None:
        self.nodes: list[Node] = []
        self.sources: list[str] = []  # what each file of the input was taken for
        self.remarks: list[str] = []  # what a plan leaves open
        self.rates: dict[str, float] = {}  # units a second, as the store has noted them
        self._loads: dict[tuple[str, str], Load | None] = {}
        self._makers: dict[tuple[str, str], tuple[str, Any]] = {}  # name and Prefect state
        self._writers: dict[str, tuple[str, Any]] = {}  # the same, by folder
        self._counted = set[str]()
        self._lock = threading.Lock()

    def add(self, node: Node, made: Any, state: Any = None) -> None:
        """Note a stage that has ended and what came out of it."""
        with self._lock:
            loads = [self._loads.get(dataset) for dataset in datasets_in(made)]
            load = node.load or next(filter(None, loads), None)
            if node.name not in {known.name for known in self.nodes}:  # sets are read twice
                self.nodes.append(replace(node, load=load))
            for dataset in datasets_in(made):
                self._makers[dataset] = self._writers[dataset[0]] = (node.name, state)
            if isinstance(made, Mapping) and "output" in made:  # the summary of a flow or report
                self._writers[_folder(made["output"])] = (node.name, state)

    def expect(self, made: DatasetRef, load: Load | None) -> None:
        """Note what there is to do for a dataset that is only planned."""
        with self._lock:
            self._loads[made.path, made.fingerprint] = load

    def count(self, work: str) -> bool:
        """Whether some work, by its fingerprint, is asked about for the first time."""
        new = work not in self._counted
        self._counted.add(work)
        return new

    def seconds(self, node: Node) -> float | None:
        """Expect a time by what the store has noted of such work; None where it has nothing."""
        if node.reused or node.load is None or node.load.rate not in self.rates:
            return None
        return node.load.amount * node.load.each / self.rates[node.load.rate]

    def needs(self, arguments: Any) -> dict[str, Any]:
        """Name the stages that made what is in the arguments, with their Prefect states.

        Settings name a result by its folder, as the triplets of a training or a set held out.
        """
        with self._lock:
            known, wrote = self._makers, self._writers
            found = [known[each] for each in datasets_in(arguments) if each in known]
            named = {_folder(text): None for text in texts_in(arguments)}
            found += [wrote[each] for each in named if each in wrote]
        return dict(found)

    def __rich__(self) -> RenderableType:
        open_ = any(_unknown(node) and not self.seconds(node) for node in self.nodes)
        remarks = [*([UNKNOWN] if open_ else []), *self.remarks]
        return Group(*map(Text, self.sources), draw(self), *map(Text, remarks))


def draw(graph: Graph) -> Table:
    """Draw a line for each stage: is it there, what there is to do, how long."""
    table = Table(box=None, padding=(0, 2, 0, 0), pad_edge=False, header_style="dim")
    for column in ("stage", "", "work", "expected"):
        table.add_column(column, overflow="fold")
    known = 0.0
    for node in graph.nodes:
        state = Text("in the store", "green") if node.reused else Text("to be made", "yellow")
        seconds = graph.seconds(node)
        known += seconds or 0.0
        expected = "" if node.reused else format_seconds(seconds) if seconds else _unknown(node)
        table.add_row(node.name, state, _work(node), expected)
    open_ = any(_unknown(node) and not graph.seconds(node) for node in graph.nodes)
    if known or open_:
        expected = format_seconds(known) if known else "unknown"
        more = " and what is unknown" if known and open_ else ""
        table.add_row("in all", "", "", expected + more, style="bold")
    return table


def _work(node: Node) -> str:
    """Write the amount of work, as `36 queries x 72 documents`."""
    if node.reused or node.load is None:
        return ""
    if not node.load.amount:
        return ""
    among = f" x {node.load.each:,} documents" if node.load.each > 1 else ""
    return f"{'about ' if node.load.estimated else ''}{node.load.amount:,} {node.load.unit}{among}"


def _unknown(node: Node) -> str:
    """What is said of a time that nobody knows; stages without a unit take next to none."""
    return "unknown" if node.load is not None and not node.reused else ""


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


def texts_in(value: Any) -> Iterator[str]:
    """Walk the texts within settings, in lists, mappings and dataclasses; references aside."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping):
        yield from texts_in(list(value.values()))
    elif isinstance(value, BaseModel):
        yield from texts_in([getattr(value, name) for name in type(value).model_fields])
    elif is_dataclass(value) and not isinstance(value, (type, DatasetRef)):
        yield from texts_in([getattr(value, field.name) for field in fields(value)])
    elif isinstance(value, (list, tuple)):
        for item in value:
            yield from texts_in(item)


def _folder(name: str) -> str:
    """Write a folder's name from the root; an address stays as it is."""
    return name if "://" in name else os.path.abspath(name)
