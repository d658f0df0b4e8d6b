"""What the report says of the risk, with numbers a reader can check."""

import math
from dataclasses import replace

import polars as pl
import pytest

from polymine.data_contracts.risk import Source
from polymine.data_contracts.settings import MiningSettings, SelectionSettings
from polymine.mining.budget import Choice, Point
from polymine.mining.risk import FEATURES
from polymine.reporting.mining.card import render_card
from polymine.reporting.mining.funnel import Step
from polymine.reporting.mining.risk import (
    Checked,
    Kept,
    RiskData,
    ValidatorUpdate,
    compare_update,
    count_labelled,
    hardness_at,
    list_weights,
    offer_budgets,
    typical_risk,
)
from polymine.reporting.mining.summary import summarise
from polymine.reporting.mining.turns import HIGHEST, Turn, find_turns
from polymine.reporting.reasons import EVIDENCE
from polymine.reporting.templates import say
from tests.reporting.mining.small_run import MINING, make_model, make_tables
from tests.reporting.mining.test_page import make_report, read

KEPT = Kept(count=3, rate=0.02, hardness=0.5, found=1.0)
CURVE = (
    Point(price=0.0, hardness=0.6, expected=0.08, found=1.0),
    Point(price=1.0, hardness=0.5, expected=0.02, found=1.0),
    Point(price=9.0, hardness=0.4, expected=0.01, found=1.0),
)
BY_RISK = RiskData(
    make_model(), KEPT, fitted=True, budget=0.02, choice=Choice(1.0, 0.25), chosen=CURVE[1],
    curve=CURVE,
)  # fmt: skip
RISK_RULE = MiningSettings.model_validate(
    {"teachers": [{"name": n, "kind": "lexical"} for n in ("one", "two")], "negatives": 2}
)


def test_the_interval_is_a_factor_on_either_side() -> None:
    # rate_spread is ln 2 / 1.96: the true rate may be half or twice as high.
    assert BY_RISK.interval == pytest.approx((0.01, 0.04))
    assert say("mining", "expected", BY_RISK) == (
        "2 % of the kept negatives are expected to be relevant (95 % interval 1 % to 4 %), with "
        "100 % of the wanted negatives found and a hardness (mean score) of 0.500."
    )
    assert say("mining", "expected_briefly", BY_RISK) == "2 % expected to be relevant (1 % to 4 %)"
    certain = RiskData(make_model(), Kept(1, 0.9, 0.5, 1.0), fitted=True)
    assert certain.interval == pytest.approx((0.45, 1.0))
    nothing = RiskData(make_model(), Kept(0, None, None, 0.0), fitted=True)
    assert (nothing.interval, say("mining", "expected_briefly", nothing)) == (None, "")


def test_labels_are_counted_by_the_risk_they_had() -> None:
    pairs = pl.DataFrame({"risk": [0.005, 0.02, 0.02, 0.5], "right": [False, True, False, True]})
    assert count_labelled(pairs) == (
        Checked(0.0, 0.01, 1, pytest.approx(0.005), 0),
        Checked(0.01, 0.03, 2, pytest.approx(0.04), 1),
        Checked(0.3, 1.0, 1, pytest.approx(0.5), 1),
    )
    assert count_labelled(pairs.head(0)) is None


def turns_of(risk: RiskData, mining: MiningSettings = RISK_RULE, short: bool = False) -> list[Turn]:
    summary = summarise(make_tables(), mining)
    refused = Step("excluded", 5, HIGHEST, "excluded")
    summary = replace(summary, short=int(short), recall=())
    return find_turns(summary, risk, (refused,), mining, "runs/x")


