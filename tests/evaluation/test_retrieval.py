"""Ranks and metrics against trec_eval, numbers worked out by hand, and MTEB's directions."""

import math

import numpy as np
import polars as pl
import pytest
import pytrec_eval
from hypothesis import given, settings
from hypothesis import strategies as st

from polymine import models
from polymine.data_contracts.errors import InputError
from polymine.evaluation import counting, retrieval
from polymine.evaluation.collection import EvaluationCollection
from polymine.evaluation.metrics import METRICS, add_metrics
from polymine.mining.teachers import ArrayVectors
from tests.public_data import public

KEYS = ["document_language", "query_language", "query_id"]


def unit(rng: np.random.Generator, rows: int, width: int = 8) -> np.ndarray:
    vectors = rng.normal(size=(rows, width)).astype(np.float32)
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def tables(documents: list[tuple], queries: list[tuple], judgments: list[tuple]):
    """Rows of (id, language, group), (id, language, group), (query, document, relevance)."""
    columns = ["language", "group_id"]
    schema = {"language": pl.String, "group_id": pl.String}
    frames = [
        pl.DataFrame(rows, {name: pl.String, **schema}, orient="row").select(
            name, *columns, text=name
        )
        for name, rows in (("doc_id", documents), ("query_id", queries))
    ]
    return EvaluationCollection(
        *frames, pl.DataFrame(judgments, ["query_id", "doc_id", "relevance"], orient="row")
    )


def trec_eval(collection, queries, documents, k=10) -> pl.DataFrame:
    """Measure by the book: every score of every direction as a dictionary."""
    rows = []
    for language in [*collection.documents["language"].unique(), "*"]:
        for query, query_language, vector in zip(
            collection.queries["query_id"], collection.queries["language"], queries, strict=True
        ):
            inside = [
                (doc_id, row) for row, (doc_id, spoken) in
                enumerate(collection.documents.select("doc_id", "language").rows())
                if language in ("*", spoken)
            ]  # fmt: skip
            qrel = {
                doc_id: grade
                for asked, doc_id, grade, *_ in collection.relevant.rows()
                if asked == query and doc_id in dict(inside)
            }
            if not qrel:
                continue
            run = {name: float(np.float32(vector @ documents[row])) for name, row in inside}
            best = dict(sorted(run.items(), key=lambda item: (item[1], item[0]))[::-1][:k])
            measures = {f"ndcg_cut.{k}", f"recall.{k}", "map"}
            found = pytrec_eval.RelevanceEvaluator({"q": qrel}, measures).evaluate({"q": run})["q"]
            first = pytrec_eval.RelevanceEvaluator({"q": qrel}, {"recip_rank"})
            mrr = first.evaluate({"q": best})["q"]["recip_rank"]
            rows.append((language, query_language, query, found[f"ndcg_cut_{k}"],
                         found[f"recall_{k}"], mrr, found["map"]))  # fmt: skip
    return pl.DataFrame(rows, [*KEYS, *METRICS], orient="row").sort(KEYS)


def made_up(rng: np.random.Generator) -> EvaluationCollection:
    """40 texts in three languages, grades 0 to 3, groups for some, several judgments a query."""
    documents = [
        (f"d{n}-{x}", x, f"g{n}" if n % 3 else None) for n in range(40) for x in ("en", "ru", "ar")
    ]
    queries = [
        (f"q{n}-{x}", x, f"q{n}" if n % 2 else None) for n in range(12) for x in ["de", "en"]
    ]
    judgments = {
        (f"q{n}-en", f"d{rng.integers(40)}-{rng.choice(['en', 'ru'])}"): int(rng.integers(4))
        for n in range(12)
        for _ in range(4)
    }
    return tables(documents, queries, [(*pair, grade) for pair, grade in judgments.items()])


