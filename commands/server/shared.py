"""The Prefect server of a home, which commands share, or the one that PREFECT_API_URL names.

Prefect's ephemeral server loses most of the task history, and a server that the user has to start
by hand makes the first run three commands. So every command asks `find_server` for one. Prefect
neither counts a server's users nor starts one again that was killed under a run, so that is here:
who uses the home's server holds a shared file lock, and the last one to leave stops it, unless it
was started to stay (`polymine server start`). A command killed with -9 loses its lock, and the next
one finds the server it left behind.
"""

import fcntl
import os
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import IO
from urllib.parse import urlsplit

from rich.console import Console

from polymine.commands.server import client, process
from polymine.commands.server.client import HOST, ServerError
from polymine.commands.server.crashed_runs import RUN_TAGS, mark_crashed
from polymine.commands.server.process import Record, try_lock
from polymine.tasks.monitoring.advice import COMMAND_LINE
from polymine.tasks.store.home import home

PREFERRED_PORT = 4200  # Prefect's own, for a server that stays: a bookmark of the UI stays right
START_TIMEOUT = 180.0  # seconds; a new database takes 12 on two cores, far more on a slow disk
WATCH_EVERY = 1.0  # seconds between two looks at the server's process


class Server:
    """A use of the server that PREFECT_API_URL names: taken as it is, its failure said."""

    tags: tuple[str, ...] = (COMMAND_LINE,)  # of this command's runs

    def __init__(self, url: str, standing: bool = True, folder: Path | None = None) -> None:
        self.url, self.ui_url, self.standing = url, url.removesuffix("/api"), standing
        self._folder = folder

    def enter(self) -> None:
        """Turn this process to the server, before Prefect is imported."""
        if dropped := client.turn_to(self.url, self._folder):
            _say(f"{', '.join(dropped)}: no kind of proxy that can be used; going without it")

    def wait(self) -> None:
        """Return once the API answers; raise ServerError if it cannot."""
        try:
            client.ask(self.url, "health" if os.environ.get("PREFECT_API_KEY") else "admin/version")
        except ServerError as error:
            raise ServerError(
                f"{error}\nPREFECT_API_URL={self.url} is set: see to that server, or unset it to "
                "use one on this machine"
            ) from error

    def is_alive(self) -> bool:
        """Whether it runs, as far as this machine knows."""
        return True

    @contextmanager
    def watched(self) -> Iterator[None]:
        """Start the server again when it dies under a run, if it is this machine's."""
        yield

    def release(self) -> None:
        """Send what this process still holds."""
        client.flush_client()


class HomeServer(Server):
    """A use of the home's own server, which the last one to leave stops."""

    tags = RUN_TAGS
    _folder: Path

    def __init__(
        self, folder: Path, record: Record, users: IO[str], alone: datetime | None
    ) -> None:
        super().__init__(record.url, record.standing, folder)
        self._record, self._users, self._alone = record, users, alone

    def wait(self) -> None:
        """Return once the API answers; raise ServerError with the log's end if it cannot."""
        deadline = time.monotonic() + START_TIMEOUT
        while not self._answers():
            if not self.is_alive():
                raise process.failure(self._folder, "ended while it was starting")
            if time.monotonic() > deadline:
                raise process.failure(self._folder, f"is silent for {START_TIMEOUT:.0f} s")
            time.sleep(0.05)
        if self._alone:
            mark_crashed(self.url, self._alone)

    def _answers(self) -> bool:
        try:  # the home's own, and not another one that took the port
            return bool(client.ask(self.url, "admin/settings")["home"] == str(self._folder))
        except ServerError:
            return False

    def is_alive(self) -> bool:
        """Whether the server's process runs."""
        return process.is_running(self._folder)

    @contextmanager
    def watched(self) -> Iterator[None]:
        """Start the server again, at its address, when it dies under a run, as out of memory.

        The database has all that was written, and Prefect's client asks again for a while.
        """
        done = threading.Event()

        def watch() -> None:
            while not done.wait(WATCH_EVERY):
                if self.is_alive():
                    continue
                with _locked(self._folder):
                    if not self.is_alive():  # another command may have been faster
                        process.spawn(self._folder, self._record)
                _say("The Prefect server ended and was started again; the run continues.")

        watcher = threading.Thread(target=watch, name="server-watch", daemon=True)
        watcher.start()
        try:
            yield
        finally:
            done.set()
            watcher.join()

    def release(self) -> None:
        """Send what this process still holds; stop the server if nobody else needs it."""
        if self.is_alive():  # or Prefect would try to reach it for a minute
            client.flush_client()
        with _locked(self._folder):
            record = status(self._folder)
            if try_lock(self._users, fcntl.LOCK_EX) and record and not record.standing:
                process.stop(self._folder, record)
        self._users.close()


