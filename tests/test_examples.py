"""The parallel corpus in examples/: whole, parallel, in the right scripts, and read as meant."""

import re
import unicodedata
from pathlib import Path

import polars as pl
import pytest

from polymine.mining.ingestion import Ingested, ingest
from polymine.training.mixture import from_collection
from tests.tasks.sources.small_sources import read

FOLDER = Path(__file__).parents[1] / "examples" / "parallel"
LANGUAGES = ("ar", "en", "es", "fa", "fr", "ru")
PASSAGES, QUESTIONS = 105, 2

# What a language's letters may be. Names such as "vitamin C" and Roman numerals are Latin anywhere.
LATIN, CYRILLIC = "A-Za-zÀ-ÖØ-öø-ÿœŒ", "А-Яа-яЁё"
LETTERS = {
    "en": LATIN,
    "es": LATIN,
    "fr": LATIN,
    "ru": CYRILLIC + "CDIVX",
    "ar": "ءآأؤإئابةتثجحخدذرزسشصضطظعغفقكلمنهوىي",  # no vowel signs, no Persian letters
    "fa": "ءآأئابپتثجچحخدذرزژسشصضطظعغفقکگلمنوهی\u0654\u064b",  # no Arabic ي, ك, ى and ة
}
DIGITS = {"fa": "۰-۹"}
ARABIC_COMMAS = {"ar", "fa"}


@pytest.fixture(scope="module")
def tables() -> dict[str, pl.DataFrame]:
    names = ("corpus", "queries", "judgments")
    return {name: pl.read_ndjson(FOLDER / f"{name}.jsonl") for name in names}


@pytest.fixture(scope="module")
def ingested() -> Ingested:
    raw = read(FOLDER)
    return ingest(raw.documents, raw.queries, raw.judgments)


class TestRows:
    def test_every_passage_and_question_is_there_in_every_language(self, tables):
        documents, queries = tables["corpus"], tables["queries"]
        for table, count in ((documents, PASSAGES), (queries, PASSAGES * QUESTIONS)):
            assert table.null_count().sum_horizontal().item() == 0
            languages = table.group_by("group_id").agg(pl.col("language").sort())
            assert languages["language"].to_list() == [list(LANGUAGES)] * count

    def test_ids_say_what_a_row_is(self, tables):
        documents, queries = tables["corpus"], tables["queries"]
        slugs = documents["group_id"].unique()
        assert slugs.str.contains("^[a-z]+(-[a-z]+)*$").all()
        for table, key in ((documents, "doc_id"), (queries, "query_id")):
            assert table[key].equals(table["group_id"] + "-" + table["language"], check_names=False)
            assert table[key].is_sorted()
            assert table[key].is_unique().all()
        questions = {f"{slug}-{number}" for slug in slugs for number in (1, 2)}
        assert set(queries["group_id"]) == questions

    def test_every_question_is_judged_by_its_own_language(self, tables):
        slug = pl.col("group_id").str.strip_suffix("-1").str.strip_suffix("-2")
        wanted = tables["queries"].select(
            "query_id", doc_id=slug + "-" + pl.col("language"), relevance=pl.lit(1, pl.Int64)
        )
        assert tables["judgments"].equals(wanted)


class TestTexts:
    @pytest.mark.parametrize("language", LANGUAGES)
    def test_scripts_and_digits(self, tables, language):
        marks = r"\s\u200c\-–—.,،:;؛?؟¿!'\"«»()"
        digits = DIGITS.get(language, "0-9")
        allowed = re.compile(f"[{LETTERS[language]}{digits}{marks}]*")
        for text in texts(tables, language):
            stray = allowed.sub("", text)
            assert not stray, f"{sorted(set(stray))} in: {text}"
            assert unicodedata.is_normalized("NFC", text)
            assert text == " ".join(text.split())

    @pytest.mark.parametrize("language", LANGUAGES)
    def test_punctuation(self, tables, language):
        for text in texts(tables, language):
            if language in ARABIC_COMMAS:
                assert not re.search("[,;?]", text), text
            elif language == "fr":
                assert not re.search(r"[^ ][?:;!]", text), text
            elif language == "es":
                assert text.count("?") == text.count("¿"), text

    @pytest.mark.parametrize("language", LANGUAGES)
    def test_nothing_is_there_twice(self, tables, language):
        for name, column in (("corpus", "title"), ("corpus", "text"), ("queries", "text")):
            rows = tables[name].filter(language=language)
            assert rows[column].str.to_lowercase().is_unique().all()

    def test_questions_ask_and_passages_tell(self, tables):
        assert tables["queries"]["text"].str.contains("[?؟]$").all()
        assert tables["corpus"]["text"].str.ends_with(".").all()

    def test_versions_of_a_passage_are_about_as_long(self, tables):
        length = pl.col("text").str.len_chars()
        relative = tables["corpus"].with_columns(length / length.mean().over("language"))
        spread = relative.group_by("group_id").agg(pl.col("text").max() / pl.col("text").min())
        assert spread["text"].max() < 1.35

    def test_versions_give_the_same_years_and_numbers(self, tables):
        persian = str.maketrans("۰۱۲۳۴۵۶۷۸۹", "0123456789")
        decades = {"1920"}  # words in Arabic and Spanish
        for (group,), versions in tables["corpus"].group_by("group_id"):
            found = [
                re.findall(r"\d+", text.translate(persian).replace(",", ""))
                for text in versions["text"]
            ]
            numbers = {tuple(sorted(set(each) - decades)) for each in found}
            assert len(numbers) == 1, f"{group}: {numbers}"


class TestReading:
    def test_the_folder_and_its_files_read_alike_and_no_row_is_rejected(self, ingested, tables):
        raw = read(
            FOLDER / "corpus.jsonl",
            queries=FOLDER / "queries.jsonl",
            judgments=FOLDER / "judgments.jsonl",
        )
        by_file = ingest(raw.documents, raw.queries, raw.judgments)
        assert by_file.documents.equals(ingested.documents)
        assert by_file.closure.equals(ingested.closure)
        assert raw.rows_rejected.height == ingested.rejected.height == ingested.copies.height == 0
        assert ingested.documents.height == tables["corpus"].height
        assert ingested.queries.height == tables["queries"].height
        assert ingested.judgments.height == tables["judgments"].height

    def test_all_versions_of_the_positive_and_nothing_else_can_be_no_negative(self, ingested):
        closed = ingested.closure.with_columns(
            asked=pl.col("query_id").str.replace(r"-[12]-[a-z]{2}$", ""),
            found=pl.col("doc_id").str.replace(r"-[a-z]{2}$", ""),
        )
        assert closed["asked"].equals(closed["found"], check_names=False)
        each = closed.group_by("query_id").len()
        assert each.height == PASSAGES * QUESTIONS * len(LANGUAGES)
        assert (each["len"] == len(LANGUAGES)).all()
        assert set(closed["reason"].cast(pl.String)) == {"positive", "same_group"}

    def test_training_gets_every_question_with_every_version(self):
        raw = read(FOLDER)
        rows = from_collection(raw.documents, raw.queries, raw.judgments, "examples").rows
        pairs = rows.group_by("anchor_language", "positive_language").len()
        assert pairs.height == len(LANGUAGES) ** 2
        assert (pairs["len"] == PASSAGES * QUESTIONS).all()


def texts(tables: dict[str, pl.DataFrame], language: str) -> list[str]:
    """Titles, passages and questions of a language."""
    rows = {name: tables[name].filter(language=language) for name in ("corpus", "queries")}
    return [*rows["corpus"]["title"], *rows["corpus"]["text"], *rows["queries"]["text"]]
