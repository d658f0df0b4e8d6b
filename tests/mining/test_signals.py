"""Each kind of evidence, against a few lines of NumPy over every document or query."""

import math

import numpy as np
import polars as pl
import pytest

from polymine.mining.bm25 import LexicalTeacher
from polymine.mining.dense import DenseTeacher
from polymine.mining.evidence import gather_evidence
from polymine.mining.known import Ids, Known
from polymine.mining.lexical import build_index
from polymine.mining.ranking import NOTHING, rank
from polymine.mining.teachers import ArrayVectors

QUERIES, DOCUMENTS, DIMENSION = 30, 60, 8
ROUNDED = 6e-5  # z-scores are stored with four decimals


def unit(matrix):
    return (matrix / np.linalg.norm(matrix, axis=1, keepdims=True)).astype(np.float32)


class World:
    """Random vectors in two languages: even rows are `de`, odd ones `en`.

    Query n knows 0, 1, 2 or 3 positives, by n modulo 4.
    """

    def __init__(self, seed=4):
        numbers = np.random.default_rng(seed)
        self.queries = unit(numbers.standard_normal((QUERIES, DIMENSION)) + 0.3)
        self.documents = unit(numbers.standard_normal((DOCUMENTS, DIMENSION)))
        names = {0: "de", 1: "en"}
        self.lengths = numbers.integers(1, 200, DOCUMENTS)
        asked = pl.DataFrame({"query_id": [f"q{n:02}" for n in range(QUERIES)]})
        held = pl.DataFrame({"doc_id": [f"d{n:02}" for n in range(DOCUMENTS)]})
        asked = asked.with_columns(language=pl.Series([names[n % 2] for n in range(QUERIES)]))
        held = held.with_columns(
            language=pl.Series([names[n % 2] for n in range(DOCUMENTS)]),
            text=pl.Series(["x" * n for n in self.lengths]),
        )
        self.ids = Ids.from_tables(asked, held)
        self.positives = {
            n: sorted(numbers.choice(DOCUMENTS, n % 4, replace=False)) for n in range(QUERIES)
        }
        rows = [
            (f"q{n:02}", f"d{doc:02}", "positive")
            for n, positives in self.positives.items()
            for doc in positives
        ]
        # q05 may not have d07 either, which is no positive
        closure = pl.DataFrame([*rows, ("q05", "d07", "near_copy")], orient="row",
                               schema=["query_id", "doc_id", "reason"])  # fmt: skip
        labels = pl.DataFrame(
            [("q00", "d01", 0), ("q00", "d02", 2)], ["query_id", "doc_id", "relevance"],
            orient="row",
        )  # fmt: skip
        self.known = Known.from_tables(closure.unique(["query_id", "doc_id"]), self.ids, labels)
        self.teacher = DenseTeacher(
            "t", ArrayVectors(self.queries), ArrayVectors(self.documents),
            query_languages=self.ids.query_languages, languages=self.ids.languages,
        )  # fmt: skip
        # every document is a candidate of every query
        rankings = [rank(self.teacher, np.arange(QUERIES), DOCUMENTS)]
        self.evidence = gather_evidence([self.teacher], rankings, self.known, self.ids)

    def column(self, name):
        """Shape (queries, documents), null as NaN."""
        values = self.evidence[name].cast(pl.Float64).fill_null(np.nan).to_numpy()
        return values.reshape(QUERIES, DOCUMENTS)

    def standardise(self, vector):
        """Z-scores of all documents for one vector, within their languages."""
        products = self.documents.astype(float) @ vector.astype(float)
        out = np.empty(DOCUMENTS)
        for language in (0, 1):
            part = np.arange(DOCUMENTS) % 2 == language
            out[part] = (products[part] - products[part].mean()) / products[part].std()
        return out


@pytest.fixture(scope="module")
def world():
    return World()


def test_from_the_query_within_the_language_of_the_candidate(world):
    expected = np.stack([world.standardise(query) for query in world.queries])
    np.testing.assert_allclose(world.column("z_t"), expected, atol=ROUNDED)


