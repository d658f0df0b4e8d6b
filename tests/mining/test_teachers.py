"""Teachers: what each method says, against NumPy and by eye."""

import numpy as np
import pytest

from polymine.mining.bm25 import LexicalTeacher
from polymine.mining.dense import DenseTeacher
from polymine.mining.lexical import build_index
from polymine.mining.teachers import ArrayVectors

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

    def test_documents_take_the_place_of_queries(self):
        left, right = np.array([3, 5]), np.array([3, 6])
        (same, other), z = dense().compare(left, right)
        assert same == pytest.approx(1, abs=1e-6)
        assert other == pytest.approx(float(DOCUMENTS[5] @ DOCUMENTS[6]), abs=1e-6)
        table = DOCUMENTS.astype("f8") @ DOCUMENTS.T.astype("f8")
        expected = (table - table.mean(axis=1, keepdims=True)) / table.std(axis=1, keepdims=True)
        np.testing.assert_allclose(z, expected[left, right], rtol=1e-5)

    def test_score_has_the_same_bits_in_whatever_company(self, monkeypatch):
        queries, documents = (grid.ravel() for grid in np.mgrid[:40, :700])
        whole = dense().score(queries, documents)
        for size in (1, 2, 3, 17):
            some = RNG.choice(len(queries), size=size, replace=False)
            assert np.array_equal(dense().score(queries[some], documents[some]), whole[some])
        monkeypatch.setattr("polymine.mining.dense.PAIR_CHUNK", 999)
        assert np.array_equal(dense().score(queries, documents), whole)

    @pytest.mark.parametrize("candidates", [None, np.arange(0, 700, 3)])
    def test_z_scores_are_over_the_candidates_of_the_documents_language(self, candidates):
        """Languages 0 and 1 have moments of their own; 2 has too few documents and borrows."""
        languages = np.where(np.arange(700) < 6, 2, np.arange(700) % 2)
        table = QUERIES.astype("f8") @ DOCUMENTS.T.astype("f8")
        queries, documents = (grid.ravel() for grid in np.mgrid[:40, :20])
        teacher = dense(candidates=candidates, languages=languages)
        z = teacher.standardise(queries, documents, teacher.score(queries, documents))
        rows = np.arange(700) if candidates is None else candidates
        for query, document, found in zip(queries, documents, z, strict=True):
            own = rows[languages[rows] == languages[document]]
            among = table[query, rows if len(own) < 10 else own]
            expected = (table[query, document] - among.mean()) / among.std()
            assert found == pytest.approx(expected, rel=1e-5, abs=1e-6)

    def test_document_side_is_over_the_queries_of_the_querys_language(self):
        languages = np.arange(40) % 2
        teacher = dense(query_languages=languages)
        table = QUERIES.astype("f8") @ DOCUMENTS.T.astype("f8")
        queries, documents = np.array([0, 1, 7]), np.array([5, 5, 600])
        z = teacher.standardise_among_queries(queries, documents)
        for query, document, found in zip(queries, documents, z, strict=True):
            among = table[languages == languages[query], document]
            expected = (table[query, document] - among.mean()) / among.std()
            assert found == pytest.approx(expected, rel=1e-5, abs=1e-6)

    def test_few_queries_are_nothing_to_compare_with(self):
        few = DenseTeacher("dense", ArrayVectors(QUERIES[:9]), ArrayVectors(DOCUMENTS))
        assert np.isnan(few.standardise_among_queries(np.array([0]), np.array([0]))).all()

    def test_centroids_are_weighted_sums_of_unit_length(self):
        queries, groups = np.array([3, 3, 8]), np.array([2, 0, 2])
        documents, weights = np.array([10, 11, 12]), np.array([0.5, 1.0, 2.0])
        found = dense().centroids(queries, groups, documents, weights)
        sums = QUERIES[queries].astype("f8")
        sums[0] += DOCUMENTS[11]
        sums[2] += 0.5 * DOCUMENTS[10] + 2 * DOCUMENTS[12]
        expected = sums / np.linalg.norm(sums, axis=1, keepdims=True)
        np.testing.assert_allclose(found, expected, atol=1e-6)
        z = dense().standardise_vectors(found, np.array([0, 2]), np.array([1, 2]))
        table = expected @ DOCUMENTS.T.astype("f8")
        whole = (table - table.mean(axis=1, keepdims=True)) / table.std(axis=1, keepdims=True)
        np.testing.assert_allclose(z, whole[[0, 2], [1, 2]], rtol=1e-4)

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
            "bm25", build_index(self.TEXTS, 1.2, 0.75), self.QUERIES, self.TEXTS, candidates
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
    def test_z_scores_include_the_zeros(self, candidates):
        teacher = self.teacher(candidates)
        rows = np.arange(5) if candidates is None else candidates
        table = np.stack([teacher.score(np.full(5, query), np.arange(5)) for query in range(3)])
        queries, documents = np.array([0, 0, 1, 2]), np.array([0, 2, 1, 4])
        z = teacher.standardise(queries, documents, table[queries, documents])
        among = table[:, rows].astype("f8")
        assert np.isnan(z[2])  # no document shares a word with "kiwi": nothing stands out
        for at in (0, 1, 3):
            mine = among[queries[at]]
            expected = (table[queries[at], documents[at]] - mine.mean()) / mine.std()
            assert z[at] == pytest.approx(expected, rel=1e-6)

    def test_words_of_a_document_take_the_place_of_a_query(self):
        similar, z = self.teacher().compare(np.array([0, 0, 2]), np.array([3, 2, 2]))
        assert similar is None
        whole = self.teacher().score(np.full(5, 0), np.arange(5)).astype("f8")
        expected = (whole - whole.mean()) / whole.std()  # document 0 reads as query 0 does
        np.testing.assert_allclose(z[:2], expected[[3, 2]], rtol=1e-6)
        assert z[2] > 0

    def test_only_the_rarest_words_of_a_document_are_asked_for(self, monkeypatch):
        monkeypatch.setattr("polymine.mining.bm25.RAREST", 1)
        _, z = self.teacher().compare(np.array([1, 1]), np.array([1, 0]))
        assert z[0] > 0 > z[1]  # "tart" decides, "apple" is in most
