"""Inputs that were misread once, each with what its author rightly expects."""

import gzip
import shutil
from pathlib import Path

import datasets
import polars as pl
import pytest

from polymine.data_contracts.errors import InputError
from polymine.data_contracts.settings import DatasetSettings
from polymine.mining.ingestion import ingest
from polymine.reading.understood import describe
from polymine.tasks.mining.trainer_formats import TrainerFiles
from polymine.tasks.sources.reading import RawTables, read_sources
from tests.mining.small_triplets import TWO
from tests.tasks.sources.small_sources import failure, read, write_lines

CASES = Path(__file__).parent / "cases"
ANSWERS = ["Picasso painted Guernica in 1937.", "Lima is the capital of Peru.",
           "The Pacific is the largest ocean.", "Goethe wrote Faust."]  # fmt: skip


def pairs_of(raw: RawTables) -> dict[str, str]:
    asked = dict(raw.queries.select("query_id", "text").rows())
    passages = dict(raw.documents.select("doc_id", "text").rows())
    return {asked[q]: passages[d] for q, d in raw.judgments.select("query_id", "doc_id").rows()}


def test_quotation_marks_in_tsv_are_letters():
    pairs = pairs_of(read(pairs=CASES / "tsv-quotes" / "pairs.tsv"))
    assert len(pairs) == 7
    assert pairs['"the office best season'] == "Many viewers prefer the third season."
    assert pairs['"moby dick author'] == "Herman Melville wrote the book."


def test_an_index_without_a_name_is_no_query():
    raw = read(pairs=CASES / "unnamed-index" / "export.csv")
    assert pairs_of(raw)["Where is Kiel?"] == "Kiel lies on the Baltic Sea."
    about = raw.understood[0]
    assert dict(about.columns) == {"anchor": "prompt", "positive": "response"}
    assert "5 rows; comma, no quotes, a header; anchor = `prompt`" in describe(about)


def test_nan_in_json_is_missing():
    folder = CASES / "nan-in-jsonl"
    named = {"queries": folder / "queries.jsonl", "judgments": folder / "qrels.tsv"}
    raw = read(folder / "corpus.jsonl", **named)
    assert raw.documents["text"].to_list() == [
        "Rain fell on the whole coast.", "Snow Snow lay in the hills.", None, None,
        "Wind Wind bent the trees.",
    ]  # fmt: skip
    kept = ingest(raw.documents, raw.queries, raw.judgments, on_invalid="quarantine")
    assert kept.documents.height == 3
    assert kept.queries["text"].to_list() == ["where did it rain"]


@pytest.mark.parametrize(
    ("form", "columns", "ignored"),
    [
        ("tevatron", ("query", "positive_passages", "negative_passages"), ("query_id",)),
        ("ms-swift", ("messages", "positive_messages", "negative_messages"), ()),
        ("flagembedding", ("query", "pos", "neg"), ("prompt",)),
    ],
)
def test_trainers_own_formats(form, columns, ignored):
    raw = read(pairs=CASES / "trainers" / f"{form}.jsonl")
    taken = tuple(zip(("anchor", "positive", "negative"), columns, strict=True))
    assert (raw.understood[0].columns, raw.understood[0].ignored) == (taken, ignored)
    assert sorted(pairs_of(raw).values()) == sorted(ANSWERS)
    assert raw.documents.height == 8  # their negatives are candidates ...
    assert raw.given.height == 4  # ... and known to have been given
    assert raw.judgments["relevance"].to_list() == [1.0] * 4  # of positives alone


def test_nemo_inline_and_triplets_and_n_tuples(tmp_path):
    records = [
        {"question": "a?", "pos_doc": ["x"], "neg_doc": [{"text": "n"}]},
        {"question": "b?", "pos_doc": "y", "neg_doc": []},
    ]
    write_lines(tmp_path / "nemo.json", {"data": records})
    raw = read(pairs=tmp_path / "nemo.json")
    assert (pairs_of(raw), raw.given.height) == ({"a?": "x", "b?": "y"}, 1)
    wide = {"anchor": ["a?"], "positive": ["x"], "negative_1": ["n"], "negative_2": ["m"]}
    pl.DataFrame(wide).write_parquet(tmp_path / "wide.parquet")
    assert read(pairs=tmp_path / "wide.parquet").documents["text"].sort().to_list() == [
        "m",
        "n",
        "x",
    ]


def test_other_forms_of_trainers(tmp_path):
    """Labelled lists, DPR's contexts, ms-swift's rejected responses, Tevatron's ids."""
    passages = [{"title": "T", "text": "x"}], [{"title": "", "text": "n"}]
    write_lines(tmp_path / "corpus.jsonl", *({"_id": t, "text": t} for t in ("x", "n")))
    rows = {
        "labelled": {"anchor": "a?", "documents": ["n", "x"], "labels": [0, 1]},
        "dpr": {"question": "a?", "answers": ["x"], "positive_ctxs": passages[0],
                "negative_ctxs": [], "hard_negative_ctxs": passages[1]},
        "swift": {"query": "a?", "response": "x", "rejected_response": ["n"]},
        "ids": {"query_id": "7", "query_text": "a?", "positive_document_ids": ["x"],
                "negative_document_ids": ["n"]},
    }  # fmt: skip
    for name, row in rows.items():
        write_lines(tmp_path / f"{name}.jsonl", row)
        corpus = tmp_path / "corpus.jsonl" if name == "ids" else None
        raw = read(corpus, pairs=tmp_path / f"{name}.jsonl")
        assert pairs_of(raw) == {"a?": "T x" if name == "dpr" else "x"}
        given = raw.documents.join(raw.given, on="doc_id", how="semi")
        assert given["text"].to_list() == ["n"]
    write_lines(tmp_path / "odd.jsonl", {"anchor": "a?", "documents": ["n", "x"], "labels": [1]})
    assert "not one label (a number) for each" in failure(pairs=tmp_path / "odd.jsonl")


