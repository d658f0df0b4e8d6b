"""Several processes that train one step: each reads its rows of a batch, all compare the whole.

A batch is that of one process, in the same order. Each process embeds its share of the rows, the
vectors are brought together, and each compares the whole batch: the loss is the one that a single
process has, and what a process knows of its gradient is the part through its own rows. Their sum
is the whole gradient (as in OpenCLIP without its `local_loss`). So negatives, masks and weights are
those of one process, whatever the loss, and results differ by rounding.

DistributedDataParallel is not used. It takes the mean of losses that know their own rows only, and
waits for a gradient of every weight, where texts of some language pass none of an adapter's.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

import numpy as np
import torch
import torch.distributed as dist

if TYPE_CHECKING:
    from torch import Tensor

BUCKET = 2**25  # numbers of gradients that are added up at once: 128 MiB
Value = TypeVar("Value")


class FullElsewhere(RuntimeError):
    """Another process had no memory left for its part of a batch."""


@dataclass(frozen=True)
class Team:
    """What one of several processes is; a single one without others changes nothing.

    All processes call the same methods in the same order, since each waits for the others.

    Args:
        rank: of this process, from 0.
        size: how many there are.
    """

    rank: int = 0
    size: int = 1

    @property
    def leads(self) -> bool:
        """Whether it is the one that writes, and tells of its work."""
        return self.rank == 0

    def own(self, rows: int) -> slice:
        """Say which of so many rows are this process's; none where there are fewer than processes.

        Args:
            rows: of a whole batch.

        Returns:
            A part of them; those of all processes make up the whole, in their order.
        """
        return slice(self.rank * rows // self.size, (self.rank + 1) * rows // self.size)

    def read(self, rows: int) -> slice:
        """Say which rows this process reads: its own, or where it has none, one for nothing.

        No model reads nothing; `whole` leaves out the vector of that one.
        """
        own = self.own(rows)
        return own if own.stop > own.start else slice(0, 1)

    def whole(self, columns: Sequence[Tensor], rows: int) -> list[Tensor]:
        """Put together what all processes have computed of a batch.

        Args:
            columns: of this process, each (rows that it has read, d); equal d and dtype.
            rows: of the whole batch.

        Returns:
            Columns of (rows, d). Those of this process keep their gradient, the others' have none.

        Raises:
            FullElsewhere: another process ran out of memory before it came here.
        """
        if self.size == 1:
            return list(columns)
        own = self.own(rows)
        mine = torch.stack([column[: own.stop - own.start] for column in columns])
        every = mine.new_zeros(len(columns), rows, mine.shape[2])
        every[:, own] = mine.detach()
        if self.any_full():
            raise FullElsewhere
        dist.all_reduce(every)  # adding zeros changes no bit
        return list(torch.cat([every[:, : own.start], mine, every[:, own.stop :]], dim=1))

    def any_full(self, full: bool = False) -> bool:
        """Agree on whether a process has no memory left for its part of a batch.

        Asked before every exchange within a batch, so that a process that fails meets the others
        there, and none waits for an exchange that never comes.
        """
        return bool(self.most(int(full)))

    def most(self, value: int) -> int:
        """Take the largest that any process says."""
        if self.size == 1:
            return value
        told = torch.tensor(value)  # in memory: no device is waited for
        dist.all_reduce(told, dist.ReduceOp.MAX)
        return int(told)

    def add_gradients(self, parameters: Iterable[Tensor]) -> None:
        """Make the gradients of all processes their sum."""
        if self.size == 1:
            return
        bucket: list[Tensor] = []
        for gradient in (each.grad for each in parameters if each.grad is not None):
            bucket.append(gradient)
            if sum(each.numel() for each in bucket) >= BUCKET:
                _add_bucket(bucket)
                bucket = []
        if bucket:
            _add_bucket(bucket)

    def add(self, tensor: Tensor) -> Tensor:
        """Sum a tensor over all processes."""
        if self.size == 1:
            return tensor
        total = tensor.clone()
        dist.all_reduce(total)
        return total

    def hear(self, value: Value) -> Value:
        """Take what the first process says in place of what this one has."""
        if self.size == 1:
            return value
        told = [value]
        dist.broadcast_object_list(told, src=0)
        return told[0]

    def seed(self, seed: int, step: int) -> None:
        """Draw on by step and process alone: a resumed step draws the same, whatever was before.

        Each process needs draws of its own (of a dropout); a single one keeps its one sequence.
        """
        if self.size > 1:
            mixed = np.random.SeedSequence((seed, step, self.rank)).generate_state(1, np.uint64)
            torch.manual_seed(int(mixed[0]))


ALONE = Team()


def _add_bucket(bucket: Sequence[Tensor]) -> None:
    flat = torch.cat([each.reshape(-1) for each in bucket])
    dist.all_reduce(flat)
    begin = 0
    for each in bucket:
        each.copy_(flat[begin : begin + each.numel()].view_as(each))
        begin += each.numel()
