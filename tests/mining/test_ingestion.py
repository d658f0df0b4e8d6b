"""Ingestion: copies, the closure, and the whole recipe on random and on real data."""

import time

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from polars.testing import assert_frame_equal

from polymine.data_contracts.errors import InputError
from polymine.mining.ingestion import Ingested, close_positives, ingest, merge_copies, text_key
from tests.mining.small_tables import (
    DOCUMENTS,
    JUDGMENTS,
    QUERIES,
    documents,
    judgments,
    queries,
)
from tests.public_data import public, public_tables


def closure(result: Ingested | pl.DataFrame) -> dict[tuple[str, str], str]:
    frame = result.closure if isinstance(result, Ingested) else result
    return {(query, doc): reason for query, doc, reason in frame.iter_rows()}


class TestMergeCopies:
    def test_lowest_id_stands_for_its_copies(self):
        corpus = documents(
            ("b", "Same  text"), ("a", "same text"), ("c", "other"), group_id=[None] * 3
        )
        judged = judgments(("q", "b", 2), ("q", "a", 1), ("p", "b", 0))
        kept, pointed, copies = merge_copies(corpus, judged)
        assert kept["doc_id"].to_list() == ["a", "c"]
        assert pointed.rows() == [("p", "a", 0), ("q", "a", 2)]
        assert copies.rows() == [("b", "a")]

    def test_groups_that_share_a_copy_become_one(self):
        corpus = documents(
            ("a", "x"), ("b", "X"), ("c", "y"), ("d", "z"), ("e", "w"),
            group_id=["g2", "g1", "g2", "g1", "other"],
        )  # fmt: skip
        kept, _, _ = merge_copies(corpus, JUDGMENTS)
        groups = dict(kept.select("doc_id", "group_id").iter_rows())
        assert groups == {"a": "g1", "c": "g1", "d": "g1", "e": "other"}

    def test_group_of_a_merged_copy_is_not_lost(self):
        corpus = documents(("a", "x"), ("b", "X"), ("c", "y"), group_id=[None, "g", "g"])
        kept, _, _ = merge_copies(corpus, JUDGMENTS)
        assert kept["group_id"].to_list() == ["g", "g"]


class TestClosure:
    def close(self, corpus, asked, judged, near_groups=()):
        groups = pl.DataFrame(
            near_groups, schema={"doc_id": pl.String, "near_group": pl.Int64}, orient="row"
        )
        optional = pl.lit(None, pl.String).alias("group_id")
        corpus, asked = (
            frame if "group_id" in frame.columns else frame.with_columns(optional)
            for frame in (corpus, asked)
        )
        return closure(close_positives(corpus, asked, judged, groups))

    def test_every_reason(self):
        corpus = documents(
            ("copy", "POS"), ("far", "z"), ("group", "x"), ("near", "pos!"), ("pos", "pos"),
            ("query", "ask?"), ("sibling", "y"),
            group_id=[None, None, "g", None, "g", None, None],
        )  # fmt: skip
        asked = queries(("q", "Ask?"), ("r", "other"), group_id=["a", "a"])
        judged = judgments(("q", "pos", 1), ("r", "sibling", 1), ("q", "far", 0))
        found = self.close(corpus, asked, judged, [("near", 0), ("pos", 0)])
        assert {doc: reason for (query, doc), reason in found.items() if query == "q"} == {
            "pos": "positive",
            "copy": "copy",
            "near": "near_copy",
            "group": "same_group",
            "query": "equals_query",
            "sibling": "judged_query_group",
        }

    def test_groups_reach_through_near_copies(self):
        corpus = documents(
            ("a", "1"), ("b", "2"), ("c", "3"), ("d", "4"), group_id=[None, "g", "g", "h"]
        )
        found = self.close(
            corpus, queries(("q", "?")), judgments(("q", "a", 1)), [("a", 0), ("b", 0)]
        )
        assert found == {
            ("q", "a"): "positive", ("q", "b"): "near_copy", ("q", "c"): "same_group",
        }  # fmt: skip

    def test_several_positives_all_count(self):
        corpus = documents(("a", "1"), ("b", "2"), ("c", "3"), ("d", "4"), group_id=[*"gghh"])
        found = self.close(corpus, queries(("q", "?")), judgments(("q", "a", 1), ("q", "c", 2)))
        assert {doc for _, doc in found} == {"a", "b", "c", "d"}

    def test_queries_with_the_same_text_share_their_positives(self):
        asked = queries(("q", "What?"), ("r", "what?"), ("s", "who?"))
        found = self.close(DOCUMENTS, asked, judgments(("q", "d1", 1), ("s", "d2", 1)))
        assert found["r", "d1"] == "judged_query_group"
        assert ("s", "d1") not in found

    def test_a_copy_of_the_query_is_found_behind_its_title(self):
        corpus = documents(
            ("a", "Zoo  Where do e\u0301lks live?"), ("b", "Zoo"),
            ("c", "Zoos Where do élks live?"), ("pos", "north"),
            title=[" Zoo ", "Zoo", "Zoo", None],
        )  # fmt: skip
        asked = queries(("q", "where do élks live?"), ("r", "zoo"))
        found = self.close(corpus, asked, judgments(("q", "pos", 1)))
        assert found == {
            ("q", "pos"): "positive", ("q", "a"): "equals_query", ("r", "b"): "equals_query",
        }  # fmt: skip

    def test_judged_not_relevant_closes_nothing(self):
        assert self.close(DOCUMENTS, QUERIES, judgments(("q1", "d1", 0))) == {}


