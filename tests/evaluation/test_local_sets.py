"""What a folder of tables is taken for, and every public set in its right shape."""

from pathlib import Path

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from data_contracts.errors import InputError
from polymine.evaluation.local_sets import (
    parallel_set,
    retrieval_set,
    sentence_set,
    set_kind,
    similarity_set,
)

DATA = Path(__file__).parents[2].parent / "shared" / "data"


def tables(name: str) -> dict[str, pl.DataFrame]:
    """All tables of a public set by their names, as a task hands them over."""
    if not (DATA / name).is_dir():
        pytest.skip(f"no {name} data here")
    return {path.stem: pl.read_parquet(path) for path in sorted((DATA / name).glob("*.parquet"))}


def small() -> dict[str, pl.DataFrame]:
    """Two documents in two languages each, one question, one judgment of each kind."""
    return {
        "corpus": pl.DataFrame(
            {
                "doc_id": ["a-en", "a-ru", "b-en", "b-ru"],
                "text": ["otters swim ", "выдры плавают", "owls fly", "совы летают"],
                "title": ["Otter", None, "", " Сова"],
                "language": ["en", "ru", "en", "ru"],
            }
        ),
        "queries": pl.DataFrame({"query_id": ["q"], "text": ["who swims?"], "language": ["en"]}),
        "qrels": pl.DataFrame(
            {"query_id": ["q", "q"], "doc_id": ["a-en", "b-en"], "relevance": [1, 0]}
        ),
        "translations": pl.DataFrame(
            {"doc_id": ["a-en", "a-ru", "elsewhere"], "group_id": ["a", "a", "a"]}
        ),
    }


class TestRetrieval:
    def test_a_title_stands_before_the_text_as_in_mteb(self):
        texts = retrieval_set(small()).documents["text"].to_list()
        assert texts == ["Otter otters swim", "выдры плавают", "owls fly", "Сова совы летают"]
        plain = retrieval_set(small(), title=False).documents["text"].to_list()
        assert plain == small()["corpus"]["text"].to_list()

    def test_groups_come_from_translations_and_a_lone_text_has_none(self):
        frames = retrieval_set(small())
        assert frames.documents["group_id"].to_list() == ["a", "a", None, None]
        assert frames.queries["group_id"].to_list() == [None]

    def test_judged_not_relevant_stays_a_judgment(self):
        assert retrieval_set(small()).judgments["relevance"].to_list() == [1, 0]

    def test_only_texts_and_judgments_of_the_languages_are_left(self):
        frames = retrieval_set(small(), ["en"])
        assert frames.documents["doc_id"].to_list() == ["a-en", "b-en"]
        frames = retrieval_set(small(), ["ru"])
        assert frames.queries.is_empty()
        assert frames.judgments.is_empty()

    def test_a_judgment_reaches_the_languages_that_are_left(self):
        # The question is asked in Russian too, and judged in English alone.
        asked = pl.DataFrame(
            {"query_id": ["q", "q-ru"], "text": ["who?", "кто?"], "language": ["en", "ru"]}
        )
        both = pl.DataFrame({"query_id": ["q", "q-ru"], "group_id": ["?", "?"]})
        tables = small() | {"queries": asked, "query_translations": both}
        assert retrieval_set(tables, ["ru"]).judgments.rows() == [("q-ru", "a-ru", 1)]

    def test_a_language_that_is_not_there_is_named_with_those_that_are(self):
        with pytest.raises(InputError, match=r"no texts in fa\. There are documents: en 2, ru 2"):
            retrieval_set(small(), ["en", "fa"])

    @pytest.mark.parametrize(
        ("table", "column", "message"),
        [
            ("corpus", "text", "corpus: has no column text; it has doc_id"),
            ("queries", "language", "queries: has no column language"),
            ("qrels", "relevance", "qrels: has no column relevance"),
            ("translations", "group_id", "translations: has no column group_id"),
        ],
    )
    def test_a_missing_column_is_named(self, table: str, column: str, message: str):
        with pytest.raises(InputError, match=message):
            retrieval_set(small() | {table: small()[table].drop(column)})

    @pytest.mark.parametrize("table", ["corpus", "queries", "qrels", "translations"])
    def test_an_id_that_stands_twice_is_refused(self, table: str):
        twice = pl.concat([small()[table], small()[table].head(1)])
        with pytest.raises(InputError, match=r"stands twice|expected one row per"):
            retrieval_set(small() | {table: twice})

    def test_a_judgment_of_nothing_is_named(self):
        stray = small()["qrels"].with_columns(doc_id=pl.lit("nowhere") + pl.col("doc_id"))
        with pytest.raises(
            InputError, match="2 rows name a doc_id that is not there, as `nowherea"
        ):
            retrieval_set(small() | {"qrels": stray})

    @given(kept=st.sets(st.sampled_from(["en", "ru"]), min_size=1))
    def test_no_judgment_dangles_whatever_the_languages(self, kept: set[str]):
        frames = retrieval_set(small(), kept)
        assert set(frames.judgments["doc_id"]) <= set(frames.documents["doc_id"])
        assert set(frames.judgments["query_id"]) <= set(frames.queries["query_id"])
        assert set(frames.documents["language"]) <= kept


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
        with pytest.raises(InputError, match="no table `splits`"):
            retrieval_set(small(), split="test")
        splits = pl.DataFrame({"query_id": ["q"], "split": ["dev"]})
        with pytest.raises(InputError, match="splits: has no 'test'; it has dev"):
            retrieval_set(small() | {"splits": splits}, split="test")
        assert retrieval_set(small() | {"splits": splits}, split="dev").queries.height == 1


class TestPublicSets:
    @pytest.mark.parametrize(
        ("name", "documents", "queries", "judgments"),
        [
            ("adi", 82, 35, 170), ("arcd", 460, 1395, 1395), ("cacm", 3204, 64, 796),
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
    def test_retrieval(self, name: str, documents: int, queries: int, judgments: int):
        loaded = tables(name)
        assert set_kind(loaded) == "retrieval"
        frames = retrieval_set(loaded)
        found = (frames.documents.height, frames.queries.height, frames.judgments.height)
        assert found == (documents, queries, judgments)
        judged = loaded["qrels"].filter(pl.col("relevance") > 0)
        assert judged.join(frames.relevant, on=["query_id", "doc_id"], how="anti").is_empty()

    def test_groups_of_xquad_are_in_every_language_and_restrict_with_it(self):
        frames = retrieval_set(tables("xquad"), ["ar", "ru"])
        assert frames.documents.group_by("group_id").len()["len"].to_list() == [2] * 240
        assert frames.queries.group_by("group_id").len()["len"].to_list() == [2] * 1190
        assert frames.judgments.height == 4 * 1190

    def test_lareqa_names_the_sentence_of_every_language(self):
        frames = retrieval_set(tables("lareqa-xquad-r"), ["ar", "en", "es", "ru"])
        per_query = frames.judgments.group_by("query_id").len()["len"]
        assert per_query.to_list() == [4] * (4 * 1190)

    def test_groups_of_squad_it_reach_outside_and_break_nothing(self):
        frames = retrieval_set(tables("squad-it"))
        groups = frames.documents["group_id"].drop_nulls()
        assert groups.n_unique() == len(groups) == 1824
        assert frames.relevant.height == 7584

    def test_epqa_keeps_what_was_judged_not_relevant(self):
        judged = retrieval_set(tables("epqa-dev")).judgments["relevance"].value_counts()
        assert dict(judged.rows())[0] == 6408

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
