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

from polymine.commands import reading, running
from polymine.commands.running import Name, complain, run_file
from polymine.commands.serving import Overrides, serve, server_app, ui
from polymine.commands.starters import DEMO, Kind
from polymine.data_contracts.errors import PolymineError

app = typer.Typer(
    name="polymine",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)
SettingsFile = Annotated[
    Path, typer.Argument(metavar="FILE.toml", help="Settings of the run.", show_default=False)
]


FLOWS: dict[str, tuple[Name, str]] = {
    "run": ("mine", "Mine what a settings file says."),
    "pipeline": ("pipeline", "Mine, train, evaluate and report."),
    "train": ("train", "Train adapters on triplets and pairs that are there."),
    "compare": ("compare", "Train on negatives found in several ways and say which help most."),
    "gap": ("language_gap", "Say how far apart the same meaning lies in different languages."),
}


EXAMPLES = {
    "run": "run mine.toml --set mining.negatives=4 --set output.path=runs/four",
    "pipeline": "pipeline pipeline.toml --set training.schedule.steps=200",
    "train": "train train.toml",
    "evaluate": "evaluate evaluate.toml --baseline bm25",
    "compare": "compare compare.toml --set comparison.seeds=[0,1,2]",
    "gap": "gap gap.toml",
    "inspect": "inspect runs/mine-01 q17",
    "label": "label runs/mine-01 --from runs/mine-01-labels.csv",
    "diff": "diff runs/mine-01 runs/mine-02 --query q17",
    "export": "export runs/mine-01 flagembedding --to out",
    "push": "push runs/mine-01 acme/hard-negatives",
    "clean": "clean triplets.parquet --corpus corpus.parquet",
    "init": "init mine corpus.jsonl queries.jsonl qrels.tsv --language de",
    "plan": "plan mine.toml",
    "merge": "merge runs/pipeline --to my-model",
    "shift": "shift gap.toml e5 --set own --to my-model",
    "gc": "gc --runs runs",
    "deploy": "deploy products.toml --cron '0 2 * * *' --timezone Europe/Berlin",
}


def example(command: str) -> str | None:
    """Return the last line of a command's help."""
    return f"Example: polymine {EXAMPLES[command]}" if command in EXAMPLES else None


def _add_flow(command: str, flow: Name, said: str) -> None:
    @app.command(command, help=said, epilog=example(command))
    def run(file: SettingsFile, overrides: Overrides = None) -> None:
        run_file(flow, file, overrides)


def _say_version(asked: bool) -> None:
    if asked:
        from importlib.metadata import version

        typer.echo(version("polymine"))
        raise typer.Exit


@app.callback()
def common(
    version: Annotated[
        bool,
        typer.Option(
            "--version", callback=_say_version, is_eager=True, help="Say which version this is."
        ),
    ] = False,
    quiet: Annotated[bool, typer.Option("--quiet", help="Only warnings and results.")] = False,
) -> None:
    """From queries, a corpus and known pairs to hard negatives, adapters and what these did."""
    running.quiet = quiet


for command, (flow, said) in FLOWS.items():
    _add_flow(command, flow, said)
for other in (
    reading.inspect,
    reading.label,
    reading.diff,
    reading.export,
    reading.push,
    reading.clean,
    serve,
    ui,
):
    app.command(epilog=example(other.__name__))(other)
app.add_typer(server_app, name="server")


@app.command(epilog=example("evaluate"))
def evaluate(
    file: SettingsFile,
    overrides: Overrides = None,
    baseline: Annotated[
        str | None, typer.Option(help="Compare with `bm25` instead of the untouched `base`.")
    ] = None,
) -> None:
    """Measure models, or rankings of other systems, against their untouched base or BM25."""
    chosen = [f"evaluation.baseline={baseline}"] if baseline else []
    run_file("evaluate", file, [*(overrides or []), *chosen])


@app.command()
def demo(overrides: Overrides = None) -> None:
    """Mine the docstrings of the installed libraries: offline, a few minutes on two cores."""
    run_file("mine", DEMO, overrides)


