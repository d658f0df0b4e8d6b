"""What a folder of tables is taken for, and every public set in its right shape."""

import polars as pl
import pytest

from polymine.data_contracts.errors import InputError
from polymine.evaluation.local_sets import (
    parallel_set,
    sentence_set,
    set_kind,
    similarity_set,
)
from tests.public_data import public


def tables(name: str) -> dict[str, pl.DataFrame]:
    """All tables of a public set by their names, as a task hands them over."""
    return {path.stem: pl.read_parquet(path) for path in sorted(public(name).glob("*.parquet"))}


class TestKinds:
    def test_what_makes_no_set_is_told_what_it_lacks(self):
        with pytest.raises(InputError, match=r"corpus, queries and qrels, or pairs.* found qrels"):
            set_kind({"qrels": pl.DataFrame()})

    def test_pairs_are_scored_or_parallel_but_not_half(self):
        pairs = pl.DataFrame(
            {"id": ["1", "2"], "text_a": ["a", "b"], "lang_a": ["en"] * 2, "text_b": ["c", "d"],
             "lang_b": ["ru"] * 2}
        )  # fmt: skip
        assert set_kind({"pairs": pairs}) == "parallel"
        assert set_kind({"pairs": pairs.with_columns(score=2.5)}) == "similarity"
        assert similarity_set({"pairs": pairs.with_columns(score=2)})["gold"].dtype == pl.Float64
        with pytest.raises(InputError, match="1 of 2 have no score"):
            set_kind({"pairs": pairs.with_columns(score=pl.Series([1.0, None]))})
        with pytest.raises(InputError, match="none has both its languages among en; there are"):
            parallel_set({"pairs": pairs}, ["en"])
        with pytest.raises(InputError, match=r"no texts in fa\. There are first texts: en 2; sec"):
            parallel_set({"pairs": pairs}, ["fa", "en"])

    def test_a_split_needs_a_table_that_has_it(self):
        pairs = pl.DataFrame(
            {"id": ["1"], "text_a": ["a"], "lang_a": ["en"], "text_b": ["b"], "lang_b": ["en"],
             "score": [1.0]}
        )  # fmt: skip
        with pytest.raises(InputError, match="no table `splits`"):
            similarity_set({"pairs": pairs}, split="test")
        tables = {"pairs": pairs, "splits": pl.DataFrame({"id": ["1"], "split": ["dev"]})}
        with pytest.raises(InputError, match="splits: has no 'test'; it has dev"):
            similarity_set(tables, split="test")
        assert similarity_set(tables, split="dev").height == 1


class TestPublicSets:
    @pytest.mark.parametrize(
        ("name", "kind", "height"),
        [("sts17", "similarity", 1750), ("stsb-multi-mt", "similarity", 94908),
         ("tatoeba", "parallel", 17624), ("ntrex", "parallel", 37943)],
    )  # fmt: skip
    def test_pairs(self, name: str, kind: str, height: int):
        loaded = tables(name)
        assert set_kind(loaded) == kind
        if kind == "similarity":
            pairs = similarity_set(loaded)
            assert pairs.height == height
            assert pairs.null_count().sum_horizontal().item() == 0
        else:
            assert loaded["pairs"].height == height
            collection = parallel_set(loaded, ["ar", "en"])
            assert collection.languages == ("ar", "en")
            answered = collection.directions.filter(pl.col("document_language") != "*")
            cross = answered.filter(pl.col("document_language") != pl.col("query_language"))
            assert cross["left_out"].to_list() == [0, 0]

    def test_versions_of_a_pair_share_its_group_and_splits_are_kept_apart(self):
        pairs = similarity_set(tables("stsb-multi-mt"), ["en", "ru"], split="test")
        assert pairs.height == 2 * 1379
        assert pairs.group_by("group_id").len()["len"].to_list() == [2] * 1379

    def test_sentences(self):
        loaded = tables("sib200")
        assert set_kind(loaded) == "clustering"
        sentences = sentence_set(loaded, ["ru", "fa"])
        assert sentences.height == 2008
        assert sentences["label"].n_unique() == 7
        assert sentences.group_by("group_id").len()["len"].to_list() == [2] * 1004
        assert sentence_set(loaded, ["ru"], split="test").height == 204
