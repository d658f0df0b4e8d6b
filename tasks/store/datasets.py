"""Where datasets lie: one folder each, named by fingerprint, with a manifest written last.

`ROOT/<contract>/<fingerprint>/part-00000.parquet ... manifest.json`. A file is written beside its
place and moved there in one step, so a file that is there is whole, and a folder without a manifest
is work in progress that the next run goes on with. Two runs may write the same dataset at once:
they write the same bytes. ROOT is a folder of this machine, a shared one, or a URI: see `places`.

Disks err, too. A manifest holds a checksum of every file and one of itself; until it is there, each
shard has its own beside it. What differs is named in the log and made anew.
"""

import logging
import re
from collections.abc import Callable, Iterable
from contextvars import ContextVar
from pathlib import Path
from typing import Any, Literal, TypeVar

import dataframely as dy
import polars as pl
import xxhash

from polymine.data_contracts.errors import InputError, StoreError
from polymine.data_contracts.references import DatasetRef, Manifest, Shard, fingerprint
from polymine.tasks.store.atomic import write_whole
from polymine.tasks.store.backends import full_name, locate
from polymine.tasks.store.errors import explained
from polymine.tasks.store.home import home

logger = logging.getLogger("polymine.store")
MANIFEST = "manifest.json"
RUN = "run"  # what the manifest of an output folder says it is
Format = Literal["parquet", "arrow"]
_Read = TypeVar("_Read")
_DATASET = re.compile(r"\w+://.+/[0-9a-f]{32}")

listener: ContextVar[Callable[[str], None] | None] = ContextVar("listener", default=None)
"""Is told of every dataset before a run looks for it or finishes it."""


class Dataset:
    """A dataset in the making, or found.

    `path` is its name for every machine that shares the store, `folder` where its files are here.
    """

    def __init__(self, path: str, contract: str, fingerprint: str) -> None:
        self.path, self.contract, self.fingerprint = path, contract, fingerprint
        self._files = locate(path)
        self.folder = self._files.folder

    def find(self) -> DatasetRef | None:
        """Return the finished dataset, or None; a damaged one is named in the log and set aside."""
        tell_used(self.path)
        return self.look()

    def look(self) -> DatasetRef | None:
        """Do what `find` does for one dataset among many, of which not all are used."""
        try:
            return self._look()
        except StoreError as error:
            if not isinstance(error.__cause__, FileNotFoundError) or self._is_finished():
                raise
            return None  # `polymine gc` took it away a moment ago

    def _look(self) -> DatasetRef | None:
        with explained(self.folder):
            self._files.refresh(MANIFEST)
        manifest = read_manifest(self.folder)
        if manifest is None:
            return None
        if (manifest.contract, manifest.fingerprint) != (self.contract, self.fingerprint):
            logger.warning("%s: its manifest is that of another dataset; made anew", self.path)
            return None
        damaged = self._fetch(manifest, damaged_shards(self.folder, manifest))
        if damaged and not self._is_finished():
            return None  # not damaged: taken away a moment ago
        if damaged:
            logger.warning(
                "%s: %s differs from its checksum; it is made anew", self.path, damaged[0]
            )
            for shard in manifest.shards:
                if shard.name not in damaged:  # and is to be known as sound without a manifest
                    self._files.push([self._note_checksum(shard.name, shard.checksum)])
            self._files.remove((MANIFEST, *damaged))
            return None
        return self._reference(manifest, reused=True)

    def manifest(self) -> Manifest | None:
        """Return the manifest as it is known here, or None if the dataset is not finished."""
        if not (self.folder / MANIFEST).exists():
            with explained(self.folder):
                self._files.pull([MANIFEST])
        return read_manifest(self.folder)

    def open(self) -> Manifest | None:
        """Bring what is missing to this machine and return the manifest, or None if unfinished.

        What is here already is not hashed again. Raises StoreError for a shard that is gone.
        """
        manifest = self.manifest()
        shards = manifest.shards if manifest else ()
        missing = [shard.name for shard in shards if not (self.folder / shard.name).exists()]
        if manifest and (damaged := self._fetch(manifest, missing)):
            raise StoreError(
                f"{self.path}: {damaged[0]} is missing or damaged; run again to make it anew"
            )
        return manifest

    def has(self, shard: str) -> bool:
        """Whether an earlier, interrupted run has already written this shard, and it is sound."""
        note = _checksum_name(shard)
        with explained(self.folder):
            # Without the note it was not written, or its run was killed between the two.
            if not (self._files.holds(note) and self._files.holds(shard)):
                return False
            if (self.folder / note).read_text(errors="replace") == checksum(self.folder / shard):
                return True
        logger.warning("%s/%s differs from its checksum; it is made anew", self.path, shard)
        return False

    def write(self, shard: str, frame: pl.DataFrame, schema: type[dy.Schema]) -> None:
        """Check a frame against its contract and write it as one shard."""
        checked = check(frame, schema, f"{self.contract}/{shard}")
        write_frame(checked, self.folder / shard)
        note = self._note_checksum(shard, checksum(self.folder / shard))
        self._files.push([shard, note])

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
        tell_used(self.path)
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
                f"{missing[0]}; run again to make them anew"
            )
        manifest = Manifest(
            contract=self.contract,
            fingerprint=self.fingerprint,
            rows=sum(shard.rows for shard in shards),
            shards=shards,
            inputs=inputs or {},
            info=info or {},
        )
        noted = {shard.name for shard in shards if self._is_noted(shard)}
        self._files.complete([shard.name for shard in shards], noted)
        write_bytes(self.folder / MANIFEST, manifest.sealed())
        self._files.push([MANIFEST])
        self._files.remove(_checksum_name(shard.name) for shard in shards)  # the manifest has it
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
        note = _checksum_name(shard)
        write_bytes(self.folder / note, value.encode())
        return note

    def _is_finished(self) -> bool:
        """Whether its manifest is there now, in whatever state."""
        return MANIFEST in self._files.listing()

    def _is_noted(self, shard: Shard) -> bool:
        """Whether a shard is as its note says, so that it was uploaded under the same checksum."""
        note = self.folder / _checksum_name(shard.name)
        return note.exists() and note.read_text(errors="replace") == shard.checksum

    def _fetch(self, manifest: Manifest, names: list[str]) -> list[str]:
        """Fetch shards; name those that are not as the manifest says even then."""
        with explained(self.folder):
            self._files.pull(names)
        asked = tuple(shard for shard in manifest.shards if shard.name in set(names))
        return damaged_shards(self.folder, manifest.model_copy(update={"shards": asked}))

    def _reference(self, manifest: Manifest, reused: bool) -> DatasetRef:
        return DatasetRef(self.path, self.contract, manifest.rows, self.fingerprint, reused)