class TestMetrics:
    def test_against_numbers_by_hand(self):
        """Grades 2 and 1 at ranks 3 and 12, a third document beyond what trec_eval is shown."""
        ranks = pl.DataFrame({"query": [0, 0, 0], "document_language": ["en"] * 3,
                              "rank": [3, 12, 1001], "relevance": [2, 1, 1]})  # fmt: skip
        found = add_metrics(ranks, 10).row(0, named=True)
        ideal = 2 / math.log2(2) + 1 / math.log2(3) + 1 / math.log2(4)
        assert found["ndcg"] == pytest.approx(2 / math.log2(4) / ideal)
        assert found["recall"] == pytest.approx(1 / 3)
        assert found["mrr"] == pytest.approx(1 / 3)
        assert found["map"] == pytest.approx((1 / 3 + 2 / 12) / 3)

    def test_nothing_within_the_cut(self):
        ranks = pl.DataFrame({"query": [0, 1], "document_language": ["en", "en"],
                              "rank": [4, 2000], "relevance": [1, 1]})  # fmt: skip
        found = add_metrics(ranks, 3).sort("query")
        assert found.select(METRICS).rows() == [(0, 0, 0, 0.25), (0, 0, 0, 0)]

    @pytest.mark.parametrize("k", [1, 3, 10, 1000])
    def test_every_direction_equals_trec_eval(self, k):
        rng = np.random.default_rng(k)
        collection = made_up(rng)
        queries, documents = unit(rng, 24), unit(rng, 120)
        found = retrieval.measure(collection, queries, documents, name="set", k=k)
        expected = trec_eval(collection, queries, documents, k)
        assert found.select(KEYS).equals(expected.select(KEYS))
        np.testing.assert_allclose(found.select(METRICS), expected.select(METRICS), atol=1e-12)

    def test_tiles_and_parts_change_nothing(self, monkeypatch):
        rng = np.random.default_rng(5)
        collection = made_up(rng)
        vectors = unit(rng, 24), unit(rng, 120)
        whole = retrieval.measure(collection, *vectors, name="set")
        monkeypatch.setattr(counting, "TILE", 5)
        monkeypatch.setattr(counting, "DOCUMENTS", 7)
        monkeypatch.setattr(counting, "COMPARED", 200)
        monkeypatch.setattr(retrieval, "CHECKED", 11)
        assert retrieval.measure(collection, *vectors, name="set").equals(whole)

    def test_what_a_gpu_counts_is_what_a_cpu_counts(self, monkeypatch):
        rng = np.random.default_rng(6)
        collection = made_up(rng)
        documents = unit(rng, 30)[rng.integers(30, size=120)]  # equal texts among them
        vectors = unit(rng, 24), documents
        whole = retrieval.measure(collection, *vectors, name="set")
        monkeypatch.setattr(models, "visible_devices", lambda: ["cpu:0"])  # as any other device
        assert retrieval.measure(collection, *vectors, name="set").equals(whole)

    def test_vectors_on_disk_are_read_tile_by_tile(self, monkeypatch):
        rng = np.random.default_rng(7)
        collection = made_up(rng)
        queries, documents = unit(rng, 24), unit(rng, 120)
        taken = []

        class OnDisk(ArrayVectors):
            def take(self, rows):
                taken.append(len(rows))
                return super().take(rows)

        monkeypatch.setattr(counting, "DOCUMENTS", 7)
        monkeypatch.setattr(retrieval, "CHECKED", 11)
        found = retrieval.measure(collection, queries, OnDisk(documents), name="set")
        assert found.equals(retrieval.measure(collection, queries, documents, name="set"))
        pairs = collection.relevant.height
        assert max(count for count in taken if count != pairs) <= 11


