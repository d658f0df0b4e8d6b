"""Plain words for what became of negatives from one run to another."""

from collections.abc import Mapping
from typing import Any

from polymine.reporting.formatting import format_score, name_reason

# By change and reason: the run without the negative is the former for what came, the latter for
# what went.
_CAME = {
    "query": "the query is new",
    "document": "the document is new",
    "copy": "was merged into another document",
    "positive": "the query had no known positive",
    "closed": "was closed as known to be relevant",
    "promoted": "was promoted to a positive",
    "text": "the text of document or query changed",
    "candidate": "was no candidate",
    "risk": "its risk fell",
    "budget": "was refused by the budget, its risk is no lower",
    "ceiling": "was at or above the ceiling",
    "shifted": "was passed over",
    "validator": "was turned down by the validator",
    "refused": "was refused",
    "order": "took the place of one that went",
    "wanted": "more negatives are wanted",
}
_WENT = {
    "query": "the query is gone",
    "document": "the document is gone",
    "copy": "is merged into another document",
    "positive": "the query has no known positive any more",
    "closed": "is closed as known to be relevant",
    "promoted": "is promoted to a positive",
    "text": "the text of document or query changed",
    "candidate": "is no candidate any more",
    "risk": "its risk rose",
    "budget": "is refused by the budget, its risk is no higher",
    "ceiling": "is at or above the ceiling",
    "shifted": "is passed over",
    "validator": "is turned down by the validator",
    "refused": "is refused",
    "order": "another one took its place",
    "wanted": "fewer negatives are wanted",
}
_KEPT = {"position": "its position changed", "text": "the text of document or query changed"}


def name_change(change: str, reason: str) -> str:
    """Say in a few words why a negative came, went or changed."""
    return {"came": _CAME, "went": _WENT}.get(change, _KEPT)[reason]


def explain_change(row: Mapping[str, Any]) -> str:
    """Say in one line why, with the values that decided: a row of the contract Changes."""
    change, reason = str(row["change"]), str(row["reason"])
    said = [name_change(change, reason)]
    if row["other_id"] is not None:
        said.append(_other(change, reason, row["other_id"]))
    if row["refusal"] is not None and reason not in ("risk", "ceiling"):
        tense = "was" if change == "came" else "is"
        said.append(f"{tense} {name_reason(row['refusal'])}")
    said += [_step(name, row, column) for name, column in _shown(reason) if _known(row, column)]
    return "; ".join(said)


def _other(change: str, reason: str, other_id: str) -> str:
    if reason == "copy":
        return f"that is {other_id}"
    if reason == "candidate":
        return f"{other_id} {'was one' if change == 'came' else 'is one now'}"
    return f"{other_id} {'went' if change == 'came' else 'came'}"


def _shown(reason: str) -> list[tuple[str, str]]:
    """Which values, by name and column, bear on a reason."""
    score, risk, rank = ("score", "score"), ("risk", "risk"), ("rank", "rank")
    return {
        "risk": [risk, score],
        "budget": [risk, score],
        "ceiling": [score, ("ceiling", "ceiling")],
        "validator": [("validator's logit", "validator_score")],
        "candidate": [rank],
        "order": [score, risk],
        "position": [("position", "position"), score, risk],
        "text": [score, risk],
    }.get(reason, [])


def _known(row: Mapping[str, Any], column: str) -> bool:
    return any(row[f"{column}_{side}"] is not None for side in ("before", "after"))


def _step(name: str, row: Mapping[str, Any], column: str) -> str:
    """Write `name before → after`, or the value alone where it is the same."""
    before, after = (_figure(row[f"{column}_{side}"]) for side in ("before", "after"))
    return f"{name} {before}" if before == after else f"{name} {before} → {after}"


def _figure(value: float | None) -> str:
    if value is None:
        return "none"
    if isinstance(value, float) and value == float("inf"):
        return "none"
    return str(value) if isinstance(value, int) else format_score(value)
