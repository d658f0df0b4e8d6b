"""The five rules and the draws, by eye on tables of a few rows and as properties of random ones."""

import math
from collections import Counter

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st
from polars.testing import assert_frame_equal

from polymine.data_contracts.settings import MiningSettings, SelectionSettings
from polymine.mining.selection import (
    apply_rule,
    compute_ceilings,
    count_needed,
    count_searched,
    find_short,
    order_survivors,
)
from tests.small import MINILM, small_validator


def evidence(*rows):
    """Rows of (query, document, score, reason it is closed or None)."""
    types = {
        "query_id": pl.String, "doc_id": pl.String, "score_t": pl.Float32, "closed": pl.String,
    }  # fmt: skip
    frame = pl.DataFrame(rows, types, orient="row")
    return frame.with_columns(risk=pl.lit(None, pl.Float32))  # these rules read none


def positives(*rows):
    return pl.DataFrame(rows, {"query_id": pl.String, "score": pl.Float32}, orient="row")


def decide(candidates, known, settings):
    return apply_rule(candidates, compute_ceilings(known, settings), "t", settings)


def survivors(candidates, known, settings, seed=0):
    return order_survivors(decide(candidates, known, settings), settings, seed)


def passing(decided):
    return decided.filter(pl.col("reason").is_null())["doc_id"].to_list()


# All these numbers are exact in binary, so that equality means equality.
ABOVE_ZERO = evidence(
    ("q", "a", 0.75, None), ("q", "b", 0.5, None), ("q", "c", 0.375, None),
    ("q", "d", 0.25, None), ("q", "e", 0.125, None), ("q", "f", -0.5, None),
)  # fmt: skip
BELOW_ZERO = evidence(
    ("q", "a", -0.25, None), ("q", "b", -0.5, None), ("q", "c", -0.75, None),
    ("q", "d", -0.875, None),
)  # fmt: skip


class TestRules:
    @pytest.mark.parametrize(
        ("settings", "kept"),
        [
            ({"rule": "naive"}, "abcdef"),
            ({"rule": "shifted", "shift": 2}, "cdef"),
            ({"rule": "shifted", "shift": 0}, "abcdef"),
            ({"rule": "shifted", "shift": 6}, ""),
            ({"rule": "absolute", "absolute": 0.375}, "def"),
            ({"rule": "margin", "margin": 0.0}, "cdef"),
            ({"rule": "margin", "margin": 0.25}, "ef"),
            ({"rule": "percent", "percent": 1.0}, "cdef"),
            ({"rule": "percent", "percent": 0.5}, "ef"),
            ({"rule": "percent", "percent": 1.5}, "bcdef"),
        ],
    )
    def test_positive_at_one_half(self, settings, kept):
        decided = decide(ABOVE_ZERO, positives(("q", 0.5)), SelectionSettings(**settings))
        assert passing(decided) == list(kept)

    @pytest.mark.parametrize(
        ("settings", "kept"),
        [
            # pos - |pos| m, so half of a negative score lies lower, not higher
            ({"rule": "percent", "percent": 0.5}, "d"),
            ({"rule": "percent", "percent": 1.0}, "cd"),
            ({"rule": "margin", "margin": 0.25}, "d"),
            ({"rule": "absolute", "absolute": -0.5}, "cd"),
            ({"rule": "naive"}, "abcd"),
        ],
    )
    def test_positive_below_zero(self, settings, kept):
        decided = decide(BELOW_ZERO, positives(("q", -0.5)), SelectionSettings(**settings))
        assert passing(decided) == list(kept)

    def test_the_lowest_of_several_positives_sets_the_ceiling(self):
        settings = SelectionSettings(rule="percent", percent=1.0)
        known = positives(("q", 0.5), ("q", 0.25), ("other", -1.0))
        decided = decide(ABOVE_ZERO, known, settings)
        assert decided["positive_score"].unique().to_list() == [0.25]
        assert passing(decided) == ["e", "f"]

    def test_refused_candidates_say_why(self):
        candidates = evidence(
            ("q", "pos", 0.9, "positive"), ("q", "near", 0.1, "near_copy"),
            ("q", "high", 0.5, None), ("q", "low", 0.1, None),
        )  # fmt: skip
        settings = SelectionSettings(rule="percent", percent=1.0)
        decided = decide(candidates, positives(("q", 0.5)), settings)
        assert decided.select("doc_id", "reason").rows() == [
            ("pos", "known positive: positive"),
            ("high", "percent: at or above the ceiling"),
            ("low", None),
            ("near", "known positive: near_copy"),
        ]

    def test_shift_counts_only_what_would_have_passed(self):
        candidates = evidence(
            ("q", "a", 0.9, "positive"), ("q", "b", 0.8, None), ("q", "c", 0.7, "copy"),
            ("q", "d", 0.6, None), ("r", "a", 0.5, None), ("r", "b", 0.4, None),
        )  # fmt: skip
        settings = SelectionSettings(rule="shifted", shift=1)
        decided = decide(candidates, positives(("q", 0.9), ("r", 0.9)), settings)
        assert decided.filter(pl.col("reason").is_null()).select("query_id", "doc_id").rows() == [
            ("q", "d"), ("r", "b"),
        ]  # fmt: skip
        assert decided["reason"][1] == "shifted: among the 1 best"