class TestTies:
    @pytest.mark.parametrize("length", [1, 70])  # of dot products lengths count
    def test_equal_texts_stand_in_descending_order_of_their_ids(self, length):
        """Three documents have one vector; the relevant one comes second, as in trec_eval."""
        collection = tables(
            [(name, "en", None) for name in ("b", "c", "a", "d")], [("q", "en", None)],
            [("q", "b", 1)],
        )  # fmt: skip
        same = length * unit(np.random.default_rng(0), 1, 384)
        documents = np.concatenate([same, same, same, -same])
        found = retrieval.measure(collection, same, documents, name="set")
        assert found["mrr"].to_list() == [0.5, 0.5]
        assert found.equals(retrieval.measure(collection, same, documents, name="set"))

    @settings(max_examples=20)
    @given(st.integers(0, 10_000), st.sampled_from([(0.6, -0.8), (48, -64)]))
    def test_many_ties_and_negative_scores_equal_trec_eval(self, seed, last):
        rng = np.random.default_rng(seed)
        collection = made_up(rng)
        corners = np.array([[1, 0], [-1, 0], [0, 1], last], dtype=np.float32)
        queries, documents = corners[rng.integers(4, size=24)], corners[rng.integers(4, size=120)]
        found = retrieval.measure(collection, queries, documents, name="set")
        expected = trec_eval(collection, queries, documents)
        np.testing.assert_allclose(found.select(METRICS), expected.select(METRICS), atol=1e-12)


class TestInvariants:
    @settings(max_examples=20)
    @given(st.integers(0, 10_000))
    def test_order_of_documents_plays_no_part(self, seed):
        rng = np.random.default_rng(seed)
        collection = made_up(rng)
        queries = unit(rng, 24)
        documents = unit(rng, 30)[rng.integers(30, size=120)]  # equal texts among them
        order = rng.permutation(120)
        turned = EvaluationCollection(
            collection.documents[order], collection.queries, collection.judgments
        )
        found = retrieval.measure(collection, queries, documents, name="set")
        assert retrieval.measure(turned, queries, documents[order], name="set").equals(found)

    @settings(max_examples=20)
    @given(st.integers(0, 10_000))
    def test_a_far_irrelevant_document_changes_nothing(self, seed):
        rng = np.random.default_rng(seed)
        collection = made_up(rng)
        plane = np.eye(9, dtype=np.float32)
        queries = np.hstack([unit(rng, 24) * 0.6, np.full((24, 1), 0.8, np.float32)])
        documents = np.hstack([unit(rng, 120) * 0.6, np.full((120, 1), 0.8, np.float32)])
        far = pl.DataFrame(
            {"doc_id": ["zz"], "text": ["far"], "language": ["ru"], "group_id": [None]},
            schema=collection.documents.schema,
        )
        wider = EvaluationCollection(
            pl.concat([collection.documents, far]), collection.queries, collection.judgments
        )
        found = retrieval.measure(collection, queries, documents, name="set")
        away = np.concatenate([documents, -plane[8:]])
        assert retrieval.measure(wider, queries, away, name="set").equals(found)


