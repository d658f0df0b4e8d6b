"""Negatives of the comparison: at random, and as sentence-transformers mines them."""

import random

import polars as pl
import pytest
from datasets import Dataset
from hypothesis import given, settings
from hypothesis import strategies as st
from polars.testing import assert_frame_equal
from sentence_transformers.util import mine_hard_negatives

from polymine.data_contracts.errors import SettingsError
from polymine.data_contracts.tables import Triplets
from polymine.mining.baseline_miners import library_triplets, random_triplets
from polymine.mining.library_miner import check_options
from tests.mining.small_tables import documents, judgments, queries
from tests.small import animal_tables

NO_CLOSURE = pl.DataFrame(schema={"query_id": pl.String, "doc_id": pl.String, "reason": pl.String})


@st.composite
def collections(draw):
    """Few documents of which many are closed, in any order; queries may know no positive."""
    ids = [f"d{i}" for i in range(draw(st.integers(1, 12)))]
    asked = [f"q{i}" for i in range(draw(st.integers(1, 6)))]
    pairs = st.tuples(st.sampled_from(asked), st.sampled_from(ids))
    known = draw(st.lists(pairs, max_size=8, unique=True))
    closed = draw(st.lists(pairs, max_size=30, unique=True))
    corpus = documents(*((i, f"text {i}") for i in draw(st.permutations(ids))))
    questions = queries(*((i, f"ask {i}") for i in draw(st.permutations(asked))))
    relevant = judgments(*((*pair, 1) for pair in known)).cast(
        {"query_id": pl.String, "doc_id": pl.String, "relevance": pl.Int8}
    )
    closure = pl.DataFrame(
        [(*pair, "copy") for pair in closed], schema=NO_CLOSURE.schema, orient="row"
    )
    return corpus, questions, relevant, closure


class TestRandom:
    @settings(max_examples=150)
    @given(collections(), st.integers(1, 9), st.integers(0, 3))
    def test_every_query_gets_what_is_open_to_it(self, tables, negatives, seed):
        corpus, _, known, closure = tables
        triplets = random_triplets(*tables, negatives=negatives, seed=seed)
        Triplets.validate(triplets)
        refused = {*closure.select("query_id", "doc_id").rows()}
        refused |= {*known.select("query_id", "doc_id").rows()}
        assert not refused & {*triplets.select("query_id", "negative_id").rows()}
        for query, positive in known.select("query_id", "doc_id").rows():
            rows = triplets.filter(query_id=query, positive_id=positive)
            free = corpus.height - sum(pair[0] == query for pair in refused)
            assert rows["position"].to_list() == list(range(1, min(negatives, free) + 1))
            assert rows["negative_id"].n_unique() == rows.height
        lists = triplets.group_by("query_id", "positive_id").agg("negative_id")
        assert (
            lists.group_by("query_id").agg(pl.n_unique("negative_id"))["negative_id"] == 1
        ).all()

    @settings(max_examples=50)
    @given(collections(), st.integers(1, 9), st.randoms(use_true_random=False))
    def test_order_and_shards_do_not_matter(self, tables, negatives, shuffle):
        whole = random_triplets(*tables, negatives=negatives, seed=5)
        mixed = [
            table.sample(fraction=1, shuffle=True, seed=shuffle.randrange(99)) for table in tables
        ]
        assert_frame_equal(random_triplets(*mixed, negatives=negatives, seed=5), whole)
        corpus, questions, known, closure = tables
        parts = [
            random_triplets(corpus, row, known, closure, negatives=negatives, seed=5)
            for row in questions.sort("query_id").iter_slices(1)
        ]
        assert_frame_equal(pl.concat(parts), whole)

    def test_all_open_documents_are_equally_likely_at_every_position(self):
        """4,000 queries, 8 open documents of 10: 500 expected each, deviation 21."""
        asked = [f"q{i}" for i in range(4000)]
        corpus = documents(*((f"d{i}", f"text {i}") for i in range(10)))
        questions = queries(*((i, f"ask {i}") for i in asked))
        known = judgments(*((i, "d0", 1) for i in asked))
        closure = pl.DataFrame([(i, "d7", "copy") for i in asked], NO_CLOSURE.schema, orient="row")
        drawn = random_triplets(corpus, questions, known, closure, negatives=3, seed=0)
        counts = drawn.group_by("position", "negative_id").len()
        assert counts.height == 3 * 8
        assert counts["len"].min() > 400
        assert counts["len"].max() < 600
        pairs = drawn.group_by("query_id").agg(pl.col("negative_id").sort().str.join())
        assert pairs["negative_id"].n_unique() == 56  # every set of 3 of 8 occurs

    def test_seed_decides(self):
        corpus, questions, known = animal_tables()
        one, same, other = (
            random_triplets(corpus, questions, known, NO_CLOSURE, negatives=4, seed=seed)
            for seed in (1, 1, 2)
        )
        assert_frame_equal(one, same)
        assert not one["negative_id"].equals(other["negative_id"])
        assert one.height == 37 * 4
        assert one["weight"].unique().to_list() == [1.0]
        assert one["negative_score"].unique().to_list() == [0.0]

    def test_judged_not_relevant_is_no_positive(self):
        corpus = documents(("d1", "a"), ("d2", "b"))
        drawn = random_triplets(
            corpus, queries(("q", "?")), judgments(("q", "d1", 0)), NO_CLOSURE, negatives=1, seed=0
        )
        assert drawn.height == 0
        Triplets.validate(drawn)