def test_what_binds_is_what_to_turn() -> None:
    harder, cleaner, label = turns_of(BY_RISK)
    assert "what binds is the budget of 2 %. With 5 % the mean score is 0.550" in harder.why
    assert harder.command == (
        "polymine run FILE --set mining.selection.max_false_negative_rate=0.05 "
        "--set output.path=runs/x-2"
    )
    assert "=0.01 " in cleaner.command
    assert label.command == "polymine label runs/x"
    free = replace(BY_RISK, choice=Choice(0.0, 0.25), labelled=(Checked(0.0, 1.0, 1, 0.1, 0),))
    (only,) = turns_of(free)  # nothing is left to label first
    assert "5 candidates were refused as likelier than 25 %" in only.why
    assert "mining.selection.max_risk=0.5 " in only.command
    ceiling = RiskData(make_model(), KEPT, fitted=True, labelled=free.labelled)
    rule, deeper = turns_of(ceiling, MINING, short=True)
    assert "mining.selection.rule=risk" in rule.command
    assert "mining.depth=200 " in deeper.command


def test_likely_positives_in_other_languages_are_pointed_at() -> None:
    *_, promote, label = turns_of(replace(BY_RISK, unmarked=(1234, 20)))
    assert (
        "1,234 candidates of 20 queries are in another language and likelier right" in promote.why
    )
    assert "max_false_positive_rate=0.3 " in promote.command
    assert label.command == "polymine label runs/x"
    few = replace(BY_RISK, unmarked=(1234, 19))  # no labels of so few would say how precise it is
    assert turns_of(few) == turns_of(BY_RISK)


def test_budgets_are_read_off_the_curve() -> None:
    assert hardness_at(CURVE, 0.005) is None  # no point of the curve is as clean
    assert hardness_at(CURVE, 0.01) == pytest.approx(0.4)
    assert hardness_at(CURVE, 0.05) == pytest.approx(0.55)  # half way from 2 % to 8 %
    assert hardness_at(CURVE, 0.5) == pytest.approx(0.6)
    offers = {offer.budget: offer for offer in offer_budgets(BY_RISK)}
    assert list(offers) == [0.005, 0.01, 0.02, 0.05, 0.1]
    assert [budget for budget, offer in offers.items() if offer.taken] == [0.02]
    assert [budget for budget, offer in offers.items() if offer.free] == [0.1]


@pytest.mark.parametrize(
    ("choice", "chosen", "said"),
    [
        (Choice(0.0, 0.25), CURVE[0], "It did not bind"),
        (Choice(1.0, 0.25), CURVE[1], "by its score minus 1 times its risk"),
        (Choice(1e4, 0.01), Point(1e4, 0.4, 0.02, 0.7), "No choice of 100 % of the wanted"),
    ],
)
def test_how_the_budget_was_met(choice: Choice, chosen: Point, said: str) -> None:
    data = RiskData(
        make_model(), KEPT, fitted=True, budget=0.02, choice=choice, chosen=chosen, curve=CURVE
    )
    assert said in say("mining", "budget", data)


def test_weights_are_odds_per_deviation() -> None:
    words, positive = list_weights(make_model())
    assert (words.feature, words.spread) == ("words", 0.1)
    assert (words.weight, positive.weight) == pytest.approx((math.log(2), 0.0))
    assert set(EVIDENCE) == set(FEATURES)  # every kind of evidence is explained
    assert typical_risk(make_model()) == pytest.approx(0.01)  # odds of 1 to 99


def test_what_the_weights_were_fitted_on() -> None:
    def told(fitted: bool = True, **pairs: int) -> str:
        sources = tuple(Source(name=n.replace("_", " "), pairs=p) for n, p in pairs.items())
        return say("mining", "fit", RiskData(make_model(sources=sources), KEPT, fitted))

    assert "Where 12 known positives lie" in told(known_positives=12)
    assert "The weights themselves stay as they come" in told(known_positives=12)
    both = told(known_positives=30, hidden_positives=20, labels=1)
    assert "Where 30 known positives lie" in both  # labels say nothing of how many there are
    assert "learned from 1 labelled pair and 20 known positives that were hidden" in both
    assert "too little to fit anything" in told()
    assert "cranfield (7 pairs)" in told(fitted=False, cranfield=7)


