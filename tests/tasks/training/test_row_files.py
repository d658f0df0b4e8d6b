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


def test_files_that_number_their_rows_alike_do_not_mix(tmp_path):
    """Rows went together by ids alone, and most of the second file vanished."""
    for name in "ab":
        frame = pl.DataFrame({
            "query_id": ["0", "1"], "positive_id": ["0", "1"], "anchor": [f"{name}0?", f"{name}1?"],
            "positive": [f"{name} zero", f"{name} one"], "negative": [f"{name} no"] * 2,
        })  # fmt: skip
        frame.write_parquet(tmp_path / f"{name}.parquet")
    rows, counts = gather(tmp_path, triplets=[str(tmp_path / f"{name}.parquet") for name in "ab"])
    assert sorted(rows["anchor"]) == ["a0?", "a1?", "b0?", "b1?"]
    assert (counts["rows"], counts["merged"]) == (4, 0)


def test_copies_of_the_positive_and_of_the_query_are_no_negatives(tmp_path):
    record = {"query": "What is it?", "pos": ["The answer."],
              "neg": ["the  ANSWER.", "what is it?", "another", "Another "]}  # fmt: skip
    write_lines(tmp_path / "t.jsonl", record)
    rows, counts = gather(tmp_path, negatives=4, triplets=str(tmp_path / "t.jsonl"))
    assert rows["negatives"].to_list() == [["another"]]
    assert counts["dropped"] == {
        "negatives that are positives of their query, or copies": 2, "negatives repeated": 1,
    }  # fmt: skip


def test_one_column_of_languages_is_of_both_texts(tmp_path):
    write_lines(tmp_path / "t.csv", "query,positive,language", "wo?,hier,de", "where?,here,")
    rows, _ = gather(tmp_path, triplets=str(tmp_path / "t.csv"))
    languages = rows.select("anchor", "anchor_language", "positive_language").sort("anchor").rows()
    assert languages == [("where?", "und", "und"), ("wo?", "de", "de")]


@pytest.mark.parametrize("grade", ["0.9", "-1"])
def test_grades_are_read_as_in_mining(tmp_path, grade):
    write_lines(tmp_path / "t.csv", "query,positive,relevance", f"a?,x,{grade}", "b?,y,1")
    with pytest.raises(InputError, match="not a whole number from 0 to 127"):
        gather(tmp_path, triplets=str(tmp_path / "t.csv"))
    listed = {"query": "a?", "documents": ["x", "y"], "labels": [1, float(grade)]}
    write_lines(tmp_path / "l.jsonl", listed)
    with pytest.raises(InputError, match=f"`labels` hold {grade}"):
        gather(tmp_path, triplets=str(tmp_path / "l.jsonl"))
    rows, _ = gather(tmp_path, triplets=str(tmp_path / "l.jsonl"), grades=0.95)
    assert rows.select("positive", "negatives").rows() == [("x", ["y"])]


def test_what_is_judged_not_relevant_is_counted(tmp_path):
    write_lines(tmp_path / "t.csv", "query,positive,relevance", "a?,x,0", "b?,y,1")
    rows, counts = gather(tmp_path, triplets=str(tmp_path / "t.csv"))
    assert rows["positive"].to_list() == ["y"]
    assert counts["dropped"] == {"judged as not relevant": 1}


def test_weights_and_ids_go_by_any_case_and_marks_are_missing(tmp_path):
    lines = ["query,positive,negative,Weight", "a?,x,n,NaN", "b?,y,m,0.25"]
    write_lines(tmp_path / "t.csv", *lines)
    rows, _ = gather(tmp_path, triplets=str(tmp_path / "t.csv"))
    assert rows.sort("anchor")["weights"].to_list() == [[1.0], [0.25]]
    frame = pl.DataFrame({"query": ["a"], "positive": ["b"], "negative_score": [[0.5]]})
    frame.write_parquet(tmp_path / "n.parquet")
    with pytest.raises(InputError, match="`negative_score` should hold numbers, got List"):
        gather(tmp_path, triplets=str(tmp_path / "n.parquet"))


def test_scores_that_nobody_asked_for_are_said(tmp_path, caplog):
    head = "text_a\tlang_a\ttext_b\tlang_b\t"
    rows = ("an otter\ten\tвыдра\tru\t0", "an owl\ten\tсова\tru\t5")
    write_lines(tmp_path / "p.tsv", f"{head}score", *rows)
    gather(tmp_path, parallel=str(tmp_path / "p.tsv"))
    assert "`score` goes from 0 to 5" in caplog.text
    write_lines(tmp_path / "l.tsv", f"{head}is_translation", *rows[:1], rows[1][:-1] + "1")
    with pytest.raises(InputError, match=r"`is_translation` holds 0, 1.*`score = \"\"`"):
        gather(tmp_path, parallel=str(tmp_path / "l.tsv"))
    with pytest.raises(InputError, match="files of this kind have no `relevance`"):
        gather(
            tmp_path, parallel=str(tmp_path / "l.tsv"),
            columns={"relevance": "is_translation", "score": ""},
        )  # fmt: skip


def test_settings_of_other_data_are_refused():
    for said in ({"triplets": "x", "min_score": 0.5}, {"parallel": "x", "grades": [3]}):
        with pytest.raises(ValueError, match=r"`(min_score|grades)`"):
            StepSettings.model_validate({"name": "a", "data": [said]})


