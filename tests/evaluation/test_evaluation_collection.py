"""Directions, handed-on judgments, draws, and parallel sentences as a retrieval task."""

import polars as pl
import pytest

from polymine.data_contracts.errors import InputError
from polymine.evaluation.collection import EvaluationCollection


def texts(identity: str, *rows: tuple[str, str, str | None]) -> pl.DataFrame:
    """Rows of (id, language, group); the text is the id."""
    return pl.DataFrame(
        [(name, name, language, group) for name, language, group in rows],
        {identity: pl.String, "text": pl.String, "language": pl.String, "group_id": pl.String},
        orient="row",
    )


def judged(*rows: tuple[str, str, int]) -> pl.DataFrame:
    return pl.DataFrame(rows, ["query_id", "doc_id", "relevance"], orient="row")


def small() -> EvaluationCollection:
    """Two texts in two languages and one in Russian alone; one question in two languages."""
    return EvaluationCollection(
        texts("doc_id", ("sun-en", "en", "sun"), ("sun-ru", "ru", "sun"), ("moon-en", "en", "moon"),
              ("moon-ru", "ru", "moon"), ("sun", "ru", None)),
        texts("query_id", ("q-en", "en", "q"), ("q-ru", "ru", "q"), ("r-ru", "ru", None)),
        judged(("q-en", "sun-en", 1), ("q-ru", "moon-ru", 3), ("q-en", "moon-en", 0),
               ("r-ru", "sun", 2)),
    )  # fmt: skip


class TestRelevance:
    def test_grades_are_handed_on_to_translations_on_both_sides(self):
        expected = {
            ("q-en", "sun-en", 1), ("q-en", "sun-ru", 1), ("q-ru", "sun-en", 1),
            ("q-ru", "sun-ru", 1), ("q-en", "moon-en", 3), ("q-en", "moon-ru", 3),
            ("q-ru", "moon-en", 3), ("q-ru", "moon-ru", 3), ("r-ru", "sun", 2),
        }  # fmt: skip
        assert set(small().relevant.select("query_id", "doc_id", "relevance").rows()) == expected

    def test_direction_counts_documents_queries_and_those_left_out(self):
        rows = {row[:2]: row[2:] for row in small().directions.rows()}
        assert rows == {
            ("en", "en"): (2, 1, 0), ("en", "ru"): (2, 1, 1), ("ru", "en"): (3, 1, 0),
            ("ru", "ru"): (3, 2, 0), ("*", "en"): (5, 1, 0), ("*", "ru"): (5, 2, 0),
        }  # fmt: skip

    def test_group_columns_may_be_absent_and_texts_equal(self):
        queries = texts("query_id", ("a", "en", None), ("b", "en", None)).with_columns(
            text=pl.lit("same")
        )
        documents = texts("doc_id", ("d", "en", None)).drop("group_id")
        found = EvaluationCollection(documents, queries.drop("group_id"), judged(("a", "d", 1)))
        assert found.directions.rows() == [("*", "en", 1, 1, 1), ("en", "en", 1, 1, 1)]

    def test_questions_of_one_group_are_one_question(self):
        names = small().questions["question"].to_list()
        assert names[0] == names[1] != names[2]


class TestCuts:
    def test_language_without_judgments_of_its_own_keeps_the_handed_on_ones(self):
        only = small().only(("ru",))
        assert set(only.relevant["query_id"]) == {"q-ru", "r-ru"}
        assert only.relevant.filter(pl.col("query_id") == "q-ru")["doc_id"].to_list() == [
            "moon-ru", "sun-ru"
        ]  # fmt: skip
        with pytest.raises(InputError, match="no texts in de: the set has en, ru"):
            small().only(("de", "ru"))

    def test_same_questions_are_drawn_in_every_language_in_any_order(self):
        languages = ("en", "ru", "fr")
        rows = [(f"{group}-{x}", x, f"g{group}") for group in range(40) for x in languages]
        documents = texts("doc_id", *rows)
        queries = texts("query_id", *rows)
        judgments = judged(*((f"{group}-en", f"{group}-fr", 1) for group in range(40)))
        drawn = EvaluationCollection(documents, queries, judgments).draw(7, seed=3)
        groups = drawn.queries.group_by("language").agg(pl.col("group_id").sort())["group_id"]
        assert groups.n_unique() == 1
        assert drawn.queries.height == 21
        assert drawn.relevant.height == 63
        shuffled = EvaluationCollection(
            documents.reverse(), queries.sample(fraction=1, shuffle=True, seed=1), judgments
        ).draw(7, seed=3)
        assert set(shuffled.queries["query_id"]) == set(drawn.queries["query_id"])
        other = EvaluationCollection(documents, queries, judgments).draw(7, seed=4)
        assert set(other.queries["query_id"]) != set(drawn.queries["query_id"])

    def test_queries_without_an_answer_are_not_drawn(self):
        queries = texts("query_id", *((f"q{n}", "en", None) for n in range(20)))
        documents = texts("doc_id", ("d", "en", None))
        drawn = EvaluationCollection(documents, queries, judged(("q7", "d", 1))).draw(5, seed=0)
        assert drawn.queries["query_id"].to_list() == ["q7"]


