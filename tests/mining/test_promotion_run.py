"""Promotion in a run: from labels to further positives, closed, weighted, told; or to none."""

import polars as pl
import pytest

import polymine
from polymine.data_contracts.settings import (
    LossSettings,
    MiningSettings,
    SelectionSettings,
    TrainingData,
)
from polymine.mining import precision
from polymine.mining.ingestion import ingest
from polymine.tasks.training.data import read_part
from polymine.training.mixture import select
from tests.mining.small_mining import mine
from tests.small import BM25

ANIMALS = (
    "owl", "otter", "camel", "heron", "lynx", "mole", "newt", "swan", "toad", "vole", "wasp", "yak",
    "ibis", "hare", "gull", "frog", "elk", "crab",
)  # fmt: skip
LABELLED = ANIMALS[:12]
FACTS = {"eat": ("mice", "crayfish", "thistles"), "live": ("barns", "rivers", "burrows")}


@pytest.fixture(scope="module")
def tables():
    """Three passages answer each question, one of them with a version; one is known."""
    documents, queries, judgments, truth = [], [], [], []
    for animal in ANIMALS:
        for verb, words in FACTS.items():
            query = f"{animal}-{verb}"
            queries.append({"query_id": query, "text": f"What do {animal}s {verb}?"})
            for number, word in enumerate(words):
                name = f"{query}-{number}"
                text = f"The {animal}s {verb} {word}, as every {animal} knows ({number})."
                documents.append({"doc_id": name, "text": text, "group_id": f"{query}-{number}"})
                truth.append((query, name, 1))
            documents.append({
                "doc_id": f"{query}-v", "text": f"Jede {animal} weiss es: {animal}s {words[2]}.",
                "group_id": f"{query}-2",
            })  # fmt: skip
            truth.append((query, f"{query}-v", 1))
            judgments.append({"query_id": query, "doc_id": f"{query}-0", "relevance": 1})
    asked = pl.DataFrame(queries).with_columns(language=pl.lit("en"))
    corpus = pl.DataFrame(documents).with_columns(language=pl.lit("en"))
    right = pl.DataFrame(truth, ["query_id", "doc_id", "relevance"], orient="row")
    return corpus, asked, pl.DataFrame(judgments), right


def labels_of(tables, animals):
    """What a person says of all passages on some animals."""
    corpus, asked, judgments, right = tables
    queries = asked.filter(pl.col("query_id").str.split("-").list.first().is_in(animals))
    pairs = queries.select("query_id").join(corpus.select("doc_id"), how="cross")
    near = pl.col("doc_id").str.split("-").list.first().is_in(animals)
    said = pairs.filter(near).join(right, on=["query_id", "doc_id"], how="left")
    said = said.with_columns(pl.col("relevance").fill_null(0))
    return said.join(judgments, on=["query_id", "doc_id"], how="anti")


@pytest.fixture
def few(monkeypatch):
    """Lets a small run learn how precise its risk is."""
    for name, value in (
        ("FEWEST_PAIRS", 10),
        ("FEWEST_QUERIES", 5),
        ("LEAST_RISK", 0.001),
        ("LEAST_PRECISION", 0.0),
    ):
        monkeypatch.setattr(precision, name, value)


def run_on(tables, labels=None, budget=0.6, **changes):
    corpus, asked, judgments, _ = tables
    return polymine.mine(
        corpus=corpus, queries=asked, judgments=judgments, labels=labels, teachers=["bm25"],
        negatives=2, max_false_positive_rate=budget, **changes,
    )  # fmt: skip