def test_from_the_document_among_the_queries_of_the_query_s_language(world):
    products = world.queries.astype(float) @ world.documents.astype(float).T
    expected = np.empty_like(products)
    for language in (0, 1):
        part = products[np.arange(QUERIES) % 2 == language]
        expected[np.arange(QUERIES) % 2 == language] = (part - part.mean(0)) / part.std(0)
    np.testing.assert_allclose(world.column("document_z_t"), expected, atol=ROUNDED)


def test_nothing_from_the_document_where_fewer_than_ten_queries_are(world):
    few = DenseTeacher("t", ArrayVectors(world.queries[:9]), ArrayVectors(world.documents))
    assert np.isnan(few.standardise_among_queries(np.arange(9), np.arange(9))).all()
    ten = DenseTeacher("t", ArrayVectors(world.queries[:10]), ArrayVectors(world.documents))
    assert np.isfinite(ten.standardise_among_queries(np.arange(10), np.arange(10))).all()


def test_from_the_nearest_positive_that_is_not_the_candidate_itself(world):
    similar = world.documents.astype(float) @ world.documents.astype(float).T
    sides = np.stack([world.standardise(document) for document in world.documents])
    z, nearest = np.full((2, QUERIES, DOCUMENTS), np.nan)
    for query, positives in world.positives.items():
        for doc in range(DOCUMENTS):
            others = [positive for positive in positives if positive != doc]
            if others:
                z[query, doc] = sides[others, doc].max()
                nearest[query, doc] = similar[others, doc].max()
    np.testing.assert_allclose(world.column("positive_z_t"), z, atol=ROUNDED)
    np.testing.assert_allclose(world.column("positive_similarity"), nearest, atol=1e-6)


def test_the_gap_is_to_the_lowest_other_positive(world):
    z = np.stack([world.standardise(query) for query in world.queries])
    expected = np.full((QUERIES, DOCUMENTS), np.nan)
    for query, positives in world.positives.items():
        for doc in range(DOCUMENTS):
            others = [positive for positive in positives if positive != doc]
            if others:
                expected[query, doc] = z[query, doc] - z[query, others].min()
    np.testing.assert_allclose(world.column("gap_z_t"), expected, atol=2 * ROUNDED)


def test_feedback_is_the_query_its_positives_and_five_best(world):
    total = world.column("z_t") + np.nan_to_num(world.column("positive_z_t"))
    for query, positives in world.positives.items():
        found = world.column("feedback_z_t")[query]
        if not positives:
            assert np.isnan(found).all()
            continue
        closed = {*positives, *([7] if query == 5 else [])}
        best = [doc for doc in np.argsort(-total[query]) if doc not in closed][:5]
        for doc in range(DOCUMENTS):
            others = [one for one in positives if one != doc]
            if not others:
                assert np.isnan(found[doc])  # the only positive has nothing to be compared with
                continue
            # each of n positives weighs 1/n, also when one of them is left out
            known = world.documents[others].sum(0) / len(positives)
            centroid = world.queries[query] + known + world.documents[best].sum(0)
            centroid = centroid / np.linalg.norm(centroid)
            assert found[doc] == pytest.approx(world.standardise(centroid)[doc], abs=2 * ROUNDED)


def test_labels_are_one_nought_or_unknown(world):
    label = world.column("label")
    assert (label[0, 1], label[0, 2]) == (0, 1)
    for query, positives in world.positives.items():
        assert all(label[query, doc] == 1 for doc in positives)
    counted = sum(map(len, world.positives.values())) + 2
    assert np.isfinite(label).sum() == counted


def test_form_is_language_and_length_beside_the_median(world):
    parity = np.arange(QUERIES)[:, None] % 2 == np.arange(DOCUMENTS)[None] % 2
    assert (world.column("same_language") == parity).all()
    expected = np.log(world.lengths / np.median(world.lengths))
    np.testing.assert_allclose(world.column("length_ratio")[3], expected, atol=ROUNDED)


