"""What bad tables get: one readable error, or a row set aside with its rule."""

import json

import polars as pl
import pytest

from polymine.data_contracts.errors import InputError
from polymine.mining.ingestion import check_tables, ingest
from tests.mining.small_tables import DOCUMENTS, JUDGMENTS, QUERIES, documents, judgments, queries


class TestChecks:
    def failure(self, *tables: pl.DataFrame, on_invalid: str = "fail") -> str:
        with pytest.raises(InputError) as caught:
            check_tables(*tables, on_invalid=on_invalid)
        return str(caught.value)

    def test_good_tables_pass_unchanged_but_for_optional_columns(self):
        checked = check_tables(DOCUMENTS, QUERIES, JUDGMENTS, on_invalid="fail")
        assert checked.documents.columns == ["doc_id", "text", "title", "language", "group_id"]
        assert checked.documents["text"].to_list() == ["red apples", "green pears"]
        assert checked.rejected.height == 0

    def test_missing_column_is_named_with_what_was_found(self):
        message = self.failure(DOCUMENTS.rename({"text": "texts"}), QUERIES, JUDGMENTS)
        assert "corpus.parquet: column `text` is missing; did you mean `texts`?" in message
        assert "found: doc_id, texts, language" in message

    def test_wrong_type_says_expected_and_got(self):
        lists = DOCUMENTS.with_columns(pl.concat_list("text"))
        message = self.failure(lists, QUERIES, JUDGMENTS)
        assert "corpus.parquet: column `text` should hold strings, got List(String)" in message

    def test_wrong_shape_is_an_error_in_quarantine_too(self):
        assert "`text` is missing" in self.failure(
            DOCUMENTS.drop("text"), QUERIES, JUDGMENTS, on_invalid="quarantine"
        )

    @pytest.mark.parametrize(
        ("text", "rule"), [(None, "`text` is null"), ("", "`text` is empty"), (" \n", "is empty")]
    )
    def test_text_that_is_none(self, text, rule):
        message = self.failure(documents(("d1", text), ("d2", "x")), QUERIES, JUDGMENTS)
        assert f"{rule} (1 row)" in message
        assert '{"doc_id": "d1"' in message

    @pytest.mark.parametrize("language", ["english", "e", "12", "en_"])
    def test_language_that_is_no_code(self, language):
        bad = DOCUMENTS.with_columns(language=pl.lit(language))
        assert "corpus.parquet: `language`" in self.failure(bad, QUERIES, JUDGMENTS)

    def test_duplicate_ids_are_shown(self):
        twice = documents(("d1", "a"), ("d1", "b"), ("d2", "c"))
        message = self.failure(twice, QUERIES, JUDGMENTS)
        assert "corpus.parquet: `doc_id` is not unique (2 rows)" in message
        assert '"doc_id": "d1", "text": "a"' in message

    @pytest.mark.parametrize(
        ("relevance", "rule"),
        [
            (-1, "`relevance` is below 0"),
            (1.5, "not a whole number from 0 to 127"),
            (float("nan"), "not a whole number from 0 to 127"),
            (float("inf"), "not a whole number from 0 to 127"),
            (128, "not a whole number from 0 to 127"),
            ("high", "not a whole number from 0 to 127"),
        ],
    )
    def test_relevance_out_of_range(self, relevance, rule):
        good, bad = judgments(("q2", "d2", 1)), judgments(("q1", "d1", relevance))
        both = pl.concat([good, bad], how="vertical_relaxed")
        assert f"{rule} (1 row)" in self.failure(DOCUMENTS, QUERIES, both)

    def test_missing_relevance_is_called_null(self):
        missing = judgments(("q1", "d1", None), ("q2", "d2", 1))
        assert "`relevance` is null (1 row)" in self.failure(DOCUMENTS, QUERIES, missing)

    def test_judgments_that_point_nowhere(self):
        message = self.failure(
            DOCUMENTS, QUERIES, judgments(("q1", "d9", 1), ("q9", "d2", 1), ("q2", "d2", 1))
        )
        assert "qrels.parquet: `doc_id` is not in corpus.parquet (1 row)" in message
        assert "qrels.parquet: `query_id` is not in queries.parquet (1 row)" in message

    def test_no_positive_at_all(self):
        for on_invalid in ("fail", "quarantine"):
            message = self.failure(
                DOCUMENTS, QUERIES, judgments(("q1", "d1", 0)), on_invalid=on_invalid
            )
            assert "not one positive pair" in message

    def test_empty_table(self):
        assert "corpus.parquet: there are no rows" in self.failure(
            DOCUMENTS.clear(), QUERIES, JUDGMENTS, on_invalid="quarantine"
        )

    def test_all_broken_rules_in_one_message(self):
        message = self.failure(
            documents(("d1", ""), ("d2", "x"), ("d2", "y")),
            queries(("q1", None), ("q2", "x")),
            judgments(("q1", "d7", 1), ("q2", "d2", -3)),
        )
        for part in ("is empty", "not unique", "is null", "not in corpus", "below 0"):
            assert part in message

    def test_only_three_examples_and_none_endless(self):
        many = documents(*((f"d{i}", "") for i in range(9)), ("long", " " * 5_000))
        message = self.failure(many, QUERIES, JUDGMENTS)
        assert "(10 rows)" in message
        assert message.count('"text": ""') == 3
        assert max(map(len, message.splitlines())) < 200

    def test_integer_ids_and_float_or_string_relevance_are_taken(self):
        checked = check_tables(
            documents((1, "a"), (2, "b")),
            queries((7, "a")),
            judgments((7, 1, "2"), (7, 2, "0.0")),
            on_invalid="fail",
        )
        assert checked.judgments.rows() == [("7", "1", 2), ("7", "2", 0)]

    def test_source_column_names_the_file_of_a_row(self):
        frame = documents(("d1", "x"), ("d2", ""), source_file=["a.csv", "b.csv"])
        assert "b.csv: `text` is empty" in self.failure(frame, QUERIES, JUDGMENTS)

    def test_queries_without_judgments_are_legal(self):
        result = ingest(DOCUMENTS, QUERIES, judgments(("q1", "d1", 1)))
        assert result.queries["query_id"].to_list() == ["q1", "q2"]


