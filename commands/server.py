"""The standing Prefect server: one per home, started by the first command, stopped by the last.

Prefect's own ephemeral server loses most of the task history, and a server that the user has to
start by hand makes the first run three commands. So every command asks `start` for the server of
its home. Who uses it holds a shared file lock; the last one to leave stops it, unless it was
started to stay (`polymine server start`). A command killed with -9 loses its lock, and the next
one finds the server it left behind, uses it and stops it.

The listening socket is made here and handed down: the port cannot be lost to someone else between
choosing and using it, and the first request waits in the socket's queue instead of being retried.
That is why the server is run by `_serve` below and not by `prefect server start`.
"""

import base64
import fcntl
import gc
import http.client
import importlib.metadata
import ipaddress
import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager, nullcontext
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import IO, Any

import psutil

from data_contracts.errors import PolymineError
from tasks.advice import COMMAND_LINE, KEY, advise_stop, write_advice
from tasks.home import home

HOST = "127.0.0.1"
PREFERRED_PORT = 4200  # Prefect's own, so that a bookmark of the UI stays right
AUTH = ("PREFECT_SERVER_API_AUTH_STRING", "PREFECT_API_AUTH_STRING")  # of server and clients
RUN_TAG = COMMAND_LINE  # on runs whose process holds the lock; see `_bury_dead_runs`
DIED = "The process ended without a word, as after kill -9. Run the command again."
START_TIMEOUT = 180.0  # seconds; a new database takes 8 on two cores, far more on a slow disk
FLUSH_TIMEOUT = 60.0  # seconds; Prefect sends 100 to 300 events a second
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
            while not _is_healthy(self.url):
                if not self._record.is_alive():
                    raise _failure(self._folder, "ended while it was starting")
                if time.monotonic() > deadline:
                    raise _failure(self._folder, f"does not answer after {timeout:.0f} s")
                time.sleep(0.05)
        if self._alone:
            _bury_dead_runs(self.url)

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
            record = _read_record(self._folder)  # another command may have been faster
            if record is None:
                record = replace(
                    _spawn(self._folder, self._record.host, self._record.port),
                    standing=self.standing,
                )
                _write_record(self._folder, record)
            self._record = record
        return True

    def release(self) -> None:
        """Send what this process still holds; stop the server if nobody else needs it."""
        if self.is_alive():  # or Prefect would try to reach it for a minute
            _flush_client()
        with _locked(self._folder / "start.lock"):
            alone = _try_alone(self._users)
            record = _read_record(self._folder)
            if alone and record and not record.standing:
                _stop_process(record, self._folder)
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
        record = _read_record(folder)
        if record and record.version != _version():
            if not alone:
                raise ServerError(
                    f"a server of another version ({record.version}, process {record.pid}) is in "
                    f"use; this is {_version()}. End the commands that use it, then try again"
                )
            _stop_process(record, folder)
            record = None
        if record and host not in (HOST, record.host):
            raise ServerError(
                f"a server runs at {record.url} already; `polymine server stop`, then start it on "
                f"{host}"
            )
        began = record is None
        record = record or _spawn(folder, host, _last_port(folder))
        if standing and not record.standing:
            record = replace(record, standing=True)
        _write_record(folder, record)
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
    return _read_record(folder or home() / "server")


def stop(folder: Path | None = None) -> Record | None:
    """Stop the home's server unless a command uses it; return what was stopped."""
    folder = folder or home() / "server"
    with _locked(folder / "start.lock"), (folder / "users.lock").open("a") as users:
        record = _read_record(folder)
        if record is None:
            return None
        if not _try_alone(users):
            raise ServerError(
                f"the server (process {record.pid}) is in use by another command; end that first"
            )
        _stop_process(record, folder)
        return record


