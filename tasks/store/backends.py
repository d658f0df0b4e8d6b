"""Storage backends: a folder, or objects in the cloud of which a folder here holds copies.

A store at a URI (`s3://bucket/prefix`, or what else fsspec knows) is worked on through
`$POLYMINE_HOME/cache/s3/bucket/prefix`: a file is written there and uploaded, or fetched once and
then mapped into memory as any other. Objects cannot be read in place, because FAISS, PEFT and the
vectors want files, and fsspec's own `filecache` keeps no folders for PEFT to open. The objects
decide what there is; the cache may be removed whenever nothing runs. An object appears whole or not
at all, so a manifest uploaded last finishes a dataset there just as on a disk.
"""

import os
import shutil
import time
import uuid
from collections.abc import Collection, Iterable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from polymine.data_contracts.credentials import credential_in
from polymine.data_contracts.errors import StoreError
from polymine.tasks.store.errors import remote_errors_explained
from polymine.tasks.store.home import home

AT_ONCE = 8  # files on their way at a time: libraries hold tens of megabytes of each in memory
DAY = 86_400.0
Listing = dict[str, tuple[int, float]]
"""Bytes of each file by its name, and when it was written in seconds since 1970."""


class Folder:
    """A folder that this machine sees, its own or a shared one: nothing has to be fetched."""

    def __init__(self, name: str) -> None:
        self.name, self.folder = name, Path(name)

    def holds(self, file: str) -> bool:
        """Whether a file is there; it is on this machine then."""
        return (self.folder / file).exists()

    def pull(self, files: Collection[str]) -> None:
        """Take over files as they are now, each whole, or that they are gone."""

    def push(self, files: Iterable[str]) -> None:
        """Upload files, each whole or not at all, over what is there."""

    def complete(self, files: Iterable[str], uploaded: Collection[str]) -> None:
        """Upload files, apart from those `uploaded` before and still there in full length."""

    def touch(self, file: str) -> None:
        """Date a file to now, so that `polymine gc` sees that it is in use."""
        with suppress(OSError):  # a store that may only be read
            os.utime(self.folder / file)

    def remove(self, files: Iterable[str]) -> None:
        """Remove files, in this order."""
        for file in files:
            (self.folder / file).unlink(missing_ok=True)

    def clear(self, first: str) -> None:
        """Remove all there is; nobody finds a part of it together with the file named `first`."""
        aside = self.folder.with_name(f".{self.folder.name}.{uuid.uuid4().hex[:8]}")
        with suppress(FileNotFoundError):
            os.rename(self.folder, aside)
            shutil.rmtree(aside) if aside.is_dir() else aside.unlink()

    def list_folders(self, file: str) -> list[str]:
        """Name the folders right below that hold this file, in order."""
        return sorted(path.parent.name for path in self.folder.glob(f"*/{file}"))

    def listing(self) -> Listing:
        """List all files below, as of now; a name that is a file lists itself as `.`."""
        walked = (Path(parent, name) for parent, _, names in os.walk(self.folder) for name in names)
        found = {}
        for path in [self.folder] if self.folder.is_file() else walked:
            with suppress(FileNotFoundError):  # a run is at work
                held = path.lstat()
                found[path.relative_to(self.folder).as_posix()] = (held.st_size, held.st_mtime)
        return found


