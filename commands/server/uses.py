"""What a command does with its Prefect server: enter it, wait for it, watch it, release it.

Prefect neither counts a server's users nor starts one again that was killed under a run, so that is
here, for the server of a home. One that PREFECT_API_URL names is somebody else's to look after.
"""

import fcntl
import os
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import datetime
from pathlib import Path
from typing import IO

from rich.console import Console

from polymine.commands.server import client, process
from polymine.commands.server.client import ServerError
from polymine.commands.server.crashed_runs import RUN_TAGS, mark_crashed
from polymine.commands.server.record import Record, is_running, locked, status, try_lock
from polymine.tasks.monitoring.advice import COMMAND_LINE

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
            say(f"{', '.join(dropped)}: no kind of proxy that can be used; going without it")

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
        return is_running(self._folder)

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
                with locked(self._folder):
                    if not self.is_alive():  # another command may have been faster
                        process.spawn(self._folder, self._record)
                say("The Prefect server ended and was started again; the run continues.")

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
            with suppress(ServerError):
                client.await_events(self.url)
        with locked(self._folder):
            record = status(self._folder)
            if try_lock(self._users, fcntl.LOCK_EX) and record and not record.standing:
                process.stop(self._folder, record)
        self._users.close()


def say(text: str) -> None:
    """Tell the user something beside the output."""
    Console(stderr=True, highlight=False).print(text, markup=False, soft_wrap=True)
