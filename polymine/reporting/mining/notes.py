"""What a careful reader should know before training on the result."""

from polymine.data_contracts.settings import MiningSettings
from polymine.reporting.mining.funnel import Step
from polymine.reporting.mining.summary import Summary
from polymine.reporting.report import Note
from polymine.reporting.templates import say

HUB = 0.05  # share of the queries from which a document that is their negative is named
MANY = 0.1  # share of queries, pairs or candidates from which a remark is a warning


def find_notes(
    summary: Summary, funnel: tuple[Step, ...], given: tuple[Step, ...], mining: MiningSettings
) -> list[Note]:
    """Look for what may be wrong with the data.

    Args:
        summary, funnel: of the run.
        given: as from `count_given`.
        mining: its rule decides on what is said of promoted candidates.

    Returns:
        Warnings and remarks, most serious first.
    """
    promoted = [step for step in funnel if step.kind == "promoted"]
    validated = sum(step.count for step in funnel if step.step == "pairs validated")
    unmarked = sum(step.count for step in promoted) > MANY * max(validated, 1)
    by_risk = mining.selection.rule == "risk"
    closed = sum(count for reason, count in summary.closure.items() if reason != "positive")
    doubtful = summary.suspect_count > MANY * summary.pairs
    rules = (  # the sentence, what it is about, whether it is said, whether it is a warning
        ("nothing", summary, not summary.triplets, True),
        ("weak", summary, bool(summary.weak), True),
        ("outscored", summary, summary.outscored, True),
        ("short", summary, summary.short > MANY * summary.queries, True),
        ("unanswered", summary, bool(summary.unanswered), True),
        ("suspects", (summary, mining.positives.doubtful), bool(summary.suspect_count), doubtful),
        ("hub", summary, _has_hub(summary), False),
        ("limited", summary, bool(summary.limited), _many_limited(summary)),
        ("further_positives", promoted, bool(promoted) and by_risk, False),
        ("promoted", promoted, bool(promoted) and not by_risk, unmarked),
        ("rejected", summary, bool(summary.rejected), True),
        ("given", given, bool(given), False),
        ("closed", closed, bool(closed), False),
    )
    return [
        Note("warning" if warning else "remark", say("mining", name, about))
        for name, about, said, warning in rules
        if said
    ]


def _has_hub(summary: Summary) -> bool:
    most = summary.hubs[0]["queries"] if summary.hubs else 0
    return bool(most >= 10 and most > HUB * summary.queries)


def _many_limited(summary: Summary) -> bool:
    return summary.limited_pairs > MANY * (summary.negatives + summary.limited_pairs)
