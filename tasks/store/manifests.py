"""Manifests: which files a folder holds, and whether they are as they were written."""

import logging
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

import polars as pl
import xxhash

from polymine.data_contracts.references import Manifest, Shard

logger = logging.getLogger("polymine.store")
MANIFEST = "manifest.json"
RUN = "run"  # what the manifest of an output folder says it is


def read_manifest(folder: Path) -> Manifest | None:
    """Read a folder's manifest, or None where there is none that can be read."""
    try:
        return Manifest.unsealed((folder / MANIFEST).read_bytes())
    except FileNotFoundError:
        return None
    except ValueError:
        logger.warning("%s: its manifest cannot be read; the dataset is rebuilt", folder)
        return None


def damaged_shards(folder: Path, shards: Iterable[Shard]) -> list[str]:
    """Name the shards that are missing or differ from their checksum."""
    damaged = []
    for shard in shards:
        with suppress(FileNotFoundError):
            if checksum(folder / shard.name) == shard.checksum:
                continue
        damaged.append(shard.name)
    return damaged


def describe_shard(path: Path, folder: Path) -> Shard:
    """Name a file as seen from its folder, count its rows (0 unless a table) and hash it."""
    rows = 0
    if path.suffix in (".arrow", ".parquet"):
        scan_table = pl.scan_ipc if path.suffix == ".arrow" else pl.scan_parquet
        lazy = scan_table(path, glob=False)  # a folder's name may hold brackets
        rows = lazy.select(pl.len()).collect().item()
    return Shard(name=path.relative_to(folder).as_posix(), rows=rows, checksum=checksum(path))


def checksum(path: Path) -> str:
    """Hash a file (xxh3, 128 bit)."""
    digest = xxhash.xxh3_128()
    with path.open("rb") as file:
        while block := file.read(1 << 22):
            digest.update(block)
    return digest.hexdigest()
