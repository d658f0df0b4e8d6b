"""The budget, against every possible choice on tiny sets."""

from itertools import combinations, pairwise, product

import numpy as np
import polars as pl
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from polymine.mining import budget
from polymine.mining.budget import (
    Choice,
    Pool,
    apply_choice,
    choose,
    describe,
    expected_rate,
    join,
    pool_of,
    search,
    trade_off,
)

# Eighths and sixteenths are exact in binary, so that ties are ties.
candidate = st.tuples(st.integers(-8, 8), st.integers(0, 16))
sets = st.lists(st.lists(candidate, min_size=1, max_size=4), min_size=1, max_size=3)
prices = st.sampled_from([0.0, 0.1, 0.25, 0.5, 1.0, 3.0, 100.0])


def table(queries):
    rows = [
        (f"q{at}", f"d{nth}", score / 8, risk / 16, None)
        for at, candidates in enumerate(queries)
        for nth, (score, risk) in enumerate(candidates)
    ]
    types = {"query_id": pl.String, "doc_id": pl.String, "score": pl.Float32, "risk": pl.Float32,
             "reason": pl.String}  # fmt: skip
    return pl.DataFrame(rows, types, orient="row")


def whole(queries):
    """The pool of all candidates, none pruned."""
    ordered = [sorted(candidates, key=lambda one: -one[0]) for candidates in queries]
    flat = np.array([one for candidates in ordered for one in candidates], dtype=float)
    starts = np.cumsum([0, *map(len, ordered)])
    return Pool(starts, flat[:, 0] / 8, flat[:, 1] / 16)


def choices(pool, count, ceiling):
    """Every set that takes as many of each query as it may: rows."""
    per_query = []
    for start, stop in zip(pool.starts[:-1], pool.starts[1:], strict=True):
        open_ = [row for row in range(start, stop) if pool.risks[row] <= ceiling]
        per_query.append(list(combinations(open_, min(count, len(open_)))))
    for parts in product(*per_query):
        yield np.array([row for part in parts for row in part], dtype=int)


@given(sets, st.integers(1, 3), st.sampled_from([0.01, 0.05, 0.2, 0.5]),
       st.sampled_from([0.25, 1.0]))  # fmt: skip
def test_no_set_with_no_more_false_negatives_is_harder(queries, count, rate, ceiling):
    pool = whole(queries)
    choice = search(pool, count, rate, ceiling)
    chosen = choose(pool, choice, count)
    assert expected_rate(pool, chosen) <= rate + 1e-12
    if choice.ceiling < ceiling:
        return  # what there is, is too risky: another test
    hardness, false = pool.scores[chosen].sum(), pool.risks[chosen].sum()
    for other in choices(pool, count, ceiling):
        assert len(other) == len(chosen)  # the yield is full
        if pool.risks[other].sum() <= false:
            assert pool.scores[other].sum() <= hardness + 1e-9


@given(sets, st.integers(1, 3), st.sampled_from([0.01, 0.05, 0.2, 0.5]))
def test_where_nothing_fits_the_likeliest_are_left_out(queries, count, rate):
    pool = whole(queries)
    choice = search(pool, count, rate, 1.0)
    cheapest = min((pool.risks[one].mean() for one in choices(pool, count, 1.0)), default=0)
    assume(cheapest > rate)
    assert choice.ceiling < 1
    chosen = choose(pool, choice, count)
    assert expected_rate(pool, chosen) <= rate
    assert (pool.risks[chosen] <= choice.ceiling).all()


@given(sets, st.integers(1, 3), prices, st.sampled_from([0.125, 0.5, 1.0]))
def test_pruning_never_changes_what_is_chosen(queries, count, price, ceiling):
    pool, pruned = whole(queries), pool_of(table(queries), count)
    choice = Choice(price, ceiling)

    def taken(of):
        rows = choose(of, choice, count)
        places = np.searchsorted(of.starts, rows, side="right") - 1
        worth = of.scores[rows] - price * of.risks[rows]
        return sorted(zip(places.tolist(), worth.tolist(), strict=True))

    # Candidates of equal worth may stand for one another.
    assert taken(pruned) == taken(pool)


def test_candidates_of_equal_risk_are_left_out_together():
    # .125 alone is within .2, and so is one of the two at .25 with it, but not both
    pool = whole([[(0, 2)], [(0, 4)], [(0, 4)]])
    choice = search(pool, 1, 0.2, 1.0)
    assert choice.ceiling == 0.125
    assert choose(pool, choice, 1).tolist() == [0]