def call_directly(tables, encoder, **arguments):
    """What a user of the library gets: sets of (anchor, positive, negative) with both scores."""
    corpus, questions, known = tables
    pairs = known.join(questions.select("query_id", anchor="text"), on="query_id")
    pairs = pairs.join(corpus.select("doc_id", positive="text"), on="doc_id")
    pairs = pairs.sort("query_id", "doc_id").select("anchor", "positive")
    return mine_hard_negatives(
        Dataset.from_dict(pairs.to_dict(as_series=False)),
        encoder,
        corpus=corpus.sort("doc_id")["text"].to_list(),
        output_scores=True,
        verbose=False,
        **arguments,
    )


class TestLibrary:
    @pytest.mark.parametrize(
        "given_",
        [
            {},
            {"relative_margin": 0.05},
            {"relative_margin": "0.05", "range_min": "2", "range_max": "20"},
            {"absolute_margin": 0.1, "max_score": 0.6, "min_score": 0.2},
            {"margin": 0.1},
            {"query_prompt": "query: ", "corpus_prompt": "passage: "},
        ],
    )
    def test_is_what_the_library_returns(self, minilm, given_, capfd):
        tables = animal_tables()
        triplets = library_triplets(*tables, minilm, negatives=3, options=given_)
        assert capfd.readouterr() == ("", "")
        Triplets.validate(triplets)
        numbers = {
            name: value if not isinstance(value, str) or "prompt" in name else float(value)
            for name, value in given_.items()
        }
        ranks = {name: int(numbers[name]) for name in numbers if name.startswith("range")}
        expected = call_directly(tables, minilm, num_negatives=3, **{**numbers, **ranks})
        columns = ["anchor", "positive", "negative"]
        names = [*zip(*(expected[name] for name in columns), strict=True)]
        assert sorted(triplets.select(columns).rows()) == sorted(names)
        scores = dict(zip(names, expected["scores"], strict=True))
        for row in triplets.iter_rows(named=True):
            found = [row["positive_score"], row["negative_score"]]
            assert found == pytest.approx(scores[tuple(row[name] for name in columns)])
        hardest_first = [False, False, True]
        order = triplets.sort("query_id", "positive_id", "negative_score", descending=hardest_first)
        assert_frame_equal(order, triplets)

    def test_ids_and_languages_belong_to_the_texts(self, minilm):
        corpus, questions, known = animal_tables()
        swahili = pl.col("doc_id").str.ends_with("food")
        corpus = corpus.with_columns(
            language=pl.when(swahili).then(pl.lit("sw")).otherwise("language")
        )
        rows = library_triplets(corpus, questions, known, minilm, negatives=3, options={})
        texts = dict(corpus.select("doc_id", "text").rows())
        languages = dict(corpus.select("doc_id", "language").rows())
        for side in ("positive", "negative"):
            named = rows.select(f"{side}_id", side, f"{side}_language")
            assert all((texts[i], languages[i]) == (text, code) for i, text, code in named.rows())
        assert {"en", "sw"} == set(rows["negative_language"])
        assert rows["weight"].unique().to_list() == [1.0]

    def test_second_positive_has_the_same_negatives(self, minilm):
        rows = library_triplets(*animal_tables(), minilm, negatives=3, options={})
        both = rows.filter(query_id="otter-home?").group_by("positive_id").agg("negative_id")
        assert set(both["positive_id"]) == {"otter-home", "otter-risk"}
        assert both["negative_id"].n_unique() == 1

    def test_arms_that_cap_the_positives_draw_the_same_ones(self, minilm):
        asked = {"negatives": 3, "seed": 4, "most": 1}
        tables = animal_tables()
        rows = library_triplets(*tables, minilm, options={}, **asked)
        assert rows.group_by("query_id").agg(pl.n_unique("positive_id"))["positive_id"].max() == 1
        others = random_triplets(*tables, NO_CLOSURE, **asked)
        assert set(rows.select("query_id", "positive_id").rows()) == set(
            others.select("query_id", "positive_id").rows()
        )
        of_two = rows.filter(query_id="otter-home?")["negative_id"].to_list()
        assert not {"otter-home", "otter-risk"} & set(of_two)  # the other one is none, either

    def test_it_knows_no_closure(self, minilm):
        """A copy in other words, which ingestion would close, is the hardest negative."""
        corpus, questions, known = animal_tables()
        copy = "The yak makes its home in high plateaus; there it raises its young each spring."
        corpus = pl.concat([corpus, documents(("copy", copy))])
        rows = library_triplets(corpus, questions, known, minilm, negatives=3, options={})
        assert rows.filter(query_id="yak-home?", position=1)["negative_id"].to_list() == ["copy"]

    def test_equal_texts_go_by_the_smallest_id(self, minilm):
        corpus = documents(
            ("d3", "Owls hunt mice."), ("d2", "Yaks graze."), ("d1", "Yaks graze."),
            ("d4", "Camels eat thorns."),
        )  # fmt: skip
        questions = queries(("q2", "owl food?"), ("q1", "owl food?"))
        known = judgments(("q1", "d3", 1), ("q2", "d3", 1), ("q2", "d4", 1))
        rows = library_triplets(corpus, questions, known, minilm, negatives=3, options={})
        assert rows.select("query_id", "positive_id", "negative_id", "position").rows() == [
            ("q1", "d3", "d1", 1),
            ("q2", "d4", "d1", 1),
        ]
        Triplets.validate(rows)

    def test_random_sampling_is_seeded_and_leaves_the_global_numbers_alone(self, minilm):
        tables = animal_tables()
        options = {"sampling_strategy": "random", "range_max": 40}
        random.seed(3)
        before = random.getstate()
        one, same, other = (
            library_triplets(*tables, minilm, negatives=3, options=options, seed=seed)
            for seed in (1, 1, 2)
        )
        assert random.getstate() == before
        assert_frame_equal(one, same)
        assert not one["negative_id"].equals(other["negative_id"])
        shuffled = [table.sample(fraction=1, shuffle=True, seed=8) for table in tables]
        mixed = library_triplets(*shuffled, minilm, negatives=3, options=options, seed=1)
        assert_frame_equal(mixed, one)
        random.seed(1)
        direct = call_directly(tables, minilm, num_negatives=3, **options)
        assert sorted(direct["negative"]) == sorted(one["negative"])

    def test_nothing_to_mine_and_nothing_found_are_empty_tables(self, minilm):
        corpus, questions, known = animal_tables()
        for judged, options in ((known.clear(), {}), (known, {"max_score": -1})):
            rows = library_triplets(corpus, questions, judged, minilm, negatives=3, options=options)
            assert rows.height == 0
            Triplets.validate(rows)


