"""Rankings of others: as trec_eval reads them, as our own counting finds them, and broken ones."""

import numpy as np
import polars as pl
import pytest
import pytrec_eval
from polars.testing import assert_frame_equal

from polymine.data_contracts.errors import InputError
from polymine.data_contracts.learning import Changes
from polymine.evaluation.changes import changed_most
from polymine.evaluation.collection import EvaluationCollection
from polymine.evaluation.rankings import measure_ranking, rank_words, read_run
from polymine.evaluation.retrieval import measure

QUERIES, DOCUMENTS = 30, 200


def collection() -> EvaluationCollection:
    """Documents in two languages, graded judgments, one hidden pair."""
    rng = np.random.default_rng(0)
    documents = pl.DataFrame({"doc_id": [f"d{n:03}" for n in range(DOCUMENTS)]}).with_columns(
        text=pl.format("text of {}", "doc_id"),
        language=pl.Series(["en", "ru"] * (DOCUMENTS // 2)),
    )
    queries = pl.DataFrame({"query_id": [f"q{n}" for n in range(QUERIES)]}).with_columns(
        text=pl.format("what is {}", "query_id"), language=pl.lit("en")
    )
    pairs = [(f"q{n}", f"d{d:03}", int(rng.integers(1, 4))) for n in range(QUERIES)
             for d in rng.choice(DOCUMENTS, 4, replace=False)]  # fmt: skip
    judged = pl.DataFrame(pairs, ["query_id", "doc_id", "relevance"], orient="row")
    hidden = pl.DataFrame({"query_id": ["q0"], "doc_id": ["d199"]})
    return EvaluationCollection(documents, queries, judged, hidden)


def vectors(count: int, seed: int) -> np.ndarray:
    found = np.random.default_rng(seed).normal(size=(count, 8)).astype(np.float32)
    return found / np.linalg.norm(found, axis=1, keepdims=True)


def whole_run(asked: np.ndarray, documents: np.ndarray) -> pl.DataFrame:
    scores = asked @ documents.T
    return pl.DataFrame(
        {"query_id": [f"q{n}" for n in range(QUERIES) for _ in range(DOCUMENTS)],
         "doc_id": [f"d{n:03}" for n in range(DOCUMENTS)] * QUERIES,
         "score": scores.ravel().astype(np.float64)}
    )  # fmt: skip


def test_a_ranking_of_everything_has_the_figures_of_its_vectors():
    asked, documents = vectors(QUERIES, 1), vectors(DOCUMENTS, 2)
    found = measure_ranking(collection(), whole_run(asked, documents), name="set")
    assert_frame_equal(found, measure(collection(), asked, documents, name="set"))


def test_ties_and_lacking_documents_are_as_trec_eval_has_them():
    shown = collection()
    run = whole_run(vectors(QUERIES, 1), vectors(DOCUMENTS, 2))
    run = run.with_columns(pl.col("score").round(1)).filter(pl.col("score") > 0)
    run = run.filter((pl.col("query_id") != "q0") | (pl.col("doc_id") != "d199"))
    found = measure_ranking(shown, run, name="set", k=10).filter(document_language="*")
    judged: dict[str, dict[str, int]] = {}
    for query, document, grade in shown.judgments.rows():
        judged.setdefault(query, {})[document] = grade
    ranked = {
        str(query): dict(part.select("doc_id", "score").rows())
        for (query,), part in run.group_by("query_id")
    }
    evaluator = pytrec_eval.RelevanceEvaluator(judged, {"ndcg_cut.10", "recall.10", "map"})
    theirs = evaluator.evaluate(ranked)
    for query, ndcg, recall, average in found.select("query_id", "ndcg", "recall", "map").rows():
        values = theirs[query]
        expected = values["ndcg_cut_10"], values["recall_10"], values["map"]
        assert (ndcg, recall, average) == pytest.approx(expected)


def test_a_query_without_a_ranking_counts_as_nothing():
    run = whole_run(vectors(QUERIES, 1), vectors(DOCUMENTS, 2)).filter(pl.col("query_id") != "q3")
    found = measure_ranking(collection(), run, name="set").filter(query_id="q3")
    assert found.height > 0
    assert (found.select("ndcg", "recall", "mrr", "map") == 0).to_numpy().all()


def test_bm25_finds_by_words_in_each_language():
    shown = collection()
    texts = pl.col("text").replace({"what is q1": "d007"})
    asked = EvaluationCollection(
        shown.documents, shown.queries.with_columns(texts), shown.judgments, shown.hidden
    )
    first = rank_words(asked).filter(query_id="q1").sort("score", descending=True).row(0)
    assert first[1] == "d007"
    found = measure_ranking(asked, rank_words(asked), name="set")
    assert found["query_id"].n_unique() == QUERIES


@pytest.mark.parametrize(
    ("lines", "said"),
    [
        ("", "it is empty"),
        ("q0 Q0 d000 1 0.5 x\nq0 d001 2", "1 lines have not, the first is line 2"),
        ("q0 Q0 d000 1 nan x", "1 scores are no finite numbers, as `nan`"),
        ("q0 Q0 d000 1 best x", "as `best`"),
        ("q0 Q0 d000 1 2 x\nq0 Q0 d000 2 1 x", "rank a document twice for a query, as d000 for q0"),
    ],
)
def test_broken_runs_are_refused(lines, said):
    with pytest.raises(InputError, match=said):
        read_run(lines, "run.trec")


def test_ids_of_another_collection_are_counted_and_shown():
    run = read_run("q0 Q0 d000 1 2 x\nq0 Q0 x1 2 1 x\nq0 Q0 x2 3 0.5 x", "run.trec")
    with pytest.raises(InputError, match="2 of 3 values of doc_id are not in the set, as `x1`"):
        measure_ranking(collection(), run, name="set")
    with pytest.raises(InputError, match="1 of 1 values of query_id"):
        measure_ranking(collection(), run.with_columns(query_id=pl.lit("z")), name="set")


def test_what_changed_most_is_shown_with_its_texts():
    shown = collection()
    base, model = (measure(shown, vectors(QUERIES, n), vectors(DOCUMENTS, 2), name="set")
                   for n in (1, 3))  # fmt: skip
    found = Changes.validate(changed_most(shown, base, model, "new"))
    gains = found["gain"].to_list()
    assert gains == sorted(gains, reverse=True)
    assert gains[0] > 0 > gains[-1]
    both = model.join(base, on=["document_language", "query_language", "query_id"], suffix="_base")
    every = both.filter(pl.col("document_language") != "*").select(
        pl.col("ndcg") - pl.col("ndcg_base")
    ).to_series()  # fmt: skip
    assert (gains[0], gains[-1]) == pytest.approx((every.max(), every.min()))
    assert "*" not in set(found["document_language"])
    texts = dict(shown.documents.select("text", "language").rows())
    assert all(texts[a] == code for a, code in found.select("answer", "document_language").rows())
    assert changed_most(shown, base, base, "same").is_empty()
