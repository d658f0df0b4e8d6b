"""Teachers: what each method says, against NumPy and by eye."""

import numpy as np
import pytest

from polymine.mining.lexical import build_index
from polymine.mining.teachers import ArrayVectors, DenseTeacher, LexicalTeacher

RNG = np.random.default_rng(7)


def unit(rows: int, dimension: int = 384) -> np.ndarray:
    matrix = RNG.normal(size=(rows, dimension)).astype(np.float32)
    return matrix / np.linalg.norm(matrix, axis=1, keepdims=True)


QUERIES, DOCUMENTS = unit(40), unit(700)


def dense(**settings) -> DenseTeacher:
    return DenseTeacher("dense", ArrayVectors(QUERIES), ArrayVectors(DOCUMENTS), **settings)


class TestDense:
    def test_scores_are_dot_products(self):
        queries, documents = RNG.integers(40, size=300), RNG.integers(700, size=300)
        expected = (QUERIES[queries].astype("f8") * DOCUMENTS[documents]).sum(axis=1)
        np.testing.assert_allclose(dense().score(queries, documents), expected, atol=1e-6)

    def test_similarity_compares_documents(self):
        left, right = np.array([3, 5]), np.array([3, 6])
        same, other = dense().similarity(left, right)
        assert same == pytest.approx(1, abs=1e-6)
        assert other == pytest.approx(float(DOCUMENTS[5] @ DOCUMENTS[6]), abs=1e-6)

    def test_score_has_the_same_bits_in_whatever_company(self, monkeypatch):
        queries, documents = (grid.ravel() for grid in np.mgrid[:40, :700])
        whole = dense().score(queries, documents)
        for size in (1, 2, 3, 17):
            some = RNG.choice(len(queries), size=size, replace=False)
            assert np.array_equal(dense().score(queries[some], documents[some]), whole[some])
        monkeypatch.setattr("polymine.mining.teachers.PAIR_CHUNK", 999)
        assert np.array_equal(dense().score(queries, documents), whole)

    @pytest.mark.parametrize("candidates", [None, np.arange(0, 700, 3)])
    def test_moments_are_those_of_all_candidates(self, candidates):
        scores = QUERIES.astype("f8") @ DOCUMENTS.T.astype("f8")
        if candidates is not None:
            scores = scores[:, candidates]
        mean, deviation = dense(candidates=candidates).moments(np.arange(40))
        np.testing.assert_allclose(mean, scores.mean(axis=1), atol=1e-7)
        np.testing.assert_allclose(deviation, scores.std(axis=1), rtol=1e-5)

    def test_moments_do_not_depend_on_the_tile(self):
        rows = np.arange(40)
        for tile in (16, 700):
            assert np.array_equal(dense(tile=tile).moments(rows), dense().moments(rows))

    @pytest.mark.parametrize("tile", [16, 100, 700])
    def test_blocks_cover_each_candidate_once(self, tile):
        candidates = np.arange(1, 700, 2)
        blocks = list(dense(candidates=candidates, tile=tile).blocks(np.arange(5)))
        assert np.array_equal(np.concatenate([rows for rows, _ in blocks]), candidates)
        scores = np.hstack([scores for _, scores in blocks])
        np.testing.assert_allclose(scores, QUERIES[:5] @ DOCUMENTS[candidates].T, atol=1e-6)


class TestLexical:
    TEXTS = ("apple pie", "apple tart", "pear", "apple apple pie", "plum")
    QUERIES = ("apple pie", "kiwi", "pear plum")

    def teacher(self, candidates=None) -> LexicalTeacher:
        return LexicalTeacher(
            "bm25", build_index(self.TEXTS, 1.2, 0.75), list(self.QUERIES), candidates
        )

    def test_documents_without_a_shared_word_are_no_candidates(self):
        rows, scores = self.teacher().nearest(np.arange(3), 4)
        assert sorted(rows[0]) == [-1, 0, 1, 3]
        assert rows[1].tolist() == [-1] * 4
        assert sorted(rows[2]) == [-1, -1, 2, 4]
        assert (np.isfinite(scores) == (rows >= 0)).all()
        ((_, block),) = self.teacher().blocks(np.arange(3))
        assert np.isfinite(block).tolist() == [
            [True, True, False, True, False],
            [False] * 5,
            [False, False, True, False, True],
        ]

    def test_candidates_may_be_limited(self):
        teacher = self.teacher(np.array([1, 2, 3]))
        rows, scores = teacher.nearest(np.array([0, 2]), 2)
        assert sorted(rows[0]) == [1, 3]
        assert sorted(rows[1]) == [-1, 2]
        exact = teacher.score(np.array([0, 0]), rows[0])
        assert scores[0].tolist() == exact.tolist()
        ((tile, block),) = teacher.blocks(np.array([0]))
        assert tile.tolist() == [1, 2, 3]
        assert block[0, [0, 2]].tolist() == teacher.score(np.array([0, 0]), tile[[0, 2]]).tolist()

    def test_score_of_pairs_in_any_order(self):
        teacher = self.teacher()
        queries, documents = np.array([0, 2, 0, 1, 2]), np.array([0, 2, 3, 0, 2])
        table = np.stack([teacher.score(np.full(5, query), np.arange(5)) for query in range(3)])
        assert teacher.score(queries, documents).tolist() == table[queries, documents].tolist()
        assert table[1].tolist() == [0] * 5

    @pytest.mark.parametrize("candidates", [None, np.array([1, 2, 3])])
    def test_moments_include_the_zeros(self, candidates):
        teacher = self.teacher(candidates)
        rows = np.arange(5) if candidates is None else candidates
        table = np.stack([teacher.score(np.full(len(rows), q), rows) for q in range(3)])
        mean, deviation = teacher.moments(np.arange(3))
        np.testing.assert_allclose(mean, table.astype("f8").mean(axis=1))
        np.testing.assert_allclose(deviation, np.maximum(table.astype("f8").std(axis=1), 1e-6))

    def test_documents_are_not_compared(self):
        assert self.teacher().similarity(np.array([0]), np.array([1])) is None
