"""How clean and how hard chosen negatives are, and the curve a method's values draw of the two.

Cleaner is easy if the negatives may be easy, so methods are compared at equal hardness and full
yield: a method's curve is read where it is as hard as the reference. Nothing is extrapolated; a
curve that does not get there says how far it gets.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from benchmarks.negatives.cases import Case
from benchmarks.negatives.judged import PAIR, Revealed
from polymine.mining.embedding import Matrix

TEMPERATURE = 0.05  # of the contrastive loss: sentence-transformers' scale of 20
LSA_DIMENSIONS = 200
FULL_YIELD = 0.95  # of the negatives wanted
Point = dict[str, float | None]


@dataclass(frozen=True)
class Outsider:
    """Latent semantic analysis: a teacher that takes no part in mining.

    Unit vectors of queries and documents, in the row order of the tables it was given.
    """

    queries: Matrix
    documents: Matrix

    @classmethod
    def fit(cls, queries: Sequence[str], documents: Sequence[str]) -> "Outsider":
        """Truncated SVD over tf-idf of the documents (Deerwester et al. 1990)."""
        from sklearn.decomposition import TruncatedSVD
        from sklearn.feature_extraction.text import TfidfVectorizer
        from sklearn.preprocessing import normalize

        words = TfidfVectorizer(sublinear_tf=True)
        counted = words.fit_transform(documents)
        size = min(LSA_DIMENSIONS, min(counted.shape) - 1)
        svd = TruncatedSVD(size, random_state=0)
        topics = svd.fit_transform(counted)
        return cls(normalize(svd.transform(words.transform(queries))), normalize(topics))

    def score(
        self, queries: NDArray[np.int64], documents: NDArray[np.int64]
    ) -> NDArray[np.float64]:
        """Cosines of pairs of rows, shape (n,)."""
        scores: NDArray[np.float64] = (self.queries[queries] * self.documents[documents]).sum(1)
        return scores


@dataclass(frozen=True)
class Referee:
    """Measures what a method chose in one case; holds what methods do not see.

    Args:
        outside: its rows are those of the case.
        wanted: negatives per query.
    """

    case: Case
    truth: Revealed
    outside: Outsider
    wanted: int

    def measure(self, chosen: pl.DataFrame) -> Point:
        """Judge the chosen (query_id, doc_id) pairs.

        false_negatives: share that is truly relevant. hardness: mean cosine of the dense teacher.
        yield: share of the wanted negatives. lsa: mean cosine of the outsider; lsa_true: the same
        without the false negatives, which no one wants to be hard. loss: the untouched student's,
        over positive and chosen. instructive_kept: of the known instructive negatives a query has
        room for, the share chosen; instructive_share: their share of what was chosen.
        Raises ValueError if a pair is chosen twice or a query gets too many.
        """
        _check(chosen, self.wanted)
        if chosen.is_empty():
            return {"yield": 0.0}
        rows = self.case.rows_of(chosen)
        false = _is_in(chosen, self.truth.hidden)
        instructive = _is_in(chosen, self.truth.instructive)
        room = self.truth.instructive.group_by("query_id").len()["len"].clip(0, self.wanted).sum()
        lsa = self.outside.score(*rows)
        return {
            "false_negatives": float(false.mean()),
            "hardness": float(self.case.dense.score(*rows).mean()),
            "yield": len(chosen) / (self.wanted * self.case.queries.height),
            "lsa": float(lsa.mean()),
            "lsa_true": float(lsa[~false].mean()) if not false.all() else None,
            "loss": self.loss(*rows),
            "instructive_kept": float(instructive.sum() / room) if room else None,
            "instructive_share": float(instructive.mean()) if room else None,
            "expected": chosen.select(pl.mean("risk")).item() if "risk" in chosen.columns else None,
        }

    def loss(self, queries: NDArray[np.int64], documents: NDArray[np.int64]) -> float:
        """Mean loss over all queries; one without negatives has none to lose by."""
        negatives = self.case.dense.score(queries, documents)
        known = self.case.known.positives
        return contrastive_loss(known[0], self.case.dense.score(*known), queries, negatives)


def contrastive_loss(
    queries: NDArray[np.int64],
    positives: NDArray[np.float32],
    negative_queries: NDArray[np.int64],
    negatives: NDArray[np.float32],
) -> float:
    """InfoNCE (van den Oord et al. 2018) over one positive and its own negatives, mean of queries.

    Args:
        queries: distinct rows, ascending, with the cosine of each one's positive.
        negative_queries: the query of each cosine in `negatives`.
    """
    place = np.searchsorted(queries, negative_queries)
    gaps = (negatives.astype(np.float64) - positives.astype(np.float64)[place]) / TEMPERATURE
    sums = np.bincount(place, weights=np.exp(gaps), minlength=len(queries))
    return float(np.log1p(sums).mean())


def read_at(points: Sequence[Point], hardness: float) -> Point | None:
    """Read a curve at a hardness, linearly between its neighbouring points of full yield.

    Returns None where the curve does not reach that hardness. A measure that is missing in one of
    the two neighbours is missing.
    """
    full = sorted(full_yield(points), key=lambda point: _number(point["hardness"]))
    for below, above in zip(full, full[1:] or full, strict=False):
        low, high = _number(below["hardness"]), _number(above["hardness"])
        if low <= hardness <= high:
            share = (hardness - low) / (high - low) if high > low else 0.0
            return {name: _between(below[name], above.get(name), share) for name in below}
    return None


def full_yield(points: Sequence[Point]) -> list[Point]:
    """The points of a curve that find almost all negatives wanted."""
    return [point for point in points if _number(point["yield"]) >= FULL_YIELD]


def compare(curves: Sequence[Sequence[Point]], reference: Sequence[Point]) -> dict[str, Any]:
    """Read one method's curve of every seed at that seed's reference point.

    Args:
        curves: per seed the points of one method.
        reference: per seed the point of the reference that sets the hardness.

    Returns:
        `seeds` that reach it, mean and deviation of every measure over them, the `ratio` of the
        mean false negatives to the reference's in the same seeds, and `reached`, the lowest and
        highest hardness with full yield.
    """
    pairs = [
        (point, wanted)
        for points, wanted in zip(curves, reference, strict=True)
        if (point := read_at(points, _number(wanted["hardness"]))) is not None
    ]
    hard = [_number(point["hardness"]) for points in curves for point in full_yield(points)]
    result: dict[str, Any] = {
        "seeds": len(pairs),
        "reached": [min(hard), max(hard)] if hard else None,
    }
    if not pairs:
        return result
    base = np.mean([_number(wanted["false_negatives"]) for _, wanted in pairs])
    summary = summarise([point for point, _ in pairs])
    mean = summary["mean"]["false_negatives"]
    return {**result, **summary, "ratio": float(mean / base) if base > 0 else None}


def find_cleaner(
    curve: Sequence[Point], others: Mapping[str, Sequence[Point]]
) -> dict[str, dict[str, Any]]:
    """Find where another method is cleaner than `curve` at equal hardness, both with full yield.

    Returns:
        Per method the number of its points that can be `compared`, how many are `cleaner`, and
        the largest `gap` in false negatives.
    """
    found = {}
    for name, points in others.items():
        gaps = [
            _number(at["false_negatives"]) - _number(point["false_negatives"])
            for point in full_yield(points)
            if (at := read_at(curve, _number(point["hardness"]))) is not None
        ]
        cleaner = [gap for gap in gaps if gap > 0]
        found[name] = {
            "compared": len(gaps),
            "cleaner": len(cleaner),
            "gap": max(cleaner, default=0.0),
        }
    return found


def summarise(points: Sequence[Point]) -> dict[str, dict[str, float]]:
    """Mean and sample deviation of every measure over seeds, of those where it is there."""
    means, deviations = {}, {}
    for name in {name: None for point in points for name in point if name != "value"}:
        numbers = [number for point in points if (number := point.get(name)) is not None]
        if numbers:
            means[name] = float(np.mean(numbers))
            deviations[name] = float(np.std(numbers, ddof=1)) if len(numbers) > 1 else 0.0
    return {"mean": means, "deviation": deviations}


def _check(chosen: pl.DataFrame, wanted: int) -> None:
    if chosen.select(PAIR).is_duplicated().any():
        raise ValueError("a method chose a pair twice")
    most = chosen.group_by("query_id").len()["len"].max()
    if isinstance(most, int) and most > wanted:
        raise ValueError(f"a method chose {most} negatives for a query where {wanted} are wanted")


def _is_in(pairs: pl.DataFrame, known: pl.DataFrame) -> NDArray[np.bool_]:
    marked = known.select(*PAIR, found=pl.lit(True))
    joined = pairs.select(PAIR).join(marked, on=PAIR, how="left", maintain_order="left")
    return joined["found"].fill_null(False).to_numpy()


def _between(low: float | None, high: float | None, share: float) -> float | None:
    return None if low is None or high is None else low + share * (high - low)


def _number(value: float | None) -> float:
    if value is None:
        raise ValueError("a point of a curve lacks a measure that is always there")
    return value
