"""Where a dataset's files lie: in a folder, or as objects of which a folder here holds copies.

A store in the cloud (`s3://bucket/prefix`, or what else fsspec knows) is worked on through
`$POLYMINE_HOME/cache/s3/bucket/prefix`: a file is written there and uploaded, or fetched once and
then mapped into memory as any other. The alternative, to read objects in place, is not open to
FAISS, PEFT and the vectors, which want files. The objects decide what there is; the cache may be
removed whenever nothing runs. An object appears whole or not at all, so that a manifest uploaded
last finishes a dataset there just as on a disk.
"""

import logging
import os
import uuid
from collections.abc import Container, Iterable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from polymine.data_contracts.credentials import credential_in
from polymine.data_contracts.errors import StoreError
from polymine.tasks.store.errors import reached
from polymine.tasks.store.home import home

logger = logging.getLogger("polymine.store")
AT_ONCE = 8  # files on their way at a time: libraries hold tens of megabytes of each in memory


class Folder:
    """A folder that this machine sees, its own or a shared one: nothing has to be fetched."""

    def __init__(self, name: str) -> None:
        self.name, self.folder = name, Path(name)

    def refresh(self, file: str) -> None:
        """Take over a file as it is now, or that it is gone."""

    def holds(self, file: str) -> bool:
        """Whether a file is there; it is here then, too."""
        return (self.folder / file).exists()

    def pull(self, files: Iterable[str]) -> None:
        """Fetch the files that are there, each whole or not at all, over what is here."""

    def read(self, file: str) -> bytes:
        """Return what a file holds now. Raises FileNotFoundError."""
        return (self.folder / file).read_bytes()

    def push(self, files: Iterable[str]) -> None:
        """Upload files, each whole or not at all, over what is there."""

    def complete(self, files: Iterable[str], noted: Container[str] = ()) -> None:
        """Upload those files that are not there yet.

        Of `noted` ones it is known that equal lengths are equal bytes.
        """

    def remove(self, files: Iterable[str]) -> None:
        """Remove files, in this order."""
        for file in files:
            (self.folder / file).unlink(missing_ok=True)

    def list_folders(self, file: str) -> list[str]:
        """Name the folders right below that hold this file, in order."""
        return sorted(path.parent.name for path in self.folder.glob(f"*/{file}"))

    def listing(self) -> dict[str, tuple[int, float]]:
        """Bytes of every file below, and when it was written in seconds since 1970, as of now."""
        found = {}
        for parent, _, names in os.walk(self.folder):
            for path in (Path(parent, name) for name in names):
                with suppress(FileNotFoundError):  # a run is at work
                    held = path.lstat()
                    found[path.relative_to(self.folder).as_posix()] = (held.st_size, held.st_mtime)
        return found


