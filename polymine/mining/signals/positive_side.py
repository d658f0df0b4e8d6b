"""From the known positives to the candidate: each positive takes the query's place.

A candidate that is itself a known positive is compared with the query's other positives only, so
that known pairs show what relevant documents look like that nobody has marked: hide one, find it.
"""

import numpy as np
import polars as pl
from numpy.typing import NDArray

from polymine.mining.signals.pairs import Column, Pairs, rounded
from polymine.mining.teachers import Rows, Teacher

COMPARED = 1 << 20  # candidates times positives compared at a time: 60 MB of work space


def find(pairs: Pairs) -> dict[str, Column]:
    """Compare each candidate with its query's known positives.

    Args:
        pairs: with the columns `z_*`.

    Returns:
        - `positive_similarity`: the highest cosine of the first dense teacher.
        - `positive_z_*`: the highest z-score with a positive in the query's place.
        - `gap_z_*` of dense teachers: how far `z_*` lies above that of the lowest positive.
        - `positive_score`: the lowest score the first teacher gives one of them.

        All are null for a query without a positive, all but the last also for its only one.
    """
    compared = {teacher.name: _compare(teacher, pairs) for teacher in pairs.teachers}
    similarity = next(
        (raw for raw, _ in compared.values() if raw is not None),
        np.full(len(pairs.queries), np.nan, dtype=np.float32),
    )
    return {
        "positive_similarity": pl.Series(similarity).fill_nan(None),
        "positive_score": pl.Series(_lowest(pairs)).fill_nan(None),
        **{f"positive_z_{name}": rounded(z) for name, (_, z) in compared.items()},
        **{
            f"gap_z_{teacher.name}": rounded(_gap(teacher, pairs))
            for teacher in pairs.teachers
            if teacher.symmetric
        },
    }


def _gap(teacher: Teacher, pairs: Pairs) -> NDArray[np.float64]:
    """Distance of each z-score from the lowest one of the query's (other) known positives."""
    queries, documents = pairs.known.positives
    gap = np.full(len(pairs.queries), np.nan)
    if not len(queries):
        return gap
    z = teacher.standardise(queries, documents, teacher.score(queries, documents))
    order = np.lexsort((z, queries))
    queries, documents, z = queries[order], documents[order], z[order]
    asked, first = np.unique(queries, return_index=True)
    second = np.minimum(first + 1, len(z) - 1)
    place = np.minimum(np.searchsorted(asked, pairs.queries), len(asked) - 1)
    lowest, next_lowest = first[place], second[place]
    itself = documents[lowest] == pairs.documents
    reference = np.where(itself, z[next_lowest], z[lowest])
    reference[asked[place] != pairs.queries] = np.nan
    reference[itself & (queries[next_lowest] != pairs.queries)] = np.nan
    reference[itself & (next_lowest == lowest)] = np.nan
    return pairs.array(f"z_{teacher.name}") - reference


def _lowest(pairs: Pairs) -> NDArray[np.float32]:
    """Lowest score of the query's known positives, per candidate."""
    queries, documents = pairs.known.positives
    lowest = np.full(len(pairs.queries), np.nan, dtype=np.float32)
    edges = np.flatnonzero(np.diff(queries, prepend=-1))
    if len(edges):
        minima = np.minimum.reduceat(pairs.teachers[0].score(queries, documents), edges)
        has = np.isin(pairs.queries, queries)
        lowest[has] = minima[np.searchsorted(queries[edges], pairs.queries[has])]
    return lowest


def _compare(
    teacher: Teacher, pairs: Pairs
) -> tuple[NDArray[np.float32] | None, NDArray[np.float64]]:
    """Highest similarity and z-score of each candidate to one of its query's positives.

    In blocks, because every candidate of a query meets every positive of it: what has forty
    positives per query would need forty times the memory.
    """
    known, positives = pairs.known.positives
    starts = np.searchsorted(known, pairs.queries, side="left")
    counts = np.searchsorted(known, pairs.queries, side="right") - starts
    ends = np.cumsum(counts)
    total = int(ends[-1]) if len(ends) else 0
    cuts = np.searchsorted(ends, np.arange(COMPARED, total, COMPARED), side="left") + 1
    nearest = np.full(len(counts), np.nan, dtype=np.float32)
    highest = np.full(len(counts), np.nan)
    for block in np.split(np.arange(len(counts)), np.unique(cuts)):
        place, positive = _spread(block, starts, counts, positives)
        candidates = pairs.documents[place]
        other = candidates != positive  # a positive is not compared with itself
        place, positive, candidates = place[other], positive[other], candidates[other]
        similar, z = teacher.compare(positive, candidates)
        order = np.argsort(place, kind="stable")
        edges = np.flatnonzero(np.diff(place[order], prepend=-1))
        if len(edges):
            highest[place[order][edges]] = np.fmax.reduceat(z[order], edges)
            if similar is not None:
                nearest[place[order][edges]] = np.fmax.reduceat(similar[order], edges)
    return (nearest if teacher.symmetric else None), highest


def _spread(block: Rows, starts: Rows, counts: Rows, positives: Rows) -> tuple[Rows, Rows]:
    """Write out the candidates of a block with each positive of their query, by positive."""
    sizes = counts[block]
    place = np.repeat(block, sizes)
    offset = np.arange(len(place)) - np.repeat(np.cumsum(sizes) - sizes, sizes)
    positive = positives[np.repeat(starts[block], sizes) + offset]
    order = np.argsort(positive, kind="stable")  # BM25 scores the corpus once per positive
    return place[order], positive[order]
