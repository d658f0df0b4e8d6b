"""Intervals of gains: the paired bootstrap over questions (Efron & Tibshirani 1993).

What is drawn with replacement is a question with all that hangs together with it: its translations,
all directions, and the questions that the same document answers. Treated as independent, a question
in twelve languages would count as 144 proofs, and the five questions on a passage as five.

Percentiles of few draws are too narrow, as normal quantiles of few values are: the draws are
stretched to Student's t (Hesterberg 2015, "What Teachers Should Know About the Bootstrap"). Where
models were trained with several seeds, what seeds make of the means is drawn beside: Student's t of
their spread, which is pooled over all arms, since two or three seeds of one say next to nothing of
it (in simulation, two seeds that happened to agree made one in four verdicts a false one).
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

Numbers = NDArray[np.float64]
WEIGHTS = 1 << 22  # weights in memory at once: 32 MB
BUNDLES = 10_000  # more clusters than this are drawn in bundles
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


@dataclass(frozen=True)
class SeedNoise:
    """What a seed makes of the means.

    Attributes:
        variance: of what is compared, over single seeds, (means, metrics).
        freedom: degrees of freedom of that estimate.
    """

    variance: Numbers
    freedom: int


@dataclass(frozen=True)
class Drawn:
    """Means as they could have been.

    Attributes:
        means: as they are, (means, metrics).
        draws: (resamples, means, metrics), stretched around the means; NaN where a resample says
            nothing of a mean.
    """

    means: Numbers
    draws: Numbers

    def interval(self, resampling: Resampling) -> tuple[Numbers, Numbers]:
        """Bound the means.

        Of a single question, or of several that hang together, nothing is known: a resample can be
        nothing else.

        Args:
            resampling: its confidence says how far apart the bounds lie.

        Returns:
            Low and high, (means, metrics) each; infinite where nothing is known.
        """
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", RuntimeWarning)  # a mean that no resample knows
            ends = np.nanquantile(self.draws, resampling.ends, axis=0)
        # rounding alone must not tell a constant gain from its interval
        ends = np.where(np.abs(ends - self.means) < 1e-12, self.means, ends)
        low, high = (np.where(np.isnan(end), bound, end)
                     for end, bound in zip(ends, (-np.inf, np.inf), strict=True))  # fmt: skip
        return low, high

    def p_values(self) -> Numbers:
        """Compute the chance of draws as far on the other side of 0, two-sided.

        Returns:
            (means, metrics); 1 where no draw is known. Never 0: with 5,000 draws at least .0004.
        """
        known = np.isfinite(self.draws).sum(0)
        tail = np.minimum((self.draws <= 0).sum(0), (self.draws >= 0).sum(0))
        found: Numbers = np.where(known, np.minimum(1.0, 2 * (tail + 1) / (known + 1)), 1.0)
        return found


def draw_means(
    sums: Numbers,
    counts: Numbers,
    members: NDArray[np.bool_],
    resampling: Resampling,
    noise: SeedNoise | None = None,
    wider: Numbers | float = 1.0,
) -> Drawn:
    """Resample means of means over directions, drawing questions and, of several, seeds.

    Args:
        sums: gains summed per question, direction and metric, shape (seeds, questions, directions,
            metrics).
        counts: queries per question and direction, (questions, directions); 0 where a question is
            not asked.
        members: which directions each mean is over, (means, directions).
        resampling: how often, and so on.
        noise: of seeds, where there are several; by themselves if None.
        wider: how many times as far from the mean what questions say may lie, (means, metrics);
            see `polymine.evaluation.shared`.

    Returns:
        The means, seeds averaged, and their draws. A resample that misses all questions of a
        direction says nothing of it and leaves it out of its means.
    """
    seeds, questions, directions, metrics = sums.shape
    columns = sums.transpose(1, 0, 2, 3).reshape(questions, -1)
    compact = _compact(_bundle(np.concatenate([columns, counts], axis=1), resampling.seed))
    parts = []
    for weights in _weights(compact.shape[0], resampling):
        totals = weights @ compact
        shaped = totals[:, :-directions].reshape(len(weights), seeds, directions * metrics)
        parts.append(_means(shaped, totals[:, -directions:], members, metrics))
    each = np.concatenate(parts)
    whole = sums.sum(1).reshape(1, seeds, directions * metrics)
    points = _means(whole, counts.sum(0)[None], members, metrics)[0]
    asked = (counts @ members.T > 0).sum(0)
    spread = wider * _stretched(each.mean(1) - points.mean(0), asked[:, None], resampling)
    if seeds > 1:
        noise = noise or SeedNoise(points.var(0, ddof=1), seeds - 1)
        rng = np.random.default_rng([resampling.seed, seeds])
        beside = rng.standard_t(noise.freedom, size=(len(spread), 1, 1))
        spread = spread + beside * np.sqrt(noise.variance / seeds)
    return Drawn(points.mean(0), points.mean(0) + spread)


def _stretched(spread: Numbers, questions: Numbers, resampling: Resampling) -> Numbers:
    """Widen draws around 0 to Student's t, by the number of questions; NaN where there is one."""
    from scipy.stats import norm, t

    freedom, end = np.maximum(questions - 1, 1), resampling.ends[1]
    factor = np.sqrt(questions / freedom) * t.ppf(end, freedom) / norm.ppf(end)
    widened: Numbers = np.where(questions > 1, spread * factor, np.nan)
    return widened


