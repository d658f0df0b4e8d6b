"""How likely a known pair is right: its validity.

A wrong pair, of a shuffled export or a broken join, is a query beside some document. How such pairs
look to the teachers is seen on pairs that are wrong on purpose: every query beside another query's
positive. Where known pairs are as frequent as their share of wrong ones would make them, they are
wrong; where they are far more frequent, they are right: the two-groups model (Efron 2008,
"Microarrays, Empirical Bayes and the Two-Groups Model").

Pairs are compared by their mean z-score over the teachers, so one teacher that ranks a pair near
speaks for it. What a right pair looks like need not be known; one that every teacher misjudges
cannot be told from a wrong one.
"""

from collections.abc import Sequence

import numpy as np

from polymine.mining.hashing import hash_texts, uniform
from polymine.mining.known import Ids, Known
from polymine.mining.risk import CLIP, Array
from polymine.mining.teachers import Rows, Teacher

FEWEST = 50  # known pairs from which they say how right ones look


def assess_positives(teachers: Sequence[Teacher], known: Known, ids: Ids, seed: int) -> Array:
    """Estimate how likely each known pair is right.

    Args:
        teachers: score and standardise pairs.
        known: its `positives` are assessed; no closed pair is planted as a wrong one.
        ids: of the same rows.
        seed: of the draw of wrong pairs.

    Returns:
        Probabilities, (n,), in the order of the positives; NaN for fewer than FEWEST of them.
    """
    queries, documents = known.positives
    planted = _plant(known, ids, seed)
    if min(len(queries), len(planted[0])) < FEWEST:
        return np.full(len(queries), np.nan)
    return compare(_standing(teachers, queries, documents), _standing(teachers, *planted))


def compare(found: Array, planted: Array) -> Array:
    """Tell right pairs from wrong ones by how much more frequent they are than planted ones.

    The share of wrong pairs is twice that of known pairs below the planted ones' median (Storey
    2002), which right pairs that look like wrong ones can only raise.

    Args:
        found: scores of known pairs, (n,); higher is likelier right.
        planted: scores of wrong pairs, (m,).

    Returns:
        Probabilities to be right, (n,), not falling with the score.
    """
    from scipy.optimize import isotonic_regression

    wrong = min(1.0, 2 * float(np.mean(found <= np.median(planted))))
    values, place = np.unique(np.concatenate([found, planted]), return_inverse=True)
    known, other = (
        np.bincount(part, minlength=len(values)) / len(part)
        for part in (place[: len(found)], place[len(found) :])
    )
    share = isotonic_regression(known / (known + other), weights=known + other).x
    with np.errstate(divide="ignore", invalid="ignore"):
        odds = share / (1 - share)  # density of known pairs over that of wrong ones
        right = 1 - wrong / odds if wrong else np.ones(len(values))
    return np.clip(right, 0.0, 1.0)[place[: len(found)]]


def _plant(known: Known, ids: Ids, seed: int) -> tuple[Rows, Rows]:
    """Give each query another's positive in the same pair of languages, ordered by query."""
    queries, documents = known.positives
    keys = uniform(seed, hash_texts(ids.queries.gather(queries)), documents.astype(np.uint64))
    languages = ids.query_languages[queries], ids.languages[documents]
    order = np.lexsort((keys, *languages))
    same = np.ones(len(order), dtype=bool)
    for each in languages:
        same &= each[order] == each[np.roll(order, 1)]
    planted = np.empty_like(documents)
    planted[order] = documents[np.roll(order, 1)]
    kept = np.empty_like(same)
    kept[order] = same
    width = len(ids.documents)
    closed = known.closed[0] * width + known.closed[1]
    kept &= ~np.isin(queries * width + planted, closed)
    return queries[kept], planted[kept]


def _standing(teachers: Sequence[Teacher], queries: Rows, documents: Rows) -> Array:
    """Mean z-score of pairs over the teachers; 0 where none can tell."""
    columns = []
    for teacher in teachers:
        scores = teacher.score(queries, documents)
        columns.append(np.asarray(teacher.standardise(queries, documents, scores), np.float64))
    values = np.nan_to_num(np.stack(columns), nan=0.0)
    mean: Array = np.clip(values, -CLIP, CLIP).mean(axis=0).round(4)
    return mean
