"""Arms against each other: which is best, and what cannot be told apart."""

import numpy as np
import polars as pl
import pytest

from polymine.data_contracts.learning import Differences, QueryScores
from polymine.evaluation.arms import adjust, compare_pairs, find_best
from polymine.evaluation.significance import Resampling

QUICK = Resampling(resamples=400)


def scores(gain: float, noise: int, spread: float = 0.02) -> pl.DataFrame:
    """60 queries about .4, what an arm adds, and noise of its own."""
    rng = np.random.default_rng(0)
    base = 0.4 + rng.normal(0, 0.1, 60)
    ndcg = np.clip(base + gain + np.random.default_rng(noise).normal(0, spread, 60), 0, 1)
    rows = [("set", "en", "en", f"q{n}", value, 0.5, 0.5, 0.5) for n, value in enumerate(ndcg)]
    frame = pl.DataFrame(rows, QueryScores.column_names(), orient="row")
    return QueryScores.validate(frame, cast=True)


def compared(gains: dict[str, tuple[float, ...]]) -> pl.DataFrame:
    arms = {
        name: [scores(gain, 10 * place + seed) for seed, gain in enumerate(of, 1)]
        for place, (name, of) in enumerate(gains.items())
    }
    return adjust(compare_pairs(arms, resampling=QUICK))


def test_an_arm_above_all_others_is_best():
    found = compared({"low": (0.0, 0.0), "high": (0.1, 0.1), "middle": (0.05, 0.05)})
    assert Differences.is_valid(found)
    assert find_best(found, "set", "ndcg", 0.95) == ["high"]
    pairs = set(found.filter(metric="ndcg").select("arm", "reference").rows())
    assert pairs == {("high", "low"), ("high", "middle"), ("middle", "low")}


def test_both_gain_over_the_base_and_neither_is_best():
    """Every arm may surely gain over the base, while their difference is chance."""
    found = compared({"base": (0.0,), "one": (0.05,), "other": (0.05,)})
    best = find_best(found, "set", "ndcg", 0.95)
    assert sorted(best) == ["one", "other"]
    assert found.filter(metric="ndcg", reference="base")["adjusted"].max() < 0.05


def test_seeds_that_disagree_leave_nobody_best():
    """On average .05 better, by one seed of three."""
    found = compared({"steady": (0.0, 0.0, 0.0), "lucky": (0.15, 0.0, 0.0)})
    assert found.filter(metric="ndcg")["arm"].item() == "lucky"
    assert find_best(found, "set", "ndcg", 0.95) == ["lucky", "steady"]


def test_equal_arms_are_not_told_apart_and_a_lone_one_has_no_pair():
    same = scores(0.1, 1)
    found = adjust(compare_pairs({"one": [same], "other": [same]}, resampling=QUICK))
    assert find_best(found, "set", "ndcg", 0.95) == ["one", "other"]
    assert found["p"].to_list() == pytest.approx([1.0] * 4)
    alone = adjust(compare_pairs({"one": [same]}, resampling=QUICK))
    assert find_best(alone, "set", "ndcg", 0.95) == []