def interval_of_means(
    sums: Numbers, counts: Numbers, members: NDArray[np.bool_], resampling: Resampling
) -> tuple[Numbers, Numbers]:
    """Bound means of means over directions, of a single seed.

    Args:
        sums: as for `draw_means`, without the seeds: (questions, directions, metrics).
        counts, members, resampling: as for `draw_means`.

    Returns:
        low and high, shape (means, metrics).
    """
    return draw_means(sums[None], counts, members, resampling).interval(resampling)


def holm(values: Sequence[float]) -> list[float]:
    """Correct p-values for their number (Holm 1979).

    Args:
        values: of all comparisons made.

    Returns:
        In their order: rejecting those below a level makes any false rejection at most that likely.
    """
    order = np.argsort(values, kind="stable")
    factors = np.arange(len(order), 0, -1)
    raised = np.minimum(1.0, np.maximum.accumulate(np.asarray(values)[order] * factors))
    adjusted = np.empty(len(order))
    adjusted[order] = raised
    return [float(value) for value in adjusted]


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
    for start in range(0, resampling.resamples, size):
        rows = min(size, resampling.resamples - start)
        # thirty times as fast as drawing the multinomial numbers themselves
        taken = rng.integers(questions, size=(rows, questions))
        taken += np.arange(rows)[:, None] * questions
        counted = np.bincount(taken.ravel(), minlength=rows * questions)
        yield counted.reshape(rows, questions).astype(np.float64)


def _bundle(table: Numbers, seed: int) -> Numbers:
    """Put very many clusters together at random, into BUNDLES of equal number.

    Sums of independent clusters are independent clusters: their spread is the same, and 10,000 tell
    it within 1 %.
    """
    if len(table) <= BUNDLES:
        return table
    order = np.random.default_rng(seed).permutation(len(table))
    starts = np.linspace(0, len(table), BUNDLES, endpoint=False).astype(np.int64)
    bundled: Numbers = np.add.reduceat(table[order], starts, axis=0)
    return bundled


def _compact(table: Numbers) -> Any:
    """Make a sparse matrix of a table that is mostly empty, as where directions share no texts."""
    from scipy.sparse import csr_array

    filled = np.count_nonzero(table)
    return csr_array(table) if filled < SPARSE * table.size else table


def _means(sums: Numbers, counts: Numbers, members: NDArray[np.bool_], metrics: int) -> Numbers:
    """Average over queries, then over directions: (resamples, seeds, means, metrics)."""
    resamples, directions = counts.shape
    shaped = sums.reshape(resamples, -1, directions, metrics)
    asked = counts > 0
    gains = shaped / np.where(asked, counts, 1)[:, None, :, None]
    total = np.einsum("kd,rsdm->rskm", members.astype(np.float64), gains, optimize=True)
    known = asked.astype(np.float64) @ members.T.astype(np.float64)
    means: Numbers = total / np.where(known > 0, known, np.nan)[:, None, :, None]
    return means