class TestPairs:
    def pairs(self) -> pl.DataFrame:
        """Two rows share an English sentence, two an id, and two an Arabic sentence."""
        return pl.DataFrame(
            [("1", "salam", "ar", "hello", "en"), ("1", "privet", "ru", "hello", "en"),
             ("2", "poka", "ru", "bye", "en"), ("3", "salam", "ar", "hi", "en")],
            ["id", "text_a", "lang_a", "text_b", "lang_b"], orient="row",
        )  # fmt: skip

    def test_every_distinct_text_is_one_document_and_one_query(self):
        found = EvaluationCollection.from_pairs(self.pairs())
        assert found.documents.height == found.queries.height == 6
        names = dict(found.documents.select("doc_id", "text").iter_rows())
        answers = {
            (names[query], names[document])
            for query, document in found.relevant.select("query_id", "doc_id").iter_rows()
        }
        one_way = {("salam", "hello"), ("salam", "hi"), ("privet", "hello"), ("privet", "hi"),
                   ("salam", "privet"), ("poka", "bye")}  # fmt: skip
        assert answers == one_way | {(right, left) for left, right in one_way}

    def test_no_direction_of_one_language_and_no_id_from_row_order(self):
        found = EvaluationCollection.from_pairs(self.pairs())
        asked = found.directions.filter(pl.col("queries") > 0)
        assert not asked.filter(pl.col("document_language") == pl.col("query_language")).height
        turned = EvaluationCollection.from_pairs(self.pairs().reverse())
        assert turned.documents.equals(found.documents)
        assert turned.relevant.equals(found.relevant)

    def test_paraphrases_of_one_language_find_each_other_but_not_themselves(self):
        pairs = pl.DataFrame({"text_a": ["big"], "lang_a": ["en"], "text_b": ["large"],
                              "lang_b": ["en"]})  # fmt: skip
        found = EvaluationCollection.from_pairs(pairs)
        assert found.relevant.filter(pl.col("query_id") == pl.col("doc_id")).height == 0
        assert found.directions.row(1) == ("en", "en", 2, 2, 0)


class TestBadTables:
    @pytest.mark.parametrize(
        ("change", "message"),
        [
            ({"documents": texts("doc_id", ("a", "en", None), ("a", "ru", None))},
             "documents: expected one row per doc_id, found 2 rows that share theirs, as a"),
            ({"judgments": judged(("q-en", "nowhere", 1))},
             "judgments: 1 rows name a doc_id that is not there, as `nowhere`"),
            ({"judgments": judged(("q-en", "sun", 1), ("q-en", "sun", 2))},
             "judgments: expected one row per query_id and doc_id"),
            ({"queries": texts("query_id", (" ", "en", None))},
             "queries: `query_id` is empty or out of range in 1 rows, the first is row 0"),
            ({"judgments": judged(("q-en", "sun", 300))}, "`relevance` is empty or out of range"),
            ({"queries": pl.DataFrame({"query_id": ["q"], "text": ["t"]})},
             "queries: has no column language; it has query_id, text"),
        ],
    )  # fmt: skip
    def test_message_says_what_and_where(self, change, message):
        good = small()
        tables = {"documents": good.documents, "queries": good.queries,
                  "judgments": good.judgments}  # fmt: skip
        with pytest.raises(InputError) as caught:
            EvaluationCollection(**(tables | change))
        assert message in str(caught.value)


class TestClusters:
    """What is resampled together."""

    def collection(self, *pairs: tuple[str, str]) -> EvaluationCollection:
        queries = sorted({query for query, _ in pairs})
        documents = sorted({document for _, document in pairs})
        return EvaluationCollection(
            texts("doc_id", *((name, "en", None) for name in documents)),
            texts("query_id", *((name, "en", None) for name in queries)),
            judged(*((query, document, 1) for query, document in pairs)),
        )

    def test_questions_on_one_passage_are_drawn_together(self):
        found = self.collection(*((f"q{n:02}", f"d{n // 5}") for n in range(25)))
        names = found.clusters["question"].to_list()
        assert len(set(names)) == 5
        assert all(len(set(names[5 * n : 5 * n + 5])) == 1 for n in range(5))
        assert found.chained == 0

    def test_and_so_are_those_of_its_translations(self):
        documents = texts("doc_id", ("d-en", "en", "d"), ("d-ru", "ru", "d"),
                          *((name, "en", None) for name in "efghij"))  # fmt: skip
        queries = texts("query_id", *((name, "en", None) for name in "abcdefgh"))
        known = judged(("a", "d-en", 1), ("b", "d-ru", 1),
                       *zip("cdefgh", "efghij", [1] * 6, strict=True))  # fmt: skip
        names = dict(EvaluationCollection(documents, queries, known).clusters
                     .select("query_id", "question").rows())  # fmt: skip
        assert names["a"] == names["b"]
        assert len(set(names.values())) == 7

    def test_a_chain_of_too_many_questions_is_drawn_question_by_question(self):
        chain = [(f"q{n}", f"d{m}") for n in range(8) for m in (n, n + 1)]
        found = self.collection(*chain, ("r", "e"), ("s", "f"))
        assert found.clusters["question"].n_unique() == 10
        assert found.chained == 8
        answers = dict(found.clusters.select("query_id", "answers").rows())
        assert answers["r"] is None
        assert len(answers["q0"]) == len(set(answers["q0"]) | set(answers["q1"])) - 1 == 2

    def test_questions_that_nothing_answers_make_a_chain_no_shorter(self):
        chain = [(f"q{n}", f"d{m}") for n in range(8) for m in (n, n + 1)]
        found = self.collection(*chain)
        lonely = texts("query_id", *((f"x{n:03}", "en", None) for n in range(200)))
        more = EvaluationCollection(
            found.documents, pl.concat([found.queries.select(lonely.columns), lonely]),
            found.judgments,
        )  # fmt: skip
        assert more.chained == found.chained == 8
