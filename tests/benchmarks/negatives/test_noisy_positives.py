"""The benchmark of wrong positives: what is shuffled, and the student that learns from it."""

import numpy as np
import polars as pl
import pytest

from benchmarks.negatives.noisy_positives import shuffle
from benchmarks.training.proxy import Proxy, Rows, ndcg

COUNT, WIDTH = 60, 16


def test_a_tenth_of_the_pairs_is_wrong_and_known_to_be():
    pairs = pl.DataFrame(
        {"query_id": [f"q{n:02d}" for n in range(50)], "doc_id": [f"d{n:02d}" for n in range(50)]}
    )
    moved, wrong = shuffle(pairs, seed=1)
    assert wrong.sum() == 5
    same = moved.join(pairs, on=["query_id", "doc_id"], how="semi")
    assert same.height == 45
    assert sorted(moved["doc_id"]) == sorted(pairs["doc_id"])


def unit(vectors: np.ndarray) -> np.ndarray:
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)


def test_the_student_learns_what_all_pairs_have_in_common():
    """Half of each vector is noise: left out, unseen queries find their documents."""
    draws = np.random.default_rng(0)
    meaning = draws.normal(size=(COUNT, WIDTH // 2))
    sides = [unit(np.hstack([meaning, 3 * draws.normal(size=meaning.shape)])) for _ in range(2)]
    seen = np.arange(COUNT // 2)
    relevant = pl.DataFrame({"query": seen, "document": seen + COUNT // 2})
    queries = sides[0][COUNT // 2 :]
    before = ndcg(queries, sides[1], relevant, None)
    alone = np.empty((len(seen), 0), np.int64)  # no negatives but those of the batch
    weights = np.ones(len(seen), np.float32)
    proxy = Proxy(rank=WIDTH, rate=1e-2)
    student = proxy.train(*sides, Rows(seen, seen, alone, weights), seed=0)
    assert ndcg(queries, sides[1], relevant, student).mean() > before.mean() + 0.2
    idle = proxy.train(*sides, Rows(seen, seen, alone, 0 * weights), seed=0)
    assert ndcg(queries, sides[1], relevant, idle).mean() == pytest.approx(before.mean(), abs=0.1)


def test_ndcg_is_over_the_whole_corpus():
    documents = unit(np.eye(4))
    queries = unit(np.array([[3.0, 2, 1, 0], [0, 1, 2, 3]]))
    relevant = pl.DataFrame({"query": [0, 0, 1], "document": [0, 2, 1]})
    ideal = 1 + 1 / np.log2(3)
    expected = [(1 + 1 / np.log2(4)) / ideal, 1 / np.log2(4)]
    assert ndcg(queries, documents, relevant, None) == pytest.approx(expected)
