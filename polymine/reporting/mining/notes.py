"""What a careful reader should know before training on the result, in plain words."""

from dataclasses import dataclass
from typing import Literal

from polymine.data_contracts.settings import MiningSettings
from polymine.mining.selection import PROMOTED
from polymine.reporting.formatting import count_of, format_share
from polymine.reporting.mining.funnel import Step
from polymine.reporting.mining.summary import Summary

MANY_SHORT = 0.1  # share of queries from which shortfalls are more than an accident
MANY_PROMOTED = 0.1  # share of looked-at candidates from which judgments seem incomplete
MANY_SUSPECT = 0.1  # share of known pairs from which their quality seems doubtful


@dataclass(frozen=True)
class Note:
    """A remark; `warning` means that something may need to be done."""

    level: Literal["warning", "remark"]
    text: str


def write_headline(summary: Summary) -> str:
    """Say in one sentence what came out."""
    short = f"{count_of(summary.short, 'query', 'queries')} " if summary.short else "no query "
    verb = "are" if summary.short > 1 else "is"
    return (
        f"{count_of(summary.triplets, 'triplet')} from "
        f"{count_of(summary.queries, 'query', 'queries')}; {short}{verb} short of negatives"
    )


def find_notes(summary: Summary, funnel: tuple[Step, ...], mining: MiningSettings) -> list[Note]:
    """Look for what may be wrong with the data, most serious first."""
    return [
        *_nothing(summary),
        *_short(summary),
        *_unanswered(summary),
        *_suspects(summary),
        *_promoted(funnel, mining),
        *_rejected(summary),
        *_closed(summary, mining),
    ]


def _nothing(summary: Summary) -> list[Note]:
    if summary.triplets:
        return []
    text = (
        "Nothing can be trained on this result: it has no triplet. The shortfalls below say why; "
        "a looser rule, a larger corpus or more known positives help."
    )
    return [Note("warning", text)]


def _short(summary: Summary) -> list[Note]:
    share = summary.short / max(summary.queries, 1)
    if share <= MANY_SHORT:
        return []
    text = (
        f"{format_share(share)} of the queries got fewer negatives than wanted. They are listed "
        "under Shortfalls with the reason; nothing was filled up at random."
    )
    return [Note("warning", text)]


def _unanswered(summary: Summary) -> list[Note]:
    if not summary.unanswered:
        return []
    return [
        Note(
            "warning",
            f"{count_of(summary.unanswered, 'query has', 'queries have')} no known positive. "
            "Without a right answer to compare with nothing can be called wrong, so no triplet "
            "was made from them.",
        )
    ]


def _suspects(summary: Summary) -> list[Note]:
    if not summary.suspect_count:
        return []
    share = summary.suspect_count / max(summary.pairs, 1)
    pairs = count_of(summary.suspect_count, "known pair")
    text = (
        f"{pairs} ({format_share(share)}) {'score' if summary.suspect_count > 1 else 'scores'} "
        "below the query's median candidate. Either the passage does not answer the query or the "
        "teacher does not understand it; the worst are listed under Doubtful known pairs."
    )
    return [Note("warning" if share > MANY_SUSPECT else "remark", text)]


def _promoted(funnel: tuple[Step, ...], mining: MiningSettings) -> list[Note]:
    if mining.selection.rule == "risk":
        return _further_positives(funnel)
    promoted = sum(step.count for step in funnel if step.kind == "promoted")
    looked = sum(step.count for step in funnel if step.step == "pairs validated")
    if not promoted:
        return []
    share = promoted / max(looked, 1)
    passages = count_of(promoted, "unmarked passage")
    text = (
        f"The validator finds {passages} as relevant as the known positive. They are in no "
        "triplet; in negatives/ they carry the verdict 'promoted' and may be worth adding to "
        "your judgments."
    )
    return [Note("warning" if share > MANY_PROMOTED else "remark", text)]


def _further_positives(funnel: tuple[Step, ...]) -> list[Note]:
    promoted = [step for step in funnel if step.kind == "promoted"]
    if not promoted:
        return []
    passages = count_of(sum(step.count for step in promoted), "unmarked passage")
    why = " and ".join(f"{step.count:,} {step.note.removeprefix(PROMOTED)}" for step in promoted)
    text = (
        f"{passages} became further positives ({why}). They stand in promoted/, and in triplets of "
        "their own whose weight is the probability that they are right; they may be worth adding "
        "to your judgments."
    )
    return [Note("remark", text)]


def _rejected(summary: Summary) -> list[Note]:
    if not summary.rejected:
        return []
    rows = sum(summary.rejected.values())
    rules = ", ".join(
        f"{count:,} in {source} ({rule})" for (source, rule), count in summary.rejected.items()
    )
    text = f"{count_of(rows, 'input row')} broke a contract and went to rejected/: {rules}."
    return [Note("warning", text)]


def _closed(summary: Summary, mining: MiningSettings) -> list[Note]:
    near = sum(count for reason, count in summary.closure.items() if reason != "positive")
    if not near:
        return []
    text = (
        f"{count_of(near, 'query-passage pair')} were closed beforehand: copies, near-copies or "
        "versions of a known positive, or of the query. None of them can become a negative."
    )
    return [Note("remark", text)]
