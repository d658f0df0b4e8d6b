"""Measures a validator against the teachers it is meant to correct, on queries it never saw.

The question is not whether it ranks well alone but what it adds: so every measure is also taken
for the teachers' sum without and with the validator, on the same candidates, with a paired
bootstrap interval of the difference.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import polars as pl
from pydantic import BaseModel, ConfigDict, Field

from polymine.progress import Progress, Silent
from shipped.validator_data import Domain, encode, known_positives, passages

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from sentence_transformers import CrossEncoder, SentenceTransformer

SINGLE = ("bm25", "minilm", "validator")
SUMS = {"teachers": ("bm25", "minilm"), "teachers+validator": SINGLE}
Kind = Literal["held-out", "other domain", "judged"]
STAGE = "score held-out pairs"


class Scores(BaseModel):
    """Means over queries of one scorer."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    mrr_at_10: float
    accuracy_at_1: float
    auc: float


class DomainScores(BaseModel):
    """All scorers on the same candidates of one set; `gain` is AUC with minus without."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    kind: Kind
    queries: int
    pairs: int
    scores: dict[str, Scores]
    gain: float = Field(description="AUC of teachers+validator minus AUC of teachers.")
    gain_interval: tuple[float, float] = Field(description="95 %, paired bootstrap over queries.")

    @property
    def verdict(self) -> str:
        """What the interval allows to say about adding the validator to the teachers."""
        low, high = self.gain_interval
        if low > 0:
            return "adds"
        return "harms" if high < 0 else "adds nothing measurable"


def draw_candidates(
    domain: Domain,
    encoder: SentenceTransformer,
    *,
    queries: int,
    candidates: int,
    lexical_share: float,
    near_copy: float,
    add_positives: bool,
    seed: int,
) -> pl.DataFrame:
    """List hard candidates per query: query_id, doc_id, query, passage, relevant, minilm, bm25.

    MiniLM's best and BM25's best (`lexical_share` of them) make up `candidates` per query;
    documents that nearly copy a positive (cosine of at least `near_copy`) are left out, since
    they are relevant without being judged so. Queries need candidates of both kinds.
    """
    rng = np.random.default_rng(seed)
    texts = passages(domain.documents, titles=True)
    documents = encode(encoder, texts)
    positives = known_positives(domain)  # queries without any are not asked
    chosen = np.sort(rng.permutation(sorted(positives))[:queries])
    asked = domain.queries[chosen]
    questions = encode(encoder, asked["text"].to_list())
    cosine = questions @ documents.T
    lexical = _bm25(texts, asked["text"].to_list())
    from_bm25 = round(candidates * lexical_share)
    frames = []
    for row, query in enumerate(chosen.tolist()):
        known = positives[query]
        by_cosine = np.argsort(-cosine[row], kind="stable")[: candidates - from_bm25]
        by_words = np.argsort(-lexical[row], kind="stable")[:from_bm25]
        found = np.union1d(by_cosine, by_words)
        copies = (documents[found] @ documents[known].T).max(axis=1) >= near_copy
        found = found[~copies | np.isin(found, known)]
        found = np.union1d(found, known) if add_positives else found
        relevant = np.isin(found, known)
        if relevant.all() or not relevant.any():
            continue
        frames.append(
            pl.DataFrame(
                {
                    "query_id": [asked["query_id"][row]] * len(found),
                    "doc_id": domain.documents["doc_id"][found],
                    "query": [asked["text"][row]] * len(found),
                    "passage": [texts[i] for i in found],
                    "relevant": relevant,
                    "minilm": cosine[row, found].astype(np.float64),
                    "bm25": lexical[row, found].astype(np.float64),
                }
            )
        )
    return pl.concat(frames)


def add_validator(
    pairs: pl.DataFrame, validator: CrossEncoder, progress: Progress | None = None
) -> pl.DataFrame:
    """Add the column `validator`: raw logits of (query, passage)."""
    progress = progress or Silent()
    rows = list(pairs.select("query", "passage").iter_rows())
    scores = []
    progress.start(STAGE, len(rows), "pairs")
    for start in range(0, len(rows), 1024):
        part = rows[start : start + 1024]
        scores.append(validator.predict(part, batch_size=32, show_progress_bar=False))
        progress.advance(STAGE, len(part))
    progress.finish(STAGE)
    return pairs.with_columns(validator=pl.Series(np.concatenate(scores), dtype=pl.Float64))


def measure(name: str, kind: Kind, pairs: pl.DataFrame, seed: int) -> DomainScores:
    """Compare the scorers on `pairs` (with the column `validator`), query by query."""
    standard = pairs.with_columns(_standardise(scorer) for scorer in SINGLE)
    summed = standard.with_columns(
        pl.sum_horizontal(f"{part}_z" for part in parts).alias(total)
        for total, parts in SUMS.items()
    )
    per_query = {scorer: _per_query(summed, scorer) for scorer in (*SINGLE, *SUMS)}
    gain = (per_query["teachers+validator"]["auc"] - per_query["teachers"]["auc"]).to_numpy()
    draws = np.random.default_rng(seed).integers(0, len(gain), (2000, len(gain)))
    low, high = np.quantile(gain[draws].mean(axis=1), [0.025, 0.975])
    return DomainScores(
        name=name,
        kind=kind,
        queries=len(gain),
        pairs=pairs.height,
        scores={scorer: _means(frame) for scorer, frame in per_query.items()},
        gain=round(float(gain.mean()), 4),
        gain_interval=(round(float(low), 4), round(float(high), 4)),
    )


def _standardise(scorer: str) -> pl.Expr:
    """Score in deviations from the query's mean, so that unlike scales can be summed."""
    score = pl.col(scorer)
    spread = score.std().over("query_id")
    centred = score - score.mean().over("query_id")
    return pl.when(spread > 0).then(centred / spread).otherwise(0.0).alias(f"{scorer}_z")


