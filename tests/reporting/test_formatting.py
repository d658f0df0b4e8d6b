"""Texts within Markdown: shown as they are, by a Markdown reader of another make."""

import pytest
from markdown_it import MarkdownIt

from polymine.reporting.formatting import LONGEST, plain

READER = MarkdownIt("js-default")  # tables, strikethrough and linked addresses too


@pytest.mark.parametrize(
    "text",
    [
        "*stars*, __lines__, `ticks`, ~~tildes~~",
        "[a link](https://example.org) ![and an image](x.png) | and a cell",
        "# no heading, and \\*no\\* escape of its own",
        "<script>alert(1)</script> & <b>bold</b> &amp; an entity",
    ],
)
def test_markup_of_a_text_is_shown_and_not_obeyed(text):
    (block,) = [token for token in READER.parse(plain(text)) if token.type == "inline"]
    kinds = {child.type for child in block.children or []}
    assert kinds <= {"text", "text_special"}
    assert "".join(child.content for child in block.children or []) == text


def test_a_text_is_one_line_of_bounded_length():
    assert plain("one\n\n  two\tthree\n") == "one two three"
    assert plain("x" * LONGEST) == "x" * LONGEST
    assert plain("x" * (LONGEST + 1)) == "x" * LONGEST + " …"
