"""Shows a report in the Prefect UI: a summary, the risk, two tables and charts, as artifacts.

Five requests over one client, at once: each `create_..._artifact` would open a client of its own.
"""

import json
import logging
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from uuid import UUID

from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.actions import ArtifactCreate
from prefect.context import FlowRunContext, TaskRunContext

from polymine.reporting.charts.charts import as_image
from polymine.reporting.formatting import code, format_rate, format_score, plain
from polymine.reporting.mining.page import Figure, ReportData, draw_risk
from polymine.reporting.mining.risk import offer_budgets
from polymine.reporting.mining.risk_words import (
    describe_budget,
    describe_expected,
    describe_fit,
    describe_looks,
    describe_sureness,
)

CHARTS = 2  # in the UI; the page has them all
LARGEST = 60_000  # bytes of a chart: the UI becomes slow with larger ones

logger = logging.getLogger("polymine.report")


def publish_artifacts(report: ReportData, figures: Sequence[Figure], place: str) -> None:
    """Create the artifacts of the task or flow run this is called in; outside of one, nothing."""
    publish(make_artifacts(report, figures, place))


def publish(artifacts: Sequence[dict[str, Any]]) -> None:
    """Create artifacts of the task or flow run this is called in; outside of one, nothing."""
    task, flow = TaskRunContext.get(), FlowRunContext.get()
    if not artifacts or (task is None and (flow is None or flow.flow_run is None)):
        return
    run = {
        "task_run_id": task.task_run.id if task else None,
        "flow_run_id": task.task_run.flow_run_id if task else flow.flow_run.id,  # type: ignore[union-attr]
    }
    _create_all([ArtifactCreate(**artifact, **run) for artifact in artifacts])


def create_for_run(flow_run: UUID, artifacts: Sequence[dict[str, Any]]) -> None:
    """Create artifacts of a flow run from outside it, as in a hook."""
    _create_all([ArtifactCreate(**artifact, flow_run_id=flow_run) for artifact in artifacts])


def _create_all(made: Sequence[ArtifactCreate]) -> None:
    with get_client(sync_client=True) as client, ThreadPoolExecutor(len(made)) as pool:
        list(pool.map(lambda artifact: _create(client, artifact), made))


def _create(client: SyncPrefectClient, artifact: ArtifactCreate) -> None:
    try:
        client.create_artifact(artifact)
    except Exception as error:  # the result is written: what only shows it must not fail the run
        logger.warning("artifact %s cannot be shown in the UI: %s", artifact.key, error)


def make_artifacts(
    report: ReportData, figures: Sequence[Figure], place: str
) -> list[dict[str, Any]]:
    """Write the artifacts' contents."""
    tables = {
        "mine-funnel": [
            {"step": step.step, "count": step.count, "why": step.note} for step in report.funnel
        ],
        "mine-shortfalls": [
            {"reason": row.reason, "queries": row.count, "example": row.examples[0][0]}
            for row in report.summary.shortfalls
        ],
    }
    described = {
        "mine-funnel": "From rows to triplets, step by step",
        "mine-shortfalls": "Queries short of negatives, and why",
    }
    charts = [f for f in figures if len(as_image(f.chart)) < LARGEST][:CHARTS]
    return [
        markdown("mine-summary", write_summary(report, place), report.headline),
        markdown("mine-risk", write_risk(report), "Expected false negatives by budget"),
        markdown("mine-charts", write_charts(charts), "Scores of what was kept and refused"),
        *(
            table(key, rows or [{"reason": "none", "queries": 0, "example": ""}], described[key])
            for key, rows in tables.items()
        ),
    ]


def write_summary(report: ReportData, place: str) -> str:
    """Write the headline, the warnings, one triplet and where everything lies."""
    lines = [f"# {report.headline}", ""]
    lines += [
        f"- {'**Check this:** ' if note.level == 'warning' else ''}{plain(note.text)}"
        for note in report.notes
    ]
    lines += ["", *_example(report.example)]
    lines += ["", "## Where it lies", ""]
    for name, about in (
        ("report.html", "the whole report"),
        ("triplets/", "the training set, as Parquet"),
        ("README.md", "how to open it and train on it"),
    ):
        lines.append(f"- {code(f'{place}/{name}')}: {about}")
    return "\n".join(lines)


def write_risk(report: ReportData) -> str:
    """Write what is expected and draw what there was to choose."""
    risk = report.risk
    lines = [" ".join(filter(None, (describe_expected(risk), describe_budget(risk))))]
    if risk.looked:
        lines.append(describe_looks(risk.looked))
    if offers := offer_budgets(risk):
        rows = [
            f"| {format_rate(offer.budget)}{' (this run)' if offer.taken else ''} | "
            f"{format_score(offer.hardness)} | `{offer.override}` |"
            for offer in offers
        ]
        lines.append("\n".join(["| budget | hardness | setting |", "|--|--|--|", *rows]))
    charts = [figure for figure in draw_risk(risk) if len(as_image(figure.chart)) < LARGEST]
    lines += [write_charts(charts)] if charts else []
    lines += [" ".join([*describe_fit(risk), describe_sureness(risk.model)])]
    return "\n\n".join([*lines, *(plain(note) for note in risk.model.notes)])


def write_charts(figures: Sequence[Figure]) -> str:
    """Write charts as images within Markdown."""
    if not figures:
        return "Nothing was kept, so there is nothing to draw."
    parts = [f"### {f.title}\n\n{f.about}\n\n![{f.title}]({as_image(f.chart)})" for f in figures]
    return "\n\n".join(parts)


def _example(triplet: Mapping[str, Any]) -> list[str]:
    if not triplet:
        return []
    lines = ["## One triplet", ""]
    for role, name in (
        ("anchor", "query"), ("positive", "known positive"), ("negative", "hard negative"),
    ):  # fmt: skip
        score = triplet.get(f"{role}_score")
        about = f" (score {score:.3f})" if score is not None else ""
        lines += [f"**{name}**{about}", "", f"> {plain(str(triplet[role]))}", ""]
    return lines


def markdown(key: str, text: str, description: str) -> dict[str, Any]:
    """Describe a page; `key` of lower case, digits and dashes: the same key gives history."""
    return {"type": "markdown", "key": key, "data": text, "description": description}


def table(key: str, rows: Sequence[Mapping[str, Any]], description: str) -> dict[str, Any]:
    """Describe a table, which the UI can search and page through; all rows have the same names."""
    data = json.dumps(list(rows))
    return {"type": "table", "key": key, "data": data, "description": description}
