"""Evaluation sets as a run reads them: formats, languages, draws, and what is refused."""

import csv
import gzip
import io
from pathlib import Path

import polars as pl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from polymine.data_contracts.errors import InputError, SettingsError
from polymine.evaluation.contamination import find_overlap
from polymine.tasks.evaluation.sets import (
    is_checked,
    kind_of,
    languages_of_set,
    open_collection,
    read_table,
    texts_of_set,
)
from tests.evaluation.small_hub import belebele_rows
from tests.tasks.evaluation.small_sets import (
    PAIRS,
    Tables,
    collect,
    name_tables,
    read,
    small,
    write,
)


class TestRetrieval:
    def test_a_title_stands_before_the_text_unless_left_out(self, tmp_path):
        texts = collect(tmp_path, small()).documents["text"].to_list()
        assert texts == ["Otter otters swim", "выдры плавают", "owls fly", "Сова совы летают"]
        bare = collect(tmp_path, small(), title=False).documents["text"].to_list()
        assert bare == small()["corpus"]["text"].to_list()

    def test_groups_come_from_translations_and_a_lone_text_has_none(self, tmp_path):
        found = collect(tmp_path, small())
        assert found.documents["group_id"].to_list() == ["a", "a", None, None]
        assert found.queries["group_id"].to_list() == ["?", "?"]
        assert found.judgments.rows() == [("q-en", "a-en", 1), ("q-en", "b-en", 0)]

    def test_a_judgment_reaches_the_languages_that_are_left(self, tmp_path):
        found = collect(tmp_path, small(), languages=("ru",))  # judged in English alone
        assert found.documents["doc_id"].to_list() == ["a-ru", "b-ru"]
        assert found.judgments.rows() == [("q-ru", "a-ru", 1)]

    @settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=10)
    @given(kept=st.sets(st.sampled_from(["en", "ru"]), min_size=1))
    def test_no_judgment_dangles_whatever_the_languages(self, tmp_path, kept: set[str]):
        found = collect(tmp_path, small(), languages=tuple(sorted(kept)))
        assert set(found.judgments["doc_id"]) <= set(found.documents["doc_id"])
        assert set(found.judgments["query_id"]) <= set(found.queries["query_id"])
        assert set(found.documents["language"]) == set(found.queries["language"]) == kept

    def test_a_language_that_is_not_there_is_named_with_those_that_are(self, tmp_path):
        with pytest.raises(InputError, match=r"no texts in fa: the set has en, ru"):
            collect(tmp_path, small(), languages=("en", "fa"))

    def test_translations_without_groups_are_named(self, tmp_path):
        bare = small()["translations"].drop("group_id")
        with pytest.raises(InputError, match=r"translations\.parquet.*`group_id`"):
            collect(tmp_path, small() | {"translations": bare})

    def test_three_tables_by_name_are_the_folder(self, tmp_path):
        whole = collect(tmp_path, small())
        named = open_collection(read(tmp_path, **name_tables(tmp_path)))
        assert named.documents.equals(whole.documents)
        assert named.relevant.equals(whole.relevant)

    @pytest.mark.parametrize("corpus", ["corpus", "documents", "passages"])
    def test_beirs_layout_as_compressed_lines_and_tsv(self, tmp_path, corpus):
        folder = tmp_path / "set"
        (folder / "qrels").mkdir(parents=True)
        lines = small()["corpus"].rename({"doc_id": "_id"}).write_ndjson().encode()
        (folder / f"{corpus}.jsonl.gz").write_bytes(gzip.compress(lines))
        small()["queries"].rename({"query_id": "_id"}).write_ndjson(folder / "queries.jsonl")
        beir = {"query_id": "query-id", "doc_id": "corpus-id", "relevance": "score"}
        small()["qrels"].rename(beir).write_csv(folder / "qrels" / "test.tsv", separator="\t")
        small()["translations"].write_csv(folder / "translations.csv")
        found = open_collection(read(tmp_path))
        assert found.documents["group_id"].to_list() == ["a", "a", None, None]
        assert found.judgments.rows() == [("q-en", "a-en", 1), ("q-en", "b-en", 0)]

    def test_the_same_questions_are_drawn_in_every_language(self, tmp_path):
        questions = [(f"{n}-{code}", f"{n}?", code) for n in range(30) for code in ("en", "ru")]
        queries = pl.DataFrame(questions, ["query_id", "text", "language"], orient="row")
        groups = queries.select("query_id", group_id=pl.col("query_id").str.head(-3))
        judged = queries.filter(language="en").select("query_id", doc_id=pl.lit("a-en"))
        asked = {"queries": queries, "query_translations": groups, "qrels": judged}
        drawn = {
            seed: collect(tmp_path, small() | asked, queries_per_language=7, seed=seed).queries
            for seed in (0, 1)
        }
        for queries in drawn.values():
            assert queries.group_by("group_id").len()["len"].to_list() == [2] * 7
        assert set(drawn[0]["query_id"]) != set(drawn[1]["query_id"])

    def test_what_is_read_again_is_reused_until_a_file_changes(self, tmp_path):
        write(tmp_path / "set", small())
        assert not read(tmp_path).reused
        assert read(tmp_path).reused
        write(tmp_path / "set", {"translations": small()["translations"].head(1)})
        assert not read(tmp_path).reused


