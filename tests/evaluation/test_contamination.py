"""Training texts in evaluation data: equal, near, too short to matter; and the known overlap."""

import random
import time

import polars as pl
from hypothesis import given, settings
from hypothesis import strategies as st

from polymine.evaluation import contamination
from polymine.evaluation.contamination import (
    COLUMNS,
    at_levels,
    exclude,
    find_overlap,
    shares_corpus,
    texts_of,
)
from polymine.training.mixture import from_collection, from_triplets
from tests.public_data import public, public_tables

PASSAGE = " ".join(f"word{i}" for i in range(40))


def trained(*rows: tuple[int, str, str]) -> pl.DataFrame:
    return pl.DataFrame(rows, ["row", "side", "text"], orient="row")


def evaluated(*texts: str, set: str = "test") -> pl.DataFrame:
    ids = [f"t{i}" for i in range(len(texts))]
    return pl.DataFrame({"set": [set] * len(texts), "id": ids, "text": texts})


def found(training: pl.DataFrame, evaluation: pl.DataFrame, near: float = 0.8) -> list[tuple]:
    overlap = find_overlap(training, evaluation, near)
    assert overlap.columns == COLUMNS
    return overlap.select("row", "side", "id", "kind").rows()


class TestFindOverlap:
    def test_equal_and_near_texts_are_told_apart(self):
        training = trained(
            (0, "positive", PASSAGE.upper()),
            (1, "positive", PASSAGE + " more"),
            (2, "positive", PASSAGE.replace("word", "other")),
            (3, "negative", f"  {PASSAGE}\n"),
        )
        assert found(training, evaluated("something else entirely, and long", PASSAGE)) == [
            (0, "positive", "t1", "equal"),
            (1, "positive", "t1", "near"),
            (3, "negative", "t1", "equal"),
        ]

    def test_the_training_text_is_shown(self):
        overlap = find_overlap(trained((0, "positive", PASSAGE + " more")), evaluated(PASSAGE))
        assert overlap["text"].to_list() == [PASSAGE + " more"]

    def test_copies_within_a_side_are_not_reported(self):
        training = trained(*((i, "positive", PASSAGE) for i in range(5)))
        assert found(training, evaluated("one two three four five six")) == []
        assert len(found(training, evaluated(PASSAGE, PASSAGE))) == 10

    def test_every_set_is_named(self):
        evaluation = pl.concat([evaluated(PASSAGE, set="a"), evaluated(PASSAGE, set="b")])
        overlap = find_overlap(trained((7, "anchor", PASSAGE)), evaluation)
        assert overlap.select("row", "set").rows() == [(7, "a"), (7, "b")]

    def test_nothing_to_compare(self):
        assert found(trained((0, "anchor", PASSAGE)), evaluated("").clear()) == []
        assert found(trained((0, "anchor", "")), evaluated("", "!")) == []

    @settings(max_examples=60)
    @given(st.data())
    def test_small_sets_against_all_pairs(self, data):
        """A few words in a few orders: most pairs are close to the threshold."""
        text = st.lists(st.sampled_from("abcdef"), min_size=5, max_size=9).map(" ".join)
        left = data.draw(st.lists(text, min_size=1, max_size=8))
        right = data.draw(st.lists(text, min_size=1, max_size=8))

        def shingles(words):
            words = words.split()
            return {tuple(words[i : i + 3]) for i in range(len(words) - 2)}

        def close(one, other):
            one, other = shingles(one), shingles(other)
            return len(one & other) >= 0.8 * len(one | other)

        expected = {
            (i, f"t{j}")
            for i, one in enumerate(left)
            for j, other in enumerate(right)
            if close(one, other)
        }
        rows = found(
            trained(*((i, "anchor", text) for i, text in enumerate(left))), evaluated(*right)
        )
        assert {(row, id) for row, _, id, _ in rows} == expected


class TestShortTexts:
    def test_a_shared_short_question_is_no_evidence(self):
        assert found(trained((0, "anchor", "Who was he?")), evaluated("who was he?")) == []

    def test_with_the_other_text_of_its_row_it_is(self):
        training = trained((0, "anchor", "Who was he?"), (0, "positive", PASSAGE))
        assert found(training, evaluated("Who was he?", PASSAGE)) == [
            (0, "anchor", "t0", "equal"),
            (0, "positive", "t1", "equal"),
        ]

    def test_the_other_text_must_lie_in_the_same_set(self):
        training = trained((0, "anchor", "Who was he?"), (0, "positive", "It was he."))
        evaluation = pl.concat([evaluated("Who was he?"), evaluated("It was he.", set="else")])
        assert found(training, evaluation) == []
        assert len(found(training, evaluated("Who was he?", "It was he."))) == 2

    def test_one_or_two_words_never_count(self):
        training = trained((0, "anchor", "Tom"), (0, "positive", "A dog"))
        assert found(training, evaluated("Tom", "a dog")) == []

    def test_short_negatives_never_count(self):
        training = trained((0, "negative", "Who was he?"), (0, "positive", PASSAGE))
        assert found(training, evaluated("Who was he?", PASSAGE)) == [
            (0, "positive", "t1", "equal")
        ]

    def test_scripts_without_spaces_are_measured_by_their_characters(self):
        assert found(
            trained((0, "anchor", "東京はどこですか日本")), evaluated("東京はどこですか日本")
        )
        assert not found(trained((0, "anchor", "東京")), evaluated("東京"))


