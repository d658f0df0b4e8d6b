"""Renders the page of a training, evaluation, pipeline or comparison run: HTML on its own."""

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Any

from markupsafe import Markup

from polymine.evaluation.arms import find_best
from polymine.reporting.charts.heatmap import panel_width
from polymine.reporting.formatting import (
    format_count,
    format_gain,
    format_score,
    name_language,
)
from polymine.reporting.learning.charts import draw_gains, draw_training
from polymine.reporting.learning.metrics import (
    VERDICTS,
    explain_metric,
    name_metric,
    write_interval,
)
from polymine.reporting.learning.panels import draw_panels
from polymine.reporting.learning.report import (
    ComparisonReport,
    EvaluationReport,
    LearningReport,
    TrainingReport,
)
from polymine.reporting.learning.tables import (
    ArmResult,
    Gain,
    Pair,
    SetResult,
    count_verdicts,
    list_arms,
    list_languages_chosen,
    list_pairs,
    list_results,
    list_scores,
    main_metric,
)
from polymine.reporting.report import Figure, flatten
from polymine.reporting.templates import markdown, say, templates

SECTIONS = (
    ("searched", "What is searched"), ("steps", "What was done"), ("training", "Training"),
    ("arms", "Arms"), ("results", "Results"), ("few", "Too few queries"),
    ("scores", "Other tasks"),
    ("contamination", "Contamination"), ("timings", "Timings"), ("settings", "Settings"),
    ("files", "Files"),
)  # fmt: skip


@dataclass(frozen=True)
class Fact:
    """A number of the row below the headline."""

    value: str
    name: str
    about: str = ""
    kind: str = ""


@dataclass(frozen=True)
class ArmTable:
    """Arms on one set by one metric; no chart for other metrics than the first."""

    set: str
    metric: str
    rows: tuple[ArmResult, ...]
    chart: Markup | None
    differences: tuple[Pair, ...] = ()
    best: tuple[str, ...] = ()


@dataclass(frozen=True)
class Rivals:
    """Models on one set against each other: every pair, and those that are best."""

    set: str
    pairs: tuple[Pair, ...]
    best: tuple[str, ...]


def render_learning(report: LearningReport) -> str:
    """Write the page of a training, evaluation or comparison: HTML that needs no other file.

    Names and texts of the data are shown as text, whatever they contain.
    """
    parts = gather_parts(report)
    settings = flatten(report.settings)
    shown = {
        **parts,
        "searched": report.searched,
        "steps": report.steps,
        "training": parts["curves"] or parts["speeds"],
        "timings": report.timings,
        "files": report.files,
        "settings": settings or report.versions or report.fingerprints,
    }
    results, arms, scores = parts["results"], parts["arms"], parts["scores"]
    return templates().get_template("learning/page.html.j2").render(
        report=report,
        **parts,
        verdicts=VERDICTS,
        metric=_primary_metric(results, parts["few"], arms),
        interval_of=write_interval,
        metric_name=lambda metric: name_metric(metric, report.k),
        metric_about=lambda metric: explain_metric(metric, report.k),
        language=name_language,
        sections=[(key, name) for key, name in SECTIONS if shown[key]],
        facts=find_facts(report, results, arms),
        counts=[(step.settings.name, count) for step in report.steps for count in step.counts],
        many=len({r.model for r in results} | {s["model"] for s in scores}) > 1,
        panels=[draw_panels(result, parts["pivot"]) for result in results],
        panel_width=panel_width,
        changes=lambda result: list_changes(report, result),
        count_verdicts=count_verdicts,
        settings=settings,
    )  # fmt: skip


def _primary_metric(
    results: Sequence[SetResult], few: Sequence[SetResult], arms: Sequence[ArmTable]
) -> str | None:
    """Name the metric that the page explains first; None where no query was ranked."""
    gains = [result.headline for result in results] + [of.directions[0] for of in few]
    named = [gain.metric for gain in gains] + [arm.metric for arm in arms]
    return named[0] if named else None


def render_summary(report: LearningReport) -> str:
    """Write the headline, the notes, a table of gains and links to the files, as Markdown."""
    return markdown().get_template("learning/summary.md.j2").render(
        report=report,
        contamination=report.contamination if isinstance(report, TrainingReport) else None,
        gains=list_gains(report),
        rivals=list_rivals(report) if isinstance(report, EvaluationReport) else [],
    )  # fmt: skip


def gather_parts(report: LearningReport) -> dict[str, Any]:
    """What the kinds of pages differ in; what a kind does not have is empty."""
    training = report if isinstance(report, TrainingReport) else None
    evaluation = report if isinstance(report, EvaluationReport) else None
    paired = evaluation or (report if isinstance(report, ComparisonReport) else None)
    results = list_results(paired.comparisons) if paired else []
    return {
        "curves": draw_curves(training) if training else [],
        "spoken": list_languages_chosen(training.chosen) if training else [],
        "speeds": training.speeds if training else (),
        "contamination": training.contamination if training else None,
        "results": [result for result in results if result.overall],
        "few": [result for result in results if not result.overall],
        "scores": list_scores(evaluation.scores) if evaluation else [],
        "rivals": list_rivals(evaluation) if evaluation else [],
        "pivot": paired.pivot if paired else None,
        "arms": gather_arms(report) if isinstance(report, ComparisonReport) else [],
    }