def test_a_language_is_a_code(tmp_path):
    write_lines(tmp_path / "p.tsv", "text_a\tsource_lang\ttext_b\ttarget_lang",
                "an otter\tEnglish\tвыдра\tru")  # fmt: skip
    with pytest.raises(InputError, match="should hold codes as `ru`, got `english`"):
        gather(tmp_path, parallel=str(tmp_path / "p.tsv"))


@pytest.mark.parametrize(
    ("texts", "numbers"), [("docs", "labels"), ("passages", "is_selected"), ("Documents", "Labels")]
)
def test_labelled_lists_go_by_the_names_of_the_field(tmp_path, texts, numbers):
    write_lines(tmp_path / "l.jsonl", {"query": "a?", texts: ["x", "y"], numbers: [0, 1]})
    rows, _ = gather(tmp_path, triplets=str(tmp_path / "l.jsonl"))
    assert rows.select("positive", "negatives").rows() == [("y", ["x"])]


def test_a_label_that_is_no_number_is_named_by_the_files_own_word(tmp_path):
    labels = [[1.0, float("nan")]]
    frame = pl.DataFrame({"query": ["a?"], "passages": [["x", "y"]], "is_selected": labels})
    frame.write_parquet(tmp_path / "l.parquet")
    with pytest.raises(InputError, match="`is_selected` hold nan"):
        gather(tmp_path, triplets=str(tmp_path / "l.parquet"))


def test_numbers_beside_a_list_of_positives_are_asked_about(tmp_path):
    write_lines(tmp_path / "l.jsonl", {"query": "a?", "positive": ["x", "y"], "picked": [0, 1]})
    with pytest.raises(InputError, match="`picked` holds a number for each text of `positive`"):
        gather(tmp_path, triplets=str(tmp_path / "l.jsonl"))
    scored = {
        "query": "a?",
        "pos": ["x", "y"],
        "neg": ["n"],
        "pos_scores": [2, 1],
        "neg_scores": [0],
    }
    write_lines(tmp_path / "s.jsonl", scored)
    assert gather(tmp_path, triplets=str(tmp_path / "s.jsonl"))[0].height == 2


def test_two_languages_in_one_column_are_no_code(tmp_path):
    for language, refused in (("en-fr", True), ("fra-eng", True), ("pt-br", False)):
        write_lines(tmp_path / "t.csv", "query,positive,language", f"a?,x,{language}")
        if refused:
            with pytest.raises(InputError, match=f"`language` holds {language}"):
                gather(tmp_path, triplets=str(tmp_path / "t.csv"))
        else:
            gather(tmp_path, triplets=str(tmp_path / "t.csv"))
    frame = pl.DataFrame({"query": ["a"], "positive": ["b"], "language": [["de"]]})
    frame.write_parquet(tmp_path / "l.parquet")
    with pytest.raises(InputError, match="`language` should hold one value a row"):
        gather(tmp_path, triplets=str(tmp_path / "l.parquet"))


def test_copies_of_known_texts_are_closed_in_every_batch(tmp_path):
    lines = ["query,positive", "What is it?,It is A.", "what  IS it?,It is B.", "Who?,IT IS  A."]
    write_lines(tmp_path / "t.csv", *lines)
    rows, _ = gather(tmp_path, triplets=str(tmp_path / "t.csv"))
    known = {(a, p) for a in ("What is it?", "what  IS it?")
             for p in ("It is A.", "It is B.", "IT IS  A.")}  # fmt: skip
    assert count_closed(rows, known | {("Who?", "It is A."), ("Who?", "IT IS  A.")}, batch=3) == 5


class TestSplits:
    def test_what_no_file_says_is_no_split(self, tmp_path):
        write_lines(tmp_path / "x-train.csv", "query,positive", "a?,x", "b?,y")
        with pytest.raises(InputError, match="no folder and no column `split` says which rows"):
            gather(tmp_path, triplets=str(tmp_path / "x-train.csv"), split="train")

    def test_a_column_is_asked_about_and_chosen_by(self, tmp_path):
        write_lines(tmp_path / "t.csv", "query,positive,split", "a?,x,train", "b?,y,test")
        with pytest.raises(InputError, match="`split` holds test, train; say which is meant"):
            gather(tmp_path, triplets=str(tmp_path / "t.csv"))
        rows, _ = gather(tmp_path, triplets=str(tmp_path / "t.csv"), split="train")
        assert rows["anchor"].to_list() == ["a?"]
        with pytest.raises(InputError, match="`split` has no 'dev'; it has test, train"):
            gather(tmp_path, triplets=str(tmp_path / "t.csv"), split="dev")

    def test_a_collections_judgments_are_of_one(self, tmp_path):
        write_lines(tmp_path / "corpus.jsonl", {"_id": "1", "text": "x"}, {"_id": "2", "text": "y"})
        write_lines(
            tmp_path / "queries.jsonl", {"_id": "a", "text": "?"}, {"_id": "b", "text": "!"}
        )
        header = "query-id\tcorpus-id\tscore"
        write_lines(tmp_path / "qrels/test.tsv", header, "a\t1\t1")
        write_lines(tmp_path / "qrels/train.tsv", header, "b\t2\t1")
        with pytest.raises(InputError, match="of test and train; say which are meant, as `split"):
            gather(tmp_path, collection=str(tmp_path))
        rows, _ = gather(tmp_path, collection=str(tmp_path), split="train")
        assert rows["anchor"].to_list() == ["!"]
