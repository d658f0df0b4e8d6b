"""Splits of evaluation sets: which there are, what they keep, and what another table changes."""

import polars as pl
import pytest
from pydantic import ValidationError

from polymine.data_contracts.errors import InputError
from polymine.data_contracts.settings import EvaluationSet
from polymine.tasks.evaluation.sets import kind_of, open_collection, read_table
from tests.tasks.evaluation.small_sets import PAIRS, collect, name_tables, read, small, write


class TestSplits:
    SPLITS = pl.DataFrame({"query_id": ["q-en", "q-ru", "gone"], "split": ["train", "test", "dev"]})

    def test_a_split_restricts_the_queries_after_judgments_were_handed_on(self, tmp_path):
        found = collect(tmp_path, small() | {"splits": self.SPLITS}, split="test")
        assert found.queries["query_id"].to_list() == ["q-ru"]  # judged in English alone
        assert found.documents.height == 4
        assert found.judgments.rows() == [("q-ru", "a-en", 1), ("q-ru", "a-ru", 1)]

    def test_splits_in_lines_beside_named_tables_go_by_beirs_names(self, tmp_path):
        write(tmp_path / "set", small())
        lines = self.SPLITS.rename({"query_id": "query-id"})
        lines.write_ndjson(tmp_path / "set" / "splits.jsonl")
        found = open_collection(read(tmp_path, split="train", **name_tables(tmp_path)))
        assert found.queries["query_id"].to_list() == ["q-en"]

    def test_a_split_that_is_not_there_is_named_with_those_that_are(self, tmp_path):
        with pytest.raises(InputError, match="splits: has no 'val'; it has dev, test, train"):
            collect(tmp_path, small() | {"splits": self.SPLITS}, split="val")
        with pytest.raises(InputError, match="none of the 1 rows of 'dev', such as 'gone', is"):
            collect(tmp_path, small() | {"splits": self.SPLITS}, split="dev")

    def test_a_split_without_any_answer_is_refused_when_it_is_read(self, tmp_path):
        tables = small() | {"splits": pl.DataFrame({"query_id": ["q-en", "q-ru"],
                                                    "split": ["train", "test"]})}  # fmt: skip
        tables["query_translations"] = tables["query_translations"].clear()
        with pytest.raises(InputError, match="own: none of 1 queries has a relevant document"):
            collect(tmp_path, tables, split="test")

    def test_a_split_without_a_table_of_them_is_refused(self, tmp_path):
        with pytest.raises(InputError, match=r"no table `splits` \(query_id, split\); put one"):
            collect(tmp_path, small(), split="test")
        with pytest.raises(InputError, match="splits: has no column split; it has query_id"):
            collect(tmp_path, small() | {"splits": self.SPLITS.drop("split")}, split="test")

    def test_a_benchmark_has_splits_of_its_own(self):
        with pytest.raises(ValidationError, match="a benchmark has its own"):
            EvaluationSet(name="own", benchmark="STS17", split="test")

    def test_another_table_of_splits_is_another_set_where_one_is_asked_for(self, tmp_path):
        write(tmp_path / "set", small() | {"splits": self.SPLITS})
        whole, test, train = (read(tmp_path, split=name) for name in (None, "test", "train"))
        assert len({whole.fingerprint, test.fingerprint, train.fingerprint}) == 3
        write(tmp_path / "set", {"splits": self.SPLITS.reverse().head(2)})
        assert read(tmp_path, split="test").fingerprint != test.fingerprint
        assert read(tmp_path).reused

    @pytest.mark.parametrize("own", [True, False])
    @pytest.mark.parametrize("kind", ["similarity", "retrieval", "clustering"])
    def test_pairs_and_sentences_by_a_table_or_a_column(self, tmp_path, kind, own):
        splits = pl.DataFrame({"id": ["1", "2", "3"], "split": ["train", "test", "train"]})
        name, table, shard = {
            "similarity": ("pairs", PAIRS.with_columns(score=1.0), "pairs"),
            "retrieval": ("pairs", PAIRS, "documents"),
            "clustering": (
                "sentences",
                PAIRS.select("id", text="text_a", language="lang_a", label="text_b"),
                "sentences",
            ),
        }[kind]
        tables = {name: table.join(splits, on="id")} if own else {name: table, "splits": splits}
        write(tmp_path / "set", tables)
        reference = read(tmp_path, split="test")
        assert kind_of(reference) == kind
        texts = read_table(reference, shard).select(pl.col("^text(_a)?$")).to_series()
        assert "an owl" in texts.to_list()
        assert "an otter" not in texts.to_list()
        with pytest.raises(InputError, match="has no 'dev'; it has test, train"):
            read(tmp_path, split="dev")


def test_a_folder_of_the_hubs_shards_is_measured_by_its_split(tmp_path):
    """STS-B on the hub: `data/test-00000-of-00001-HASH.parquet` beside the one for training."""
    (tmp_path / "set").mkdir()
    for split, shift in (("train", 0), ("test", 10)):
        rows = PAIRS.with_columns(score=pl.Series([1.0, 2.0, 3.0]) + shift).drop("id")
        rows.write_parquet(tmp_path / "set" / f"{split}-00000-of-00001-abc123.parquet")
    reference = read(tmp_path, split="test")
    assert read_table(reference, "pairs")["gold"].to_list() == [11.0, 12.0, 13.0]
    with pytest.raises(InputError, match="a folder holds test and train"):
        read(tmp_path)


def test_collections_beside_notes_are_parts_and_ones_that_lack_something_are_said(tmp_path):
    for part in ("android", "english"):
        write(tmp_path / "set" / part, small())
    (tmp_path / "set" / "statistics.csv").write_text("set,queries\nandroid,5\n")
    whole = read_table(read(tmp_path), "documents")
    assert whole["doc_id"].str.starts_with("android/").any()
    next((tmp_path / "set" / "english").glob("corpus*")).unlink()
    with pytest.raises(InputError, match="english lacks corpus"):
        read(tmp_path)
