"""Reads what a chart shows from its SVG."""

import re
import xml.etree.ElementTree as ET

SVG = "{http://www.w3.org/2000/svg}"


def texts(drawn: str) -> list[str]:
    """All that is written, tooltips left out."""
    return [text.text or "" for text in ET.fromstring(drawn).iter(f"{SVG}text")]


def tips(drawn: str) -> list[str]:
    """The tooltips, in the order in which they are drawn."""
    return [title.text or "" for title in ET.fromstring(drawn).iter(f"{SVG}title")]


def dots(drawn: str) -> dict[str, tuple[float, float]]:
    """Where dots lie, by their tooltips."""
    found = {}
    for group in ET.fromstring(drawn).iter(f"{SVG}g"):
        title, mark = group.find(f"{SVG}title"), group.find(f".//{SVG}use")
        if title is not None and mark is not None:
            found[title.text or ""] = (float(mark.attrib["x"]), float(mark.attrib["y"]))
    return found


def colours(drawn: str) -> set[str]:
    """Every colour that something is drawn in."""
    found = re.findall(r"(?:fill|stroke):([^;\"]+)", drawn)
    return {colour for colour in found if colour != "none"}