def find_server() -> Server:
    """Return the server for runs of this process: the one PREFECT_API_URL names, or the home's."""
    if url := os.environ.get("PREFECT_API_URL", "").rstrip("/"):
        address, own = urlsplit(url), status()
        if own is None or own.port != address.port or not client.is_loopback(address.hostname):
            chosen = Server(url)
            chosen.wait()  # before anything heavy is imported
            return chosen
    return start()


def start(standing: bool = False, host: str = HOST) -> HomeServer:
    """Find or start the home's server and return at once, while it is still booting.

    So the caller can import heavy libraries in the meantime and then `wait`.

    Args:
        standing: whether it stays when this command ends.
        host: to listen on. One that other machines can reach needs an auth string in
            `PREFECT_SERVER_API_AUTH_STRING`; without one ServerError is raised.
    """
    process.check_host(host)
    folder = home() / "server"
    with _locked(folder):
        users = (folder / "users.lock").open("a")
        # When no other command uses the server, all runs of before are dead.
        alone = datetime.now(UTC) if try_lock(users, fcntl.LOCK_EX) else None
        record = status(folder)
        if record and (record.version != process.VERSION or host not in (HOST, record.host)):
            raise ServerError(
                f"a server of Prefect {record.version} runs at {record.url} already (process "
                f"{record.pid}); end it with `polymine server stop`, then try again"
            )
        if record is None:
            new = "" if (folder / "prefect.db").exists() else " (a new database takes ten seconds)"
            _say(f"Starting the Prefect server{new}")
            last = process.read_record(folder)  # of one that died: its runs still ask at its port
            port = last.port if last else PREFERRED_PORT if standing else 0
            record = process.spawn(folder, Record(host, port, standing))
        elif standing and not record.standing:
            record = process.write_record(folder, replace(record, standing=True))
        fcntl.flock(users, fcntl.LOCK_SH)
    return HomeServer(folder, record, users, alone)


@contextmanager
def standing_server(standing: bool = False, host: str = HOST) -> Iterator[Server]:
    """Yield a server, ready; with `standing` the home's own, which stays. Release it always."""
    server = start(standing, host) if standing else find_server()
    try:
        server.wait()
        yield server
    finally:
        server.release()


def status(folder: Path | None = None) -> Record | None:
    """Return the record of the home's running server, None if there is none."""
    folder = folder or home() / "server"
    return process.read_record(folder) if process.is_running(folder) else None


def stop() -> Record | None:
    """Stop the home's server unless a command uses it; return what was stopped."""
    folder = home() / "server"
    with _locked(folder), (folder / "users.lock").open("a") as users:
        if record := status(folder):
            if not try_lock(users, fcntl.LOCK_EX):
                raise ServerError(
                    f"the server (process {record.pid}) is in use by another command; end it first"
                )
            process.stop(folder, record)
        return record


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """Let one command at a time start or stop the server."""
    with (folder / "start.lock").open("a") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _say(text: str) -> None:
    Console(stderr=True, highlight=False).print(text, markup=False, soft_wrap=True)
