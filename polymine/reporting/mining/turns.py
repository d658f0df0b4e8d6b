"""What to turn next: the setting that binds, what it would buy, and the command."""

import shlex
from collections.abc import Sequence
from typing import NamedTuple

from polymine.data_contracts.settings import MiningSettings
from polymine.mining.precision import FEWEST_QUERIES
from polymine.reporting.mining.funnel import Step
from polymine.reporting.mining.risk import RiskData, offer_budgets
from polymine.reporting.mining.summary import Summary
from polymine.reporting.templates import say

HIGHEST = "risk: higher than any negative may have"  # the reason of what `max_risk` refuses
BUDGET = "mining.selection.max_false_negative_rate"
POSITIVES, PROMOTED = "mining.selection.max_false_positive_rate", 0.3  # as measured: docs/LOG.md


class Turn(NamedTuple):
    """A setting to turn: why, and the command."""

    why: str
    command: str


def find_turns(
    summary: Summary, risk: RiskData, funnel: Sequence[Step], mining: MiningSettings, output: str
) -> list[Turn]:
    """Find what most changes the next run, most pressing first.

    Args:
        summary, risk, funnel, mining: of the run.
        output: its folder, as the settings name it.
    """
    found: list[tuple[str, object, str, object]] = []  # sentence, what it is about, key, value
    for weak in summary.weak:
        if weak.found.teacher == summary.primary != weak.best.teacher:
            found.append(("teacher", weak, "mining.selection.teacher", weak.best.teacher))
            break
    if risk.budget is not None:
        found += _of_budget(risk, funnel, mining)
    elif summary.outscored or summary.short:
        found.append(("by_risk", None, "mining.selection.rule", "risk"))
    if summary.short and not risk.starved:
        found.append(("deeper", summary.short, "mining.depth", 2 * mining.depth))
    if risk.unmarked[1] >= FEWEST_QUERIES:
        found.append(("promote", risk.unmarked, POSITIVES, PROMOTED))
    turns = [
        Turn(
            say("mining", f"turn_{sentence}", about),
            f"polymine run FILE --set {key}={value} --set {shlex.quote(f'output.path={output}-2')}",
        )
        for sentence, about, key, value in found
    ]
    if risk.labelled is None and risk.kept.rate:
        turns.append(
            Turn(say("mining", "turn_label", risk), f"polymine label {shlex.quote(output)}")
        )
    return turns


def _of_budget(
    risk: RiskData, funnel: Sequence[Step], mining: MiningSettings
) -> list[tuple[str, object, str, object]]:
    """Name what binds: the budget, the highest risk of one negative, or neither."""
    refused = sum(step.count for step in funnel if step.note == HIGHEST)
    if risk.choice is not None and risk.choice.price:
        offers = offer_budgets(risk)
        at = next(n for n, offer in enumerate(offers) if offer.taken)
        sides = (("starved" if risk.starved else "harder", offers[at + 1 : at + 2]),
                 ("cleaner", offers[max(at - 1, 0) : at]))  # fmt: skip
        return [
            (sentence, (offer, risk), BUDGET, f"{offer.budget:g}")
            for sentence, side in sides
            for offer in side
            if offer.hardness is not None
        ]
    if refused:
        highest = mining.selection.max_risk
        higher = f"{min(2 * highest, (1 + highest) / 2):g}"
        return [("max_risk", (refused, highest), "mining.selection.max_risk", higher)]
    return [("more", mining.negatives, "mining.negatives", 2 * mining.negatives)]
