"""Texts of the data in one line."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from polymine.reporting.shown import shorten


@pytest.mark.parametrize(
    ("text", "longest", "shown"),
    [
        ("A short  text\nin lines", 40, "A short text in lines"),
        ("The committee approved the proposal", 24, "The committee approved …"),
        ("The committee approved the", 22, "The committee approved …"),  # a word that just fits
        ("サラエボ事件 はオーストリア皇太子が暗殺された", 10, "サラエボ事件 はオー …"),
        ("no " + "x" * 40, 20, "no " + "x" * 17 + " …"),
    ],
)
def test_a_long_text_is_cut_at_a_word_where_there_is_one(text: str, longest: int, shown: str):
    assert shorten(text, longest) == shown


@given(st.text(), st.integers(5, 60))
def test_a_cut_takes_a_fifth_of_the_room_at_most(text: str, longest: int):
    flat = " ".join(text.split())
    if len(flat) <= longest:
        assert len(shorten(text, longest)) == len(flat)
    else:
        assert 0.8 * longest < len(shorten(text, longest).removesuffix(" …")) <= longest