class Store:
    """All datasets below one place: `root` names it, `folder` is where it is on this machine."""

    def __init__(self, root: str | None = None) -> None:
        self.root = full_name(root) if root else str(home() / "store")
        self.folder = locate(self.root).folder

    def dataset(self, contract: str, fingerprint: str, *, within: str = "") -> Dataset:
        """Name the dataset with this fingerprint, whether it exists or not."""
        return Dataset(f"{self.family(contract, within)}/{fingerprint}", contract, fingerprint)

    def family(self, contract: str, within: str) -> str:
        """Name the place of all datasets of a contract, or of those that belong together."""
        return "/".join(filter(None, (self.root, contract, within)))

    def ingested(self, table: str, collection: str) -> Dataset:
        """Name one table of the collection that was ingested under this fingerprint."""
        return self.dataset(table, fingerprint(table=table, ingest=collection))

    def finished(self, contract: str, within: str) -> list[DatasetRef]:
        """List the finished datasets of a family, oldest name first; that alone is no use."""
        names = locate(self.family(contract, within)).list_folders(MANIFEST)
        found = (self.dataset(contract, name, within=within).look() for name in names)
        return [reference for reference in found if reference]

    def has(self, path: str) -> bool:
        """Whether a dataset is finished, as the store says now."""
        files = locate(path)
        files.refresh(MANIFEST)
        return files.holds(MANIFEST)

    def manifests(self, contract: str) -> dict[str, Manifest]:
        """Read the manifests of a contract's datasets, by fingerprint; no shard is hashed."""
        names = locate(self.family(contract, "")).list_folders(MANIFEST)
        found = {name: self.dataset(contract, name).manifest() for name in names}
        return {name: manifest for name, manifest in found.items() if manifest}


def tell_used(*paths: str) -> None:
    """Let it be known that the run uses these datasets."""
    if told := listener.get():
        for path in paths:
            told(path)


def shard_name(number: int, form: Format = "parquet") -> str:
    """Name the shards so that their order is that of their numbers."""
    return f"part-{number:05d}.{form}"


def load(reference: DatasetRef) -> pl.DataFrame:
    """Read a whole dataset; one without rows still has its columns."""
    return pl.concat([pl.read_parquet(path, glob=False) for path in shard_paths(reference)])


def scan(reference: DatasetRef) -> pl.LazyFrame:
    """Read a dataset lazily, shard after shard."""
    return pl.scan_parquet(shard_paths(reference), glob=False)


def shard_paths(reference: DatasetRef) -> list[Path]:
    """List a dataset's files in order, on this machine."""
    dataset = Dataset(reference.path, reference.contract, reference.fingerprint)
    manifest = dataset.open()
    if manifest is None:
        raise StoreError(f"{reference.path}: the dataset is gone; run again to make it anew")
    return [dataset.folder / shard.name for shard in manifest.shards]


def read_each(family: Iterable[DatasetRef], read: Callable[[DatasetRef], _Read]) -> list[_Read]:
    """Read the datasets of a family apart from those that are gone since it was listed.

    `polymine gc` may take away those that no run needs, and put one back that a run takes up.
    """
    found = []
    for reference in family:
        try:
            found.append(read(reference))
        except (FileNotFoundError, StoreError):
            if MANIFEST in locate(reference.path).listing():  # put back, or damaged: that is said
                found.append(read(reference))
    return found


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
        if _checksum_now(folder / shard.name) != shard.checksum
    ]


def _checksum_now(path: Path) -> str | None:
    """Hash a file, or return None where there is none, if only since a moment ago."""
    try:
        return checksum(path)
    except FileNotFoundError:
        return None


def _checksum_name(shard: str) -> str:
    folder, slash, name = shard.rpartition("/")
    return f"{folder}{slash}.{name}.sum"


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
        scan_table = pl.scan_ipc if path.suffix == ".arrow" else pl.scan_parquet
        lazy = scan_table(path, glob=False)  # a folder's name may hold brackets
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
