"""Runs a flow in this process against a standing server, which boots while the flow is imported."""

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from rich.console import Console

from polymine.flows import find_flow

if TYPE_CHECKING:
    from pydantic import BaseModel

    from polymine.commands.server.uses import Server

Name = Literal["mine", "train", "evaluate", "pipeline", "compare", "language_gap"]
quiet = False  # whether the command line was asked to say no more than it must


def run_file(name: Name, file: Path, overrides: list[str] | None) -> None:
    """Run a flow with the settings of a file and show what came out."""
    from polymine.commands.summary import show
    from polymine.data_contracts.settings import load_as
    from polymine.data_contracts.settings.run import SETTINGS

    began = time.monotonic()
    settings = load_as(SETTINGS[name], file, overrides)
    with ready_flow(name) as (server, flow):
        summary = run_flow(flow, settings, server)
        page = summary_page(server) if server.standing else None
    show(summary, seconds=time.monotonic() - began, page=page)


def summary_page(server: "Server") -> str:
    """Name the page of the run that just ended, with its summary and tables."""
    from polymine.commands.server.client import newest_flow_run

    newest = newest_flow_run(server.url)
    return run_page(server.ui_url, newest["id"]) if newest else f"{server.ui_url}/v2/runs"


def run_page(ui: str, run: str) -> str:
    """Name the page of a run, opened where its artifacts are: the summary is one of them."""
    return f"{ui}/v2/runs/flow-run/{run}?tab=Artifacts"


def run_flow(flow: Any, settings: "BaseModel", server: "Server") -> dict[str, Any]:
    """Run a flow in this process, its parameters being the sections of its settings."""
    from prefect import tags
    from prefect.settings import PREFECT_FLOWS_HEARTBEAT_FREQUENCY, temporary_settings

    from polymine.commands.server.crashed_runs import HERE
    from polymine.tasks.engine.progress import stop_display

    # Ending the heartbeat takes up to a second, and the next command here finds this run without.
    calm = {PREFECT_FLOWS_HEARTBEAT_FREQUENCY: None} if HERE in server.tags else {}
    try:
        with temporary_settings(calm), tags(*server.tags):
            sections = {name: getattr(settings, name) for name in type(settings).model_fields}
            summary: dict[str, Any] = flow(**sections)
    except KeyboardInterrupt:
        stop_display()
        complain("Interrupted. Run the same command again: what was finished is reused.")
        raise
    finally:
        stop_display()
    return summary


@contextmanager
def ready_flow(name: Name) -> "Iterator[tuple[Server, Any]]":
    """Yield the server, ready, and a flow, which is imported while the server boots."""
    from polymine.commands.server.shared import find_server

    server = find_server()
    try:
        server.enter()
        # What the first stages would wait for costs nothing while the server boots.
        import faiss  # noqa: F401
        import prefect.flow_engine
        import prefect.task_engine  # noqa: F401
        import torch  # noqa: F401

        flow = find_flow(name)
        _calm_console()
        server.wait()
        with server.watched():
            yield server, flow
    finally:
        server.release()


def _calm_console() -> None:
    """Keep Prefect's tracebacks off the terminal, and its log lines where bars are drawn.

    All of them stay in the UI. `main` says what failed, once.
    """
    import logging
    import warnings

    logging.getLogger("bm25s").setLevel(logging.INFO)  # it wakes up at DEBUG
    warnings.filterwarnings("ignore", category=FutureWarning, module="transformers")
    warnings.filterwarnings("ignore", module="peft")  # of names in adapters that we write ourselves
    logging.getLogger("polymine").setLevel(logging.INFO)  # Prefect adds its handler, not a level
    drawn = sys.stderr.isatty()  # where bars are drawn, they say how far it is

    def wanted(record: logging.LogRecord) -> bool:
        told = record.name == "polymine.first_look" or not drawn
        if record.levelno < logging.WARNING and (quiet or not told):
            return False
        if record.name.startswith("prefect.task_runs"):  # `polymine.stages` says how each ended
            return record.levelno < logging.ERROR and "Finished in state" not in record.msg
        return not (record.name.startswith("prefect.flow_runs") and record.levelno >= logging.ERROR)

    for handler in logging.getLogger().handlers:
        handler.addFilter(wanted)


def complain(text: str) -> None:
    """Say on the error stream what went wrong."""
    console = Console(stderr=True, highlight=False)
    console.print(text, style="bold red", markup=False, soft_wrap=True)
