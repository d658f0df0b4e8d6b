"""Commands that read finished runs: why a query has its negatives, what changed, other formats."""

import json
from pathlib import Path
from typing import Annotated, Any

import typer

import polymine
from polymine.commands.serving import Overrides

RunFolder = Annotated[Path, typer.Argument(metavar="RUN", help="Folder of a finished run.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON, texts in full.")]


def clean(
    triplets: Annotated[Path, typer.Argument(metavar="FILE", help="Triplets or n-tuples.")],
    to: Annotated[Path | None, typer.Option(help="The new file; FILE-clean if not set.")] = None,
    corpus: Annotated[
        Path | None, typer.Option(help="Further documents that replacements may come from.")
    ] = None,
    output: Annotated[Path | None, typer.Option(help="Keep the mining run in this folder.")] = None,
    overrides: Overrides = None,
) -> None:
    """Replace the bad negatives of a file of triplets by good ones, and explain each."""
    from polymine.data_contracts.errors import SettingsError
    from polymine.data_contracts.settings.loading import apply_override

    asked: dict[str, dict[str, Any]] = {"dataset": {}, "mining": {}}
    for override in overrides or ():
        apply_override(asked, override)
    if unknown := set(asked) - {"dataset", "mining"}:
        raise SettingsError(f"--set {unknown.pop()}: here only `dataset.` and `mining.` have keys")
    mining = asked["mining"]
    changes = {**mining.pop("selection", {}), **mining}
    dataset = asked["dataset"]
    cleaned = polymine.clean(triplets, to, corpus=corpus, output=output, dataset=dataset, **changes)
    _print(cleaned)


def label(
    run: RunFolder,
    filled: Annotated[
        Path | None, typer.Option("--from", help="The list with `relevance` filled in: 0 or 1.")
    ] = None,
    to: Annotated[
        Path | None,
        typer.Option(help="Where to; RUN-labels.csv, with --from the new run RUN-labelled."),
    ] = None,
    count: Annotated[int, typer.Option(min=1, help="Pairs to look at.")] = 50,
) -> None:
    """Write the pairs whose labels would tell most; take them back and say what that changed."""
    from polymine.reporting.runs.diff_view import draw
    from polymine.tasks.store.atomic import write_new

    found, ending = polymine.open(run), "labelled" if filled else "labels.csv"
    target = to or found.folder.with_name(f"{found.folder.name}-{ending}")
    if filled is None:
        drawn = found.to_label(count)
        write_new(target, drawn.write_csv().encode())
        typer.echo(
            f"{target}: {len(drawn)} pairs. Write 0 or 1 into `relevance`, leave empty what you "
            f"cannot tell, then: polymine label {run} --from {target}"
        )
        return
    _print(draw(polymine.diff(found, found.with_labels(filled, target)), 1))
    typer.echo(f"The run with these labels: {target}")


def export(
    run: RunFolder,
    form: Annotated[
        str,
        typer.Argument(
            metavar="FORMAT",
            help="flagembedding, tevatron, nemo, ms-swift or a view; of lists "
            "sentence-transformers, pylate, flagembedding-kd or tevatron-kd.",
        ),
    ],
    to: Annotated[Path | None, typer.Option(help="Where to; RUN-FORMAT if not set.")] = None,
    scores: Annotated[
        str | None,
        typer.Option(help="Of lists: fused if not set, risk, validator, or a teacher's name."),
    ] = None,
) -> None:
    """Write a finished run's triplets or lists for another trainer, without mining again."""
    from polymine.tasks.runs.exporting import check_shape

    check_shape(form)
    typer.echo(polymine.open(run).export(form, to, scores))


def push(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="A mining run, or a training run.")],
    repository: Annotated[str, typer.Argument(metavar="ORGANISATION/NAME", show_default=False)],
    public: Annotated[bool, typer.Option("--public", help="A new one is private if not.")] = False,
) -> None:
    """Push triplets, or trained adapters, with their card to the Hugging Face hub."""
    from polymine.tasks.runs.pushing import push as send

    typer.echo(send(run.expanduser().resolve(), repository, private=not public))


def diff(
    before: Annotated[Path, typer.Argument(metavar="RUN_A", help="Folder of a finished run.")],
    after: Annotated[Path, typer.Argument(metavar="RUN_B", help="Folder of a later one.")],
    query_id: Annotated[str | None, typer.Option("--query", help="Only this query.")] = None,
    limit: Annotated[
        int | None,
        typer.Option(min=0, help="Examples of each reason; 0 for all. 2, in JSON all, if not set."),
    ] = None,
    as_json: AsJson = False,
    to: Annotated[
        Path | None, typer.Option(help="Write all changes as Parquet into this new folder, too.")
    ] = None,
) -> None:
    """Say which negatives came, went and moved between two runs, and why."""
    from polymine.reporting.runs.diff import SHOWN
    from polymine.reporting.runs.diff_view import draw
    from polymine.tasks.runs.diff import write_diff

    found = polymine.diff(before, after, query_id)
    if to is not None:
        write_diff(found, to.expanduser().absolute())
    if as_json:
        _print_json(found.to_dict(limit or None))
    else:
        _print(draw(found, SHOWN if limit is None else limit or None))


def inspect(
    run: RunFolder,
    query_id: Annotated[str, typer.Argument(metavar="QUERY_ID", help="One of its queries.")],
    limit: Annotated[
        int, typer.Option(min=0, help="Candidates shown of each kind; 0 for all.")
    ] = 10,
    full: Annotated[bool, typer.Option("--full", help="Print texts in full.")] = False,
    as_json: AsJson = False,
) -> None:
    """Show a query's positives, negatives, promoted and excluded candidates, and why."""
    from polymine.reporting.runs.inspection_view import draw

    found = polymine.open(run).why(query_id, limit or None)
    if as_json:
        _print_json(found.to_dict())
    else:
        _print(draw(found, full=full))


def _print(drawn: object) -> None:
    from polymine.reporting.shown import console

    console().print(drawn)


def _print_json(content: object) -> None:
    print(json.dumps(content, ensure_ascii=False, indent=1))