class TestDirections:
    def lopsided(self):
        """English queries find Russian documents; Russian queries do not find English ones."""
        collection = tables(
            [("a-en", "en", "a"), ("b-en", "en", "b"), ("a-ru", "ru", "a"), ("b-ru", "ru", "b")],
            [("a?-en", "en", "a"), ("b?-en", "en", "b"), ("a?-ru", "ru", "a"),
             ("b?-ru", "ru", "b")],
            [("a?-en", "a-en", 1), ("b?-en", "b-en", 1)],
        )  # fmt: skip
        a, b = np.eye(2, dtype=np.float32)
        return collection, np.stack([a, b, b, a]), np.stack([a, b, a, b])

    def test_document_language_comes_first(self):
        found = retrieval.measure(*self.lopsided(), name="set", k=1, pooled=False)
        means = found.group_by(KEYS[:2]).agg(pl.col("mrr").mean()).sort(KEYS[:2])
        assert means.rows() == [("en", "en", 1), ("en", "ru", 0), ("ru", "en", 1), ("ru", "ru", 0)]

    def test_pool_ranks_all_languages_together(self):
        """In its own language each query finds its document; the pool is full of wrong ones."""
        collection = tables(
            [("a-en", "en", "a"), ("a-ru", "ru", "a"), ("b-en", "en", "b"), ("b-ru", "ru", "b")],
            [("a?-en", "en", "a")], [("a?-en", "a-ru", 1)],
        )  # fmt: skip
        documents = np.array([[1, 0], [0.6, 0.8], [0.8, 0.6], [0, 1]], dtype=np.float32)
        found = retrieval.measure(
            collection, np.array([[1, 0]], dtype=np.float32), documents, name="set", k=2
        )
        assert found.select("document_language", "mrr", "recall").rows() == [
            ("*", 1, 0.5), ("en", 1, 1), ("ru", 1, 1)
        ]  # fmt: skip

    def test_a_sentence_does_not_find_itself(self):
        pairs = pl.DataFrame({"text_a": ["uno", "dos"], "text_b": ["one", "two"]})
        collection = EvaluationCollection.from_pairs(
            pairs.with_columns(lang_a=pl.lit("es"), lang_b=pl.lit("en"))
        )
        meaning = {"uno": 0, "one": 0, "dos": 1, "two": 1}
        vectors = np.eye(2, dtype=np.float32)[[meaning[x] for x in collection.documents["text"]]]
        found = retrieval.measure(collection, vectors, vectors, name="set")
        assert set(found["document_language"]) == {"*", "en", "es"}
        assert (found["mrr"] == 1).all()  # itself is hidden, also in the pool

    def test_xquad_in_three_languages(self):
        read = {path.stem: pl.read_parquet(path) for path in public("xquad").glob("*.parquet")}
        whole = EvaluationCollection(
            read["corpus"].join(read["translations"], on="doc_id"),
            read["queries"].join(read["query_translations"], on="query_id"),
            read["qrels"],
        )
        collection = whole.only(("ar", "en", "ru")).draw(100, seed=0)
        assert collection.directions["queries"].to_list() == [100] * 12
        rng = np.random.default_rng(0)
        meanings = unit(rng, 240, 64)
        blur = {"ar": 2.0, "en": 0.4, "ru": 1.0}
        places = {
            name: row for row, name in enumerate(read["translations"]["group_id"].unique().sort())
        }
        answers = dict(collection.relevant.join(collection.documents, on="doc_id")
                       .select("query_id", "group_id").rows())  # fmt: skip

        def embed(languages, groups):
            rows = np.stack([meanings[places[group]] for group in groups])
            noise = np.array([blur[x] for x in languages], np.float32)[:, None]
            rows = rows + noise * unit(rng, len(rows), 64)
            return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)

        queries = embed(collection.queries["language"],
                        [answers[name] for name in collection.queries["query_id"]])  # fmt: skip
        documents = embed(collection.documents["language"], collection.documents["group_id"])
        found = retrieval.measure(collection, queries, documents, name="xquad")
        assert found.height == 1200
        means = dict(found.group_by(pl.concat_str(KEYS[:2], separator="-")).agg("ndcg")
                     .with_columns(pl.col("ndcg").list.mean()).rows())  # fmt: skip
        assert means["en-en"] > means["ru-ru"] > means["ar-ar"]
        assert means["en-en"] > means["*-en"]


class TestBadVectors:
    @pytest.mark.parametrize(
        ("change", "message"),
        [
            (lambda q, d: (q[:3], d), r"one query vector per query, shape \(4, 2\), got \(3, 2\)"),
            (lambda q, d: (q, d[:, :1]), "one document vector per document"),
            (
                lambda q, d: (q * 0, d),
                r"4 query vectors are no numbers or all zeros, the first is row 0 \(a\?-en\) of",
            ),
            (lambda q, d: (q, d * np.nan), r"row 0 \(a-en\) of length nan; look for overflow"),
        ],
    )
    def test_message(self, change, message):
        collection, queries, documents = TestDirections().lopsided()
        with pytest.raises(InputError, match=message):
            retrieval.measure(collection, *change(queries, documents), name="set")

    def test_nothing_relevant(self):
        collection = tables([("d", "en", None)], [("q", "en", None)], [("q", "d", 0)])
        with pytest.raises(InputError, match="set: no query has a relevant document"):
            retrieval.measure(collection, np.ones((1, 1)), np.ones((1, 1)), name="set")