def test_pruned_are_those_with_enough_harder_and_safer_ones():
    #        score, risk        with two wanted
    queries = [[(8, 8), (7, 2), (6, 2), (5, 3), (4, 2), (3, 1), (2, 16)]]
    kept = pool_of(table(queries), 2)
    # (5, 3) and (4, 2) have two harder ones of at most their risk, (2, 16) has all
    assert (kept.scores * 8).tolist() == [8, 7, 6, 3]
    assert kept.starts.tolist() == [0, 4]


@given(sets, st.integers(1, 3), prices, st.sampled_from([0.125, 0.5, 1.0]))
def test_what_is_applied_is_what_was_chosen(queries, count, price, ceiling):
    frame, choice = table(queries), Choice(price, ceiling)
    applied = apply_choice(frame, choice, count)
    taken = applied.filter(pl.col("reason").is_null(), pl.col("order") <= count)
    ordered = frame.sort("query_id", "score", "doc_id", descending=[False, True, False])
    rows = choose(whole(queries), choice, count)
    columns = ["query_id", "score", "risk"]
    worth = pl.col("score").cast(pl.Float64) - price * pl.col("risk").cast(pl.Float64)
    by = ["query_id", "worth"]
    found, expected = (
        part.select("query_id", worth=worth).sort(by).rows()
        for part in (taken.select(columns), ordered[rows].select(columns))
    )
    assert found == expected
    for _, part in taken.group_by("query_id"):
        in_order = part.sort("order")
        assert in_order["order"].to_list() == list(range(1, len(part) + 1))
        assert in_order["score"].is_sorted(descending=True)
    assert len(applied) == len(frame)
    assert (applied["risk"].filter(applied["order"].is_not_null()) <= ceiling).all()


def test_reasons_by_eye():
    frame = table([[(8, 12), (7, 4), (6, 0), (4, 0), (2, 0)]])
    closed = pl.when(pl.col("doc_id") == "d4").then(pl.lit("known positive: copy"))
    applied = apply_choice(frame.with_columns(reason=closed), Choice(1.0, 0.5), 2)
    # Utility: d1 is .875 - .25 = .625, d2 .75, d3 .5
    assert applied.select("doc_id", "order", "reason").rows() == [
        ("d0", None, "risk: higher than any negative may have"),
        ("d1", 1, None),
        ("d2", 2, None),
        ("d3", 3, None),  # merely easier than needed
        ("d4", None, "known positive: copy"),
    ]
    dear = apply_choice(frame, Choice(10.0, 0.5), 2)
    assert dear.filter(doc_id="d1")["reason"].item() == (
        "risk: too likely to be relevant for its hardness"
    )


@given(sets, st.integers(1, 3))
def test_dearer_risk_never_costs_less_hardness_nor_more_false_negatives(queries, count):
    curve = trade_off(whole(queries), count, 1.0)
    assert len(curve) == budget.CURVE
    assert curve[0].price == 0
    for cheap, dear in pairwise(curve):
        assert dear.price > cheap.price
        assert dear.hardness <= cheap.hardness + 1e-9
        assert dear.expected <= cheap.expected + 1e-9
        assert dear.found == cheap.found


def test_a_free_choice_within_the_budget_has_no_price():
    pool = whole([[(8, 1), (4, 0)]])
    assert search(pool, 1, 0.0625, 1.0) == Choice(0.0, 1.0)
    # one unit of risk is 1/16 here; the other candidate is .5 easier: it is worth it from 8 on
    choice = search(pool, 1, 0.05, 1.0)
    assert choice.price == pytest.approx(8, rel=1e-4)
    assert describe(pool, choice, 1).hardness == 0.5


@given(sets, sets, st.integers(1, 3))
def test_pools_put_together_are_the_pool_of_all(left, right, count):
    both = join([whole(left), whole(right)])
    assert both.starts.tolist() == whole([*left, *right]).starts.tolist()
    assert both.scores.tolist() == whole([*left, *right]).scores.tolist()
    assert both.queries == len(left) + len(right)


def test_nothing_to_choose_from():
    empty = join([])
    assert choose(empty, Choice(1.0, 1.0), 3).tolist() == []
    assert search(empty, 3, 0.02, 0.25) == Choice(0.0, 0.25)
    assert describe(empty, Choice(0.0, 1.0), 3).found == 0
    assert len(apply_choice(table([]), Choice(0.0, 1.0), 3)) == 0


def test_blocks_of_queries_do_not_show(monkeypatch):
    numbers = np.random.default_rng(2)
    queries = [
        list(zip(numbers.integers(-8, 9, n), numbers.integers(0, 17, n), strict=True))
        for n in numbers.integers(1, 30, 50)
    ]
    pool, choice = whole(queries), Choice(0.37, 0.8)
    at_once = choose(pool, choice, 5)
    monkeypatch.setattr(budget, "BLOCK", 64)
    assert choose(pool, choice, 5).tolist() == at_once.tolist()
