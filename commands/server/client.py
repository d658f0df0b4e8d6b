"""How this process talks to the home's server: its environment, and questions without Prefect."""

import base64
import http.client
import json
import os
import sys
import urllib.request
from pathlib import Path
from typing import Any

from polymine.commands.server.process import AUTH, FOREIGN, HOST, ServerError
from polymine.tasks.store.home import home

FLUSH_TIMEOUT = 60.0  # seconds; Prefect sends 100 to 300 events a second


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
    for name in [name for name in os.environ if name.startswith(FOREIGN)]:
        if name not in AUTH:  # the home's server may ask for it
            del os.environ[name]


def auth_string() -> str | None:
    """`user:password` for the server, from the environment and nowhere else."""
    return next((text for name in AUTH if (text := os.environ.get(name))), None)


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


def is_healthy(url: str) -> bool:
    """Whether the API answers."""
    try:
        with _opener().open(f"{url}/health", timeout=1) as response:
            return bool(response.status == 200)
    except (OSError, http.client.HTTPException):
        return False


def flush_client() -> None:
    """Send the events and log lines that Prefect still holds in this process."""
    if "prefect" not in sys.modules:
        return
    from prefect.events.worker import EventsWorker
    from prefect.logging.handlers import APILogWorker

    APILogWorker.drain_all(timeout=FLUSH_TIMEOUT)
    EventsWorker.drain_all(timeout=FLUSH_TIMEOUT)


def _opener() -> urllib.request.OpenerDirector:
    return urllib.request.build_opener(urllib.request.ProxyHandler({}))
