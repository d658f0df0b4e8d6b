"""Bootstrap intervals: against scipy, against known coverage, and where nothing can be known."""

import numpy as np
import pytest
from scipy.stats import bootstrap

from polymine.evaluation import significance
from polymine.evaluation.significance import (
    Numbers,
    Resampling,
    draw_means,
    holm,
    interval,
    interval_of_means,
)

ONE = np.ones((1, 1), bool)


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


def shape(name: str, rng: np.random.Generator) -> list[np.ndarray]:
    """Which documents answer each question, in numbers like those of the public sets."""
    if name == "cisi":  # 76 queries with 41 of 1,162 documents each, some documents in many
        popular = rng.permutation(np.arange(1.0, 1_163) ** -0.4)
        sizes = np.clip(rng.lognormal(3.4, 0.9, 76).astype(int), 1, 155)
        drawn = (rng.choice(1_162, size, False, popular / popular.sum()) for size in sizes)
        return list(drawn)
    passages, each = {"xquad": (240, 1 + rng.poisson(4, 240)), "piaf": (761, np.full(761, 5))}[name]
    return [np.array([passage]) for passage in np.repeat(np.arange(passages), each)]


def unit_of(name: str, answers: list[np.ndarray]) -> np.ndarray:
    """What `EvaluationCollection.clusters` draws together: a passage, or in a chain a question."""
    chained = name == "cisi"
    return np.arange(len(answers)) if chained else np.array([documents[0] for documents in answers])


def simulate(answers: list[np.ndarray], rng: np.random.Generator) -> np.ndarray:
    """Gains: .02, what the documents of a question add, and what is its own."""
    effects = rng.normal(0, 0.12, 1_200)
    return np.array(
        [0.02 + effects[documents].mean() + rng.normal(0, 0.15) for documents in answers]
    )


def summed(gains: np.ndarray, units: np.ndarray) -> tuple[Numbers, Numbers]:
    found = np.unique(units, return_inverse=True)[1]
    return tuple(np.bincount(found, weights)[:, None] for weights in (gains, np.ones_like(gains)))


class TestCoverage:
    """95 % intervals hold a known effect at least 93 times in 100."""

    TRIALS = 400

    def share(self, name: str, *, by_unit: bool = True) -> float:
        rng, hits = np.random.default_rng(0), 0
        for trial in range(self.TRIALS):
            answers = shape(name, rng)
            units = unit_of(name, answers) if by_unit else np.arange(len(answers))
            sums, counts = summed(simulate(answers, rng), units)
            low, high = interval_of_means(sums[:, None], counts, ONE, Resampling(0.95, 300, trial))
            hits += bool(low[0, 0] <= 0.02 <= high[0, 0])
        return hits / self.TRIALS

    @pytest.mark.parametrize("name", ["xquad", "piaf", "cisi"])
    def test_of_data_shaped_like(self, name):
        assert self.share(name) >= 0.93

    def test_questions_by_themselves_promise_too_much(self):
        """What was drawn before: five questions on a passage as five proofs."""
        assert self.share("xquad", by_unit=False) < 0.88

    def test_with_seeds(self):
        """Three trainings of the same arm, whose effects vary by a third of the effect."""
        rng, hits = np.random.default_rng(1), 0
        for trial in range(self.TRIALS):
            seeds = rng.normal(0.02, 0.01, 3)
            sums = seeds[:, None] + rng.normal(0, 0.1, 150) + rng.normal(0, 0.03, (3, 150))
            drawn = draw_means(
                sums[:, :, None, None], np.ones((150, 1)), ONE, Resampling(0.95, 300, trial)
            )
            low, high = drawn.interval(Resampling())
            hits += bool(low[0, 0] <= 0.02 <= high[0, 0])
        assert hits / self.TRIALS >= 0.93


def test_bundles_of_very_many_clusters_have_the_same_interval(monkeypatch):
    gains = np.random.default_rng(8).normal(0.01, 0.2, size=(20_000, 1, 1))
    resampling = Resampling(resamples=2_000)
    bundled = interval_of_means(gains, np.ones((20_000, 1)), ONE, resampling)
    monkeypatch.setattr(significance, "BUNDLES", 20_000)
    single = interval_of_means(gains, np.ones((20_000, 1)), ONE, resampling)
    np.testing.assert_allclose(bundled, single, atol=2e-4)


def test_p_values_agree_with_the_intervals_and_with_normal_theory():
    rng = np.random.default_rng(9)
    gains = rng.normal(0, 1, size=(300, 1, 6)) + np.array([0, 0.05, 0.1, 0.15, 0.2, 1])
    resampling = Resampling(resamples=20_000)
    drawn = draw_means(gains[None], np.ones((300, 1)), ONE, resampling)
    low, high = drawn.interval(resampling)
    p = drawn.p_values()
    np.testing.assert_array_equal((low > 0) | (high < 0), p < 0.05)
    from scipy.stats import ttest_1samp

    np.testing.assert_allclose(p[0], ttest_1samp(gains[:, 0], 0).pvalue, atol=0.015)
    nothing = draw_means(np.zeros((1, 5, 1, 1)), np.ones((5, 1)), ONE, Resampling(resamples=100))
    assert nothing.p_values().item() == 1.0


def test_holm_by_hand():
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.6, 0.7]) == [1.0, 1.0]
    assert holm([]) == []
