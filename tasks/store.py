"""Where datasets lie: one folder each, named by fingerprint, with a manifest written last.

`ROOT/<contract>/<fingerprint>/part-00000.parquet ... manifest.json`. A file is written beside its
place and moved there in one step, so a file that is there is whole, and a folder without a manifest
is work in progress that the next run goes on with. Two runs may write the same dataset at once:
they write the same bytes.
"""

import errno
import logging
import os
import re
import shutil
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path
from typing import Any, Literal

import dataframely as dy
import polars as pl
import xxhash
from pydantic import ValidationError

from data_contracts.errors import InputError, StoreError
from data_contracts.references import DatasetRef, Manifest, Shard, fingerprint
from tasks.home import home

logger = logging.getLogger("polymine.store")
MANIFEST = "manifest.json"
RUN = "run"  # what the manifest of an output folder says it is
Format = Literal["parquet", "arrow"]

listener: ContextVar[Callable[[Path], None] | None] = ContextVar("listener", default=None)
"""Is told of every dataset before a run looks for it or finishes it: see `tasks.usage`."""


class Dataset:
    """A dataset in the making, or found."""

    def __init__(self, folder: Path, contract: str, fingerprint: str) -> None:
        self.folder, self.contract, self.fingerprint = folder, contract, fingerprint

    def find(self) -> DatasetRef | None:
        """Return the finished dataset, or None; a damaged one is named in the log and set aside."""
        tell_used(self.folder)
        return self.look()

    def look(self) -> DatasetRef | None:
        """Do what `find` does for one dataset among many, of which not all are used."""
        manifest = read_manifest(self.folder)
        if manifest is None:
            return None
        if damaged := damaged_shards(self.folder, manifest):
            logger.warning(
                "%s: %s differs from its checksum; it is made anew", self.folder, damaged[0]
            )
            for name in (MANIFEST, *damaged):
                (self.folder / name).unlink(missing_ok=True)
            return None
        return self._reference(manifest, reused=True)

    def has(self, shard: str) -> bool:
        """Whether an earlier, interrupted run has already written this shard."""
        return (self.folder / shard).exists()

    def write(self, shard: str, frame: pl.DataFrame, schema: type[dy.Schema]) -> None:
        """Check a frame against its contract and write it as one shard."""
        checked = check(frame, schema, f"{self.contract}/{shard}")
        write_frame(checked, self.folder / shard)

    def commit(
        self, inputs: dict[str, str] | None = None, info: dict[str, Any] | None = None
    ) -> DatasetRef:
        """Write the manifest over the shards that are there and return the finished dataset."""
        tell_used(self.folder)
        self.folder.mkdir(parents=True, exist_ok=True)
        files = sorted(path for path in self.folder.rglob("*") if path.is_file())
        shards = tuple(
            describe_shard(path, self.folder)
            for path in files
            if path.name != MANIFEST and not path.name.startswith(".")
        )
        manifest = Manifest(
            contract=self.contract,
            fingerprint=self.fingerprint,
            rows=sum(shard.rows for shard in shards),
            shards=shards,
            inputs=inputs or {},
            info=info or {},
        )
        write_bytes(self.folder / MANIFEST, manifest.model_dump_json(indent=1).encode())
        return self._reference(manifest, reused=False)

    def write_single(
        self,
        frame: pl.DataFrame,
        schema: type[dy.Schema],
        inputs: dict[str, str] | None = None,
        info: dict[str, Any] | None = None,
    ) -> DatasetRef:
        """Write a dataset of one shard and finish it."""
        self.write(shard_name(0), frame, schema)
        return self.commit(inputs, info)

    def _reference(self, manifest: Manifest, reused: bool) -> DatasetRef:
        return DatasetRef(str(self.folder), self.contract, manifest.rows, self.fingerprint, reused)


class Store:
    """All datasets below one folder."""

    def __init__(self, root: str | None = None) -> None:
        self.root = Path(root).expanduser().absolute() if root else home() / "store"

    def dataset(self, contract: str, fingerprint: str, *, within: str = "") -> Dataset:
        """Name the dataset with this fingerprint, whether it exists or not."""
        return Dataset(self.root / contract / within / fingerprint, contract, fingerprint)

    def ingested(self, table: str, collection: str) -> Dataset:
        """Name one table of the collection that was ingested under this fingerprint."""
        return self.dataset(table, fingerprint(table=table, ingest=collection))

    def finished(self, contract: str, within: str) -> list[DatasetRef]:
        """List the finished datasets of a family, oldest name first; that alone is no use."""
        folders = sorted((self.root / contract / within).glob(f"*/{MANIFEST}"))
        found = (Dataset(path.parent, contract, path.parent.name).look() for path in folders)
        return [reference for reference in found if reference]

    def manifests(self, contract: str) -> dict[str, Manifest]:
        """Read the manifests of a contract's datasets, by fingerprint; no shard is hashed."""
        folders = sorted((self.root / contract).glob(f"*/{MANIFEST}"))
        found = {path.parent.name: read_manifest(path.parent) for path in folders}
        return {name: manifest for name, manifest in found.items() if manifest}


def tell_used(*folders: Path) -> None:
    """Let it be known that the run uses these datasets."""
    if told := listener.get():
        for folder in folders:
            told(folder)


def shard_name(number: int, form: Format = "parquet") -> str:
    """Name the shards so that their order is that of their numbers."""
    return f"part-{number:05d}.{form}"


