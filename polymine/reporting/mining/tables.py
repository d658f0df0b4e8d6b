"""What a report is made from: a run's tables, unread."""

from collections.abc import Sequence
from dataclasses import dataclass

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
        deciding: name of the teacher whose score the rule reads.
    """

    queries: pl.LazyFrame
    documents: pl.LazyFrame
    closure: pl.LazyFrame
    rejected: pl.LazyFrame
    positives: pl.LazyFrame
    evidence: pl.LazyFrame
    negatives: pl.LazyFrame
    triplets: pl.LazyFrame
    shortfalls: pl.LazyFrame
    logits: pl.DataFrame | None
    teachers: Sequence[str]
    deciding: str

    @property
    def kept(self) -> pl.LazyFrame:
        """The negatives among the candidates, as query_id, doc_id, score, risk."""
        chosen = self.negatives.filter(pl.col("verdict").cast(pl.String) == "negative")
        return chosen.select("query_id", "doc_id", "score", "risk")

    @property
    def known(self) -> pl.LazyFrame:
        """Known positives with the primary teacher's score, as query_id, doc_id, score."""
        return self.positives.select("query_id", "doc_id", score=f"score_{self.deciding}")
