"""Maps of texts as the page draws them: dots by language, lines from translations to sources."""

from dataclasses import dataclass

import polars as pl

from polymine.reporting.formatting import name_language

SIDE, EDGE = 380, 8  # pixels of a map, and around its dots
DRAWN = 1_200  # dots of a map: each brings its text along
SHOWN = 90  # characters of it
SOURCE = "en"  # where lines begin, if the language is there; the first one if not


@dataclass(frozen=True)
class Dot:
    """A text: where it lies, which hue its language has, and what hovering tells."""

    x: int
    y: int
    hue: int
    tip: str


@dataclass(frozen=True)
class LanguageMap:
    """One map.

    Args:
        method: that laid it out.
        dots: texts.
        lines: path of an SVG: from each source to its translations.
        legend: (language, hue).
    """

    method: str
    dots: tuple[Dot, ...]
    lines: str
    legend: tuple[tuple[str, int], ...]


def lay_out(points: pl.DataFrame) -> tuple[LanguageMap, ...]:
    """Turn coordinates into what the page draws.

    Args:
        points: `GapPoints` of a model on a set.

    Returns:
        A map per method; of very many texts, the first groups are drawn.
    """
    codes = points["language"].unique().sort().to_list()
    groups = points["group"].unique().sort().head(max(1, DRAWN // max(1, len(codes))))
    drawn = points.filter(pl.col("group").is_in(groups.implode()))
    hues = {code: round(360 * at / len(codes)) for at, code in enumerate(codes)}
    source = SOURCE if SOURCE in codes else codes[0] if codes else ""
    return tuple(
        _draw(str(method), part, hues, source)
        for (method,), part in drawn.group_by("method", maintain_order=True)
    )


def _draw(method: str, points: pl.DataFrame, hues: dict[str, int], source: str) -> LanguageMap:
    size = SIDE - 2 * EDGE
    placed = points.with_columns(
        x=(pl.col("x") * size + EDGE).round().cast(pl.Int64),
        y=((1 - pl.col("y")) * size + EDGE).round().cast(pl.Int64),
    )
    dots = tuple(
        Dot(row["x"], row["y"], hues[row["language"]],
            f"{row['language']}: {' '.join(row['text'].split())[:SHOWN]}")
        for row in placed.iter_rows(named=True)
    )  # fmt: skip
    origin = placed.filter(language=source).select("group", from_x="x", from_y="y")
    ends = placed.filter(pl.col("language") != source).join(origin, on="group")
    lines = "".join(
        f"M{a} {b}L{x} {y}" for a, b, x, y in ends.select("from_x", "from_y", "x", "y").iter_rows()
    )
    legend = tuple((name_language(code), hue) for code, hue in hues.items())
    return LanguageMap(method, dots, lines, legend)
