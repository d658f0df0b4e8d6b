"""What files give as negatives is judged like any other candidate, wherever it lies."""

import polars as pl
import pytest

import polymine
from polymine.data_contracts.settings import MiningSettings, SelectionSettings
from polymine.mining.ingestion import ingest
from tests.mining.small_mining import mine
from tests.small import MINILM, animal_tables

KNOWN, COPY, PLAIN = "camel-home", "camel-home-copy", "yak-myth"
QUERY = "camel-home?"
KEYS = ["query_id", "doc_id"]


@pytest.fixture(scope="module")
def tables():
    documents, queries, judgments = animal_tables()
    text = documents.filter(doc_id=KNOWN)["text"][0].upper()
    copy = pl.DataFrame({"doc_id": [COPY], "text": [text], "language": ["en"]})
    given = pl.DataFrame([(QUERY, COPY), (QUERY, PLAIN)], KEYS, orient="row")
    return pl.concat([documents, copy]), queries, judgments, None, given


@pytest.mark.parametrize("rule", ["risk", "percent"])
def test_given_candidates_are_judged_wherever_they_lie(tables, rule):
    settings = MiningSettings(
        teachers=(MINILM,), negatives=71, depth=1, selection=SelectionSettings(rule=rule)
    )
    mined = mine(ingest(*tables), settings)
    found = {doc: (verdict, reason) for _, doc, verdict, reason, *_ in mined.given.rows()}
    assert found[KNOWN] == ("excluded", "known positive: positive")  # the copy was merged into it
    assert found[PLAIN][0] == "negative"
    assert mined.evidence.filter(query_id=QUERY, doc_id=PLAIN)["rank"].to_list() == [None]


def test_what_is_given_moves_no_other_risk(tables):
    settings = MiningSettings(teachers=(MINILM,), negatives=3, depth=20)
    with_it, without = (mine(ingest(*given), settings) for given in (tables, tables[:3]))
    assert with_it.risk == without.risk
    assert with_it.given.height == 2
    both = without.evidence.join(with_it.evidence, on=KEYS, suffix="_with")
    assert both.height == without.evidence.height
    assert (both["risk"] == both["risk_with"]).all()


def test_what_is_given_in_a_language_that_is_left_out_is_named(tables):
    documents, *others = tables
    foreign = pl.when(pl.col("doc_id") == PLAIN).then(pl.lit("de")).otherwise("language")
    settings = MiningSettings(teachers=(MINILM,), negatives=3, depth=5, languages=("en",))
    mined = mine(ingest(documents.with_columns(language=foreign), *others), settings)
    row = mined.given.filter(doc_id=PLAIN)
    assert row["verdict"].to_list() == ["unused"]
    assert "language" in row["reason"][0]
    assert mined.negatives.filter(query_id=QUERY, doc_id=PLAIN).height == 0


def test_negatives_of_a_trainers_file_are_named_by_the_run(tmp_path, monkeypatch):
    monkeypatch.setenv("POLYMINE_HOME", str(tmp_path))
    documents, queries, judgments = animal_tables()
    judgments = judgments.unique("query_id", keep="first", maintain_order=True)
    texts, asked = (dict(table.rows()) for table in (
        documents.select("doc_id", "text"), queries.select("query_id", "text")))  # fmt: skip
    rows = [
        {"query": asked[q], "pos": [texts[d]], "neg": [texts["yak-myth"], texts[d]]}
        for q, d in judgments.select("query_id", "doc_id").rows()
    ]
    run = polymine.mine(pairs=rows, teachers=["bm25"], negatives=2, rule="naive")
    given = run.read("given")
    assert given.height == judgments.height * 2
    counts = dict(given.group_by("verdict").len().rows())
    assert counts["excluded"] == judgments.height  # each is a known positive of its query
    assert counts["negative"] + counts["unused"] == judgments.height
    asked_for = given.filter(verdict="unused")["query_id"][0]
    (candidate, *_) = run.why(asked_for).of("unused")
    assert (candidate.text, candidate.given) == (texts["yak-myth"], True)
    assert "given by a file and not needed: 1" in str(run.why(asked_for))
    kept = run.why(given.filter(verdict="negative")["query_id"][0])
    assert [c.text for c in kept.of("negative") if c.given] == [texts["yak-myth"]]
    page = (run.folder / "report.html").read_text()
    assert "Candidates that the files gave" in page
    assert "What the files were taken for" in page
