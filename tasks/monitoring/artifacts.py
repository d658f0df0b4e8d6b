"""Shows a report in the Prefect UI: a summary, the risk, two tables and charts, as artifacts.

Five requests over one client, at once: each `create_..._artifact` would open a client of its own.
"""

import json
import logging
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from uuid import UUID

from markupsafe import Markup
from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.actions import ArtifactCreate
from prefect.context import FlowRunContext, TaskRunContext

from polymine.reporting.charts.drawing import LARGEST, as_image
from polymine.reporting.mining.figures import draw_risk
from polymine.reporting.mining.page import MiningReport
from polymine.reporting.mining.risk import offer_budgets
from polymine.reporting.report import Figure
from polymine.reporting.templates import markdown as templates

CHARTS = 2  # in the UI; the page has them all

logger = logging.getLogger("polymine.report")


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
    report: MiningReport, figures: Sequence[Figure], folder: str
) -> list[dict[str, Any]]:
    """Write the artifacts' contents."""
    summary = templates().get_template("mining/summary.md.j2").render(report=report, folder=folder)
    risk = templates().get_template("mining/risk.md.j2").render(
        risk=report.risk,
        offers=offer_budgets(report.risk),
        charts=write_charts(draw_risk(report.risk)),
    )  # fmt: skip
    charts = write_charts(figures) or "Nothing was kept, so there is nothing to draw."
    funnel = [{"step": step.step, "count": step.count, "why": step.note} for step in report.funnel]
    shortfalls = [
        {"reason": row["reason"], "queries": row["count"], "example": row["examples"][0]["text"]}
        for row in report.summary.shortfalls
    ] or [{"reason": "none", "queries": 0, "example": ""}]
    return [
        markdown("mine-summary", summary, report.headline),
        markdown("mine-risk", risk, "Expected false negatives by budget"),
        markdown("mine-charts", charts, "Scores of what was kept and refused"),
        table("mine-funnel", funnel, "From rows to triplets, step by step"),
        table("mine-shortfalls", shortfalls, "Queries short of negatives, and why"),
    ]


def write_charts(figures: Sequence[Figure]) -> str:
    """Write the first charts as images within Markdown; those too large for the UI are left out."""
    shown = [(f, image) for f in figures if (image := embed(f.title, f.chart))][:CHARTS]
    return "\n\n".join(
        f"### {figure.title}\n\n{figure.about}\n\n{image}" for figure, image in shown
    )


def embed(title: str, chart: Markup) -> str:
    """Write a chart as an image within Markdown, or nothing if it is too large for the UI."""
    image = as_image(chart)
    return f"![{title}]({image})" if len(image) < LARGEST else ""


def markdown(key: str, text: str, description: str) -> dict[str, Any]:
    """Describe a page; `key` of lower case, digits and dashes: the same key gives history."""
    return {"type": "markdown", "key": key, "data": text, "description": description}


def summary_page(flow: str, text: str, folder: str, description: str) -> dict[str, Any]:
    """Describe the page of a summary, which ends with where the output lies.

    A browser does not open a file from a page of a server: the path is there to be copied.
    """
    where = "All of it is in this folder; its page opens in a browser:"
    whole = f"{text}\n\n{where}\n\n```text\n{folder}/report.html\n```"
    return markdown(f"{flow}-summary", whole, description)


def table(key: str, rows: Sequence[Mapping[str, Any]], description: str) -> dict[str, Any]:
    """Describe a table, which the UI can search and page through; all rows have the same names."""
    data = json.dumps(list(rows))
    return {"type": "table", "key": key, "data": data, "description": description}
