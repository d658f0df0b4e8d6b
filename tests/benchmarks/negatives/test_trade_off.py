"""The measures, against numbers that can be worked out by hand and against torch."""

import numpy as np
import polars as pl
import pytest
import torch

from benchmarks.negatives.cases import Case
from benchmarks.negatives.judged import Revealed
from benchmarks.negatives.trade_off import (
    TEMPERATURE,
    Outsider,
    Referee,
    compare,
    contrastive_loss,
    find_cleaner,
    read_at,
    summarise,
)
from polymine.mining.dense import DenseTeacher
from polymine.mining.known import Ids, Known
from polymine.mining.teachers import ArrayVectors

PAIRS = {"query_id": pl.String, "doc_id": pl.String}


def pairs(*rows):
    return pl.DataFrame(rows, schema=PAIRS, orient="row")


def point(hardness, rate, found=1.0):
    return {"hardness": hardness, "false_negatives": rate, "yield": found}


def referee(wanted=4):
    """One query along the x axis; cosines of a to e are 1, .8, .6, 0, -.6; a is its positive."""
    documents = np.array([[1, 0], [0.8, 0.6], [0.6, 0.8], [0, 1], [-0.6, 0.8]], np.float32)
    queries = np.array([[1, 0]], np.float32)
    dense = DenseTeacher("minilm", ArrayVectors(queries), ArrayVectors(documents))
    positive = (np.array([0]), np.array([0]))
    asked = pl.DataFrame({"query_id": ["q"], "language": ["en"]})
    held = pl.DataFrame({"doc_id": list("abcde"), "language": "en", "text": "some words"})
    case = Case(
        name="small",
        queries=asked,
        documents=held,
        query_vectors=queries,
        document_vectors=documents,
        teachers=(dense,),
        known=Known(positive, positive, pl.Series(["positive"])),
        ids=Ids.from_tables(asked, held),
        evidence=pl.DataFrame(),
        positives=pl.DataFrame(),
    )
    truth = Revealed(case.queries, pairs(("q", "a")), pairs(("q", "b")), pairs(("q", "c")))
    outside = Outsider(np.array([[0, 1]], np.float32), documents)
    return Referee(case, truth, outside, wanted)


def test_what_was_chosen_is_measured():
    chosen = pairs(("q", "b"), ("q", "c"), ("q", "d"))
    measured = referee().measure(chosen.with_columns(risk=pl.Series([0.5, 0.2, 0.05])))
    negatives = np.exp(np.array([0.8 - 1, 0.6 - 1, 0 - 1]) / TEMPERATURE)
    assert measured == pytest.approx(
        {
            "false_negatives": 1 / 3,
            "hardness": (0.8 + 0.6 + 0) / 3,
            "yield": 3 / 4,
            "lsa": (0.6 + 0.8 + 1) / 3,
            "lsa_true": (0.8 + 1) / 2,
            "loss": np.log(1 + negatives.sum()),
            "instructive_kept": 1.0,
            "instructive_share": 1 / 3,
            "expected": 0.25,
        },
        rel=1e-5,
    )


def test_the_share_kept_counts_what_there_is_room_for():
    judge = referee(wanted=1)
    assert judge.measure(pairs(("q", "d")))["instructive_kept"] == 0
    assert judge.measure(pairs(("q", "c")))["instructive_kept"] == 1


def test_nothing_chosen_is_no_yield():
    assert referee().measure(pairs()) == {"yield": 0.0}


def test_a_method_that_cheats_is_refused():
    with pytest.raises(ValueError, match="a pair twice"):
        referee().measure(pairs(("q", "b"), ("q", "b")))
    with pytest.raises(ValueError, match="2 negatives for a query where 1"):
        referee(wanted=1).measure(pairs(("q", "b"), ("q", "c")))


def test_the_loss_is_that_of_torch():
    numbers = np.random.default_rng(0).uniform(-1, 1, (5, 8)).astype(np.float32)
    rows = np.array([0, 2, 3, 7, 9])
    ours = contrastive_loss(rows, numbers[:, 0], np.repeat(rows, 7), numbers[:, 1:].ravel())
    logits = torch.from_numpy(numbers).double() / TEMPERATURE
    target = torch.zeros(5, dtype=torch.long)
    assert ours == pytest.approx(torch.nn.functional.cross_entropy(logits, target).item())