def test_length_ratio_by_eye():
    queries = pl.DataFrame({"query_id": ["q"], "language": ["en"]})
    documents = pl.DataFrame(
        {"doc_id": ["a", "b", "c"], "language": ["en", "en", "de"], "text": ["x", "xx", "x" * 8]}
    )
    ids = Ids.from_tables(queries, documents)
    eye = ArrayVectors(np.ones((3, 1), dtype=np.float32))
    teacher = DenseTeacher("t", eye, eye)
    known = Known.from_tables(pl.DataFrame(schema=["query_id", "doc_id", "reason"]).cast(pl.String),
                              ids)  # fmt: skip
    found = gather_evidence([teacher], [rank(teacher, np.array([0]), 3)], known, ids)
    ratios = [math.log(1 / 2), 0, math.log(8 / 2)]
    assert found["length_ratio"].to_list() == pytest.approx(ratios, abs=ROUNDED)
    assert found["same_language"].to_list() == [True, True, False]


def test_teachers_that_rank_a_document_are_counted():
    texts = ["red fox", "red hen", "blue sky"]
    queries = pl.DataFrame({"query_id": ["q"], "language": ["en"]})
    documents = pl.DataFrame({"doc_id": ["a", "b", "c"], "language": "en", "text": texts})
    ids = Ids.from_tables(queries, documents)
    vectors = unit(np.array([[1, 0], [0, 1], [1, 1]]))
    dense = DenseTeacher("t", ArrayVectors(vectors[:1]), ArrayVectors(vectors))
    words = LexicalTeacher("words", build_index(texts, 1.2, 0.75), ["red fox"], texts)
    known = Known.from_tables(pl.DataFrame(schema=["query_id", "doc_id", "reason"]).cast(pl.String),
                              ids)  # fmt: skip
    both = [rank(dense, np.array([0]), 2), rank(words, np.array([0]), 2)]
    found = gather_evidence([dense, words], both, known, ids)
    # dense ranks a and c, BM25 a and b
    assert found.select("doc_id", "agreement", "rank").rows() == [
        ("a", 2, 1), ("b", 1, 2), ("c", 1, 2),
    ]  # fmt: skip
    deep = gather_evidence([dense, words], [NOTHING, NOTHING], known, ids, both[0])
    assert deep["agreement"].to_list() == [0, 0]


def test_a_translation_stands_out_although_the_model_prefers_its_own_language():
    """Documents of the other language all lie far away; the translation is the least far."""
    numbers = np.random.default_rng(1)
    meaning = unit(numbers.standard_normal((20, 30)))
    english, german = (np.hstack([meaning, np.full((20, 1), offset)]) for offset in (1.5, -1.5))
    documents, query = unit(np.vstack([english, german])), unit(english[:1])
    asked = pl.DataFrame({"query_id": ["q"], "language": ["en"]})
    held = pl.DataFrame({"doc_id": [f"d{n:02}" for n in range(40)], "text": "x"})
    held = held.with_columns(language=pl.Series(["en"] * 20 + ["de"] * 20))
    ids = Ids.from_tables(asked, held)
    teacher = DenseTeacher(
        "t", ArrayVectors(query), ArrayVectors(documents),
        query_languages=ids.query_languages, languages=ids.languages,
    )  # fmt: skip
    closure = pl.DataFrame({"query_id": ["q"], "doc_id": ["d00"], "reason": ["positive"]})
    known = Known.from_tables(closure, ids)
    found = gather_evidence([teacher], [rank(teacher, np.array([0]), 40)], known, ids)
    translation = found["doc_id"].to_list().index("d20")
    # every document of the query's own language has a higher cosine ...
    assert found["score_t"][translation] < found.filter("same_language")["score_t"].min()
    # ... but nothing that is not the known positive stands out as the translation does
    for column in ("z_t", "positive_z_t", "feedback_z_t"):
        others = found.filter(~pl.col("doc_id").is_in(["d00", "d20"]))[column]
        assert found[column][translation] > others.max(), column


def test_words_stand_out_within_their_language_too():
    texts = [f"fox number{n}" if n in (0, 12) else f"thing number{n}" for n in range(24)]
    languages = np.repeat([0, 1], 12)
    teacher = LexicalTeacher("words", build_index(texts, 1.2, 0.75), ["fox"], texts,
                             languages=languages)  # fmt: skip
    rows = np.arange(24)
    scores = teacher.score(np.zeros(24, int), rows)
    found = teacher.standardise(np.zeros(24, int), rows, scores)
    for language in (0, 1):
        part = scores[languages == language].astype(float)
        expected = (part - part.mean()) / part.std()
        np.testing.assert_allclose(found[languages == language], expected, rtol=1e-5)