class TestPairsAndSentences:
    def test_parallel_pairs_are_retrieval_of_the_other_side(self, tmp_path):
        reference = read(tmp_path, path=write(tmp_path / "set", {"pairs": PAIRS}))
        assert kind_of(reference) == "retrieval"
        found = open_collection(reference)
        assert found.languages == ("en", "fr", "ru")
        only = open_collection(read(tmp_path, languages=("en", "ru")))
        assert set(only.documents["text"]) == {"an otter", "an owl", "выдра", "сова"}
        with pytest.raises(InputError, match=r"no texts in fa\. There are first texts: en 3; sec"):
            read(tmp_path, languages=("fa",))

    @pytest.mark.parametrize("name", ["anything.csv", "pairs.jsonl", "sts.tsv"])
    def test_one_file_of_pairs_with_scores_is_similarity(self, tmp_path, name):
        scored = PAIRS.with_columns(score=pl.Series([5.0, 4.5, 1.0]))
        path = tmp_path / name
        if path.suffix == ".jsonl":
            scored.write_ndjson(path)
        else:
            stream = io.StringIO()
            delimiter = "\t" if path.suffix == ".tsv" else ","
            csv.writer(stream, delimiter=delimiter).writerows([scored.columns, *scored.rows()])
            path.write_text(stream.getvalue())
        reference = read(tmp_path, path=str(path), languages=("en", "ru"))
        assert kind_of(reference) == "similarity"
        pairs = read_table(reference, "pairs")
        assert pairs["gold"].to_list() == [5.0, 4.5]
        assert pairs["language_b"].to_list() == ["ru", "ru"]

    def test_sentences_with_labels_are_clustering(self, tmp_path):
        sentences = pl.DataFrame(
            {"id": ["1", "2"], "text": ["a", "б"], "language": ["en", "ru"], "label": ["x", "y"]}
        )
        reference = read(tmp_path, path=write(tmp_path / "set", {"sentences": sentences}))
        assert kind_of(reference) == "clustering"
        assert read_table(reference, "sentences")["group_id"].to_list() == ["1", "2"]
        only = read(tmp_path, languages=("ru",))
        assert read_table(only, "sentences")["text"].to_list() == ["б"]

    @pytest.mark.parametrize("score", ["four", "4,5", "nan"])
    def test_a_score_that_is_no_number_is_refused(self, tmp_path, score):
        scored = PAIRS.with_columns(score=pl.Series(["5.0", score, "1.0"]))
        write(tmp_path / "set", {"pairs": scored})
        with pytest.raises(InputError, match=r"pairs.*`score` is not a number"):
            read(tmp_path)

    def test_pairs_elsewhere_are_what_they_hold(self, tmp_path):
        scored = PAIRS.with_columns(score=pl.Series([5.0, 4.5, 1.0]))
        folder = write(tmp_path / "set", {"pairs": scored})
        assert kind_of(read(tmp_path, path=f"file://{folder}")) == "similarity"
        folder = write(tmp_path / "other", small())
        assert kind_of(read(tmp_path, path=f"file://{folder}")) == "retrieval"


