"""The Prefect server of a home, which commands share, or the one that PREFECT_API_URL names.

Prefect's ephemeral server loses most of the task history, and a server that the user has to start
by hand makes the first run three commands. So every command asks `find_server` for one. Who uses
the home's server holds a shared file lock, and the last one to leave stops it, unless it was
started to stay (`polymine server start`). A command killed with -9 loses its lock, and the next one
finds the server it left behind.
"""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from urllib.parse import urlsplit

from polymine.commands.server import process
from polymine.commands.server.client import HOST, ServerError, is_loopback
from polymine.commands.server.record import (
    VERSION,
    Record,
    locked,
    read_record,
    status,
    try_lock,
    write_record,
)
from polymine.commands.server.uses import HomeServer, Server, say
from polymine.tasks.store.home import home

PREFERRED_PORT = 4200  # Prefect's own, for a server that stays: a bookmark of the UI stays right


def find_server() -> Server:
    """Return the server for runs of this process: the one PREFECT_API_URL names, or the home's."""
    if url := os.environ.get("PREFECT_API_URL", "").rstrip("/"):
        address, own = urlsplit(url), status()
        if own is None or own.port != address.port or not is_loopback(address.hostname):
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
    with locked(folder):
        users = (folder / "users.lock").open("a")
        # When no other command uses the server, all runs of before are dead.
        alone = datetime.now(UTC) if try_lock(users, fcntl.LOCK_EX) else None
        record = status(folder)
        if record and (record.version != VERSION or host not in (HOST, record.host)):
            raise ServerError(
                f"a server of Prefect {record.version} runs at {record.url} already (process "
                f"{record.pid}); end it with `polymine server stop`, then try again"
            )
        if record is None:
            new = "" if (folder / "prefect.db").exists() else " (a new database takes ten seconds)"
            say(f"Starting the Prefect server{new}")
            last = read_record(folder)  # of one that died: its runs still ask at its port
            port = last.port if last else PREFERRED_PORT if standing else 0
            record = process.spawn(folder, Record(host, port, standing))
        elif standing and not record.standing:
            record = write_record(folder, replace(record, standing=True))
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


def stop() -> Record | None:
    """Stop the home's server unless a command uses it; return what was stopped."""
    folder = home() / "server"
    with locked(folder), (folder / "users.lock").open("a") as users:
        if record := status(folder):
            if not try_lock(users, fcntl.LOCK_EX):
                raise ServerError(
                    f"the server (process {record.pid}) is in use by another command; end it first"
                )
            process.stop(folder, record)
        return record