def test_a_query_without_negatives_loses_nothing():
    known = np.array([0, 1]), np.array([0.5, 0.5], np.float32)
    loss = contrastive_loss(*known, np.array([1]), np.array([0.5], np.float32))
    assert loss == pytest.approx(np.log(2) / 2)


@pytest.mark.parametrize(
    ("hardness", "rate"), [(0.2, 0.1), (0.3, 0.2), (0.4, 0.3), (0.45, 0.4), (0.5, 0.5)]
)
def test_a_curve_is_read_between_its_points(hardness, rate):
    curve = [point(0.5, 0.5), point(0.2, 0.1), point(0.4, 0.3), point(0.3, 0.9, found=0.94)]
    assert read_at(curve, hardness)["false_negatives"] == pytest.approx(rate)


@pytest.mark.parametrize("hardness", [0.19, 0.51])
def test_a_curve_is_not_extrapolated(hardness):
    assert read_at([point(0.2, 0.1), point(0.5, 0.5), {"yield": 0.0}], hardness) is None


def test_a_single_point_is_read_only_where_it_lies():
    assert read_at([point(0.4, 0.2)], 0.4) == point(0.4, 0.2)
    assert read_at([point(0.4, 0.2)], 0.41) is None


def test_a_measure_missing_beside_the_point_is_missing():
    curve = [{**point(0.2, 0.0), "lsa_true": None}, {**point(0.4, 1.0), "lsa_true": 0.3}]
    assert read_at(curve, 0.3)["lsa_true"] is None


def test_methods_are_compared_in_the_seeds_that_reach_the_reference():
    curves = [
        [point(0.2, 0.0), point(0.4, 0.2)],
        [point(0.2, 0.1), point(0.4, 0.3)],
        [point(0.5, 0.9)],
    ]
    reference = [point(0.3, 0.2), point(0.3, 0.4), point(0.3, 0.6)]
    found = compare(curves, reference)
    assert found["seeds"] == 2
    assert found["mean"]["false_negatives"] == pytest.approx(0.15)
    assert found["deviation"]["false_negatives"] == pytest.approx(0.1 / 2**0.5)
    assert found["ratio"] == pytest.approx(0.15 / 0.3)
    assert found["reached"] == [0.2, 0.5]


def test_a_method_that_never_gets_there_says_how_far_it_gets():
    found = compare([[point(0.5, 0.9), point(0.1, 0.0, found=0.5)]], [point(0.3, 0.2)])
    assert found == {"seeds": 0, "reached": [0.5, 0.5]}
    assert compare([[point(0.3, 0.1, found=0.5)]], [point(0.3, 0.2)])["reached"] is None


def test_cleaner_points_of_others_are_found():
    curve = [point(0.2, 0.1), point(0.4, 0.3)]
    others = {"better": [point(0.3, 0.15), point(0.35, 0.3)], "elsewhere": [point(0.9, 0.0)]}
    found = find_cleaner(curve, others)
    assert (found["better"]["compared"], found["better"]["cleaner"]) == (2, 1)
    assert found["better"]["gap"] == pytest.approx(0.05)
    assert found["elsewhere"] == {"compared": 0, "cleaner": 0, "gap": 0.0}


def test_a_summary_leaves_out_what_is_missing():
    found = summarise([{"value": 1, "lsa": 0.2}, {"value": 1, "lsa": 0.4}, {"value": 1}])
    assert found["mean"] == {"lsa": pytest.approx(0.3)}
    assert found["deviation"] == {"lsa": pytest.approx(0.2 / 2**0.5)}


def test_the_outsider_knows_which_words_go_together(monkeypatch):
    monkeypatch.setattr("benchmarks.negatives.trade_off.LSA_DIMENSIONS", 2)
    sea = ["boat harbour sail", "sail harbour wind", "boat wind"]
    kitchen = ["bread oven flour", "oven flour yeast", "bread yeast"]
    outside = Outsider.fit(["boat", "yeast", "nothing known"], sea + kitchen)
    at_sea = outside.score(np.zeros(6, int), np.arange(6))
    baking = outside.score(np.ones(6, int), np.arange(6))
    assert at_sea[:3].min() > at_sea[3:].max() + 0.1
    assert baking[3:].min() > baking[:3].max() + 0.1
    assert not outside.score(np.full(6, 2), np.arange(6)).any()
