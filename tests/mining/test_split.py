"""Held-out documents: nothing that belongs together is ever on both sides."""

import polars as pl
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from polars.testing import assert_frame_equal

from polymine.data_contracts.errors import InputError
from polymine.mining.near_copies import near_copies
from polymine.mining.split import hold_out, near_texts, take
from tests.mining.small_tables import documents, judgments, queries
from tests.public_data import public_tables

NO_NEAR = pl.DataFrame(schema={"doc_id": pl.String, "near_group": pl.Int64})


def simple(count: int, extra: int = 0) -> tuple[pl.DataFrame, pl.DataFrame, pl.DataFrame]:
    """`count` documents with a query each, `extra` documents nobody asks about."""
    ids = [f"d{i:04}" for i in range(count)]
    return (
        documents(*((i, f"text {i}") for i in [*ids, *(f"e{i:04}" for i in range(extra))])),
        queries(*((f"q-{i}", f"ask {i}") for i in ids)),
        judgments(*((f"q-{i}", i, 1) for i in ids)),
    )


@st.composite
def collections(draw):
    """Few texts, groups and near-copy groups, so that most documents are linked somehow."""
    size = draw(st.integers(12, 40))
    some = st.one_of(st.none(), st.integers(0, 3 * size).map(str))
    text = st.integers(0, 4 * size).map("text {}".format)
    ids, asked = [f"d{i}" for i in range(size)], [f"q{i}" for i in range(size)]

    def column(values):
        return draw(st.lists(values, min_size=size, max_size=size))

    corpus = documents(*zip(ids, column(text), strict=True)).with_columns(
        pl.Series("group_id", column(some), dtype=pl.String)
    )
    questions = queries(*zip(asked, column(text), strict=True)).with_columns(
        pl.Series("group_id", column(some), dtype=pl.String)
    )
    pairs = st.tuples(st.sampled_from(asked), st.sampled_from(ids), st.integers(0, 1))
    known = draw(st.lists(pairs, min_size=size, max_size=2 * size, unique_by=lambda row: row[:2]))
    near = pl.DataFrame(
        {"doc_id": ids, "near_group": column(st.one_of(st.none(), st.integers(0, 2 * size)))},
        schema=NO_NEAR.schema,
    ).drop_nulls()
    return corpus, questions, judgments(*known), near


def one_side(frame: pl.DataFrame, key: str) -> bool:
    """Whether all rows of equal (not null) `key` have one side."""
    sides = frame.drop_nulls([key, "side"]).group_by(key).agg(pl.col("side").n_unique())
    return bool((sides["side"] == 1).all())


class TestInvariants:
    @settings(max_examples=150)
    @given(collections(), st.sampled_from([0.1, 0.3, 0.5]), st.integers(0, 3))
    def test_what_belongs_together_is_on_one_side(self, tables, share, seed):
        corpus, questions, known, near = tables
        try:
            split = hold_out(corpus, questions, known, near, share, seed)
        except InputError:
            assume(False)
        held = split.documents.join(corpus, on="doc_id").join(near, on="doc_id", how="left")
        asked = split.queries.join(questions, on="query_id")
        for frame in (held, asked):
            assert one_side(frame, "group_id")
            assert one_side(frame, "text")
        assert one_side(held, "near_group")
        relevant = known.filter(pl.col("relevance") > 0)
        both = relevant.join(split.documents, on="doc_id").join(split.queries, on="query_id")
        assert (both["side"] == both["side_right"]).all()
        assert held.height == corpus.height
        assert held.filter(pl.col("side") == "test").height <= 1.25 * share * corpus.height

    @settings(max_examples=60)
    @given(collections(), st.sampled_from(["documents", "queries"]), st.integers(0, 3))
    def test_a_second_cut_lies_apart_from_the_first(self, tables, way, seed):
        """Test part, development part and what trains: no two share what belongs together."""
        *whole, near = tables
        try:
            first = hold_out(*whole, near, 0.3, seed, way=way)
            left = take(first, "training", *whole)
            second = hold_out(*left, near, 0.3, seed, way=way)
        except InputError:
            assume(False)
        held = pl.concat([first.queries.filter(side="test"), second.queries.with_columns(
            side=pl.when(side="training").then(pl.lit("rest")).when(side="test").then(pl.lit("dev"))
        )])  # fmt: skip
        asked = held.join(whole[1], on="query_id")
        assert asked["query_id"].is_unique().all()
        assert one_side(asked, "group_id")
        assert one_side(asked, "text")
        if way == "documents":
            relevant = whole[2].filter(pl.col("relevance") > 0)
            answers = relevant.join(held, on="query_id").join(whole[0], on="doc_id")
            answers = answers.join(near, on="doc_id", how="left")
            assert all(one_side(answers, key) for key in ("doc_id", "text", "near_group"))

    @settings(max_examples=30)
    @given(collections(), st.randoms(use_true_random=False))
    def test_order_of_the_rows_does_not_matter(self, tables, rng):
        corpus, questions, known, near = tables
        try:
            split = hold_out(corpus, questions, known, near, 0.4, 0)
        except InputError:
            assume(False)

        def shuffled(frame):
            return frame[rng.sample(range(frame.height), frame.height)]

        again = hold_out(*(shuffled(frame) for frame in tables), 0.4, 0)
        assert_frame_equal(split.documents, again.documents)
        assert_frame_equal(split.queries, again.queries)


