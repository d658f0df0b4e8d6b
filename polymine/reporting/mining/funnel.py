"""The funnel: what went in, what was refused for which reason, and what came out."""

from collections.abc import Sequence
from dataclasses import dataclass

from polymine.data_contracts.settings import MiningSettings
from polymine.reporting.reasons import explain


@dataclass(frozen=True)
class Step:
    """One line of the funnel.

    `note` is short and `about` a plain sentence. `kind` is `input`, `candidates`, one of the
    verdicts, `unused` or `output`; `share` is the part of all candidates, for those steps that
    divide them up.
    """

    step: str
    count: int
    note: str
    kind: str
    share: float | None = None
    about: str = ""


@dataclass(frozen=True)
class Totals:
    """Counts that a funnel is made of.

    `reasons` are (verdict, reason, count); `expected` says how many of the kept may be relevant.
    """

    documents: int
    copies: int
    rejected: int
    queries: int
    candidates: int
    deep: int
    unanswered_candidates: int
    reasons: Sequence[tuple[str, str, int]]
    validated: int | None
    validated_now: int
    triplets: int
    shortfalls: int
    expected: str = ""


def build_funnel(totals: Totals, mining: MiningSettings) -> tuple[Step, ...]:
    """Put counts in the order in which things happen.

    Args:
        totals: of the whole run.
        mining: its rule names the steps.

    Returns:
        The steps; the parts of the candidates add up to them.
    """
    deeper = (
        f"; {totals.deep:,} were searched for further down, where too few passed"
        if totals.deep
        else ""
    )
    steps = [
        Step("documents", totals.documents, "", "input"),
        Step("copies merged", totals.copies, "equal texts become one document", "input"),
        Step("rows rejected", totals.rejected, "broke a contract", "input"),
        Step("queries", totals.queries, "", "input"),
        Step(
            "candidates", totals.candidates,
            f"{totals.deep:,} from further down", "candidates", 1.0,
            "all pairs of query and passage that were looked at" + deeper,
        ),
        *_parts(totals, mining),
    ]  # fmt: skip
    if totals.validated is not None:
        note = f"{totals.validated_now:,} of them scored in this run"
        steps.append(Step("pairs validated", totals.validated, note, "input"))
    steps.append(Step("triplets", totals.triplets, "", "output"))
    steps.append(Step("shortfalls", totals.shortfalls, "queries with fewer than wanted", "output"))
    return tuple(steps)


def count_given(
    reasons: Sequence[tuple[str, str, int]], mining: MiningSettings
) -> tuple[Step, ...]:
    """Divide up the candidates that files gave.

    Args:
        reasons: (verdict, reason, count) of the contract GivenVerdicts.
        mining: its bounds are named.

    Returns:
        A step for each, with its share of all that were given.
    """
    whole = max(sum(count for _, _, count in reasons), 1)
    return tuple(
        Step(verdict, count, reason, verdict, count / whole, explain(reason, mining.selection))
        for verdict, reason, count in reasons
    )


def _parts(totals: Totals, mining: MiningSettings) -> list[Step]:
    """Divide the candidates up by verdict and reason."""
    whole = max(totals.candidates, 1)
    parts = []
    for verdict, reason, count in totals.reasons:
        if verdict != "negative":
            about = explain(reason, mining.selection)
            parts.append(Step(verdict, count, reason, verdict, count / whole, about))
    if lost := totals.unanswered_candidates:
        note = "their query has no known positive to compare with"
        parts.append(Step("set aside", lost, note, "unused", lost / whole))
    kept = sum(count for verdict, _, count in totals.reasons if verdict == "negative")
    decided = sum(count for _, _, count in totals.reasons)
    if (unused := totals.candidates - decided - totals.unanswered_candidates) > 0:
        note = "passed, but their query had its negatives already"
        parts.append(Step("not needed", unused, note, "unused", unused / whole))
    about = explain("passed the rule", mining.selection)
    return [*parts, Step("kept", kept, totals.expected, "negative", kept / whole, about)]
