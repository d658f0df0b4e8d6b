"""Training rows from triplets, parallel pairs and collections, checked by eye and by invariants."""

import random

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from polars.testing import assert_frame_equal

from polymine.data_contracts.errors import InputError
from polymine.training.mixture import (
    Counts,
    check_scores,
    from_collection,
    from_parallel,
    from_triplets,
    select,
)


def mined(*rows: tuple) -> pl.DataFrame:
    """Rows of Triplets from (query_id, positive_id, position, negative, weight, score)."""
    frame = pl.DataFrame(
        rows, ["query_id", "positive_id", "position", "negative", "weight", "negative_score"],
        orient="row",
    )  # fmt: skip
    return frame.with_columns(
        anchor="ask " + pl.col("query_id"),
        positive="text " + pl.col("positive_id"),
        negative_id="negative",
        anchor_language=pl.lit("en"),
        positive_language=pl.lit("ru"),
        negative_language=pl.lit("ru"),
        positive_score=pl.lit(0.9),
    )


def plain(**columns: list) -> pl.DataFrame:
    return pl.DataFrame(columns)


def pairs(*rows: tuple) -> pl.DataFrame:
    columns = ["text_a", "lang_a", "text_b", "lang_b", "score"]
    return pl.DataFrame(rows, columns[: len(rows[0])], orient="row")


def texts(rows: pl.DataFrame) -> list[tuple[str, str]]:
    return rows.select("anchor", "positive").rows()


class TestTriplets:
    def test_first_negatives_by_position_with_weights_and_scores(self):
        triplets = mined(
            ("q2", "d2", 1, "x", 1.0, 0.5),
            ("q1", "d1", 3, "three", 0.3, 0.1),
            ("q1", "d1", 1, "one", 1.0, 0.3),
            ("q1", "d1", 2, "two", 0.5, 0.2),
        )
        part = from_triplets(triplets, "set", 2)
        assert part.rows["source"].to_list() == ["set", "set"]
        first, second = part.rows.iter_rows(named=True)
        assert (first["row"], first["anchor"], first["positive"]) == (0, "ask q1", "text d1")
        assert (first["anchor_language"], first["positive_language"]) == ("en", "ru")
        assert first["negatives"] == ["one", "two"]
        assert first["weights"] == [1.0, 0.5]
        assert first["scores"] == pytest.approx([0.9, 0.3, 0.2])
        assert (second["row"], second["negatives"]) == (1, ["x"])
        assert part.counts == Counts(2, 0, {"negatives beyond those wanted": 1})

    def test_several_positives_of_a_query_make_several_rows(self):
        part = from_triplets(mined(("q", "a", 1, "n", 1, 0), ("q", "b", 1, "n", 1, 0)), "set", 4)
        assert texts(part.rows) == [("ask q", "text a"), ("ask q", "text b")]

    @given(st.randoms(use_true_random=False))
    def test_order_of_the_rows_does_not_matter(self, rng: random.Random):
        rows = [(f"q{q}", f"d{q % 2}", n, f"n{n}", 1.0, 0.1) for q in range(3) for n in range(1, 4)]
        expected = from_triplets(mined(*rows), "set", 2)
        rng.shuffle(rows)
        assert_frame_equal(from_triplets(mined(*rows), "set", 2).rows, expected.rows)

    def test_plain_triplets(self):
        part = from_triplets(
            plain(anchor=["b", "a", "b"], positive=["B", "A", "B"], negative=["2", "1", "1"]),
            "set",
            5,
        )
        unused = ["source", "row", "positive_weight", "positive_weights", "related",
                  "related_weights"]  # fmt: skip
        assert part.rows.drop(unused).rows() == [
            ("und", "und", "a", "A", ["1"], [1.0], []),
            ("und", "und", "b", "B", ["2", "1"], [1.0, 1.0], []),
        ]

    def test_numbered_negatives_in_the_order_of_their_numbers(self):
        table = plain(
            anchor=["a", "b"], positive=["A", "B"], negative_2=["2", None], negative_10=["10", ""],
            negative_1=["1", "1"],
        )  # fmt: skip
        part = from_triplets(table, "set", 5)
        assert part.rows["negatives"].to_list() == [["1", "2", "10"], ["1"]]

    def test_pairs_alone_have_no_negatives(self):
        part = from_triplets(plain(anchor=["a"], positive=["A"]), "set", 5)
        assert part.rows.select("negatives", "weights", "scores").row(0) == ([], [], [])

    def test_equal_pairs_are_merged_and_the_richest_stays(self):
        one = mined(
            ("q1", "d1", 1, "x", 1, 0), ("q2", "d1", 1, "y", 1, 0), ("q2", "d1", 2, "z", 1, 0)
        )
        part = from_triplets(one.with_columns(anchor=pl.lit("same")), "set", 5)
        assert part.rows["negatives"].to_list() == [["y", "z"]]
        assert (part.counts.rows, part.counts.merged) == (1, 1)

    def test_a_positive_of_the_query_is_no_negative_of_it(self):
        table = plain(anchor=["a", "a", "b"], positive=["A", "B", "C"], negative=["B", "n", "A"])
        part = from_triplets(table, "set", 5)
        assert part.rows["negatives"].to_list() == [[], ["n"], ["A"]]
        assert part.counts.dropped == {"negatives that are positives of their query, or copies": 1}

    def test_empty_and_repeated_texts_are_counted(self):
        table = plain(
            anchor=["a", "a", " ", None], positive=["A", "A", "B", "C"], negative=list("nnnn")
        )
        part = from_triplets(table, "set", 5)
        assert part.rows["negatives"].to_list() == [["n"]]
        assert part.counts == Counts(1, 0, {"empty text": 2, "negatives repeated": 1})

    def test_scores_are_whole_or_absent(self):
        triplets = mined(("q", "d", 1, "x", 1, 0.5), ("q", "d", 2, "y", 1, None))
        assert from_triplets(triplets, "set", 1).rows["scores"][0].to_list() == pytest.approx(
            [0.9, 0.5]
        )
        assert from_triplets(triplets, "set", 2).rows["scores"][0].to_list() == []

    @pytest.mark.parametrize(
        ("table", "message"),
        [
            (plain(query=["a"], positive=["b"]), "`anchor` is missing; rename `query`"),
            (plain(anchor=["a"], positives=["b"]), "`positive` is missing; rename `positives`"),
            (plain(anchor=[1], positive=["b"]), "`anchor` should hold strings"),
            (plain(anchor=["a"], positive=["b"], negative=[["c"]]), "`negative` should hold"),
            (plain(anchor=["a"], positive=["b"], weight=[1.5]), "`weight` should lie from 0 to 1"),
            (plain(anchor=["a"], positive=["b"], positive_score=["x"]), "should hold numbers"),
            (plain(anchor=["a"], positive=["b"], positive_score=[float("nan")]), "got nan"),
            (plain(anchor=["a"], positive=["b"], anchor_language=["e"]), "codes as `ru`"),
            (plain(anchor=[""], positive=["b"]), "no training row is left .empty text: 1"),
        ],
    )
    def test_bad_tables_are_refused_by_name(self, table, message):
        with pytest.raises(InputError, match=f"^bad: .*{message}"):
            from_triplets(table, "bad", 4)


