"""Exact candidates per query: its best `depth`, and as many below its ceiling as it needs.

A top-k cut before the ceiling starves queries whose neighbourhood is dense: everything the cut
keeps is then too close to the positive. So the ceiling is part of the search: queries that are
short after the first `depth` candidates are searched again, below their ceiling, through the whole
corpus.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from polymine.mining.teachers import Rows, Scores, Teacher

SLACK = 8  # candidates fetched beyond the cut, because fast arithmetic may swap neighbours
# More than fast float32 arithmetic can differ from the pairwise score, by the teacher's scale.
ROUNDING = 1e-5
BLOCK_QUERIES = 256  # queries whose scores for a whole tile are in memory at once


@dataclass(frozen=True)
class Ranked:
    """Candidates, flat, ordered by query, then score (best first), then document.

    Attributes:
        queries, documents: row numbers, shape (n,).
        ranks: from 1 per query.
        scores: float32, finite.
    """

    queries: Rows
    documents: Rows
    ranks: NDArray[np.uint32]
    scores: Scores


_NO_ROWS = np.empty(0, dtype=np.int64)
NOTHING = Ranked(_NO_ROWS, _NO_ROWS, _NO_ROWS.astype(np.uint32), _NO_ROWS.astype(np.float32))


def rank(teacher: Teacher, queries: Rows, depth: int) -> Ranked:
    """Find the exact best documents of every query.

    Args:
        queries: row numbers, ascending.
        depth: documents per query; a query with fewer candidates gets all of them.

    Returns:
        Ranks by the pairwise score; ties go to the lower document row.
    """
    parts, pending, count = [], queries, depth + SLACK
    while len(pending):
        rows, fast = teacher.nearest(pending, count)
        best = _cut(_score(teacher, pending, rows), depth)
        unsure = _unsure(pending, rows, fast, best, depth, count, teacher.scale)
        parts.append(_only(best, np.setdiff1d(pending, unsure)))
        pending, count = unsure, count * 2
    return _join(parts)


def merge_rankings(
    teacher: Teacher, further: Teacher, queries: Rows, depth: int, earlier: Ranked, cuts: Scores
) -> Ranked:
    """Find what `rank` does, from a ranking of an earlier corpus and the documents it lacks.

    What the earlier ranking left out stands behind its last document. So the best `depth` are among
    what it listed and the new ones, as long as so many of these stand before that place; queries
    that lost too many of their documents are ranked again.

    Args:
        further: the same teacher, among the new documents only.
        queries: row numbers, ascending.
        earlier: the earlier ranking, without documents that are gone or changed.
        cuts: score of the last document it had listed for each of `queries`; -inf where it had
            listed all that there were, +inf where it did not know the query.

    Returns:
        The same as `rank(teacher, queries, depth)`.
    """
    new = rank(further, queries, depth)
    places = np.searchsorted(queries, new.queries)
    sure = np.bincount(places[new.scores > cuts[places]], minlength=len(queries))
    sure += np.bincount(np.searchsorted(queries, earlier.queries), minlength=len(queries))
    told = (sure >= depth) | np.isneginf(cuts)
    parts = [_only(part, queries[told]) for part in (earlier, new)]
    return _join([_cut(_join(parts), depth), rank(teacher, queries[~told], depth)])


def rank_below(
    teacher: Teacher,
    queries: Rows,
    ceilings: NDArray[np.float64],
    count: int,
    closed: tuple[Rows, Rows],
) -> Ranked:
    """Find the `count` best documents strictly below each query's ceiling, however deep.

    Args:
        queries, ceilings: shape (n,), ascending rows; a ceiling of +inf admits everything.
        closed: (query rows, document rows) of pairs that may never be candidates, by query.

    Returns:
        Exact as from `rank`, with ranks from 1 below the ceiling; fewer than `count` where the
        candidates end.
    """
    parts = []
    for start in range(0, len(queries), BLOCK_QUERIES):
        part = slice(start, start + BLOCK_QUERIES)
        pending, wanted = queries[part], count + SLACK
        limits = ceilings[part]
        while len(pending):
            rows, scores = _best_below(teacher, pending, limits, wanted, closed)
            found = _score(teacher, pending, rows)
            keep = found.scores < limits[np.searchsorted(pending, found.queries)]
            found = _cut(_filtered(found, keep), count)
            full = np.isfinite(scores).all(axis=1)
            counts = np.bincount(np.searchsorted(pending, found.queries), minlength=len(pending))
            near = _unsure(pending, rows, scores, found, count, wanted, teacher.scale)
            unsure = np.isin(pending, near)
            unsure |= full & (counts < count)
            parts.append(_only(found, pending[~unsure]))
            pending, limits, wanted = pending[unsure], limits[unsure], wanted * 2
    return _join(parts)


def _best_below(
    teacher: Teacher,
    queries: Rows,
    ceilings: NDArray[np.float64],
    count: int,
    closed: tuple[Rows, Rows],
) -> tuple[Rows, Scores]:
    rows = np.full((len(queries), count), -1, dtype=np.int64)
    best = np.full((len(queries), count), -np.inf, dtype=np.float32)
    for tile, scores in teacher.blocks(queries):
        limits = ceilings + ROUNDING * teacher.scale
        scores = np.where(scores < limits[:, None], scores, -np.inf)
        _close(scores, queries, tile, closed)
        top = min(count, len(tile))
        chosen = np.argpartition(-scores, top - 1, axis=1)[:, :top]
        all_rows = np.hstack([rows, tile[chosen]])
        all_best = np.hstack([best, np.take_along_axis(scores, chosen, 1).astype(np.float32)])
        keep = np.argpartition(-all_best, count - 1, axis=1)[:, :count]
        rows, best = np.take_along_axis(all_rows, keep, 1), np.take_along_axis(all_best, keep, 1)
    rows[~np.isfinite(best)] = -1
    return rows, best


def _close(scores: Scores, queries: Rows, tile: Rows, closed: tuple[Rows, Rows]) -> None:
    """Put -inf where a pair is closed; only ever a mask inside the search, never an output."""
    closed_queries, closed_documents = closed
    inside = np.isin(closed_queries, queries) & np.isin(closed_documents, tile)
    places = np.searchsorted(queries, closed_queries[inside])
    scores[places, np.searchsorted(tile, closed_documents[inside])] = -np.inf


def _score(teacher: Teacher, queries: Rows, rows: Rows) -> Ranked:
    """Score the found pairs exactly and order them."""
    places, columns = np.nonzero(rows >= 0)
    flat_queries, documents = queries[places], rows[places, columns]
    order = np.lexsort((documents, flat_queries))
    flat_queries, documents = flat_queries[order], documents[order]
    return _ordered(flat_queries, documents, teacher.score(flat_queries, documents))


def _ordered(queries: Rows, documents: Rows, scores: Scores) -> Ranked:
    order = np.lexsort((documents, -scores, queries))
    queries, documents, scores = queries[order], documents[order], scores[order]
    starts = np.flatnonzero(np.diff(queries, prepend=-1))
    lengths = np.diff(np.append(starts, len(queries)))
    ranks = np.arange(len(queries)) - np.repeat(starts, lengths) + 1
    return Ranked(queries, documents, ranks.astype(np.uint32), scores)


def _unsure(
    queries: Rows, rows: Rows, fast: Scores, best: Ranked, depth: int, asked: int, scale: float
) -> Rows:
    """List queries where a document that was not fetched might belong to the best `depth`.

    Fewer than `asked` found means that there are no more: nothing is left to be unsure of.
    """
    if rows.shape[1] < asked:
        return _NO_ROWS
    full = (rows >= 0).all(axis=1)
    lowest_fetched = np.where(full, fast.min(axis=1), 0)
    last = best.ranks == depth
    lowest_kept = np.full(len(queries), np.inf)
    lowest_kept[np.searchsorted(queries, best.queries[last])] = best.scores[last]
    tolerance = ROUNDING * np.maximum(np.abs(lowest_fetched), scale)
    return queries[full & (lowest_kept - tolerance <= lowest_fetched)]


def _cut(ranked: Ranked, depth: int) -> Ranked:
    return _filtered(ranked, ranked.ranks <= depth)


def _only(ranked: Ranked, queries: Rows) -> Ranked:
    return _filtered(ranked, np.isin(ranked.queries, queries))


def _filtered(ranked: Ranked, keep: NDArray[np.bool_]) -> Ranked:
    queries = ranked.queries[keep]
    starts = np.flatnonzero(np.diff(queries, prepend=-1))
    lengths = np.diff(np.append(starts, len(queries)))
    ranks = (np.arange(len(queries)) - np.repeat(starts, lengths) + 1).astype(np.uint32)
    return Ranked(queries, ranked.documents[keep], ranks, ranked.scores[keep])


def _join(parts: list[Ranked]) -> Ranked:
    parts = [part for part in parts if len(part.queries)]
    if len(parts) < 2:
        return parts[0] if parts else NOTHING
    queries = np.concatenate([part.queries for part in parts])
    documents = np.concatenate([part.documents for part in parts])
    return _ordered(queries, documents, np.concatenate([part.scores for part in parts]))
