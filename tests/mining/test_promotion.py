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
from polymine.mining.precision import (
    CAUTION,
    FEWEST_PAIRS,
    LEAST_RISK,
    assess,
    expect_right,
    fit_precisions,
)
from polymine.mining.promotion import (
    close_versions,
    draw_pairs,
    find_cut,
    find_precisions,
    promote_within,
)

FOUND = Precision(
    pair="same", source="labels", pairs=200, right=100, queries=90, centre=0.0, intercept=-0.5,
    slope=0.8, intercept_spread=0.2, slope_spread=0.1,
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
            found = fit_precisions(
                simulate(seed, 200, intercept, slope, spread, per_query), "labels"
            )
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
        (found,) = fit_precisions(pairs, "labels")
        low, high = expect_right(np.array([0.3, 0.95]), found)
        assert high - low < 0.15
        assert find_cut(expect_right(np.linspace(0.2, 0.99, 50), found, CAUTION), 0.3, 0.0) is None

    def test_labels_that_are_all_right_say_much(self):
        right = simulate(0, 100, 0, 1).with_columns(right=pl.lit(value=True))
        (found,) = fit_precisions(right, "labels")
        assert expect_right(np.array([0.5]), found, CAUTION)[0] > 0.85

    def test_pairs_of_one_query_count_for_less(self):
        alone, together = (
            fit_precisions(simulate(3, 300, 0, 1, 3.0 * (per > 1), per), "labels")[0]
            for per in (1, 30)
        )
        assert together.intercept_spread > 2 * alone.intercept_spread

    def test_too_few_pairs_say_nothing(self):
        assert fit_precisions(simulate(0, FEWEST_PAIRS - 1, 0, 1), "labels") == ()
        none = simulate(0, 200, 0, 1).with_columns(right=pl.lit(value=False))
        assert fit_precisions(none, "judgments") == ()
        unlikely = simulate(0, 400, 0, 1).with_columns(risk=pl.lit(LEAST_RISK / 2))
        assert fit_precisions(unlikely, "labels") == ()

    def test_pairs_of_languages_have_their_own_where_there_are_enough(self):
        good = simulate(1, 300, 1.5, 1.0, kind="foreign").with_columns(languages=pl.lit("de-en"))
        bad = simulate(2, 300, -2.0, 1.0, kind="foreign").with_columns(languages=pl.lit("ar-en"))
        few = simulate(3, 9, 0.0, 1.0, kind="foreign").with_columns(languages=pl.lit("fa-en"))
        found = fit_precisions(pl.concat([good, bad, few]), "labels")
        assert [each.pair for each in found] == ["foreign", "ar-en", "de-en"]
        of = {each.pair: expect_right(np.array([0.5]), each)[0] for each in found}
        assert of["ar-en"] < of["foreign"] < of["de-en"]
        asked = pl.DataFrame({"kind": "foreign", "languages": ["de-en", "fa-en"], "risk": 0.5})
        assert assess(asked, found)["precision"].to_list() == [of["de-en"], of["foreign"]]
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


QUERIES = 40  # with two known positives; a further one, q0, has one
POSITIVES = pl.DataFrame(
    [("q0", "k"), *((f"q{n}", f"k{place}") for n in range(1, QUERIES + 1) for place in (1, 2))],
    ["query_id", "doc_id"], orient="row",
)  # fmt: skip


def known_and_likely(labelled="labels", count=120):
    """Half of the known pairs are labelled, right and wrong in turn; all queries have others."""
    numbers = range(2 * count)
    known = pl.DataFrame(
        {"query_id": [f"q{1 + n % QUERIES}" for n in numbers],
         "doc_id": [f"l{n}" for n in numbers], "kind": "same", "languages": "en-en",
         "label": [(n // 2) % 2 if n < count else None for n in numbers],
         "risk": np.linspace(0.3, 0.9, 2 * count)},
        schema_overrides={"label": pl.Int8},
    )  # fmt: skip
    labels = known.filter(pl.col("label").is_not_null()).select(
        "query_id", "doc_id", relevance="label", source=pl.lit(labelled)
    )
    if labelled == "judgments":  # these refute only
        labels = labels.filter(relevance=0)
        known = known.join(labels, on=["query_id", "doc_id"], how="left").with_columns(
            label=pl.when(pl.col("relevance") == 0).then(pl.lit(0, pl.Int8))
        )
    likely = pl.DataFrame(
        {"query_id": [f"q{n % (QUERIES + 1)}" for n in range(300)],
         "doc_id": [f"c{n}" for n in range(300)], "kind": "same", "languages": "en-en",
         "risk": np.linspace(0.2, 0.99, 300)}
    )  # fmt: skip
    return known.drop("relevance", "source", strict=False), likely, labels


class TestSources:
    @pytest.fixture(autouse=True)
    def _without_a_least(self, monkeypatch):
        monkeypatch.setattr(precision, "LEAST_PRECISION", 0.0)

    def test_labels_come_first_then_judgments_then_hidden_positives(self):
        for source, expected in (("labels", "labels"), ("judgments", "judgments")):
            known, likely, labels = known_and_likely(source)
            (found,) = find_precisions(known, likely, labels, POSITIVES)
            assert found.source == expected
        known, likely, labels = known_and_likely()
        unlabelled = known.with_columns(label=pl.lit(None, pl.Int8))
        (found,) = find_precisions(unlabelled, likely, labels.clear(), POSITIVES)
        assert found.source == "hidden positives"
        others = likely.filter(pl.col("query_id") != "q0")  # it has no second one to be hidden
        assert (found.right, found.pairs) == (240, 240 + len(others))

    def test_where_hidden_positives_say_it_only_queries_with_one_known_are_promoted_to(self):
        known, likely, labels = known_and_likely()
        unlabelled = known.with_columns(label=pl.lit(None, pl.Int8))
        precisions = find_precisions(unlabelled, likely, labels.clear(), POSITIVES)
        promoted, _ = promote_within(likely, POSITIVES, precisions, 0.6)
        assert promoted["query_id"].unique().to_list() == ["q0"]
        labelled = find_precisions(known, likely, labels, POSITIVES)
        promoted, _ = promote_within(likely, POSITIVES, labelled, 0.6)
        assert promoted["query_id"].n_unique() > QUERIES / 2

    def test_a_query_without_a_positive_gets_none(self):
        known, likely, labels = known_and_likely()
        precisions = find_precisions(known, likely, labels, POSITIVES)
        promoted, found = promote_within(likely, POSITIVES.head(1), precisions, 0.6)
        assert promoted["query_id"].unique().to_list() == ["q0"]
        assert found.promoted == len(promoted)

    def test_without_anything_to_calibrate_on_nothing_is_promoted(self):
        known, likely, labels = known_and_likely()
        precisions = find_precisions(known.clear(), likely, labels.clear(), POSITIVES.head(1))
        promoted, found = promote_within(likely, POSITIVES, precisions, 0.9)
        assert (len(promoted), found.precisions, found.cut, found.promoted) == (0, (), None, 0)


def test_versions_of_the_promoted_are_closed_for_all_who_ask_the_same():
    promoted = pl.DataFrame(
        {"query_id": ["q", "lone"], "doc_id": ["a", "z"], "precision": [0.8, 0.5]}
    )
    versions = pl.DataFrame(
        [("document", "a", "a"), ("document", "b", "a"), ("document", "other", "other"),
         ("query", "q", "q"), ("query", "r", "q"), ("query", "z", "q")],
        schema=["side", "id", "version"], orient="row",
    )  # fmt: skip
    found = close_versions(promoted, versions)
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
