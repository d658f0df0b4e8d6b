"""The same sets through MTEB's own tasks and through ours: same numbers, same order.

MAP differs by definition: MTEB cuts it off at 1, 3, 5, ... documents, ours is over the first 1000.
"""

import zlib
from typing import Any

import numpy as np
import polars as pl
import pytest

from polymine.evaluation import retrieval
from polymine.evaluation.collection import EvaluationCollection
from tests.public_data import public_tables

mteb = pytest.importorskip("mteb", reason="mteb is not installed")
small_mteb = pytest.importorskip("tests.evaluation.small_mteb")

CODES = {"en": "eng_Latn", "ru": "rus_Cyrl"}


def rows(language: str) -> list[dict[str, Any]]:
    """30 questions on 15 passages, as the hub's rows."""
    return [
        {"link": f"link-{n // 2}", "question": f"{language} question {n}",
         "flores_passage": f"{language} passage {n // 2}"} for n in range(30)
    ]  # fmt: skip


def vectors(texts: list[str]) -> np.ndarray:
    """One vector per text, whatever it is asked with; the same meaning is a little alike."""
    found = []
    for text in texts:
        language, kind, number = text.split()
        meaning = int(number) // (2 if kind == "question" else 1)
        shared = np.random.default_rng(meaning).normal(size=16)
        seed = [meaning, int(number), ["en", "ru"].index(language), kind == "question"]
        blur = 0.6 if (language, kind) == ("ru", "passage") else 1.2
        found.append(shared + blur * np.random.default_rng(seed).normal(size=16))
    matrix = np.array(found, dtype=np.float32)
    return matrix / np.linalg.norm(matrix, axis=1, keepdims=True)


class Encoder:
    """Gives every text its vector, by MTEB's protocol."""

    mteb_model_meta = None

    def encode(self, inputs, **_: object) -> np.ndarray:
        return vectors([text.strip() for batch in inputs for text in batch["text"]])

    def similarity(self, left, right):
        import torch

        return torch.as_tensor(left) @ torch.as_tensor(right).T

    def similarity_pairwise(self, left, right):
        raise NotImplementedError


def test_belebele_directions_and_scores(monkeypatch):
    from datasets import Dataset
    from mteb.tasks.retrieval.multilingual import belebele_retrieval

    hub = {code: {"test": Dataset.from_list(rows(language))} for language, code in CODES.items()}
    monkeypatch.setattr(belebele_retrieval, "load_dataset", lambda name, **_: hub[name])
    subsets = [f"{document}-{query}" for document in CODES.values() for query in CODES.values()]
    task = mteb.get_task("BelebeleRetrieval", hf_subsets=subsets)
    scores = task.evaluate(Encoder(), split="test", encode_kwargs={})

    frame = pl.concat(
        pl.DataFrame(rows(language)).with_row_index("n").with_columns(language=pl.lit(language))
        for language in CODES
    ).with_columns(query_id=pl.format("q{}-{}", "n", "language"),
                   doc_id=pl.format("{}-{}", "link", "language"))  # fmt: skip
    collection = EvaluationCollection(
        frame.unique("doc_id", maintain_order=True)
        .select("doc_id", "language", text="flores_passage", group_id="link"),
        frame.select("query_id", "language", text="question",
                     group_id=pl.col("n").cast(pl.String)),
        frame.select("query_id", "doc_id", relevance=pl.lit(1)),
    )  # fmt: skip
    found = retrieval.measure(
        collection, vectors(collection.queries["text"].to_list()),
        vectors(collection.documents["text"].to_list()), name="belebele", pooled=False,
    )  # fmt: skip
    means = found.group_by("document_language", "query_language").agg(pl.mean("ndcg", "recall"))
    ours = {f"{CODES[row[0]]}-{CODES[row[1]]}": row[2:] for row in means.rows()}
    assert ours["rus_Cyrl-eng_Latn"][0] > ours["eng_Latn-rus_Cyrl"][0] + 0.05  # not symmetric
    for subset in subsets:
        theirs = scores[subset]["ndcg_at_10"], scores[subset]["recall_at_10"]
        assert ours[subset] == pytest.approx(theirs, abs=1e-5)  # MTEB rounds to five digits


class WordEncoder(Encoder):
    """Adds up a random vector per word: near enough to meaning for rankings without ties."""

    def __init__(self) -> None:
        self.known: dict[str, np.ndarray] = {}

    def encode(self, inputs, **_: object) -> np.ndarray:
        return self.vectors([text.strip() for batch in inputs for text in batch["text"]])

    def vectors(self, texts: list[str]) -> np.ndarray:
        matrix = np.array([sum(map(self.word, text.lower().split())) for text in texts])
        return (matrix / np.linalg.norm(matrix, axis=1, keepdims=True)).astype(np.float32)

    def word(self, word: str) -> np.ndarray:
        if word not in self.known:
            seed = zlib.crc32(word.encode())
            self.known[word] = np.random.default_rng(seed).normal(size=48)
        return self.known[word]


@pytest.mark.parametrize("name", ["cranfield", "med", "scifact"])
def test_public_sets_have_the_same_figures(name):
    corpus, queries, judged = public_tables(name)
    queries = queries.join(judged.filter(pl.col("relevance") > 0), on="query_id", how="semi")
    encoder = WordEncoder()
    task = small_mteb.LocalRetrieval(corpus, queries, judged)
    scores = task.evaluate(encoder, split="test", encode_kwargs={})["default"]
    collection = EvaluationCollection(corpus, queries, judged)
    documents, asked = (
        encoder.vectors([text.strip() for text in table["text"]])
        for table in (collection.documents, collection.queries)
    )
    found = retrieval.measure(collection, asked, documents, name=name, pooled=False)
    for ours, theirs in (("ndcg", "ndcg_at_10"), ("recall", "recall_at_10"), ("mrr", "mrr_at_10")):
        assert found[ours].mean() == pytest.approx(scores[theirs], abs=5e-5)
