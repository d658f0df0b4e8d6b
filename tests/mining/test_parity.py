"""Parity with sentence-transformers' `mine_hard_negatives`, rule by rule, on public data.

Both get the same vectors. Where they differ, the difference must be a tie, a document that only
Polymine knows to be a copy of a positive or of the query, or a score that equals the ceiling,
which sentence-transformers keeps. Anything else fails the test.
"""

from dataclasses import dataclass

import numpy as np
import polars as pl
import pytest
import torch
from datasets import Dataset
from sentence_transformers.util import mine_hard_negatives

from polymine.data_contracts.settings import MiningSettings, SelectionSettings
from polymine.data_contracts.tables import embeddings_schema
from polymine.mining.embedding import encode_all
from polymine.mining.hashing import hash_texts
from polymine.mining.ingestion import Ingested, ingest
from polymine.tasks.engine.context import Context, temporary
from polymine.tasks.mining.embedding import name_family
from polymine.tasks.store.datasets import shard_name
from tests.mining.small_mining import mine
from tests.public_data import public_tables
from tests.small import MINILM

WANTED, SHIFT, TIE = 5, 3, 1e-6
QUERIES, DOCUMENTS = 150, 200

RULES = {
    "naive": (SelectionSettings(rule="naive"), {}),
    "shifted": (SelectionSettings(rule="shifted", shift=SHIFT), {"range_min": SHIFT}),
    "absolute": (SelectionSettings(rule="absolute", absolute=0.3), {"max_score": 0.3}),
    "margin": (SelectionSettings(rule="margin", margin=0.05), {"absolute_margin": 0.05}),
    "percent": (SelectionSettings(rule="percent", percent=0.95), {"relative_margin": 0.05}),
}


@dataclass(frozen=True)
class Case:
    """One data set: as read, as ingested, and its vectors by text."""

    raw: pl.DataFrame
    data: Ingested
    vectors: dict[str, np.ndarray]


class Cached:
    """The part of a SentenceTransformer that mining calls, over vectors made before."""

    device = torch.device("cpu")

    def __init__(self, vectors: dict[str, np.ndarray]) -> None:
        self._vectors = vectors

    def encode_query(self, texts, **_):
        return np.stack([self._vectors[text] for text in texts])

    encode_document = encode_query

    def similarity(self, left, right):
        return torch.as_tensor(left) @ torch.as_tensor(right).T

    def similarity_pairwise(self, left, right):
        return (torch.as_tensor(left) * torch.as_tensor(right)).sum(dim=1)


