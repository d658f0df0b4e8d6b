"""Where datasets lie: one folder each, named by fingerprint, with a manifest written last.

`ROOT/<contract>/<fingerprint>/part-00000.parquet ... manifest.json`. A file is written beside its
place and moved there in one step, so a file that is there is whole, and a folder without a manifest
is work in progress that the next run goes on with. Two runs may write the same dataset at once:
they write the same bytes.

Disks err, too. A manifest holds a checksum of every file and one of itself; until it is there, each
shard has its own beside it. What differs is named in the log and made anew.
"""

import errno
import logging
import os
import re
import shutil
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Literal

import dataframely as dy
import polars as pl
import xxhash

from data_contracts.errors import InputError, StoreError
from data_contracts.references import DatasetRef, Manifest, Shard, fingerprint
from tasks.home import home

logger = logging.getLogger("polymine.store")
MANIFEST = "manifest.json"
RUN = "run"  # what the manifest of an output folder says it is
Format = Literal["parquet", "arrow"]
# polars and safetensors; NumPy; torch, twice.
_FULL = re.compile(
    r"No space left|requested and \d+ written|PytorchStreamWriter failed|unexpected pos \d+ vs \d+"
)


class Dataset:
    """A dataset in the making, or found."""

    def __init__(self, folder: Path, contract: str, fingerprint: str) -> None:
        self.folder, self.contract, self.fingerprint = folder, contract, fingerprint

    def find(self) -> DatasetRef | None:
        """Return the finished dataset, or None; a damaged one is named in the log and set aside."""
        manifest = read_manifest(self.folder)
        if manifest is None:
            return None
        if (manifest.contract, manifest.fingerprint) != (self.contract, self.fingerprint):
            logger.warning(
                "%s: its manifest is that of another dataset; it is made anew", self.folder
            )
            return None
        if damaged := damaged_shards(self.folder, manifest):
            logger.warning(
                "%s: %s differs from its checksum; it is made anew", self.folder, damaged[0]
            )
            with explained(self.folder):
                for shard in manifest.shards:
                    if shard.name not in damaged:  # and is to be known as sound without a manifest
                        _checksum_file(self.folder / shard.name).write_text(shard.checksum)
            for name in (MANIFEST, *damaged):
                (self.folder / name).unlink(missing_ok=True)
            return None
        return self._reference(manifest, reused=True)

    def has(self, shard: str) -> bool:
        """Whether an earlier, interrupted run has already written this shard, and it is sound."""
        path = self.folder / shard
        try:
            known = _checksum_file(path).read_text(errors="replace")
            if known == checksum(path):
                return True
        except FileNotFoundError:  # not written, or killed between the two
            return False
        logger.warning("%s differs from its checksum; it is made anew", path)
        return False

    def write(self, shard: str, frame: pl.DataFrame, schema: type[dy.Schema]) -> None:
        """Check a frame against its contract and write it as one shard."""
        checked = check(frame, schema, f"{self.contract}/{shard}")
        path = self.folder / shard
        write_frame(checked, path)
        with explained(path):
            _checksum_file(path).write_text(checksum(path))

    def commit(
        self, inputs: dict[str, str] | None = None, info: dict[str, Any] | None = None
    ) -> DatasetRef:
        """Write the manifest over the shards that are there and return the finished dataset."""
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
        write_bytes(self.folder / MANIFEST, manifest.sealed())
        for shard in shards:  # the manifest has it now
            _checksum_file(self.folder / shard.name).unlink(missing_ok=True)
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
        """List the finished datasets of a family, oldest name first."""
        folders = sorted((self.root / contract / within).glob(f"*/{MANIFEST}"))
        found = (Dataset(path.parent, contract, path.parent.name).find() for path in folders)
        return [reference for reference in found if reference]


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
        return Manifest.unsealed((folder / MANIFEST).read_bytes())
    except FileNotFoundError:
        return None
    except ValueError:
        logger.warning("%s: its manifest cannot be read; the dataset is made anew", folder)
        return None


def damaged_shards(folder: Path, manifest: Manifest) -> list[str]:
    """Name the shards that are missing or differ from their checksum."""
    return [
        shard.name
        for shard in manifest.shards
        if not (folder / shard.name).exists() or checksum(folder / shard.name) != shard.checksum
    ]


def _checksum_file(path: Path) -> Path:
    """Name the file that holds a shard's checksum for as long as no manifest does."""
    return path.with_name(f".{path.name}.sum")


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
            _move(beside, place, place.with_name(f".{place.name}.old-{token}"))
        finally:
            shutil.rmtree(beside, ignore_errors=True)


def _move(beside: Path, place: Path, old: Path) -> None:
    """Put a folder into its place, where another run may do the same at this very moment."""
    for _ in range(10):
        with suppress(FileNotFoundError):
            os.replace(place, old)
        try:
            os.replace(beside, place)
        except OSError as error:
            if error.errno in (errno.ENOTEMPTY, errno.EEXIST):
                shutil.rmtree(old, ignore_errors=True)
                continue
            with suppress(FileNotFoundError):
                os.replace(old, place)
            raise
        shutil.rmtree(old, ignore_errors=True)
        return
    raise StoreError(f"{place}: other runs keep writing there; choose another `output.path`")


@contextmanager
def explained(path: Path) -> Iterator[None]:
    """Turn what the file system says into what to do about it."""
    try:
        yield
    except Exception as error:  # every library has its own for a disk that is full
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
    """Whether an error means a full disk: most libraries say it in words only."""
    full = getattr(error, "errno", None) in (errno.ENOSPC, errno.EDQUOT)
    return full or bool(_FULL.search(str(error)))


def _existing(path: Path) -> Path:
    while not path.exists():
        path = path.parent
    return path
