"""Commands around the Prefect server: the one that stays, its pages, and the form for runs."""

import time
from typing import Annotated

import typer
from rich.console import Console

from polymine.commands.running import ready_flow, run_page
from polymine.commands.starters import DEMO
from polymine.data_contracts.errors import PolymineError

Overrides = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="KEY=VALUE", help="Override a setting, as `mining.depth=50`."),
]

server_app = typer.Typer(
    help="A Prefect server that stays, so that later commands need not start one.",
    no_args_is_help=True,
)


def serve(overrides: Overrides = None) -> None:
    """Offer the flow in the Prefect UI, with a form for its settings, until Ctrl-C."""
    from polymine.data_contracts.settings import RunSettings, load_as
    from polymine.data_contracts.settings.deploying import SERVED

    settings = load_as(RunSettings, DEMO, overrides)
    with ready_flow("mine") as (server, flow):
        _say(f"Start runs at [link]{server.ui_url}/v2/deployments[/link]. Ctrl-C ends.")
        flow.serve(
            name=SERVED,
            parameters=settings.model_dump(mode="json", exclude_unset=True),
            description="Mines hard negatives; the form starts out with the demo's settings.",
            tags=["polymine"],
            pause_on_shutdown=False,  # schedules go on when it is served again
            print_starting_message=False,
        )


def ui(
    open_browser: Annotated[bool, typer.Option("--open", help="Open it in a browser.")] = False,
) -> None:
    """Show past and present runs in the Prefect UI, until Ctrl-C."""
    from polymine.commands.server.client import newest_flow_run
    from polymine.commands.server.shared import standing_server

    with standing_server() as server:
        newest = newest_flow_run(server.url)
        page = run_page(server.ui_url, newest["id"]) if newest else server.ui_url
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


def _say(text: str) -> None:
    Console(highlight=False).print(text, soft_wrap=True)
