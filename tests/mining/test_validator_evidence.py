"""The validator as evidence: what its logits say, and what it is asked."""

import numpy as np
import polars as pl
import pytest

from polymine.data_contracts.settings import MiningSettings, RiskSettings, ValidationSettings
from polymine.data_contracts.tables import ValidatorEvidence
from polymine.mining.budget import Choice
from polymine.mining.validator_evidence import (
    PRECISE,
    Calibration,
    calibrate_logits,
    gather_validator_evidence,
    plan_pairs,
    update_risks,
    update_scored,
    with_validator,
)
from tests.small import MINILM


def table(*rows, names=("query_id", "doc_id", "score", "risk", "reason")):
    types = {"query_id": pl.String, "doc_id": pl.String, "score": pl.Float32, "risk": pl.Float32,
             "reason": pl.String, "validator_score": pl.Float32}  # fmt: skip
    return pl.DataFrame(rows, {name: types[name] for name in names}, orient="row")


class TestWorth:
    def test_two_bells_one_apart_are_worth_their_distance(self):
        # N(+1, 1) against N(-1, 1): the log of their ratio is exactly 2 x.
        numbers = np.random.default_rng(0)
        positives, others = numbers.normal(1, 1, 4000), numbers.normal(-1, 1, 4000)
        found = calibrate_logits(positives, others, np.full(4000, 0.01))
        assert found.slope == pytest.approx(2, abs=0.15)
        assert found.intercept == pytest.approx(0, abs=0.1)

    def test_what_is_probably_relevant_counts_little_as_a_negative(self):
        numbers = np.random.default_rng(1)
        positives = numbers.normal(1, 1, 3000)
        # half of the candidates are relevant, and known to be so by their risk
        logits = np.concatenate([numbers.normal(-1, 1, 3000), numbers.normal(1, 1, 3000)])
        blind = calibrate_logits(positives, logits, np.full(6000, 0.01))
        told = calibrate_logits(positives, logits, np.repeat([0.01, 0.99], 3000))
        assert told.slope == pytest.approx(2, abs=0.15)
        assert blind.slope < 1

    def test_scale_and_place_of_the_logits_do_not_matter(self):
        numbers = np.random.default_rng(2)
        positives, others = numbers.normal(1, 1, 500), numbers.normal(-1, 1, 500)
        one = calibrate_logits(positives, others, np.zeros(500))
        other = calibrate_logits(7 + 5 * positives, 7 + 5 * others, np.zeros(500))
        said = one.intercept + one.slope * others
        again = other.intercept + other.slope * (7 + 5 * others)
        np.testing.assert_allclose(again, said, atol=1e-4)

    def test_nine_positives_say_nothing(self):
        others = np.linspace(-3, 0, 50)
        assert calibrate_logits(np.ones(9), others, np.zeros(50)) == Calibration(0.0, 0.0)
        assert calibrate_logits(np.ones(10), others, np.zeros(50)).slope > 0
        assert calibrate_logits(np.ones(10), np.empty(0), np.empty(0)) == Calibration(0.0, 0.0)

    def test_a_validator_that_knows_nothing_cannot_turn_things_round(self):
        positives, others = np.linspace(-2, 0, 50), np.linspace(0, 2, 50)
        assert calibrate_logits(positives, others, np.zeros(50)).slope == 0


class TestUpdate:
    def test_odds_are_multiplied(self):
        # odds 1/4, times e^(1.5 ln 4) at weight 1.5 with ln 4 of evidence: 2
        found = Calibration(0.0, np.log(4))
        moved = update_risks(np.array([0.2]), np.array([1.0]), found, 1.5)
        assert moved.tolist() == pytest.approx([2 / 3])

    def test_weight_0_leaves_every_risk(self):
        risks, logits = np.linspace(0.001, 0.999, 9), np.linspace(-9, 9, 9)
        np.testing.assert_allclose(update_risks(risks, logits, Calibration(1, 2), 0.0), risks)

    def test_what_a_label_said_stays(self):
        moved = update_risks(np.array([0.0, 1.0]), np.array([9.0, -9.0]), Calibration(0, 5), 1.0)
        assert moved.tolist() == [0, 1]


# At a price of 1 their utilities are .8, .7, .5, .4, .1, -.1, .7 and .709.
CANDIDATES = table(
    ("q", "a", 0.85, 0.05, None), ("q", "b", 0.8, 0.1, None), ("q", "c", 0.6, 0.1, None),
    ("q", "d", 0.5, 0.1, None), ("q", "e", 0.2, 0.1, None), ("q", "f", 0.85, 0.95, PRECISE),
    ("q", "shut", 0.8, 0.1, "known positive: copy"), ("q", "clear", 0.71, 0.001, None),
)  # fmt: skip


