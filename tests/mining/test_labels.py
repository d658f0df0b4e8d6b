"""What a labelled file says is obeyed under every rule, and closes what belongs to it."""

import polars as pl
import pytest

from polymine.data_contracts.settings import MiningSettings, SelectionSettings
from polymine.mining.ingestion import ingest
from tests.mining.small_mining import mine
from tests.small import MINILM, animal_tables

RIGHT = ("camel-home?", "camel-risk")
WRONG = ("camel-food?", "camel-care")


@pytest.fixture(scope="module")
def data():
    """One candidate labelled as relevant, one as not; the first has a version of itself."""
    documents, queries, judgments = animal_tables()
    version = pl.DataFrame(
        {"doc_id": ["zz"], "text": ["Camels are fewer where deserts are built upon."],
         "language": ["en"], "group_id": ["camel-risk"]}
    )  # fmt: skip
    grouped = documents.with_columns(
        group_id=pl.when(pl.col("doc_id") == RIGHT[1]).then(pl.lit("camel-risk"))
    )
    labels = pl.DataFrame([(*RIGHT, 2), (*WRONG, 0)], ["query_id", "doc_id", "relevance"],
                          orient="row")  # fmt: skip
    return ingest(pl.concat([grouped, version]), queries, judgments, labels)


@pytest.mark.parametrize("rule", ["risk", "naive", "shifted", "absolute", "margin", "percent"])
def test_labels_hold_under_every_rule(data, rule):
    selection = SelectionSettings(rule=rule, shift=0, absolute=0.9, percent=1.9, margin=0.0)
    settings = MiningSettings(teachers=(MINILM,), negatives=70, depth=72, selection=selection)
    mined = mine(data, settings)
    verdicts = {(q, d): v for q, d, v in mined.negatives.select(
        "query_id", "doc_id", pl.col("verdict").cast(pl.String)).rows()}  # fmt: skip
    assert verdicts[RIGHT] == "promoted"
    assert verdicts[RIGHT[0], "zz"] == "excluded"  # a version of what is relevant
    further = mined.triplets.filter(query_id=RIGHT[0], positive_id=RIGHT[1])
    assert len(further)
    assert not further["negative_id"].is_in(["zz", *RIGHT]).any()
    if rule == "risk":
        row = mined.negatives.filter(query_id=WRONG[0], doc_id=WRONG[1])
        assert row.select("verdict", "risk").row(0) == ("negative", 0.0)


def test_a_judgment_wins_over_a_label(data):
    documents, queries, judgments = animal_tables()
    pair = judgments.select("query_id", "doc_id", relevance=pl.lit(0)).head(1)
    clean = ingest(documents, queries, judgments, pair)
    assert len(clean.labels) == 0


def test_what_is_labelled_is_looked_at_wherever_it_lies(data):
    settings = MiningSettings(teachers=(MINILM,), negatives=1, depth=1)
    verdicts = mine(data, settings).negatives.filter(verdict="promoted")
    assert verdicts.select("query_id", "doc_id").rows() == [RIGHT]
