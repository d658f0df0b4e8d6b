"""Mean and deviation of dot products: against all the products themselves."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from polymine.mining import moments
from polymine.mining.moments import FEWEST, Moments
from polymine.mining.teachers import ArrayVectors


def standardise_by_hand(left, vectors, rows, groups, group, score):
    """One z-score, with every product of `left` with the group computed."""
    members = rows[groups[rows] == group]
    if len(members) < FEWEST:
        members = rows  # too few to say anything: all together
    products = vectors[members].astype(float) @ left.astype(float)
    deviation = products.std()
    return np.nan if deviation < 1e-6 else (score - products.mean()) / deviation


@given(
    st.integers(0, 2**32 - 1),
    st.integers(1, 8),
    st.lists(st.integers(0, 25), min_size=1, max_size=4).filter(any),
)
def test_z_scores_are_those_of_all_products(seed, dimension, sizes):
    numbers = np.random.default_rng(seed)
    groups = numbers.permutation(np.repeat(np.arange(len(sizes)), sizes))
    vectors = numbers.standard_normal((len(groups), dimension)).astype(np.float32)
    left = numbers.standard_normal((5, dimension)).astype(np.float32)
    rows = np.flatnonzero(numbers.random(len(groups)) < 0.8)  # not every vector is a candidate
    if not len(rows):
        return
    places, asked = numbers.integers(0, 5, 20), numbers.integers(0, len(sizes), 20)
    scores = numbers.standard_normal(20).astype(np.float32)
    found = Moments(ArrayVectors(vectors), rows, groups).standardise(
        ArrayVectors(left), places, asked, scores
    )
    expected = [
        standardise_by_hand(left[place], vectors, rows, groups, group, score)
        for place, group, score in zip(places, asked, scores, strict=True)
    ]
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-4)


def test_a_group_of_nine_borrows_and_one_of_ten_has_its_own():
    # Along the axis: nine at 4, ten at -2 and 2, so the mean is 0 in the larger group only.
    line = np.array([4.0] * 9 + [-2.0, 2.0] * 5, dtype=np.float32)[:, None]
    groups = np.array([0] * 9 + [1] * 10)
    known = Moments(ArrayVectors(line), np.arange(19), groups)
    one = ArrayVectors(np.ones((1, 1), dtype=np.float32))
    zero, two = np.zeros(1, dtype=int), np.array([2.0], dtype=np.float32)
    assert known.standardise(one, zero, np.array([1]), two) == pytest.approx([1.0])
    everything = (2.0 - line.mean()) / line.std()
    assert known.standardise(one, zero, np.array([0]), two) == pytest.approx([everything])


def test_nothing_stands_out_where_all_are_alike():
    alike = ArrayVectors(np.ones((20, 3), dtype=np.float32))
    known = Moments(alike, np.arange(20), np.zeros(20, dtype=int))
    one = ArrayVectors(np.ones((1, 3), dtype=np.float32))
    found = known.standardise(one, np.zeros(1, int), np.zeros(1, int), np.full(1, 3, np.float32))
    assert np.isnan(found).all()


def test_blocks_in_which_vectors_are_read_change_no_more_than_rounding(monkeypatch):
    vectors = np.random.default_rng(0).standard_normal((50, 6)).astype(np.float32)
    common = (
        ArrayVectors(vectors[:3]),
        np.array([0, 1, 2]),
        np.zeros(3, int),
        np.ones(3, np.float32),
    )
    whole = Moments(ArrayVectors(vectors), np.arange(50), np.zeros(50, int)).standardise(*common)
    monkeypatch.setattr(moments, "BLOCK", 7)
    cut = Moments(ArrayVectors(vectors), np.arange(50), np.zeros(50, int)).standardise(*common)
    np.testing.assert_allclose(cut, whole, rtol=1e-12)