class TestOptions:
    @pytest.mark.parametrize(
        ("given_", "words"),
        [
            ({"relative_margn": 0.05}, ["relative_margn: unknown", "`relative_margin`?"]),
            ({"num_negatives": 5}, ["num_negatives: unknown", "`mining.negatives`"]),
            ({"relative_margin": "much"}, ["relative_margin: ", "number", "(got 'much')"]),
            ({"relative_margin": True}, ["relative_margin: ", "(got True)"]),
            ({"max_score": "nan"}, ["max_score: ", "finite", "(got 'nan')"]),
            ({"range_min": "1.5"}, ["range_min: ", "integer", "(got '1.5')"]),
            ({"range_min": -1}, ["range_min: ", "equal to 0 (got -1)"]),
            ({"sampling_strategy": "best"}, ["sampling_strategy: ", "'random' (got 'best')"]),
            ({"margin": 0.1, "absolute_margin": 0.1}, ["same argument"]),
            ({"range_min": 4, "range_max": 6}, ["at least 3 ranks", "4 to 6", "range_max"]),
        ],
    )
    def test_refuses_clearly(self, given_, words):
        with pytest.raises(SettingsError) as refused:
            check_options(given_, negatives=3)
        for word in words:
            assert word in str(refused.value)

    def test_fitting_window_is_accepted(self):
        chosen = check_options({"range_min": "3", "range_max": "6"}, negatives=3)
        assert (chosen.range_min, chosen.range_max) == (3, 6)
