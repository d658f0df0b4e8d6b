"""Where datasets lie: one folder each, named by fingerprint, with a manifest written last.

`ROOT/<contract>/<fingerprint>/part-00000.parquet ... manifest.json`. A file is written under
another name and renamed in one step, so a file that is there is whole, and a folder without a
manifest is work in progress that the next run resumes. Two runs may write the same dataset at once:
they write the same bytes. ROOT is a folder of this machine, a shared one, or a URI: see `backends`.

Disks err, too. A manifest holds a checksum of every file and one of itself; until it is there, each
shard has its own in a note beside it. What differs is named in the log and rebuilt.
"""

import logging
import os
import re
import shutil
import uuid
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Literal, TypeVar

import dataframely as dy
import polars as pl

from polymine.data_contracts.errors import InputError, StoreError
from polymine.data_contracts.notes import Note
from polymine.data_contracts.references import DatasetRef, Manifest, fingerprint
from polymine.reading.shared_texts import read_parquet
from polymine.tasks.store.atomic import write_bytes, write_frame
from polymine.tasks.store.backends import full_name, open_backend
from polymine.tasks.store.errors import disk_errors_explained
from polymine.tasks.store.home import home, home_path
from polymine.tasks.store.manifests import (
    MANIFEST,
    checksum,
    damaged_shards,
    describe_shard,
    read_manifest,
)
from polymine.tasks.store.usage import record_use

logger = logging.getLogger("polymine.store")
Format = Literal["parquet", "arrow"]
Noted = TypeVar("Noted", bound=Note)
_DATASET = re.compile(r"\w+://.+/[0-9a-f]{32}")


