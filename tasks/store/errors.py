"""What a disk or a store in the cloud says, turned into what to do about it."""

import errno
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from polymine.data_contracts.errors import StoreError

# polars and safetensors; NumPy; torch, twice.
_FULL = re.compile(
    r"No space left|requested and \d+ written|PytorchStreamWriter failed|unexpected pos \d+ vs \d+"
)


@contextmanager
def disk_errors_explained(path: Path) -> Iterator[None]:
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


@contextmanager
def remote_errors_explained(uri: str) -> Iterator[None]:
    """Turn what a remote store says into what to do about it.

    The libraries have tried again by then, as often as they are configured to. What this machine's
    own disk says passes through, for `disk_errors_explained`.
    """
    try:
        yield
    except Exception as error:  # every library has errors of its own, not all of them OSErrors
        if isinstance(error, StoreError) or _is_local(error):
            raise
        raise StoreError(f"{uri}: {_advise(error)}") from error


def _advise(error: Exception) -> str:
    said = (str(error).strip() or type(error).__name__).splitlines()[0][:200]
    if isinstance(error, ImportError):
        return f"its library is missing ({said}); for S3, `pip install 'polymine[s3]'`"
    if isinstance(error, PermissionError) or "Credentials" in type(error).__name__:
        return (
            f"access denied ({said}). Credentials come from the environment, as AWS_ACCESS_KEY_ID "
            "and AWS_SECRET_ACCESS_KEY, or from the library's own files and roles; they have to "
            "allow listing, reading, writing and deleting below this prefix"
        )
    if isinstance(error, FileNotFoundError):
        return f"not there ({said}); create the bucket, or correct `engine.store`"
    if isinstance(error, ValueError):
        return f"no store can be there ({said}); write it as `s3://bucket/prefix`"
    return (
        f"cannot be reached ({said}). See that the network and the endpoint (AWS_ENDPOINT_URL) are "
        "as they should be, and run again: finished stages are reused"
    )


def _is_local(error: Exception) -> bool:
    """Whether this machine's disk says so: it names a file, or is full."""
    named = str(getattr(error, "filename", None) or "").startswith("/")
    return isinstance(error, OSError) and (named or _says_full(error))


def _says_full(error: Exception) -> bool:
    """Whether an error means a full disk: most libraries say it in words only."""
    full = getattr(error, "errno", None) in (errno.ENOSPC, errno.EDQUOT)
    return full or bool(_FULL.search(str(error)))


def _existing(path: Path) -> Path:
    while not path.exists():
        path = path.parent
    return path