class TestQuarantine:
    def test_bad_rows_go_aside_with_their_rule_and_the_rest_goes_on(self):
        checked = check_tables(
            documents(("d1", "a"), ("d2", ""), ("d3", "x"), ("d3", "y"), ("d4", "z"), ("d4", "z")),
            QUERIES,
            judgments(("q1", "d1", 1), ("q1", "d2", 1), ("q2", "d3", 1), ("q2", "d9", 1)),
            on_invalid="quarantine",
        )
        assert checked.documents["doc_id"].to_list() == ["d1", "d4"]
        assert checked.judgments.rows() == [("q1", "d1", 1)]
        rules = {(source, rule): json.loads(row) for source, rule, row in checked.rejected.rows()}
        assert rules["corpus.parquet", "`text` is empty"]["doc_id"] == "d2"
        assert rules["corpus.parquet", "duplicate row"]["doc_id"] == "d4"
        assert rules["corpus.parquet", "`doc_id` is not unique"]["doc_id"] == "d3"
        assert rules["qrels.parquet", "`doc_id` is not in corpus.parquet"]["doc_id"] == "d9"
        assert ("qrels.parquet", "`doc_id` points to a rejected row of corpus.parquet") in rules
        assert checked.rejected.height == 4 + 3

    def test_a_row_that_breaks_two_rules_is_rejected_once(self):
        checked = check_tables(
            documents(("d1", "a"), ("d2", None), language=["en", "english"]),
            queries(("q1", "x")),
            judgments(("q1", "d1", 1)),
            on_invalid="quarantine",
        )
        assert checked.rejected.height == 1
        assert set(checked.rejected["rule"][0].split("; ")) == {
            "`text` is null",
            "`language` is not a code such as `en` or `zh-Hans`",
        }

    def test_contradicting_judgments_are_all_rejected(self):
        checked = check_tables(
            DOCUMENTS,
            QUERIES,
            judgments(("q1", "d1", 1), ("q1", "d1", 0), ("q2", "d2", 1)),
            on_invalid="quarantine",
        )
        assert checked.judgments.rows() == [("q2", "d2", 1)]

    def test_nothing_left_is_an_error(self):
        with pytest.raises(InputError, match="no row is left, all break a rule"):
            check_tables(documents(("d1", "")), QUERIES, JUDGMENTS, on_invalid="quarantine")