def cut(name: str, queries: int, documents: int) -> tuple[pl.DataFrame, ...]:
    """Some queries with all their positives, and as many other documents as there is room for."""
    corpus, asked, judged = public_tables(name)
    asked = asked.sort("query_id").gather_every(len(asked) // queries).head(queries)
    judged = judged.join(asked, on="query_id", how="semi")
    positive = corpus.join(judged, on="doc_id", how="semi")
    others = corpus.join(positive, on="doc_id", how="anti")
    room = max(documents - len(positive), 0)
    corpus = pl.concat([positive, others.head(room)]).select("doc_id", "text", "language")
    return corpus, asked, judged


def with_second_positives(judged: pl.DataFrame) -> pl.DataFrame:
    """Give each third query the positive of its neighbour as well."""
    rows = judged.sort("query_id")
    second = rows.with_columns(doc_id=pl.col("doc_id").shift(-1)).gather_every(3)
    return pl.concat([rows, second]).drop_nulls().unique(["query_id", "doc_id"])


def with_copies(corpus: pl.DataFrame, judged: pl.DataFrame) -> pl.DataFrame:
    """Add what sentence-transformers cannot tell from other documents: copies of two positives."""
    first, second = corpus.join(judged, on="doc_id", how="semi").sort("doc_id")["text"].head(2)
    copies = pl.DataFrame(
        {"doc_id": ["zz-copy", "zz-near"], "text": [first.upper(), second + " x"]}
    )
    return pl.concat([corpus, copies.with_columns(language=pl.lit("en"))])


@pytest.fixture(scope="module", params=["squad-dev", "piaf", "med"])
def case(request, encoder) -> Case:
    """English, French, and English with dozens of positives per query."""
    if request.param == "med":
        corpus, asked, judged = cut("med", 5, 120)
    else:
        corpus, asked, judged = cut(request.param, QUERIES, DOCUMENTS)
        judged = with_second_positives(judged)
        corpus = with_copies(corpus, judged)
    data = ingest(corpus, asked, judged)
    texts = sorted({*corpus["text"], *data.documents["text"], *data.queries["text"]})
    return Case(corpus, data, dict(zip(texts, encode_all(encoder, texts), strict=True)))


def store_vectors(case: Case, run: Context) -> None:
    """Put the vectors where mining finds them and encodes nothing itself."""
    frame = pl.DataFrame(
        {
            "text_hash": hash_texts(case.vectors),
            "vector": np.stack(list(case.vectors.values())).astype(np.float32),
        }
    )
    given = run.store.dataset("embeddings", "given", within=name_family(MINILM, ""))
    given.write(shard_name(0, "arrow"), frame, embeddings_schema(frame.schema["vector"].size))
    given.commit()


def mine_with_polymine(case: Case, selection: SelectionSettings) -> pl.DataFrame:
    """Kept negatives: query_id, doc_id, score, in order."""
    settings = MiningSettings(teachers=(MINILM,), negatives=WANTED, depth=20, selection=selection)
    with temporary() as run:
        store_vectors(case, run)
        mined = mine(case.data, settings, run)
    return (
        mined.triplets.unique(["query_id", "negative_id"])
        .sort("query_id", "position")
        .select("query_id", "negative_id", "negative_score", "positive_score")
    )


def mine_with_sentence_transformers(
    case: Case, arguments: dict, wanted: int = WANTED
) -> dict[str, dict[str, float]]:
    """Negatives per query text: document text to score."""
    text = dict(case.data.documents.select("doc_id", "text").iter_rows())
    asked = dict(case.data.queries.select("query_id", "text").iter_rows())
    known = case.data.judgments.filter(pl.col("relevance") > 0)
    pairs = [(asked[query], text[doc]) for query, doc, _ in known.iter_rows()]
    most = known.group_by("query_id").len()["len"].max()
    found = mine_hard_negatives(
        Dataset.from_dict({"anchor": [q for q, _ in pairs], "positive": [d for _, d in pairs]}),
        Cached(case.vectors),
        corpus=case.raw["text"].to_list(),
        range_max=len(case.raw) - most,
        num_negatives=wanted,
        sampling_strategy="top",
        output_format="triplet",
        output_scores=True,
        verbose=False,
        **arguments,
    )
    negatives: dict[str, dict[str, float]] = {}
    for row in found:
        negatives.setdefault(row["anchor"], {})[row["negative"]] = row["scores"][1]
    return negatives


def ceilings(case: Case, selection: SelectionSettings) -> dict[str, float]:
    """The threshold of each query, in double precision from the same vectors."""
    text = dict(case.data.documents.select("doc_id", "text").iter_rows())
    asked = dict(case.data.queries.select("query_id", "text").iter_rows())
    lowest: dict[str, float] = {}
    for query, doc, relevance in case.data.judgments.iter_rows():
        if relevance > 0:
            score = dot(case, asked[query], text[doc])
            lowest[query] = min(lowest.get(query, 1.0), score)
    return {
        query: {
            "absolute": selection.absolute,
            "margin": pos - selection.margin,
            "percent": pos - abs(pos) * (1 - selection.percent),
        }.get(selection.rule, np.inf)
        for query, pos in lowest.items()
    }


def dot(case: Case, query: str, document: str) -> float:
    return float(case.vectors[query].astype("f8") @ case.vectors[document].astype("f8"))


def explain(case, query, ours, theirs, ceiling, passed_over) -> tuple[str, list[str]]:
    """Compare one query's negatives; returns (what explains a difference, what nothing explains).

    `ours`, `theirs` and the best that `theirs` has `passed_over` are [(document id, score)],
    hardest first, by ids after merging copies.
    """
    if [doc for doc, _ in ours] == [doc for doc, _ in theirs]:
        return "same", []
    closure = case.data.closure.filter(query_id=query)
    closed = set(closure["doc_id"])  # a positive is only met here as a copy that was merged into it
    limits, seen, skipped, left = set(), set(), 0, []
    for doc, _ in passed_over:  # every copy among them moves their window by one
        skipped += doc in closed or doc in seen
        seen.add(doc)
    for doc, score in theirs:
        if doc in closed or doc in seen:
            limits.add("copy")
        elif abs(score - ceiling) <= TIE:
            limits.add("equal to the ceiling")
        else:
            left.append((doc, score))
        seen.add(doc)
    if skipped:
        limits.add("copy")
        left = left[skipped:]
    unexplained = []
    if len(ours) < len(left) or (not limits and len(ours) != len(left)):
        unexplained.append(f"{query}: {len(ours)} of ours, {len(left)} of theirs")
    for (own, own_score), (other, other_score) in zip(ours, left, strict=False):
        if abs(own_score - other_score) > TIE:
            unexplained.append(f"{query}: {own} {own_score:.7f} against {other} {other_score:.7f}")
        elif own != other:
            limits.add("tie")
    return ", ".join(sorted(limits)) or "nothing", unexplained


def compare(case: Case, rule: str) -> tuple[dict[str, int], list[str]]:
    """How many queries are the same or explained by what, and all that is unexplained."""
    selection, arguments = RULES[rule]
    ours = (
        mine_with_polymine(case, selection)
        .group_by("query_id")
        .agg(pl.struct("negative_id", "negative_score").alias("rows"))
    )
    ours = {
        query: [(row["negative_id"], row["negative_score"]) for row in rows]
        for query, rows in ours.iter_rows()
    }
    theirs = mine_with_sentence_transformers(case, arguments)
    best = mine_with_sentence_transformers(case, {}, SHIFT) if rule == "shifted" else {}
    kept = dict(case.data.copies.iter_rows())
    doc_of = {text: kept.get(doc, doc) for doc, text, _ in case.raw.iter_rows()}
    doc_of |= {text: doc for doc, text in case.data.documents.select("doc_id", "text").iter_rows()}
    thresholds = ceilings(case, selection)
    counts: dict[str, int] = {}
    problems = []
    for query, text in case.data.queries.select("query_id", "text").iter_rows():
        found, passed_over = (
            [(doc_of[negative], score) for negative, score in table.get(text, {}).items()]
            for table in (theirs, best)
        )
        own = ours.get(query, [])
        why, unexplained = explain(case, query, own, found, thresholds[query], passed_over)
        counts[why] = counts.get(why, 0) + 1
        problems += unexplained
    return counts, problems


@pytest.mark.parametrize("rule", RULES)
def test_same_negatives_or_an_explained_difference(case, rule):
    counts, problems = compare(case, rule)
    assert not problems, problems[:10]
    assert counts.get("nothing", 0) == 0, counts
    assert counts["same"] >= 0.9 * sum(counts.values()), counts


def test_scores_are_the_same(case):
    ours = mine_with_polymine(case, RULES["naive"][0])
    theirs = mine_with_sentence_transformers(case, {})
    text = dict(case.data.documents.select("doc_id", "text").iter_rows())
    asked = dict(case.data.queries.select("query_id", "text").iter_rows())
    differences = [
        abs(score - theirs[asked[query]][text[doc]])
        for query, doc, score, _ in ours.iter_rows()
        if text[doc] in theirs[asked[query]]
    ]
    assert len(differences) > 0.9 * len(ours)
    assert max(differences) <= TIE


def test_copies_that_only_polymine_knows_are_found_and_explained(case):
    if "zz-copy" not in case.raw["doc_id"]:
        pytest.skip("this data set has no planted copies")
    counts, problems = compare(case, "naive")
    assert not problems
    assert counts["copy"] > 0  # so the explanation is not an empty word


def test_ceiling_that_equals_a_score_is_kept_by_them_and_not_by_us(case, monkeypatch):
    hardest = mine_with_polymine(case, RULES["naive"][0]).row(0, named=True)
    ceiling = hardest["negative_score"]
    query = case.data.queries.filter(query_id=hardest["query_id"])["text"][0]
    document = case.data.documents.filter(doc_id=hardest["negative_id"])["text"][0]
    monkeypatch.setitem(
        RULES,
        "absolute",
        (SelectionSettings(rule="absolute", absolute=ceiling), {"max_score": ceiling + TIE}),
    )
    ours = mine_with_polymine(case, RULES["absolute"][0])
    mine = ours.filter(query_id=hardest["query_id"])["negative_id"].to_list()
    assert hardest["negative_id"] not in mine
    assert document in mine_with_sentence_transformers(case, RULES["absolute"][1])[query]
    counts, problems = compare(case, "absolute")
    assert not problems
    assert sum(n for why, n in counts.items() if "equal" in why) == 1
