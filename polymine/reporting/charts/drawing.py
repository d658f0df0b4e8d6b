"""Figures of matplotlib as SVG that takes its colours from the page, light or dark.

A figure is drawn in the light colours below. Each of them then becomes a variable of the page's
style sheet with the light colour as fallback, so one SVG serves both schemes. Texts stay texts, and
the same figure is the same bytes.
"""

from __future__ import annotations

import base64
import io
import re
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any
from xml.etree import ElementTree

from markupsafe import Markup

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

COLOURS = {
    "ink": "#20262e", "soft": "#5c6673", "line": "#d9dee5", "positive": "#0a7d5f",
    "negative": "#c2500a", "excluded": "#7c8796", "promoted": "#4460cf",
}  # fmt: skip
LARGEST = 60_000  # bytes of an image in the Prefect UI, which becomes slow with larger ones
TIP = "tip:"  # begins the id of what says something when the mouse is over it
SVG = "http://www.w3.org/2000/svg"
STYLE: Any = {
    "svg.fonttype": "none", "svg.hashsalt": "polymine", "font.size": 11, "axes.titlesize": 11,
    "axes.titleweight": "bold", "axes.titlelocation": "left", "text.color": COLOURS["ink"],
    "axes.labelcolor": COLOURS["soft"], "axes.titlecolor": COLOURS["ink"],
    "axes.edgecolor": COLOURS["line"], "xtick.labelcolor": COLOURS["soft"],
    "ytick.labelcolor": COLOURS["soft"], "xtick.major.size": 0, "xtick.minor.size": 0,
    "ytick.major.size": 0, "ytick.minor.size": 0, "axes.spines.top": False,
    "axes.spines.right": False, "axes.spines.left": False, "grid.color": COLOURS["line"],
    "grid.linewidth": 0.6, "axes.axisbelow": True, "axes.unicode_minus": True,
    "path.simplify": False, "text.parse_math": False,
}  # fmt: skip


def new_figure(width: float, height: float) -> Figure:
    """Open an empty figure of so many pixels, outside pyplot, so that nothing keeps it alive."""
    from matplotlib.figure import Figure

    return Figure(figsize=(width / 72, height / 72))


def add_panel(figure: Figure, left: float, top: float, width: float, height: float) -> Axes:
    """Add axes, placed in pixels from the figure's top left corner, without labels and ticks."""
    whole, tall = figure.get_size_inches() * 72
    return figure.add_axes((left / whole, 1 - (top + height) / tall, width / whole, height / tall))


def styled() -> Any:
    """Set matplotlib's style for what is drawn within."""
    from matplotlib import rc_context

    return rc_context(STYLE)


def write(
    axes: Axes,
    at: tuple[float, float],
    text: str,
    offset: tuple[float, float] = (0, 6),
    kind: str = "soft",
    frame: Any = "data",
    ha: str = "center",
    **more: Any,
) -> None:
    """Write text beside a point.

    Args:
        axes: to write on.
        at: the point, in the units of `frame`.
        text: what to write.
        offset: in pixels, right and up.
        kind: key of `COLOURS`.
        frame: `data`, `axes fraction` or a transform.
        ha: which side of the text lies at the point.
        more: of `Axes.annotate`.
    """
    axes.annotate(
        text, at, offset, xycoords=frame, textcoords="offset points", ha=ha,
        color=COLOURS[kind], **more,
    )  # fmt: skip


def dot(
    axes: Axes, x: float, y: float, kind: str, size: float, tip: str, *, hollow: bool = False
) -> None:
    """Draw a dot with a tooltip."""
    fill, edge = ("none", 1) if hollow else (COLOURS[kind], 0)
    axes.plot([x], [y], "o", ms=size, mfc=fill, mec=COLOURS[kind], mew=edge, gid=TIP + tip)


