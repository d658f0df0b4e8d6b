"""A risk taken apart: weights times distances one can add up by eye."""

import numpy as np
import polars as pl
import pytest

from polymine.data_contracts.risk import Linear, RiskModel
from polymine.mining.risk import columns_of, predict_risk
from polymine.reporting.runs.inspected import Contribution
from polymine.reporting.runs.inspection import explain_risks

TEACHERS = (("left", "dense"), ("right", "dense"), ("words", "lexical"))


def linear(intercept: float, query: float, words: float) -> Linear:
    return Linear(
        features=("query", "words"), centres=(1.0, 2.0), weights=(query, words),
        spreads=(1.0, 1.0), intercept=intercept, intercept_spread=1.0,
    )  # fmt: skip


MODEL = RiskModel(
    kinds=("dense", "lexical"),
    full={"same": linear(-4.0, 2.0, 0.5), "foreign": linear(-3.0, 1.0, 0.0)},
    query_side=linear(0.0, 0.0, 0.0), offsets={"de": 0.25}, rate_spread=0.1,
)  # fmt: skip
EVIDENCE = pl.DataFrame(
    {
        "z_left": [2.0, 2.0, None],
        "z_right": [4.0, 4.0, None],
        "z_words": [3.0, None, 99.0],
        "same_language": [True, False, True],
        "label": [None, None, None],
    }
)
LACKING = {name for names in columns_of(TEACHERS).values() for name in names} - {*EVIDENCE.columns}
EVIDENCE = EVIDENCE.with_columns(pl.lit(None, pl.Float32).alias(name) for name in LACKING)


def test_each_feature_adds_its_weight_times_its_distance_from_the_centre():
    ours, foreign, unseen = explain_risks(MODEL, EVIDENCE, TEACHERS, "de")
    assert ours == (
        Contribution("intercept", -4.0),
        Contribution("query", 2.0 * (3.0 - 1.0), 3.0, 1.0, 2.0),  # the mean of both teachers
        Contribution("words", 0.5 * (3.0 - 2.0), 3.0, 2.0, 0.5),
        Contribution("language", 0.25),
    )
    assert foreign == (
        Contribution("intercept", -3.0),
        Contribution("query", 2.0, 3.0, 1.0, 1.0),
        Contribution("words", 0.0, None, 2.0, 0.0),
    )
    assert unseen[1] == Contribution("query", 0.0, None, 1.0, 2.0)
    assert unseen[2] == Contribution("words", 0.5 * (10.0 - 2.0), 10.0, 2.0, 0.5)  # clipped


@pytest.mark.parametrize("language", ["de", "fr"])
def test_contributions_add_up_to_what_is_assessed(language):
    risks = predict_risk(MODEL, EVIDENCE, TEACHERS, pl.Series([language] * 3))
    logits = np.log(risks / (1 - risks))
    explained = explain_risks(MODEL, EVIDENCE, TEACHERS, language)
    assert [sum(part.log_odds for part in parts) for parts in explained] == pytest.approx(
        logits.tolist()
    )


def test_of_nothing_there_is_nothing_to_explain():
    assert explain_risks(MODEL, EVIDENCE.clear(), TEACHERS, "de") == []
