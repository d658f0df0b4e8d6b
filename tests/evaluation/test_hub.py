"""Belebele by MTEB's procedure and XQuAD across languages, from made-up rows and a folder."""

from pathlib import Path

import polars as pl
import pytest

from polymine.data_contracts.errors import InputError
from polymine.evaluation import hub
from polymine.evaluation.belebele import belebele_choice, belebele_collection, load_belebele
from polymine.evaluation.collection import EvaluationCollection
from polymine.evaluation.languages import flores_code, short_code
from polymine.evaluation.xquad import load_xquad, xquad_collection
from tests.evaluation.small_hub import belebele_rows, mteb_belebele, write_hub_folder
from tests.public_data import public

LANGUAGES = ("ru", "ar", "en")


def direction(frames: EvaluationCollection, documents: str, queries: str) -> dict[str, set[str]]:
    """Texts of relevant documents by query text, document language first."""
    joined = (
        frames.relevant.join(frames.documents.filter(pl.col("language") == documents), on="doc_id")
        .join(frames.queries.filter(pl.col("language") == queries), on="query_id", suffix="_asked")
        .group_by("text_asked")
        .agg("text")
    )
    return {query: set(texts) for query, texts in joined.rows()}


class TestBelebele:
    @pytest.mark.parametrize("documents", LANGUAGES)
    @pytest.mark.parametrize("queries", LANGUAGES)
    def test_every_direction_is_that_of_mteb(self, documents: str, queries: str):
        rows = belebele_rows(LANGUAGES)
        frames = belebele_collection(rows)
        corpus, questions, relevant = mteb_belebele(rows[documents], rows[queries])
        expected = {
            questions[query]: {corpus[doc] for doc in docs} for query, docs in relevant.items()
        }
        assert direction(frames, documents, queries) == expected
        in_language = frames.documents.filter(pl.col("language") == documents)
        assert in_language["text"].to_list() == list(corpus.values())
        asked = frames.queries.filter(pl.col("language") == queries)
        assert asked["text"].to_list() == list(questions.values())

    def test_the_same_words_are_one_query_with_both_passages_in_that_language_only(self):
        # Question 1 of passage 0 and question 1 of passage 1 read the same in English.
        frames = belebele_collection(belebele_rows(LANGUAGES))
        counts = dict(frames.queries["language"].value_counts().rows())
        assert counts == {"ru": 6, "ar": 6, "en": 5}
        assert direction(frames, "ru", "en")["en: who was it?"] == {"ru passage 0", "ru passage 1"}
        assert all(len(texts) == 1 for texts in direction(frames, "en", "ru").values())

    def test_groups_join_documents_by_link_and_queries_by_question(self):
        frames = belebele_collection(belebele_rows(LANGUAGES))
        assert frames.documents.group_by("group_id").len()["len"].to_list() == [3] * 3
        assert set(frames.documents["group_id"]) == {f"https://news/{i}" for i in range(3)}
        ru = frames.queries.filter(pl.col("language") == "ru")
        assert ru["group_id"].to_list()[:2] == ["https://news/0#1", "https://news/0#2"]
        assert frames.judgments.is_unique().all()

    def test_a_query_on_two_passages_hands_no_passage_on_to_the_questions_it_merged(self):
        frames = belebele_collection(belebele_rows(LANGUAGES))
        merged = frames.queries.filter(pl.col("text") == "en: who was it?")
        assert merged["group_id"].to_list() == [None]
        per_query = frames.relevant.group_by("query_id", "document_language").len()
        assert set(per_query.filter(pl.col("len") > 1)["query_id"]) == set(merged["query_id"])

    def test_row_order_of_a_language_changes_no_relevance(self):
        rows = belebele_rows(LANGUAGES)
        first = pl.col("flores_passage").str.strip_suffix(", again")
        rows["ar"] = rows["ar"].with_columns(flores_passage=first)
        shuffled = rows | {"ar": rows["ar"].reverse()}
        before, after = belebele_collection(rows), belebele_collection(shuffled)
        for pair in (("ar", "ru"), ("ru", "ar"), ("ar", "ar")):
            assert direction(before, *pair) == direction(after, *pair)

    def test_choices_count_from_one_and_share_their_item(self):
        choice = belebele_choice(belebele_rows(("ru", "en")))
        first = choice.row(0, named=True)
        assert [first[f"answer_{i}"] for i in (1, 2, 3, 4)] == ["ru a", "ru b", "ru c", "ru d"]
        assert (first["correct"], first["passage"]) == (1, "ru passage 0")
        assert choice["correct"].to_list()[:6] == [1, 2, 3, 4, 1, 2]
        assert choice.group_by("item_id").len()["len"].to_list() == [2] * 6

    @pytest.mark.parametrize("wrong", ["0", "5", "b", None])
    def test_an_answer_outside_1_to_4_is_named(self, wrong: str | None):
        rows = belebele_rows(("en",))["en"]
        answers = ["1", "2", "3", wrong, "1", "2"]
        broken = rows.with_columns(correct_answer_num=pl.Series(answers))
        with pytest.raises(InputError, match=r"from 1 to 4, got .* at https://news/1#2"):
            belebele_choice({"en": broken})

    def test_a_missing_column_is_named(self):
        with pytest.raises(InputError, match="belebele, en: has no column link; it has"):
            belebele_collection({"en": belebele_rows(("en",))["en"].drop("link")})

    def test_what_is_no_language_is_refused_before_the_network(self, monkeypatch):
        monkeypatch.setattr("datasets.load_dataset", None)
        with pytest.raises(InputError, match="there is no language 'xx'"):
            load_belebele(("en", "xx"))

    def test_a_folder_laid_out_as_the_hub_is_read_by_language(self, tmp_path: Path):
        rows = belebele_rows(("ru", "ar"))
        files = {flores_code(code): frame for code, frame in rows.items()}
        write_hub_folder(tmp_path, files, "test")
        read = load_belebele(("ru", "ar"), str(tmp_path))
        assert belebele_collection(read).judgments.equals(belebele_collection(rows).judgments)
        with pytest.raises(InputError, match="eng_Latn"):
            load_belebele(("en",), str(tmp_path))


