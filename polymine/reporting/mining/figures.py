"""The charts of a mining report, with what they show."""

import math

from markupsafe import Markup

from polymine.data_contracts.settings import MiningSettings
from polymine.reporting.mining.charts import (
    WITHIN,
    draw_columns,
    draw_histogram,
    draw_reliability,
    draw_trade_off,
)
from polymine.reporting.mining.risk import RiskData
from polymine.reporting.mining.summary import Summary
from polymine.reporting.report import Figure
from polymine.reporting.templates import say


def draw_figures(summary: Summary, mining: MiningSettings) -> list[Figure]:
    """Draw the charts for which there is something to show."""
    validation, by_risk = mining.validation, mining.selection.rule == "risk"
    upper = 0.0 - validation.margin if validation else 0.0  # not minus 0
    lower = upper - validation.grey_zone if validation else 0.0
    budget = math.log10(mining.selection.max_false_negative_rate) if by_risk else math.nan
    bounds = [(lower, "negatives lie below"), (upper, "promoted lie above")]
    figures = [
        _figure(name, title, mining, draw_histogram(found, title, marks, rates=name == "risks"))
        for name, title, marks in (
            ("scores", f"Scores by {mining.primary_teacher}", []),
            ("margins", "Distance from positive to negative", [(0.0, "equal scores")]),
            ("risks", "Risk of kept and refused", [(budget, "the budget")]),
            ("logits", "The validator's opinion",
             [(0.0, "as the lowest known positive")] if by_risk else bounds),
        )
        if (found := summary.histograms.get(name))
    ]  # fmt: skip
    if summary.teachers.ranks:
        title = "Where the negatives were found"
        chart = draw_columns(summary.teachers.ranks, title, "negative")
        figures.append(_figure("ranks", title, mining, chart))
    return figures


def _figure(name: str, title: str, mining: MiningSettings, chart: Markup) -> Figure:
    return Figure(title, say("mining", name, mining), chart)


def draw_risk(data: RiskData) -> list[Figure]:
    """Draw what a budget is picked from."""
    if data.chosen is None or not data.budget or len(data.curve) < 2:
        return []
    chart = draw_trade_off(data.curve, data.chosen, data.budget)
    return [Figure("What each budget buys", say("mining", "trade_off"), chart)]


def draw_proofs(data: RiskData) -> Figure | None:
    """Draw how far risks were to be trusted on judged collections."""
    if not data.model.proofs:
        return None
    about = say("mining", "reliability", WITHIN)
    return Figure("On judged collections", about, draw_reliability(data.model.proofs))
