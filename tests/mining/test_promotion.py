"""Further positives: how precise a risk is, what the budget lets in, and what closes with it."""

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from polymine.data_contracts.notes import Precision
from polymine.data_contracts.tables import Promotions
from polymine.mining import precision
from polymine.mining.labelling import draw_nearest, draw_pairs
from polymine.mining.precision import (
    CAUTION,
    FEWEST_CHECKED,
    FEWEST_PAIRS,
    LEAST_RISK,
    assess,
    expect_right,
    fit_corrections,
    fit_precisions,
    rate_spread_of,
)
from polymine.mining.promotion import (
    close_versions,
    find_cut,
    find_precisions,
    leave_out_refuted,
    promote_within,
)
from polymine.mining.risk import log_odds
from polymine.mining.risk_estimate import correct
from polymine.mining.risk_weights import load_prior

FOUND = Precision(
    pair="same", learned_from=("en-en",), pairs=200, right=100, queries=90, centre=0.0,
    highest=4.0, intercept=-0.5, slope=0.8, intercept_spread=0.2, slope_spread=0.1,
)  # fmt: skip


def simulate(seed, count, intercept, slope, spread=0.0, per_query=1, kind="same"):
    """Pairs whose true log-odds are a line through those of their risk, and a query's own."""
    random = np.random.default_rng(seed)
    odds = random.uniform(-1.3, 4, count)
    query = np.arange(count) // per_query
    own = random.normal(0, spread, count)[query]
    chance = 1 / (1 + np.exp(-(intercept + slope * odds + own)))
    return pl.DataFrame(
        {
            "query_id": [f"q{number}" for number in query],
            "doc_id": [f"d{number}" for number in range(count)],
            "kind": kind, "languages": "en-en", "risk": 1 / (1 + np.exp(-odds)),
            "right": random.random(count) < chance, "chance": chance,
        }
    )  # fmt: skip


