"""Names and tags of flow runs, so that a list of runs says what each worked on.

A run that a command, a schedule or another run began is named after its output and its data. One
that somebody started from a deployment keeps its name: nothing tells a name that was typed from one
that Prefect made up.
"""

import logging
import re
from collections.abc import Mapping
from pathlib import PurePosixPath
from typing import Any

from prefect.client.orchestration import get_client
from prefect.client.schemas.objects import FlowRun
from prefect.context import FlowRunContext

from polymine.data_contracts.credentials import credential_in
from polymine.data_contracts.settings import DatasetSettings, OutputSettings
from polymine.tasks.store.output import resolve_path

LONGEST = 80  # characters of a name: what a list of runs shows on one line
PARTS = ("mining", "training", "evaluation")  # folders that say little without the one above
TABLES = ("corpus", "documents", "queries", "pairs", "train", "data", "part-00000")  # likewise

logger = logging.getLogger("polymine.runs")


def name_run() -> str:
    """Name the flow run this is called in; Prefect calls it before the run begins."""
    context = FlowRunContext.get()
    assert context is not None
    assert context.flow_run is not None
    if may_be_typed(context.flow_run):
        return context.flow_run.name
    parameters = dict(context.parameters or {})
    if isinstance(output := parameters.get("output"), OutputSettings):
        parameters["output"] = resolve_path(output)  # the name tells which folder this run writes
    return describe_run(parameters)


def may_be_typed(run: FlowRun) -> bool:
    """Whether a person may have given the run its name, in a form or on a command line."""
    begun_by_itself = run.auto_scheduled or run.parent_task_run_id is not None
    return run.deployment_id is not None and not begun_by_itself


def describe_run(parameters: Mapping[str, Any]) -> str:
    """Say where a run writes and what it works on, as `demo: docstrings`.

    Args:
        parameters: of the flow, checked: settings by their sections.
    """
    output, dataset = parameters.get("output"), parameters.get("dataset")
    parts = PurePosixPath(output.path).parts if isinstance(output, OutputSettings) else ()
    folder = "/".join(parts[-2:] if parts[-1:] and parts[-1] in PARTS else parts[-1:]) or "run"
    about = name_data(dataset) if isinstance(dataset, DatasetSettings) else folder
    name = f"{folder}: {about}" if about != folder else folder
    return name if len(name) <= LONGEST else f"{name[: LONGEST - 1]}…"


def name_data(dataset: DatasetSettings) -> str:
    """Name a data set by what tells it from others: its folder, file or repository.

    Nothing of an address that holds a credential: a run has its name before it can refuse one.
    """
    source = dataset.corpus or dataset.pairs or dataset.queries or "data"
    first, *others = [source] if isinstance(source, str) else source
    more = f" +{len(others)}" if others else ""
    if credential_in(first):
        return "data" + more
    if "://" in first:
        first = re.split("[?;#]", first)[0]
    path = PurePosixPath(re.sub(r"^\w+:(//)?", "", first))
    if path.suffix and path.stem in TABLES and path.parent.name:
        return path.parent.name + more
    return (path.stem if path.suffix else path.name or first) + more


def tag_run(run: FlowRun, parameters: Mapping[str, Any]) -> None:
    """Tag the run with its data set, by which the list of runs can be filtered.

    Not by `prefect.tags`: every task would inherit the tag and ask the server for a slot of it.
    """
    if not isinstance(dataset := parameters.get("dataset"), DatasetSettings):
        return
    try:
        with get_client(sync_client=True) as client:
            client.update_flow_run(run.id, tags=sorted({*run.tags, f"data:{name_data(dataset)}"}))
    except Exception as error:  # a run without its tag is still the run that was asked for
        logger.warning("this run cannot be tagged: %s", error)
