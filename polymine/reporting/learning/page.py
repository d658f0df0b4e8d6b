"""Renders the page of a training, evaluation, pipeline or comparison run: HTML on its own."""

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean

from markupsafe import Markup

from polymine.reporting.charts.charts import templates
from polymine.reporting.charts.heatmap import draw_panels, make_matrix, panel_width
from polymine.reporting.charts.learning_curves import draw_gains, draw_training
from polymine.reporting.formatting import count_of, format_count, format_gain, format_interval
from polymine.reporting.learning import words as words
from polymine.reporting.learning.data import LearningReport, RowCount, StepReport
from polymine.reporting.learning.tables import (
    ArmDifference,
    ArmResult,
    Gain,
    SetResult,
    list_arms,
    list_differences,
    list_results,
    list_scores,
)
from polymine.reporting.mining.page import Figure, flatten

SECTIONS = (
    ("steps", "What was done"), ("training", "Training"), ("arms", "Arms"),
    ("results", "Results"), ("scores", "Other tasks"), ("contamination", "Contamination"),
    ("timings", "Timings"), ("settings", "Settings"), ("files", "Files"),
)  # fmt: skip


@dataclass(frozen=True)
class Fact:
    """A number of the row below the headline."""

    value: str
    name: str
    about: str = ""
    kind: str = ""


@dataclass(frozen=True)
class Heatmaps:
    """The panels of one set's matrix; `side` is the width that a panel needs, in pixels."""

    panels: tuple[Markup, ...]
    side: int
    gains: tuple[Gain, ...]
    pivot: str | None


@dataclass(frozen=True)
class ArmTable:
    """Arms on one set by one metric; no chart for other metrics than the first."""

    set: str
    metric: str
    rows: tuple[ArmResult, ...]
    chart: Markup | None
    differences: tuple[ArmDifference, ...] = ()


def render_learning(report: LearningReport) -> str:
    """Write the page; names and texts of the data are shown as text, whatever they contain."""
    results, arms = list_results(report.comparisons), gather_arms(report)
    first = next((result.headline.metric for result in results if result.overall), None)
    settings = flatten(report.settings)
    curves = draw_curves(report)
    scores = list_scores(report.scores)
    shown = {
        "steps": report.steps, "training": curves or report.speeds, "arms": arms,
        "results": results, "scores": scores, "contamination": report.contamination,
        "timings": report.timings, "files": report.files,
        "settings": settings or report.versions or report.fingerprints,
    }  # fmt: skip
    template = templates().get_template("learning/page.html.j2")
    return template.render(
        report=report,
        words=words,
        verdicts=words.VERDICTS,
        interval=format_interval,
        sure=f"{report.confidence:.0%}".replace("%", " %"),
        metric=first or (arms[0].metric if arms else None),
        metric_name=lambda metric: words.name_metric(metric, report.k),
        sections=[(key, name) for key, name in SECTIONS if shown[key]],
        facts=find_facts(report, results, arms),
        counts=list_counts(report.steps),
        curves=curves,
        arms=arms,
        results=results,
        many=len({r.model for r in results} | {s["model"] for s in scores}) > 1,
        matrices=[draw_heatmaps(result, report.pivot) for result in results if result.overall],
        scores=scores,
        settings=settings,
    )


def find_facts(
    report: LearningReport, results: Sequence[SetResult], arms: Sequence[ArmTable]
) -> list[Fact]:
    """Choose the numbers to show first: gains of the best arm or first model, then the work."""
    first = [r for r in results if r.overall and r.model == results[0].model]
    gains = [(f"{part.rows[0].arm} on {part.set}", part.rows[0].together)
             for part in arms if part.chart] or [(r.set, r.headline) for r in first]  # fmt: skip
    facts = []
    for name, gain in gains[:4]:
        about = f"{format_interval(gain.low, gain.high)}, {words.VERDICTS[gain.verdict]}"
        shown = f"{words.name_metric(gain.metric, report.k)}, {name}"
        facts.append(Fact(format_gain(gain.gain), shown, about, gain.verdict or ""))
    if rows := sum(step.rows for step in report.steps):
        facts.append(Fact(format_count(rows), "training rows"))
    if report.speeds:
        steps = sum(speed.steps for speed in report.speeds)
        facts.append(Fact(format_count(steps), "optimizer steps"))
    if first:
        queries = sum(result.headline.queries for result in first)
        facts.append(Fact(format_count(queries), "queries measured"))
    return facts


def draw_curves(report: LearningReport) -> list[Figure]:
    """Draw the training curve of each step that has one, in the order of the steps."""
    figures = []
    for name in report.curves["step_name"].unique(maintain_order=True):
        curve = report.curves.filter(step_name=name).sort("step")
        tenth = max(1, curve.height // 10)
        losses = curve["loss"].to_list()
        start, end = fmean(losses[:tenth]), fmean(losses[-tenth:])
        about = f"{count_of(curve['step'][-1], 'step')}; "
        about += f"mean loss {start:.3f} in the first tenth, {end:.3f} in the last."
        figures.append(Figure(str(name), about, draw_training(curve)))
    return figures


def draw_heatmaps(result: SetResult, pivot: str | None) -> Heatmaps | None:
    """Draw a set's matrix; None where it has no two languages."""
    matrix = make_matrix(result, pivot)
    if matrix is None:
        return None
    gains = tuple(direction.gain for direction in matrix.directions)
    shown = pivot if pivot in matrix.languages else None
    return Heatmaps(tuple(draw_panels(matrix)), panel_width(matrix), gains, shown)


def gather_arms(report: LearningReport) -> list[ArmTable]:
    """Put the arms of each set and metric into a table, best first, with a chart.

    Differences from the reference arm stand in the same order.
    """
    tables: dict[tuple[str, str], list[ArmResult]] = {}
    for arm in list_arms(report.arms):
        tables.setdefault((arm.set, arm.metric), []).append(arm)
    compared: dict[tuple[str, str], dict[str, ArmDifference]] = {}
    for one in list_differences(report.differences):
        compared.setdefault((one.set, one.metric), {})[one.arm] = one
    made = []
    for (name, metric), found in tables.items():
        best = sorted(found, key=lambda arm: -(arm.together.gain or 0.0))
        chart = None
        if metric == next(iter(tables))[1]:
            rows = [(arm.together, arm.seeds) for arm in best]
            chart = draw_gains(rows, f"Gain over the base on {name}")
        of = compared.get((name, metric), {})
        differences = tuple(of[arm.arm] for arm in best if arm.arm in of)
        made.append(ArmTable(name, metric, tuple(best), chart, differences))
    return made


def list_counts(steps: Sequence[StepReport]) -> list[tuple[str, RowCount]]:
    """List what each step learned from."""
    return [(step.settings.name, count) for step in steps for count in step.counts]