@app.command(epilog=example("init"))
def init(
    kind: Annotated[Kind, typer.Argument(metavar="KIND", help="What the file is for.")] = "mine",
    data: Annotated[
        list[Path] | None,
        typer.Argument(
            metavar="DATA",
            help="A BEIR folder, or files: corpus.*, queries.*, qrels.*; else pairs.",
        ),
    ] = None,
    to: Annotated[Path | None, typer.Option(help="Where to; KIND.toml if not set.")] = None,
    language: Annotated[str | None, typer.Option(help="Of texts that name none, as `de`.")] = None,
) -> None:
    """Write a commented settings file: for your data, or to try things out."""
    from polymine.commands.starters import start, told

    for line in told(start(kind, data or [], to, language), kind):
        typer.echo(line)


@app.command(epilog=example("plan"))
def plan(
    file: SettingsFile,
    overrides: Overrides = None,
    command: Annotated[
        str | None,
        typer.Option("--for", help="run, train, evaluate ...; if not set, what its sections say."),
    ] = None,
) -> None:
    """Read and check what a file names; say what would be done, what is there and how long."""
    import polymine
    from polymine.reporting.shown import console

    console().print(polymine.plan(file, overrides, command))


@app.command(epilog=example("merge"))
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


@app.command(epilog=example("shift"))
def shift(
    file: Annotated[Path, typer.Argument(metavar="FILE.toml", help="Settings of `polymine gap`.")],
    model: Annotated[str, typer.Argument(metavar="MODEL", help="Name of one of its models.")],
    chosen: Annotated[
        str | None,
        typer.Option("--set", help="Whose texts say what a language adds; the first if not set."),
    ] = None,
    to: Annotated[Path | None, typer.Option(help="Where to; MODEL-shifted if not set.")] = None,
) -> None:
    """Write a model without what each language adds to its vectors (SHIFT): nothing is trained."""
    from polymine.commands.shift import shift as write

    typer.echo(write(file, model, chosen, to))


@app.command(epilog=example("gc"))
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


@app.command(epilog=example("deploy"))
def deploy(
    files: Annotated[
        list[Path] | None,
        typer.Argument(metavar="FILE.toml", help="Your own settings, instead of the demo's."),
    ] = None,
    name: Annotated[
        str | None, typer.Option(help="Of the deployments; the file's name if not set.")
    ] = None,
    plan: Annotated[
        Path | None, typer.Option(help="Instead of prefect.yaml, here or as shipped.")
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what would change.")] = False,
    command: Annotated[
        str | None,
        typer.Option("--for", help="run, pipeline ...; if not set, what its sections say."),
    ] = None,
    cron: Annotated[str | None, typer.Option(help="When it runs, as '0 2 * * *'.")] = None,
    rrule: Annotated[str | None, typer.Option(help="As 'FREQ=WEEKLY;BYDAY=SA'.")] = None,
    interval: Annotated[str | None, typer.Option(help="Seconds, or as 6:00:00.")] = None,
    timezone: Annotated[str | None, typer.Option(help="As Europe/Berlin; UTC if not set.")] = None,
) -> None:
    """Set up schedules, work pools, limits and alarms on a Prefect server, as prefect.yaml says.

    A file of your own is deployed with its settings as they are, and runs when you start it, when
    its `schedules` say, or when these options do.
    """
    from polymine.commands.deploy.command import deploy as set_up

    given = {"cron": cron, "rrule": rrule, "interval": interval, "timezone": timezone}
    schedule = {key: value for key, value in given.items() if value is not None}
    set_up(
        files or [], name=name, plan_file=plan, dry_run=dry_run, command=command, schedule=schedule
    )


def main() -> None:
    """Run the command line; turn errors into one message and an exit code.

    0 done, 1 a defect (traceback in the home's `logs`), 2 something for the user to correct,
    130 Ctrl-C.
    """
    if sys.platform == "win32":
        complain("Polymine locks files as POSIX systems do: run it in WSL 2")
        sys.exit(2)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that the server is stopped too
    try:
        app(prog_name="polymine")  # by `python -m` too: completion and usage name it
    except PolymineError as error:
        complain(str(error))
        sys.exit(2)
    except Exception as error:
        where = _write_traceback(error)
        complain(f"{type(error).__name__}: {error}\nThe full traceback is in {where}")
        sys.exit(1)


def _write_traceback(error: Exception) -> Path:
    from polymine.tasks.store.home import home

    folder = home() / "logs"
    folder.mkdir(exist_ok=True)
    path = folder / f"{time.strftime('%Y%m%d-%H%M%S')}-{os.getpid()}.log"
    path.write_text("".join(traceback.format_exception(error)), encoding="utf-8")
    return path


if __name__ == "__main__":
    main()
