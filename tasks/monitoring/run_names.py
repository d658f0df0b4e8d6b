"""Names and tags of flow runs, so that a list of runs says what each worked on.

Prefect's own `flow_run_name` template overwrites a name that a user gave. Here a run is renamed
only while it bears one of the names that Prefect makes up.
"""

import logging
import re
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import PurePosixPath
from typing import Any

from prefect.client.orchestration import get_client
from prefect.context import FlowRunContext

from polymine.data_contracts.credentials import credential_in
from polymine.data_contracts.settings import (
    ComparisonSettings,
    DatasetSettings,
    EvaluationSettings,
    OutputSettings,
    TrainingSettings,
)
from polymine.tasks.store.output import settle

LONGEST = 80  # characters of a name: what a list of runs shows on one line
PARTS = ("mining", "training", "evaluation")  # folders that say little without the one above
TABLES = ("corpus", "documents", "queries", "pairs", "train", "data", "part-00000")  # likewise
# What the form in the UI fills in: one of these and a word (`Rustic-Widget`).
FORM_ADJECTIVES = (
    "Awesome", "Rustic", "Small", "Gorgeous", "Fantastic", "Sleek", "Intelligent", "Unbranded",
    "Refined", "Licensed", "Generic", "Practical", "Ergonomic", "Handcrafted", "Tasty", "Handmade",
    "Incredible",
)  # fmt: skip

logger = logging.getLogger("polymine.runs")


def name_run() -> str:
    """Name the flow run this is called in; Prefect calls it before the run begins."""
    context = FlowRunContext.get()
    assert context is not None
    assert context.flow_run is not None
    given, parameters = context.flow_run.name, dict(context.parameters or {})
    if not is_made_up(given):
        return given
    if isinstance(output := parameters.get("output"), OutputSettings):
        parameters["output"] = settle(output)  # the name tells which folder this run writes
    return describe_run(parameters)


def describe_run(parameters: Mapping[str, Any]) -> str:
    """Say where a run writes and what it works on, as `demo: docstrings`.

    Args:
        parameters: of the flow, checked: settings by their sections.
    """
    output = parameters.get("output")
    place = _place(output) if isinstance(output, OutputSettings) else "run"
    about = _subject(parameters)
    name = f"{place}: {about}" if about not in ("", place) else place
    return name if len(name) <= LONGEST else f"{name[: LONGEST - 1]}…"


def is_made_up(name: str) -> bool:
    """Whether Prefect made up this name, rather than a person."""
    first, _, second = name.partition("-")
    if first in FORM_ADJECTIVES:
        return bool(second)
    adjectives, nouns = _words()
    return first in adjectives and second in nouns


def tag_run(parameters: Mapping[str, Any]) -> None:
    """Tag the run with its data set, by which the list of runs can be filtered.

    Not by `prefect.tags`: every task would inherit the tag and ask the server for a slot of it.
    """
    context, dataset = FlowRunContext.get(), parameters.get("dataset")
    if context is None or context.flow_run is None or not isinstance(dataset, DatasetSettings):
        return
    tags = {*context.flow_run.tags, f"data:{name_data(dataset)}"}
    try:
        with get_client(sync_client=True) as client:
            client.update_flow_run(context.flow_run.id, tags=sorted(tags))
    except Exception as error:  # a run without its tag is still the run that was asked for
        logger.warning("this run cannot be tagged: %s", error)


def name_data(dataset: DatasetSettings) -> str:
    """Name a data set by what tells it from others: its folder, file or repository."""
    source = dataset.corpus or dataset.pairs or dataset.queries or "data"
    several = [source] if isinstance(source, str) else source
    more = f" +{len(several) - 1}" if len(several) > 1 else ""
    return _last_part(several[0]) + more


def _subject(parameters: Mapping[str, Any]) -> str:
    dataset, comparison = parameters.get("dataset"), parameters.get("comparison")
    training, evaluation = parameters.get("training"), parameters.get("evaluation")
    if isinstance(dataset, DatasetSettings):
        arms = comparison.arms if isinstance(comparison, ComparisonSettings) else ()
        return name_data(dataset) + (f", {_list([arm.name for arm in arms])}" if arms else "")
    if isinstance(training, TrainingSettings):
        steps = _list([step.name for step in training.steps])
        return training.recipe.name if training.recipe is not None else steps
    if isinstance(evaluation, EvaluationSettings):
        models = _list([model.name for model in evaluation.models])
        return f"{models} on {_list([chosen.name for chosen in evaluation.sets])}"
    return ""


def _list(names: Sequence[str], most: int = 3) -> str:
    more = f" +{len(names) - most}" if len(names) > most else ""
    return ", ".join(names[:most]) + more


def _place(output: OutputSettings) -> str:
    parts = PurePosixPath(output.path).parts
    return "/".join(parts[-2:] if parts[-1] in PARTS else parts[-1:]) or "run"


def _last_part(source: str) -> str:
    """Take `docstrings` of `demo:docstrings`, and of paths and addresses the telling folder.

    Nothing of an address that holds a credential: a run has its name before it can refuse one.
    """
    if credential_in(source):
        return "data"
    if "://" in source:
        source = re.split("[?;#]", source)[0]
    path = PurePosixPath(re.sub(r"^\w+:(//)?", "", source))
    if path.suffix and path.stem in TABLES and path.parent.name:
        return path.parent.name
    return path.stem if path.suffix else path.name or source


@cache
def _words() -> tuple[frozenset[str], frozenset[str]]:
    """The adjectives and nouns that Prefect puts together."""
    from coolname.data import config

    def gather(name: str) -> set[str]:
        entry: Any = config[name]
        return set(entry.get("words", ())).union(*(gather(each) for each in entry.get("lists", ())))

    return frozenset(gather("adj_any")), frozenset(gather("subj"))
