"""Pair files: columns, ids, lists of positives, and pairs that are none."""

import json
from pathlib import Path

import polars as pl
import pytest

from polymine.data_contracts.errors import InputError
from polymine.data_contracts.settings import DatasetSettings
from polymine.mining.ingestion import ingest
from polymine.tasks.sources.reading import RawTables, check_raw, read_sources
from tests.tasks.sources.small_sources import failure, read, write_lines, write_tables


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return write_tables(tmp_path)


class TestPairs:
    def pairs(self, folder: Path, frame: pl.DataFrame, **named: object) -> RawTables:
        frame.write_parquet(folder / "pairs.parquet")
        return read(named.pop("corpus", None), pairs=folder / "pairs.parquet", **named)

    def test_ids_are_hashes_and_identical_texts_one_row(self, tmp_path):
        frame = pl.DataFrame({"anchor": ["a?", "a?", "b?"], "positive": ["x", "y", "x"]})
        raw = self.pairs(tmp_path, frame)
        assert sorted(raw.queries["text"]) == ["a?", "b?"]
        assert sorted(raw.documents["text"]) == ["x", "y"]
        assert raw.judgments.height == 3
        assert raw.documents["doc_id"].str.contains("^d-[0-9a-f]{16}$").all()
        assert raw.queries["query_id"].str.contains("^q-[0-9a-f]{16}$").all()

    @pytest.mark.parametrize(
        ("anchor", "positive"),
        [("query", "passage"), ("question", "answer"), ("sentence1", "sentence2"), ("in", "out")],
    )
    def test_columns_by_name_or_else_the_only_two_texts(self, tmp_path, anchor, positive):
        frame = pl.DataFrame({"id": ["1"], anchor: ["a?"], positive: ["x"], "negative": ["n"]})
        raw = self.pairs(tmp_path, frame)
        assert raw.queries["text"].to_list() == ["a?"]
        assert sorted(raw.documents["text"]) == ["n", "x"]
        assert raw.judgments.height == raw.given.height == 1

    def test_a_folder_with_a_split_for_testing_is_asked_about(self, tmp_path):
        from datasets import Dataset, DatasetDict

        rows = {"query": ["a?", "b?"], "positive": ["x", "y"]}
        parts = {"train": Dataset.from_dict(rows), "test": Dataset.from_dict(rows)}
        DatasetDict(parts).save_to_disk(tmp_path / "saved")
        error = failure(pairs=tmp_path / "saved")
        assert "a folder holds test and train" in error
        assert f"{tmp_path}/saved/test/data-00000-of-00001.arrow" in error
        assert read(None, pairs=tmp_path / "saved" / "train").queries.height == 2
        both = [tmp_path / "saved" / split for split in parts]
        assert read(None, pairs=both).queries.height == 2

    @pytest.mark.parametrize("form", ["csv", "tsv", "jsonl", "parquet"])
    def test_columns_that_the_settings_name_are_taken(self, tmp_path, form):
        """They were looked for before any file was read, and so never found."""
        frame = pl.DataFrame({"prompt": ["a?", "b?"], "chosen": ["x", "y"], "best": ["no", "no"]})
        path = tmp_path / f"x.{form}"
        {"csv": frame.write_csv, "jsonl": frame.write_ndjson, "parquet": frame.write_parquet,
         "tsv": lambda to: frame.write_csv(to, separator="\t")}[form](path)  # fmt: skip
        said = {"query": "prompt", "positive": "best"}
        raw = read_sources(DatasetSettings(pairs=str(path), columns=said))
        assert sorted(raw.documents["text"]) == ["no"]
        tables = write_tables(tmp_path)
        pl.read_parquet(tables / "queries.parquet").rename({"text": "asked"}).write_parquet(
            tables / "queries.parquet"
        )
        raw = read_sources(DatasetSettings(corpus=str(tables), columns={"query": "asked"}))
        assert raw.queries["text"].to_list() == ["apples?", "pears?"]
        said = {"title": "nowhere", "query": "asked"}
        with pytest.raises(InputError, match=r"columns.title: no file has a column `nowhere`"):
            read_sources(DatasetSettings(corpus=str(tables), columns=said))

    def test_a_shard_that_is_missing_is_missed(self, tmp_path):
        for number in (0, 2):
            frame = pl.DataFrame({"query": [f"{number}?"], "positive": ["x"]})
            frame.write_parquet(tmp_path / f"train-0000{number}-of-00003.parquet")
        for named in (tmp_path, tmp_path / "train"):
            assert "of 3 files train-* 2 are there" in failure(pairs=named)

    def test_shards_go_by_the_name_that_they_share(self, tmp_path):
        for number in range(2):
            frame = pl.DataFrame({"query": [f"{number}?"], "positive": ["x"]})
            frame.write_parquet(tmp_path / f"train-0000{number}-of-00002.parquet")
            frame.write_parquet(tmp_path / f"test-0000{number}-of-00002.parquet")
        raw = read(None, pairs=tmp_path / "train")
        assert sorted(raw.queries["text"]) == ["0?", "1?"]
        assert raw.understood[1].file == f"{tmp_path}/train-00001-of-00002.parquet"

    def test_a_list_of_positives_is_several_and_a_string_is_one(self, tmp_path):
        lists = pl.DataFrame({"query": ["a?"], "pos": [["x one", "y two"]]})
        assert sorted(self.pairs(tmp_path, lists).documents["text"]) == ["x one", "y two"]
        strings = pl.DataFrame({"query": ["a?"], "pos": ["x one"]})
        assert self.pairs(tmp_path, strings).documents["text"].to_list() == ["x one"]

    def test_a_string_among_lists_is_neither_iterated_nor_taken(self, tmp_path):
        path = write_lines(
            tmp_path / "p.jsonl",
            {"query": "a?", "pos": ["x"]},
            {"query": "b?", "pos": ["y"]},
            {"query": "c?", "pos": "abc"},
        )
        message = failure(pairs=path)
        assert "`pos` is a string, not a list of strings as in most lines (1 row)" in message
        raw = read(pairs=path, on_invalid="quarantine")
        assert sorted(raw.documents["text"]) == ["x", "y"]
        assert json.loads(raw.rows_rejected["row"][0])["pos"] == "abc"

    @pytest.mark.parametrize(
        ("anchor", "positive", "rule"),
        [
            (None, ["x"], "`anchor` is null"),
            (" ", ["x"], "`anchor` is empty"),
            ("a?", None, "`positive` is null"),
            ("a?", [], "`positive` is empty"),
            ("a?", ["x", " "], "`positive` is empty"),
            ("a?", [None], "`positive` is empty"),
        ],
    )
    def test_pairs_that_lack_a_text(self, tmp_path, anchor, positive, rule):
        frame = pl.DataFrame(
            {"anchor": ["ok?", anchor], "positive": [["fine"], positive]},
            schema={"anchor": pl.String, "positive": pl.List(pl.String)},
        )
        frame.write_parquet(tmp_path / "pairs.parquet")
        message = failure(pairs=tmp_path / "pairs.parquet")
        assert f"pairs.parquet: {rule} (1 row)" in message
        raw = self.pairs(tmp_path, frame, on_invalid="quarantine")
        assert raw.documents["text"].to_list() == ["fine"]
        assert raw.rows_rejected["rule"].to_list() == [rule]

    def test_wrong_types_and_missing_columns(self, tmp_path):
        pl.DataFrame({"query": [1], "pos": ["x"]}).write_parquet(tmp_path / "a.parquet")
        pl.DataFrame({"query": ["x"], "n": [1]}).write_parquet(tmp_path / "b.parquet")
        message = failure(pairs=[tmp_path / "a.parquet", tmp_path / "b.parquet"])
        assert "a.parquet: column `anchor` should hold strings, got Int64" in message
        assert "b.parquet: pairs need two text columns" in message

    def test_positives_that_are_ids_of_the_corpus_are_no_texts(self, folder):
        pl.DataFrame({"query": ["a?"], "pos": [["d1"]]}).write_parquet(folder / "pairs.parquet")
        message = failure(folder / "corpus.parquet", pairs=folder / "pairs.parquet")
        assert "`positive` holds ids of the corpus, as d1" in message

    def test_positives_join_the_corpus(self, folder):
        frame = pl.DataFrame({"query": ["a?"], "answer": ["red apples"]})
        raw = self.pairs(folder, frame, corpus=folder / "corpus.parquet")
        assert raw.documents.height == 3
        result = ingest(raw.documents, raw.queries, raw.judgments)
        assert result.documents.height == 2
        assert result.closure.height == 1

    def test_languages_and_labels(self, tmp_path):
        frame = pl.DataFrame(
            {"query": ["a?", "a?"], "lang_a": ["de", "de"], "passage": ["x", "y"],
             "lang_b": ["fr", None], "label": [1, 0]}
        )  # fmt: skip
        raw = self.pairs(tmp_path, frame, language="en")
        assert raw.queries["language"].to_list() == ["de"]
        assert dict(raw.documents.select("text", "language").iter_rows()) == {"x": "fr", "y": "en"}
        assert sorted(raw.judgments["relevance"]) == [0, 1]


class TestCandidates:
    def test_rankings_of_several_systems_are_one_set_and_must_be_of_the_data(self, folder):
        for name, ids in (("a.run", ("d1", "d2")), ("b.run", ("d2",)), ("c.run", ("nobody",))):
            path = folder / f"{name}.trec"
            path.write_text("".join(f"q1 Q0 {each} 1 3.5 {name}\n" for each in ids))
        tables = {"queries": folder / "queries.parquet", "judgments": folder / "qrels.parquet"}
        runs = [folder / "a.run.trec", folder / "b.run.trec"]
        raw = read(folder / "corpus.parquet", candidates=runs, **tables)
        assert raw.given.rows() == [("q1", "d1"), ("q1", "d2")]
        dangling = read(folder / "corpus.parquet", candidates=folder / "c.run.trec", **tables)
        with pytest.raises(InputError, match=r"c\.run\.trec: `doc_id` is not in .*corpus"):
            check_raw(dangling, "fail")
        assert check_raw(dangling, "quarantine").given.height == 0
