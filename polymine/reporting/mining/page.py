"""Renders a report: one HTML page that stands on its own."""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from markupsafe import Markup

from polymine.data_contracts.settings import MiningSettings
from polymine.reporting.charts.charts import draw_columns, draw_histogram, templates
from polymine.reporting.charts.curves import WITHIN, draw_reliability, draw_trade_off
from polymine.reporting.formatting import describe_rule, explain, format_rate, name_reason
from polymine.reporting.mining import risk, risk_words
from polymine.reporting.mining.funnel import Step
from polymine.reporting.mining.notes import Note, find_notes, write_headline
from polymine.reporting.mining.risk import RiskData
from polymine.reporting.mining.summary import Summary


@dataclass(frozen=True)
class Timing:
    """How long a stage took, how many rows it has, and whether it was there already."""

    stage: str
    seconds: float
    rows: int
    reused: bool

    @property
    def speed(self) -> float | None:
        """Rows per second; none for what was only looked up."""
        return None if self.reused or self.seconds < 1e-3 else self.rows / self.seconds


@dataclass(frozen=True)
class ReportData:
    """Everything a page shows.

    Args:
        name: what the run is called.
        example: one row of the triplets, or nothing.
        settings: nested, as written into the manifest.
        fingerprints, versions: by name.
    """

    name: str
    summary: Summary
    risk: RiskData
    funnel: tuple[Step, ...]
    example: Mapping[str, Any]
    mining: MiningSettings
    timings: Sequence[Timing]
    settings: Mapping[str, Any]
    fingerprints: Mapping[str, str]
    versions: Mapping[str, str]

    @property
    def headline(self) -> str:
        """What came out, in one sentence."""
        return write_headline(self.summary)

    @property
    def notes(self) -> list[Note]:
        """Warnings and remarks."""
        return find_notes(self.summary, self.funnel, self.mining)


@dataclass(frozen=True)
class Figure:
    """A chart with what it shows."""

    title: str
    about: str
    chart: Markup


def render_page(report: ReportData) -> str:
    """Write the page; texts of the data set are shown as text, whatever they contain."""
    return (
        templates()
        .get_template("mining/page.html.j2")
        .render(
            report=report,
            summary=report.summary,
            mining=report.mining,
            notes=report.notes,
            figures=draw_figures(report.summary, report.mining),
            risk=report.risk,
            risk_figures=draw_risk(report.risk),
            numbers=risk,
            words=risk_words,
            rule=describe_rule(report.mining),
            settings=flatten(report.settings),
            name_reason=name_reason,
            explain=lambda reason: explain(reason, report.mining.selection),
        )
    )


def draw_figures(summary: Summary, mining: MiningSettings) -> list[Figure]:
    """Draw the charts for which there is something to show."""
    makers = (_scores, _margins, _risks, _logits, _ranks)
    return [figure for make in makers if (figure := make(summary, mining))]


def _scores(summary: Summary, mining: MiningSettings) -> Figure | None:
    if "scores" not in summary.histograms:
        return None
    title = f"Scores by {mining.primary_teacher}"
    about = (
        f"How similar {mining.primary_teacher}, the primary teacher, finds query and passage. "
        "Hard negatives sit a little to the left of the known positives; the line is the median."
    )
    return Figure(title, about, draw_histogram(summary.histograms["scores"], title))


def _margins(summary: Summary, mining: MiningSettings) -> Figure | None:
    if "margins" not in summary.histograms:
        return None
    title = "Distance from positive to negative"
    about = (
        "Known positive's score minus the negative's, per triplet. Near zero is hard to tell "
        "apart; below zero the teacher prefers the negative."
    )
    marks = [(0.0, "equal scores")]
    return Figure(title, about, draw_histogram(summary.histograms["margins"], title, marks))


