"""Every public evaluation set that is here, in its right shape."""

from pathlib import Path

import polars as pl
import pytest

from polymine.data_contracts.references import DatasetRef
from polymine.tasks.evaluation.sets import kind_of, open_collection, read_table
from tests.public_data import public
from tests.tasks.evaluation.small_sets import read


class TestPublicSets:
    def read(self, name: str, folder: Path, **chosen: object) -> DatasetRef:
        return read(folder, path=str(public(name)), **chosen)

    @pytest.mark.parametrize(
        ("name", "documents", "queries", "judgments"),
        [
            ("adi", 82, 35, 170), ("arcd", 460, 1395, 1395), ("cacm", 3200, 64, 795),
            ("cisi", 1460, 112, 3114), ("cranfield", 1398, 225, 1836),
            ("epqa-dev", 9702, 977, 9763), ("jaquad", 11144, 35685, 35685),
            ("lareqa-xquad-r", 13014, 13090, 143990), ("med", 1033, 30, 696),
            ("medquad", 15809, 14345, 16359), ("piaf", 761, 3815, 3815),
            ("pquad", 2157, 12054, 12054), ("pubmedqa", 1000, 1000, 1000),
            ("scifact", 5183, 1109, 1258), ("squad-dev", 2067, 10534, 10534),
            ("squad-it", 2007, 7584, 7584), ("tquad", 2117, 8358, 8358),
            ("xquad", 2880, 14280, 14280),
        ],
    )  # fmt: skip
    def test_retrieval(self, tmp_path, name, documents, queries, judgments):
        # Four documents of CACM have the word None for a text.
        quarantine = "quarantine" if name == "cacm" else "fail"
        reference = self.read(name, tmp_path, on_invalid=quarantine, copies="keep")
        assert kind_of(reference) == "retrieval"
        found = open_collection(reference)
        heights = (found.documents.height, found.queries.height, found.judgments.height)
        assert heights == (documents, queries, judgments)
        judged = pl.read_parquet(public(name) / "qrels.parquet").filter(pl.col("relevance") > 0)
        judged = judged.join(found.documents, on="doc_id", how="semi")
        assert judged.join(found.relevant, on=["query_id", "doc_id"], how="anti").is_empty()

    def test_groups_of_xquad_are_in_every_language_and_restrict_with_it(self, tmp_path):
        found = open_collection(self.read("xquad", tmp_path, languages=("ar", "ru")))
        assert found.documents.group_by("group_id").len()["len"].to_list() == [2] * 240
        assert found.queries.group_by("group_id").len()["len"].to_list() == [2] * 1190
        assert found.judgments.height == 4 * 1190

    def test_lareqa_names_the_sentence_of_every_language(self, tmp_path):
        languages = ("ar", "en", "es", "ru")
        found = open_collection(self.read("lareqa-xquad-r", tmp_path, languages=languages))
        assert found.judgments.group_by("query_id").len()["len"].to_list() == [4] * (4 * 1190)

    def test_groups_of_squad_it_reach_outside_and_break_nothing(self, tmp_path):
        found = open_collection(self.read("squad-it", tmp_path))
        groups = found.documents["group_id"].drop_nulls()
        assert groups.n_unique() == len(groups) == 1824
        assert found.relevant.height == 7584

    def test_epqa_keeps_what_was_judged_not_relevant(self, tmp_path):
        judged = open_collection(self.read("epqa-dev", tmp_path)).judgments
        assert judged.filter(relevance=0).height == 6408

    @pytest.mark.parametrize(
        ("name", "split", "queries"),
        [("scifact", "validation", 300), ("pubmedqa", "test", 500), ("tquad", "dev", 696)],
    )
    def test_splits_of_retrieval(self, tmp_path, name, split, queries):
        found = open_collection(self.read(name, tmp_path, split=split, copies="keep"))
        assert found.queries.height == queries
        assert found.documents.height == pl.read_parquet(public(name) / "corpus.parquet").height
        assert set(found.judgments["query_id"]) <= set(found.queries["query_id"])

    @pytest.mark.parametrize(
        ("name", "shard", "height"),
        [("stsb-multi-mt", "pairs", 15169), ("sib200", "sentences", 4080)],
    )
    def test_splits_of_pairs_and_sentences(self, tmp_path, name, shard, height):
        assert read_table(self.read(name, tmp_path, split="test"), shard).height == height

    @pytest.mark.parametrize(("name", "height"), [("sts17", 1750), ("stsb-multi-mt", 94908)])
    def test_scored_pairs(self, tmp_path, name, height):
        # Four documents of CACM have the word None for a text.
        reference = self.read(name, tmp_path, on_invalid="quarantine" if name == "cacm" else "fail")
        assert kind_of(reference) == "similarity"
        assert read_table(reference, "pairs").height == height

    @pytest.mark.parametrize("name", ["tatoeba", "ntrex"])
    def test_parallel_pairs(self, tmp_path, name):
        reference = self.read(name, tmp_path, languages=("ar", "en"))
        assert kind_of(reference) == "retrieval"
        found = open_collection(reference)
        assert found.languages == ("ar", "en")
        cross = found.directions.filter(
            pl.col("document_language") != "*",
            pl.col("document_language") != pl.col("query_language"),
        )
        assert cross["left_out"].to_list() == [0, 0]

    def test_labelled_sentences(self, tmp_path):
        reference = self.read("sib200", tmp_path, languages=("ru", "fa"))
        assert kind_of(reference) == "clustering"
        assert read_table(reference, "sentences").height == 2008
