"""Shows training, evaluation, pipeline and comparison in the Prefect UI, as artifacts.

A summary, the curves, heat maps, and every number as a table that can be searched. The same key
in every run of a flow, so that the UI shows its history.
"""

import re
from collections.abc import Iterator
from typing import Any

from polymine.reporting.charts.charts import as_image
from polymine.reporting.charts.heatmap import draw_matrix
from polymine.reporting.learning.data import LearningReport
from polymine.reporting.learning.page import draw_curves, gather_arms, list_counts
from polymine.reporting.learning.summary import write_learning_summary
from polymine.reporting.learning.tables import (
    Gain,
    list_differences,
    list_results,
    list_scores,
)
from polymine.reporting.learning.words import VERDICTS, name_metric
from polymine.reporting.mining.page import Figure
from polymine.tasks.monitoring.artifacts import (
    CHARTS,
    LARGEST,
    markdown,
    publish,
    table,
    write_charts,
)

EVERY = "all"  # languages, where a number is over all directions


def publish_learning(report: LearningReport, flow: str, place: str) -> None:
    """Create the artifacts of a report in the run this is called in.

    Args:
        report: what the page shows.
        flow: begins every key.
        place: absolute path of the output folder.
    """
    publish(make_learning_artifacts(report, flow, place))


def make_learning_artifacts(report: LearningReport, flow: str, place: str) -> list[dict[str, Any]]:
    """Write the artifacts' contents; what the report has no part of is left out."""
    text = f"{write_learning_summary(report)}\n\n{_links(place)}"
    made = [markdown(f"{flow}-summary", text, report.headline)]
    if charts := [f for f in draw_curves(report) if len(as_image(f.chart)) < LARGEST][:CHARTS]:
        about = "Loss and learning rate over the steps of training"
        made.append(markdown(f"{flow}-curves", write_charts(charts), about))
    if charts := [*_draw_arms(report)]:
        about = "What each way to mine gains over the base, with intervals"
        made.append(markdown(f"{flow}-chart", write_charts(charts), about))
    made += _matrices(report, flow)
    tables = {
        "rows": (list_rows(report), "What each step of the recipe learned from"),
        "speeds": (list_speeds(report), "How fast each step of the recipe went"),
        "gains": (list_gains(report), "Before and after, direction by direction"),
        "scores": (list_set_scores(report), "Before and after on sets without queries"),
        "arms": (list_arm_rows(report), "Each way to mine against the untouched base"),
        "differences": (list_arm_differences(report), "Each way to mine against the last one"),
    }
    made += [table(f"{flow}-{name}", rows, about) for name, (rows, about) in tables.items() if rows]
    return made


def list_rows(report: LearningReport) -> list[dict[str, Any]]:
    """List the rows that each step learned from, by part of the data and languages."""
    return [
        {"step": step, "source": count.source, "documents": count.document_language,
         "queries": count.query_language, "rows": count.rows}
        for step, count in list_counts(report.steps)
    ]  # fmt: skip


def list_speeds(report: LearningReport) -> list[dict[str, Any]]:
    """List the speed of each step's training."""
    return [
        {"step": speed.step_name, "optimizer steps": speed.steps,
         "seconds": round(speed.seconds, 1), "tokens/s": round(speed.tokens_per_second),
         "rows/s": round(speed.rows_per_second, 1)}
        for speed in report.speeds
    ]  # fmt: skip


def list_gains(report: LearningReport) -> list[dict[str, Any]]:
    """List what every model gains: over all directions first, then in each."""
    rows = []
    for result in list_results(report.comparisons):
        directions = [(EVERY, EVERY, gain) for gain in result.overall[:1]]
        if len(result.directions) > 1:
            directions += [(each.document, each.query, each.gain) for each in result.directions]
        for document, query, gain in directions:
            of = {"set": result.set, "model": result.model, "documents": document, "queries": query}
            rows.append({**of, **_numbers(gain, report.k), "count": gain.queries})
    return rows


def list_set_scores(report: LearningReport) -> list[dict[str, Any]]:
    """List the numbers of sets of other kinds than retrieval."""
    return [
        {"set": score["set"], "model": score["model"], "documents": score["document_language"],
         "queries": score["query_language"], **_numbers(score["row"], report.k),
         "count": score["row"].queries}
        for score in list_scores(report.scores)
    ]  # fmt: skip


def list_arm_rows(report: LearningReport) -> list[dict[str, Any]]:
    """List what each arm gains over the base, best first: all seeds together, then each."""
    return [
        {"set": part.set, "arm": arm.arm, "seeds": seeds, **_numbers(gain, report.k)}
        for part in gather_arms(report)
        for arm in part.rows
        for seeds, gain in (
            (EVERY, arm.together), *((gain.name.removeprefix("seed "), gain) for gain in arm.seeds)
        )
    ]  # fmt: skip


def list_arm_differences(report: LearningReport) -> list[dict[str, Any]]:
    """List how far each arm lies above the reference arm."""
    return [
        {"set": each.set, "arm": each.arm, "against": each.reference,
         "measure": name_metric(each.metric, report.k), "difference": _rounded(each.gain.gain),
         "low": _rounded(each.gain.low), "high": _rounded(each.gain.high),
         "verdict": VERDICTS[each.gain.verdict]}
        for each in list_differences(report.differences)
    ]  # fmt: skip


def _numbers(gain: Gain, k: int) -> dict[str, Any]:
    return {
        "measure": name_metric(gain.metric, k), "base": _rounded(gain.base),
        "after": _rounded(gain.value), "gain": _rounded(gain.gain), "low": _rounded(gain.low),
        "high": _rounded(gain.high), "verdict": VERDICTS[gain.verdict],
    }  # fmt: skip


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 4)


def _draw_arms(report: LearningReport) -> Iterator[Figure]:
    for part in gather_arms(report):
        if part.chart is not None and len(as_image(part.chart)) < LARGEST:
            about = (
                "Gain over the untouched base, all seeds together; hollow dots are single seeds."
            )
            yield Figure(part.set, about, part.chart)


def _matrices(report: LearningReport, flow: str) -> Iterator[dict[str, Any]]:
    """Draw a heat map per set and model, small ones inline; the page has those too large here."""
    for result in list_results(report.comparisons):
        if not result.overall or len(result.languages) < 2:
            continue
        metric = result.headline.metric
        chart = draw_matrix(report.comparisons, result.set, result.model, metric, report.pivot)
        about = f"{result.model} on {result.set}: rows are the documents' languages"
        if len(image := as_image(chart)) < LARGEST:
            key = re.sub(r"[^a-z0-9]+", "-", f"{flow}-{result.set}-{result.model}".lower())
            yield markdown(key.strip("-"), f"![{about}]({image})", about)


def _links(place: str) -> str:
    """Name the place for copying: a browser does not open a file from a page of a server."""
    page = f"```text\n{place}/report.html\n```"
    return f"All of it is in this folder; its page opens in a browser:\n\n{page}"
