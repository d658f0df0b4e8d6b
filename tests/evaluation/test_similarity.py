"""STS and clusters, with correlations a reader can see."""

import numpy as np
import polars as pl
import pytest
from scipy.stats import bootstrap, spearmanr

from polymine.data_contracts.errors import InputError
from polymine.evaluation.significance import Resampling
from polymine.evaluation.similarity import check_pairs, cluster, compare_texts, correlations


def at(degrees: list[float]) -> np.ndarray:
    radians = np.radians(degrees)
    return np.stack([np.cos(radians), np.sin(radians)], axis=1).astype(np.float32)


def rows(similarity: np.ndarray, gold: np.ndarray) -> pl.DataFrame:
    return pl.DataFrame({"language_a": ["en"] * len(gold), "language_b": ["ar"] * len(gold),
                         "similarity": similarity, "gold": gold})  # fmt: skip


def test_order_alone_counts_and_languages_are_apart():
    pairs = pl.DataFrame({"language_a": ["en"] * 3 + ["ru"] * 3, "language_b": ["ar"] * 6,
                          "gold": [5, 1, 3, 5, 3, 1]})  # fmt: skip
    compared = compare_texts(pairs, at([0] * 6), at([10, 170, 80, 120, 60, 10]))
    assert compared["similarity"][2] == pytest.approx(np.cos(np.radians(80)))
    found = correlations(compared, model="base", set="sts")
    assert found.select("document_language", "query_language", "count", "value").rows() == [
        ("en", "ar", 3, pytest.approx(1)), ("ru", "ar", 3, pytest.approx(-1))
    ]  # fmt: skip
    assert found.select("gain", "low", "high").null_count().row(0) == (2, 2, 2)


def test_interval_of_the_gain_equals_a_plain_bootstrap_with_spearmanr():
    rng = np.random.default_rng(0)
    gold = rng.integers(0, 6, size=120).astype(float)
    own, base = gold + rng.normal(0, 1, 120), gold + rng.normal(0, 3, 120)
    found = correlations(
        rows(own, gold), rows(base, gold), model="m", set="sts",
        resampling=Resampling(resamples=3_000),
    ).row(0, named=True)  # fmt: skip

    def gain(own, base, gold):
        return spearmanr(own, gold).statistic - spearmanr(base, gold).statistic

    assert found["value"] == pytest.approx(spearmanr(own, gold).statistic)
    assert found["gain"] == pytest.approx(gain(own, base, gold))
    plain = bootstrap((own, base, gold), gain, paired=True, vectorized=False, n_resamples=1_000,
                      method="percentile", rng=1).confidence_interval  # fmt: skip
    assert (found["low"], found["high"]) == pytest.approx(plain, abs=0.02)


def test_a_model_that_finds_all_alike_orders_nothing():
    gold = np.arange(5.0)
    found = correlations(rows(np.ones(5), gold), rows(gold, gold), model="m", set="sts",
                         resampling=Resampling(resamples=200))  # fmt: skip
    assert found.select("value", "gain").row(0) == (0, pytest.approx(-1))
    assert found["high"][0] <= 0


@pytest.mark.parametrize("gold", [[3.0, 3.0], [1.0, None], [1.0, float("nan")]])
def test_pairs_without_an_order_are_an_error_before_embedding(gold):
    pairs = pl.DataFrame({"language_a": ["de"] * 2, "language_b": ["fr"] * 2, "gold": gold})
    with pytest.raises(InputError, match=r"finite score|de-fr has but one score"):
        check_pairs(pairs)


def test_other_pairs_are_an_error():
    gold = np.arange(5.0)
    with pytest.raises(InputError, match="same pairs in the same order"):
        correlations(rows(gold, gold), rows(gold, gold[::-1].copy()), model="m", set="sts")
    with pytest.raises(InputError, match="one vector per side of 5 pairs"):
        compare_texts(rows(gold, gold), at([0] * 4), at([0] * 4))


def test_clusters_that_are_there_are_found_and_noise_is_not():
    rng = np.random.default_rng(0)
    label = rng.integers(0, 3, size=120)
    centres = np.eye(8, dtype=np.float32)[label]
    clear = centres + 0.05 * rng.normal(size=centres.shape)
    noise = rng.normal(size=centres.shape)
    labels = pl.DataFrame({"language": ["en"] * 120 + ["ru"] * 120,
                           "label": [f"topic-{x}" for x in [*label, *label]]})  # fmt: skip
    vectors = np.concatenate([clear, noise]).astype(np.float32)
    found = cluster(labels, vectors, model="m", set="topics")
    values = dict(found.select("document_language", "value").rows())
    assert values["en"] > 0.95
    assert values["ru"] < 0.1
    assert found.equals(cluster(labels, vectors, model="m", set="topics"))
