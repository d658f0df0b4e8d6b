"""What a report is made from: a run's tables, unread, and the sections that read them together."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice

import polars as pl


@dataclass(frozen=True)
class Tables:
    """Lazy frames of a run's tables; contracts as in `polymine.data_contracts.tables`.

    Args:
        evidence: what was ranked, and what was found below a ceiling, one after the other.
        positives: query_id, doc_id and `score_*` of every teacher.
        logits: query_id and `lowest`, the validator's lowest logit of a known positive; None
            without a validator.
        teachers: names, in the order of the settings.
        primary: name of the teacher whose score the rule reads.
    """

    queries: pl.LazyFrame
    documents: pl.LazyFrame
    closure: pl.LazyFrame
    rejected: pl.LazyFrame
    positives: pl.LazyFrame
    evidence: pl.LazyFrame
    risks: pl.LazyFrame
    negatives: pl.LazyFrame
    triplets: pl.LazyFrame
    given: pl.LazyFrame
    shortfalls: pl.LazyFrame
    logits: pl.DataFrame | None
    teachers: Sequence[str]
    primary: str

    @property
    def kept(self) -> pl.LazyFrame:
        """The negatives among the candidates, as query_id, doc_id, score, risk."""
        chosen = self.negatives.filter(pl.col("verdict").cast(pl.String) == "negative")
        return chosen.select("query_id", "doc_id", "score", "risk")

    @property
    def known(self) -> pl.LazyFrame:
        """Known positives: query_id, doc_id, the primary teacher's score, validity."""
        score = f"score_{self.primary}"
        return self.positives.select("query_id", "doc_id", "validity", score=score)


class Section:
    """A part of the summary: it plans frames, and once they are collected makes sense of them."""

    frames: Sequence[pl.DataFrame] = ()

    def __init__(self, tables: Tables) -> None:
        self.tables = tables

    def plan(self) -> tuple[pl.LazyFrame, ...]:
        """Plan what to read: `collect` puts the results into `frames`, in the same order."""
        raise NotImplementedError


def collect(*sections: Section) -> None:
    """Run the plans of sections together: polars reads a table that several use only once."""
    plans = [section.plan() for section in sections]
    frames = iter(pl.collect_all([frame for plan in plans for frame in plan]))
    for section, plan in zip(sections, plans, strict=True):
        section.frames = tuple(islice(frames, len(plan)))
