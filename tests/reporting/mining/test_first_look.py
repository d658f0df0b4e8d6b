"""The first look: shares counted by hand, and nothing known among the candidates."""

import polars as pl
import pytest

from polymine.reporting.mining.first_look import (
    SAMPLE,
    FirstLook,
    choose_queries,
    compose,
    known_positives,
    render_look,
    summarise_look,
)

RANKED = {"q0": ["d0", "d1", "d2"], "q1": ["d0", "d2", "d1"], "q2": [], "q3": ["d0"]}
CLOSED = [
    ("q0", "d0", "positive"), ("q0", "d1", "copy"), ("q1", "d1", "positive"),
    ("q2", "d2", "positive"), ("q3", "gone", "positive"),
]  # fmt: skip
DOCUMENTS = pl.DataFrame(
    {"doc_id": ["d0", "d1", "d2"], "text": ["<b>zero</b>", "one", "two"], "language": "en"}
)
QUERIES = pl.DataFrame({"query_id": list(RANKED), "text": [*"abcd"], "language": "en"})
CLOSURE = pl.DataFrame(CLOSED, ["query_id", "doc_id", "reason"], orient="row")


@pytest.fixture
def look() -> FirstLook:
    rows = [
        (query, doc, "bm25", rank, 1 / rank)
        for query, docs in RANKED.items()
        for rank, doc in enumerate(docs, 1)
    ]
    rankings = pl.DataFrame(rows, ["query_id", "doc_id", "teacher", "rank", "score"], orient="row")
    queries = choose_queries(QUERIES, known_positives(CLOSURE, DOCUMENTS))
    return compose(rankings, queries, DOCUMENTS, CLOSURE, ["bm25", "minilm"], ())


def test_shares_are_of_the_queries_whose_positive_can_be_ranked(look):
    assert (look.found.queries, look.found.first, look.found.within) == (3, 1 / 3, 2 / 3)
    assert "33 % of 3 queries, among its ten best for 67 %" in look.headline


def test_what_is_known_is_no_candidate(look):
    shown = {case.query_id: [each.doc_id for each in case.candidates] for case in look.cases}
    assert shown == {"q0": ["d2"], "q1": ["d0", "d2"], "q2": []}
    places = [[(p.doc_id, p.rank) for p in case.positives] for case in look.cases]
    assert places == [[("d0", 1)], [("d1", 3)], [("d2", None)]]


def test_pages_say_that_nothing_is_decided_and_show_texts_as_texts(look):
    page, summary = render_look(look), summarise_look(look, "/store/page.html")
    for text in (page, summary):
        assert "nothing is decided" in text
        assert "minilm will rank as well" in text
        assert "&lt;b&gt;zero" in text
        assert "<b>zero" not in text
        assert "not among the 50 best" in text
    assert "/store/page.html" in summary


def test_queries_are_drawn_over_all_ids_and_without_any_positive_from_all_of_them():
    many = pl.DataFrame({"query_id": [f"q{n:04}" for n in range(1000)]})
    none = CLOSURE.select("query_id", "doc_id").head(0)
    drawn = choose_queries(many, none)["query_id"]
    assert (len(drawn), drawn.n_unique(), drawn[0], drawn[-1]) == (SAMPLE, SAMPLE, "q0000", "q0999")
