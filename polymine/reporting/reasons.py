"""The reasons that stages write beside their decisions, in words.

A reason is looked up as it is written; one with a number or a rule in it by what it ends or begins
with. `Reason.about` may name settings of the selection, as `{shift}`.
"""

from typing import NamedTuple

from polymine.data_contracts.settings import SelectionSettings
from polymine.mining.hubs import REASON as HUB
from polymine.reporting.formatting import format_share


class Reason(NamedTuple):
    """A verdict's reason: its name in a few words, and what it says of a candidate."""

    name: str
    about: str


CEILING, SHIFTED, PASSED = "at or above the ceiling", "shifted: ", "passed the rule"
KNOWN = "known positive: "

REASONS = {
    KNOWN + "positive": Reason("known positive", "is itself a known positive"),
    KNOWN + "copy": Reason(
        "copy of a known positive", "has the same text as a known positive"
    ),
    KNOWN + "near_copy": Reason(
        "near-copy of a known positive", "is nearly word for word a known positive"
    ),
    KNOWN + "same_group": Reason(
        "version of a known positive", "is a translation or version of a known positive"
    ),
    KNOWN + "equals_query": Reason("copy of the query", "only repeats the query"),
    KNOWN + "judged_query_group": Reason(
        "known positive of the same question",
        "is a known positive of another query that asks the same",
    ),
    CEILING: Reason(
        "too close to the known positive",
        "scores {reach}, so it may be a right answer nobody marked",
    ),
    SHIFTED: Reason(
        "passed over", "is among the query's {shift} best candidates, which are passed over"
    ),
    PASSED: Reason(
        PASSED, "is similar enough to be hard and far enough from the known positive to be wrong"
    ),
    "passed the rule risk": Reason(
        PASSED, "is among the hardest that the budget of expected false negatives pays for"
    ),
    "validator: below the grey zone": Reason(
        "validator: below the grey zone",
        "is, the validator agrees, clearly less relevant than the known positive",
    ),
    "validator: in the grey zone": Reason(
        "validator unsure",
        "is, to the validator, too close to the known positive to be called wrong",
    ),
    "validator: as relevant as the known positive": Reason(
        "promoted: an unmarked answer", "is, to the validator, as relevant as the known positive"
    ),
    "risk: too likely to be relevant for its hardness": Reason(
        "too risky for its hardness", "is too likely to be relevant, for how hard it is"
    ),
    "risk: higher than any negative may have": Reason(
        "too likely to be relevant", "is likelier to be relevant than a negative may be"
    ),
    HUB: Reason(
        "near everything",
        "is a negative of as many queries as one passage may be, and nearer to those",
    ),
    "promoted: risk and validator agree": Reason(
        "promoted: risk and validator agree",
        "is very likely relevant, and the validator agrees: it is a further positive of its query",
    ),
    "promoted: precise enough by its risk": Reason(
        "promoted: precise enough by its risk",
        "is so likely to be relevant that the budget of wrong positives lets it in: it is a "
        "further positive of its query",
    ),
    "risk: promoted if the validator agreed": Reason(
        "risk and validator differ",
        "is likely to be relevant by its risk, and the validator disagrees: it is neither",
    ),
    KNOWN + "promoted": Reason(
        "version of a promoted passage",
        "is a copy or version of a passage that was promoted to a positive",
    ),
    "promoted: relevant by a label": Reason(
        "promoted: relevant by a label",
        "is relevant by a label: it is a further positive of its query",
    ),
}  # fmt: skip


def name_reason(reason: str) -> str:
    """Name a verdict's reason in a few words."""
    return REASONS[key].name if (key := _key(reason)) in REASONS else reason


def explain(reason: str, settings: SelectionSettings) -> str:
    """Say in a plain sentence what a verdict's reason means; unknown ones stay as they are."""
    key = _key(reason)
    if key == PASSED and settings.rule == "risk":
        key = "passed the rule risk"
    if key not in REASONS:
        return reason
    return REASONS[key].about.format(reach=_reach(settings), shift=settings.shift)


def _key(reason: str) -> str:
    if reason.endswith(CEILING):
        return CEILING
    return SHIFTED if reason.startswith(SHIFTED) else reason


def _reach(settings: SelectionSettings) -> str:
    if settings.rule == "percent":
        return f"at or above {format_share(settings.percent)} of the known positive's score"
    if settings.rule == "margin":
        return f"no more than {settings.margin:g} below the known positive"
    return f"{settings.absolute:g} or more"


EVIDENCE = {
    "query": "how the candidate stands for this query among all passages, by dense teachers",
    "document": "how this query stands for the candidate among all queries, by dense teachers",
    "positive": "how near the candidate is to a known positive, among all passages",
    "gap": "how far the candidate stands above the lowest known positive, by dense teachers",
    "feedback": "how near it is to the middle of query, known positives and the five likeliest",
    "words": "words in common with the query (BM25), among all passages",
    "positive_words": "words in common with a known positive (BM25), among all passages",
}