def load(reference: DatasetRef) -> pl.DataFrame:
    """Read a whole dataset; one without rows still has its columns."""
    return pl.concat([pl.read_parquet(path) for path in shard_paths(reference)])


def scan(reference: DatasetRef) -> pl.LazyFrame:
    """Read a dataset lazily, shard after shard."""
    return pl.scan_parquet(shard_paths(reference))


def shard_paths(reference: DatasetRef) -> list[Path]:
    """List a dataset's files in order."""
    manifest = read_manifest(Path(reference.path))
    if manifest is None:
        raise StoreError(f"{reference.path}: the dataset is gone; run again to make it anew")
    return [Path(reference.path) / shard.name for shard in manifest.shards]


def info_of(reference: DatasetRef) -> dict[str, Any]:
    """Return what the stage noted beside the rows."""
    manifest = read_manifest(Path(reference.path))
    return manifest.info if manifest else {}


def read_manifest(folder: Path) -> Manifest | None:
    """Read a folder's manifest, or None where there is none that can be read."""
    try:
        return Manifest.model_validate_json((folder / MANIFEST).read_bytes())
    except FileNotFoundError:
        return None
    except ValidationError:
        logger.warning("%s: its manifest cannot be read; the dataset is made anew", folder)
        return None


def damaged_shards(folder: Path, manifest: Manifest) -> list[str]:
    """Name the shards that are missing or differ from their checksum."""
    return [
        shard.name
        for shard in manifest.shards
        if not (folder / shard.name).exists() or checksum(folder / shard.name) != shard.checksum
    ]


def checksum(path: Path) -> str:
    """Hash a file (xxh3, 128 bit)."""
    digest = xxhash.xxh3_128()
    with path.open("rb") as file:
        while block := file.read(1 << 22):
            digest.update(block)
    return digest.hexdigest()


def describe_shard(path: Path, folder: Path) -> Shard:
    """Name a file as seen from its folder, count its rows (0 unless a table) and hash it."""
    rows = 0
    if path.suffix in (".arrow", ".parquet"):
        lazy = pl.scan_ipc(path) if path.suffix == ".arrow" else pl.scan_parquet(path)
        rows = lazy.select(pl.len()).collect().item()
    return Shard(name=path.relative_to(folder).as_posix(), rows=rows, checksum=checksum(path))


def check(frame: pl.DataFrame, schema: type[dy.Schema], where: str) -> pl.DataFrame:
    """Check a frame against its contract; cast what casts without loss of meaning."""
    try:
        with dy.Config(max_failure_examples=3):
            return schema.validate(frame, cast=True)
    except (dy.exc.ValidationError, dy.exc.SchemaError, pl.exceptions.PolarsError) as error:
        raise InputError(f"{where} breaks its contract {schema.__name__}: {error}") from error


def write_frame(frame: pl.DataFrame, path: Path) -> None:
    """Write a frame so that the file is whole or not there; equal frames give equal bytes."""

    def write(target: Path) -> None:
        whole = frame.rechunk()
        if path.suffix == ".arrow":
            whole.write_ipc(target, compression="uncompressed")
        else:
            whole.write_parquet(target, compression="zstd", compression_level=3)

    write_whole(path, write)


def write_bytes(path: Path, content: bytes) -> None:
    """Write a small file so that it is whole or not there."""
    write_whole(path, lambda target: target.write_bytes(content))


def write_whole(path: Path, write: Callable[[Path], Any]) -> None:
    """Let `write` fill a file beside `path`, then move it there in one step."""
    beside = path.with_name(f".{path.name}.{uuid.uuid4().hex[:8]}")
    with explained(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            write(beside)
            os.replace(beside, path)
        finally:
            beside.unlink(missing_ok=True)


@contextmanager
def staged(place: Path) -> Iterator[Path]:
    """Give a folder beside `place` that becomes `place` if all goes well, and vanishes if not."""
    token = uuid.uuid4().hex[:8]
    beside = place.with_name(f".{place.name}.{token}")
    with explained(place):
        try:
            beside.mkdir(parents=True)
            yield beside
            if place.exists():
                old = place.with_name(f".{place.name}.old-{token}")
                os.replace(place, old)
                os.replace(beside, place)
                shutil.rmtree(old, ignore_errors=True)
            else:
                os.replace(beside, place)
        finally:
            shutil.rmtree(beside, ignore_errors=True)


@contextmanager
def explained(path: Path) -> Iterator[None]:
    """Turn what the file system says into what to do about it."""
    try:
        yield
    except (OSError, pl.exceptions.ComputeError) as error:
        if _says_full(error):
            free = shutil.disk_usage(_existing(path)).free
            raise StoreError(
                f"{path}: the disk is full ({free / 1e6:.0f} MB left). Nothing half-written was "
                "left behind; free some space or set `engine.store` and `output.path` to another "
                "disk, and run again: finished stages are reused"
            ) from error
        if isinstance(error, PermissionError):
            raise StoreError(
                f"{path}: not allowed to write there; choose another folder"
            ) from error
        if isinstance(error, (FileExistsError, NotADirectoryError)):
            raise StoreError(f"{path}: a file is in the way of a folder") from error
        raise


def _says_full(error: Exception) -> bool:
    """Whether an error means a full disk: polars and NumPy say it in words only."""
    full = getattr(error, "errno", None) in (errno.ENOSPC, errno.EDQUOT)
    return full or bool(re.search(r"No space left|requested and \d+ written", str(error)))


def _existing(path: Path) -> Path:
    while not path.exists():
        path = path.parent
    return path