class TestXQuAD:
    def test_rows_as_the_hub_has_them_give_the_local_set(self):
        languages = ("ar", "en", "es", "ru")
        frames = xquad_collection({language: _xquad_rows(language) for language in languages})
        assert frames.documents["language"].value_counts()["count"].to_list() == [240] * 4
        assert frames.queries["language"].value_counts()["count"].to_list() == [1190] * 4
        assert frames.judgments.height == 1190 * 16
        local = pl.read_parquet(public("xquad") / "translations.parquet")
        merged = frames.documents.join(local, on="doc_id", suffix="_local")
        assert merged.height == 960
        assert (merged["group_id"] == merged["group_id_local"]).all()
        same = frames.judgments.join(
            pl.read_parquet(public("xquad") / "qrels.parquet"), on=["query_id", "doc_id"]
        )
        assert same.height == 1190 * 4
        groups = pl.read_parquet(public("xquad") / "query_translations.parquet")
        joined = frames.queries.join(groups, on=["query_id", "group_id"])
        assert joined.height == frames.queries.height

    def test_questions_on_other_paragraphs_are_refused(self):
        rows = pl.DataFrame({"id": ["a", "b"], "context": ["x", "y"], "question": ["1", "2"]})
        shifted = rows.with_columns(id=pl.Series(["b", "a"]))
        with pytest.raises(InputError, match=r"different paragraphs .*not parallel"):
            xquad_collection({"en": rows, "ru": shifted})

    def test_farsi_and_french_are_refused_with_those_there_are(self, monkeypatch):
        monkeypatch.setattr("datasets.load_dataset", None)
        with pytest.raises(InputError, match=r"no fa, fr; it has ar, de, .* or measure them on"):
            load_xquad(("ru", "fa", "en", "fr"))

    def test_a_folder_laid_out_as_the_hub_is_read(self, tmp_path: Path):
        rows = pl.DataFrame({"id": ["a", "b"], "context": ["x", "x"], "question": ["1", "2"]})
        files = {"xquad.en": rows, "xquad.ru": rows}
        write_hub_folder(tmp_path, files, "validation")
        frames = xquad_collection(load_xquad(("en", "ru"), str(tmp_path)))
        assert (frames.documents.height, frames.queries.height) == (2, 4)
        assert frames.judgments.height == 8