class TestWays:
    """Queries are held out where documents hang together, and their documents stay."""

    @pytest.mark.parametrize(
        ("name", "way"),
        [("cisi", "queries"), ("cacm", "queries"), ("cranfield", "queries"),
         ("med", "documents"), ("scifact", "documents")],
    )  # fmt: skip
    def test_judged_collections_all_split(self, name, way):
        corpus, questions, known = public_tables(name)
        near, asked = near_texts(corpus, questions, 0.8)
        split = hold_out(corpus, questions, known, near, 0.1, 0, asked, "auto")
        assert split.way == way
        relevant = known.filter(pl.col("relevance") > 0)
        answered = split.queries.join(relevant, on="query_id", how="semi")
        share = answered.filter(side="test").height / answered.height
        assert 0.05 <= share <= 0.2
        documents, _, judged = take(split, "test", corpus, questions, known, whole=True)
        assert documents.height == corpus.height
        assert judged.filter(pl.col("relevance") > 0).height > 0

    @pytest.mark.parametrize("pages", [1, 3])
    @pytest.mark.parametrize("answered", [360, 400])
    def test_a_few_pages_that_answer_most_queries_leave_no_luck(self, pages, answered):
        """On one side or the other they made 8 test queries or 127, or none at all."""
        corpus = pl.DataFrame({"doc_id": [f"d{n:03}" for n in range(200)]})
        corpus = corpus.with_columns(text=pl.format("page {} on subject {}", "doc_id", "doc_id"),
                                     language=pl.lit("en"))  # fmt: skip
        questions = pl.DataFrame({"query_id": [f"q{n:03}" for n in range(400)]})
        questions = questions.with_columns(text=pl.format("what of {}?", "query_id"),
                                           language=pl.lit("en"))  # fmt: skip
        place = [n % pages if n < answered else 10 + n - answered for n in range(400)]
        known = pl.DataFrame({"query_id": questions["query_id"],
                              "doc_id": [f"d{n:03}" for n in place], "relevance": 1})  # fmt: skip
        near, asked = near_texts(corpus, questions, 0.8)
        for seed in range(4):
            split = hold_out(corpus, questions, known, near, 0.1, seed, asked, "auto")
            assert split.way == "queries"
            assert split.queries.filter(side="test").height == 40

    @settings(max_examples=60)
    @given(collections(), st.sampled_from([0.1, 0.5]), st.integers(0, 3))
    def test_queries_that_ask_the_same_are_on_one_side(self, tables, share, seed):
        corpus, questions, known, near = tables
        try:
            split = hold_out(corpus, questions, known, near, share, seed, way="queries")
        except InputError:
            assume(False)
        asked = split.queries.join(questions, on="query_id")
        assert one_side(asked, "group_id")
        assert one_side(asked, "text")
        assert set(split.documents["side"]) == {"training"}
        documents, trained, judged = take(split, "training", corpus, questions, known)
        assert documents.height == corpus.height
        assert set(judged["query_id"]) <= set(trained["query_id"])
        tested = take(split, "test", corpus, questions, known, whole=True)[2]
        assert not set(tested["query_id"]) & set(judged["query_id"])

    def test_the_whole_corpus_adds_no_answers(self):
        tables = simple(40)
        split = hold_out(*tables, NO_NEAR, 0.25, 0)
        alone, whole = (take(split, "test", *tables, whole=whole) for whole in (False, True))
        assert (alone[0].height, whole[0].height) == (10, 40)
        assert_frame_equal(alone[2], whole[2])


