"""The process of a home's Prefect server: what is written down about it, its start and its end.

The listening socket is made here and handed down: the port cannot be lost to someone else between
choosing and using it, and the first request waits in the socket's queue instead of being retried.
That is why the server is run by `_serve` below and not by `prefect server start`.
"""

import gc
import importlib.metadata
import ipaddress
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import psutil

from polymine.data_contracts.errors import PolymineError

HOST = "127.0.0.1"
PREFERRED_PORT = 4200  # Prefect's own, so that a bookmark of the UI stays right
AUTH = ("PREFECT_SERVER_API_AUTH_STRING", "PREFECT_API_AUTH_STRING")  # of server and clients
# Where settings of other servers begin, as of a cloud account.
FOREIGN = ("PREFECT_API_", "PREFECT_SERVER_", "PREFECT_UI_", "PREFECT_PROFILE", "PREFECT_HOME")
STOP_TIMEOUT = 90.0  # seconds for writing events down before it is killed


class ServerError(PolymineError):
    """The Prefect server cannot be started, reached or stopped."""


@dataclass(frozen=True)
class Record:
    """What is written down about the running server of a home."""

    pid: int
    created: float
    port: int
    version: str
    standing: bool
    host: str = HOST

    @classmethod
    def of(
        cls,
        process: psutil.Process,
        port: int,
        version: str,
        standing: bool,
        host: str = HOST,
    ) -> "Record":
        """Write down a process that runs."""
        return cls(process.pid, _begun(process), port, version, standing, host)

    @property
    def url(self) -> str:
        """Address of the API for this machine."""
        here = {"0.0.0.0": HOST, "::": "::1"}.get(self.host, self.host)  # "any" is no address
        return f"http://{f'[{here}]' if ':' in here else here}:{self.port}/api"

    def is_alive(self) -> bool:
        """Whether this very process runs, and not another one that got its number."""
        try:
            process = psutil.Process(self.pid)
            same = abs(_begun(process) - self.created) < 2.0
            return same and process.status() != psutil.STATUS_ZOMBIE
        except psutil.Error:
            return False


def read_record(folder: Path) -> Record | None:
    """Return the record of the server that runs, None if there is none."""
    try:
        record = Record(**json.loads((folder / "server.json").read_text()))
    except (OSError, ValueError, TypeError):
        return None
    return record if record.is_alive() else None


def write_record(folder: Path, record: Record) -> None:
    """Write the record whole or not at all: others read it without a lock."""
    beside = folder / "server.json.new"
    beside.write_text(json.dumps(asdict(record)))
    beside.replace(folder / "server.json")


def last_port(folder: Path) -> int | None:
    """Name the port of a server that was not stopped but died: runs still ask for it there."""
    try:
        return int(json.loads((folder / "server.json").read_text())["port"])
    except (OSError, ValueError, TypeError, KeyError):
        return None


def _begun(process: psutil.Process) -> float:
    """Seconds from the machine's start to the process': no set clock changes them.

    psutil adds the time of the start by today's clock; after a jump of the clock a server would
    be taken for another process, and a second one started on its database.
    """
    begun: float = process.create_time() - psutil.boot_time()
    return begun


def spawn(folder: Path, host: str, port: int | None = None) -> Record:
    """Start a server, on `port` if it is named and free."""
    listener = _listen(host, port)
    mode = "ab" if port else "wb"  # after a crash its last words stay
    port = listener.getsockname()[1]
    with (folder / "server.log").open(mode) as log, listener:
        process = subprocess.Popen(
            [
                sys.executable,
                "-P",
                "-m",
                "polymine.commands.server.process",
                str(listener.fileno()),
            ],
            env=_server_environment(folder, port, host),
            cwd=folder,  # so that no prefect.toml of the caller's folder is read
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            pass_fds=[listener.fileno()],
            start_new_session=True,  # Ctrl-C is for the command, which stops the server itself
        )
    process.returncode = 0  # it may outlive this command: no warning when it is forgotten
    return Record.of(
        psutil.Process(process.pid), port, prefect_version(), standing=False, host=host
    )


def stop_process(record: Record, folder: Path) -> None:
    """Let a server write its events down and end; raise ServerError if it had to be killed."""
    os.kill(record.pid, signal.SIGTERM)
    deadline = time.monotonic() + STOP_TIMEOUT
    while record.is_alive():
        if time.monotonic() > deadline:
            os.kill(record.pid, signal.SIGKILL)
            raise failure(folder, f"did not stop within {STOP_TIMEOUT:.0f} s and was killed")
        time.sleep(0.02)
    (folder / "server.json").unlink(missing_ok=True)