def find_facts(
    report: LearningReport, results: Sequence[SetResult], arms: Sequence[ArmTable]
) -> list[Fact]:
    """Choose the numbers to show first.

    Args:
        report: of any kind.
        results: of `list_results`, or none.
        arms: of `gather_arms`, or none.

    Returns:
        Up to four gains of the best arm or first model, then how much was trained and measured.
    """
    first = list({r.set: r for r in reversed(results)}.values())[::-1]  # one model of each set
    gains = [(f"{part.rows[0].arm} on {part.set}", part.rows[0].together)
             for part in arms if part.chart] or [(r.set, r.headline) for r in first]  # fmt: skip
    facts = []
    for name, gain in gains[:4]:
        verdict = f", {VERDICTS[gain.verdict]}" if gain.verdict else ""
        about = write_interval(gain) + verdict
        shown = f"{name_metric(gain.metric, report.k)}, {name}"
        number = format_score(gain.value) if gain.gain is None else format_gain(gain.gain)
        facts.append(Fact(number, shown, about, gain.verdict or ""))
    speeds = report.speeds if isinstance(report, TrainingReport) else ()
    for count, name in (
        (sum(step.rows for step in report.steps), "training rows"),
        (sum(speed.steps for speed in speeds), "optimizer steps"),
        (sum(result.headline.queries for result in first), "queries measured"),
    ):
        facts += [Fact(format_count(count), name)] if count else []
    return facts


def draw_curves(report: TrainingReport) -> list[Figure]:
    """Draw the training curve of each step that has one, in the order of the steps."""
    figures = []
    for name in report.curves["step_name"].unique(maintain_order=True):
        curve = report.curves.filter(step_name=name).sort("step")
        tenth = max(1, curve.height // 10)
        losses = curve["loss"].to_list()
        start, end = fmean(losses[:tenth]), fmean(losses[-tenth:])
        about = say("learning", "curve", curve["step"][-1], start, end)
        chosen = report.chosen.get(str(name))
        looks = report.looks.filter(step_name=name)
        if chosen is not None:
            about = f"{about} {say('learning', 'chosen', name, chosen)}"
        figures.append(Figure(str(name), about, draw_training(curve, looks, chosen)))
    return figures


def list_rivals(report: EvaluationReport) -> list[Rivals]:
    """Compare the models of a report with each other, set by set, by the main metric."""
    found, rows = [], report.differences
    for name in rows["set"].unique(maintain_order=True):
        metric = main_metric(rows.filter(set=name))
        pairs = list_pairs(rows, str(name), metric, report.confidence)
        best = find_best(rows, str(name), metric, report.confidence)
        found.append(Rivals(str(name), pairs, tuple(best)))
    return found


def list_changes(report: LearningReport, result: SetResult) -> list[dict[str, Any]]:
    """List what changed most of a model on a set, as rows of `Changes`."""
    if not isinstance(report, EvaluationReport):
        return []
    return report.changes.filter(set=result.set, model=result.model).to_dicts()


def gather_arms(report: ComparisonReport) -> list[ArmTable]:
    """Put the arms of each set and metric into a table.

    Args:
        report: of a comparison.

    Returns:
        A table per set and metric, highest arm first, of the main metric with a chart; pairs of
        arms, the largest difference first, and those that are best (`find_best`).
    """
    tables: dict[tuple[str, str], list[ArmResult]] = {}
    for arm in list_arms(report.arms):
        tables.setdefault((arm.set, arm.metric), []).append(arm)
    made = []
    for (name, metric), found in tables.items():
        best = sorted(found, key=lambda arm: -(arm.together.gain or 0.0))
        chart = None
        if metric == next(iter(tables))[1]:
            drawn = [(arm.together, arm.seeds) for arm in best]
            chart = draw_gains(drawn, f"Gain over the base on {name}")
        pairs = list_pairs(report.differences, name, metric, report.confidence)
        top = find_best(report.differences, name, metric, report.confidence)
        made.append(ArmTable(name, metric, tuple(best), chart, pairs, tuple(top)))
    return made


def list_gains(report: LearningReport) -> list[list[str]]:
    """List arms, sets and other tasks as one table of gains, which a training has none of.

    Cells of each row: set, model, metric, base, value, gain, interval, verdict, cases, and how many
    documents are searched.
    """
    documents = {each.set: format_count(each.documents) for each in report.searched}
    found: list[tuple[str, str, Gain, str]] = []
    if isinstance(report, ComparisonReport):
        found += [(arm.set, arm.arm, arm.together, "") for arm in list_arms(report.arms)]
    if isinstance(report, EvaluationReport):
        found += [
            (result.set, result.model, gain, format_count(gain.queries))
            for result in list_results(report.comparisons)
            for gain in result.overall[:1]
        ] + [
            (f"{score['set']}, {score['pair']}", score["model"], score["row"],
             format_count(score["row"].queries))
            for score in list_scores(report.scores)
        ]  # fmt: skip
    return [
        [name, model, name_metric(gain.metric, report.k), format_score(gain.base),
         format_score(gain.value), format_gain(gain.gain), write_interval(gain),
         "" if gain.gain is None else VERDICTS[gain.verdict], cases, documents.get(name, "")]
        for name, model, gain, cases in found
    ]  # fmt: skip