class TestHub:
    def test_a_revision_is_passed_on_and_without_network_it_says_what_to_do(self, monkeypatch):
        asked = []

        def unreachable(name: str, config: str, *, split: str, revision: str | None) -> None:
            asked.append((name, config, split, revision))
            raise ConnectionError("Couldn't reach 'some/set' on the Hub")

        monkeypatch.setattr("datasets.load_dataset", unreachable)
        with pytest.raises(InputError, match=r"some/set@abc .*Connect to the hub, or name a"):
            hub.hub_rows("some/set@abc", "xx", "test")
        with pytest.raises(InputError):
            hub.hub_rows("some/set", "xx", "test")
        assert asked == [("some/set", "xx", "test", "abc"), ("some/set", "xx", "test", None)]

    def test_an_unknown_split_is_named(self, tmp_path: Path):
        write_hub_folder(tmp_path, {"a": pl.DataFrame({"x": [1]})}, "test")
        with pytest.raises(InputError, match="split train"):
            hub.hub_rows(str(tmp_path), "a", "train")

    def test_another_folder_of_the_same_name_and_an_edited_one_are_read_as_they_are(
        self, tmp_path: Path
    ):
        for rows, parent in ((1, "one"), (2, "two"), (3, "two")):
            folder = tmp_path / parent / "copy"
            folder.mkdir(parents=True, exist_ok=True)
            write_hub_folder(folder, {"a": pl.DataFrame({"x": [*range(rows)]})}, "test")
            assert hub.hub_rows(str(folder), "a", "test").height == rows


class TestLanguages:
    @pytest.mark.parametrize(
        ("long", "short"),
        [
            ("ara-Arab", "ar"), ("pes_Arab", "fa"), ("fas-Arab", "fa"), ("cmn-Hans", "zh"),
            ("eng", "en"), ("arb-Latn", "arb_Latn"), ("zho_Hant", "zho_Hant"),
            ("acm_Arab", "acm_Arab"), ("python-Code", "python_Code"), ("swa-Latn", "sw"),
            ("cym-Latn", "cy"), ("ru", "ru"), ("prs-Arab", "prs_Arab"), ("twi_Latn", "tw"),
        ],
    )  # fmt: skip
    def test_a_code_is_shortened_only_where_nothing_is_lost(self, long: str, short: str):
        assert short_code(long) == short

    def test_codes_go_both_ways_in_all_languages_of_belebele(self):
        mteb = pytest.importorskip("mteb", reason="mteb is not installed")
        subsets = mteb.get_task("BelebeleRetrieval").hf_subsets
        codes = {half for name in subsets for half in name.split("-")}
        assert len(codes) == 122
        assert [code for code in codes if flores_code(short_code(code)) != code] == []


def _xquad_rows(language: str) -> pl.DataFrame:
    """The local set in the columns and the order of google/xquad."""
    qrels = pl.read_parquet(public("xquad") / "qrels.parquet")
    documents = pl.read_parquet(public("xquad") / "corpus.parquet")
    queries = pl.read_parquet(public("xquad") / "queries.parquet")
    groups = pl.read_parquet(public("xquad") / "query_translations.parquet")
    return (
        queries.filter(pl.col("language") == language)
        .join(groups, on="query_id")
        .join(qrels, on="query_id")
        .join(documents.select("doc_id", context="text"), on="doc_id")
        .sort("doc_id", maintain_order=True)
        .select(id=pl.col("group_id").str.strip_prefix("xquad-q-"), context="context",
                question="text")
    )  # fmt: skip