class Mirror(Folder):
    """Objects below a URI, and the folder of this machine that holds copies of them."""

    def __init__(self, name: str) -> None:
        scheme, _, path = name.partition("://")
        self.name, self.folder = name, home() / "cache" / scheme / path
        self._listed: dict[str, int] | None = None
        self._alike: set[str] = set()  # names whose object and copy are known to be the same

    def refresh(self, file: str) -> None:
        self._listed = None
        if file in self._sizes():
            self._get([file])
        else:
            super().remove([file])

    def holds(self, file: str) -> bool:
        path, size = self.folder / file, self._sizes().get(file)
        if not path.exists() and size is not None:
            self._get([file])
        return path.exists()

    def pull(self, files: Iterable[str]) -> None:
        wanted = [file for file in files if file in self._sizes()]
        for file in wanted:
            if (self.folder / file).exists():
                logger.warning("%s: this machine's copy of %s is fetched again", self.name, file)
        self._get(wanted)

    def read(self, file: str) -> bytes:
        filesystem, root = _connect(self.name)
        content: bytes = filesystem.cat_file(f"{root}/{file}")
        return content

    def push(self, files: Iterable[str]) -> None:
        names = list(files)
        with reached(self.name):
            filesystem, root = _connect(self.name)
            for some in _batches(names):
                objects = [f"{root}/{name}" for name in some]
                filesystem.put([str(self.folder / name) for name in some], objects)
        self._alike.update(names)
        if self._listed is not None:
            self._listed.update({name: (self.folder / name).stat().st_size for name in names})

    def complete(self, files: Iterable[str], noted: Container[str] = ()) -> None:
        self._listed = None

        def is_there(file: str) -> bool:
            as_long = self._sizes().get(file) == (self.folder / file).stat().st_size
            return as_long and (file in self._alike or file in noted)

        self.push([file for file in files if not is_there(file)])

    def remove(self, files: Iterable[str]) -> None:
        names = list(files)
        with reached(self.name):
            filesystem, root = _connect(self.name)
            for name in names:
                if name in self._sizes():
                    filesystem.rm_file(f"{root}/{name}")
        super().remove(names)
        self._alike.difference_update(names)
        self._listed = None

    def list_folders(self, file: str) -> list[str]:
        parts = (name.split("/") for name in self._sizes())
        return sorted(part[0] for part in parts if len(part) == 2 and part[1] == file)

    def listing(self) -> dict[str, tuple[int, float]]:
        with reached(self.name):
            filesystem, root = _connect(self.name)
            found: dict[str, Any] = filesystem.find(root, detail=True)
        return {
            path.removeprefix(f"{root}/"): (info["size"], _written(info))
            for path, info in found.items()
        }

    def _sizes(self) -> dict[str, int]:
        """Bytes of every object below the URI, by its name from there; listed once."""
        if self._listed is None:
            with reached(self.name):
                filesystem, root = _connect(self.name)
                found: dict[str, Any] = filesystem.find(root, detail=True)
                self._listed = {
                    path.removeprefix(f"{root}/"): info["size"] for path, info in found.items()
                }
        return self._listed

    def _get(self, names: Sequence[str]) -> None:
        """Fetch objects beside their places and move them there."""
        for some in _batches(names):
            token = uuid.uuid4().hex[:8]
            places = [self.folder / name for name in some]
            beside = [place.with_name(f".{place.name}.{token}") for place in places]
            try:
                for place in places:
                    place.parent.mkdir(parents=True, exist_ok=True)
                with reached(self.name):
                    filesystem, root = _connect(self.name)
                    filesystem.get([f"{root}/{name}" for name in some], list(map(str, beside)))
                for source, target in zip(beside, places, strict=True):
                    os.replace(source, target)
            finally:
                for path in beside:
                    path.unlink(missing_ok=True)
            self._alike.update(some)


def _written(info: dict[str, Any]) -> float:
    """When an object was written; each kind of storage calls it otherwise."""
    when = next((info[key] for key in ("LastModified", "mtime", "created") if key in info), 0.0)
    return when.timestamp() if hasattr(when, "timestamp") else float(when)


def locate(name: str) -> Folder:
    """Find the files of a dataset, or of all of a store, by the name that references carry."""
    return Mirror(name) if "://" in name else Folder(name)


def full_name(place: str) -> str:
    """Write a folder from the root, or a URI without what may differ between two of the same place.

    Raises StoreError for a URI that no store can be at, and for one with a password in it.
    """
    scheme, mark, path = place.partition("://")
    if not mark:
        return str(Path(place).expanduser().absolute())
    if scheme in ("file", "local"):
        return f"/{path.strip('/')}"
    if found := credential_in(place):
        raise StoreError(
            f"{scheme}://...: {found} does not belong into the name of a store; credentials come "
            "from the environment, as AWS_SECRET_ACCESS_KEY"
        )
    parts = path.strip("/").split("/")
    if not all(parts) or ".." in parts or "::" in place:
        raise StoreError(f"{place}: no place for a store; write it as `s3://bucket/prefix`")
    return f"{scheme}://{'/'.join(parts)}"


def _batches(names: Sequence[str]) -> Iterator[Sequence[str]]:
    for start in range(0, len(names), AT_ONCE):
        yield names[start : start + AT_ONCE]


def _connect(uri: str) -> tuple[Any, str]:
    """Open the file system of a URI; say where it lies there.

    Listings are not cached: another machine may write to the same store.
    """
    import fsspec

    filesystem, root = fsspec.url_to_fs(uri, use_listings_cache=False)
    return filesystem, root.rstrip("/")
