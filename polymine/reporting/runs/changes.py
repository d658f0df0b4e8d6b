"""Plain words for what became of negatives from one run to another."""

from collections.abc import Mapping
from typing import Any

from polymine.reporting.formatting import format_score
from polymine.reporting.reasons import name_reason

# By reason: of what came, where the former run is without the negative, and of what went, where
# the latter is.
_CAUSES = {
    "query": ("the query is new", "the query is gone"),
    "document": ("the document is new", "the document is gone"),
    "copy": ("was merged into another document", "is merged into another document"),
    "positive": ("the query had no known positive", "the query has no known positive any more"),
    "closed": ("was closed as known to be relevant", "is closed as known to be relevant"),
    "promoted": ("was promoted to a positive", "is promoted to a positive"),
    "text": ("the text of document or query changed", "the text of document or query changed"),
    "candidate": ("was no candidate", "is no candidate any more"),
    "risk": ("its risk fell", "its risk rose"),
    "budget": ("was refused by the budget, its risk is no lower",
               "is refused by the budget, its risk is no higher"),
    "ceiling": ("was at or above the ceiling", "is at or above the ceiling"),
    "shifted": ("was passed over", "is passed over"),
    "validator": ("was turned down by the validator", "is turned down by the validator"),
    "refused": ("was refused", "is refused"),
    "order": ("took the place of one that went", "another one took its place"),
    "wanted": ("more negatives are wanted", "fewer negatives are wanted"),
    "position": ("its position changed", "its position changed"),
}  # fmt: skip
# The values, by their columns, that bear on a reason.
_VALUES = {
    "risk": ("risk", "score"),
    "budget": ("risk", "score"),
    "ceiling": ("score", "ceiling"),
    "validator": ("validator_score",),
    "candidate": ("rank",),
    "order": ("score", "risk"),
    "position": ("position", "score", "risk"),
    "text": ("score", "risk"),
}


def name_change(change: str, reason: str) -> str:
    """Say in a few words why a negative came, went or changed."""
    return _CAUSES[reason][change == "went"]


def explain_change(row: Mapping[str, Any]) -> str:
    """Say in one line why, with the values that decided: a row of the contract Changes."""
    change, reason = str(row["change"]), str(row["reason"])
    came = change == "came"
    said = [name_change(change, reason)]
    if row["other_id"] is not None:
        verb = {"copy": "that is {}", "candidate": "{} was one" if came else "{} is one now"}
        said.append(verb.get(reason, "{} went" if came else "{} came").format(row["other_id"]))
    if row["refusal"] is not None and reason not in ("risk", "ceiling"):
        said.append(f"{'was' if came else 'is'} {name_reason(row['refusal'])}")
    for column in _VALUES.get(reason, ()):
        values = [row[f"{column}_{side}"] for side in ("before", "after")]
        if values != [None, None]:
            name = "validator's logit" if column == "validator_score" else column
            said.append(f"{name} {' → '.join(dict.fromkeys(map(_figure, values)))}")
    return "; ".join(said)


def _figure(value: float | None) -> str:
    if value is None or value == float("inf"):
        return "none"
    return str(value) if isinstance(value, int) else format_score(value)
