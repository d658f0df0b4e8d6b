"""The process of a home's Prefect server: Prefect's own `prefect server start`, in the foreground.

It holds `server.lock` as long as it lives. Prefect 3.8.8 can also start a server in the background
(`--background`, `stop`, `status`), which will not do here: that server writes into pipes that close
when its starter ends, so nobody learns why it could not start; it stays in the terminal's process
group, so Ctrl-C ends it; the pid file of a killed one stands in the way of the next; and `stop`
returns while it still writes.
"""

import fcntl
import os
import signal
import socket
import subprocess
import sys
import time
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

from polymine.commands.server.client import AUTH, FOREIGN, HOST, ServerError, is_loopback
from polymine.commands.server.record import Record, is_running, write_record

STOP_TIMEOUT = 90.0  # seconds for writing events down before it is killed
BATCH = "500"  # events that the server writes at once


def spawn(folder: Path, wanted: Record) -> Record:
    """Start a server, on its port if that is free, else on any; return its record."""
    port = _free_port(wanted.host, wanted.port)
    with (folder / "server.log").open("a") as log, (folder / "server.lock").open("a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        process = subprocess.Popen(
            [sys.executable, "-P", "-m", "prefect", "server", "start"],
            env=server_environment(folder, wanted.host, port),
            cwd=folder,  # so that no prefect.toml of the caller's folder is read
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            pass_fds=[lock.fileno()],
            start_new_session=True,  # Ctrl-C is for the command, which stops the server itself
        )
    process.returncode = 0  # it may outlive this command: no warning when it is forgotten
    return write_record(folder, replace(wanted, pid=process.pid, port=port))


def server_environment(folder: Path, host: str, port: int) -> dict[str, str]:
    """Return the environment of the server's process: nothing of another server's settings."""
    kept = {name: text for name, text in os.environ.items() if not name.startswith(FOREIGN)}
    open_to_all = not is_loopback(host)
    if open_to_all:
        kept[AUTH[0]] = os.environ[AUTH[0]]
    return kept | {
        "PREFECT_HOME": str(folder),
        "PREFECT_SERVER_DATABASE_CONNECTION_URL": f"sqlite+aiosqlite:///{folder}/prefect.db",
        "PREFECT_SERVER_API_HOST": host,
        "PREFECT_SERVER_API_PORT": str(port),
        # A browser elsewhere asks the address that it has the page from.
        "PREFECT_SERVER_UI_API_URL": "/api" if open_to_all else f"http://{HOST}:{port}/api",
        "PREFECT_SERVER_UI_STATIC_DIRECTORY": str(folder / "ui"),  # the default is site-packages
        "PREFECT_SERVER_UI_SHOW_PROMOTIONAL_CONTENT": "false",
        "PREFECT_SERVER_ALLOW_EPHEMERAL_MODE": "false",
        "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
        # By default states of tasks are written one by one, and those that wait for it when the
        # server ends are lost. In batches none waits, and the last batch is written at the end.
        "PREFECT_SERVER_SERVICES_TASK_RUN_RECORDER_BATCH_SIZE": BATCH,
        "PREFECT_SERVER_SERVICES_EVENT_PERSISTER_BATCH_SIZE": BATCH,
        "PREFECT_SERVER_SERVICES_EVENT_PERSISTER_FLUSH_INTERVAL": "0.2",  # seconds
        # Whole seconds: Prefect cuts fractions off, and at 0 the server spins on a core.
        "PREFECT_SERVER_SERVICES_TASK_RUN_RECORDER_FLUSH_INTERVAL": "1",
        "PREFECT_LOGGING_COLORS": "false",
        "DO_NOT_TRACK": "1",
    }


def stop(folder: Path, record: Record) -> None:
    """Let a server write its events down and end; raise ServerError if it had to be killed."""
    os.kill(record.pid, signal.SIGTERM)
    deadline = time.monotonic() + STOP_TIMEOUT
    while is_running(folder):
        if time.monotonic() > deadline:
            os.kill(record.pid, signal.SIGKILL)
            raise failure(folder, f"did not stop within {STOP_TIMEOUT:.0f} s and was killed")
        time.sleep(0.02)
    for name in ("server.json", "server.log"):
        (folder / name).unlink(missing_ok=True)


def failure(folder: Path, what: str) -> ServerError:
    """Return the error that says what the server did, with its last words."""
    log = folder / "server.log"
    lines = log.read_text(errors="replace").splitlines()[-15:] if log.exists() else []
    tail = "\n".join(f"  {line}" for line in lines) or "  (empty)"
    return ServerError(f"the Prefect server {what}. The end of {log}:\n{tail}")


def check_host(host: str) -> None:
    """Raise ServerError if other machines could use the server without a password."""
    if not is_loopback(host) and ":" not in os.environ.get(AUTH[0], "").strip(":"):
        raise ServerError(
            f"--host {host}: other machines could start runs and read their settings without a "
            f"password; set {AUTH[0]}=USER:PASSWORD in the environment (clients and workers set "
            f"{AUTH[1]} to the same), or leave --host out"
        )


def _free_port(host: str, wanted: int) -> int:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    for port in (wanted, 0):
        with suppress(OSError), socket.socket(family, socket.SOCK_STREAM) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind((host, port))
            return int(probe.getsockname()[1])
    raise ServerError(f"no free port on {host} for the Prefect server")
