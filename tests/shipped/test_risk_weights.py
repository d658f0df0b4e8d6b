"""The fit of the shipped weights, on simulated collections whose law is known."""

import numpy as np
import polars as pl
import pytest

from polymine.mining.risk import columns_of, sigmoid
from shipped.risk_weights import Judged, fit_weights, prove

TEACHERS = (("t", "dense"),)
LAW = {"query": 0.9, "document": 0.7, "feedback": 0.5}
COLUMN = {"query": "z_t", "document": "document_z_t", "feedback": "feedback_z_t"}


def collection(name, intercept, seed, same_language=True, law=LAW):
    """80 queries with 50 candidates; one relevant one of each is known, the others hidden."""
    numbers = np.random.default_rng(seed)
    queries, count = 80, 50
    values = {feature: numbers.normal(1, 1, (queries, count)) for feature in LAW}
    odds = intercept + sum(law[feature] * (values[feature] - 1) for feature in law)
    truth = numbers.random((queries, count)) < sigmoid(odds)
    known = np.zeros((queries, count), dtype=bool)
    for query in range(queries):
        relevant = np.flatnonzero(truth[query])
        if len(relevant):
            known[query, numbers.choice(relevant)] = True
    names = [column for group in columns_of(TEACHERS).values() for column in group]
    frame = pl.DataFrame({column: np.zeros(queries * count) for column in names}).with_columns(
        **{COLUMN[feature]: pl.Series(values[feature].ravel()) for feature in LAW},
        query_id=pl.Series(np.repeat([f"q{n:02}" for n in range(queries)], count)),
        doc_id=pl.Series(np.tile([f"d{n:02}" for n in range(count)], queries)),
        score_t=pl.Series(values["query"].ravel(), dtype=pl.Float32),
        closed=pl.when(pl.Series(known.ravel())).then(pl.lit("positive")),
        rank=pl.lit(1, pl.UInt32),
        label=pl.when(pl.Series(known.ravel())).then(pl.lit(1, pl.Int8)),
        positive_similarity=pl.lit(None, pl.Float32),
        same_language=pl.lit(same_language),
        truth=pl.Series(truth.ravel()),
        language=pl.lit("en"),
    )
    return Judged(name, frame)


@pytest.fixture(scope="module")
def judged():
    """As many relevant as differ by the factor ten between collections; two draws of each."""
    levels = {"few": -4.0, "some": -3.0, "many": -1.5}
    return {
        name: [collection(name, level, 10 * at + draw) for draw in range(2)]
        for at, (name, level) in enumerate(levels.items())
    }


def test_the_law_is_found_however_much_is_relevant(judged):
    model = fit_weights(judged, [], TEACHERS)
    weights = dict(zip(model.full["same"].features, model.full["same"].weights, strict=True))
    for feature, weight in LAW.items():
        assert weights[feature] == pytest.approx(weight, abs=0.15)
    # no law has these, and a constant says nothing
    assert all(weight < 0.05 for feature, weight in weights.items() if feature not in LAW)
    centres = dict(zip(model.full["same"].features, model.full["same"].centres, strict=True))
    assert centres["query"] == pytest.approx(1, abs=0.1)
    assert model.full["same"].intercept == pytest.approx(np.mean([-4, -3, -1.5]), abs=0.4)
    assert {source.name for source in model.sources} == set(judged)
    assert set(model.query_side.features) <= {"query", "document", "words"}


def test_pairs_of_two_languages_have_weights_of_their_own(judged):
    law = {"query": 0.0, "document": 0.0, "feedback": 2.0}
    pool = collection("pool", -2.0, 99, same_language=False, law=law)
    foreign = fit_weights(judged, [pool], TEACHERS).full["foreign"]
    weights = dict(zip(foreign.features, foreign.weights, strict=True))
    assert weights["feedback"] == pytest.approx(2, abs=0.3)
    assert max(weights["query"], weights["document"]) < 0.2
    alone = fit_weights(judged, [], TEACHERS)
    assert alone.full["foreign"] == alone.full["same"]


def test_each_collection_is_left_out_and_judged(judged):
    without, proofs, spread = prove(judged, [], TEACHERS)
    assert set(without) == {proof.collection for proof in proofs} == set(judged)
    for proof in proofs:
        name = proof.collection
        assert name not in {source.name for source in without[name].sources}
        rows = pl.concat([draw.open() for draw in judged[name]])
        # per query of each draw
        assert proof.true == pytest.approx(rows["truth"].sum() / 160, abs=1e-3)
        assert sum(part.count for part in proof.bins) == len(rows)
        expected = [part.expected for part in proof.bins]
        assert expected == sorted(expected)
    many = next(proof for proof in proofs if proof.collection == "many")
    assert 0.5 < many.expected / many.true < 2
    assert 0 < spread < 2
