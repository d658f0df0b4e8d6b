"""A ranking that builds on an earlier one is the one that is made from nothing, to the last bit."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from polymine.mining.dense import DenseTeacher
from polymine.mining.ranking import NOTHING, Ranked, merge_rankings, rank
from polymine.mining.teachers import ArrayVectors

WIDTH = 3  # components from -2 to 2: many documents share a score


def open_teacher(queries: np.ndarray, documents: np.ndarray) -> DenseTeacher:
    return DenseTeacher("t", ArrayVectors(queries), ArrayVectors(documents), tile=7)


def same(left: Ranked, right: Ranked) -> bool:
    pairs = ((getattr(left, name), getattr(right, name)) for name in Ranked.__dataclass_fields__)
    return all(a.tobytes() == b.tobytes() for a, b in pairs)


def take_over(before: Ranked, queries: np.ndarray, rows: np.ndarray, held: np.ndarray, depth: int):
    """What an earlier ranking says in today's rows; `held` and `queries` were its own."""
    named = np.isin(before.queries, queries)
    kept = named & np.isin(held[before.documents], rows)
    listed = Ranked(
        before.queries[kept], np.searchsorted(rows, held[before.documents[kept]]),
        before.ranks[kept], before.scores[kept],
    )  # fmt: skip
    cuts = np.full(queries.max(initial=-1) + 1, -np.inf, dtype=np.float32)
    last = named & (before.ranks == depth)
    cuts[before.queries[last]] = before.scores[last]
    return listed, cuts


@settings(max_examples=200)
@given(data=st.data(), seed=st.integers(0, 2**16), depth=st.integers(1, 6))
def test_new_and_gone_documents_and_queries(data, seed, depth):
    draw = np.random.default_rng(seed)
    total, asked = data.draw(st.integers(1, 30)), data.draw(st.integers(1, 5))
    texts = draw.integers(-2, 3, (total, WIDTH)).astype(np.float32)
    questions = draw.integers(-2, 3, (asked, WIDTH)).astype(np.float32)
    held = np.flatnonzero(draw.random(total) < data.draw(st.sampled_from([0.1, 0.7, 1.0])))
    today = np.flatnonzero(draw.random(total) < data.draw(st.sampled_from([0.1, 0.8, 1.0])))
    known = data.draw(st.integers(0, asked))  # the first queries were there before
    rows = np.arange(asked)
    before = NOTHING
    if len(held) and known:
        before = rank(open_teacher(questions, texts[held]), rows[:known], depth)
    listed, cuts = take_over(before, rows[:known], today, held, depth)
    cuts = np.concatenate([cuts, np.full(asked - known, np.inf, dtype=np.float32)])
    teacher = open_teacher(questions, texts[today])
    new = np.searchsorted(today, np.setdiff1d(today, held))
    found = merge_rankings(teacher, teacher.among(new), rows, depth, listed, cuts)
    assert same(found, rank(teacher, rows, depth))


def test_only_queries_that_lost_too_much_are_ranked_anew():
    texts = np.array([[9], [8], [7], [6], [5], [4]], dtype=np.float32)
    questions = np.ones((2, 1), dtype=np.float32)
    before = rank(open_teacher(questions, texts), np.arange(2), 3)
    gone = (before.queries == 1) & (before.documents == 0)  # as if one query alone had lost it
    listed = Ranked(*(getattr(before, n)[~gone] for n in Ranked.__dataclass_fields__))
    asked = []

    class Watched(DenseTeacher):
        def nearest(self, queries, count):
            asked.extend(queries.tolist())
            return super().nearest(queries, count)

    teacher = Watched("t", ArrayVectors(questions), ArrayVectors(texts))
    further = open_teacher(questions, texts).among(np.empty(0, dtype=np.int64))
    cuts = np.full(2, 7, dtype=np.float32)
    found = merge_rankings(teacher, further, np.arange(2), 3, listed, cuts)
    assert asked == [1]
    assert same(found, before)


@pytest.mark.parametrize("tie", ["a", "z"])
def test_a_new_document_that_ties_with_the_last_one_is_decided_anew(tie):
    texts = np.array([[2], [1], [1]], dtype=np.float32)
    today = np.array([[1], [2], [1], [1]] if tie == "a" else [[2], [1], [1], [1]], np.float32)
    question = np.ones((1, 1), dtype=np.float32)
    before = rank(open_teacher(question, texts), np.arange(1), 2)
    shift = 1 if tie == "a" else 0
    listed = Ranked(before.queries, before.documents + shift, before.ranks, before.scores)
    teacher = open_teacher(question, today)
    new = np.array([0 if tie == "a" else 3])
    cuts = np.array([1], dtype=np.float32)
    found = merge_rankings(teacher, teacher.among(new), np.arange(1), 2, listed, cuts)
    assert same(found, rank(teacher, np.arange(1), 2))
