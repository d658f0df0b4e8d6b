"""Stored vectors: mapped, not read."""

import numpy as np
import polars as pl
import pyarrow as pa

from polymine.tasks.store.vectors import _map


def test_vectors_stay_in_their_file(tmp_path):
    vectors = np.random.default_rng(0).normal(size=(1000, 64)).astype(np.float32)
    column = pl.Series("vector", vectors, dtype=pl.Array(pl.Float32, 64))
    pl.DataFrame([column]).write_ipc(tmp_path / "part-00000.arrow", compression="uncompressed")
    before = pa.total_allocated_bytes()
    found = _map(tmp_path / "part-00000.arrow")
    assert pa.total_allocated_bytes() == before
    assert np.array_equal(found, vectors)  # also now that the file is closed
