"""The recipe of the shipped weights: it is read, and runs on small data."""

import json
import sys

import polars as pl
import pytest

from polymine.data_contracts.errors import SettingsError
from polymine.mining.risk_weights import FILE
from shipped import fit_risk
from tests.small import animal_tables

SMALL = """
depth = 12
seeds = 1
queries = 30
collections = ["one", "two"]
[[teachers]]
name = "bm25"
kind = "lexical"
"""


def test_the_recipe_is_read():
    assert fit_risk.read_recipe(fit_risk.RECIPE).collections[0] == "cranfield"


def test_a_wrong_key_is_named(tmp_path):
    path = tmp_path / "recipe.toml"
    path.write_text(fit_risk.RECIPE.read_text().replace("seed", "sead", 1))
    with pytest.raises(SettingsError, match=r"(?s:recipe\.toml.*sead)"):
        fit_risk.read_recipe(path)


def test_the_risk_is_fitted_on_what_lies_in_the_data_folder(tmp_path, monkeypatch):
    documents, queries, _ = animal_tables()
    animal = pl.col("query_id").str.extract("^([a-z]+)-")
    judgments = queries.select("query_id", animal=animal).join(
        documents.select("doc_id", animal=pl.col("doc_id").str.extract("^([a-z]+)-")), on="animal"
    )
    for name in ("one", "two"):
        folder = tmp_path / "data" / name
        folder.mkdir(parents=True)
        documents.with_columns(title=None).write_parquet(folder / "corpus.parquet")
        queries.write_parquet(folder / "queries.parquet")
        judged = judgments.select("query_id", "doc_id", relevance=pl.lit(1, pl.Int8))
        judged.write_parquet(folder / "qrels.parquet")
    (tmp_path / "small.toml").write_text(SMALL)
    monkeypatch.setenv("POLYMINE_DATA", str(tmp_path / "data"))
    command = ["fit", "--recipe", str(tmp_path / "small.toml"), "--out", str(tmp_path / "out")]
    monkeypatch.setattr(sys, "argv", command)
    fit_risk.main()
    written = json.loads((tmp_path / "out" / FILE).read_text())
    assert [variant["kinds"] for variant in written["variants"]] == [["lexical"]]
    assert {"one/lexical", "two/lexical"} <= written["without"].keys()
