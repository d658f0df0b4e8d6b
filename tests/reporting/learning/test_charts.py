"""Where matrices and curves put their numbers, how they colour them, and that they stay small."""

import re

import polars as pl
import pytest
from markupsafe import Markup

from polymine.data_contracts.learning import Comparisons
from polymine.reporting.charts.drawing import LARGEST, as_image
from polymine.reporting.learning.charts import POINTS, draw_gains, draw_training
from polymine.reporting.learning.panels import draw_panels
from polymine.reporting.learning.tables import Gain, pick_result
from tests.reporting.charts.reading import dots, texts, tips
from tests.reporting.learning.small_learning import SIX, TWELVE, make_comparisons, make_curve

NUMBER = re.compile(r"[+−]?\d+\.\d")


def compare(cells: dict[tuple[str, str], tuple[float, float, float]]) -> pl.DataFrame:
    """Directions as (base, gain, half an interval)."""
    rows = [
        {
            "model": "m", "set": "s", "group": "direction", "document_language": document,
            "query_language": query, "metric": "ndcg", "queries": 9, "base": base,
            "value": base + gain, "gain": gain, "low": gain - half, "high": gain + half,
        }
        for (document, query), (base, gain, half) in cells.items()
    ]  # fmt: skip
    return Comparisons.validate(pl.DataFrame(rows), cast=True)


SMALL = compare(
    {
        ("en", "en"): (0.9, 0.0, 0.01),
        ("en", "ru"): (0.3, 0.1, 0.02),
        ("ru", "en"): (0.2, -0.05, 0.01),
        ("ru", "ru"): (0.4, 0.02, 0.05),
    }
)


def panels(frame: pl.DataFrame, pivot: str | None = None) -> list[Markup]:
    return draw_panels(pick_result(frame, "s", "m"), pivot)


def cells(panel: str) -> list[list[str]]:
    """The numbers of a panel, a list per row from top to bottom, and from left to right."""
    middle = r'<text [^>]*text-anchor:middle[^>]*x="([\d.]+)" y="([\d.]+)"[^>]*>([^<]+)</text>'
    rows: dict[float, list[tuple[float, str]]] = {}
    for x, y, text in re.findall(middle, panel):
        if NUMBER.fullmatch(text):
            rows.setdefault(round(float(y)), []).append((float(x), text))
    return [[text for _, text in sorted(rows[y])] for y in sorted(rows)]


def fills(panel: str, kind: str) -> dict[str, float]:
    """The opacity of each cell of a colour, by its tooltip."""
    path = rf"<title>([^<]+)</title><path[^>]*fill:var\(--{kind},[^)]*\);opacity:([\d.]+)"
    return {tip: float(opacity) for tip, opacity in re.findall(path, panel)}


def test_rows_are_documents_and_columns_queries() -> None:
    base, trained, gain = panels(SMALL)
    assert cells(base) == [["90.0", "30.0"], ["20.0", "40.0"]]
    assert cells(trained) == [["90.0", "40.0"], ["15.0", "42.0"]]
    assert cells(gain) == [["+0.0", "+10.0"], ["−5.0", "+2.0"]]
    assert any(
        tip.startswith("documents in English (en), queries in Russian (ru): 0.300 → 0.400")
        for tip in tips(gain)
    )
    assert "documents ↓ queries →" in texts(gain)


def test_the_pivot_comes_first_and_is_outlined() -> None:
    plain, marked = panels(SMALL)[0], panels(SMALL, "ru")[0]
    assert cells(marked) == [["40.0", "20.0"], ["30.0", "90.0"]]
    assert [drawn.count("fill:none;stroke:var(--soft") for drawn in (plain, marked)] == [0, 2]
    assert cells(panels(SMALL, "fr")[0]) == cells(plain)  # it was not measured: nothing changes


def test_colours_of_the_gain_are_centred_on_zero() -> None:
    gain = panels(SMALL)[2]
    above, below = fills(gain, "promoted"), fills(gain, "negative")
    assert (len(above), len(below)) == (2, 1)  # what gains nothing has no colour
    assert [*below.values()] == [pytest.approx(max(above.values()) / 2, abs=0.01)]
    nothing = panels(compare({("a", "a"): (0.5, 0.0, 0.1), ("b", "b"): (0.5, 0.0, 0.1)}))[2]
    assert not fills(nothing, "promoted") | fills(nothing, "negative")


def test_only_gains_whose_interval_leaves_out_zero_are_bold() -> None:
    found = re.findall(r'<text style="[^"]*(?:bold|700)[^"]*"[^>]*>([^<]+)<', panels(SMALL)[2])
    assert [text for text in found if NUMBER.fullmatch(text)] == ["+10.0", "−5.0"]


def test_a_direction_that_was_not_measured_stays_empty() -> None:
    some = SMALL.filter(~((pl.col("document_language") == "ru") & (pl.col("base") < 0.3)))
    assert cells(panels(some)[0]) == [["90.0", "30.0"], ["40.0"]]


@pytest.mark.parametrize("languages", [SIX, TWELVE])
def test_images_of_panels_are_small(languages: tuple[str, ...]) -> None:
    result = pick_result(make_comparisons(languages), "xquad", "trained")
    for panel in draw_panels(result, "en", tips=False):
        assert len(as_image(panel)) < LARGEST
        assert sum(map(len, cells(panel))) == len(languages) ** 2
        assert min(float(size) for size in re.findall(r"font-size:([\d.]+)px", panel)) >= 8.5


def test_one_language_is_no_matrix() -> None:
    assert draw_panels(pick_result(make_comparisons(("en",)), "xquad", "trained"), None) == []


def test_a_language_with_markup_is_shown_as_text() -> None:
    frame = compare({("<b>x", "<b>x"): (0.5, 0.1, 0.1), ("en", "en"): (0.5, 0.1, 0.1)})
    assert all(texts(panel).count("<b>x") == 2 for panel in panels(frame))


def test_long_curves_are_thinned_and_short_ones_drawn() -> None:
    long = draw_training(make_curve("a", 20_000, 1))
    lines = re.findall(r'<path d="(M[^"]*L[^"]*)"', long)
    assert POINTS / 2 < max(path.count("L") for path in lines) <= POINTS
    assert {"↑ loss", "↑ learning rate", "optimizer step →", "20,000"} <= set(texts(long))
    flat = make_curve("a").with_columns(loss=pl.lit(0.0), rate=pl.lit(0.0))
    for curve in (make_curve("a", 1, 1), flat):
        assert "<svg" in draw_training(curve)


def test_gains_below_zero_are_left_of_the_base() -> None:
    seed = Gain("seed 0", 0.5, 0.6, 0.12, 0.05, 0.15)
    rows: list[tuple[Gain, list[Gain]]] = [
        (Gain("up", 0.5, 0.6, 0.1, 0.05, 0.15), [seed]),
        (Gain("down", 0.5, 0.4, -0.1, None, None), []),
    ]
    drawn = draw_gains(rows, "gains")
    up, part, down = dots(drawn).values()
    zero = re.search(r'<path d="M ([\d.]+) [^"]*" style="[^"]*dasharray', drawn)
    assert zero
    assert down[0] < float(zero[1]) < up[0] < part[0]
    assert up[1] < part[1] < down[1]
    said = " ".join(tips(drawn))
    assert "better" in said
    assert "no interval" in said
    assert {"up", "down", "as the base", "gain →"} <= set(texts(drawn))
