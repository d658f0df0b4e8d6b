"""The whole of mining without Prefect, with real models on 72 documents, against NumPy."""

import numpy as np
import polars as pl
import pytest

from polymine.data_contracts.errors import InputError
from polymine.data_contracts.settings import MiningSettings, SelectionSettings
from polymine.data_contracts.tables import Negatives, Shortfalls, Triplets, evidence_schema
from polymine.mining.embedding import encode_all
from polymine.mining.ingestion import ingest
from tests.mining.small_mining import mine
from tests.small import BM25, MINILM, animal_tables, small_validator


@pytest.fixture(scope="module")
def data():
    return ingest(*animal_tables())


@pytest.fixture(scope="module")
def scores(encoder, data) -> pl.DataFrame:
    """Cosines of all queries with all documents."""
    queries, documents = (
        encode_all(encoder, table["text"].to_list()) for table in (data.queries, data.documents)
    )
    cosines = queries.astype("f8") @ documents.astype("f8").T
    return pl.DataFrame(
        {
            "query_id": np.repeat(data.queries["query_id"].to_numpy(), len(documents)),
            "doc_id": np.tile(data.documents["doc_id"].to_numpy(), len(queries)),
            "score": cosines.ravel(),
        }
    )


def settings(*teachers, **values):
    """The rule is percent unless another one is named."""
    common = {"negatives": 3, "selection": SelectionSettings(rule="percent")}
    return MiningSettings(**{"teachers": teachers or (MINILM,), **common, **values})


def expected(data, scores, passes, shift=0):
    """The three hardest open documents per query that pass, by brute force."""
    lowest = (
        scores.join(data.judgments, on=["query_id", "doc_id"], how="semi")
        .group_by("query_id")
        .agg(positive=pl.min("score"))
    )
    hardest = (
        scores.join(data.closure, on=["query_id", "doc_id"], how="anti")
        .join(lowest, on="query_id")
        .filter(passes)
        .sort("query_id", "score", "doc_id", descending=[False, True, False])
    )
    place = pl.int_range(pl.len()).over("query_id")
    return hardest.filter(place >= shift, place < shift + 3).select("query_id", "doc_id").rows()


def kept(mined):
    rows = mined.negatives.filter(verdict="negative").sort("query_id", "position")
    return rows.select("query_id", "doc_id").rows()


SCORE, POSITIVE = pl.col("score"), pl.col("positive")


@pytest.mark.parametrize("depth", [1, 10, 72, 500])
@pytest.mark.parametrize(
    ("rule", "passes", "shift"),
    [
        ({"rule": "naive"}, pl.lit(True), 0),
        ({"rule": "shifted", "shift": 2}, pl.lit(True), 2),
        ({"rule": "percent", "percent": 0.6}, POSITIVE - POSITIVE.abs() * 0.4 > SCORE, 0),
        ({"rule": "margin", "margin": 0.3}, SCORE < POSITIVE - 0.3, 0),
        ({"rule": "absolute", "absolute": 0.2}, SCORE < 0.2, 0),
    ],
)
def test_negatives_are_the_hardest_that_pass_however_deep_they_lie(
    monkeypatch, encoder, data, scores, rule, passes, shift, depth
):
    monkeypatch.setattr("polymine.mining.embedding.TextEncoder.load", lambda *_: encoder)
    mined = mine(data, settings(depth=depth, selection=SelectionSettings(**rule)))
    assert kept(mined) == expected(data, scores, passes, shift)
    assert len(mined.shortfalls) == 0


@pytest.fixture(scope="module")
def mined(data):
    return mine(data, settings(MINILM, BM25, depth=20, validation=small_validator()))


def test_tables_obey_their_contracts(mined):
    evidence_schema(("minilm", "bm25"), ("minilm",)).validate(mined.evidence)
    Negatives.validate(mined.negatives, cast=True)
    Triplets.validate(mined.triplets, cast=True)
    Shortfalls.validate(mined.shortfalls, cast=True)


def test_no_negative_is_known_to_be_relevant(mined, data):
    closed = set(data.closure.select("query_id", "doc_id").rows())
    assert ("otter-home?", "otter-risk") in closed
    assert not closed & set(kept(mined))
    refused = mined.negatives.filter(pl.col("reason").str.starts_with("known positive"))
    assert set(refused.select("query_id", "doc_id").rows()) <= closed


def test_kept_and_missing_make_what_was_wanted(mined, data):
    found = mined.negatives.filter(verdict="negative").group_by("query_id").len("kept")
    table = data.queries.join(found, on="query_id", how="left").join(
        mined.shortfalls, on="query_id", how="left"
    )
    missing = (pl.col("wanted") - pl.col("found")).fill_null(0)
    assert (table.select(pl.col("kept").fill_null(0) + missing).to_series() == 3).all()
    assert mined.shortfalls["reason"].str.starts_with("validator turned down").all()