class TestPrecision:
    @pytest.mark.parametrize(("intercept", "slope"), [(0.0, 1.0), (-2.0, 0.6), (1.5, 1.2)])
    @pytest.mark.parametrize(("spread", "per_query"), [(0.0, 1), (1.5, 5)])
    def test_the_promised_share_of_wrong_ones_holds_in_nine_of_ten(
        self, intercept, slope, spread, per_query
    ):
        """200 labels, then 4,000 candidates of the same kind: truth against what was promised."""
        truth = simulate(0, 4_000, intercept, slope, spread, per_query)
        kept, off = 0, []
        for seed in range(1, 61):
            found = fit_precisions(simulate(seed, 200, intercept, slope, spread, per_query))
            assessed = assess(truth.drop("right"), found)
            cut = find_cut(assessed["lower"].to_numpy(), 0.3, 0.5)
            promoted = assessed.clear() if cut is None else assessed.filter(pl.col("lower") >= cut)
            wrong = float(1 - promoted["chance"].mean()) if len(promoted) else 0.0
            kept += wrong <= 0.3
            off.append(float(assessed["precision"].mean() - assessed["chance"].mean()))
        assert kept >= 54
        assert abs(np.mean(off)) < 0.03

    def test_a_risk_that_says_nothing_is_found_out(self):
        pairs = simulate(0, 400, -1.0, 0.0)
        (found,) = fit_precisions(pairs)
        low, high = expect_right(np.array([0.3, 0.95]), found)
        assert high - low < 0.15
        assert find_cut(expect_right(np.linspace(0.2, 0.99, 50), found, CAUTION), 0.3, 0.0) is None

    def test_labels_that_are_all_right_say_much(self):
        right = simulate(0, 100, 0, 1).with_columns(right=pl.lit(value=True))
        (found,) = fit_precisions(right)
        assert expect_right(np.array([0.5]), found, CAUTION)[0] > 0.85

    def test_labels_that_are_all_wrong_settle_it(self):
        right = simulate(1, 200, 3.0, 1.0).with_columns(languages=pl.lit("ru-en"))
        wrong = simulate(2, 60, 0.0, 1.0).with_columns(
            languages=pl.lit("zh-en"), right=pl.lit(value=False)
        )
        found = fit_precisions(pl.concat([right, wrong]))
        of = {each.pair: expect_right(np.array([0.6]), each, CAUTION)[0] for each in found}
        assert of["zh-en"] < 0.1 < 0.9 < of["ru-en"]

    def test_nothing_rises_above_the_highest_labelled_risk(self):
        low = simulate(0, 400, 0, 1).filter(pl.col("risk") < 0.5)
        (found,) = fit_precisions(low)
        assert expect_right(np.array([0.99]), found) == expect_right(np.array([0.5]), found)

    def test_pairs_of_one_query_count_for_less(self):
        alone, together = (
            fit_precisions(simulate(3, 300, 0, 1, 3.0 * (per > 1), per))[0] for per in (1, 12)
        )
        assert together.intercept_spread > 1.5 * alone.intercept_spread

    def test_too_few_pairs_say_nothing(self):
        assert fit_precisions(simulate(0, FEWEST_PAIRS - 1, 0, 1)) == ()
        one = simulate(0, 200, 0, 1, per_query=100)
        assert fit_precisions(one) == ()
        unlikely = simulate(0, 400, 0, 1).with_columns(risk=pl.lit(LEAST_RISK / 2))
        assert fit_precisions(unlikely) == ()

    def test_pairs_of_languages_have_their_own_where_there_are_enough(self):
        good = simulate(1, 300, 1.5, 1.0, kind="foreign").with_columns(languages=pl.lit("de-en"))
        bad = simulate(2, 300, -2.0, 1.0, kind="foreign").with_columns(languages=pl.lit("ar-en"))
        few = simulate(3, 9, 0.0, 1.0, kind="foreign").with_columns(languages=pl.lit("fa-en"))
        found = fit_precisions(pl.concat([good, bad, few]))
        assert [each.pair for each in found] == ["foreign", "ar-en", "de-en"]
        of = {each.pair: expect_right(np.array([0.5]), each)[0] for each in found}
        assert of["ar-en"] < of["foreign"] < of["de-en"]
        asked = pl.DataFrame({"kind": "foreign", "languages": ["de-en", "fa-en"], "risk": 0.5})
        assert assess(asked, found)["precision"].to_list() == [of["de-en"], of["foreign"]]
        unseen = asked.tail(1).with_columns(languages=pl.lit("zh-en"))  # it has no label at all
        both = assess(pl.concat([asked.tail(1), unseen]), found)
        assert both["precision"].n_unique() == 1
        assert both["lower"][1] < both["lower"][0] - 0.1
        assert (
            len(assess(asked.with_columns(kind=pl.lit("same"), languages=pl.lit("en-en")), found))
            == 0
        )

    @given(arrays(float, st.integers(1, 40), elements=st.floats(0, 1)), st.floats(0, 3))
    def test_it_never_falls_with_the_risk_nor_rises_with_caution(self, risks, caution):
        ordered = np.sort(risks)
        lower = expect_right(ordered, FOUND, caution)
        assert np.all(np.diff(lower) >= 0)
        assert np.all(lower <= expect_right(ordered, FOUND))


class TestBudget:
    @given(
        arrays(float, st.integers(0, 60), elements=st.floats(0, 1)),
        st.floats(0.01, 0.9),
    )
    def test_the_budget_holds_and_is_spent(self, lower, budget):
        cut = find_cut(lower, budget, 0.0)
        promoted = lower[lower >= (2 if cut is None else cut)]
        assert not len(promoted) or np.mean(1 - promoted) <= budget + 1e-12
        for further in lower[lower < (2 if cut is None else cut)]:
            assert np.mean(1 - lower[lower >= further]) > budget

    def test_sure_ones_do_not_pay_for_what_is_likelier_wrong(self):
        lower = np.array([0.99] * 90 + [0.5] + [0.4] * 10)
        assert find_cut(lower, 0.3, 0.5) == 0.5
        assert find_cut(lower, 0.3, 0.0) == 0.4

    @given(arrays(float, 30, elements=st.floats(0, 1)))
    def test_more_is_promoted_for_more(self, lower):
        counts = [
            int(np.sum(lower >= cut)) if (cut := find_cut(lower, budget, 0.0)) is not None else 0
            for budget in (0.05, 0.2, 0.5, 0.8)
        ]
        assert counts == sorted(counts)


