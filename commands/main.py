"""The command line: settings are checked first, then the server boots while the flow is imported.

Nothing heavy is imported up here, so that `--help` and a wrong setting answer at once.
"""

import os
import signal
import sys
import time
import traceback
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from polymine.commands import reading
from polymine.commands.running import Name, complain, ready_flow, run_file
from polymine.data_contracts.errors import PolymineError, SettingsError

DEMO = Path(__file__).resolve().parent.parent / "configs" / "demo.toml"

app = typer.Typer(
    name="polymine",
    help="From queries, a corpus and known pairs to hard negatives, adapters trained on them, and "
    "what these did to the search.",
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


SettingsFile = Annotated[
    Path, typer.Argument(metavar="FILE.toml", help="Settings of the run.", show_default=False)
]


FLOWS: dict[str, tuple[Name, str]] = {
    "run": ("mine", "Mine what a settings file says."),
    "pipeline": ("pipeline", "Mine, train, evaluate and report."),
    "train": ("train", "Train adapters on triplets and pairs that are there."),
    "evaluate": ("evaluate", "Measure trained models against their untouched base."),
    "compare": ("compare", "Train on negatives found in several ways and say which help most."),
}


def _add_flow(command: str, flow: Name, said: str) -> None:
    @app.command(command, help=said)
    def run(file: SettingsFile, overrides: Overrides = None) -> None:
        run_file(flow, file, overrides)


for command, (flow, said) in FLOWS.items():
    _add_flow(command, flow, said)
for reads in (reading.inspect, reading.diff, reading.export):
    app.command()(reads)


@app.command()
def demo(overrides: Overrides = None) -> None:
    """Mine the docstrings of the installed libraries: offline, a few minutes on two cores."""
    run_file("mine", _demo_file(), overrides)


@app.command()
def plan(file: SettingsFile, overrides: Overrides = None) -> None:
    """Say which stages mining would carry out, what each needs and what the store has already."""
    import polymine

    Console(highlight=False).print(polymine.plan(file, overrides))


@app.command()
def merge(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="A training run, or its model.")],
    adapter: Annotated[
        str | None, typer.Argument(metavar="ADAPTER", help="Which one, if there are several.")
    ] = None,
    to: Annotated[Path | None, typer.Option(help="Where to; RUN-merged if not set.")] = None,
) -> None:
    """Merge an adapter into its base: a folder that sentence-transformers opens by itself."""
    from polymine.commands.merge import merge as write

    typer.echo(write(run, adapter, to))


@app.command()
def gc(
    store: Annotated[
        str | None,
        typer.Option(help="Folder or URI of the store; that of Polymine's home if not set."),
    ] = None,
    runs: Annotated[
        list[Path] | None,
        typer.Option(help="Folder of runs, whose datasets are kept however old they are."),
    ] = None,
    keep_days: Annotated[
        float, typer.Option(min=0, help="Keep all that was used within so many days.")
    ] = 14,
    delete: Annotated[bool, typer.Option("--delete", help="Remove; else only say what.")] = False,
) -> None:
    """List what of a store is old and named by no kept run, and remove it if asked to."""
    from polymine.commands.gc import collect_garbage

    collect_garbage(store, runs or [], keep_days=keep_days, delete=delete)


@app.command()
def serve(overrides: Overrides = None) -> None:
    """Offer the flow in the Prefect UI, with a form for its settings, until Ctrl-C."""
    from polymine.data_contracts.settings import RunSettings, load_as

    settings = load_as(RunSettings, _demo_file(), overrides)
    with ready_flow("mine") as (server, flow):
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
def deploy(
    files: Annotated[
        list[Path] | None,
        typer.Argument(metavar="FILE.toml", help="Your own settings, instead of the demo's."),
    ] = None,
    name: Annotated[
        str | None, typer.Option(help="Of the deployments; the file's name if not set.")
    ] = None,
    plan: Annotated[
        Path | None, typer.Option(help="Instead of prefect.yaml, here or in the checkout.")
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what would change.")] = False,
) -> None:
    """Set up schedules, work pools, limits and alarms on a Prefect server, as prefect.yaml says."""
    from polymine.commands.deploy.command import deploy as set_up

    set_up(files or [], name=name, plan_file=plan, dry_run=dry_run)


@app.command()
def ui(
    open_browser: Annotated[bool, typer.Option("--open", help="Open it in a browser.")] = False,
) -> None:
    """Show past and present runs in the Prefect UI, until Ctrl-C."""
    from polymine.commands.server.client import newest_flow_run
    from polymine.commands.server.shared import standing_server

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


@server_app.command("start")
def server_start(
    host: Annotated[
        str, typer.Option(help="Address to listen on; another than loopback needs a password.")
    ] = "127.0.0.1",
) -> None:
    """Start the server and leave it running."""
    from polymine.commands.server.shared import standing_server

    with standing_server(standing=True, host=host) as server:
        _say(f"The Prefect server runs at [link]{server.ui_url}[/link]")


@server_app.command("stop")
def server_stop() -> None:
    """Stop the server, unless another command is using it."""
    from polymine.commands.server.shared import stop

    record = stop()
    _say(f"Stopped process {record.pid}" if record else "There is no server running")


@server_app.command("status")
def server_status() -> None:
    """Say whether the server runs, and where."""
    from polymine.commands.server.record import status

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
        complain(str(error))
        sys.exit(2)
    except Exception as error:
        where = _write_traceback(error)
        complain(f"{type(error).__name__}: {error}\nThe full traceback is in {where}")
        sys.exit(1)


def _demo_file() -> Path:
    if not DEMO.exists():
        raise SettingsError(f"{DEMO}: not found; run this in a checkout of the repository")
    return DEMO


def _say(text: str) -> None:
    Console(highlight=False).print(text, soft_wrap=True)


def _write_traceback(error: Exception) -> Path:
    from polymine.tasks.store.home import home

    folder = home() / "logs"
    folder.mkdir(exist_ok=True)
    path = folder / f"{time.strftime('%Y%m%d-%H%M%S')}-{os.getpid()}.log"
    path.write_text("".join(traceback.format_exception(error)), encoding="utf-8")
    return path


if __name__ == "__main__":
    main()
