"""Files and folders that are whole or not there at all."""

import errno
import os
import shutil
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import polars as pl

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


def write_new(path: Path, content: bytes) -> None:
    """As `write_bytes`, for a file that must not be there yet."""
    if path.exists():
        raise StoreError(f"{path}: already there; remove it, or name another file with --to")
    write_bytes(path, content)


@contextmanager
def staged(target: Path) -> Iterator[Path]:
    """Give a folder beside `target` that becomes `target` if all goes well, and vanishes if not."""
    token = uuid.uuid4().hex[:8]
    beside = target.with_name(f".{target.name}.{token}")
    with disk_errors_explained(target):
        try:
            beside.mkdir(parents=True)
            yield beside
            _move(beside, target, target.with_name(f".{target.name}.old-{token}"))
        finally:
            shutil.rmtree(beside, ignore_errors=True)


@contextmanager
def staged_new(target: Path) -> Iterator[Path]:
    """As `staged`, for a folder that must not be there yet."""
    if target.exists() or target.is_symlink():
        raise StoreError(f"{target}: already there; remove it, or name another folder with --to")
    with staged(target) as beside:
        yield beside


def _move(beside: Path, target: Path, old: Path) -> None:
    """Put a folder where it belongs, though another run may do the same at this very moment."""
    for _ in range(10):
        with suppress(FileNotFoundError):
            os.replace(target, old)
        try:
            os.replace(beside, target)
        except OSError as error:
            if error.errno in (errno.ENOTEMPTY, errno.EEXIST):
                shutil.rmtree(old, ignore_errors=True)
                continue
            with suppress(FileNotFoundError):
                os.replace(old, target)
            raise
        shutil.rmtree(old, ignore_errors=True)
        return
    raise StoreError(f"{target}: other runs keep writing there; choose another `output.path`")
