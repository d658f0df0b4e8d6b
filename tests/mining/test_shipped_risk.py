"""The weights that ship: complete, sane, and honest about what they were not fitted with."""

import math

import pytest

from polymine.data_contracts.settings import MiningSettings, TeacherSettings
from polymine.mining.risk import QUERY_SIDE, columns_of
from polymine.mining.risk_estimate import unseen_teachers
from polymine.mining.risk_weights import load_prior, shipped

DENSE, WORDS = ("minilm", "dense"), ("bm25", "lexical")
KINDS = {"both": (DENSE, WORDS), "dense": (DENSE,), "lexical": (WORDS,)}
TEACHERS = pytest.mark.parametrize("teachers", KINDS.values(), ids=KINDS)


@TEACHERS
def test_there_are_weights_for_every_kind_of_teachers(teachers):
    model = load_prior(teachers)
    assert model.kinds == tuple(sorted(kind for _, kind in teachers))
    assert set(model.full) == {"same", "foreign"}
    for linear in (*model.full.values(), model.query_side):
        assert set(linear.features) <= set(columns_of(teachers))
        assert len(linear.features) == len(linear.centres) == len(linear.weights)
        assert all(math.isfinite(number) for number in (linear.intercept, *linear.centres))
        assert all(math.isfinite(weight) and weight >= 0 for weight in linear.weights)
        assert all(spread > 0 for spread in (*linear.spreads, linear.intercept_spread))
        assert any(linear.weights)
    assert set(model.query_side.features) <= set(QUERY_SIDE)
    assert model.rate_spread > 0
    assert model.notes == ()


@TEACHERS
def test_every_collection_has_its_proof_and_weights_without_it(teachers):
    model = load_prior(teachers)
    collections = [proof.collection for proof in model.proofs]
    assert len(collections) >= 2
    assert set(collections) <= {source.name for source in model.sources}
    for name in collections:
        without = load_prior(teachers, without=name)
        assert without.kinds == model.kinds
        assert name not in {source.name for source in without.sources}
        assert without.full["same"] != model.full["same"]


def test_a_collection_that_took_no_part_has_nothing_left_out():
    teachers = KINDS["both"]
    assert load_prior(teachers, without="of somebody else") == load_prior(teachers)


def test_two_teachers_of_a_kind_take_the_weights_of_one():
    assert load_prior((DENSE, ("other", "dense"))) == load_prior((DENSE,))


def test_a_model_nobody_has_tested_is_named():
    (note,) = load_prior((DENSE,), ("unheard_of",)).notes
    assert "z-scores of unheard_of" in note
    assert "nobody has tested" in note
    known = TeacherSettings(name="known", model=shipped().models[0])
    other = TeacherSettings(name="other", model="hub/unheard-of")
    assert unseen_teachers(MiningSettings(teachers=(known, other))) == ("other",)
    assert load_prior((DENSE,)).notes == ()
