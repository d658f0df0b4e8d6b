"""The shards of a stage: made one after the other in this process, or side by side on a cluster.

A stage says in a `ShardWork` what its shards are made from. That is small and frozen: it travels.
What it opens (a model, mapped vectors) stays where it is and is opened once per process. A shard is
the same file whoever makes it, so a run that was begun on one machine may be finished on many.
"""

import socket
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import ClassVar

import dataframely as dy
import polars as pl

from polymine import models
from polymine.data_contracts.errors import ClusterError
from polymine.data_contracts.settings import EngineSettings
from polymine.progress import Progress
from polymine.tasks.engine.progress import TaskProgress
from polymine.tasks.engine.threads import limited_threads
from polymine.tasks.store.datasets import Dataset, Format, Store, shard_name, tell_used

# What a shard is made from besides its number, where the number alone does not say it.
Order = pl.DataFrame | None
# Makes a shard from number and order: its rows and their contract. Counts work in the unit.
Content = tuple[pl.DataFrame, type[dy.Schema]]
Make = Callable[[int, Order, Progress], Content]


@dataclass(frozen=True, kw_only=True)
class ShardWork(ABC):
    """What the shards of one dataset are made from: settings and references, no data.

    Args:
        stage: the work's name in progress and task runs, as `rank minilm`.
        unit: what its progress counts, as `queries`.
        root: folder of the store; contract, fingerprint and within name the dataset in it.
        engine: how the work is cut and who does it.
    """

    form: ClassVar[Format] = "parquet"
    uses_model: ClassVar[bool] = False  # and so a GPU, where there is one

    stage: str
    unit: str
    root: str
    contract: str
    fingerprint: str
    engine: EngineSettings
    within: str = ""

    @abstractmethod
    def open(self) -> Make:
        """Open what all shards share."""

    @property
    def opened_as(self) -> str:
        """Name of what `open` gives: in one process, works of one name share it."""
        return f"{self.contract}/{self.within}/{self.fingerprint}"

    def dataset(self) -> Dataset:
        """Name the dataset, whether it exists or not."""
        return Store(self.root).dataset(self.contract, self.fingerprint, within=self.within)

    def shard(self, number: int) -> str:
        """Name a shard's file."""
        return shard_name(number, self.form)


def run_shards(
    work: ShardWork,
    sizes: Mapping[int, int],
    order: Callable[[int], pl.DataFrame] | None = None,
    opened: Callable[[], Make] | None = None,
) -> list[str]:
    """Make those shards that no earlier run has made; return the names of all, for `commit`.

    Args:
        sizes: work in each shard by its number, in `work.unit`.
        order: gives a shard's order, if it has one; asked when its turn comes.
        opened: gives what `work.open` gives, where this process has opened it already.

    Raises:
        the error of the first shard that fails. Finished shards stay for the next run.
    """
    dataset = work.dataset()
    # Not all stages have looked for it before, and what an earlier run left unfinished is old.
    tell_used(dataset.path)
    shards = [work.shard(number) for number in sizes]
    todo = {number: size for number, size in sizes.items() if not dataset.has(work.shard(number))}
    if not todo:
        return shards
    progress = TaskProgress()
    progress.start(work.stage, sum(todo.values()), work.unit)
    if work.engine.kind == "ray":
        from polymine.tasks.engine.cluster_shards import make_on_cluster

        make_on_cluster(work, todo, order, progress)
    else:
        make, part = (opened or work.open)(), _Part(progress)
        for number in todo:
            make_shard(work, make, number, order(number) if order else None, part)
    progress.finish(work.stage)
    return shards


def make_shard(work: ShardWork, make: Make, number: int, order: Order, progress: Progress) -> int:
    """Make one shard, write it and count its rows."""
    frame, schema = make(number, order, progress)
    work.dataset().write(work.shard(number), frame, schema)
    return len(frame)


def cut(rows: int, size: int) -> dict[int, int]:
    """Cut rows into shards of `size`: the rows of each shard by its number."""
    starts = range(0, rows, size)
    return {number: min(size, rows - start) for number, start in enumerate(starts)}


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


_opened: dict[str, Make] = {}


@contextmanager
def kept_open(work: ShardWork) -> Iterator[Make]:
    """Give what the work opens; the process keeps it until other work comes."""
    with limited_threads(work.engine):
        if work.opened_as not in _opened:
            _opened.clear()  # first, so that two models never take memory at once
            _opened[work.opened_as] = work.open()
        yield _opened[work.opened_as]


class _Part:
    """Progress of a shard: start and end of the stage are not its own to tell."""

    def __init__(self, whole: Progress) -> None:
        self._whole = whole

    def start(self, stage: str, total: int, unit: str) -> None:
        """Ignore the start of a part."""

    def advance(self, stage: str, amount: int, note: str = "") -> None:
        """Count towards the whole."""
        self._whole.advance(stage, amount, note)

    def finish(self, stage: str) -> None:
        """Ignore the end of a part."""
