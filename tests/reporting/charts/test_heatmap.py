"""Where the matrix puts its numbers, how it colours them, and that it stays small and legible."""

import re
import xml.etree.ElementTree as ET

import polars as pl
import pytest

from polymine.data_contracts.learning import Comparisons
from polymine.reporting.charts.charts import as_image
from polymine.reporting.charts.heatmap import draw_matrix, draw_panels, make_matrix
from polymine.reporting.learning.tables import pick_result
from tests.reporting.learning.small_learning import SIX, TWELVE, make_comparisons

SVG = "{http://www.w3.org/2000/svg}"


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


def panels(frame: pl.DataFrame, pivot: str | None = None) -> list[ET.Element]:
    matrix = make_matrix(pick_result(frame, "s", "m"), pivot)
    assert matrix is not None
    return [ET.fromstring(str(panel)) for panel in draw_panels(matrix)]


def numbers(panel: ET.Element) -> list[list[str]]:
    """The numbers of a panel, a list per row from top to bottom."""
    found = [text for text in panel.iter(f"{SVG}text") if text.find(f"{SVG}tspan") is not None]
    found.sort(key=lambda text: float(text.attrib["y"]))
    return [
        [span.text or "" for span in sorted(text, key=lambda span: float(span.attrib["x"]))]
        for text in found
    ]


def fills(panel: ET.Element, kind: str) -> list[tuple[float, int]]:
    """Opacity and number of cells of each shade of a colour, outside the legend."""
    return [
        (float(path.attrib["fill-opacity"]), path.attrib["d"].count("z"))
        for path in panel.iter(f"{SVG}path")
        if f"--{kind}," in path.attrib["fill"] and not re.search(r"h7v10", path.attrib["d"])
    ]


def test_rows_are_documents_and_columns_queries() -> None:
    base, trained, gain = panels(SMALL)
    assert numbers(base) == [["90.0", "30.0"], ["20.0", "40.0"]]
    assert numbers(trained) == [["90.0", "40.0"], ["15.0", "42.0"]]
    assert numbers(gain) == [["+0.0", "+10.0"], ["−5.0", "+2.0"]]
    assert "documents in English (en), queries in Russian (ru): 0.300 → 0.400" in "".join(
        gain.itertext()
    )


def test_the_pivot_comes_first_and_is_outlined() -> None:
    plain, marked = panels(SMALL)[0], panels(SMALL, "ru")[0]
    assert numbers(marked) == [["40.0", "20.0"], ["30.0", "90.0"]]
    outlined = [len([p for p in svg.iter(f"{SVG}path") if "stroke" in p.attrib])
                for svg in (plain, marked)]  # fmt: skip
    assert outlined == [0, 1]
    assert len(panels(SMALL, "fr")) == 3  # a pivot that was not measured changes nothing


def test_colours_of_the_gain_are_centred_on_zero() -> None:
    gain = panels(SMALL)[2]
    above, below = fills(gain, "promoted"), fills(gain, "negative")
    assert sorted(count for _, count in above) == [1, 1]
    assert [count for _, count in below] == [1]
    strongest = max(opacity for opacity, _ in above)
    assert below[0][0] == pytest.approx(strongest / 2, abs=0.03)  # 5 points against 10


def test_only_gains_whose_interval_leaves_out_zero_are_bold() -> None:
    bold = [span.text for span in panels(SMALL)[2].iter(f"{SVG}tspan") if "font-weight" in
            span.attrib]  # fmt: skip
    assert bold == ["+10.0", "−5.0"]


def test_a_direction_that_was_not_measured_stays_empty() -> None:
    some = SMALL.filter(~((pl.col("document_language") == "ru") & (pl.col("base") < 0.3)))
    assert numbers(panels(some)[0]) == [["90.0", "30.0"], ["·", "40.0"]]


def test_gains_of_nothing_are_not_coloured() -> None:
    gain = panels(compare({("a", "a"): (0.5, 0.0, 0.1), ("b", "b"): (0.5, 0.0, 0.1)}))[2]
    assert sum(opacity for opacity, _ in fills(gain, "promoted")) == 0


@pytest.mark.parametrize("languages", [SIX, TWELVE])
def test_one_image_of_all_panels_is_small(languages: tuple[str, ...]) -> None:
    drawn = draw_matrix(make_comparisons(languages), "xquad", "trained", "ndcg", "en")
    svg = ET.fromstring(str(drawn))
    assert len(as_image(drawn)) < 60_000
    assert len(numbers(svg)) == 3 * len(languages)
    sizes = [float(g.attrib["font-size"]) for g in svg.iter(f"{SVG}g") if "font-size" in g.attrib]
    assert min(sizes) >= 8.5


def test_one_language_is_no_matrix() -> None:
    frame = make_comparisons(("en",))
    assert make_matrix(pick_result(frame, "xquad", "trained")) is None
    with pytest.raises(ValueError, match="no directions"):
        draw_matrix(frame, "xquad", "trained", "ndcg")


def test_a_language_with_markup_is_shown_as_text() -> None:
    frame = compare({("<b>x", "<b>x"): (0.5, 0.1, 0.1), ("en", "en"): (0.5, 0.1, 0.1)})
    for drawn in (*panels(frame), ET.fromstring(str(draw_matrix(frame, "s", "m", "ndcg")))):
        assert not [element for element in drawn.iter() if element.tag.endswith("}b")]
        assert "<b>x" in "".join(drawn.itertext())