def draw_risk(data: RiskData) -> list[Figure]:
    """Draw what a budget is picked from, and how far the risks are to be trusted."""
    figures = []
    if data.chosen and data.budget and len(data.curve) > 1:
        title = "What each budget buys"
        about = (
            "Each grey point is a whole training set: how hard its negatives are (mean score of "
            "the primary teacher) and how many of them are expected to be relevant after all. "
            "Right is harder and dirtier, left cleaner and easier; the budget picks the point."
        )
        chart = draw_trade_off(data.curve, data.chosen, data.budget)
        figures.append(Figure(title, about, chart))
    if data.model.proofs:
        title = "Reliability of the risk"
        about = (
            "Candidates of judged collections, grouped by expected risk (across), against the "
            "share of them that is relevant (up). Each collection was left out of the fit that it "
            "is shown with; none of this is your data. On the diagonal the risk is right; dotted: "
            f"wrong by a factor of {WITHIN:g}; hollow: too few candidates to tell."
        )
        figures.append(Figure(title, about, draw_reliability(data.model.proofs)))
    return figures


def _risks(summary: Summary, mining: MiningSettings) -> Figure | None:
    if "risks" not in summary.histograms:
        return None
    title = "Risk of kept and refused"
    about = (
        "The probability that a candidate is relevant after all, from all the evidence on it. The "
        "axis is logarithmic; known positives are left out."
    )
    marks = [(math.log10(mining.selection.max_false_negative_rate), "the budget")]
    if mining.selection.rule != "risk":
        marks = []
    chart = draw_histogram(
        summary.histograms["risks"], title, marks, lambda value: format_rate(10**value)
    )
    return Figure(title, about, chart)


def _logits(summary: Summary, mining: MiningSettings) -> Figure | None:
    if "logits" not in summary.histograms or mining.validation is None:
        return None
    title = "The validator's opinion"
    if mining.selection.rule == "risk":
        return _further_evidence(summary, title)
    upper = 0.0 - mining.validation.margin  # not minus 0
    lower = upper - mining.validation.grey_zone
    about = (
        "The validator is a slower model that reads query and passage together. This is its raw "
        "score (logit) of a candidate, minus the lowest of the query's known positives. "
        f"Below {lower:g} it is a negative, up to {upper:g} it is excluded as unsure, "
        "above it counts as an unmarked answer (dashed lines)."
    )
    marks = [(lower, "negatives lie below"), (upper, "promoted lie above")]
    return Figure(title, about, draw_histogram(summary.histograms["logits"], title, marks))


def _further_evidence(summary: Summary, title: str) -> Figure:
    about = (
        "The validator is a slower model that reads query and passage together. This is its raw "
        "score (logit) of the candidates it was asked about, minus the lowest of the query's known "
        "positives. It excludes nothing by itself; what it promotes has to reach the highest."
    )
    marks = [(0.0, "as the lowest known positive")]
    return Figure(title, about, draw_histogram(summary.histograms["logits"], title, marks))


def _ranks(summary: Summary, mining: MiningSettings) -> Figure | None:
    if not summary.ranks:
        return None
    title = "Where the negatives were found"
    about = (
        "Best rank any teacher gave to a kept negative (1: its first hit). 'Deeper' are "
        "those searched for beyond the stored candidates."
    )
    columns = [(bucket.label, bucket.count) for bucket in summary.ranks]
    return Figure(title, about, draw_columns(columns, title, "negative"))


def flatten(values: Mapping[str, Any], prefix: str = "") -> list[tuple[str, str]]:
    """List nested settings as dotted keys and TOML values, the way `--set` takes them."""
    lines: list[tuple[str, str]] = []
    for key, value in values.items():
        name = f"{prefix}{key}"
        if isinstance(value, Mapping):
            lines += flatten(value, f"{name}.")
        elif isinstance(value, list) and value and isinstance(value[0], Mapping):
            for at, item in enumerate(value):
                lines += flatten(item, f"{name}.{at}.")
        elif value is not None and value != "":
            lines.append((name, json.dumps(value, ensure_ascii=False)))
    return lines