def test_validator_said_all_three_verdicts_and_scored_what_was_kept(mined):
    validated = mined.negatives.filter(pl.col("reason").str.starts_with("validator"))
    assert set(validated["verdict"]) == {"negative", "excluded", "promoted"}
    assert validated["validator_score"].is_finite().all()
    assert mined.negatives.filter(verdict="negative")["validator_score"].null_count() == 0


def test_order_of_the_input_changes_nothing(mined):
    shuffled = (table.sample(fraction=1, shuffle=True, seed=3) for table in animal_tables())
    again = mine(ingest(*shuffled), settings(MINILM, BM25, depth=20, validation=small_validator()))
    for name in ("triplets", "negatives", "shortfalls", "evidence"):
        assert getattr(again, name).equals(getattr(mined, name)), name


def test_candidates_come_from_the_languages_asked_for(data):
    documents, queries, judgments = animal_tables()
    french = pl.col("doc_id").str.ends_with("-myth") | pl.col("doc_id").str.ends_with("-care")
    language = pl.when(french).then(pl.lit("fr")).otherwise("language").alias("language")
    found = mine(ingest(documents.with_columns(language), queries, judgments),
                 settings(MINILM, BM25, languages=("fr",)))  # fmt: skip
    assert set(found.triplets["negative_language"]) == {"fr"}
    assert set(found.triplets["positive_language"]) == {"en"}
    assert set(found.evidence["doc_id"].str.slice(-4)) == {"myth", "care"}
    with pytest.raises(InputError, match="no document is in xx"):
        mine(data, settings(MINILM, BM25, languages=("xx",)))


def test_bm25_alone_takes_only_documents_that_share_a_word():
    corpus = [("pos", "red fox"), ("near", "red hen"), ("far", "blue sky"), ("far2", "grey sea")]
    documents = pl.DataFrame(corpus, ["doc_id", "text"], orient="row")
    queries = pl.DataFrame({"query_id": ["q"], "text": ["red fox"]})
    language = pl.lit("en").alias("language")
    judgments = pl.DataFrame({"query_id": ["q"], "doc_id": ["pos"], "relevance": [1]})
    data = ingest(documents.with_columns(language), queries.with_columns(language), judgments)
    found = mine(data, settings(BM25))
    assert kept(found) == [("q", "near")]
    assert found.shortfalls.rows() == [
        ("q", 3, 1, "only 1 documents that share a word with the query pass the rule")
    ]  # fmt: skip


BY_RISK = SelectionSettings(rule="risk", max_false_negative_rate=0.03)


def test_risk_keeps_the_budget_and_weighs_what_it_keeps(data):
    found = mine(data, settings(MINILM, BM25, selection=BY_RISK))
    taken = found.negatives.filter(verdict="negative")
    assert len(taken) > 60
    assert taken["risk"].mean() <= 0.03 * (1 + 1e-6)
    assert not set(kept(found)) & set(data.closure.select("query_id", "doc_id").rows())
    Negatives.validate(found.negatives, cast=True)
    Triplets.validate(found.triplets, cast=True)
    assert found.triplets["weight"].n_unique() > 10
    several = found.triplets.filter(query_id="otter-home?")["positive_id"]
    assert set(several) == {"otter-home", "otter-risk"}
    narrow = BY_RISK.model_copy(update={"max_false_negative_rate": 0.001})
    safer = mine(data, settings(MINILM, BM25, selection=narrow)).negatives
    safer = safer.filter(verdict="negative")
    assert safer["risk"].mean() <= 0.001 * (1 + 1e-6)
    assert safer["score"].mean() < taken["score"].mean()


def test_labels_are_obeyed_and_never_asked_about(monkeypatch):
    rows = [
        ("camel-food?", "camel-care", 1), ("camel-food?", "camel-home", 0),
        ("owl-home?", "owl-risk", 1), ("owl-home?", "owl-myth", 0),
    ]  # fmt: skip
    labels = pl.DataFrame(rows, ["query_id", "doc_id", "relevance"], orient="row")
    asked = []

    def score(cache, pairs, purpose):
        asked.extend(pairs.select("query_id", "doc_id").rows())
        return np.zeros(len(pairs), dtype=np.float32)

    monkeypatch.setattr("polymine.tasks.mining.pair_score_cache.PairScoreCache.score", score)
    said = ingest(*animal_tables(), labels=labels)
    found = mine(said, settings(MINILM, BM25, selection=BY_RISK, validation=small_validator()))
    for query, doc, relevance in rows:
        risk = found.evidence.filter(query_id=query, doc_id=doc)["risk"]
        assert risk.to_list() == [relevance]
        if relevance:
            decided = found.negatives.filter(query_id=query, doc_id=doc).row(0, named=True)
            assert decided["verdict"] == "promoted"
            assert decided["reason"] == "promoted: relevant by a label"
            assert doc in set(found.triplets.filter(query_id=query)["positive_id"])
    assert asked
    assert not {(query, doc) for query, doc, _ in rows} & set(asked)
