"""The command line: settings are checked first, then the server boots while the flow is imported.

Nothing heavy is imported up here, so that `--help` and a wrong setting answer at once.
"""

import gc
import os
import signal
import sys
import time
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console

from data_contracts.errors import PolymineError, SettingsError

if TYPE_CHECKING:
    from commands.server import Server
    from data_contracts.settings import RunSettings

DEMO = Path(__file__).resolve().parent.parent / "configs" / "demo.toml"

app = typer.Typer(
    name="polymine",
    help="Mine hard negatives: from queries, a corpus and known pairs to validated triplets.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
server_app = typer.Typer(
    help="A Prefect server that stays, so that later commands need not start one.",
    no_args_is_help=True,
)
app.add_typer(server_app, name="server")

Overrides = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="KEY=VALUE", help="Override a setting, as `mining.depth=50`."),
]


@app.command()
def run(
    file: Annotated[Path, typer.Argument(metavar="FILE.toml", help="Settings of the run.")],
    overrides: Overrides = None,
) -> None:
    """Mine what a settings file says."""
    _run(file, overrides)


@app.command()
def demo(overrides: Overrides = None) -> None:
    """Mine the docstrings of the installed libraries: offline, a few minutes on two cores."""
    _run(_demo_file(), overrides)


@app.command()
def export(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="Folder of a finished run.")],
    form: Annotated[
        str,
        typer.Argument(metavar="FORMAT", help="flagembedding, tevatron, nemo, ms-swift or a view."),
    ],
    to: Annotated[Path | None, typer.Option(help="Where to; RUN-FORMAT if not set.")] = None,
) -> None:
    """Write a finished run's triplets for another trainer, without mining again."""
    from commands.export import export as write

    typer.echo(write(run, form, to))


@app.command("inspect")
def inspect_query(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="Folder of a finished run.")],
    query_id: Annotated[str, typer.Argument(metavar="QUERY_ID", help="One of its queries.")],
    limit: Annotated[
        int, typer.Option(min=0, help="Candidates shown of each kind; 0 for all.")
    ] = 10,
    full: Annotated[bool, typer.Option("--full", help="Print texts in full.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON, texts in full.")] = False,
) -> None:
    """Show a query's positives, negatives, promoted and excluded candidates, and why."""
    from commands.inspect import inspect

    inspect(run, query_id, limit=limit or None, full=full, as_json=as_json)


@app.command()
def serve(overrides: Overrides = None) -> None:
    """Offer the flow in the Prefect UI, with a form for its settings, until Ctrl-C."""
    from data_contracts.settings import load_settings

    settings = load_settings(_demo_file(), overrides)
    with ready_flow() as (server, flow):
        _say(f"Start runs at [link]{server.ui_url}/v2/deployments[/link]. Ctrl-C ends.")
        flow.serve(
            name="mine",
            parameters=settings.model_dump(mode="json", exclude_unset=True),
            description="Mines hard negatives; the form starts out with the demo's settings.",
            tags=["polymine"],
            pause_on_shutdown=False,  # schedules go on when it is served again
            print_starting_message=False,
        )


@app.command()
def ui(
    open_browser: Annotated[bool, typer.Option("--open", help="Open it in a browser.")] = False,
) -> None:
    """Show past and present runs in the Prefect UI, until Ctrl-C."""
    from commands.server import newest_flow_run, standing_server

    with standing_server() as server:
        newest = newest_flow_run(server.url)
        page = f"{server.ui_url}/v2/runs/flow-run/{newest['id']}" if newest else server.ui_url
        _say(f"{'Newest run' if newest else 'No runs yet'}: [link]{page}[/link]")
        _say(f"All runs:   [link]{server.ui_url}/v2/runs[/link]  (Ctrl-C ends)")
        if open_browser:
            import webbrowser

            webbrowser.open(page)
        try:
            while server.is_alive():
                time.sleep(0.5)
        except KeyboardInterrupt:
            return  # how this command is meant to end
    raise PolymineError("the Prefect server ended; see server/server.log in Polymine's home")


@app.command("fit-risk")
def fit_risk(
    config: Annotated[Path, typer.Argument(help="The recipe, such as configs/risk.toml.")],
    data: Annotated[Path, typer.Option(help="Folder with one folder per judged collection.")],
    out: Annotated[Path, typer.Option(help="Where the weights go.")],
) -> None:
    """Fit the weights that estimate risk, and prove them on collections left out."""
    from commands.fit_risk import fit_risk as fit

    fit(config, data, out)


@app.command("train-validator")
def train_validator(
    config: Annotated[Path, typer.Argument(help="The recipe, such as configs/validator.toml.")],
    data: Annotated[Path, typer.Option(help="Folder with one folder per retrieval set.")],
    out: Annotated[Path, typer.Option(help="Where the adapter, its scores and its card go.")],
) -> None:
    """Train a validator as the embedded one was, measure it and write its model card."""
    from commands.train_validator import train_validator as train

    train(config, data, out)