def planned(pairs, candidates=CANDIDATES, count=2, **values):
    arguments = {"budget": 0.02, **values}
    found = plan_pairs(candidates, Choice(1.0, 0.25), count, pairs, **arguments)
    assert set(found["query_id"]) <= {"q"}
    return found["doc_id"].to_list()


class TestPlan:
    def test_what_is_to_be_promoted_has_a_quarter_and_the_nearest_the_rest(self):
        # Two are taken: a, utility .8, and clear, .709, which is the cut
        assert planned(1) == ["f"]
        assert planned(2) == ["b", "f"]
        assert planned(3) == ["a", "b", "f"]
        assert planned(5) == ["a", "b", "c", "d", "f"]
        assert planned(99) == ["a", "b", "c", "d", "e", "f"]

    def test_without_anything_to_promote_all_go_to_the_nearest(self):
        safe = CANDIDATES.filter(pl.col("doc_id") != "f")
        assert planned(2, safe) == ["a", "b"]

    def test_closed_ones_and_clear_ones_are_not_asked_about(self):
        assert not {"shut", "clear"} & set(planned(99))
        assert "clear" in planned(99, budget=0.005)

    def test_a_quarter_is_rounded_up(self):
        many = table(*(("q", f"p{n}", 0.5, 0.9 + n / 100, PRECISE) for n in range(8)),
                     *(("q", f"n{n}", 0.5 - n / 100, 0.1, None) for n in range(8)))  # fmt: skip
        likely = [doc for doc in planned(5, many) if doc.startswith("p")]
        assert likely == ["p0", "p1"]  # the least likely two of five pairs

    def test_queries_have_a_quota_each(self):
        both = pl.concat([CANDIDATES, CANDIDATES.with_columns(query_id=pl.lit("r"))])
        found = plan_pairs(both, Choice(1.0, 0.25), 2, 3, 0.02)
        assert found.group_by("query_id").len().sort("query_id").rows() == [("q", 3), ("r", 3)]
        assert found.equals(found.sort("query_id", "doc_id"))


LOOKED = ("query_id", "doc_id", "risk", "validator_score")
KNOWN = table(*((f"k{n}", "p", 2.0) for n in range(11)), ("q", "p", 2.0), ("q", "low", 0.0),
              names=("query_id", "doc_id", "validator_score"))  # fmt: skip


class TestLook:
    PAIRS = table(("q", "b", 0.5, -2.0), ("q", "a", 0.5, 1.5), ("none", "c", 0.5, 1.75),
                  names=LOOKED)  # fmt: skip

    def test_logits_move_risks_and_agreement_is_with_the_highest_positive(self):
        found = update_scored(self.PAIRS, KNOWN, 1.0, 0.5)
        ValidatorEvidence.validate(found)
        assert found.select("query_id", "doc_id", "agrees").rows() == [
            ("none", "c", False), ("q", "a", True), ("q", "b", False),
        ]  # fmt: skip
        risk = dict(found.select("doc_id", "risk").rows())
        assert risk["b"] < risk["a"] < risk["c"]  # -2, 1.5 and 1.75
        strict = update_scored(self.PAIRS, KNOWN, 1.0, 0.25)
        assert not strict["agrees"].any()

    def test_a_weak_validator_is_no_second_opinion(self):
        assert update_scored(self.PAIRS, KNOWN, 0.5, 0.5)["agrees"].any()
        assert not update_scored(self.PAIRS, KNOWN, 0.49, 0.5)["agrees"].any()

    def test_weight_0_no_change(self):
        assert update_scored(self.PAIRS, KNOWN, 0.0, 0.0)["risk"].to_list() == [0.5] * 3

    def test_looking_asks_for_pairs_and_their_queries_positives(self):
        asked = []

        def score(pairs, purpose):
            asked.append((purpose, pairs.select("query_id", "doc_id").rows()))
            return np.arange(len(pairs), dtype=np.float32)

        settings = MiningSettings(
            teachers=(MINILM,), validation=ValidationSettings(model="any"),
            risk=RiskSettings(validator_weight=0.0),
        )  # fmt: skip
        pairs = CANDIDATES.head(2).select("query_id", "doc_id")
        positives = table(("q", "p", 1.0), ("r", "p", 1.0),
                          names=("query_id", "doc_id", "score"))  # fmt: skip
        found = gather_validator_evidence(pairs, CANDIDATES, positives, settings, score)
        assert asked == [
            ("known positives", [("q", "p")]),
            ("candidates", [("q", "a"), ("q", "b")]),
        ]
        assert found["risk"].to_list() == pytest.approx([0.05, 0.1])
        decided = CANDIDATES.with_columns(validator_score=pl.lit(None, pl.Float32))
        seen = with_validator(decided, found)
        assert seen["doc_id"].to_list() == decided["doc_id"].to_list()
        assert seen["validator_score"].to_list() == [0.0, 1.0, *[None] * 6]
        assert seen["risk"].to_list() == decided["risk"].to_list()
