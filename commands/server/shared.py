"""The standing Prefect server: one per home, started by the first command, stopped by the last.

Prefect's own ephemeral server loses most of the task history, and a server that the user has to
start by hand makes the first run three commands. So every command asks `start` for the server of
its home. Who uses it holds a shared file lock; the last one to leave stops it, unless it was
started to stay (`polymine server start`). A command killed with -9 loses its lock, and the next
one finds the server it left behind, uses it and stops it.
"""

import fcntl
import time
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import replace
from pathlib import Path
from typing import IO

from polymine.commands.server.client import flush_client, is_healthy
from polymine.commands.server.dead_runs import bury_dead_runs
from polymine.commands.server.process import (
    HOST,
    Record,
    ServerError,
    check_host,
    failure,
    last_port,
    prefect_version,
    read_record,
    spawn,
    stop_process,
    write_record,
)
from polymine.tasks.store.home import home

START_TIMEOUT = 180.0  # seconds; a new database takes 8 on two cores, far more on a slow disk


class Server:
    """A use of the home's server: `wait` until it answers, `release` when done."""

    def __init__(
        self, folder: Path, record: Record, users: IO[str], alone: bool, began: bool
    ) -> None:
        self.url = record.url
        self.ui_url = record.url.removesuffix("/api")
        self.standing = record.standing
        self.began = began
        self._folder, self._record, self._users, self._alone = folder, record, users, alone

    def wait(self, timeout: float = START_TIMEOUT) -> None:
        """Return once the API answers; raise ServerError with the log's end if it cannot."""
        deadline = time.monotonic() + timeout
        with _spinner(self._folder) if self.began else nullcontext():
            while not is_healthy(self.url):
                if not self._record.is_alive():
                    raise failure(self._folder, "ended while it was starting")
                if time.monotonic() > deadline:
                    raise failure(self._folder, f"does not answer after {timeout:.0f} s")
                time.sleep(0.05)
        if self._alone:
            bury_dead_runs(self.url)

    def is_alive(self) -> bool:
        """Whether the server's process runs."""
        return self._record.is_alive()

    def revive(self) -> bool:
        """Start the server anew, at its old address, if it is gone; say whether it was.

        The database has all that was written, and Prefect's client asks again for a while.
        """
        if self._record.is_alive():
            return False
        with _locked(self._folder / "start.lock"):
            record = read_record(self._folder)  # another command may have been faster
            if record is None:
                record = replace(
                    spawn(self._folder, self._record.host, self._record.port),
                    standing=self.standing,
                )
                write_record(self._folder, record)
            self._record = record
        return True

    def release(self) -> None:
        """Send what this process still holds; stop the server if nobody else needs it."""
        if self.is_alive():  # or Prefect would try to reach it for a minute
            flush_client()
        with _locked(self._folder / "start.lock"):
            alone = _try_alone(self._users)
            record = read_record(self._folder)
            if alone and record and not record.standing:
                stop_process(record, self._folder)
        self._users.close()


def start(standing: bool = False, folder: Path | None = None, host: str = HOST) -> Server:
    """Find or start the home's server and return at once, while it is still booting.

    So the caller can import heavy libraries in the meantime and then `wait`. With `standing` it
    stays when this command ends. A `host` that other machines can reach needs an auth string in
    `PREFECT_SERVER_API_AUTH_STRING`; without one ServerError is raised.
    """
    check_host(host)
    folder = folder or home() / "server"
    with _locked(folder / "start.lock"):
        users = (folder / "users.lock").open("a")
        alone = _try_alone(users)
        record = read_record(folder)
        if record and record.version != prefect_version():
            if not alone:
                raise ServerError(
                    f"a server of another version ({record.version}, process {record.pid}) is in "
                    f"use; this is {prefect_version()}. End the commands that use it, then try "
                    "again"
                )
            stop_process(record, folder)
            record = None
        if record and host not in (HOST, record.host):
            raise ServerError(
                f"a server runs at {record.url} already; `polymine server stop`, then start it on "
                f"{host}"
            )
        began = record is None
        record = record or spawn(folder, host, last_port(folder))
        if standing and not record.standing:
            record = replace(record, standing=True)
        write_record(folder, record)
        fcntl.flock(users, fcntl.LOCK_SH)
    return Server(folder, record, users, alone, began)


@contextmanager
def standing_server(standing: bool = False, host: str = HOST) -> Iterator[Server]:
    """Yield the home's server, ready; release it at the end, come what may."""
    server = start(standing, host=host)
    try:
        server.wait()
        yield server
    finally:
        server.release()


def status(folder: Path | None = None) -> Record | None:
    """Return the record of the running server, None if there is none."""
    return read_record(folder or home() / "server")


def stop(folder: Path | None = None) -> Record | None:
    """Stop the home's server unless a command uses it; return what was stopped."""
    folder = folder or home() / "server"
    with _locked(folder / "start.lock"), (folder / "users.lock").open("a") as users:
        record = read_record(folder)
        if record is None:
            return None
        if not _try_alone(users):
            raise ServerError(
                f"the server (process {record.pid}) is in use by another command; end that first"
            )
        stop_process(record, folder)
        return record


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    with path.open("a") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _try_alone(users: IO[str]) -> bool:
    """Whether no other command uses the server; `users` is then locked for us alone.

    Called only under `start.lock`: flock gives up the shared lock before it takes the other.
    """
    try:
        fcntl.flock(users, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


@contextmanager
def _spinner(folder: Path) -> Iterator[None]:
    from rich.console import Console

    console = Console(stderr=True)
    new = "" if (folder / "prefect.db").exists() else " (a new database takes some ten seconds)"
    if not console.is_terminal:
        console.print(f"Starting the Prefect server{new}", highlight=False)
        yield
        return
    with console.status(f"Starting the Prefect server{new}"):
        yield