class CachedRemote(Folder):
    """Objects below a URI, and the folder of this machine that holds copies of them."""

    def __init__(self, name: str) -> None:
        scheme, _, path = name.partition("://")
        self.name, self.folder = name, home() / "cache" / scheme / path
        self._listed: Listing | None = None

    def holds(self, file: str) -> bool:
        path = self.folder / file
        if not path.exists() and file in self._known():
            self._get([file])
        return path.exists()

    def pull(self, files: Collection[str]) -> None:
        if files:
            there = self.listing()
            super().remove(file for file in files if file not in there)
            self._get([file for file in files if file in there])

    def push(self, files: Iterable[str]) -> None:
        if not (names := list(files)):
            return
        with remote_errors_explained(self.name):
            here = [str(self.folder / name) for name in names]
            self._objects().put(here, names, batch_size=AT_ONCE)
        self._listed = None

    def complete(self, files: Iterable[str], uploaded: Collection[str]) -> None:
        there = self.listing()

        def is_there(file: str) -> bool:
            size = (self.folder / file).stat().st_size
            return file in uploaded and file in there and there[file][0] == size

        self.push([file for file in files if not is_there(file)])

    def touch(self, file: str) -> None:
        _, written = self._known().get(file, (0, 0.0))
        if written < time.time() - DAY:  # objects are dated by uploading them
            self.push([file])

    def remove(self, files: Iterable[str]) -> None:
        names = list(files)
        with remote_errors_explained(self.name):
            for name in names:
                if name in self._known():
                    self._objects().rm_file(name)
        super().remove(names)
        self._listed = None

    def clear(self, first: str) -> None:
        self.remove(sorted(self.listing(), key=lambda name: (name != first, name)))
        super().clear(first)

    def list_folders(self, file: str) -> list[str]:
        parts = (name.split("/") for name in self._known())
        return sorted(part[0] for part in parts if len(part) == 2 and part[1] == file)

    def listing(self) -> Listing:
        with remote_errors_explained(self.name):
            found: dict[str, Any] = self._objects().find("", detail=True)
        self._listed = {name: (info["size"], _written(info)) for name, info in found.items()}
        return self._listed

    def _known(self) -> Listing:
        """List what there is once, and remember it."""
        return self.listing() if self._listed is None else self._listed

    def _get(self, names: Sequence[str]) -> None:
        """Fetch objects beside where they belong and move them there."""
        if not names:
            return
        token = uuid.uuid4().hex[:8]
        targets = [self.folder / name for name in names]
        beside = [target.with_name(f".{target.name}.{token}") for target in targets]
        try:
            for target in targets:
                target.parent.mkdir(parents=True, exist_ok=True)
            with remote_errors_explained(self.name), suppress(FileNotFoundError):
                self._objects().get(names, list(map(str, beside)), batch_size=AT_ONCE)
            for source, target in zip(beside, targets, strict=True):
                with suppress(FileNotFoundError):  # removed since it was listed
                    os.replace(source, target)
        finally:
            for path in beside:
                path.unlink(missing_ok=True)

    def _objects(self) -> Any:
        """Open the file system below the URI; others write there, so it caches no listings."""
        import fsspec
        from fsspec.implementations.dirfs import DirFileSystem

        filesystem, root = fsspec.url_to_fs(self.name, use_listings_cache=False)
        return DirFileSystem(root.rstrip("/"), filesystem)


def _written(info: dict[str, Any]) -> float:
    """When an object was written; each kind of storage calls it otherwise."""
    when = next((info[key] for key in ("LastModified", "mtime", "created") if key in info), 0.0)
    return when.timestamp() if hasattr(when, "timestamp") else float(when)


def open_backend(name: str) -> Folder:
    """Find the files of a dataset, or of all of a store, by the name that references carry."""
    return CachedRemote(name) if "://" in name else Folder(name)


def full_name(root: str) -> str:
    """Write a folder from the root, or a URI in the one way it is compared by.

    Raises StoreError for a URI that no store can be at, and for one with a password in it.
    """
    scheme, mark, path = root.partition("://")
    if not mark:
        return str(Path(root).expanduser().absolute())
    if scheme in ("file", "local"):
        return f"/{path.strip('/')}"
    if found := credential_in(root):
        raise StoreError(
            f"{scheme}://...: {found} does not belong into the name of a store; credentials come "
            "from the environment, as AWS_SECRET_ACCESS_KEY"
        )
    parts = path.strip("/").split("/")
    if not all(parts) or ".." in parts or "::" in root:
        raise StoreError(f"{root}: no store can be there; write it as `s3://bucket/prefix`")
    return f"{scheme}://{'/'.join(parts)}"