@pytest.mark.parametrize("form", ["flagembedding", "tevatron", "ms-swift", "nemo"])
def test_what_export_writes_is_read(tmp_path, form):
    TrainerFiles(tmp_path, form, "0" * 32).write_block(0, TWO)
    path = next(tmp_path.glob("part-00000.*"))
    if form == "nemo":
        with pytest.raises(InputError, match=r"part-00000\.json: names documents by their ids"):
            read(pairs=path)
    raw = read(tmp_path / "corpus" if form == "nemo" else None, pairs=path)
    result = ingest(raw.documents, raw.queries, raw.judgments)
    texts = dict(result.documents.select("doc_id", "text").rows())
    asked = dict(result.queries.select("query_id", "text").rows())
    known = {(asked[q], texts[d]) for q, d in result.judgments.select("query_id", "doc_id").rows()}
    assert known == set(TWO.select("anchor", "positive").rows())
    assert set(texts.values()) == {*TWO["positive"], *TWO["negative"]}
    assert raw.given.height == TWO.select("anchor", "negative").unique().height


def test_json_arrays_and_folders_of_save_to_disk(tmp_path):
    rows = [{"query": "a?", "positive": "x"}, {"query": "b?", "positive": "y"}]
    write_lines(tmp_path / "array.json", str(rows).replace("'", '"'))
    datasets.Dataset.from_list(rows).save_to_disk(tmp_path / "saved")
    saved = datasets.load_from_disk(tmp_path / "saved")
    saved.map(lambda row: {"query": row["query"].upper()})  # leaves its result in the folder
    assert list((tmp_path / "saved").glob("cache-*.arrow"))
    for source in ("array.json", "saved"):
        assert pairs_of(read(pairs=tmp_path / source)) == {"a?": "x", "b?": "y"}


def test_collections_nested_in_a_folder_keep_their_ids_apart(tmp_path):
    for name in ("android", "english"):
        part = tmp_path / name
        write_lines(part / "corpus.jsonl", {"_id": "1", "text": f"on {name}"})
        write_lines(part / "queries.jsonl", {"_id": "1", "text": f"{name}?"})
        write_lines(part / "qrels" / "test.tsv", "query-id\tcorpus-id\tscore", "1\t1\t1")
    raw = read(tmp_path)
    assert raw.documents["doc_id"].to_list() == ["android/1", "english/1"]
    assert pairs_of(raw) == {"android?": "on android", "english?": "on english"}


def test_ms_marcos_files(tmp_path):
    write_lines(tmp_path / "collection.tsv", "7\tRed apples.", '8\t"Green" pears.')
    write_lines(tmp_path / "queries.tsv", "1\tapples?")
    (tmp_path / "qrels.tsv.gz").write_bytes(gzip.compress(b"1\t0\t7\t1\n"))
    named = {"queries": tmp_path / "queries.tsv", "judgments": tmp_path / "qrels.tsv.gz"}
    raw = read(tmp_path / "collection.tsv", **named)
    assert raw.documents["text"].to_list() == ["Red apples.", '"Green" pears.']
    assert pairs_of(raw) == {"apples?": "Red apples."}


def test_what_pandas_writes(tmp_path):
    import pandas as pd

    frame = pd.DataFrame(
        {"doc_id": ["a", "b"], "text": ["x", "y"], "title": [float("nan")] * 2,
         "language": pd.Categorical(["en", "de"])}, index=[5, 9],
    )  # fmt: skip
    frame.to_parquet(tmp_path / "corpus.parquet")
    pd.DataFrame({"query_id": ["q"], "text": ["x?"]}).to_csv(tmp_path / "queries.csv")
    judged = {"query_id": ["q"], "doc_id": ["a"], "relevance": [1.0]}
    pd.DataFrame(judged).to_csv(tmp_path / "qrels.csv", index=False)
    raw = read(tmp_path)
    assert raw.documents.select("text", "language").rows() == [("x", "en"), ("y", "de")]
    assert ingest(raw.documents, raw.queries, raw.judgments).judgments["relevance"].to_list() == [1]


def test_texts_as_categories_and_lists_of_one_length(tmp_path):
    frame = pl.DataFrame({"query": ["a?", "a?", "b?"], "positive": [["x"], ["y"], ["z"]]})
    kinds = {"query": pl.Categorical, "positive": pl.Array(pl.String, 1)}
    frame.cast(kinds).write_parquet(tmp_path / "pairs.parquet")
    raw = read(pairs=tmp_path / "pairs.parquet")
    assert (raw.queries.height, raw.judgments.height) == (2, 3)


def test_texts_that_nobody_can_see_are_empty(tmp_path):
    texts = [("a?", "x"), ("\u200b\u00ad", "y"), ("b?", "\x00"), ("c?", "\u2800\u3164\ufe0f")]
    write_lines(tmp_path / "pairs.jsonl", *({"query": q, "positive": p} for q, p in texts))
    message = failure(pairs=tmp_path / "pairs.jsonl")
    assert "`anchor` is empty (1 row)" in message
    assert "`positive` is empty (2 rows)" in message


def test_a_column_that_no_file_has_is_named(tmp_path):
    shutil.copy(CASES / "unnamed-index" / "export.csv", tmp_path / "pairs.csv")
    said = {"pairs": str(tmp_path / "pairs.csv"), "columns": {"language": "tongue"}}
    with pytest.raises(InputError, match=r"columns\.language: no file has a column `tongue`"):
        read_sources(DatasetSettings.model_validate(said))