class TestParallel:
    def test_both_directions(self):
        part = from_parallel(pairs(("кот", "RU", "cat", "en"), ("a dog", "en", "hound", "en")), "p")
        columns = ["anchor", "anchor_language", "positive", "positive_language"]
        assert part.rows.select(columns).rows() == [
            ("кот", "ru", "cat", "en"),
            ("cat", "en", "кот", "ru"),
            ("a dog", "en", "hound", "en"),
            ("hound", "en", "a dog", "en"),
        ]
        assert part.rows["negatives"].list.len().sum() == 0

    def test_equal_texts_of_one_language_are_dropped_and_pairs_merged(self):
        table = pairs(
            ("Rome", "en", "Rome", "en"),
            ("Berlin", "en", "Berlin", "de"),
            ("a", "en", "b", "de"),
            ("b", "de", "a", "en"),
        )
        part = from_parallel(table, "p")
        assert texts(part.rows) == [("Berlin", "Berlin")] * 2 + [("a", "b"), ("b", "a")]
        assert part.counts == Counts(4, 2, {"equal texts": 1})

    def test_lowest_score_is_kept(self):
        table = pairs(
            ("a", "en", "b", "de", 4.0), ("c", "en", "d", "de", 3.9), ("e", "en", "f", "de", None)
        )
        part = from_parallel(table, "p", 4.0)
        assert texts(part.rows) == [("a", "b"), ("b", "a")]
        assert part.counts.dropped == {"no score": 1, "scored below 4": 1}

    def test_a_lowest_score_needs_scores(self):
        with pytest.raises(InputError, match="p: column `score` is missing"):
            from_parallel(pairs(("a", "en", "b", "de")), "p", 0.5)