def test_pieces_of_any_size_find_the_same(monkeypatch):
    rng = random.Random(1)
    texts = [" ".join(rng.choices("abcd", k=8)) for _ in range(120)]
    training = trained(*((i, "positive", text) for i, text in enumerate(texts[:60])), (60, "x", ""))
    whole = found(training, evaluated(*texts[60:], "!"), near=0.4)
    assert len(whole) > 10
    monkeypatch.setattr(contamination, "CHUNK", 7)
    assert found(training, evaluated(*texts[60:], "!"), near=0.4) == whole


class TestLevels:
    EVALUATION = evaluated(
        "which words does this passage hold?", PASSAGE, "Who was he?"
    ).with_columns(part=pl.Series(["query", "document", "query"]))

    def held(self, level: str, *training: tuple[int, str, str]) -> list[tuple[int, str]]:
        overlap = find_overlap(trained(*training), self.EVALUATION)
        return at_levels(overlap, {"test": level}).select("row", "part").rows()

    def test_a_document_alone_counts_unless_the_level_is_queries(self):
        row = (0, "positive", PASSAGE)
        assert self.held("queries", row) == []
        assert self.held("relevant", row) == self.held("all", row) == [(0, "document")]

    def test_a_query_counts_at_every_level_and_names_the_document_beside_it(self):
        rows = ((0, "anchor", "WHICH words does this passage hold?"), (0, "positive", PASSAGE))
        both = [(0, "query"), (0, "document")]
        assert [self.held(level, *rows) for level in ("queries", "all")] == [both, both]

    def test_the_document_makes_a_short_query_tell(self):
        short = (0, "anchor", "who was he?")
        assert self.held("queries", short) == []
        assert len(self.held("queries", short, (0, "positive", PASSAGE))) == 2

    def test_a_page_makes_a_query_of_two_words_tell(self):
        """Most of a click log's queries are so short; a name beside a name still says nothing."""
        page = (0, "positive", PASSAGE)
        held = evaluated("running shoes", PASSAGE, "red").with_columns(
            part=pl.Series(["query", "document", "document"])
        )
        for row, count in (((0, "anchor", "running shoes"), 2), ((0, "anchor", "shoes"), 0)):
            overlap = find_overlap(trained(row, page), held)
            assert len(at_levels(overlap, {"test": "queries"})) == count
        names = trained((0, "anchor", "running shoes"), (0, "positive", "red"))
        assert find_overlap(names, held).is_empty()

    def test_a_corpus_is_shared_if_most_positives_are_in_it(self):
        corpus = pl.Series(["a", "b", "c"])
        assert shares_corpus(pl.Series(["a", "x"]), corpus)
        assert not shares_corpus(pl.Series(["a", "x", "y"]), corpus)
        assert not shares_corpus(pl.Series([], dtype=pl.String), corpus)


class TestExclude:
    def test_rows_go_with_any_of_their_texts(self):
        table = pl.DataFrame(
            {"anchor": ["a", "b", "c"], "positive": ["A", PASSAGE, "C"],
             "negative": [PASSAGE, "n", "n"]}
        )  # fmt: skip
        rows = pl.concat([from_triplets(table, source, 4).rows for source in ("one", "two")])
        overlap = find_overlap(texts_of(rows.filter(pl.col("source") == "one")), evaluated(PASSAGE))
        assert overlap.columns == ["source", *COLUMNS]
        kept, removed = exclude(rows, overlap)
        assert removed == 2
        assert kept.select("source", "row").rows() == [
            ("one", 2), ("two", 0), ("two", 1), ("two", 2)
        ]  # fmt: skip


def test_the_paragraphs_of_xquad_that_lie_in_squad_are_all_listed():
    squad = public_tables("squad-dev")
    rows = from_collection(*squad, "squad-dev").rows
    corpus, queries, _ = public_tables("xquad")
    texts = [
        table.filter(pl.col("language") == "en").select(
            pl.lit("xquad").alias("set"), id=key, text="text"
        )
        for table, key in ((corpus, "doc_id"), (queries, "query_id"))
    ]
    overlap = find_overlap(texts_of(rows), pl.concat(texts))
    groups = pl.read_parquet(public("xquad") / "translations.parquet")
    known = pl.read_parquet(public("xquad") / "squad_dev_overlap.parquet")
    passages = overlap.join(groups, left_on="id", right_on="doc_id")
    assert passages["group_id"].n_unique() == 240
    assert set(passages["group_id"]) == set(known["group_id"])
    kept, removed = exclude(rows, overlap)
    copies = known["squad_dev_doc_id"].implode()
    theirs = squad[0].filter(pl.col("doc_id").is_in(copies))["text"].implode()
    assert removed >= rows.filter(pl.col("positive").is_in(theirs)).height > 1_000
    assert len(find_overlap(texts_of(kept), pl.concat(texts))) == 0
    held = set(corpus.filter(pl.col("language") == "en")["text"])
    assert not held & set(kept["positive"])


def test_time_does_not_grow_with_pairs():
    """Boilerplate: every text shares half its words with all others."""
    rng = random.Random(0)
    shared = " ".join(f"s{i}" for i in range(15))
    texts = [f"{shared} " + " ".join(rng.choices("abcdefghij", k=15)) for _ in range(8_000)]
    training = trained(*((i, "positive", text) for i, text in enumerate(texts[:4_000])))
    begin = time.perf_counter()
    rows = found(training, evaluated(*texts[3_990:]))
    assert time.perf_counter() - begin < 10
    assert {(row, id) for row, _, id, kind in rows if kind == "equal"} == {
        (3_990 + i, f"t{i}") for i in range(10)
    }