class Dataset:
    """A dataset in the making, or found.

    `path` is its name for every machine that shares the store, `folder` where its files are here.
    """

    def __init__(self, path: str, contract: str, fingerprint: str) -> None:
        self.path, self.contract, self.fingerprint = path, contract, fingerprint
        self._files = open_backend(path)
        self.folder = self._files.folder

    def peek(self) -> DatasetRef | None:
        """Return the dataset if its manifest says that it is finished; nothing is touched."""
        manifest = self.manifest()
        if manifest is None or manifest.fingerprint != self.fingerprint:
            return None
        return DatasetRef(self.path, self.contract, manifest.rows, self.fingerprint, reused=True)

    def find(self, *, use: bool = True) -> DatasetRef | None:
        """Return the finished dataset with all its files verified and here, or None.

        Of a damaged one the log names a file; it is unfinished then, and what is sound is used
        again.

        Args:
            use: whether it counts as used: see `mark_used`.
        """
        with disk_errors_explained(self.folder):
            self._files.pull([MANIFEST])
        manifest = read_manifest(self.folder)
        if manifest is None:
            return None
        if (manifest.contract, manifest.fingerprint) != (self.contract, self.fingerprint):
            logger.warning("%s: its manifest is that of another dataset; it is rebuilt", self.path)
            return None
        if use:
            self.mark_used()  # before minutes of fetching and hashing
        damaged = self._fetch(damaged_shards(self.folder, manifest.shards), manifest)
        if not damaged:
            return self._reference(manifest, reused=True)
        logger.warning("%s: %s differs from its checksum; it is rebuilt", self.path, damaged[0])
        sound = [shard for shard in manifest.shards if shard.name not in damaged]
        self._files.push([self._note_checksum(shard.name, shard.checksum) for shard in sound])
        self._files.remove((MANIFEST, *damaged))
        return None

    def mark_used(self) -> None:
        """Date it to now and record that the run uses it, so that `polymine gc` keeps it."""
        self._files.touch(MANIFEST)
        record_use(f"{self.contract}/{self.fingerprint}")

    def manifest(self) -> Manifest | None:
        """Return the manifest as it is known here, or None if the dataset is not finished."""
        with disk_errors_explained(self.folder):
            return read_manifest(self.folder) if self._files.holds(MANIFEST) else None

    def open(self) -> Manifest | None:
        """Bring what is missing to this machine and return the manifest, or None if unfinished.

        What is here already is not hashed again. Raises StoreError for a shard that is gone.
        """
        if manifest := self.manifest():
            names = (shard.name for shard in manifest.shards)
            missing = [name for name in names if not (self.folder / name).exists()]
            if damaged := self._fetch(missing, manifest):
                raise StoreError(
                    f"{self.path}: {damaged[0]} is missing or damaged; run again to rebuild it"
                )
        return manifest

    def has(self, shard: str) -> bool:
        """Whether an earlier, interrupted run has already written this shard, and it is sound."""
        note = _note_name(shard)
        with disk_errors_explained(self.folder):
            # Without the note it was not written, or its run was killed between the two.
            if not (self._files.holds(note) and self._files.holds(shard)):
                return False
            if self._noted(shard) == checksum(self.folder / shard):
                self._files.touch(note)
                return True
        logger.warning("%s/%s differs from its checksum; it is rebuilt", self.path, shard)
        return False

    def write(self, shard: str, frame: pl.DataFrame, schema: type[dy.Schema]) -> None:
        """Check a frame against its contract and write it as one shard."""
        checked = check(frame, schema, f"{self.contract}/{shard}")
        write_frame(checked, self.folder / shard)
        note = self._note_checksum(shard, checksum(self.folder / shard))
        self._files.push([shard, note])

    def take_over(self, reference: DatasetRef) -> None:
        """Copy the files of a finished dataset, whose rows these are."""
        for path in shard_paths(reference):
            with disk_errors_explained(self.folder):
                self.folder.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(path, self.folder / path.name)

    @contextmanager
    def staging(self) -> Iterator[Path]:
        """Give an empty folder; the files that are put into it are the dataset's if all goes well.

        For what is no table of one contract: models, indexes, files of other trainers.
        """
        beside = self.folder.with_name(f".{self.folder.name}.{uuid.uuid4().hex[:8]}")
        with disk_errors_explained(self.folder):
            try:
                beside.mkdir(parents=True)
                yield beside
                for path in [path for path in beside.rglob("*") if path.is_file()]:
                    target = self.folder / path.relative_to(beside)
                    target.parent.mkdir(parents=True, exist_ok=True)
                    os.replace(path, target)
            finally:
                shutil.rmtree(beside, ignore_errors=True)

    def commit(
        self,
        inputs: dict[str, str] | None = None,
        info: dict[str, Any] | None = None,
        *,
        expected: Iterable[str] = (),
    ) -> DatasetRef:
        """Write the manifest over the shards that are there and return the finished dataset.

        Raises StoreError where one that is `expected` is not there.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        files = sorted(path for path in self.folder.rglob("*") if path.is_file())
        shards = tuple(
            describe_shard(path, self.folder)
            for path in files
            if path.name != MANIFEST and not path.name.startswith(".")
        )
        if missing := sorted(set(expected) - {shard.name for shard in shards}):
            raise StoreError(
                f"{self.path}: {len(missing)} of its files were removed while it was made, such as "
                f"{missing[0]}; run again to rebuild them"
            )
        manifest = Manifest(
            contract=self.contract,
            fingerprint=self.fingerprint,
            rows=sum(shard.rows for shard in shards),
            shards=shards,
            inputs=inputs or {},
            info=info or {},
        )
        # Those whose note says the same were uploaded with it.
        uploaded = {shard.name for shard in shards if self._noted(shard.name) == shard.checksum}
        self._files.complete([shard.name for shard in shards], uploaded)
        write_bytes(self.folder / MANIFEST, manifest.sealed())
        self._files.push([MANIFEST])
        self._files.remove(_note_name(shard.name) for shard in shards)  # the manifest has it
        record_use(f"{self.contract}/{self.fingerprint}")
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

    def _note_checksum(self, shard: str, value: str) -> str:
        """Write a shard's checksum beside it, until the manifest holds it; name the file."""
        note = _note_name(shard)
        write_bytes(self.folder / note, value.encode())
        return note

    def _noted(self, shard: str) -> str | None:
        """Return a shard's checksum as noted, or None once another run has finished the dataset."""
        with suppress(FileNotFoundError):
            return (self.folder / _note_name(shard)).read_text(errors="replace")
        return None

    def _fetch(self, names: list[str], manifest: Manifest) -> list[str]:
        """Fetch shards; name those that are not as the manifest says even then."""
        for name in names:
            if "://" in self.path and (self.folder / name).exists():
                logger.warning("%s: this machine's copy of %s is fetched again", self.path, name)
        with disk_errors_explained(self.folder):
            self._files.pull(names)
        return damaged_shards(self.folder, (s for s in manifest.shards if s.name in names))

    def _reference(self, manifest: Manifest, reused: bool) -> DatasetRef:
        return DatasetRef(self.path, self.contract, manifest.rows, self.fingerprint, reused)


