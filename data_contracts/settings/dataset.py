"""Where queries, corpus and known pairs come from."""

from typing import Literal

from pydantic import Field, model_validator

from polymine.data_contracts.settings.base import Settings, Source


class DatasetSettings(Settings):
    """Where queries, corpus and known pairs come from."""

    corpus: Source | None = None
    """Documents: doc_id, text, title?, language?, group_id?. A Parquet, CSV or JSONL file, a folder
    of them, a BEIR folder, `hf://datasets/...` or `demo:docstrings`. A list is read as one."""
    queries: Source | None = None
    """Queries, in the same forms: query_id, text, language?, group_id?"""
    judgments: Source | None = None
    """What is known to be relevant, in the same forms: query_id, doc_id, relevance?"""
    labels: Source | None = None
    """Further judgments, which the risk is fitted on. Relevance 0 makes a safe negative, above 0 a
    further positive."""
    pairs: Source | None = None
    """Instead of queries and judgments: a file whose first two text columns are query and positive.
    The positives join the corpus."""
    language: str = Field("und", min_length=2)
    """ISO 639-1 code of rows that name no language; `und` is undetermined."""
    title: Literal["prepend", "ignore"] = "prepend"
    """Put a document's title before its text, as MTEB does, or leave it out."""
    near_copy: float = Field(0.8, gt=0.3, le=1.0)
    """Jaccard similarity of word 3-grams from which on two documents count as copies: what copies a
    positive is never a negative."""
    on_invalid: Literal["fail", "quarantine"] = "fail"
    """Stop at rows that cannot be used, or put them into `rejected/` and mine the rest."""

    @model_validator(mode="after")
    def _has_pairs_or_tables(self) -> "DatasetSettings":
        beir = self.corpus is not None and self.queries is None and self.judgments is None
        if (
            self.pairs is None
            and not beir
            and not (self.corpus and self.queries and self.judgments)
        ):
            raise ValueError(
                "name `corpus`, `queries` and `judgments`, or one BEIR folder as `corpus`, "
                "or a file of `pairs` (with an optional `corpus`)"
            )
        if self.pairs is not None and (self.queries is not None or self.judgments is not None):
            raise ValueError("`pairs` already holds queries and judgments: leave those two out")
        return self
