"""What a home knows of its Prefect server: a record, and locks that tell who lives.

The server holds `server.lock`, the commands that use it share `users.lock`, and one that starts or
stops it holds `start.lock`. The kernel takes a lock from a process however it ends, so no process
number and no clock has to be trusted.
"""

import fcntl
import importlib.metadata
import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import IO

from polymine.commands.server.client import HOST
from polymine.tasks.store.atomic import write_whole
from polymine.tasks.store.home import home

VERSION = importlib.metadata.version("prefect")


@dataclass(frozen=True)
class Record:
    """What is written down about the running server of a home."""

    host: str
    port: int  # 0 for any; no bookmark of it is kept, and two homes never meet there
    standing: bool
    pid: int = 0
    version: str = VERSION

    @property
    def url(self) -> str:
        """Address of the API for this machine."""
        here = {"0.0.0.0": HOST, "::": "::1"}.get(self.host, self.host)  # "any" is no address
        return f"http://{f'[{here}]' if ':' in here else here}:{self.port}/api"


def read_record(folder: Path) -> Record | None:
    """Return what is written down about the last server, running or not."""
    try:
        return Record(**json.loads((folder / "server.json").read_text()))
    except (OSError, ValueError, TypeError):
        return None


def write_record(folder: Path, record: Record) -> Record:
    """Write the record whole or not at all: others read it without a lock."""
    text = json.dumps(asdict(record))
    write_whole(folder / "server.json", lambda file: file.write_text(text))
    return record


def status(folder: Path | None = None) -> Record | None:
    """Return the record of the home's running server, None if there is none."""
    folder = folder or home() / "server"
    return read_record(folder) if is_running(folder) else None


def is_running(folder: Path) -> bool:
    """Whether a server holds its lock, which the kernel takes from it however it ends."""
    with (folder / "server.lock").open("a") as lock:
        return not try_lock(lock, fcntl.LOCK_SH)


def try_lock(file: IO[str], kind: int) -> bool:
    """Take a lock of `fcntl.flock` if nobody is in the way; say whether it was taken."""
    try:
        fcntl.flock(file, kind | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Let one command at a time start or stop the server."""
    with (folder / "start.lock").open("a") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