QUERY_COUNT = 4000
SCORES = {"a": 0.6, "b": 0.5, "c": 0.45, "d": 0.3}


@pytest.fixture(scope="module")
def many():
    """The same four candidates for thousands of queries: each is one draw."""
    rows = [
        (f"q{number}", doc, score, None)
        for number in range(QUERY_COUNT)
        for doc, score in SCORES.items()
    ]
    return evidence(*rows), positives(*((f"q{number}", 1.0) for number in range(QUERY_COUNT)))


def drawn(many, order, **settings):
    settings = SelectionSettings(rule="naive", **settings)
    frame = survivors(*many, settings, seed=11)
    return frame.filter(pl.col("order") == order).sort("query_id")["doc_id"].to_list()


def assert_frequencies(found, expected):
    """Counts within five standard deviations of a binomial draw."""
    counts, total = Counter(found), len(found)
    assert set(counts) == {name for name, share in expected.items() if share > 0}
    for name, share in expected.items():
        deviation = math.sqrt(total * share * (1 - share))
        assert abs(counts[name] - total * share) <= 5 * deviation, (name, counts, expected)


class TestSampling:
    def test_random_draws_each_alike(self, many):
        assert_frequencies(drawn(many, 1, sampling="random"), dict.fromkeys("abcd", 0.25))

    def test_random_draws_from_the_pool_first(self, many):
        settings = {"sampling": "random", "pool": 3}
        assert_frequencies(drawn(many, 1, **settings), dict.fromkeys("abc", 1 / 3))
        assert set(drawn(many, 4, **settings)) == {"d"}

    def test_top1_sampled_keeps_the_hardest_and_draws_the_others(self, many):
        settings = {"sampling": "top1_sampled"}
        assert set(drawn(many, 1, **settings)) == {"a"}
        assert_frequencies(drawn(many, 2, **settings), dict.fromkeys("bcd", 1 / 3))

    def test_softmax_draws_by_the_softmax_without_replacement(self, many):
        temperature = 0.1
        weights = {doc: math.exp(score / temperature) for doc, score in SCORES.items()}
        total = sum(weights.values())
        share = {doc: weight / total for doc, weight in weights.items()}
        settings = {"sampling": "softmax", "temperature": temperature}
        first, second = drawn(many, 1, **settings), drawn(many, 2, **settings)
        assert_frequencies(first, share)
        after_a = [next_ for one, next_ in zip(first, second, strict=True) if one == "a"]
        rest = {doc: share[doc] / (1 - share["a"]) for doc in "bcd"}
        assert_frequencies(after_a, rest)

    def test_cold_softmax_is_top_and_hot_softmax_is_random(self, many):
        assert set(drawn(many, 1, sampling="softmax", temperature=1e-4)) == {"a"}
        hot = drawn(many, 1, sampling="softmax", temperature=1e4)
        assert_frequencies(hot, dict.fromkeys("abcd", 0.25))

    @pytest.mark.parametrize("sampling", ["random", "top1_sampled", "softmax"])
    def test_seed_decides_and_rows_and_shards_do_not(self, many, sampling):
        candidates, known = (frame.head(400) for frame in many)
        settings = SelectionSettings(rule="naive", sampling=sampling, temperature=0.2, pool=3)
        whole = survivors(candidates, known, settings, seed=5)
        assert whole.equals(survivors(candidates, known, settings, seed=5))
        assert not whole.equals(survivors(candidates, known, settings, seed=6))
        shuffled = candidates.sample(fraction=1, shuffle=True, seed=1)
        assert whole.equals(survivors(shuffled, known, settings, seed=5))
        # queries whole, as shards are cut
        parts = [candidates[at : at + 40] for at in range(0, 400, 40)]
        pieces = pl.concat([survivors(part, known, settings, seed=5) for part in parts])
        assert_frame_equal(pieces, whole, check_row_order=False)


