"""Vectors on disk: shards of Arrow files, mapped into memory, found by the hash of their text."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import polars as pl
import pyarrow as pa
from numpy.typing import NDArray

from polymine.data_contracts.errors import StoreError
from polymine.data_contracts.references import DatasetRef
from polymine.tasks.store.datasets import Store, shard_paths

CONTRACT = "embeddings"


class StoredVectors:
    """The vectors of some texts in their order; implements the core's `Vectors`.

    Args:
        family: finished datasets of one teacher and prompt.
        hashes: of the texts, in the order rows are asked for.
    """

    def __init__(self, family: Sequence[DatasetRef], hashes: NDArray[np.uint64]) -> None:
        opened = [shard for reference in family for shard in _open(reference)]
        self._shards = [vectors for vectors, _ in opened]
        known = [found for _, found in opened]
        self._starts = np.cumsum([0, *map(len, known)])
        stored = np.concatenate(known) if known else np.empty(0, np.uint64)
        order = np.argsort(stored, kind="stable")
        found = np.searchsorted(stored, hashes, sorter=order)
        found = order[np.minimum(found, len(order) - 1)] if len(order) else found
        if len(hashes) and (not len(order) or (stored[found] != hashes).any()):
            raise StoreError("some texts have no stored vector; run again to embed them")
        self._rows = found

    def __len__(self) -> int:
        return len(self._rows)

    @property
    def dimension(self) -> int:
        """Components per vector."""
        return int(self._shards[0].shape[1])

    def take(self, rows: NDArray[np.int64]) -> NDArray[np.float32]:
        """Copy the vectors of `rows` out of the files."""
        wanted = self._rows[rows]
        if len(self._shards) == 1:
            return self._shards[0][wanted]
        out = np.empty((len(rows), self.dimension), dtype=np.float32)
        shards = np.searchsorted(self._starts, wanted, side="right") - 1
        for number in np.unique(shards):
            here = shards == number
            out[here] = self._shards[number][wanted[here] - self._starts[number]]
        return out


def open_vectors(reference: DatasetRef, hashes: NDArray[np.uint64]) -> StoredVectors:
    """Open the vectors of one teacher for texts with these hashes."""
    return StoredVectors(family_of(reference.path), hashes)


def family_of(path: str) -> list[DatasetRef]:
    """List the finished datasets of a teacher, given the path of its family."""
    root, contract, family = path.rsplit("/", 2)
    return Store(root).finished(contract, family)


def stored_hashes(family: Sequence[DatasetRef]) -> NDArray[np.uint64]:
    """List the hashes of every text that has a vector."""
    known = [_hashes(path) for reference in family for path in shard_paths(reference)]
    return np.concatenate(known) if known else np.empty(0, dtype=np.uint64)


def _open(reference: DatasetRef) -> list[tuple[NDArray[np.float32], NDArray[np.uint64]]]:
    """Open the vectors of each shard, and read the hashes of their texts."""
    return [(_map(path), _hashes(path)) for path in shard_paths(reference)]


def _hashes(path: Path) -> NDArray[np.uint64]:
    return pl.read_ipc(path, columns=["text_hash"])["text_hash"].to_numpy()


def _map(path: Path) -> NDArray[np.float32]:
    with pa.memory_map(str(path)) as file, pa.ipc.open_file(file) as reader:
        chunks = reader.read_all()["vector"]
    # Putting chunks together copies them into memory, even a single one, as there is in each file.
    column = chunks.chunk(0) if chunks.num_chunks == 1 else chunks.combine_chunks()
    width = column.type.list_size
    values = column.flatten()
    # The buffer itself, because Arrow's `to_numpy` imports pandas first.
    flat = np.frombuffer(values.buffers()[1], dtype=np.float32)
    return flat[values.offset : values.offset + len(values)].reshape(-1, width)