class Store:
    """All datasets below one root: `root` names it, `folder` is where it is on this machine."""

    def __init__(self, root: str | None = None, *, made: bool = True) -> None:
        own = home if made else home_path  # a plan makes no folder
        self.root = full_name(root) if root else str(own() / "store")
        self.folder = open_backend(self.root).folder

    def dataset(self, contract: str, fingerprint: str, *, within: str = "") -> Dataset:
        """Name the dataset with this fingerprint, whether it exists or not."""
        return Dataset(f"{self.family(contract, within)}/{fingerprint}", contract, fingerprint)

    def family(self, contract: str, within: str) -> str:
        """Name the folder of all datasets of a contract, or of those that belong together."""
        return "/".join(filter(None, (self.root, contract, within)))

    def ingested(self, table: str, collection: str) -> Dataset:
        """Name one table of the collection that was ingested under this fingerprint."""
        return self.dataset(table, fingerprint(table=table, ingest=collection))

    def finished(self, contract: str, within: str) -> list[DatasetRef]:
        """List the finished datasets of a family, in the order of their names; none is touched."""
        names = open_backend(self.family(contract, within)).list_folders(MANIFEST)
        found = (self.dataset(contract, name, within=within).peek() for name in names)
        return [reference for reference in found if reference]

    def find_all(self, contract: str, within: str, *, use: bool = True) -> list[DatasetRef]:
        """Find those of a family that are sound; see `Dataset.find`."""
        names = [listed.fingerprint for listed in self.finished(contract, within)]
        datasets = (self.dataset(contract, name, within=within) for name in names)
        return [found for dataset in datasets if (found := dataset.find(use=use))]

    def manifests(self, contract: str) -> dict[str, Manifest]:
        """Read the manifests of a contract's datasets, by fingerprint; no shard is hashed."""
        names = open_backend(self.family(contract, "")).list_folders(MANIFEST)
        found = {name: self.dataset(contract, name).manifest() for name in names}
        return {name: manifest for name, manifest in found.items() if manifest}


def shard_name(number: int, form: Format = "parquet") -> str:
    """Name the shards so that their order is that of their numbers."""
    return f"part-{number:05d}.{form}"


def load(reference: DatasetRef, *, repeated: bool = False) -> pl.DataFrame:
    """Read a whole dataset; one without rows still has its columns.

    With `repeated`, for tables whose texts stand in many rows, each text is in memory once.
    """
    if repeated:
        return read_parquet(shard_paths(reference))
    return pl.concat([pl.read_parquet(path, glob=False) for path in shard_paths(reference)])


def scan(reference: DatasetRef) -> pl.LazyFrame:
    """Read a dataset lazily, shard after shard."""
    return pl.scan_parquet(shard_paths(reference), glob=False)


def shard_paths(reference: DatasetRef) -> list[Path]:
    """List a dataset's files in order, on this machine."""
    dataset = Dataset(reference.path, reference.contract, reference.fingerprint)
    manifest = dataset.open()
    if manifest is None:
        raise StoreError(f"{reference.path}: the dataset is gone; run again to rebuild it")
    return [dataset.folder / shard.name for shard in manifest.shards]


def open_folder(path: str) -> Path:
    """Return the folder of a dataset on this machine; what is not there yet is fetched."""
    dataset = Dataset(path, "", "")
    dataset.open()
    return dataset.folder


def is_dataset(source: str) -> bool:
    """Whether a URI names a dataset of a remote store, by its form alone."""
    return _DATASET.fullmatch(source) is not None


def manifest_of(reference: DatasetRef) -> Manifest | None:
    """Read a dataset's manifest, or None where it is gone."""
    return Dataset(reference.path, reference.contract, reference.fingerprint).manifest()


def info_of(reference: DatasetRef) -> dict[str, Any]:
    """Return what the stage noted beside the rows."""
    manifest = manifest_of(reference)
    return manifest.info if manifest else {}


def note_of(reference: DatasetRef, kind: type[Noted]) -> Noted:
    """Return what the stage noted beside the rows, as the type that it noted."""
    return kind.model_validate(info_of(reference))


def _note_name(shard: str) -> str:
    folder, slash, name = shard.rpartition("/")
    return f"{folder}{slash}.{name}.sum"


def check(frame: pl.DataFrame, schema: type[dy.Schema], where: str) -> pl.DataFrame:
    """Check a frame against its contract; cast what casts without loss of meaning."""
    try:
        with dy.Config(max_failure_examples=3):
            return schema.validate(frame, cast=True)
    except (dy.exc.ValidationError, dy.exc.SchemaError, pl.exceptions.PolarsError) as error:
        raise InputError(f"{where} breaks its contract {schema.__name__}: {error}") from error
