"""Shows training, evaluation, pipeline and comparison in the Prefect UI, as artifacts.

A summary, the curves, heat maps, and every number as a table that can be searched. The same key
in every run of a flow, so that the UI shows its history.
"""

from dataclasses import replace
from typing import Any

from polymine.reporting.formatting import as_key
from polymine.reporting.learning.metrics import VERDICTS, name_metric
from polymine.reporting.learning.page import gather_parts, render_summary
from polymine.reporting.learning.panels import draw_panels
from polymine.reporting.learning.report import LearningReport
from polymine.reporting.learning.tables import Gain, Pair, SetResult
from polymine.reporting.report import Figure
from polymine.tasks.monitoring.artifacts import (
    embed,
    markdown,
    summary_page,
    table,
    write_charts,
)

EVERY = "all"  # languages, where a number is over all directions


def make_learning_artifacts(report: LearningReport, flow: str, folder: str) -> list[dict[str, Any]]:
    """Write the artifacts' contents; what the report has no part of is left out.

    Args:
        report: what the page shows.
        flow: begins every key.
        folder: absolute path of the output folder.
    """
    parts = gather_parts(report)
    made = [summary_page(flow, render_summary(report), folder, report.headline)]
    seeds = "Gain over the untouched base, all seeds together; hollow dots are single seeds."
    arms = [Figure(part.set, seeds, part.chart) for part in parts["arms"] if part.chart]
    for key, figures, about in (
        ("curves", parts["curves"], "Loss and learning rate over the steps of training"),
        ("chart", arms, "What each way to mine gains over the base, with intervals"),
    ):
        if figures:
            made.append(markdown(f"{flow}-{key}", write_charts(figures), about))
    for result in parts["results"]:
        made += _matrix(result, parts["pivot"], flow)
    for name, (about, rows) in _list_tables(report, parts).items():
        made += [table(f"{flow}-{name}", rows, about)] if rows else []
    return made


def _matrix(result: SetResult, pivot: str | None, flow: str) -> list[dict[str, Any]]:
    """Draw heat maps of a set and model; the page has those too large to be shown here."""
    about = f"{result.model} on {result.set}: rows are the documents' languages"
    titles = (f"base, {about}", about, f"gain, {about}")
    images = [
        embed(t, c) for t, c in zip(titles, draw_panels(result, pivot, tips=False), strict=False)
    ]
    if not images or not all(images):
        return []
    return [markdown(as_key(flow, result.set, result.model), "\n".join(images), about)]


def _list_tables(
    report: LearningReport, parts: dict[str, Any]
) -> dict[str, tuple[str, list[dict[str, Any]]]]:
    """List every number, as (what a table shows, its rows) by the end of its key."""
    k, pools = report.k, "".join(f". {one.said}" for one in report.searched)
    rows = [
        {"step": step.settings.name, "source": count.source, "documents": count.document_language,
         "queries": count.query_language, "rows": count.rows,
         "share": round(count.share, 3)}
        for step in report.steps for count in step.counts
    ]  # fmt: skip
    speeds = [
        {"step": speed.step_name, "optimizer steps": speed.steps,
         "seconds": round(speed.seconds, 1), "tokens/s": round(speed.tokens_per_second),
         "rows/s": round(speed.rows_per_second, 1)}
        for speed in parts["speeds"]
    ]  # fmt: skip
    gains = [
        {"set": result.set, "model": result.model, "documents": gain.document,
         "queries": gain.query, **_numbers(gain, k), "count": gain.queries}
        for result in parts["results"]
        for gain in (replace(result.headline, document=EVERY, query=EVERY),
                     *(result.directions if len(result.directions) > 1 else ()))
    ]  # fmt: skip
    scores = [
        {"set": score["set"], "model": score["model"], "documents": score["document_language"],
         "queries": score["query_language"], **_numbers(score["row"], k),
         "count": score["row"].queries}
        for score in parts["scores"]
    ]  # fmt: skip
    arms = [
        {"set": part.set, "arm": arm.arm, "seeds": seed, **_numbers(gain, k)}
        for part in parts["arms"] for arm in part.rows
        for seed, gain in ((EVERY, arm.together),
                           *((gain.name.removeprefix("seed "), gain) for gain in arm.seeds))
    ]  # fmt: skip
    differences = [
        {"set": part.set, "arm": pair.arm, "against": pair.reference,
         "measure": name_metric(part.metric, k), **_difference(pair)}
        for part in parts["arms"] for pair in part.differences
    ]  # fmt: skip
    rivals = [
        {"set": part.set, "model": pair.arm, "against": pair.reference, **_difference(pair)}
        for part in parts["rivals"] for pair in part.pairs
    ]  # fmt: skip
    return {
        "rows": ("What each step of the recipe learned from", rows),
        "speeds": ("How fast each step of the recipe went", speeds),
        "gains": ("Before and after, direction by direction" + pools, gains),
        "rivals": (
            "Every pair of models by the main metric, corrected for their number" + pools,
            rivals,
        ),
        "scores": ("Before and after on sets without queries", scores),
        "arms": ("Each way to mine against the untouched base" + pools, arms),
        "differences": (
            "Every pair of ways to mine, corrected for their number" + pools,
            differences,
        ),
    }


def _difference(pair: Pair) -> dict[str, Any]:
    return {
        "difference": _rounded(pair.gain), "low": _rounded(pair.low), "high": _rounded(pair.high),
        "p": _rounded(pair.adjusted), "verdict": "better" if pair.surely else "not told apart",
    }  # fmt: skip


def _numbers(gain: Gain, k: int) -> dict[str, Any]:
    return {
        "measure": name_metric(gain.metric, k), "base": _rounded(gain.base),
        "after": _rounded(gain.value), "gain": _rounded(gain.gain), "low": _rounded(gain.low),
        "high": _rounded(gain.high), "verdict": VERDICTS[gain.verdict],
    }  # fmt: skip


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 4)
