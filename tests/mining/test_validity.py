"""Known pairs that are wrong look like random ones, and nothing else is doubted."""

import numpy as np
import polars as pl
import pytest
from scipy.stats import norm

from polymine.data_contracts.settings import PositiveSettings
from polymine.mining.export import judge_positives
from polymine.mining.known import Ids, Known
from polymine.mining.validity import FEWEST, assess_positives, compare

COUNT, WRONG = 4_000, 0.1
DRAWS = np.random.default_rng(0)


def mixture(wrong: float) -> tuple[np.ndarray, np.ndarray]:
    """Scores of known pairs, right ones 3 above wrong ones, and which are wrong."""
    is_wrong = np.arange(COUNT) < wrong * COUNT
    return DRAWS.normal(size=COUNT) + np.where(is_wrong, 0.0, 3.0), is_wrong


def test_validity_is_the_posterior_of_the_mixture():
    found, _ = mixture(WRONG)
    validity = compare(found, DRAWS.normal(size=COUNT))
    right = (1 - WRONG) * norm.pdf(found, 3)
    exact = right / (right + WRONG * norm.pdf(found))
    assert np.abs(validity - exact).mean() < 0.02
    assert (1 - validity).mean() == pytest.approx(WRONG, abs=0.02)
    assert (np.diff(validity[np.argsort(found)]) >= 0).all()


def test_where_all_are_right_hardly_any_is_doubted():
    found, _ = mixture(0.0)
    assert (compare(found, DRAWS.normal(size=COUNT)) < 0.5).mean() < 0.005


def test_where_none_is_right_all_are_doubted():
    found, _ = mixture(1.0)
    assert (compare(found, DRAWS.normal(size=COUNT)) < 0.5).mean() > 0.9


class Matching:
    """A teacher to whom query i and document i are alike, and all else is noise."""

    name = "matching"

    def __init__(self, count: int) -> None:
        self._noise = np.random.default_rng(1).normal(size=(count, count))

    def score(self, queries, documents):
        return (self._noise[queries, documents] + 6.0 * (queries == documents)).astype(np.float32)

    def standardise(self, queries, documents, scores):
        return scores


def known_pairs(documents: np.ndarray) -> tuple[Known, Ids]:
    count = len(documents)
    names = pl.Series([f"{number:04d}" for number in range(count)])
    rows, languages = np.arange(count), np.ones(count, np.int64)
    pairs = (rows, documents)
    reasons = pl.Series(["positive"] * count)
    return Known(pairs, pairs, reasons), Ids(names, names, languages, languages, languages)


def test_shuffled_pairs_are_found_and_no_others():
    documents = np.arange(400)
    documents[:40] = np.roll(documents[:40], 1)
    known, ids = known_pairs(documents)
    validity = assess_positives([Matching(400)], known, ids, seed=0)
    assert (validity[:40] < 0.5).mean() > 0.9
    assert (validity[40:] > 0.5).mean() > 0.98
    again = assess_positives([Matching(400)], known, ids, seed=0)
    np.testing.assert_array_equal(validity, again)


def test_few_pairs_say_nothing():
    known, ids = known_pairs(np.arange(FEWEST - 1))
    assert np.isnan(assess_positives([Matching(FEWEST)], known, ids, seed=0)).all()


class TestJudge:
    POSITIVES = pl.DataFrame(
        {"query_id": ["q", "q", "r", "s"], "doc_id": ["a", "b", "c", "d"],
         "score": [0.1, 0.2, 0.3, 0.4], "validity": [0.2, 0.8, None, 0.9],
         "validator_score": [3.0, -2.0, 1.0, None]},
        schema_overrides={"validity": pl.Float32, "validator_score": pl.Float32},
    )  # fmt: skip
    NEAR = POSITIVES.select("query_id", "doc_id").filter(pl.col("doc_id").is_in(["a", "b", "c"]))

    @pytest.mark.parametrize(
        ("doubtful", "filters", "weights", "left_out"),
        [
            ("keep", {"within": 5}, {"a": 1, "b": 1, "c": 1, "d": 1}, {}),
            ("weight", {}, {"a": 0.2, "b": 0.8, "c": 1, "d": 0.9}, {}),
            ("weight", {"within": 5}, {"a": 0.2, "b": 0.8, "c": 1, "d": 0.05}, {}),
            ("drop", {}, {"b": 1, "c": 1, "d": 1}, {"a": "least_validity"}),
            ("review", {"within": 5}, {"b": 1, "c": 1}, {"a": "least_validity", "d": "within"}),
            ("drop", {"least_logit": 0.0, "least_validity": 0.0}, {"a": 1, "c": 1, "d": 1},
             {"b": "least_logit"}),
        ],
    )  # fmt: skip
    def test_what_becomes_of_doubtful_pairs(self, doubtful, filters, weights, left_out):
        settings = PositiveSettings(doubtful=doubtful, **filters)
        kept, others = judge_positives(self.POSITIVES, self.NEAR, settings)
        assert dict(kept.select("doc_id", "weight").rows()) == pytest.approx(weights)
        assert dict(others.select("doc_id", "reason").rows()) == left_out