class TestShare:
    @pytest.mark.parametrize("share", [0.05, 0.1, 0.5, 0.9])
    def test_about_the_share_is_held_out(self, share):
        split = hold_out(*simple(400), NO_NEAR, share, 0)
        assert split.counts["test"] == {"documents": 400 * share, "queries": 400 * share}
        assert split.counts["training"]["documents"] == 400 - 400 * share

    def test_documents_nobody_asks_about_are_on_both_sides(self):
        split = hold_out(*simple(200, extra=200), NO_NEAR, 0.5, 0)
        unasked = split.documents.filter(pl.col("doc_id").str.starts_with("e"))
        assert 70 < unasked.filter(pl.col("side") == "test").height < 130

    def test_a_component_that_is_too_large_stays_in_training(self):
        corpus, questions, known = simple(100)
        large = pl.when(pl.col("doc_id") < "d0050").then(pl.lit("large")).alias("group_id")
        for seed in range(5):
            split = hold_out(corpus.with_columns(large), questions, known, NO_NEAR, 0.2, seed)
            held = split.documents.filter(pl.col("side") == "test")
            assert held.height == 20
            assert held["doc_id"].min() >= "d0050"

    def test_a_further_document_moves_few_others(self):
        before = hold_out(*simple(300), NO_NEAR, 0.2, 3).documents
        corpus, questions, known = simple(300, extra=1)
        after = hold_out(corpus, questions, known, NO_NEAR, 0.2, 3).documents
        both = before.join(after, on="doc_id")
        assert both.filter(pl.col("side") != pl.col("side_right")).height <= 1

    def test_seeds_hold_out_different_documents(self):
        one, other = (hold_out(*simple(100), NO_NEAR, 0.2, seed).documents for seed in (0, 1))
        assert not one.equals(other)

    def test_no_test_query_is_an_error_that_says_why(self):
        corpus, questions, known = simple(20)
        one = corpus.with_columns(group_id=pl.lit("all"))
        with pytest.raises(InputError, match=r"on the test side.*1 groups.*largest of 20"):
            hold_out(one, questions, known, NO_NEAR, 0.2, 0)


class TestQueries:
    def test_queries_without_a_relevant_document(self):
        """u asks nothing known and is trained on; every w asks what another query asks."""
        corpus, questions, known = simple(40)
        again = [(f"w{i}", f"ASK  {doc_id}") for i, doc_id in enumerate(corpus["doc_id"])]
        questions = pl.concat([questions, queries(("u", "unknown"), *again)])
        known = pl.concat([known, judgments(("u", "d0001", 0))])
        split = hold_out(corpus, questions, known, NO_NEAR, 0.25, 0)
        sides = dict(split.queries.select("query_id", "side").rows())
        on_test = {i for i, doc_id in enumerate(corpus["doc_id"]) if sides[f"q-{doc_id}"] == "test"}
        assert sides["u"] == "training"
        assert {i for i in range(40) if sides[f"w{i}"] is None} == on_test
        assert list(split.left_out.values()) == [10]

    def test_tables_of_a_side(self):
        tables = simple(40)
        crossing = [(f"q-d{i:04}", "d0000", 0) for i in range(1, 40)]
        tables = (*tables[:2], pl.concat([tables[2], judgments(*crossing)]))
        split = hold_out(*tables, NO_NEAR, 0.25, 0)
        taken = [take(split, side, *tables) for side in ("training", "test")]
        assert [[frame.height for frame in side[:2]] for side in taken] == [[30, 30], [10, 10]]
        for corpus, questions, known in taken:
            assert known["doc_id"].is_in(corpus["doc_id"].implode()).all()
            assert known["query_id"].is_in(questions["query_id"].implode()).all()
            assert (known["relevance"] > 0).sum() == questions.height


def test_near_copies_are_taken_as_ingestion_finds_them():
    texts = [" ".join(f"w{topic}x{word}" for word in range(30)) for topic in range(20)]
    corpus = documents(*((f"d{i:02}{end}", f"{text} {end}") for i, text in enumerate(texts)
                         for end in ("a", "b")))  # fmt: skip
    questions = queries(*((f"q{doc_id}", f"ask {doc_id}") for doc_id in corpus["doc_id"]))
    known = judgments(*((f"q{doc_id}", doc_id, 1) for doc_id in corpus["doc_id"]))
    split = hold_out(corpus, questions, known, near_copies(corpus, 0.8), 0.3, 0)
    assert one_side(split.documents.with_columns(topic=pl.col("doc_id").str.head(3)), "topic")
    assert split.counts["test"]["documents"] == 12
