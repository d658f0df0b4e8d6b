"""What a development part chose stands on the page and in the card, and on the curve."""

from dataclasses import replace

import polars as pl

from polymine.data_contracts.learning import DevelopmentCurve
from polymine.data_contracts.notes import Chosen, InLanguage
from polymine.data_contracts.settings import TrainingSettings
from polymine.reporting.learning.adapter_card import render_adapter_card
from polymine.reporting.learning.charts import draw_training
from polymine.reporting.learning.page import render_learning
from polymine.reporting.learning.tables import list_languages_chosen
from polymine.reporting.templates import say
from tests.reporting.charts.reading import texts, tips
from tests.reporting.learning.small_learning import make_curve, make_learning

HALF = Chosen(
    questions=54, documents=2000, of_documents=40_000, step=200, scale=0.5, ndcg=0.52, base=0.48,
    looks=5, seconds=9.0, stopped=True,
    languages=(
        InLanguage("ar", 54, 0.62, 0.58, True), InLanguage("fa", 12, 0.4, 0.5, False),
        InLanguage("ru", 53, 0.36, 0.38, True),
    ),
)  # fmt: skip
NOTHING = Chosen(
    questions=54, documents=300, of_documents=300, step=0, scale=1.0, ndcg=0.48, base=0.48,
    looks=3, seconds=9.0, stopped=False,
)  # fmt: skip


MEAN = replace(HALF, step=400, scale=1.0, averaged=2, ndcg=0.55, stopped=False)


def looks(name: str = "mono") -> pl.DataFrame:
    points = [
        (0, 0.0, 1, 0.48), (0, 1.0, 1, 0.48), (200, 1.0, 1, 0.51), (400, 1.0, 1, 0.5),
        (200, 0.5, 1, 0.52), (400, 1.0, 2, 0.55),
    ]  # fmt: skip
    rows = [
        (name, step, scale, averaged, language, ndcg + moved)
        for step, scale, averaged, ndcg in points
        for language, moved in (("*", 0.0), ("ru", -0.1), ("ar", 0.1))
    ]
    frame = pl.DataFrame(rows, DevelopmentCurve.column_names(), orient="row")
    return DevelopmentCurve.validate(frame, cast=True)


def test_it_is_said_what_was_chosen_by_how_many_questions() -> None:
    assert say("learning", "chosen", "mono", HALF) == (
        "Step mono, on the development part: chosen was step 200 at half its scale: nDCG@10 0.520 "
        "where the base has 0.480, by 54 questions over 2,000 documents, a sample of 40,000. "
        "Training ended early, as nothing better came."
    )
    assert say("learning", "chosen", "mono", NOTHING) == (
        "Step mono, on the development part: nothing that it learned was better than where it "
        "began, and there it was put back: nDCG@10 0.480 where the base has 0.480, by 54 questions "
        "over 300 documents."
    )


def test_a_mean_is_said_shown_and_listed() -> None:
    assert (
        "chosen was the mean of the weights at the last 2 looks, up to step 400: nDCG@10 0.550"
        in (say("learning", "chosen", "mono", MEAN))
    )
    drawn = draw_training(make_curve("mono"), looks(), MEAN)
    assert "chosen: step 400, mean of 2 looks, nDCG@10 0.550" in tips(drawn)
    assert list_languages_chosen({"mono": MEAN, "cross": NOTHING}) == [
        ("mono", one) for one in MEAN.languages
    ]
    alone = replace(MEAN, languages=MEAN.languages[:1])
    assert list_languages_chosen({"mono": alone}) == []


def test_page_and_card_say_it_with_each_language() -> None:
    report = make_learning(looks=looks(), chosen={"mono": HALF})
    page = render_learning(report)
    card = render_adapter_card(report, TrainingSettings(), {"*": "mono"}, "package", "out")
    for text in (page, card):
        assert say("learning", "chosen", "mono", HALF) in text
    assert (
        "Arabic (ar) 0.580 → 0.620 (54 questions), Persian (fa) 0.500 → 0.400 (12 questions, too "
        "few to tell), Russian (ru) 0.380 → 0.360 (53 questions, below the base)." in card
    )
    assert page.count("too few to tell") == page.count("below the base</td>") == 1
    assert "\n\n\n- Step" not in card
    assert "development part by language" in page


def test_languages_below_the_base_and_those_too_small_to_tell_are_named() -> None:
    assert [one.language for one in HALF.below] == ["ru"]
    assert HALF.unheld(["ar", "de"]) == {"de": 0, "fa": 12}
    assert say("learning", "below", "mono", HALF.below) == (
        "Step mono ends below its base on the development part for queries in Russian (ru) "
        "(nDCG@10 0.380 → 0.360, 53 questions)."
    )
    assert say("learning", "unheld", "mono", HALF.unheld(["de"])) == (
        "Step mono: too few questions of the development part are in German (de) (0), "
        "Persian (fa) (12) to hold it against its base there."
    )


def test_the_curve_of_looks_is_drawn_with_what_was_chosen() -> None:
    drawn = draw_training(make_curve("mono"), looks(), HALF)
    assert any("nDCG@10 on the development part" in text for text in texts(drawn))
    assert "chosen: step 200, at 0.5 of its scale, nDCG@10 0.520" in tips(drawn)
    assert not any("nDCG" in text for text in texts(draw_training(make_curve("mono"))))
