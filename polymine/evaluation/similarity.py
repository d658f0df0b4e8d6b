"""Sentence similarity (STS) and clustering, as MTEB measures them."""

from __future__ import annotations

from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from polymine.data_contracts.errors import InputError
from polymine.data_contracts.learning import SetScores
from polymine.evaluation.significance import Numbers, Resampling, interval
from polymine.evaluation.tables import as_set_scores

_PAIR = ["language_a", "language_b"]
_SCORES = [name for name in SetScores.column_names() if name not in ("model", "set")]
DRAWS = 10  # MTEB's number of samples that are clustered
SAMPLE = 16_384  # MTEB's size of a sample, drawn with replacement
BATCH = 512  # MTEB's batch of k-means


def check_pairs(pairs: pl.DataFrame) -> None:
    """Check pairs with scores before anything is embedded.

    Args:
        pairs: language_a, language_b, gold.

    Raises:
        InputError: a pair of languages has fewer than two texts or but one score, so that no rank
            correlation exists, or a score is missing.
    """
    if pairs["gold"].is_null().any() or not pairs["gold"].is_finite().all():
        raise InputError("every pair needs a finite score; leave pairs without one out")
    alike = pairs.group_by(_PAIR).agg(pl.col("gold").n_unique()).filter(pl.col("gold") < 2)
    if alike.height:
        names = ", ".join("-".join(row) for row in alike.select(_PAIR).sort(_PAIR).rows())
        raise InputError(
            f"a rank correlation needs pairs with different scores; {names} has but one score; "
            "leave these languages out"
        )


def compare_texts(
    pairs: pl.DataFrame, left: NDArray[np.float32], right: NDArray[np.float32]
) -> pl.DataFrame:
    """Put the cosine beside the gold score of every pair.

    Args:
        pairs: language_a, language_b, gold.
        left, right: unit vectors of both texts (n, d), in the order of the pairs.

    Returns:
        language_a, language_b, similarity, gold, in the same order.
    """
    if left.shape != right.shape or len(left) != pairs.height:
        raise InputError(
            f"expected one vector per side of {pairs.height} pairs, got {left.shape} and "
            f"{right.shape}; embed the set's own texts in their order"
        )
    check_pairs(pairs)
    cosine = np.einsum("ij,ij->i", left, right, optimize=False).astype(np.float64)
    return pairs.select(*_PAIR, similarity=pl.Series(cosine), gold=pl.col("gold").cast(pl.Float64))


def correlations(
    rows: pl.DataFrame,
    base: pl.DataFrame | None = None,
    *,
    model: str,
    set: str,
    resampling: Resampling | None = None,
) -> pl.DataFrame:
    """Compute Spearman's correlation of cosine and gold per pair of languages.

    Args:
        rows: of `compare_texts`.
        base: the base's rows of the same pairs, in the same order; None for the base itself.
        model, set: names.
        resampling: of the gain; pairs are drawn.

    Returns:
        `SetScores` with the metric `spearman`; language_a takes the document's place. A model whose
        cosines are all equal orders nothing: 0.
    """
    rows = rows.with_columns(
        reference=_same_pairs(rows, base) if base is not None else pl.lit(None, dtype=pl.Float64)
    )
    found = []
    for (left, right), part in rows.group_by(_PAIR, maintain_order=True):
        own, gold = part["similarity"].to_numpy(), part["gold"].to_numpy()
        value, gain, low, high = _spearman(own, gold), None, None, None
        if base is not None:
            reference = part["reference"].to_numpy()
            gain = value - _spearman(reference, gold)
            low, high = interval((own, reference, gold), _gain, resampling or Resampling())
        found.append((left, right, "spearman", len(own), value, gain, low, high))
    return as_set_scores(pl.DataFrame(found, _SCORES, orient="row"), model, set)


def cluster(
    labels: pl.DataFrame, vectors: NDArray[np.float32], *, model: str, set: str, seed: int = 0
) -> pl.DataFrame:
    """Cluster each language's texts and compare with their labels (v-measure).

    As MTEB's fast clustering tasks: mini-batch k-means with as many clusters as labels, on samples
    with replacement; the value is the mean. Without intervals: samples of the same texts say
    nothing of other texts.

    Args:
        labels: language, label; `vectors` (n, d) are in the same order.
        vectors: of the texts.
        model, set: names.
        seed: of samples and k-means; the same samples for every model.

    Returns:
        `SetScores` with the metric `v_measure`, the language in both places.
    """
    if len(vectors) != labels.height:
        raise InputError(
            f"expected one vector per text, {labels.height}, got {len(vectors)}; "
            "embed the set's own texts in their order"
        )
    found: list[tuple[Any, ...]] = []
    for (language,), part in labels.with_row_index("row").group_by("language"):
        value = _v_measure(vectors[part["row"].to_numpy()], part["label"].to_numpy(), seed)
        found.append((language, language, "v_measure", part.height, value, None, None, None))
    return as_set_scores(pl.DataFrame(found, _SCORES, orient="row"), model, set)


def _v_measure(vectors: NDArray[np.float32], labels: NDArray[Any], seed: int) -> float:
    from sklearn.cluster import MiniBatchKMeans
    from sklearn.metrics import v_measure_score
    from threadpoolctl import threadpool_limits

    rng = np.random.default_rng(seed)
    kinds = len(np.unique(labels))
    means = MiniBatchKMeans(
        n_clusters=kinds, batch_size=BATCH, init="k-means++", n_init=1, random_state=seed
    )
    scores = []
    # batches are so small that more threads only wait for each other: ten times slower with two
    with threadpool_limits(1):
        for _ in range(DRAWS):
            drawn = rng.integers(0, len(labels), SAMPLE)
            scores.append(v_measure_score(labels[drawn], means.fit_predict(vectors[drawn])))
    return float(np.mean(scores))


def _same_pairs(rows: pl.DataFrame, base: pl.DataFrame) -> pl.Series:
    if not rows.select(*_PAIR, "gold").equals(base.select(*_PAIR, "gold")):
        raise InputError(
            "base and model must be measured on the same pairs in the same order; "
            f"got {rows.height} and {base.height} pairs of other languages or scores"
        )
    return base["similarity"]


def _spearman(values: Numbers, gold: Numbers) -> float:
    from scipy.stats import spearmanr

    if np.ptp(values) == 0:
        return 0.0
    return float(spearmanr(values, gold).statistic)


def _gain(own: Numbers, base: Numbers, gold: Numbers, axis: int) -> Numbers:
    """Spearman's correlations of many resamples at once: Pearson's of the ranks."""
    from scipy.stats import rankdata

    ranks = [rankdata(part, axis=axis) for part in (own, base, gold)]
    centred = [part - part.mean(axis=axis, keepdims=True) for part in ranks]
    sizes = [np.sqrt((part**2).sum(axis=axis)) for part in centred]
    products = [(part * centred[2]).sum(axis=axis) for part in centred[:2]]
    with np.errstate(invalid="ignore", divide="ignore"):
        mine, theirs = (
            np.where(size > 0, product / (size * sizes[2]), 0.0)
            for size, product in zip(sizes[:2], products, strict=True)
        )
    gain: Numbers = mine - theirs
    return gain
