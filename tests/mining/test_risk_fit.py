"""What the fit learns: its gradients by differences, its weights against scikit-learn, its height
against simulated data whose relevant documents are known."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.linear_model import LogisticRegression

from polymine.data_contracts.risk import Linear, RiskModel
from polymine.mining.likelihoods import labelled_pairs, positive_unlabelled, solve
from polymine.mining.risk import predict_risk, sigmoid
from polymine.mining.risk_fit import (
    FEWEST_KNOWN,
    draw_queries,
    find_shift,
    fit,
)

TEACHERS = (("t", "dense"),)
NAMES = ("query", "document", "feedback")
SLOPES = (0.8, 0.9, 0.7)


def linear(names, weights, spread, intercept=0.0, intercept_spread=2.0):
    return Linear(
        features=names, centres=(0.0,) * len(names), weights=weights, spreads=spread,
        intercept=intercept, intercept_spread=intercept_spread,
    )  # fmt: skip


def prior(intercept=-3.0, spread=0.3):
    full = linear(NAMES, SLOPES, (spread,) * 3, intercept)
    # A logistic law averaged over one of its features is a flatter one: by 1 / sqrt(1 + .35 x .49).
    asked = linear(NAMES[:2], (0.74, 0.83), (0.05, 0.05), intercept)
    return RiskModel(
        kinds=("dense",), full={"same": full, "foreign": full}, query_side=asked,
        rate_spread=0.4,
    )  # fmt: skip


@given(st.integers(0, 2**32 - 1), st.integers(1, 4), st.booleans())
def test_gradients_are_those_of_differences(seed, width, labelled):
    numbers = np.random.default_rng(seed)
    matrix = numbers.normal(size=(30, width))
    known = np.arange(30) < numbers.integers(1, 30)
    term = positive_unlabelled(matrix, known)
    if labelled:
        term = labelled_pairs(matrix, known.astype(float), numbers.random(30))
    theta, step = numbers.normal(size=width + 1), 1e-6
    slopes = [
        (term(theta + step * unit)[0] - term(theta - step * unit)[0]) / (2 * step)
        for unit in np.eye(width + 1)
    ]
    np.testing.assert_allclose(term(theta)[1], slopes, rtol=1e-5, atol=1e-6)


def test_likelihood_of_known_positives_by_hand():
    # Risks .5, .5 and .2 (log-odds 0, 0, -ln 4): the known one has 5/12 of them all.
    matrix = np.array([[0.0], [0.0], [-np.log(4)]])
    term = positive_unlabelled(matrix, np.array([True, False, False]))
    assert term(np.array([0.0, 1.0]))[0] == pytest.approx(-np.log(5 / 12))


def test_labels_are_fitted_as_scikit_learn_fits_them():
    numbers = np.random.default_rng(0)
    matrix = numbers.normal(size=(800, 3))
    labels = numbers.random(800) < sigmoid(-0.7 + matrix @ np.array([1.2, 0.4, 0.8]))
    start = linear(NAMES, (0.0,) * 3, (1e3,) * 3, intercept_spread=1e3)
    found = solve(start, [labelled_pairs(matrix, labels.astype(float))])
    oracle = LogisticRegression(C=1e9, tol=1e-8).fit(matrix, labels)
    assert found.intercept == pytest.approx(oracle.intercept_[0], abs=1e-3)
    np.testing.assert_allclose(found.weights, oracle.coef_[0], atol=1e-3)
    # and the deviations are those of the inverse Fisher information
    wide = np.column_stack([np.ones(800), matrix])
    sure = oracle.predict_proba(matrix).prod(axis=1)
    expected = np.sqrt(np.diag(np.linalg.inv(wide.T @ (wide * sure[:, None]))))
    np.testing.assert_allclose((found.intercept_spread, *found.spreads), expected, rtol=1e-2)


def test_weights_never_fall_below_nought_unless_told():
    numbers = np.random.default_rng(1)
    matrix = numbers.normal(size=(300, 2))
    labels = (numbers.random(300) < sigmoid(matrix @ np.array([1.0, -1.0]))).astype(float)
    start = linear(("query", "document"), (0.5, 0.5), (9.0, 9.0))
    found = solve(start, [labelled_pairs(matrix, labels)])
    assert found.weights[1] == 0
    assert found.weights[0] > 0.5
    assert solve(start, [labelled_pairs(matrix, labels)], monotone=1).weights[1] < -0.5


def test_without_anything_to_learn_from_the_prior_stays():
    start = linear(NAMES, SLOPES, (0.2, 0.3, 0.4), intercept=-2.0)
    found = solve(start, [])
    assert (found.weights, found.intercept) == (SLOPES, -2.0)
    np.testing.assert_allclose(found.spreads, start.spreads, rtol=1e-3)


@given(st.integers(0, 2**32 - 1), st.floats(0.01, 0.99))
def test_shift_makes_the_probabilities_sum_up(seed, share):
    odds = np.random.default_rng(seed).normal(size=50)
    shift = find_shift(odds, share * 50)
    assert sigmoid(odds + shift).sum() == pytest.approx(share * 50, abs=1e-3)


def simulate(intercept, queries=300, candidates=60, seed=0, language="en", spoken=0.0):
    """Evidence whose relevance follows a known logistic law; one relevant one is revealed.

    `spoken` is added to the log-odds. Feedback stands nearer to what is relevant than the others.
    """
    numbers = np.random.default_rng(seed)
    shape = (queries, candidates)
    values = {name: numbers.normal(size=shape) for name in NAMES}
    odds = intercept + spoken
    odds = odds + sum(slope * values[name] for name, slope in zip(NAMES, SLOPES, strict=True))
    truth = numbers.random(shape) < sigmoid(odds)
    closed = np.full(shape, None, dtype=object)
    for query in range(queries):
        relevant = np.flatnonzero(truth[query])
        if len(relevant):
            closed[query, numbers.choice(relevant)] = "positive"
    rows = pl.DataFrame(
        {
            "query_id": np.repeat([f"{language}{n:04}" for n in range(queries)], candidates),
            "doc_id": np.tile([f"d{n:04}" for n in range(candidates)], queries),
            "z_t": values["query"].ravel(),
            "document_z_t": values["document"].ravel(),
            "feedback_z_t": values["feedback"].ravel(),
            "positive_z_t": np.zeros(queries * candidates),
            "gap_z_t": np.zeros(queries * candidates),
            "truth": truth.ravel(),
            "language": [language] * queries * candidates,
        }
    )
    closed = pl.Series("closed", closed.ravel().tolist(), dtype=pl.String)
    known = closed == "positive"
    return rows.with_columns(
        closed,
        same_language=pl.lit(value=True),
        rank=pl.lit(1),
        label=pl.when(known).then(pl.lit(1, pl.Int8)),
        positive_similarity=pl.lit(None, pl.Float32),  # each query has one positive
    ).with_columns(feedback_z_t=pl.when(~known.fill_null(value=False)).then("feedback_z_t"))


def judge(model, rows):
    """Expected and true number of relevant open candidates per query."""
    open_ = rows.filter(pl.col("closed").is_null())
    risk = predict_risk(model, open_, TEACHERS, open_["language"])
    queries = open_["query_id"].n_unique()
    return risk.sum() / queries, open_["truth"].sum() / queries


def miss(intercept, guess, seed, queries=300):
    """ln(expected / true number of relevant ones that nobody has marked), and the model."""
    rows = simulate(intercept, queries, seed=seed)
    model = fit(rows, TEACHERS, rows["language"], prior(guess))
    assert model.sources[0].name == "known positives"
    assert model.sources[0].pairs == int((rows["closed"] == "positive").sum())
    expected, true = judge(model, rows)
    return float(np.log(expected / true)), model


# About 4.5 and 14 relevant candidates of 60, of which one is known.
@pytest.mark.parametrize("intercept", [-3.0, -1.5])
@pytest.mark.parametrize("wrong", [-1.0, 1.0])
def test_how_many_nobody_has_marked_is_found(intercept, wrong):
    """On average over simulations, from a prior that expects far fewer, or far more."""
    misses = [miss(intercept, intercept + wrong, seed, 900)[0] for seed in range(8)]
    assert abs(np.mean(misses)) < np.log(1.3), np.exp(misses)


@pytest.mark.parametrize("intercept", [-4.5, -3.0, -1.5])
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_how_sure_the_height_is_is_said(intercept, seed):
    missed, model = miss(intercept, intercept, seed)
    spread = model.query_side.intercept_spread
    assert abs(missed) < 2.5 * spread
    assert model.rate_spread == pytest.approx(np.hypot(prior().rate_spread, spread), abs=1e-5)


def test_fewer_relevant_ones_leave_it_less_sure():
    spreads = [miss(intercept, intercept, 0)[1].rate_spread for intercept in (-4.5, -3.0, -1.5)]
    assert spreads == sorted(spreads, reverse=True)
    assert spreads[0] > 1.5 * spreads[-1]


def test_too_few_positives_leave_the_prior_and_say_so():
    rows = simulate(-3.0)
    few = rows["query_id"].filter(rows["closed"] == "positive").head(FEWEST_KNOWN - 1)
    rows = rows.filter(pl.col("query_id").is_in(few.implode()))
    model = fit(rows, TEACHERS, rows["language"], prior())
    assert (model.full, model.query_side) == (prior().full, prior().query_side)
    assert model.sources == ()
    assert "fewer than 10 known positives" in model.notes[0]
    assert model.rate_spread == pytest.approx(np.hypot(0.4, 2.0), abs=1e-6)


def test_a_language_in_which_more_is_relevant_is_found():
    parts = [simulate(-3.0, seed=1), simulate(-3.0, seed=2, language="de", spoken=1.0)]
    parts.append(simulate(-3.0, seed=3, language="fr", queries=30))
    rows = pl.concat(parts)
    model = fit(rows, TEACHERS, rows["language"], prior())
    assert model.offsets.keys() == {"de", "en"}
    assert 0.4 < model.offsets["de"] - model.offsets["en"] < 1.6
    assert model.notes == ("too few known positives for an offset of their own: fr",)


def test_labels_decide_the_weights_of_all_the_evidence():
    rows = simulate(-1.0, queries=600)
    some = pl.col("query_id").str.ends_with("0")  # the others stay as they are
    labelled = rows.with_columns(
        label=pl.when(pl.col("closed").is_null() & some)
        .then(pl.col("truth").cast(pl.Int8))
        .otherwise("label")
    )
    start = prior(intercept=-1.0, spread=5.0).model_copy(
        update={"full": {"same": linear(NAMES, (0.0,) * 3, (9.0,) * 3, -5.0, 9.0),
                         "foreign": prior().full["foreign"]}}
    )  # fmt: skip
    model = fit(labelled, TEACHERS, rows["language"], start)
    np.testing.assert_allclose(model.full["same"].weights, SLOPES, atol=0.2)
    assert model.full["foreign"] == start.full["foreign"]  # nothing was said of those
    assert {source.name for source in model.sources} >= {"labels"}


def test_labels_of_one_kind_are_obeyed_and_not_fitted_on():
    rows = simulate(-3.0)
    refused = (pl.col("closed").is_null()) & ~pl.col("truth") & (pl.col("z_t") > 1.5)
    zeros = rows.with_columns(label=pl.when(refused).then(pl.lit(0, pl.Int8)).otherwise("label"))
    plain, told = (fit(frame, TEACHERS, frame["language"], prior()) for frame in (rows, zeros))
    assert told.full["same"].weights == plain.full["same"].weights
    assert told.rate_spread >= plain.rate_spread  # it is not surer for it
    assert any("not fitted on" in note for note in told.notes)
    expected, true = judge(told, zeros.filter(pl.col("label").is_null()))
    assert expected > 0.4 * true  # zeros among the nearest do not make the rest look safe
    risk = predict_risk(told, zeros.filter(refused), TEACHERS, zeros.filter(refused)["language"])
    assert not risk.any()


def test_several_positives_teach_by_hiding_one():
    rows = simulate(-2.0, queries=200)
    pair = pl.col("query_id").str.slice(2).cast(pl.Int64) // 2  # two of them become one query
    hidden = rows.with_columns(query_id=pl.format("en{}", pair))
    flat = prior().model_copy(
        update={"full": {"same": linear(NAMES, (0.1,) * 3, (9.0,) * 3, -3.0),
                         "foreign": prior().full["foreign"]}}
    )  # fmt: skip
    model = fit(hidden, TEACHERS, rows["language"], flat)
    assert {source.name for source in model.sources} == {"known positives", "hidden positives"}
    assert min(model.full["same"].weights[:2]) > 0.5


def test_same_bits_on_any_number_of_threads():
    folder = Path(__file__).parent
    code = (
        f"import sys; sys.path.insert(0, {str(folder)!r}); import test_risk_fit as t;"
        "rows = t.simulate(-3.0, queries=100);"
        "print(t.fit(rows, t.TEACHERS, rows['language'], t.prior()).model_dump_json())"
    )
    other = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "POLARS_MAX_THREADS"), "3")
    said = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True,
        cwd=folder.parents[1], env={**os.environ, **other},
    ).stdout  # fmt: skip
    rows = simulate(-3.0, queries=100)
    assert said.strip() == fit(rows, TEACHERS, rows["language"], prior()).model_dump_json()


class TestDraw:
    IDS = pl.Series([f"q{n:03}" for n in range(50)])

    def draw(self, ids, count, language="en", labelled=()):
        queries = pl.DataFrame({"query_id": ids, "language": language})
        return draw_queries(queries, pl.Series(labelled, dtype=pl.String), count)

    def test_queries_with_labels_come_first(self):
        labelled = ["q003", "q031", "q047"]
        assert self.draw(self.IDS, 3, labelled=labelled).to_list() == labelled
        assert {*labelled} < {*self.draw(self.IDS, 4, labelled=labelled)}

    def test_every_language_gets_its_share(self):
        language = pl.Series(["de"] * 45 + ["sw"] * 5)
        drawn = self.draw(self.IDS, 10, language)
        assert len(set(drawn) & set(self.IDS[45:])) == 5
        assert len(drawn) == 15  # a language's share may be as many as were asked for altogether

    def test_order_and_company_decide_nothing(self):
        drawn = self.draw(self.IDS, 7)
        assert len(drawn) == 7
        assert drawn.is_sorted()
        assert self.draw(self.IDS.reverse(), 7).equals(drawn)
        assert set(drawn) <= set(self.draw(self.IDS, 20))

    def test_all_are_taken_where_there_are_fewer(self):
        assert self.draw(self.IDS, 99).equals(self.IDS)
