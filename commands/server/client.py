"""How this process talks to a Prefect server: its environment, and questions without Prefect."""

import ipaddress
import os
import sys
import time
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from polymine.data_contracts.errors import PolymineError

HOST = "127.0.0.1"
AUTH = ("PREFECT_SERVER_API_AUTH_STRING", "PREFECT_API_AUTH_STRING")  # of server and clients
# Where settings of other servers begin, as of a cloud account or a profile.
FOREIGN = ("PREFECT_API_", "PREFECT_SERVER_", "PREFECT_UI_", "PREFECT_PROFILE", "PREFECT_HOME")
PROXIES = ("http_proxy", "https_proxy", "all_proxy")
PROXY_SCHEMES = ("http://", "https://", "socks5://", "socks5h://")  # that httpx knows
FLUSH_TIMEOUT = 60.0  # seconds; Prefect sends 100 to 300 events a second


class ServerError(PolymineError):
    """The Prefect server cannot be started, reached or stopped."""


def client_environment(url: str, folder: Path | None = None) -> dict[str, str]:
    """Return the environment in which runs of this process talk to a server.

    It must be set before Prefect is imported, which reads it once.

    Args:
        url: of the API.
        folder: of the home's server; without one it is another's, and no home is set.
    """
    local = ",".join(filter(None, [os.environ.get("NO_PROXY"), HOST, "localhost", "::1"]))
    environment = {
        "PREFECT_API_URL": url,
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
        # Threads that wait for each other spin, and beside another busy process they spin instead
        # of it: training took four times as long.
        "GOMP_SPINCOUNT": os.environ.get("GOMP_SPINCOUNT", "0"),
        "NO_PROXY": local,
        "no_proxy": local,
    }
    if auth := auth_string():
        environment["PREFECT_API_AUTH_STRING"] = auth
    if folder is not None:
        environment |= {
            "PREFECT_HOME": str(folder),
            "PREFECT_PROFILES_PATH": str(folder / "profiles.toml"),
        }
    return environment


def turn_to(url: str, folder: Path | None = None) -> list[str]:
    """Turn this process to a server, before Prefect is imported.

    Of the home's server (`folder`) no setting of another one stays, as of a cloud account. Proxies
    of a kind that httpx does not know are dropped, and their variables returned: it opens each one
    before it looks at NO_PROXY. Desktops set `ALL_PROXY=socks://...`, and no client could be made.
    """
    foreign = [name for name in os.environ if folder and name.startswith(FOREIGN)]
    proxies = [name for name in os.environ if name.lower() in PROXIES and "://" in os.environ[name]]
    unusable = [name for name in proxies if not os.environ[name].lower().startswith(PROXY_SCHEMES)]
    for name in {*foreign, *unusable} - {*AUTH}:  # the home's server may ask for a password
        del os.environ[name]
    os.environ.update(client_environment(url, folder))
    return unusable


def auth_string() -> str | None:
    """`user:password` for the server, from the environment and nowhere else."""
    return next((text for name in reversed(AUTH) if (text := os.environ.get(name))), None)


def is_loopback(host: str | None) -> bool:
    """Whether only this machine can reach a host."""
    try:
        return host == "localhost" or ipaddress.ip_address(host or "").is_loopback
    except ValueError:  # a name: nobody can say where it leads tomorrow
        return False


def newest_flow_run(url: str) -> dict[str, Any] | None:
    """Return the flow run that was begun last; a part of another one does not count."""
    whole = {"parent_task_run_id": {"is_null_": True}}
    asked = {"sort": "START_TIME_DESC", "limit": 1, "flow_runs": whole}
    runs = ask(url, "flow_runs/filter", asked)
    return runs[0] if runs else None


def ask(url: str, path: str, body: dict[str, Any] | None = None) -> Any:
    """Ask the API without Prefect, whose import takes longer than most questions.

    Args:
        url: of the API, ending in `/api`.
        body: of a POST; without one the question is a GET.
    """
    import httpx

    user, _, password = (auth_string() or "").partition(":")
    near = is_loopback(urlsplit(url).hostname)  # no proxy between us and this machine
    try:
        with httpx.Client(auth=(user, password), timeout=30, trust_env=not near) as client:
            response = client.request("GET" if body is None else "POST", f"{url}/{path}", json=body)
        if response.status_code in (401, 403):
            raise ServerError(
                f"{url}: the Prefect server refuses access; set {AUTH[1]} to the server's"
            )
        response.raise_for_status()
        return response.json() if response.content else None
    except (httpx.HTTPError, httpx.InvalidURL, ValueError) as error:
        raise ServerError(f"{url}/{path}: the Prefect server does not answer: {error}") from error


def flush_client() -> None:
    """Send the events and log lines that Prefect still holds in this process."""
    if "prefect" not in sys.modules:
        return
    from prefect.events.worker import EventsWorker
    from prefect.logging.handlers import APILogWorker

    APILogWorker.drain_all(timeout=FLUSH_TIMEOUT)
    EventsWorker.drain_all(timeout=FLUSH_TIMEOUT)


def await_events(url: str) -> None:
    """Send what this process still holds, and return once the server has written it down.

    A server that is told to end writes states and events at once, gets in its own way (SQLite) and
    loses the events. They come in order, so a last one that is there says that all are.
    """
    if "prefect" not in sys.modules:
        return
    from prefect.events import emit_event

    name = f"polymine.command.{os.getpid()}"
    last = emit_event("polymine.command.ended", resource={"prefect.resource.id": name})
    asked = {"filter": {"id": {"id": [str(last.id)]}}} if last else {}
    deadline = time.monotonic() + FLUSH_TIMEOUT
    try:
        while asked and not ask(url, "events/filter", asked)["events"]:
            if time.monotonic() > deadline:
                break
            time.sleep(0.05)
    finally:  # log lines are sent even if the server has no answer
        flush_client()