def collection(*, groups: bool = True) -> tuple[pl.DataFrame, pl.DataFrame, pl.DataFrame]:
    """One passage in two languages, another in one; q-ru is judged through its version q-en."""
    documents = pl.DataFrame(
        {
            "doc_id": ["d-en", "d-ru", "e-en"],
            "text": ["cats", "кошки", "dogs"],
            "language": ["en", "ru", "en"],
            "group_id": ["d", "d", None],
        }
    )
    queries = pl.DataFrame(
        {
            "query_id": ["q-en", "q-ru", "r-en"],
            "text": ["cats?", "кошки?", "dogs?"],
            "language": ["en", "ru", "en"],
            "group_id": ["q", "q", None],
        }
    )
    judgments = pl.DataFrame(
        {
            "query_id": ["q-en", "r-en", "r-en", "gone"],
            "doc_id": ["d-en", "e-en", "d-en", "d-en"],
            "relevance": [1, 2, 0, 1],
        }
    )
    if groups:
        return documents, queries, judgments
    return documents.drop("group_id"), queries.drop("group_id"), judgments


class TestCollection:
    def test_every_query_with_every_version(self):
        part = from_collection(*collection(), "c")
        assert texts(part.rows) == [
            ("cats?", "cats"),
            ("cats?", "кошки"),
            ("кошки?", "cats"),
            ("кошки?", "кошки"),
            ("dogs?", "dogs"),
        ]
        assert part.counts.dropped == {"judgments of texts that are not there": 1}

    def test_without_groups_every_text_is_its_own(self):
        part = from_collection(*collection(groups=False), "c")
        assert texts(part.rows) == [("cats?", "cats"), ("dogs?", "dogs")]

    def test_nothing_relevant(self):
        documents, queries, judgments = collection()
        with pytest.raises(InputError, match="c: no training row is left"):
            from_collection(documents, queries, judgments.with_columns(relevance=0), "c")


def many(count: int) -> pl.DataFrame:
    table = pairs(*((f"a{i}", "en", f"b{i}", "ru" if i % 3 else "ar") for i in range(count)))
    return from_parallel(table, "p").rows


class TestSelect:
    def test_the_document_stands_first(self):
        part = select(many(4), ["ru-en"], None, 0)
        assert part.rows.select("positive_language", "anchor_language").unique().rows() == [
            ("ru", "en")
        ]
        assert part.counts == Counts(2, 0, {"other language pairs": 6})

    def test_a_pair_without_rows_is_named_with_those_there_are(self):
        with pytest.raises(InputError, match=r"p: no row of fa-en .*ru-en \(2\).*ar-en \(2\)"):
            select(many(4), ["ru-en", "fa-en"], None, 0)

    @settings(max_examples=20)
    @given(st.randoms(use_true_random=False), st.integers(1, 60), st.integers(0, 3))
    def test_what_is_drawn_depends_on_texts_and_seed_alone(self, rng, limit, seed):
        rows = many(30)
        order = list(range(rows.height))
        rng.shuffle(order)
        drawn = select(rows, None, limit, seed).rows
        assert drawn.height == min(limit, 60)
        again = select(rows[order], None, limit, seed).rows
        assert_frame_equal(drawn, again, check_row_order=False)
        fewer = select(rows, None, max(1, limit // 2), seed).rows
        assert set(fewer["row"]) <= set(drawn["row"])

    def test_seeds_draw_differently(self):
        rows = many(30)
        assert texts(select(rows, None, 9, 0).rows) != texts(select(rows, None, 9, 1).rows)

    def test_counts_add_up(self):
        part = select(many(4), ["ru-en"], 1, 0)
        assert Counts(8, 2, {"empty text": 1}).then(part.counts) == Counts(
            1, 2, {"empty text": 1, "other language pairs": 6, "over the limit": 1}
        )


def test_distillation_needs_scores():
    bare = from_triplets(plain(anchor=["a"], positive=["A"]), "bare", 4).rows
    scored = mined(("q1", "d", 1, "n1", 0.5, 0.1), ("q2", "d", 1, "m", 0.5, 0.1))
    rows = pl.concat([from_triplets(scored, "set", 4).rows, bare])
    check_scores(rows.filter(pl.col("source") == "set"))
    with pytest.raises(InputError, match=r"1 of 3 training rows.*row 0 of bare: 'a'"):
        check_scores(rows)
