"""Evaluation sets with the flaws of published ones are read as the data to mine are."""

import logging

import polars as pl
import pytest

from polymine.data_contracts.errors import InputError
from polymine.tasks.evaluation.sets import open_collection, read_table
from polymine.tasks.sources.reading import check_raw
from tests.tasks.evaluation.small_sets import read
from tests.tasks.sources.small_sources import read as read_sources
from tests.tasks.sources.test_cases import CASES


@pytest.mark.parametrize(
    ("case", "said", "judged"),
    [
        ("empty", r"empty/corpus\.jsonl: `text` is empty \(1 row\)", 3),
        ("dangling", r"qrels/test\.tsv: `doc_id` is not in .*corpus\.jsonl \(1 row\)", 3),
        ("repeated", r"qrels/test\.tsv: duplicate row \(1 row\)", 3),
        ("grades-fractional", r"is not a whole number from 0 to 127 \(2 rows\)[^`]*`grades = 0", 2),
    ],
)
def test_a_flaw_is_named_by_file_and_row_or_set_aside(tmp_path, case, said, judged):
    with pytest.raises(InputError, match=said):
        read(tmp_path, path=str(CASES / case))
    made = read(tmp_path, path=str(CASES / case), on_invalid="quarantine")
    assert open_collection(made).judgments.height == judged
    assert read_table(made, "rejected").height == (2 if case == "grades-fractional" else 1)


@pytest.mark.parametrize("case", ["empty", "repeated", "grades-as-floats", "dangling"])
def test_mining_and_evaluation_read_the_same(tmp_path, case):
    raw = read_sources(CASES / case, on_invalid="quarantine")
    mined = check_raw(raw, "quarantine")
    made = open_collection(read(tmp_path, path=str(CASES / case), on_invalid="quarantine"))
    assert made.judgments.equals(mined.judgments)
    assert made.documents["doc_id"].equals(mined.documents["doc_id"])


def test_grades_written_as_floats_are_grades_and_others_need_a_threshold(tmp_path):
    whole = open_collection(read(tmp_path, path=str(CASES / "grades-as-floats")))
    assert whole.judgments["relevance"].to_list() == [1, 1, 1]
    cut = open_collection(read(tmp_path, path=str(CASES / "grades-fractional"), grades=0.7))
    assert cut.judgments["relevance"].to_list() == [1, 0, 1, 1]


def test_the_text_of_a_query_is_left_out_of_its_ranking(tmp_path, caplog):
    """As in ArguAna, where each query is a document and its answer another."""
    with caplog.at_level(logging.WARNING):
        own = open_collection(read(tmp_path, path=str(CASES / "query-in-corpus")))
    assert own.hidden.select(same=pl.col("query_id") == pl.col("doc_id"))["same"].all()
    assert own.hidden.height == own.queries.height == 8
    assert "documents that are a query's own text (8) are left out" in caplog.text
    plain = read(tmp_path, path=str(CASES / "query-in-corpus"), own_document="rank")
    assert open_collection(plain).hidden.height == 0
