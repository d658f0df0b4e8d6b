"""Where curves put what they are given."""

import re

import pytest

from polymine.mining.budget import Point
from polymine.reporting.charts.curves import LOWEST, Axis, draw_reliability, draw_trade_off
from tests.reporting.mining.small_run import make_model
from tests.reporting.mining.test_risk import CURVE


def test_an_axis_by_logarithm() -> None:
    axis = Axis(0.001, 1.0, 0.0, 300.0, log=True)
    assert [axis.place(value) for value in (0.001, 0.01, 0.1, 1.0)] == [0, 100, 200, 300]
    assert axis.place(0.0) == 0  # what lies outside is on the edge
    assert axis.ticks(4) == pytest.approx([0.001, 0.01, 0.1, 1.0])
    assert Axis(0.01, 0.1, 0.0, 1.0, log=True).ticks() == pytest.approx([0.01, 0.02, 0.05, 0.1])


def test_a_plain_axis_may_run_upwards() -> None:
    axis = Axis(0.4, 0.6, 200.0, 0.0)
    assert [axis.place(value) for value in (0.4, 0.5, 0.6)] == [200, 100, 0]
    assert axis.ticks(4) == pytest.approx([0.4, 0.45, 0.5, 0.55, 0.6])


def test_the_trade_off_names_every_point() -> None:
    drawn = str(draw_trade_off(CURVE, CURVE[1], 0.02))
    for label in ("8 % expected, hardness 0.600", "1 % expected, hardness 0.400", "budget 2 %"):
        assert label in drawn
    assert drawn.count("<circle") == len(CURVE) + 1


@pytest.mark.parametrize("curve", [CURVE[:1], (Point(0.0, 0.5, 0.0, 1.0),) * 2, ()])
def test_a_curve_of_nothing_can_be_drawn(curve: tuple[Point, ...]) -> None:
    assert "<svg" in draw_trade_off(curve, Point(0.0, 0.5, 0.0, 1.0), 0.02)


def test_reliability_has_a_panel_per_collection() -> None:
    proof = make_model().proofs[0]
    drawn = str(draw_reliability([proof, proof, proof]))
    assert drawn.count(">cranfield<") == 3
    assert drawn.count("expected 1 %, true 2 % of 400") == 3
    hollow = re.findall(r'<circle[^>]*fill="none"[^>]*>', drawn)
    assert len(hollow) == 3  # ten candidates tell too little
    assert LOWEST == 0.001
