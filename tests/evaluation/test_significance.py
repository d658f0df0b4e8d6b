"""Bootstrap intervals: against scipy, against known coverage, and where nothing can be known."""

from functools import cache
from itertools import combinations

import numpy as np
import polars as pl
import pytest
from scipy.stats import bootstrap

from polymine.evaluation import significance
from polymine.evaluation.arms import enough_draws
from polymine.evaluation.collection import EvaluationCollection
from polymine.evaluation.shared import widening
from polymine.evaluation.significance import (
    Numbers,
    Resampling,
    SeedNoise,
    draw_means,
    holm,
    interval,
    interval_of_means,
)
from tests.public_data import public_tables

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
def test_of_a_lone_question_nothing_is_known(questions):
    """Alone in its set, or alone in its direction among many others."""
    counts = np.zeros((questions, 2))
    counts[0, 0], counts[:, 1] = 1, 1
    sums = np.full((questions, 2, 1), 0.25) * counts[:, :, None]
    low, high = interval_of_means(sums, counts, np.eye(2).astype(bool), Resampling(resamples=100))
    known = -np.inf if questions == 1 else 0.25
    np.testing.assert_allclose(low[:, 0], [-np.inf, known])
    np.testing.assert_allclose(high[:, 0], [np.inf, abs(known)])
    assert interval((np.array([0.25]),), np.mean, Resampling()) == (0.25, 0.25)


def test_the_seed_decides():
    gains = np.random.default_rng(7).normal(size=(30, 1, 1))
    one, same, other = (
        interval_of_means(gains, np.ones((30, 1)), np.ones((1, 1), bool), Resampling(seed=seed))
        for seed in (1, 1, 2)
    )
    assert one == same
    assert one != other


@cache
def judged(name: str) -> tuple[list[np.ndarray], np.ndarray, list[list[int]] | None]:
    """Documents that answer each question of a public set, and what `clusters` makes of them."""
    corpus, queries, qrels = public_tables(name)
    found = EvaluationCollection(corpus, queries, qrels)
    found = found.only(("en",)) if name == "xquad" else found
    known = found.relevant.group_by("query_id").agg("doc_id")
    rows = found.clusters.join(known, on="query_id").sort("query_id")
    place = {document: number for number, document in enumerate(found.documents["doc_id"])}
    answers = [np.array([place[each] for each in row]) for row in rows["doc_id"]]
    linked = None
    if rows["chained"].any():
        units = rows.group_by("question").agg(
            pl.col("answers").list.explode(keep_nulls=False, empty_as_null=False)
        )
        linked = units.sort("question")["answers"].to_list()
    return answers, rows["question"].rank("dense").to_numpy() - 1, linked


def simulate(answers: list[np.ndarray], own: float, rng: np.random.Generator) -> np.ndarray:
    """Gains: .02, what the documents of a question add, and what is its own."""
    effects = rng.normal(0, 0.12, 1 + max(documents.max() for documents in answers))
    return np.array(
        [0.02 + effects[documents].mean() + rng.normal(0, own) for documents in answers]
    )


def summed(gains: np.ndarray, units: np.ndarray) -> tuple[Numbers, Numbers]:
    found = np.unique(units, return_inverse=True)[1]
    return tuple(np.bincount(found, weights)[:, None] for weights in (gains, np.ones_like(gains)))


class TestCoverage:
    """95 % intervals hold a known effect 93 times in 100 and more, on questions of public sets."""

    TRIALS = 400

    def share(self, name: str, own: float, *, by_unit: bool = True, wide: bool = True) -> float:
        rng, hits = np.random.default_rng(0), 0
        answers, units, linked = judged(name)
        units = units if by_unit else np.arange(len(answers))
        for trial in range(self.TRIALS):
            sums, counts = summed(simulate(answers, own, rng), units)
            wider = widening(sums[:, :, None], counts, ONE, linked if wide else None)
            drawn = draw_means(
                sums[None, :, :, None], counts, ONE, Resampling(0.95, 300, trial), wider=wider
            )
            low, high = drawn.interval(Resampling())
            hits += bool(low[0, 0] <= 0.02 <= high[0, 0])
        return hits / self.TRIALS

    @pytest.mark.parametrize(
        ("name", "own"),
        [("xquad", 0.15), ("piaf", 0.15), ("cisi", 0.15), ("cacm", 0.05), ("cranfield", 0.05)],
    )
    def test_of_questions_and_documents_as_in(self, name, own):
        assert self.share(name, own) >= 0.93

    def test_questions_by_themselves_promise_too_much(self):
        """What was drawn before: five questions on a passage as five proofs."""
        assert self.share("xquad", 0.15, by_unit=False) < 0.88

    def test_questions_that_share_documents_promise_too_much(self):
        """In cranfield nearly all hang together, so that each has to be drawn by itself."""
        assert self.share("cranfield", 0.05, wide=False) < 0.91

    @pytest.mark.parametrize(("seeds", "questions", "own"), [(2, 385, 0.05), (3, 150, 0.1)])
    def test_with_seeds(self, seeds, questions, own):
        """Four arms that are equal; a seed moves a mean by .01."""
        rng, hits, wrong, trials = np.random.default_rng(1), 0, 0, 250
        pairs, counts = list(combinations(range(4), 2)), np.ones((questions, 1))
        for trial in range(trials):
            arms = rng.normal(0, 0.01, (4, seeds, 1)) + rng.normal(0, own, (4, seeds, questions))
            means = arms.mean(2)
            noise = SeedNoise(np.full((1, 1), 2 * means.var(1, ddof=1).mean()), 4 * (seeds - 1))
            p = []
            for one, other in pairs:
                sums = (arms[one] - arms[other])[:, :, None, None]
                drawn = draw_means(sums, counts, ONE, Resampling(0.95, 500, trial), noise)
                low, high = drawn.interval(Resampling())
                hits += bool(low[0, 0] <= 0 <= high[0, 0])
                p.append(drawn.p_values().item())
            wrong += min(holm(p)) < 0.05
        assert hits / trials / len(pairs) >= 0.93
        assert wrong / trials <= 0.07


def test_seeds_by_themselves_say_little():
    """Two seeds that happen to agree must not make a seed's noise vanish for good."""
    sums = np.array([0.02, 0.021])[:, None] + np.zeros((2, 300))
    drawn = draw_means(sums[:, :, None, None], np.ones((300, 1)), ONE, Resampling(0.95, 2000))
    low, high = drawn.interval(Resampling())
    assert (high - low)[0, 0] == pytest.approx(2 * 12.7 * 0.0005, rel=0.25)


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


def test_as_many_draws_as_holms_correction_needs():
    """The smallest chance of 100 draws, .02, is no longer below .05 times 45 pairs."""
    enough = enough_draws(Resampling(resamples=100), 45)
    assert 45 * 2 / (enough.resamples + 1) < 0.05
    assert enough_draws(Resampling(), 3) == Resampling()