def client_environment(url: str, folder: Path | None = None) -> dict[str, str]:
    """Return the environment in which this process talks to the server.

    It must be set before Prefect is imported, which reads it once.
    """
    local = ",".join(filter(None, [os.environ.get("NO_PROXY"), HOST, "localhost"]))
    auth = {"PREFECT_API_AUTH_STRING": text} if (text := auth_string()) else {}
    return auth | {
        "PREFECT_API_URL": url,
        "PREFECT_UI_URL": url.removesuffix("/api"),  # in the log's links to a run
        "PREFECT_HOME": str(folder or home() / "server"),
        "PREFECT_PROFILES_PATH": str((folder or home() / "server") / "profiles.toml"),
        "PREFECT_SERVER_ALLOW_EPHEMERAL_MODE": "false",  # a lost URL fails instead of losing runs
        "PREFECT_TASKS_DEFAULT_NO_CACHE": "true",  # stages are reused by content, see the store
        "PREFECT_CLIENT_MAX_RETRIES": "7",  # four minutes, for a server that is started again
        "PREFECT_FLOWS_HEARTBEAT_FREQUENCY": "30",  # lets an automation find runs that died
        "PREFECT_LOGGING_EXTRA_LOGGERS": "polymine",
        "PREFECT_LOGGING_TO_API_WHEN_MISSING_FLOW": "ignore",  # threads of a task have no context
        "DO_NOT_TRACK": "1",
        # oneDNN keeps compiled kernels per matrix shape, a thousand by default: gigabytes, since
        # every text length is a shape. Batches come by length, so a few are as good.
        "ONEDNN_PRIMITIVE_CACHE_CAPACITY": "64",
        "NO_PROXY": local,
        "no_proxy": local,
    }


def forget_foreign_settings() -> None:
    """Drop settings of another Prefect server from this process, as of a cloud account."""
    for name in [name for name in os.environ if name.startswith(_FOREIGN)]:
        if name not in AUTH:  # the home's server may ask for it
            del os.environ[name]


def auth_string() -> str | None:
    """`user:password` for the server, from the environment and nowhere else."""
    return next((text for name in AUTH if (text := os.environ.get(name))), None)


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


def newest_flow_run(url: str) -> dict[str, Any] | None:
    """Return the flow run that was created last."""
    runs = ask(url, "flow_runs/filter", {"sort": "START_TIME_DESC", "limit": 1})
    return runs[0] if runs else None


def ask(url: str, path: str, body: dict[str, Any]) -> Any:
    """POST to the API without Prefect, whose import takes longer than most questions."""
    headers = {"Content-Type": "application/json"}
    if auth := auth_string():
        headers["Authorization"] = f"Basic {base64.b64encode(auth.encode()).decode()}"
    request = urllib.request.Request(f"{url}/{path}", json.dumps(body).encode(), headers)
    try:
        with _opener().open(request, timeout=30) as response:
            return json.loads(response.read() or b"null")
    except (OSError, http.client.HTTPException) as error:
        raise ServerError(f"{url}/{path}: the Prefect server does not answer: {error}") from error


_FOREIGN = ("PREFECT_API_", "PREFECT_SERVER_", "PREFECT_UI_", "PREFECT_PROFILE", "PREFECT_HOME")


def _version() -> str:
    return importlib.metadata.version("prefect")


def _opener() -> urllib.request.OpenerDirector:
    return urllib.request.build_opener(urllib.request.ProxyHandler({}))


def _is_healthy(url: str) -> bool:
    try:
        with _opener().open(f"{url}/health", timeout=1) as response:
            return bool(response.status == 200)
    except (OSError, http.client.HTTPException):
        return False


def _spawn(folder: Path, host: str, port: int | None = None) -> Record:
    """Start a server, on `port` if it is named and free."""
    listener = _listen(host, port)
    mode = "ab" if port else "wb"  # after a crash its last words stay
    port = listener.getsockname()[1]
    with (folder / "server.log").open(mode) as log, listener:
        process = subprocess.Popen(
            [sys.executable, "-P", "-m", "commands.server", str(listener.fileno())],
            env=_server_environment(folder, port, host),
            cwd=folder,  # so that no prefect.toml of the caller's folder is read
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            pass_fds=[listener.fileno()],
            start_new_session=True,  # Ctrl-C is for the command, which stops the server itself
        )
    process.returncode = 0  # it may outlive this command: no warning when it is forgotten
    return Record.of(psutil.Process(process.pid), port, _version(), standing=False, host=host)


