"""Results in MTEB's own form: its library reads them, and finds the same means."""

import json

import polars as pl
import pytest

from polymine.data_contracts.learning import QueryScores
from polymine.evaluation.mteb_results import as_mteb_result

mteb = pytest.importorskip("mteb", reason="mteb is not installed")


def result(directions: list[tuple[str, str]]):
    rows = [
        ("set", document, query, f"q{n}", 0.1 * n, 0.5, 0.25, 0.75)
        for document, query in directions
        for n in range(5)
    ]
    frame = QueryScores.validate(
        pl.DataFrame(rows, QueryScores.column_names(), orient="row"), cast=True
    )
    text = as_mteb_result(frame, task="Own", revision="abc", split="test", k=10)
    return mteb.TaskResult.model_validate(json.loads(text))


def test_of_one_language():
    found = result([("en", "en"), ("*", "en")])
    (scores,) = found.scores["test"]
    assert scores["hf_subset"] == "default"
    assert scores["languages"] == ["eng-Latn"]
    assert (scores["ndcg_at_10"], scores["map_at_1000"]) == pytest.approx((0.2, 0.75))
    assert found.get_score() == pytest.approx(0.2)


def test_of_several_with_the_documents_language_first():
    found = result([("ru", "en"), ("und", "und")])
    subsets = {each["hf_subset"]: each["languages"] for each in found.scores["test"]}
    assert subsets["ru-en"] == ["rus-Cyrl", "eng-Latn"]
    assert set(subsets) == {"ru-en", "und-und"}
