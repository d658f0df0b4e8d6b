"""Exact candidates, against brute force over every score."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from polymine.mining import ranking
from polymine.mining.bm25 import LexicalTeacher
from polymine.mining.dense import DenseTeacher
from polymine.mining.lexical import build_index
from polymine.mining.ranking import NOTHING, Ranked, rank, rank_below
from polymine.mining.teachers import ArrayVectors

NONE_CLOSED = (np.empty(0, np.int64), np.empty(0, np.int64))


def vectors(rows):
    """Whole numbers: every sum is exact, so equal scores are equal and ties abound."""
    return arrays(np.int8, st.tuples(rows, st.just(3)), elements=st.integers(-2, 2))


@st.composite
def collections(draw):
    queries = draw(vectors(st.integers(1, 5))).astype(np.float32)
    documents = draw(vectors(st.integers(1, 12))).astype(np.float32)
    copies = draw(st.lists(st.integers(0, len(documents) - 1), max_size=60))
    documents = np.vstack([documents, documents[copies]])
    kept = draw(st.none() | st.sets(st.integers(0, len(documents) - 1)))
    candidates = None if kept is None else np.array(sorted(kept), dtype=np.int64)
    return queries, documents, candidates, draw(st.integers(1, 80))


def open_dense(queries, documents, candidates=None, tile=65_536):
    return DenseTeacher("t", ArrayVectors(queries), ArrayVectors(documents), candidates, tile)


def brute(queries, documents, candidates, count, limits=None, closed=()):
    """Best documents of each query as (query, document, rank, score), the lower row first."""
    rows = range(len(documents)) if candidates is None else candidates.tolist()
    found = []
    for query, vector in enumerate(queries):
        scores = {row: float(vector @ documents[row]) for row in rows if (query, row) not in closed}
        below = {
            row: score for row, score in scores.items() if limits is None or score < limits[query]
        }
        best = sorted(below, key=lambda row: (-below[row], row))[:count]
        found += [(query, row, place, below[row]) for place, row in enumerate(best, start=1)]
    return found


def table(ranked: Ranked):
    columns = (ranked.queries, ranked.documents, ranked.ranks, ranked.scores)
    return list(zip(*(column.tolist() for column in columns), strict=True))


class TestRank:
    def test_by_eye(self):
        queries = np.array([[1, 0]], dtype=np.float32)
        documents = np.array([[0, 1], [1, 0], [2, 0], [1, 5]], dtype=np.float32)
        found = rank(open_dense(queries, documents), np.array([0]), 3)
        assert table(found) == [(0, 2, 1, 2.0), (0, 1, 2, 1.0), (0, 3, 3, 1.0)]

    @given(collections(), st.integers(1, 80))
    def test_is_the_brute_force_order_with_ties_by_row(self, collection, depth):
        queries, documents, candidates, tile = collection
        teacher = open_dense(queries, documents, candidates, tile)
        found = rank(teacher, np.arange(len(queries)), depth)
        assert table(found) == brute(queries, documents, candidates, depth)

    @pytest.mark.parametrize("corpus", [1, 7, 8, 9, 15, 16, 17])
    def test_ends_when_the_corpus_is_about_as_large_as_the_depth(self, corpus):
        documents = np.ones((corpus, 2), dtype=np.float32)
        found = rank(open_dense(documents[:1], documents), np.array([0]), 8)
        assert found.documents.tolist() == list(range(min(corpus, 8)))

    def test_thousand_copies_are_ranked_by_row(self):
        documents = np.ones((1000, 4), dtype=np.float32)
        found = rank(open_dense(documents[:2], documents, tile=96), np.arange(2), 5)
        assert found.documents.tolist() == [0, 1, 2, 3, 4] * 2

    def test_bm25_leaves_out_what_shares_no_word(self):
        texts = ["b a", "c", "a", "a b", "d a a"]
        teacher = LexicalTeacher("bm25", build_index(texts, 1.2, 0.75), ["a", "z", "b a"], texts)
        found = rank(teacher, np.arange(3), 4)
        scores = np.stack([teacher.score(np.full(5, query), np.arange(5)) for query in range(3)])
        expected = [
            (query, row)
            for query in range(3)
            for row in sorted(np.flatnonzero(scores[query] > 0), key=lambda r: -scores[query, r])
        ]
        assert list(zip(found.queries, found.documents, strict=True)) == expected
        assert {query for query, _ in expected} == {0, 2}

    def test_no_candidates_at_all(self):
        one = np.ones((3, 2), dtype=np.float32)
        teacher = open_dense(one, one, np.empty(0, np.int64))
        assert table(rank(teacher, np.arange(3), 5)) == []
        assert table(rank(teacher, np.empty(0, np.int64), 5)) == table(NOTHING) == []


class TestRankBelow:
    def test_ceiling_is_strict_and_closed_pairs_are_left_out(self):
        queries = np.array([[1.0]], dtype=np.float32)
        documents = np.array([[0.9], [0.5], [0.4], [0.3], [0.2]], dtype=np.float32)
        ceiling = np.array([float(documents[1, 0])])
        closed = (np.array([0]), np.array([3]))
        found = rank_below(open_dense(queries, documents), np.array([0]), ceiling, 2, closed)
        assert found.documents.tolist() == [2, 4]
        assert found.ranks.tolist() == [1, 2]

    @given(collections(), st.integers(1, 30), st.data())
    def test_is_brute_force_below_the_ceilings(self, collection, count, data):
        queries, documents, candidates, tile = collection
        ceiling = st.sampled_from([-8.5, -2.0, 0.0, 0.5, 1.0, 4.0, np.inf])
        limits = data.draw(st.lists(ceiling, min_size=len(queries), max_size=len(queries)))
        pair = st.tuples(st.integers(0, len(queries) - 1), st.integers(0, len(documents) - 1))
        closed = sorted(data.draw(st.sets(pair, max_size=40)))
        places = tuple(np.array([p[side] for p in closed], np.int64) for side in (0, 1))
        teacher = open_dense(queries, documents, candidates, tile)
        found = rank_below(teacher, np.arange(len(queries)), np.array(limits), count, places)
        assert table(found) == brute(queries, documents, candidates, count, limits, set(closed))

    def test_score_just_below_the_ceiling_counts(self):
        ceiling = np.float32(0.5)
        documents = np.array([[ceiling], [np.nextafter(ceiling, np.float32(0))]], dtype=np.float32)
        teacher = open_dense(np.ones((1, 1), dtype=np.float32), documents)
        found = rank_below(teacher, np.array([0]), np.array([0.5]), 2, NONE_CLOSED)
        assert found.documents.tolist() == [1]

    @pytest.mark.parametrize("tile", [16, 64, 1000])
    def test_many_copies_at_the_ceiling_hide_nothing_below_it(self, tile):
        documents = np.array([[0.5]] * 100 + [[0.25]] * 3, dtype=np.float32)
        teacher = open_dense(np.ones((1, 1), dtype=np.float32), documents, tile=tile)
        found = rank_below(teacher, np.array([0]), np.array([0.5]), 5, NONE_CLOSED)
        assert found.documents.tolist() == [100, 101, 102]

    @pytest.mark.parametrize("tile", [16, 64, 1000])
    def test_of_many_copies_the_lowest_rows_are_taken(self, tile):
        draw = np.random.default_rng(1)
        queries = draw.integers(0, 2, size=(6, 3)).astype(np.float32)
        documents = draw.integers(0, 2, size=(300, 3)).astype(np.float32)
        limits = [np.inf, 2.0, 1.0, np.inf, 3.0, 0.5]
        found = rank_below(
            open_dense(queries, documents, tile=tile), np.arange(6), np.array(limits), 5,
            NONE_CLOSED,
        )  # fmt: skip
        assert table(found) == brute(queries, documents, None, 5, limits)

    def test_bm25_gives_nothing_that_shares_no_word(self):
        texts = ["a a a", "a b", "a c", "d", "e"]
        teacher = LexicalTeacher("bm25", build_index(texts, 1.2, 0.75), ["a"], texts)
        ceiling = teacher.score(np.array([0]), np.array([0])).astype(np.float64)
        found = rank_below(teacher, np.array([0]), ceiling, 4, NONE_CLOSED)
        assert found.documents.tolist() == [1, 2]

    def test_some_queries_only(self):
        queries = np.eye(3, dtype=np.float32)
        documents = np.vstack([np.eye(3), np.eye(3) / 2]).astype(np.float32)
        limits = np.array([np.inf, 1.0])
        found = rank_below(open_dense(queries, documents), np.array([0, 2]), limits, 1, NONE_CLOSED)
        assert table(found) == [(0, 0, 1, 1.0), (2, 5, 1, 0.5)]


class TestSameBits:
    """Real vectors, whose products are rounded, in tiles and steps of every size."""

    RNG = np.random.default_rng(3)
    DOCUMENTS = RNG.normal(size=(600, 48)).astype(np.float32)
    DOCUMENTS[100:140] = DOCUMENTS[:40]  # copies tie to the last bit
    DOCUMENTS[140:150] = DOCUMENTS[0]
    DOCUMENTS /= np.linalg.norm(DOCUMENTS, axis=1, keepdims=True)
    QUERIES = DOCUMENTS[:60] + 0.02 * DOCUMENTS[200:260]
    QUERIES /= np.linalg.norm(QUERIES, axis=1, keepdims=True)
    ROWS = np.arange(60)

    def exact(self):
        teacher = open_dense(self.QUERIES, self.DOCUMENTS)
        scores = teacher.score(np.repeat(self.ROWS, 600), np.tile(np.arange(600), 60))
        return scores.reshape(60, 600)

    def pairs(self, found):
        return list(zip(found.queries.tolist(), found.documents.tolist(), strict=True))

    @pytest.mark.parametrize("tile", [16, 77, 600])
    @pytest.mark.parametrize("step", [1, 7, 60])
    def test_rank(self, tile, step):
        teacher = open_dense(self.QUERIES, self.DOCUMENTS, tile=tile)
        parts = [rank(teacher, self.ROWS[at : at + step], 9) for at in range(0, 60, step)]
        scores = self.exact()
        for part in parts:
            for query in np.unique(part.queries):
                mine = part.queries == query
                best = np.lexsort((np.arange(600), -scores[query]))[:9]
                assert part.documents[mine].tolist() == best.tolist()
                assert part.scores[mine].tolist() == scores[query, best].tolist()

    @pytest.mark.parametrize("tile", [16, 77, 600])
    @pytest.mark.parametrize("step", [1, 7, 60])
    def test_rank_below(self, tile, step, monkeypatch):
        monkeypatch.setattr(ranking, "BLOCK_QUERIES", step)
        scores = self.exact()
        # ceilings that are a document's own score: it and its copies must stay out
        limits = np.sort(scores, axis=1)[:, -20].astype(np.float64)
        limits[::10] = np.inf
        found = rank_below(
            open_dense(self.QUERIES, self.DOCUMENTS, tile=tile), self.ROWS, limits, 9, NONE_CLOSED
        )
        expected = []
        for query in self.ROWS:
            below = np.where(scores[query] < limits[query], scores[query], -np.inf)
            best = np.lexsort((np.arange(600), -below))[:9]
            expected += [(query, row, scores[query, row]) for row in best.tolist()]
        assert [(q, d, s) for q, d, _, s in table(found)] == expected