def _begun(process: psutil.Process) -> float:
    """Seconds from the machine's start to the process': no set clock changes them.

    psutil adds the time of the start by today's clock; after a jump of the clock a server would
    be taken for another process, and a second one started on its database.
    """
    begun: float = process.create_time() - psutil.boot_time()
    return begun


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
    kept = {name: text for name, text in os.environ.items() if not name.startswith(_FOREIGN)}
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


def _stop_process(record: Record, folder: Path) -> None:
    os.kill(record.pid, signal.SIGTERM)
    deadline = time.monotonic() + STOP_TIMEOUT
    while record.is_alive():
        if time.monotonic() > deadline:
            os.kill(record.pid, signal.SIGKILL)
            raise _failure(folder, f"did not stop within {STOP_TIMEOUT:.0f} s and was killed")
        time.sleep(0.02)
    (folder / "server.json").unlink(missing_ok=True)


def _read_record(folder: Path) -> Record | None:
    try:
        record = Record(**json.loads((folder / "server.json").read_text()))
    except (OSError, ValueError, TypeError):
        return None
    return record if record.is_alive() else None


def _last_port(folder: Path) -> int | None:
    """Name the port of a server that was not stopped but died: runs still ask for it there."""
    try:
        return int(json.loads((folder / "server.json").read_text())["port"])
    except (OSError, ValueError, TypeError, KeyError):
        return None


def _write_record(folder: Path, record: Record) -> None:
    beside = folder / "server.json.new"
    beside.write_text(json.dumps(asdict(record)))
    beside.replace(folder / "server.json")


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


def _failure(folder: Path, what: str) -> ServerError:
    log = folder / "server.log"
    try:
        lines = log.read_text(errors="replace").splitlines()[-15:]
    except OSError:
        lines = []
    tail = "\n".join(f"  {line}" for line in lines) or "  (empty)"
    return ServerError(f"the Prefect server {what}. The end of {log}:\n{tail}")


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


def _flush_client() -> None:
    """Send the events and log lines that Prefect still holds in this process."""
    if "prefect" not in sys.modules:
        return
    from prefect.events.worker import EventsWorker
    from prefect.logging.handlers import APILogWorker

    APILogWorker.drain_all(timeout=FLUSH_TIMEOUT)
    EventsWorker.drain_all(timeout=FLUSH_TIMEOUT)


def _bury_dead_runs(url: str) -> None:
    """Mark runs of commands that were killed as crashed; they would be Running for ever.

    Called when this command is the only user: no other command's run can be alive.
    """
    open_states = {"state": {"type": {"any_": ["RUNNING", "PENDING", "CANCELLING"]}}}
    tagged = open_states | {"tags": {"all_": [RUN_TAG]}}
    for run in ask(url, "flow_runs/filter", {"flow_runs": tagged}):
        found = {"flow_runs": {"id": {"any_": [run["id"]]}}, "task_runs": open_states}
        for task in ask(url, "task_runs/filter", found):
            _crash(url, f"task_runs/{task['id']}")
        _crash(url, f"flow_runs/{run['id']}")
        _tell_what_to_do(url, run["id"])


def _crash(url: str, run: str) -> None:
    state = {"type": "CRASHED", "name": "Crashed", "message": DIED}
    ask(url, f"{run}/set_state", {"state": state, "force": True})


def _tell_what_to_do(url: str, run: str) -> None:
    """Put onto a dead run's page what a run that ends by itself puts there."""
    advice = advise_stop("")
    text = write_advice(advice, "", "Then run the same command again.")
    about = f"{advice.kind}, and how to go on"
    artifact = {"type": "markdown", "key": KEY, "description": about, "data": text}
    ask(url, "artifacts/", {**artifact, "flow_run_id": run})


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