def name_axes(axes: Axes, x: str, y: str) -> None:
    """Name the axes at their ends, across at the right and up above the numbers, over a grid."""
    axes.grid(axis="y")
    axes.set_xlabel(f"{x} →" if x else "", loc="right")
    if y:
        write(axes, (0, 1), f"↑ {y}", (-40, 6), frame="axes fraction", ha="left")


def to_svg(figure: Figure, title: str) -> Markup:
    """Write a figure as inline SVG in the page's colours; equal figures give equal bytes.

    `title` is read out by screen readers. Artists whose gid begins with `TIP` get the rest
    of it as a tooltip.
    """
    written = io.BytesIO()
    nothing = dict.fromkeys(("Date", "Creator", "Format", "Type"))
    figure.savefig(written, format="svg", transparent=True, metadata=nothing)
    root = ElementTree.fromstring(written.getvalue())
    _tidy(root)
    _, _, width, height = root.attrib["viewBox"].split()
    box = {"viewBox": root.attrib["viewBox"], "width": width, "height": height}
    root.attrib = {**box, "role": "img", "aria-label": title, "font-family": "system-ui,sans-serif"}
    ElementTree.register_namespace("", SVG)
    text = ElementTree.tostring(root, encoding="unicode")
    for name, colour in COLOURS.items():
        text = text.replace(colour, f"var(--{name},{colour})")
    return Markup(text)


def _tidy(element: ElementTree.Element) -> None:
    """Leave out what a page does not need: most of matplotlib's bytes, and all its addresses."""
    children = []
    for child in element:
        _tidy(child)
        child.tail = None
        kind, style = child.tag.rpartition("}")[2], child.attrib.get("style", "")
        empty = kind in ("g", "defs") and not len(child)
        if empty or kind in ("style", "clipPath") or (kind == "path" and style == "fill:none"):
            continue
        bare = kind == "g" and not child.attrib and not child[0].tag.endswith("title")
        children += list(child) if bare else [child]
    element[:] = children
    attributes, element.text = element.attrib, _stripped(element)
    tip = attributes.get("id", "")
    if tip.startswith(TIP):
        label = ElementTree.Element(f"{{{SVG}}}title")
        label.text = tip.removeprefix(TIP)
        element.insert(0, label)
    if element.tag == f"{{{SVG}}}g":
        attributes.pop("id", None)
    attributes.pop("clip-path", None)
    for name, value in list(attributes.items()):
        if name.endswith("}href"):
            attributes["href"] = attributes.pop(name)
        elif name == "transform" and value.startswith("rotate(-0 "):
            del attributes[name]
        elif name == "style":
            kept = re.sub(r"font-family:[^;]*(;|$)", "", value)
            attributes[name] = re.sub(r"\s*([;:])\s*", r"\1", kept).strip("; ")
        elif name in ("d", "x", "y"):
            attributes[name] = re.sub(r"(\.\d)\d+", r"\1", " ".join(value.split()))


def _stripped(element: ElementTree.Element) -> str | None:
    return element.text if element.tag in (f"{{{SVG}}}text", f"{{{SVG}}}title") else None


def as_image(svg: Markup) -> str:
    """Turn a chart into a `data:` address, for places that take no SVG elements.

    On a page of whatever colour the chart brings its own paper, dark where the reader wants dark.
    """
    style = f"<style>{_schemes()}svg{{background:var(--paper)}}</style>"
    alone = str(svg).replace(">", f">{style}", 1)
    return "data:image/svg+xml;base64," + base64.b64encode(alone.encode()).decode()


@cache
def _schemes() -> str:
    """The page's colours, light and dark: what its style sheet begins with."""
    sheet = (Path(__file__).parents[1] / "page.css").read_text(encoding="utf-8")
    return sheet.partition("*{")[0].replace("\n", "")


def cut(name: str, longest: int) -> str:
    """Shorten a name that has no room."""
    return name if len(name) <= longest else name[: longest - 1] + "…"
