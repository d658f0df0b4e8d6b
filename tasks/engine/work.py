"""What a process has to know to make blocks of a dataset, and how it makes one.

A `Work` is small and frozen, so it travels: names, settings and the function that opens what the
blocks share, no data. A block is the same file whoever makes it, so a run that was begun on one
machine may be finished on many.
"""

import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import polars as pl

from polymine import models
from polymine.data_contracts.errors import ClusterError
from polymine.data_contracts.settings import EngineSettings
from polymine.progress import Progress
from polymine.tasks.engine.context import Context
from polymine.tasks.engine.plan import Maker, Order
from polymine.tasks.engine.threads import limited_threads
from polymine.tasks.store.datasets import Dataset, Format, Store, shard_name


@dataclass(frozen=True, kw_only=True)
class Work:
    """What a machine needs to know to make blocks of a dataset."""

    label: str
    root: str
    contract: str
    fingerprint: str
    within: str
    form: Format
    engine: EngineSettings
    open: Callable[[Context], Maker]
    opened_as: str
    uses_model: bool

    def dataset(self) -> Dataset:
        """Name the dataset, whether it exists or not."""
        return Store(self.root).dataset(self.contract, self.fingerprint, within=self.within)

    def block(self, number: int) -> str:
        """Name a block's file."""
        return shard_name(number, self.form)


def make_block(
    dataset: Dataset, name: str, maker: Maker, number: int, order: Order, progress: Progress
) -> int:
    """Make one block, write it and count its rows."""
    content = maker.make(number, order, progress)
    if not isinstance(content, pl.DataFrame):
        content(dataset)
        return 0
    dataset.write(name, content, maker.schema_of(content))
    return len(content)


def device_kind() -> str:
    """Kind of device this process computes on: `cpu` or `cuda`."""
    return models.visible_devices()[0].partition(":")[0]


def check_model(name: str, fingerprint: str, device: str) -> None:
    """Raise ClusterError unless this process has the very model, and the device, of the run."""
    if (found := models.fingerprint(name)) != fingerprint:
        raise ClusterError(
            f"{socket.gethostname()} has another model under the name {name} than the machine that "
            f"began the run ({found[:12]}, there {fingerprint[:12]}). Put the same files on both, "
            "or name a revision"
        )
    if (here := device_kind()) != device:
        raise ClusterError(
            f"{socket.gethostname()} would compute {name} on {here}, the machine that began the "
            f"run on {device}, and their vectors differ. Begin the run where the device is the same"
        )


_opened: dict[str, Maker] = {}


@contextmanager
def kept_open(work: Work) -> Iterator[Maker]:
    """Give what the work opens; a process of the cluster keeps it until other work comes."""
    with limited_threads(work.engine):
        if work.opened_as not in _opened:
            _opened.clear()  # first, so that two models never take memory at once
            run = Context(Store(work.root), work.engine)
            _opened[work.opened_as] = work.open(run)
        yield _opened[work.opened_as]
