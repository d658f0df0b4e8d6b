"""A stage before it is carried out: what its result depends on, and how its blocks are made.

A stage function returns a Plan and does no work: see `execution` for what carries it out.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import dataframely as dy
import polars as pl
from pydantic import BaseModel

from polymine.data_contracts.references import DatasetRef, fingerprint
from polymine.progress import Progress
from polymine.tasks.engine.load import Load
from polymine.tasks.store.datasets import Dataset, Format, shard_name

if TYPE_CHECKING:
    from polymine.tasks.engine.context import Context

# What a block is made from besides its number, where the number alone does not say it.
Order = pl.DataFrame | None
# A block: rows under the contract of its maker, or what writes files into the dataset.
Content = pl.DataFrame | Callable[[Dataset], None]


@dataclass(frozen=True)
class Maker:
    """Makes the blocks of a dataset, with all that they share opened.

    Args:
        make: gives a block by its number and order; counts its work in the plan's unit, or leaves
            that to the engine.
        schema: contract of the rows, or what gives it for them; None where blocks are files.
    """

    make: Callable[[int, Order, Progress], Content]
    schema: type[dy.Schema] | Callable[[pl.DataFrame], type[dy.Schema]] | None = None

    def schema_of(self, rows: pl.DataFrame) -> type[dy.Schema]:
        """Name the contract of some rows."""
        assert self.schema is not None, "rows have a contract"
        return self.schema if isinstance(self.schema, type) else self.schema(rows)


@dataclass(frozen=True, kw_only=True)
class Plan:
    """One dataset before it is made.

    Args:
        contract: names the kind of dataset and its folder in the store.
        depends: all that decides the content; references count by their fingerprints.
        open: opens models and tables, once per process. A module's function or a partial of one,
            if blocks may be made elsewhere (`spread`): that is what travels.
        blocks: work in each block by its number, in `unit`.
        unit: what progress counts, as `queries`; nothing is told of work without one.
        label: the work's name in progress; the stage's, if not given.
        note: what is noted beside the rows, once they are there.
        within: names the family of datasets that it belongs to.
        form: of a block's file.
        resumable: whether a block is one file of its own, so that one which is there is done. If
            not, what a killed run left or a disk damaged is made as a whole again.
        prepare: completes the plan once it is known that something has to be made: for blocks that
            are cut by what a model says.
        order: gives what a block is made from, if the number does not say it.
        opened: gives what `open` gives, where this process has it already.
        opened_as: works of one name share in one process what they open.
        spread: whether its blocks may be made on other machines.
        uses_model: whether that takes a GPU where there is one.
        gives: turns the finished dataset into the stage's result.
        each: what every unit of the work is compared with, as documents; its time grows with it.
        estimate: says what there is to do where the blocks do not yet say it.
        reads: whether it is about reading and checking the input: `polymine plan` does that, too.
    """

    contract: str
    depends: Mapping[str, Any]
    open: Callable[["Context"], Maker]
    blocks: Mapping[int, int] = field(default_factory=lambda: {0: 1})
    unit: str = ""
    label: str = ""
    note: Callable[[Dataset], BaseModel] | None = None
    within: str = ""
    form: Format = "parquet"
    resumable: bool = True
    prepare: Callable[["Plan"], "Plan"] | None = None
    order: Callable[[int], pl.DataFrame] | None = None
    opened: Callable[[], Maker] | None = None
    opened_as: str = ""
    spread: bool = False
    uses_model: bool = False
    gives: Callable[[DatasetRef], DatasetRef] | None = None
    each: int = 1
    estimate: Callable[[], Load | None] | None = None
    reads: bool = False

    @property
    def fingerprint(self) -> str:
        """Hash of all that decides the content."""
        return fingerprint(**self.depends)

    @property
    def shards(self) -> dict[str, int]:
        """Name the file of each block, with the block's number."""
        return {shard_name(number, self.form): number for number in self.blocks}

    @property
    def rate(self) -> str:
        """Name under which a store notes how fast such work goes."""
        return f"{self.contract}/{self.within or self.label}"

    def load(self) -> Load | None:
        """Say what there is to do; None where nothing tells."""
        if self.estimate is not None:
            return self.estimate()
        amount = sum(self.blocks.values())
        return Load(amount, self.unit, self.rate, self.each) if self.unit else None

    def result(self, made: DatasetRef) -> DatasetRef:
        """Give what the stage hands on."""
        return self.gives(made) if self.gives else made


def cut(rows: int, size: int) -> dict[int, int]:
    """Cut rows into blocks of `size`: the rows of each by its number."""
    starts = range(0, rows, size)
    return {number: min(size, rows - start) for number, start in enumerate(starts)}
