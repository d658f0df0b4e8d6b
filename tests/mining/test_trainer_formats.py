"""Records for other trainers: by eye, against plain Python, and in JSON and back."""

import json

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from polymine.mining.trainer_formats import BUILDERS, build_corpus, build_records
from tests.mining.small_triplets import TEXTS, TWO, table, triplets


def records(frame: pl.DataFrame, form: str) -> list[dict]:
    """What a reader finds in the file."""
    return [json.loads(line) for line in build_records(frame, form).write_ndjson().split("\n")[:-1]]


def test_flagembedding():
    assert records(TWO, "flagembedding") == [
        {"query": "q?", "pos": ["apple", "pear"], "neg": ["chou « frisé »", "beet\nroot"],
         "pos_scores": [0.75, 0.5], "neg_scores": [0.25, 0.5]},
        {"query": "r?", "pos": ["chou « frisé »"], "neg": ["apple"], "pos_scores": [0.25],
         "neg_scores": [0.125]},
    ]  # fmt: skip


def test_tevatron():
    assert records(TWO, "tevatron") == [
        {"query_id": "q", "query": "q?",
         "positive_passages": [{"docid": "a", "text": "apple", "score": 0.75},
                               {"docid": "p", "text": "pear", "score": 0.5}],
         "negative_passages": [{"docid": "c", "text": "chou « frisé »", "score": 0.25},
                               {"docid": "b", "text": "beet\nroot", "score": 0.5}]},
        {"query_id": "r", "query": "r?",
         "positive_passages": [{"docid": "c", "text": "chou « frisé »", "score": 0.25}],
         "negative_passages": [{"docid": "a", "text": "apple", "score": 0.125}]},
    ]  # fmt: skip


def test_nemo():
    assert records(TWO, "nemo") == [
        {"question_id": "q", "question": "q?",
         "pos_doc": [{"id": "a", "score": 0.75}, {"id": "p", "score": 0.5}],
         "neg_doc": [{"id": "c", "score": 0.25}, {"id": "b", "score": 0.5}]},
        {"question_id": "r", "question": "r?", "pos_doc": [{"id": "c", "score": 0.25}],
         "neg_doc": [{"id": "a", "score": 0.125}]},
    ]  # fmt: skip
    assert build_corpus(TWO).rows() == sorted(TEXTS.items())


def test_ms_swift_has_one_positive_per_record():
    def says(text: str) -> list[dict]:
        return [{"role": "user", "content": text}]

    negatives = [says("chou « frisé »"), says("beet\nroot")]
    assert records(TWO, "ms-swift") == [
        {"messages": says("q?"), "positive_messages": [says("apple")],
         "negative_messages": negatives},
        {"messages": says("q?"), "positive_messages": [says("pear")],
         "negative_messages": negatives},
        {"messages": says("r?"), "positive_messages": [says("chou « frisé »")],
         "negative_messages": [says("apple")]},
    ]  # fmt: skip


@pytest.mark.parametrize("form", BUILDERS)
def test_no_triplets_make_no_records(form):
    assert build_records(TWO.clear(), form).is_empty()
    assert build_corpus(TWO.clear()).is_empty()


@pytest.mark.parametrize("form", BUILDERS)
def test_query_left_without_negatives_is_left_out(form):
    promoted = triplets(("q", "a", "p", 1, 0.5, 0.5), ("q", "p", "a", 1, 0.5, 0.5))
    assert build_records(promoted, form).is_empty()


@st.composite
def mined(draw) -> tuple[pl.DataFrame, list[tuple], dict[str, str]]:
    """Triplets with any text, several positives, and now and then one among the negatives."""
    ids = [f"d{n}" for n in range(7)]
    text = st.text(min_size=1, max_size=6).filter(lambda text: text.strip())
    texts = {doc: draw(text | st.sampled_from(["\u2028", "\r\n", "a\nb", "日本", "<b>"]))
             for doc in ids}  # fmt: skip
    score = st.floats(-30, 30, width=32)
    rows = []
    for query in draw(st.lists(st.sampled_from("qrs"), unique=True)):
        positives = draw(st.lists(st.sampled_from(ids), min_size=1, max_size=3, unique=True))
        negatives = draw(st.lists(st.sampled_from(ids), min_size=1, max_size=4, unique=True))
        scores = {doc: draw(score) for doc in ids}
        rows += [
            (query, one, other, place, scores[one], scores[other])
            for one in sorted(positives)
            for place, other in enumerate(negatives, 1)
        ]
    return table(rows, texts), rows, texts


def expected(rows: list[tuple], texts: dict[str, str]) -> list[dict]:
    """Tevatron's records, which keep everything, in plain Python."""
    made = []
    for query in dict.fromkeys(row[0] for row in rows):
        positives = {row[1]: row[4] for row in rows if row[0] == query}
        negatives = {row[2]: row[5] for row in rows if row[0] == query}
        known = {texts[doc] for doc in positives}
        passages = [
            [{"docid": doc, "text": texts[doc], "score": np.float32(score)} for doc, score in side]
            for side in (
                positives.items(),
                ((doc, score) for doc, score in negatives.items() if texts[doc] not in known),
            )
        ]
        if passages[1]:
            made.append({
                "query_id": query, "query": f"{query}?",
                "positive_passages": passages[0], "negative_passages": passages[1],
            })  # fmt: skip
    return made


@given(mined())
def test_any_text_and_score_survive_in_tevatron(case):
    frame, rows, texts = case
    found = records(frame, "tevatron")
    for record in found:
        for passage in (*record["positive_passages"], *record["negative_passages"]):
            passage["score"] = np.float32(passage["score"])
    assert found == expected(rows, texts)


@given(mined())
def test_formats_say_the_same(case):
    """The other formats hold the same texts, ids and scores in the same order, aligned."""
    frame, _, texts = case
    whole = records(frame, "tevatron")
    sides = [(record["positive_passages"], record["negative_passages"]) for record in whole]
    assert [
        (r["query"], list(zip(r["pos"], r["pos_scores"], strict=True)),
         list(zip(r["neg"], r["neg_scores"], strict=True)))
        for r in records(frame, "flagembedding")
    ] == [
        (record["query"], *([(p["text"], p["score"]) for p in side] for side in both))
        for record, both in zip(whole, sides, strict=True)
    ]  # fmt: skip
    assert [
        (r["question_id"], *([(d["id"], d["score"]) for d in r[side]] for side in
                             ("pos_doc", "neg_doc")))
        for r in records(frame, "nemo")
    ] == [
        (record["query_id"], *([(p["docid"], p["score"]) for p in side] for side in both))
        for record, both in zip(whole, sides, strict=True)
    ]  # fmt: skip
    assert [
        ([m["content"] for m in r["messages"]],
         [[m["content"] for m in said] for said in r["positive_messages"]],
         [[m["content"] for m in said] for said in r["negative_messages"]])
        for r in records(frame, "ms-swift")
    ] == [
        ([record["query"]], [[one["text"]]], [[p["text"]] for p in negatives])
        for record, (positives, negatives) in zip(whole, sides, strict=True)
        for one in positives
    ]  # fmt: skip
    named = {p["docid"] for both in sides for side in both for p in side}
    corpus = dict(build_corpus(frame).rows())
    assert named <= corpus.keys()
    assert all(texts[doc] == text for doc, text in corpus.items())
