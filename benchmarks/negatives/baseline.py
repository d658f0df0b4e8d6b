"""sentence-transformers' miner, on vectors that are there already."""

import contextlib
import io
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl

from benchmarks.negatives.cases import Case
from benchmarks.negatives.sweeps import BASELINE_MARGINS, Value
from polymine.mining.embedding import Matrix


@dataclass(frozen=True)
class Baseline:
    """sentence-transformers' `mine_hard_negatives` on the same vectors, swept by relative margin.

    It works on texts; equal questions share their negatives, as they do there.
    """

    name: str = "sentence-transformers"
    values: Sequence[Value] = BASELINE_MARGINS

    def choose(self, case: Case, value: Value, wanted: int) -> pl.DataFrame:
        """Call the baseline as its documentation shows it, with vectors instead of a model."""
        from datasets import Dataset
        from sentence_transformers.util import mine_hard_negatives

        texts = case.documents.select("doc_id", "text")
        pairs = case.positives.join(
            case.queries.select("query_id", anchor="text"), on="query_id"
        ).join(texts.rename({"text": "positive"}), on="doc_id")
        with contextlib.redirect_stderr(io.StringIO()):  # a progress bar for every value
            mined = mine_hard_negatives(
                Dataset.from_dict(pairs.select("anchor", "positive").to_dict(as_series=False)),
                ReadyVectors(case),  # type: ignore[arg-type]
                corpus=texts["text"].to_list(),
                num_negatives=wanted,
                relative_margin=value,
                verbose=False,
            )
        found = pl.DataFrame(
            {name: pl.Series(list(mined[name]), dtype=pl.String) for name in ("anchor", "negative")}
        )
        chosen = (
            found.unique()
            .join(case.queries.select("query_id", anchor="text"), on="anchor")
            .join(texts.rename({"text": "negative"}), on="negative")
            .select("query_id", "doc_id")
        )
        return chosen.with_columns(score=pl.Series(case.dense.score(*case.rows_of(chosen))))


class ReadyVectors:
    """Stands for a SentenceTransformer and hands out vectors that were computed before."""

    def __init__(self, case: Case) -> None:
        import torch

        self.device = torch.device("cpu")
        self._queries = dict(zip(case.queries["text"], case.query_vectors, strict=True))
        self._documents = dict(zip(case.documents["text"], case.document_vectors, strict=True))

    def encode_query(self, sentences: Sequence[str], **_: Any) -> Matrix:
        """Look queries up."""
        return np.stack([self._queries[text] for text in sentences])

    def encode_document(self, sentences: Sequence[str], **_: Any) -> Matrix:
        """Look documents up."""
        return np.stack([self._documents[text] for text in sentences])

    def similarity(self, left: Any, right: Any) -> Any:
        """Cosines of all with all, as the model's own setting is."""
        from sentence_transformers.util import cos_sim

        return cos_sim(left, right)

    def similarity_pairwise(self, left: Any, right: Any) -> Any:
        """Cosines row by row."""
        from sentence_transformers.util import pairwise_cos_sim

        return pairwise_cos_sim(left, right)