tables = st.lists(
    st.tuples(
        st.sampled_from(["q", "r", "s"]),
        st.sampled_from("abcdefghij"),
        st.integers(-8, 8).map(lambda n: n / 8),
        st.sampled_from([None, None, None, "positive", "copy", "same_group"]),
    ),
    max_size=30,
    unique_by=lambda row: row[:2],
)
rules = st.builds(
    SelectionSettings,
    rule=st.sampled_from(["naive", "shifted", "absolute", "margin", "percent"]),
    percent=st.sampled_from([0.5, 0.95, 1.0, 1.5]),
    margin=st.sampled_from([0.0, 0.05, 0.5]),
    absolute=st.sampled_from([-0.5, 0.0, 0.5]),
    shift=st.integers(0, 3),
    sampling=st.sampled_from(["top", "random", "top1_sampled", "softmax"]),
    pool=st.integers(1, 5),
)
scores = st.lists(
    st.tuples(st.sampled_from(["q", "r"]), st.integers(-8, 8).map(lambda n: n / 8)), min_size=1
)


@given(tables, scores, rules, st.integers(0, 9))
def test_every_candidate_is_ordered_or_refused_and_no_closed_pair_passes(
    rows, known, settings, seed
):
    candidates, ceilings = evidence(*rows), compute_ceilings(positives(*known), settings)
    decided = apply_rule(candidates, ceilings, "t", settings)
    ordered = order_survivors(decided, settings, seed)
    asked = {row[:2]: row for row in rows if row[0] in {query for query, _ in known}}
    refused = decided.filter(pl.col("reason").is_not_null())
    taken = {row[:2]: row for row in ordered.iter_rows()}
    turned_down = set(refused.select("query_id", "doc_id").iter_rows())
    assert taken.keys() | turned_down == asked.keys()
    assert not taken.keys() & turned_down
    ceiling = dict(ceilings.select("query_id", "ceiling").iter_rows())
    for pair, row in asked.items():
        _, _, score, closed = row
        assert closed is None or pair in turned_down
        if pair in taken:
            assert score < ceiling[pair[0]]
            assert taken[pair][2] == score
        elif closed is None and settings.rule != "shifted":
            assert score >= ceiling[pair[0]]
    for query in {"q", "r"}:
        places = ordered.filter(query_id=query)["order"].to_list()
        assert places == list(range(1, len(places) + 1))
        mine = [row for row in taken.values() if row[0] == query]
        hardest = sorted(mine, key=lambda row: (-row[2], row[1]))
        if settings.sampling in ("top", "top1_sampled") and mine:
            assert mine[0] == hardest[0]
        pool = 0 if settings.sampling == "top" else settings.pool
        assert {row[1] for row in mine[:pool]} == {row[1] for row in hardest[:pool]}
        assert mine[pool:] == hardest[pool:]


class TestHowMany:
    def settings(self, validation=None, **selection):
        return MiningSettings(
            teachers=(MINILM,), negatives=3, selection=SelectionSettings(**selection),
            validation=validation,
        )  # fmt: skip

    @pytest.mark.parametrize(
        ("selection", "validated", "needed", "searched"),
        [
            ({"rule": "percent"}, False, 3, 3),
            ({"rule": "percent"}, True, 12, 12),
            ({"rule": "percent", "sampling": "random", "pool": 50}, False, 50, 50),
            ({"rule": "percent", "sampling": "random", "pool": 2}, False, 3, 3),
            ({"rule": "percent", "sampling": "softmax", "pool": 5}, True, 12, 12),
            # the validator moves risks before negatives are chosen, so none is kept in reserve
            ({"rule": "risk"}, True, 3, 3),
            ({"rule": "risk", "sampling": "random", "pool": 50}, True, 50, 50),
            ({"rule": "shifted", "shift": 10}, False, 3, 13),
        ],
    )
    def test_counts(self, selection, validated, needed, searched):
        settings = self.settings(small_validator() if validated else None, **selection)
        assert (count_needed(settings), count_searched(settings)) == (needed, searched)

    def test_short_queries_have_fewer_than_needed(self):
        candidates = evidence(
            ("q", "a", 0.1, None), ("q", "b", 0.2, None), ("q", "c", 0.9, None),
            ("r", "a", 0.1, None), ("r", "b", 0.1, "copy"),
        )  # fmt: skip
        known = positives(("q", 0.5), ("r", 0.5), ("s", 0.25))
        settings = SelectionSettings(rule="percent", percent=1.0)
        ceilings = compute_ceilings(known, settings)
        decided = apply_rule(candidates, ceilings, "t", settings)
        everyone = pl.Series(["q", "r", "s", "without a positive"])

        def short(needed, queries=everyone):
            return find_short(decided, ceilings, queries, needed).rows()

        assert short(2) == [("r", 0.5), ("s", 0.25)]
        assert short(3) == [("q", 0.5), ("r", 0.5), ("s", 0.25)]
        assert short(2, pl.Series(["s"])) == [("s", 0.25)]
        endless = compute_ceilings(known, SelectionSettings(rule="naive"))["ceiling"]
        assert endless.to_list() == [math.inf] * 3