def _per_query(pairs: pl.DataFrame, scorer: str) -> pl.DataFrame:
    """Measure per query: reciprocal (0 beyond rank 10), first, auc; ordered by query_id.

    Ties cost what they cost on average: the best positive's rank among equals is the middle one,
    and AUC counts an equal pair as half (Mann-Whitney).
    """
    ranked = pairs.with_columns(
        descending=pl.col(scorer).rank("average", descending=True).over("query_id"),
        ascending=pl.col(scorer).rank("average").over("query_id"),
    )
    positives = pl.col("relevant").sum().cast(pl.Float64)
    negatives = (~pl.col("relevant")).sum().cast(pl.Float64)
    best = pl.col("descending").filter("relevant").min()
    wins = pl.col("ascending").filter("relevant").sum() - positives * (positives + 1) / 2
    return (
        ranked.group_by("query_id")
        .agg(best=best, auc=wins / (positives * negatives))
        .with_columns(
            reciprocal=pl.when(pl.col("best") <= 10).then(1 / pl.col("best")).otherwise(0.0),
            first=(pl.col("best") == 1).cast(pl.Float64),
        )
        .sort("query_id")
    )


def _means(per_query: pl.DataFrame) -> Scores:
    mean = per_query.select(pl.col("reciprocal", "first", "auc").mean().round(4)).row(0)
    return Scores(mrr_at_10=mean[0], accuracy_at_1=mean[1], auc=mean[2])


def _bm25(texts: Sequence[str], queries: Sequence[str]) -> NDArray[np.float32]:
    """Score every query against every text; (queries, texts)."""
    import bm25s

    tokens = bm25s.tokenize(list(texts), stopwords="en", show_progress=False)
    index = bm25s.BM25()
    index.index(tokens, show_progress=False)
    asked = bm25s.tokenize(list(queries), stopwords="en", return_ids=False, show_progress=False)
    return np.stack([_lexical_scores(index, words, len(texts)) for words in asked])


def _lexical_scores(index: Any, words: list[str], texts: int) -> NDArray[np.float32]:
    known = [word for word in words if word in index.vocab_dict]
    if not known:
        return np.zeros(texts, dtype=np.float32)
    scores: NDArray[np.float32] = index.get_scores(known)
    return scores
