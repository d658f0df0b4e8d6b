"""Sentences have one macro each: of two with the same name Jinja takes the last without a word."""

from collections import Counter
from pathlib import Path

import pytest
from jinja2 import nodes

import polymine.reporting
from polymine.reporting.templates import templates

FOLDER = Path(str(polymine.reporting.__file__)).parent
WITH_MACROS = sorted(path for path in FOLDER.rglob("*.j2") if "macro" in path.read_text("utf-8"))


@pytest.mark.parametrize("path", WITH_MACROS, ids=lambda path: path.relative_to(FOLDER).as_posix())
def test_no_macro_takes_the_place_of_another(path):
    parsed = templates().parse(path.read_text("utf-8"))
    counted = Counter(macro.name for macro in parsed.find_all(nodes.Macro))
    assert counted
    assert [name for name, count in counted.items() if count > 1] == []
