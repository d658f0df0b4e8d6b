"""What is known of pairs that only a batch brings together, from tables to a batch's labels."""

from itertools import product

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from polymine.data_contracts.learning import TrainingRows
from polymine.mining.hashing import hash_texts
from polymine.training.labels import RowFacts
from polymine.training.mixture import from_triplets
from polymine.training.relations import own_relations, relate, relations_of_run, texts_of
from tests.training.small_batches import count_closed

GROUPS, MEMBERS = 5, 4


def paraphrases() -> pl.DataFrame:
    """Groups of questions, each a positive of all others; the next group's are negatives."""
    rows = [
        {"anchor": f"g{g} m{a}", "positive": f"g{g} m{b}", "negative": f"g{(g + n) % GROUPS} m{a}"}
        for g, a, b, n in product(range(GROUPS), range(MEMBERS), range(MEMBERS), (1, 2))
        if a != b
    ]
    return pl.DataFrame(rows)


def related(rows: pl.DataFrame) -> list[dict[int, float]]:
    return [
        dict(zip(texts, weights, strict=True))
        for texts, weights in rows.select("related", "related_weights").rows()
    ]


def hashed(*texts: str) -> list[int]:
    return hash_texts(texts).tolist()


def test_no_batch_holds_a_known_positive_as_a_negative():
    """Case 10: of paraphrases, one in twenty in-batch negatives was a positive of its anchor."""
    known = set(paraphrases().select("anchor", "positive").rows())
    made = from_triplets(paraphrases(), "data-0", 2).rows
    rows = relate(made, own_relations(made))
    assert count_closed(rows, known, batch=4) > 10


def test_a_run_says_what_is_closed_and_what_is_doubtful():
    triplets = pl.DataFrame(
        {
            "query_id": ["q1", "q2"], "anchor": ["one?", "two?"], "positive_id": ["a", "b"],
            "positive": ["A", "B"], "negative_id": ["b", "c"], "negative": ["B", "C"],
        }
    )  # fmt: skip
    closure = pl.DataFrame({"query_id": ["q1", "q1", "q2"], "doc_id": ["a", "c", "elsewhere"]})
    decided = pl.DataFrame(
        {"query_id": ["q1", "q1", "q2", "q2"], "doc_id": ["b", "c", "a", "c"],
         "risk": [0.25, 0.9, None, 0.001]}
    )  # fmt: skip
    known = relations_of_run(*texts_of(triplets), closure, decided)
    made = from_triplets(triplets, "data-0", 2).rows
    rows = TrainingRows.validate(relate(made, pl.concat([own_relations(made), known])))
    a, b, c = hashed("A", "B", "C")
    assert related(rows) == [{a: 0.0, b: 0.75, c: 0.0}, {b: 0.0}]


def test_equal_texts_are_one_whatever_their_ids():
    table = pl.DataFrame(
        {"query_id": ["1", "2"], "anchor": ["same?", "same?"], "positive_id": ["a", "b"],
         "positive": ["A", "B"]}
    )  # fmt: skip
    made = from_triplets(table, "data-0", 2).rows
    assert [sorted(each) for each in related(relate(made, own_relations(made)))] == [
        sorted(hashed("A", "B"))
    ] * 2


def test_relations_to_texts_that_no_row_has_are_left_out():
    made = from_triplets(paraphrases().filter(pl.col("anchor") == "g0 m0"), "data-0", 1).rows
    whole = from_triplets(paraphrases(), "data-0", 1).rows
    known = pl.concat([own_relations(whole)] * 2)
    assert {text for each in related(relate(made, known)) for text in each} == set(
        hashed("g0 m1", "g0 m2", "g0 m3")
    )


@given(st.randoms(use_true_random=False))
def test_the_order_of_what_is_known_does_not_matter(rng):
    made = from_triplets(paraphrases(), "data-0", 2).rows
    known = own_relations(made)
    order = list(range(known.height))
    rng.shuffle(order)
    assert relate(made, known).equals(relate(made, known[order]))


class TestLabels:
    def facts(self) -> RowFacts:
        table = pl.DataFrame(
            {
                "anchor": ["p", "p", "q", "r"], "positive": ["P", "P", "Q", "R"],
                "negative": ["n", "m", "R", None], "weight": [0.5, 1.0, 0.25, None],
                "positive_weight": [0.7, 0.7, 1.0, 1.0],
            }
        )  # fmt: skip
        made = from_triplets(table, "data-0", 2).rows
        doubts = own_relations(made.select(anchor="positive", positive="anchor")).clear()
        doubted = pl.DataFrame(
            {"anchor_hash": hash_texts(["p", "q"]), "text_hash": hash_texts(["Q", "R"]),
             "weight": [0.5, 0.0]}, schema=doubts.schema,
        )  # fmt: skip
        return RowFacts([relate(made, pl.concat([own_relations(made), doubted]))])

    def test_shifts_stand_where_row_and_column_say(self):
        labels = self.facts().of(np.array([0, 1, 2]), 4)
        shifts = labels.shifts.reshape(3, 4, 3).exp().numpy()
        np.testing.assert_allclose(shifts[:, 0], 1 - np.eye(3))  # an anchor is not its own negative
        np.testing.assert_allclose(shifts[:, 1], [[1, 0.5, 1], [1, 1, 0], [1, 1, 1]])
        # p has n and m; q has R, closed for it and r's own positive; the rest is padding.
        np.testing.assert_allclose(shifts[:, 2], [[0.5, 1, 0], [1, 0, 0], [1, 0, 0]], atol=1e-6)
        np.testing.assert_allclose(shifts[:, 3], [[1, 0, 0], [1, 0, 0], [1, 0, 0]])
        assert labels.weights.tolist() == pytest.approx([0.7, 1.0, 1.0])
        assert labels.closed == 2  # q and r's positive, r and q's negative

    def test_fewer_columns_than_there_are(self):
        labels = self.facts().of(np.array([2, 0]), 2)
        assert labels.shifts.shape == (2, 4)
        assert labels.scores.shape == (2, 1)
