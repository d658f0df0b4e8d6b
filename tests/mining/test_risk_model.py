"""The risk of a candidate, with weights and evidence small enough to work out by hand."""

import itertools
import math

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from polymine.data_contracts.risk import Linear, RiskModel
from polymine.mining.risk import (
    CLIP,
    columns_of,
    design,
    features_of,
    kinds_of,
    log_odds,
    predict_risk,
    sigmoid,
)

TEACHERS = (("one", "dense"), ("two", "dense"), ("words", "lexical"))


def linear(intercept=0.0, **weights):
    """Weights by feature, all centred at 1."""
    return Linear(
        features=tuple(weights), centres=(1.0,) * len(weights), weights=tuple(weights.values()),
        spreads=(1.0,) * len(weights), intercept=intercept, intercept_spread=1.0,
    )  # fmt: skip


def model(same, foreign=None, **offsets):
    return RiskModel(
        kinds=("dense", "lexical"), full={"same": same, "foreign": foreign or same},
        query_side=same, offsets=offsets, rate_spread=0.1,
    )  # fmt: skip


def evidence(rows, **columns):
    names = [name for group in columns_of(TEACHERS).values() for name in group]
    given_ = {name: columns.get(name, [None] * rows) for name in names}
    frame = pl.DataFrame(given_, schema_overrides=dict.fromkeys(names, pl.Float32))
    same = pl.Series("same_language", columns.get("same_language", [True] * rows))
    label = pl.Series("label", columns.get("label", [None] * rows), dtype=pl.Int8)
    return frame.with_columns(same, label)


ENGLISH = pl.Series(["en"])


def test_teachers_of_a_kind_count_as_one():
    frame = evidence(3, z_one=[1, 2, None], z_two=[3, None, None], z_words=[5, 6, 7])
    features = features_of(frame, TEACHERS)
    np.testing.assert_array_equal(features["query"], [2, 2, np.nan])  # the mean of what is there
    np.testing.assert_array_equal(features["words"], [5, 6, 7])
    assert np.isnan(features["document"]).all()


def test_features_are_those_the_teachers_can_give():
    assert list(columns_of([("words", "lexical")])) == ["words", "positive_words"]
    assert columns_of(TEACHERS)["feedback"] == ["feedback_z_one", "feedback_z_two"]
    assert kinds_of(TEACHERS) == ("dense", "lexical")


def test_what_lies_beyond_ten_says_no_more():
    frame = evidence(2, z_words=[40, -40])
    assert features_of(frame, TEACHERS)["words"].tolist() == [CLIP, -CLIP] == [10, -10]


def test_log_odds_by_hand():
    # -1 + 2 (3 - 1) + 0.5 (0 - 1) = 2.5; what is missing is as good as at its centre: -1 - 0.5
    features = {"query": np.array([3.0, np.nan]), "words": np.array([0.0, 0.0])}
    assert log_odds(linear(-1, query=2, words=0.5), features).tolist() == [2.5, -1.5]
    matrix = design(features, ("query", "words"), (1.0, 1.0))
    assert matrix.tolist() == [[2, -1], [0, -1]]


def test_risk_by_hand():
    frame = evidence(1, z_one=[3.0], z_two=[3.0])
    risk = predict_risk(model(linear(-1, query=1)), frame, TEACHERS, ENGLISH)
    assert risk.tolist() == pytest.approx([1 / (1 + math.exp(-1))])


@pytest.mark.parametrize(("label", "risk"), [(0, 0.0), (1, 1.0)])
def test_a_label_overrides_everything(label, risk):
    frame = evidence(1, z_one=[9.0], label=[label])
    assert predict_risk(model(linear(query=5)), frame, TEACHERS, ENGLISH).tolist() == [risk]


def test_weights_are_those_of_the_pair_of_languages():
    frame = evidence(2, z_one=[2, 2], same_language=[True, False])
    both = predict_risk(
        model(linear(query=1), linear(query=-3)), frame, TEACHERS, pl.Series(["en"] * 2)
    )
    assert both.tolist() == pytest.approx(sigmoid(np.array([1.0, -3.0])).tolist())


def test_offsets_shift_candidates_in_the_query_s_language_only():
    frame = evidence(3, same_language=[True, False, True])
    languages = pl.Series(["de", "de", "fr"])
    risk = predict_risk(model(linear(-1), de=2.0), frame, TEACHERS, languages)
    assert risk.tolist() == pytest.approx(sigmoid(np.array([1.0, -1.0, -1.0])).tolist())


WEIGHTS = model(
    linear(-2.1, query=0.7, document=0.3, positive=0.9, feedback=1.1, words=0.13,
           positive_words=0.17),
    linear(-5.3, query=0.2, positive_words=0.7), de=0.3,
)  # fmt: skip


@given(st.integers(0, 2**32 - 1), st.lists(st.integers(0, 40), max_size=5))
def test_bits_do_not_depend_on_the_company(seed, cuts):
    numbers = np.random.default_rng(seed)
    names = [name for group in columns_of(TEACHERS).values() for name in group]
    values = {name: numbers.normal(1, 3, 40).astype(np.float32) for name in names}
    frame = pl.DataFrame(values).with_columns(
        pl.when(pl.Series(numbers.random(40) < 0.9)).then(pl.all()).name.keep()
    )
    frame = frame.with_columns(
        same_language=pl.Series(numbers.random(40) < 0.5),
        label=pl.Series(numbers.integers(-1, 2, 40), dtype=pl.Int8).replace(-1, None),
    )
    languages = pl.Series(numbers.choice(["de", "en"], 40).tolist())
    whole = predict_risk(WEIGHTS, frame, TEACHERS, languages)
    edges = [0, *sorted(cuts), 40]
    parts = [
        predict_risk(WEIGHTS, frame[start:stop], TEACHERS, languages[start:stop])
        for start, stop in itertools.pairwise(edges)
    ]
    assert np.concatenate(parts).tobytes() == whole.tobytes()
    assert ((whole >= 0) & (whole <= 1)).all()
