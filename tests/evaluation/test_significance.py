"""Bootstrap intervals: against scipy, against known coverage, and where nothing can be known."""

import numpy as np
import pytest
from scipy.stats import bootstrap

from polymine.evaluation.significance import Resampling, interval, interval_of_means


def test_weights_agree_with_scipy_and_with_normal_theory():
    rng = np.random.default_rng(0)
    gains = rng.normal(0.03, 0.2, size=400)
    resampling = Resampling(resamples=20_000, seed=1)
    low, high = interval_of_means(
        gains[:, None, None], np.ones((400, 1)), np.ones((1, 1), bool), resampling
    )
    found = bootstrap((gains,), np.mean, n_resamples=20_000, method="percentile", rng=2)
    expected = found.confidence_interval
    assert (low[0, 0], high[0, 0]) == pytest.approx((expected.low, expected.high), abs=6e-4)
    half = 1.96 * gains.std() / 20
    assert (low[0, 0], high[0, 0]) == pytest.approx(
        (gains.mean() - half, gains.mean() + half), abs=1e-3
    )
    wrapped = interval((gains,), np.mean, resampling)
    assert wrapped == pytest.approx((low[0, 0], high[0, 0]), abs=6e-4)


def test_macro_mean_of_unequal_directions_agrees_with_scipy():
    """Direction one has all 200 questions, direction two the same ones, each asked twice."""
    rng = np.random.default_rng(3)
    one, two = rng.normal(0.1, 0.3, size=200), rng.normal(-0.05, 0.1, size=(200, 2))
    sums = np.stack([one, two.sum(1)], axis=1)[:, :, None]
    counts = np.repeat([[1.0, 2.0]], 200, axis=0)
    low, high = interval_of_means(sums, counts, np.ones((1, 2), bool), Resampling(resamples=20_000))
    per_question = (one + two.mean(1)) / 2
    expected = bootstrap((per_question,), np.mean, n_resamples=20_000, method="percentile", rng=0)
    assert (low[0, 0], high[0, 0]) == pytest.approx(expected.confidence_interval, abs=1e-3)


def test_translations_are_no_independent_proofs():
    """Five copies of every gain leave the interval as it is when they are drawn together."""
    gains = np.random.default_rng(4).normal(size=50)
    ones = np.ones((1, 1), bool)
    resampling = Resampling(resamples=4_000)
    single = interval_of_means(gains[:, None, None], np.ones((50, 1)), ones, resampling)
    copies = interval_of_means(5 * gains[:, None, None], np.full((50, 1), 5.0), ones, resampling)
    alone = interval_of_means(
        np.repeat(gains, 5)[:, None, None], np.ones((250, 1)), ones, resampling
    )
    np.testing.assert_allclose(copies, single)
    assert (alone[1] - alone[0])[0, 0] < 0.6 * (single[1] - single[0])[0, 0]


def test_intervals_cover_the_truth_about_as_often_as_they_say():
    rng = np.random.default_rng(5)
    hits = 0
    for trial in range(300):
        gains = rng.normal(0.02, 0.1, size=(60, 1, 1))
        low, high = interval_of_means(
            gains, np.ones((60, 1)), np.ones((1, 1), bool), Resampling(0.9, 400, seed=trial)
        )
        hits += bool(low[0, 0] <= 0.02 <= high[0, 0])
    assert 0.84 <= hits / 300 <= 0.95


def test_sparse_and_dense_tables_and_batches_agree(monkeypatch):
    rng = np.random.default_rng(6)
    counts = (rng.random((300, 20)) < 0.05).astype(float)
    sums = rng.normal(size=(300, 20, 4)) * counts[:, :, None]
    members = np.vstack([np.eye(20), np.ones(20)]).astype(bool)
    found = interval_of_means(sums, counts, members, Resampling(resamples=500))
    monkeypatch.setattr("polymine.evaluation.significance.SPARSE", 0.0)
    monkeypatch.setattr("polymine.evaluation.significance.WEIGHTS", 300 * 7)
    again = interval_of_means(sums, counts, members, Resampling(resamples=500))
    np.testing.assert_allclose(found, again, atol=1e-12)


@pytest.mark.parametrize("questions", [1, 40])
def test_a_lone_question_has_the_gain_for_an_interval(questions):
    """Alone in its set, or alone in its direction among many others."""
    counts = np.zeros((questions, 2))
    counts[0, 0], counts[:, 1] = 1, 1
    sums = np.full((questions, 2, 1), 0.25) * counts[:, :, None]
    low, high = interval_of_means(sums, counts, np.eye(2).astype(bool), Resampling(resamples=100))
    np.testing.assert_allclose(low, 0.25)
    np.testing.assert_allclose(high, 0.25)
    assert interval((np.array([0.25]),), np.mean, Resampling()) == (0.25, 0.25)


def test_the_seed_decides():
    gains = np.random.default_rng(7).normal(size=(30, 1, 1))
    one, same, other = (
        interval_of_means(gains, np.ones((30, 1)), np.ones((1, 1), bool), Resampling(seed=seed))
        for seed in (1, 1, 2)
    )
    assert one == same
    assert one != other