def test_what_the_validator_changed() -> None:
    # Before: d2 and d3 of q1. Now: d2 and d3 of q1 and d1 of q2, as in the small run.
    pairs = {"query_id": ["q1", "q1"], "doc_id": ["d2", "d9"]}
    risks = pl.LazyFrame({**pairs, "risk": [0.02, 0.5]})
    evidence = pl.LazyFrame({**pairs, "risk": [0.04, 0.4]})
    before = pl.LazyFrame(
        {
            "query_id": ["q1", "q1", "q1", "q1"],
            "doc_id": ["d2", "d3", "d8", "d9"],
            "order": [1, 2, 3, None],
        }
    )
    found = compare_update(evidence, risks, before, make_tables().negatives, 2, 0.5)
    assert (found.pairs, found.dropped, found.taken, found.promoted) == (2, 0, 1, 0)
    assert found.moved == pytest.approx(0.06)
    assert "moved their risk by 6 % on average" in say("mining", "validator_update", found)


def test_a_validator_that_adds_nothing_is_said_to() -> None:
    update = ValidatorUpdate(8, 0.0, moved=0.0, dropped=0, taken=0, promoted=1)
    told = say("mining", "validator_update", update)
    assert told.startswith("The validator read 8 pairs")
    assert "changes no risk, because the settings give it no weight" in told
    assert "1 candidate was promoted" in told


def test_the_page_shows_the_trade_off_and_the_weights() -> None:
    notes = ("a teacher <b>nobody</b> has tested",)
    data = RiskData(
        make_model(notes=notes, offsets={"fr": math.log(3)}), KEPT, fitted=True, budget=0.02,
        choice=Choice(1.0, 0.25), chosen=CURVE[1], curve=CURVE,
    )  # fmt: skip
    report = make_report(mining=RISK_RULE, risk=data)
    outline = read(report)
    for said in (
        "95 % interval 1 % to 4 %", "taken: 2 %, 0.500", "budget 2 %", "this run",
        "--set mining.selection.max_false_negative_rate=0.05", "× 2.00", "French (fr) × 3.00",
        "4.5 expected,", "5.8 true per query", "none of this is your data",
        "A teacher <b>nobody</b> has tested.", "it runs from 0.940 to 0.990",
    ):  # fmt: skip
        assert said in outline.text, said
    card = render_card(report, {"triplets": 3})
    assert "2 % of the kept negatives are expected to be relevant" in card
    assert "probability that the negative is one" in card


def test_another_rule_has_an_expected_rate_too() -> None:
    text = read(make_report()).text
    assert "3 % of the kept negatives are expected to be relevant" in text
    assert "weight is 1 for every triplet" in text
    assert "What each budget buys" not in text
    assert "1: the rule of this run gives none" in render_card(make_report(), {"triplets": 3})


def test_promoted_are_said_to_be_positives_only_where_they_are() -> None:
    tables, doc = make_tables(), pl.col("doc_id")
    verdicts = tables.negatives.collect_schema()["verdict"]
    judged = tables.negatives.with_columns(
        verdict=pl.when(doc == "d4").then(pl.lit("promoted")).otherwise(
            pl.col("verdict").cast(pl.String)
        ).cast(verdicts),
        reason=pl.when(doc == "d4").then(pl.lit("promoted: risk and validator agree")).otherwise(
            "reason"
        ),
    )  # fmt: skip
    promoted = make_tables(negatives=judged)
    text = read(make_report(promoted, mining=RISK_RULE, risk=BY_RISK)).text
    assert "1 unmarked passage became further positives (1 risk and validator agree)" in text
    assert "in no triplet" not in text
    old = MiningSettings.model_validate(
        {**RISK_RULE.model_dump(), "selection": SelectionSettings(rule="percent")}
    )
    assert "They are in no triplet" in read(make_report(promoted, mining=old)).text