class TestLanguage:
    """Of rows that do not say it."""

    def test_of_documents_and_queries(self, tmp_path):
        bare = {name: small()[name].drop("language") for name in ("corpus", "queries")}
        assert collect(tmp_path, small() | bare).languages == ("und",)
        assert collect(tmp_path, small() | bare, language="ru").languages == ("ru",)
        some = small()["queries"].with_columns(language=pl.Series(["en", None]))
        found = collect(tmp_path, small() | {"queries": some}, language="ru")
        assert found.queries["language"].to_list() == ["en", "ru"]

    def test_of_pairs_and_sentences(self, tmp_path):
        pairs = PAIRS.drop("lang_a", "lang_b").with_columns(score=1.0)
        write(tmp_path / "set", {"pairs": pairs})
        with pytest.raises(InputError, match="has no column lang_a, lang_b"):
            read(tmp_path)
        assert languages_of_set(read(tmp_path, language="fr")) == {"fr"}
        sentences = pl.DataFrame({"id": ["1"], "text": ["a"], "label": ["x"]})
        folder = write(tmp_path / "other", {"sentences": sentences})
        assert languages_of_set(read(tmp_path, path=folder, language="fr")) == {"fr"}


class TestBenchmarks:
    @pytest.mark.parametrize("name", ["belebele", "belebele-choice", "xquad@main"])
    def test_a_benchmark_without_languages_is_refused(self, tmp_path, name):
        with pytest.raises(SettingsError, match=r"evaluation\.sets\.own: name the `languages` of"):
            read(tmp_path, benchmark=name)

    def test_mteb_reads_its_own_data(self, tmp_path):
        reference = read(tmp_path, benchmark="STS17")
        assert kind_of(reference) == "mteb"
        assert texts_of_set(reference).is_empty()
        assert not is_checked(reference)
        assert languages_of_set(reference) is None


class TestTexts:
    """What training must not have seen, of every kind."""

    def texts(self, folder: Path, tables: Tables) -> set[tuple[str, str]]:
        found = texts_of_set(read(folder, path=write(folder / "set", tables)))
        return set(found.select("id", "text").rows())

    def test_of_documents_and_queries(self, tmp_path):
        one = {"corpus": small()["corpus"].head(1), "qrels": small()["qrels"].head(1)}
        assert self.texts(tmp_path, small() | one) == {
            ("a-en", "Otter otters swim"), ("a-en", "otters swim"),
            ("q-en", "who swims?"), ("q-ru", "кто плавает?"),
        }  # fmt: skip

    @pytest.mark.parametrize("title", [True, False])
    def test_a_passage_without_its_long_title_is_found(self, tmp_path, title):
        passage = " ".join(f"word{n}" for n in range(20))
        titled = small()["corpus"].with_columns(
            title=pl.lit("eight words that stand above it as usual"), text=pl.lit(passage)
        )
        reference = read(
            tmp_path, title=title, path=write(tmp_path / "set", small() | {"corpus": titled})
        )
        rows = pl.DataFrame({"row": [0], "side": ["positive"], "text": [passage]})
        tested = texts_of_set(reference).with_columns(set=pl.lit("own"))
        assert set(find_overlap(rows, tested)["kind"]) == {"equal"}
        whole = rows.with_columns(text="eight words that stand above it as usual " + pl.col("text"))
        assert set(find_overlap(whole, tested)["kind"]) == {"equal"}

    def test_only_of_languages_that_are_left(self, tmp_path):
        write(tmp_path / "set", small())
        reference = read(tmp_path, languages=("ru",))
        assert read_table(reference, "variants").rows() == [("b-ru", "совы летают")]
        assert languages_of_set(reference) == {"ru"}

    def test_of_both_sides_of_pairs(self, tmp_path):
        pairs = PAIRS.head(1).with_columns(score=1.0)
        assert self.texts(tmp_path, {"pairs": pairs}) == {("1", "an otter"), ("1", "выдра")}

    def test_of_sentences(self, tmp_path):
        one = pl.DataFrame({"id": ["1"], "text": ["a"], "language": ["en"], "label": ["x"]})
        assert self.texts(tmp_path, {"sentences": one}) == {("1", "a")}

    def test_of_passages_and_questions_with_answers_to_choose_from(self, tmp_path, monkeypatch):
        rows = belebele_rows(("en",))
        monkeypatch.setattr("polymine.evaluation.belebele.load_belebele", lambda _: rows)
        reference = read(tmp_path, benchmark="belebele-choice", languages=("en",))
        assert kind_of(reference) == "choice"
        told = {*rows["en"]["flores_passage"], *rows["en"]["question"]}
        assert set(texts_of_set(reference)["text"]) == told
        assert is_checked(reference)
        assert languages_of_set(reference) == {"en"}