def test_what_labels_vouch_for_becomes_a_weighted_positive_and_is_closed(tables, few):
    run = run_on(tables, labels_of(tables, LABELLED))
    promoted = run.promoted.filter(reason="promoted: precise enough by its risk")
    told = run.info["risk"]["promotion"]
    assert 0 < len(promoted) == told["promoted"]
    assert told["expected"] <= 0.6
    assert told["precisions"][0]["pairs"] >= 10
    assert promoted["weight"].is_between(0.05, 1).all()
    pairs = ["query_id", "doc_id"]
    closure, negatives = run.read("closure"), run.negatives.filter(verdict="negative")
    assert promoted.join(closure, on=pairs, how="anti").is_empty()
    assert negatives.join(closure, on=pairs, how="semi").is_empty()
    group = pl.col("doc_id").str.replace("-2$", "-v")  # the version of the third passage
    versions = promoted.filter(pl.col("doc_id").str.ends_with("-2")).with_columns(doc_id=group)
    assert not versions.is_empty()
    assert versions.join(closure, on=pairs, how="anti").is_empty()
    rows = run.triplets.join(
        promoted.select("query_id", "weight", positive_id="doc_id"), on=["query_id", "positive_id"]
    )
    assert (rows["positive_weight"] == rows["weight_right"]).all()
    assert not rows.is_empty()
    per_query = run.triplets.group_by("query_id").agg(pl.col("positive_id").n_unique())
    assert per_query["positive_id"].max() == 5  # mining.positives.per_query: the others are known
    page = run.report().path.read_text()
    assert "precise enough to be promoted" in page


def test_flow_and_notebook_promote_the_same(tables, few):
    labels = labels_of(tables, LABELLED)
    run = run_on(tables, labels)
    settings = MiningSettings(
        teachers=(BM25,), negatives=2, selection=SelectionSettings(max_false_positive_rate=0.6)
    )
    corpus, asked, judgments, _ = tables
    by_hand = mine(ingest(corpus, asked, judgments, labels), settings)
    assert by_hand.negatives.equals(run.negatives)
    assert by_hand.triplets.equals(run.triplets)


def test_found_translations_are_cross_lingual_training_rows(tables, few):
    """The third passages are in another language; the data of a step that names it are these."""
    corpus, asked, judgments, right = tables
    german = pl.col("doc_id").str.contains("-[2v]$")
    language = pl.when(german).then(pl.lit("de")).otherwise(pl.lit("en"))
    bilingual = (corpus.with_columns(language=language), asked, judgments, right)
    run = run_on(bilingual, labels_of(bilingual, LABELLED))
    found = run.promoted.filter(german)
    kinds = {each["pair"] for each in run.info["risk"]["promotion"]["precisions"]}
    assert {"same", "foreign"} <= kinds
    data, loss = TrainingData(triplets=str(run.folder)), LossSettings(negatives=2)
    rows = read_part(data, "mined", loss).made.rows
    across = select(rows, ("de-en",), None, 0).rows
    texts = corpus.join(found, on="doc_id", how="semi")["text"]
    assert set(across["positive"]) == set(texts)
    weights = across.filter(pl.col("positive_weight") < 1)
    assert not weights.is_empty()


def test_without_anything_to_calibrate_on_nothing_is_promoted_and_the_run_says_why(tables, few):
    run = run_on(tables)
    assert run.promoted.is_empty()
    assert run.info["risk"]["promotion"]["precisions"] == []
    assert "how often the risk errs is not known" in run.report().path.read_text()
    drawn = pl.read_csv(run.folder / "to_label.csv")
    assert drawn.columns == ["query_id", "doc_id", "relevance", "risk", "query", "document"]
    assert len(drawn) > 50
    known = run.read("closure").select("query_id", "doc_id")
    assert drawn.join(known, on=["query_id", "doc_id"], how="semi").is_empty()


def test_a_filled_in_list_is_read_as_labels(tables, few, tmp_path):
    run = run_on(tables)
    filled = pl.read_csv(run.folder / "to_label.csv").with_columns(relevance=pl.lit(0))
    filled.write_csv(tmp_path / "labels.csv")
    again = run_on(tables, str(tmp_path / "labels.csv"))
    refuted = again.negatives.join(filled, on=["query_id", "doc_id"], how="semi")
    assert set(refuted["risk"]) == {0.0}
