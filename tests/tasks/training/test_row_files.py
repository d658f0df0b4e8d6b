"""Training rows from files, read as mining reads them."""

from pathlib import Path

import polars as pl
import pytest

import polymine
from polymine.data_contracts.errors import InputError
from polymine.data_contracts.settings import StepSettings
from polymine.tasks.store.datasets import info_of, load
from polymine.tasks.training.rows import gather_rows
from tests.tasks.evaluation.small_sets import run_in
from tests.tasks.sources.small_sources import write_lines
from tests.tasks.sources.test_cases import ANSWERS, CASES
from tests.training.small_batches import count_closed


def gather(tmp_path: Path, negatives: int = 2, **data: object):
    step = StepSettings.model_validate(
        {"name": "a", "data": [data], "loss": {"negatives": negatives}}
    )
    made = gather_rows(run_in(tmp_path), step)
    return load(made), info_of(made)["counts"][0]


@pytest.mark.parametrize("form", ["tevatron", "ms-swift", "flagembedding"])
def test_trainers_own_formats_are_triplets(tmp_path, form):
    rows, _ = gather(tmp_path, triplets=str(CASES / "trainers" / f"{form}.jsonl"))
    assert sorted(rows["positive"]) == sorted(ANSWERS)
    assert rows["negatives"].list.len().to_list() == [1] * 4


def test_what_a_run_keeps_apart_stays_apart_in_every_batch(tmp_path, monkeypatch):
    """Case 10: 124 of 2,687 in-batch negatives were known positives of their anchor."""
    monkeypatch.setenv("POLYMINE_HOME", str(tmp_path / "home"))
    pairs = CASES / "paraphrases" / "pairs.jsonl"
    known = set(pl.read_ndjson(pairs).select("anchor", "positive").rows())
    mined = {"teachers": ["bm25"], "rule": "naive", "negatives": 2}
    polymine.mine(pairs=pairs, output=tmp_path / "run", **mined)
    rows, _ = gather(tmp_path, triplets=str(tmp_path / "run"))
    assert count_closed(rows, known, batch=16) > 10


def test_lists_of_positives_and_negatives_are_rows(tmp_path):
    record = {"query": "a?", "pos": ["x", "y"], "neg": ["n", "m", "o"]}
    write_lines(tmp_path / "t.jsonl", record, {"query": "b?", "pos": ["z"], "neg": []})
    rows, _ = gather(tmp_path, triplets=str(tmp_path / "t.jsonl"))
    found = {p: list(n) for p, n in rows.select("positive", "negatives").rows()}
    assert found == {"x": ["n", "m"], "y": ["n", "m"], "z": []}


def test_pairs_judged_not_relevant_are_no_positives(tmp_path):
    write_lines(tmp_path / "t.csv", "question,answer,label", "a?,x,1", "b?,y,0")
    rows, _ = gather(tmp_path, triplets=str(tmp_path / "t.csv"))
    assert rows["positive"].to_list() == ["x"]
    write_lines(tmp_path / "nli.csv", "premise,hypothesis,label", "a,b,0", "c,d,2")
    with pytest.raises(InputError, match=r"nli\.csv: `label` holds 0, 2"):
        gather(tmp_path, triplets=str(tmp_path / "nli.csv"))
    rows, _ = gather(tmp_path, triplets=str(tmp_path / "nli.csv"), grades=[0])
    assert rows["positive"].to_list() == ["b"]


def test_broken_rows_of_parallel_texts_are_named_or_counted(tmp_path):
    lines = ["text_a\tlang_a\ttext_b\tlang_b\tscore", '"an otter\ten\tвыдра\tru\t0.9',
             "an owl\ten\t\tru\t0.8", "a fox\ten\tлиса\tru\thigh"]  # fmt: skip
    write_lines(tmp_path / "p.tsv", *lines)
    with pytest.raises(InputError, match=r"p\.tsv: `text_b` is null \(1 row\)") as caught:
        gather(tmp_path, parallel=str(tmp_path / "p.tsv"))
    assert "`score` is not a number (1 row)" in str(caught.value)
    rows, counts = gather(tmp_path, parallel=str(tmp_path / "p.tsv"), on_invalid="quarantine")
    assert set(rows["anchor"]) == {'"an otter', "выдра"}
    assert counts["dropped"] == {"rows that broke a rule": 2}