texts = st.sampled_from(["a b c", "A  b c", "a b d", "x y z w", "X y z w", "one", "two", "", "q?"])
groups = st.sampled_from([None, "g", "h"])
document_rows = st.lists(
    st.tuples(st.sampled_from("abcdefg"), texts, st.sampled_from(["en", "de", "??"]), groups),
    min_size=1, max_size=8,
)  # fmt: skip
query_rows = st.lists(
    st.tuples(st.sampled_from("qrs"), texts, st.just("en"), groups), min_size=1, max_size=4
)
judgment_rows = st.lists(
    st.tuples(st.sampled_from("qrst"), st.sampled_from("abcdefgh"), st.integers(-1, 2)),
    min_size=1, max_size=8,
)  # fmt: skip


def random_tables(rows) -> list[pl.DataFrame]:
    columns = [["doc_id", "text", "language", "group_id"], ["query_id", "text", "language"]]
    schemas = [
        dict.fromkeys(columns[0], pl.String),
        dict.fromkeys([*columns[1], "group_id"], pl.String),
        {"query_id": pl.String, "doc_id": pl.String, "relevance": pl.Int64},
    ]
    return [pl.DataFrame(r, schema=s, orient="row") for r, s in zip(rows, schemas, strict=True)]


@settings(max_examples=60, deadline=None)
@given(document_rows, query_rows, judgment_rows, st.randoms(use_true_random=False))
def test_any_input_is_accounted_for_whatever_its_order(docs, asks, judged, shuffler):
    tables = random_tables([docs, asks, judged])
    try:
        result = ingest(*tables, on_invalid="quarantine")
    except InputError:
        with pytest.raises(InputError):
            ingest(*tables, on_invalid="fail")
        return
    shuffled = [shuffler.sample(rows, len(rows)) for rows in (docs, asks, judged)]
    again = ingest(*random_tables(shuffled), on_invalid="quarantine")
    for name in ("documents", "queries", "judgments", "closure", "copies", "rejected"):
        assert_frame_equal(getattr(result, name), getattr(again, name))
    # Every row is kept, merged or rejected: exactly one of them.
    rejected = result.rejected["source"].value_counts()
    counts = dict(rejected.iter_rows())
    merged = result.copies.height
    assert result.documents.height + merged + counts.get("corpus.parquet", 0) == len(docs)
    assert result.queries.height + counts.get("queries.parquet", 0) == len(asks)
    # No positive, and no copy of one, may be missing from the closure.
    positives = result.judgments.filter(pl.col("relevance") > 0).select("query_id", "doc_id")
    assert positives.join(result.closure, on=["query_id", "doc_id"], how="anti").height == 0
    assert set(result.closure["doc_id"]) <= set(result.documents["doc_id"])


def test_cacm_copies_of_a_positive_are_merged_or_closed():
    corpus, asked, judged = public_tables("cacm")
    result = ingest(corpus, asked, judged)
    stands_for = dict(result.copies.iter_rows())
    assert corpus["text"].n_unique() >= result.documents.height == corpus.height - len(stands_for)
    texts = corpus.select("doc_id", key=pl.col("text").map_elements(text_key, pl.String))
    positive = judged.filter(pl.col("relevance") > 0).join(texts, on="doc_id")
    closed = positive.join(texts, on="key", suffix="_copy").select("query_id", "doc_id_copy")
    found = closure(result)
    for query, doc in closed.iter_rows():
        assert (query, stands_for.get(doc, doc)) in found


def test_xquad_translations_of_a_positive_are_closed_and_quickly():
    corpus, asked, judged = public_tables("xquad")
    corpus = corpus.join(pl.read_parquet(public("xquad") / "translations.parquet"), on="doc_id")
    asked = asked.join(
        pl.read_parquet(public("xquad") / "query_translations.parquet"), on="query_id"
    )
    started = time.process_time()
    result = ingest(corpus, asked, judged)
    assert time.process_time() - started < 8
    assert result.closure.height == 14_280 * 12
    reasons = dict(result.closure["reason"].value_counts().iter_rows())
    assert reasons == {"positive": 14_280, "same_group": 14_280 * 11}
