"""Where queries, corpus and known pairs come from."""

from typing import Literal

from pydantic import Field, model_validator

from polymine.data_contracts.settings.base import Settings, Source


class DatasetSettings(Settings):
    """Where queries, corpus and known pairs come from."""

    corpus: Source | None = Field(
        None,
        description="Parquet, CSV or JSONL file, a folder of them, a BEIR folder, "
        "`hf://datasets/...`, or `demo:docstrings`; a list is concatenated.",
    )
    queries: Source | None = Field(None, description="As `corpus`: query_id, text, language?")
    judgments: Source | None = Field(None, description="As `corpus`: query_id, doc_id, relevance?")
    labels: Source | None = Field(
        None,
        description="Further labels, as `judgments`: the risk is fitted on them, relevance 0 makes "
        "a safe negative, above 0 a promoted positive.",
    )
    pairs: Source | None = Field(
        None,
        description="Instead of queries and judgments: a file whose first two text columns are "
        "query and positive; the positives join the corpus.",
    )
    language: str = Field(
        "und",
        min_length=2,
        description="ISO 639-1 code for rows that name no language; `und` is undetermined.",
    )
    title: Literal["prepend", "ignore"] = Field(
        "prepend",
        description="Whether a document's text starts with its title (the convention of MTEB).",
    )
    near_copy: float = Field(
        0.8,
        gt=0.3,
        le=1.0,
        description="Jaccard similarity of word 3-grams from which two documents are near-copies.",
    )
    on_invalid: Literal["fail", "quarantine"] = Field(
        "fail", description="Stop at rows that break a contract, or set them aside in `rejected/`."
    )

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
