"""The folder of a finished run: its manifest, and its tables by name.

Nothing in it is written, repaired or hashed: reading must not change what is read.
"""

from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import Any, TypeVar

import polars as pl
from pydantic import BaseModel, ValidationError

from polymine.data_contracts.errors import PolymineError, StoreError
from polymine.data_contracts.references import Manifest
from polymine.data_contracts.settings import MiningSettings
from polymine.tasks.store.datasets import Store
from polymine.tasks.store.manifests import RUN, damaged_shards, read_manifest
from polymine.tasks.store.output import PIPELINE

Kind = TypeVar("Kind", bound=BaseModel)
_AGAIN = "run again with the same settings into another folder"


class RunFolder:
    """Tables of a finished run, by name.

    Args:
        folder: where it lies. Of a pipeline's folder the part that mining wrote is taken.
        keep: what has to live as long as the run, as a temporary folder.

    Raises StoreError when `folder` holds no run. A damaged table is named when it is read.
    """

    def __init__(self, folder: str | Path, keep: object = None) -> None:
        self.folder, self.manifest = _find(Path(folder).expanduser().resolve())
        self.info: Mapping[str, Any] = self.manifest.info
        self.name, self._keep = str(self.folder), keep

    def scan(self, table: str, query_id: str | None = None) -> pl.LazyFrame:
        """Point at a table, or at a query's rows of it, without reading."""
        if not (paths := self.paths(table)):
            raise self.foreign(f"{table}/")
        rows = pl.scan_parquet(paths, glob=False)
        return rows if query_id is None else rows.filter(pl.col("query_id") == query_id)

    def read(self, table: str, query_id: str | None = None) -> pl.DataFrame:
        """Read a table, or a query's rows of it."""
        return self.collect(self.scan(table, query_id), table)

    def paths(self, table: str) -> list[Path]:
        """List a table's files, in order."""
        names = sorted(shard.name for shard in self.manifest.shards)
        return [self.folder / name for name in names if name.startswith(f"{table}/")]

    def count(self, table: str) -> int:
        """Count a table's rows by the manifest alone."""
        named = (shard for shard in self.manifest.shards if shard.name.startswith(f"{table}/"))
        return sum(shard.rows for shard in named)

    def ids(self) -> pl.Series:
        """All queries, sorted: each has negatives or falls short of them."""
        parts = [self.scan(table).select("query_id") for table in ("negatives", "shortfalls")]
        return self.collect(pl.concat(parts).unique(), "negatives")["query_id"].sort()

    def whole(self, table: str) -> list[Path]:
        """List the files of a table, each as the run wrote it; StoreError for one that is not."""
        shards = [shard for shard in self.manifest.shards if shard.name.startswith(f"{table}/")]
        if damaged := damaged_shards(self.folder, shards):
            raise StoreError(
                f"{self.folder / damaged[0]}: missing or not as the run wrote it; {_AGAIN}, which "
                "reuses what was mined"
            )
        return self.paths(table)

    def settings_of(self, part: str, kind: type[Kind]) -> Kind:
        """Read a section of the settings that it was mined with, as the manifest notes them."""
        try:
            return kind.model_validate(self.info["settings"][part])
        except (KeyError, ValidationError) as error:
            raise self.foreign("manifest.json") from error

    @cached_property
    def mining(self) -> MiningSettings:
        """The settings it was mined with, and the primary teacher by name, chosen or not."""
        asked = self.settings_of("mining", MiningSettings)
        primary = self.info.get("primary") or {"teacher": asked.primary_teacher}
        return asked.with_primary(primary["teacher"])

    def collection(self, table: str, key: str, ids: pl.Series) -> pl.DataFrame | None:
        """Read rows of the ingested collection, or return None where it is gone or damaged."""
        try:
            ingested = self.info["fingerprints"].get("ingest", "")
            dataset = Store(self._store()).ingested(table, ingested)
            held = dataset.open()
            paths = [dataset.folder / shard.name for shard in held.shards] if held else []
            rows = pl.scan_parquet(paths, glob=False).filter(pl.col(key).is_in(ids.implode()))
            return rows.collect() if paths else None
        except (KeyError, OSError, PolymineError, pl.exceptions.PolarsError):
            return None

    def _store(self) -> str | None:
        store: str | None = self.info["settings"].get("engine", {}).get("store")
        return store

    def store_name(self) -> str:
        try:
            return Store(self._store()).root
        except PolymineError as error:
            return str(error)

    def collect(self, rows: pl.LazyFrame, table: str) -> pl.DataFrame:
        try:
            return rows.collect()
        except (OSError, pl.exceptions.PolarsError) as error:
            raise StoreError(
                f"{self.folder / table}: missing or not as the run wrote it ({error}); {_AGAIN}, "
                "which reuses what was mined"
            ) from error

    def foreign(self, what: str) -> StoreError:
        return StoreError(
            f"{self.folder}: {what} is missing or was written by another version of Polymine; "
            f"{_AGAIN}"
        )


def _find(folder: Path) -> tuple[Path, Manifest]:
    """Read the manifest of a run's folder, or of the part of a pipeline's that mining wrote."""
    if not folder.is_dir():
        raise StoreError(f"{folder}: there is no such folder; name one that a run has written")
    manifest = read_manifest(folder)
    if manifest is not None and manifest.contract == PIPELINE:
        return _find(folder / "mining")
    if manifest is None or manifest.contract != RUN:
        raise StoreError(
            f"{folder}: not the folder of a finished run, whose manifest.json says so; name the "
            "`output.path` of a run"
        )
    return folder, manifest