def failure(folder: Path, what: str) -> ServerError:
    """Return the error that says what the server did, with its last words."""
    log = folder / "server.log"
    try:
        lines = log.read_text(errors="replace").splitlines()[-15:]
    except OSError:
        lines = []
    tail = "\n".join(f"  {line}" for line in lines) or "  (empty)"
    return ServerError(f"the Prefect server {what}. The end of {log}:\n{tail}")


def check_host(host: str) -> None:
    """Refuse to be reached from other machines by whoever can reach this one.

    Raises ServerError for a host that is not loopback without an auth string.
    """
    if _is_loopback(host):
        return
    if ":" not in (os.environ.get(AUTH[0]) or "").strip(":"):
        raise ServerError(
            f"--host {host}: other machines could start runs and read their settings without a "
            f"password; set {AUTH[0]}=USER:PASSWORD in the environment (clients and workers set "
            f"{AUTH[1]} to the same), or leave --host out"
        )


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:  # a name: nobody can say where it leads tomorrow
        return False


def prefect_version() -> str:
    """Return the version of Prefect that is installed here."""
    return importlib.metadata.version("prefect")


def _listen(host: str = HOST, wanted: int | None = None) -> socket.socket:
    for port in (wanted or PREFERRED_PORT, 0):
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        listener = socket.socket(family, socket.SOCK_STREAM)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind((host, port))
            listener.listen(2048)
        except OSError:
            listener.close()
        else:
            return listener
    raise ServerError(f"no free port on {host} for the Prefect server")


def _server_environment(folder: Path, port: int, host: str = HOST) -> dict[str, str]:
    kept = {name: text for name, text in os.environ.items() if not name.startswith(FOREIGN)}
    open_to_all = not _is_loopback(host)
    if open_to_all:
        kept[AUTH[0]] = os.environ[AUTH[0]]
    return kept | {
        "PREFECT_HOME": str(folder),
        "PREFECT_SERVER_DATABASE_CONNECTION_URL": f"sqlite+aiosqlite:///{folder}/prefect.db",
        "PREFECT_SERVER_API_HOST": host,
        "PREFECT_SERVER_API_PORT": str(port),  # the UI asks this one, whatever is served
        # A browser elsewhere asks the address that it has the page from.
        "PREFECT_SERVER_UI_API_URL": "/api" if open_to_all else f"http://{HOST}:{port}/api",
        "PREFECT_SERVER_UI_STATIC_DIRECTORY": str(folder / "ui"),  # the default is site-packages
        "PREFECT_SERVER_UI_SHOW_PROMOTIONAL_CONTENT": "false",
        "PREFECT_SERVER_ALLOW_EPHEMERAL_MODE": "false",
        "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
        "PREFECT_LOGGING_COLORS": "false",
        "DO_NOT_TRACK": "1",
        # oneDNN keeps compiled kernels per matrix shape, a thousand by default: gigabytes, since
        # every text length is a shape. Batches come by length, so a few are as good.
        "ONEDNN_PRIMITIVE_CACHE_CAPACITY": "64",
    }


def _serve(descriptor: int) -> None:
    """Run Prefect's server on a socket that the parent made; the body of the child process."""
    gc.disable()  # imports make no garbage; looking for it costs a sixth of the start
    import uvicorn
    from prefect.server.api.server import create_app

    app = create_app(final=True)
    gc.freeze()
    gc.enable()
    inner = app.router.lifespan_context

    @asynccontextmanager
    async def lifespan(application: Any) -> AsyncIterator[Any]:
        async with inner(application) as state:
            yield state
            await _drain_events()

    app.router.lifespan_context = lifespan
    config = uvicorn.Config(app, log_level="warning", timeout_graceful_shutdown=10)
    uvicorn.Server(config).run(sockets=[socket.socket(fileno=descriptor)])


async def _drain_events(limit: float = 60.0, patience: float = 3.0) -> None:
    """Wait until the services have written every event that was received.

    Prefect flushes their batches at the end but drops what still waits in their queues, and with
    it the last states of task runs. Gives up when nothing moves for `patience` seconds.
    """
    import asyncio

    from prefect.server.utilities.messaging.memory import METRICS

    def waiting() -> int:
        return sum(topic["published"] - topic["consumed"] for topic in METRICS.values())

    began = moved = time.monotonic()
    before = waiting()
    while before > 0 and time.monotonic() - began < limit and time.monotonic() - moved < patience:
        await asyncio.sleep(0.02)
        if waiting() != before:
            before, moved = waiting(), time.monotonic()


if __name__ == "__main__":
    _serve(int(sys.argv[1]))
