"""Files and folders that are whole or not there at all."""

import errno
import os
import shutil
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from polymine.data_contracts.errors import StoreError
from polymine.tasks.store.errors import disk_errors_explained


def write_whole(path: Path, write: Callable[[Path], Any]) -> None:
    """Let `write` fill a file beside `path`, then move it there in one step."""
    beside = path.with_name(f".{path.name}.{uuid.uuid4().hex[:8]}")
    with disk_errors_explained(path):
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
    with disk_errors_explained(place):
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