@server_app.command("start")
def server_start() -> None:
    """Start the server and leave it running."""
    from commands.server import standing_server

    with standing_server(standing=True) as server:
        _say(f"The Prefect server runs at [link]{server.ui_url}[/link]")


@server_app.command("stop")
def server_stop() -> None:
    """Stop the server, unless another command is using it."""
    from commands.server import stop

    record = stop()
    _say(f"Stopped process {record.pid}" if record else "There is no server running")


@server_app.command("status")
def server_status() -> None:
    """Say whether the server runs, and where."""
    from commands.server import status

    record = status()
    if record is None:
        _say("There is no server running")
        raise typer.Exit(1)
    stays = "stays until `polymine server stop`" if record.standing else "ends with its commands"
    url = record.url.removesuffix("/api")
    _say(f"Prefect {record.version} at [link]{url}[/link], process {record.pid}; {stays}")


def main() -> None:
    """Run the command line; turn errors into one message and an exit code.

    0 done, 1 a defect (traceback in the home's `logs`), 2 something for the user to correct,
    130 Ctrl-C.
    """
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that the server is stopped too
    try:
        app()
    except PolymineError as error:
        _complain(str(error))
        sys.exit(2)
    except Exception as error:
        where = _write_traceback(error)
        _complain(f"{type(error).__name__}: {error}\nThe full traceback is in {where}")
        sys.exit(1)


def _run(file: Path, overrides: list[str] | None) -> None:
    from data_contracts.settings import load_settings

    began = time.monotonic()
    settings = load_settings(file, overrides)
    with ready_flow() as (server, flow):
        summary = run_flow(flow, settings)
        page = f"{server.ui_url}/v2/runs" if server.standing else None
    from commands.summary import show

    show(summary, seconds=time.monotonic() - began, page=page)


def run_flow(flow: Any, settings: "RunSettings") -> dict[str, Any]:
    """Run the mining flow in this process and return its summary."""
    from prefect import tags
    from prefect.settings import PREFECT_FLOWS_HEARTBEAT_FREQUENCY, temporary_settings

    from commands.server import RUN_TAG
    from tasks.progress import stop_display

    # Ending the heartbeat takes up to a second, and the next command finds this run by its lock.
    calm = temporary_settings({PREFECT_FLOWS_HEARTBEAT_FREQUENCY: None})
    try:
        with calm, tags(RUN_TAG):
            summary: dict[str, Any] = flow(
                dataset=settings.dataset,
                mining=settings.mining,
                output=settings.output,
                engine=settings.engine,
            )
    except KeyboardInterrupt:
        stop_display()
        _complain("Interrupted. Run the same command again: what was finished is reused.")
        raise
    finally:
        stop_display()
    return summary


@contextmanager
def ready_flow() -> "Iterator[tuple[Server, Any]]":
    """Yield the server, ready, and the mining flow, which is imported while the server boots."""
    from commands.server import client_environment, forget_foreign_settings, start

    server = start()
    try:
        forget_foreign_settings()
        os.environ.update(client_environment(server.url))
        gc.disable()  # imports make no garbage; looking for it costs a sixth of their time
        # What the first stages would wait for costs nothing while the server boots.
        import faiss  # noqa: F401
        import prefect.flow_engine
        import prefect.task_engine  # noqa: F401
        import torch  # noqa: F401

        from flows.mining import mine

        gc.freeze()
        gc.enable()
        _calm_console()
        server.wait()
        yield server, mine
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
    logging.getLogger("polymine").setLevel(logging.INFO)  # Prefect adds its handler, not a level
    bars = sys.stderr.isatty()

    def wanted(record: logging.LogRecord) -> bool:
        if record.name.startswith(("prefect.flow_runs", "prefect.task_runs")):
            return record.levelno < logging.ERROR and not (bars and record.levelno < 30)
        return not (bars and record.levelno < logging.WARNING)

    for handler in logging.getLogger().handlers:
        handler.addFilter(wanted)


def _demo_file() -> Path:
    if not DEMO.exists():
        raise SettingsError(f"{DEMO}: not found; run this in a checkout of the repository")
    return DEMO


def _say(text: str) -> None:
    Console(highlight=False).print(text, soft_wrap=True)


def _complain(text: str) -> None:
    console = Console(stderr=True, highlight=False)
    console.print(text, style="bold red", markup=False, soft_wrap=True)


def _write_traceback(error: Exception) -> Path:
    from tasks.home import home

    folder = home() / "logs"
    folder.mkdir(exist_ok=True)
    path = folder / f"{time.strftime('%Y%m%d-%H%M%S')}-{os.getpid()}.log"
    path.write_text("".join(traceback.format_exception(error)), encoding="utf-8")
    return path


if __name__ == "__main__":
    main()
