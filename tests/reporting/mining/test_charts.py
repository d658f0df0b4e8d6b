"""Where the charts of a mining report put what they are given."""

import pytest

from polymine.mining.budget import Point
from polymine.reporting.charts.drawing import as_image
from polymine.reporting.mining.charts import (
    LOWEST,
    draw_columns,
    draw_histogram,
    draw_reliability,
    draw_trade_off,
)
from polymine.reporting.mining.histograms import Group, Histogram
from tests.reporting.charts.reading import colours, dots, texts, tips
from tests.reporting.mining.small_run import make_model
from tests.reporting.mining.test_risk import CURVE

HISTOGRAM = Histogram((0.0, 0.1, 0.2), (Group("kept", "negative", (3, 0), 0.05),))


def test_the_trade_off_names_every_point() -> None:
    drawn = draw_trade_off(CURVE, CURVE[1], 0.02)
    assert {"8 % expected, hardness 0.600", "1 % expected, hardness 0.400"} <= set(tips(drawn))
    assert {"budget 2 %", "taken: 2 %, 0.500", "expected false negatives →"} <= set(texts(drawn))
    taken = dots(drawn)["taken: 2 %, 0.500"]
    assert taken == pytest.approx(dots(drawn)["2 % expected, hardness 0.500"])
    hard, clean = (dots(drawn)[f"{tip}"] for tip in tips(drawn)[:3:2])
    assert hard[0] > taken[0] > clean[0]  # right is dirtier
    assert hard[1] < taken[1] < clean[1]  # up is harder


@pytest.mark.parametrize("curve", [CURVE[:1], (Point(0.0, 0.5, 0.0, 1.0),) * 2, ()])
def test_a_curve_of_nothing_can_be_drawn(curve: tuple[Point, ...]) -> None:
    assert "<svg" in draw_trade_off(curve, Point(0.0, 0.5, 0.0, 1.0), 0.02)


def test_reliability_has_a_panel_per_collection() -> None:
    proof = make_model().proofs[0]
    drawn = draw_reliability([proof, proof, proof])
    assert texts(drawn).count("cranfield") == 3
    assert tips(drawn).count("expected 1 %, true 2 % of 400") == 3
    assert tips(drawn).count("expected 50 %, true 0 % of 10") == 3  # hollow: it tells too little
    assert LOWEST == 0.001


def test_bars_say_what_they_count() -> None:
    drawn = draw_histogram(HISTOGRAM, "scores", [(0.1, "equal scores"), (9.0, "far off")])
    assert tips(drawn) == ["0 to 0.1: 3", "equal scores", "median"]
    assert "3 · median 0.050" in texts(drawn)
    rates = draw_histogram(Histogram((-2.0, -1.0), HISTOGRAM.groups[:1]), "risks", rates=True)
    assert "1 % to 10 %: 3" in tips(rates)
    columns = draw_columns([("1", 7), ("deeper", 20_000)], "ranks", "negative")
    assert tips(columns) == ["1: 7", "deeper: 20,000"]
    assert {"1", "deeper", "7", "20k"} <= set(texts(columns))


def test_one_svg_serves_light_and_dark_and_is_the_same_every_time() -> None:
    drawn = draw_histogram(HISTOGRAM, "scores & <more>")
    assert drawn == draw_histogram(HISTOGRAM, "scores & <more>")
    assert colours(drawn)
    assert all(colour.startswith("var(--") for colour in colours(drawn))
    assert as_image(drawn).startswith("data:image/svg+xml;base64,")


def test_a_name_with_markup_is_shown_as_text() -> None:
    odd = Histogram((0.0, 1.0), (Group("<b>$x$ & y", "negative", (3,), 0.5),))
    assert "<b>$x$ & y" in texts(draw_histogram(odd, "<i>"))