QUERIES = 40
POSITIVES = pl.DataFrame({"query_id": [f"q{n}" for n in range(QUERIES)], "doc_id": "k"})


def known_and_likely(count=120, kind="same"):
    """Labelled pairs, right and wrong in turn, and other candidates of the same queries."""
    numbers = range(count)
    named = {"kind": kind, "languages": "en-en"}
    known = pl.DataFrame(
        {"query_id": [f"q{n % QUERIES}" for n in numbers], "doc_id": [f"l{n}" for n in numbers],
         "label": [(n // QUERIES) % 2 for n in numbers], "risk": np.linspace(0.3, 0.9, count),
         **named},
        schema_overrides={"label": pl.Int8},
    )  # fmt: skip
    labels = known.select("query_id", "doc_id", relevance="label", source=pl.lit("labels"))
    likely = pl.DataFrame(
        {"query_id": [f"q{n % QUERIES}" for n in range(300)],
         "doc_id": [f"c{n}" for n in range(300)], "risk": np.linspace(0.2, 0.99, 300), **named}
    )  # fmt: skip
    return known, likely, labels


class TestLabels:
    @pytest.fixture(autouse=True)
    def _without_a_least(self, monkeypatch):
        monkeypatch.setattr(precision, "LEAST_PRECISION", 0.0)

    def test_only_labels_of_unmarked_pairs_say_how_precise_the_risk_is(self):
        known, _, labels = known_and_likely()
        (found,) = find_precisions(known, labels)
        assert (found.pairs, found.right) == (120, 40)
        assert find_precisions(known, labels.with_columns(source=pl.lit("judgments"))) == ()

    def test_a_query_without_a_positive_gets_none(self):
        known, likely, labels = known_and_likely()
        precisions = find_precisions(known, labels)
        promoted, found = promote_within(likely, POSITIVES.head(1), precisions, 0.9)
        assert promoted["query_id"].unique().to_list() == ["q0"]
        assert found.promoted == len(promoted)

    def test_what_is_not_known_is_counted_by_its_kind(self):
        known, likely, labels = known_and_likely()
        _, foreign, _ = known_and_likely(kind="foreign")
        foreign = foreign.with_columns(languages=pl.lit("de-en"))
        both, precisions = pl.concat([likely, foreign]), find_precisions(known, labels)
        promoted, found = promote_within(both, POSITIVES, precisions, 0.9)
        assert (len(promoted) > 0, found.unknown) == (True, {"foreign": 300})
        promoted, found = promote_within(both, POSITIVES, (), 0.9)
        assert (len(promoted), found.cut, found.promoted) == (0, None, 0)
        assert found.unknown == {"foreign": 300, "same": 300}


VERSIONS = pl.DataFrame(
    [("document", "a", "a"), ("document", "b", "a"), ("document", "other", "other"),
     ("query", "q", "q"), ("query", "r", "q"), ("query", "z", "q")],
    schema=["side", "id", "version"], orient="row",
)  # fmt: skip


def test_what_stands_for_a_pair_that_is_labelled_wrong_is_left_out():
    likely = pl.DataFrame({"query_id": ["q", "r", "r", "q"], "doc_id": ["b", "a", "c", "other"]})
    labels = pl.DataFrame({"query_id": ["q", "r"], "doc_id": ["a", "c"], "relevance": [0, 1]})
    assert leave_out_refuted(likely, labels, VERSIONS).rows() == [("r", "c"), ("q", "other")]


def test_versions_of_the_promoted_are_closed_for_all_who_ask_the_same():
    promoted = pl.DataFrame(
        {"query_id": ["q", "lone"], "doc_id": ["a", "z"], "precision": [0.8, 0.5]}
    )
    found = close_versions(promoted, VERSIONS)
    Promotions.validate(found)
    assert found.rows() == [
        ("lone", "z", 0.5), ("q", "a", pytest.approx(0.8)), ("q", "b", None), ("r", "a", None),
        ("r", "b", None), ("z", "a", None), ("z", "b", None),
    ]  # fmt: skip


def test_pairs_to_label_come_from_all_strata_and_by_chance_within():
    likely = simulate(0, 3_000, 0, 1)
    drawn = draw_pairs(likely, 120, seed=0).join(likely, on=["query_id", "doc_id"])
    assert len(drawn) == 120
    strata = drawn["risk"].cut([0.35, 0.5, 0.65, 0.8, 0.9]).value_counts()["count"]
    assert strata.to_list() == [20] * 6
    again = draw_pairs(likely.sample(fraction=1, shuffle=True, seed=1), 120, seed=0)
    assert again.equals(drawn.select("query_id", "doc_id").sort("query_id", "doc_id"))
    assert len(draw_pairs(likely.head(7), 120, seed=0)) <= 7


def test_pairs_nearest_the_decision_come_from_both_sides_languages_and_opinions():
    random = np.random.default_rng(7)
    table = simulate(0, 4_000, 0, 1).select("query_id", "doc_id", "risk").with_columns(
        languages=pl.Series(random.choice(["en-en", "de-en"], 4_000, p=[0.9, 0.1])),
        disagreement=pl.Series(random.random(4_000)),
    )  # fmt: skip
    table = table.with_columns(kept=pl.col("risk") < 0.5)
    drawn = draw_nearest(table, 48, seed=0).join(table, on=["query_id", "doc_id"])
    assert drawn.group_by("languages", "kept").len()["len"].to_list() == [12] * 4
    assert drawn["disagreement"].is_between(0.4, 0.6).mean() < 0.4
    assert {0.3, 0.4, 0.9} <= set(drawn["risk"].round(1))
    shuffled = draw_nearest(table.sample(fraction=1, shuffle=True, seed=1), 48, seed=0)
    assert shuffled.equals(drawn.select("query_id", "doc_id").sort("query_id", "doc_id"))


class TestCorrection:
    """What labels of 50 pairs make of a risk that is off."""

    @pytest.mark.parametrize("shift", [-1.0, 0.0, 1.0])
    def test_labels_move_the_risk_towards_the_truth_within_what_they_say(self, shift):
        """The truth lies two standard deviations of the prior away, or where the risk says."""
        near, within = 0, 0
        for seed in range(20):
            likely = pl.col("risk") < 0.7
            pairs = simulate(seed, 200, shift, 1).filter(likely).head(50)
            [found] = fit_corrections(pairs, 0.5)
            fresh = simulate(100 + seed, 4_000, shift, 1).filter(likely)
            after = expect_right(fresh["risk"].to_numpy(), found).mean()
            off, was = (
                abs(rate - fresh["chance"].mean()) for rate in (after, fresh["risk"].mean())
            )
            near += off < (was if shift else 0.1)
            missed = found.intercept - shift - found.centre
            within += abs(missed) <= found.intercept_spread * 1.96
        assert near >= 19
        assert within >= 15

    def test_few_labels_and_lists_of_what_is_relevant_correct_nothing(self):
        pairs = simulate(0, 50, -1, 1)
        assert fit_corrections(pairs.head(FEWEST_CHECKED - 1), 0.5) == ()
        assert fit_corrections(pairs.with_columns(right=pl.lit(value=True)), 0.5) == ()
        assert fit_corrections(pairs.with_columns(right=pl.lit(value=False)), 0.5) != ()

    def test_a_corrected_model_gives_the_corrected_risk_and_says_so(self):
        [found] = fit_corrections(simulate(0, 50, -2, 0.8), 0.5)
        prior = load_prior((("a", "dense"),), ())
        told = correct(prior, found)
        for before, after in zip((-4.0, 0.0, 3.0), log_odds_at(told, prior), strict=True):
            line = found.intercept + found.slope * (before - found.centre)
            assert after == pytest.approx(line, abs=1e-4)
        assert told.rate_spread == min(prior.rate_spread, rate_spread_of(found))
        assert "50 labels" in told.notes[-1]
        assert told.full["foreign"] == prior.full["foreign"]


def log_odds_at(model, prior):
    """Log-odds by `model` of candidates whose log-odds by `prior` are -4, 0 and 3."""
    linear = prior.full["same"]
    at = np.array([-4.0, 0.0, 3.0])
    heaviest = int(np.argmax(linear.weights))
    first = linear.centres[heaviest] + (at - linear.intercept) / linear.weights[heaviest]
    features = {name: np.full(3, centre) for name, centre in
                zip(linear.features, linear.centres, strict=True)}  # fmt: skip
    return log_odds(model.full["same"], features | {linear.features[heaviest]: first})
