"""Intervals of gains: the paired percentile bootstrap over questions (Efron & Tibshirani 1993).

What is drawn with replacement is a question with everything it was asked in: its translations and
all directions. Treated as independent, a question in twelve languages would count as 144 proofs.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

Numbers = NDArray[np.float64]
WEIGHTS = 1 << 22  # weights in memory at once: 32 MB
SPARSE = 0.1  # share of filled cells below which a sparse product is the faster one


@dataclass(frozen=True)
class Resampling:
    """How intervals are made.

    Attributes:
        confidence: of the two-sided interval, in (0, 1).
        resamples: how many; the ends of the interval move by their Monte Carlo error only.
        seed: the same seed, the same intervals.
    """

    confidence: float = 0.95
    resamples: int = 5_000
    seed: int = 0

    @property
    def ends(self) -> tuple[float, float]:
        """Quantiles at both ends."""
        return (1 - self.confidence) / 2, (1 + self.confidence) / 2


def interval_of_means(
    sums: Numbers, counts: Numbers, members: NDArray[np.bool_], resampling: Resampling
) -> tuple[Numbers, Numbers]:
    """Bound means of means over directions, resampling questions.

    Args:
        sums: gains summed per question, direction and metric, shape (questions, directions,
            metrics).
        counts: queries per question and direction, (questions, directions); 0 where a question is
            not asked.
        members: which directions each mean is over, (means, directions).
        resampling: how often, and so on.

    Returns:
        low and high, shape (means, metrics). Of a single question both ends are the gain itself: a
        resample can be nothing else, and nothing is known of its spread. A resample that misses
        all questions of a direction says nothing of it and is left out of its means.
    """
    questions, directions, metrics = sums.shape
    table = np.concatenate([sums.reshape(questions, -1), counts], axis=1)
    compact = _compact(table)
    parts = []
    for weights in _weights(questions, resampling):
        totals = weights @ compact
        asked = totals[:, directions * metrics :]
        parts.append(_means(totals[:, : directions * metrics], asked, members, metrics))
    means = np.concatenate(parts)
    point = _means(table.sum(0)[None, :-directions], counts.sum(0)[None], members, metrics)[0]
    ends = np.nanquantile(means, resampling.ends, axis=0)
    # rounding alone must not tell a constant gain from its interval
    ends = np.where(np.isnan(ends) | (np.abs(ends - point) < 1e-12), point, ends)
    return ends[0], ends[1]


def sum_by_question(
    rows: pl.DataFrame, directions: pl.DataFrame, question: str, columns: Sequence[str]
) -> tuple[Numbers, Numbers]:
    """Sum columns per question and direction, and count the rows.

    Args:
        rows: document_language, query_language, the column of questions and those to sum.
        directions: every direction of the rows, in the order wanted.
        question: column of what is drawn together.
        columns: to sum, one per metric.

    Returns:
        Sums (questions, directions, metrics) and counts (questions, directions).
    """
    key = ["document_language", "query_language"]
    placed = rows.join(
        directions.select(key).with_row_index("place"), on=key, maintain_order="left"
    )
    asker = (placed[question].rank("dense") - 1).to_numpy()
    cells = (asker, placed["place"].to_numpy())
    sums = np.zeros((int(asker.max()) + 1, directions.height, len(columns)))
    np.add.at(sums, cells, placed.select(pl.col(columns).cast(pl.Float64)).to_numpy())
    counts = np.zeros(sums.shape[:2])
    np.add.at(counts, cells, 1)
    return sums, counts


def mean_over(sums: Numbers, counts: Numbers, members: NDArray[np.bool_]) -> Numbers:
    """Average over queries, then over the directions of each mean.

    Args:
        sums, counts, members: as in `interval_of_means`.

    Returns:
        Shape (means, metrics).
    """
    share = members / members.sum(1, keepdims=True)
    means: Numbers = share @ (sums.sum(0) / counts.sum(0)[:, None])
    return means


def interval(
    values: tuple[Numbers, ...], statistic: Callable[..., Any], resampling: Resampling
) -> tuple[float, float]:
    """Bound a statistic of paired samples (`scipy.stats.bootstrap`, percentile).

    Args:
        values: samples of equal length n; one draw takes the same rows of all.
        statistic: takes the samples and `axis`, along which observations lie.
        resampling: how often, and so on.

    Returns:
        low and high. Of n = 1 both are the statistic itself. Resamples in which it is not defined
        (NaN) are left out; if it never is, both ends are the statistic.
    """
    from scipy.stats import bootstrap

    point = float(statistic(*values, axis=-1))
    if len(values[0]) < 2:
        return point, point
    found = bootstrap(
        values, statistic, n_resamples=resampling.resamples, paired=True, vectorized=True,
        confidence_level=resampling.confidence, method="percentile", batch=500,
        rng=np.random.default_rng(resampling.seed),
    )  # fmt: skip
    drawn = found.bootstrap_distribution
    if not np.isfinite(drawn).any():
        return point, point
    low, high = np.nanquantile(drawn, resampling.ends)
    return float(low), float(high)


def _weights(questions: int, resampling: Resampling) -> Iterator[Numbers]:
    """Draw how often each question is taken: (resamples, questions), a batch at a time."""
    rng = np.random.default_rng(resampling.seed)
    size = max(1, WEIGHTS // questions)
    probabilities = np.full(questions, 1 / questions)
    for start in range(0, resampling.resamples, size):
        rows = min(size, resampling.resamples - start)
        yield rng.multinomial(questions, probabilities, size=rows).astype(np.float64)


def _compact(table: Numbers) -> Any:
    """Make a sparse matrix of a table that is mostly empty, as where directions share no texts."""
    from scipy.sparse import csr_array

    filled = np.count_nonzero(table)
    return csr_array(table) if filled < SPARSE * table.size else table


def _means(sums: Numbers, counts: Numbers, members: NDArray[np.bool_], metrics: int) -> Numbers:
    """Average over queries, then over directions: (resamples, means, metrics)."""
    resamples, directions = counts.shape
    shaped = sums.reshape(resamples, directions, metrics)
    asked = counts > 0
    gains = shaped / np.where(asked, counts, 1)[:, :, None]
    total = np.einsum("kd,rdm->rkm", members.astype(np.float64), gains, optimize=True)
    known = asked.astype(np.float64) @ members.T.astype(np.float64)
    means: Numbers = total / np.where(known > 0, known, np.nan)[:, :, None]
    return means
