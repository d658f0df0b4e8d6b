"""Where queries, corpus and known pairs come from, and how their files are read."""

from typing import Literal

from pydantic import Field, model_validator

from polymine.data_contracts.settings.base import Settings, Source

Column = Literal[
    "query_id", "query", "doc_id", "document", "title", "relevance", "language", "group_id",
    "positive", "negative", "query_language", "document_language",
    "split", "id", "text_a", "text_b", "lang_a", "lang_b", "score",
]  # fmt: skip


class Reading(Settings):
    """How files are read: what is said here settles any doubt, and nothing of it is needed."""

    columns: dict[Column, str] = Field(default_factory=dict)
    """What the files call their columns, as `query = "prompt"`; names decide what is not here."""
    separator: str | None = Field(None, min_length=1, max_length=1)
    """Between the columns of delimited text; if not set, the one that yields even columns."""
    quoting: bool | None = None
    """Whether quotation marks enclose fields; if not set, in CSV they do, in TSV where it shows."""
    header: bool | None = None
    """Whether the first line names the columns; found if not set."""
    encoding: str | None = Field(None, min_length=1)
    """Of text files, as `cp1252`; if not set, UTF-8, or what the file's mark says."""
    grades: float | tuple[int | float | str, ...] | None = None
    """Which values mean relevant, and all others not: a list, as `[2, 3]`, or the lowest, as `0.5`.
    If not set, grades are whole numbers, relevant above 0."""
    split: str | None = Field(None, min_length=1)
    """Read only this split, as `train`: by the names of a folder's files (`qrels/train.tsv`), by a
    column `split`, or, of an evaluation set, by `splits.*` beside it."""
    on_invalid: Literal["fail", "quarantine"] = "fail"
    """Stop at rows that cannot be used, or set them aside and use the rest."""


class _Sources(Settings):
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
    candidates: Source | None = None
    """Rankings of other systems, as TREC runs or tables of query_id, doc_id: further candidates,
    judged like those of the teachers."""
    pairs: Source | None = None
    """Instead of queries and judgments: a file of queries and positives, by the names of its
    columns, or its only two texts. Positives and given negatives join the corpus,
    and the negatives are candidates."""
    language: str = Field("und", min_length=2)
    """ISO 639-1 code of rows that name no language; `und` is undetermined. `detect` finds it, text
    by text, and leaves those `und` that it is not sure of (`pip install 'polymine[languages]'`)."""
    title: Literal["prepend", "ignore"] = "prepend"
    """Put a document's title before its text, as MTEB does, or leave it out."""
    near_copy: float = Field(0.8, gt=0.3, le=1.0)
    """Jaccard similarity of word 3-grams from which on two documents count as copies: what copies a
    positive is never a negative."""


class DatasetSettings(Reading, _Sources):
    """Where queries, corpus and known pairs come from."""

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
