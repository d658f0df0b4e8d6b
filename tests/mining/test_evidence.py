"""Evidence on every candidate, by eye and against NumPy."""

import numpy as np
import polars as pl
import pytest

from polymine.data_contracts.tables import Closure, evidence_schema, positives_schema
from polymine.mining.bm25 import LexicalTeacher
from polymine.mining.dense import DenseTeacher
from polymine.mining.evidence import gather_evidence, score_positives
from polymine.mining.known import Ids, Known
from polymine.mining.lexical import build_index
from polymine.mining.ranking import NOTHING, Ranked, rank
from polymine.mining.teachers import ArrayVectors

TEXTS = ["red apple", "apple", "green pear", "red plum"]
QUERIES = ["red apple", "pear"]


def ids_of(queries, documents):
    """Row numbers of texts, all in English."""
    asked = pl.DataFrame({"query_id": list(queries), "language": "en"})
    held = pl.DataFrame({"doc_id": list(documents), "language": "en", "text": "red apple"})
    return Ids.from_tables(asked, held)


IDS = ids_of(["q1", "q2"], ["a", "b", "c", "d"])
# Cosines by eye: q1 looks along x, q2 along y; the components are the scores.
VECTORS = np.array([[1, 0], [0.8, 0.6], [0, 1], [0.6, 0.8]], dtype=np.float32)


def closure(*rows):
    frame = pl.DataFrame(rows, ["query_id", "doc_id", "reason"], orient="row")
    return Closure.validate(frame, cast=True)


CLOSURE = closure(
    ("q1", "a", "positive"), ("q1", "b", "near_copy"), ("q2", "c", "positive"),
    ("q2", "d", "positive"),
)  # fmt: skip


@pytest.fixture
def teachers():
    eye = ArrayVectors(np.eye(2, dtype=np.float32))
    lexical = LexicalTeacher("words", build_index(TEXTS, 1.2, 0.75), QUERIES, TEXTS)
    return [DenseTeacher("dense", eye, ArrayVectors(VECTORS)), lexical]


def ranked(*rows):
    """Rows of (query, document, rank, score)."""
    columns = list(zip(*rows, strict=True))
    types = (np.int64, np.int64, np.uint32, np.float32)
    return Ranked(*(np.array(c, dtype=t) for c, t in zip(columns, types, strict=True)))


@pytest.fixture
def evidence(teachers):
    dense = ranked((0, 0, 1, 1.0), (0, 1, 2, 0.8), (1, 2, 1, 1.0), (1, 3, 2, 0.8))
    words = ranked((0, 3, 1, 9.0), (1, 2, 1, 9.0))
    known = Known.from_tables(CLOSURE, IDS)
    return gather_evidence(teachers, [dense, words], known, IDS)


def test_union_of_candidates_with_the_ranks_each_teacher_gave(evidence):
    columns = ["query_id", "doc_id", "rank", "rank_dense", "rank_words"]
    assert evidence.select(columns).rows() == [
        ("q1", "a", 1, 1, None),
        ("q1", "b", 2, 2, None),
        ("q1", "d", 1, None, 1),  # found by its words alone
        ("q2", "c", 1, 1, 1),
        ("q2", "d", 2, 2, None),
    ]


def test_every_teacher_scores_every_candidate(evidence, teachers):
    np.testing.assert_allclose(evidence["score_dense"], [1, 0.8, 0.6, 1, 0.8], rtol=1e-6)
    words = teachers[1].score(np.array([0, 0, 0, 1, 1]), np.array([0, 1, 3, 2, 3]))
    assert evidence["score_words"].to_list() == words.tolist()
    assert words[4] == 0  # "red plum" says nothing of pears


def test_z_scores_are_taken_over_the_whole_corpus(evidence, teachers):
    place = {"a": 0, "b": 1, "c": 2, "d": 3}
    rows = np.arange(4)
    for teacher in teachers:
        for number, query in enumerate(("q1", "q2")):
            scores = teacher.score(np.full(4, number), rows).astype(np.float64)
            expected = (scores - scores.mean()) / scores.std()
            mine = evidence.filter(query_id=query)
            found = mine[f"z_{teacher.name}"].to_numpy()
            wanted = [expected[place[doc]] for doc in mine["doc_id"]]
            np.testing.assert_allclose(found, wanted, atol=6e-5)


def test_positive_side_is_the_nearest_positive_and_the_lowest_score(evidence):
    # q1 has the positive a = (1, 0); q2 has c = (0, 1) and d = (0.6, 0.8)
    # and what is a positive itself is compared with the others only: "a" has none.
    similar = evidence["positive_similarity"].to_list()
    assert similar == pytest.approx([None, 0.8, 0.6, 0.8, 0.8])
    np.testing.assert_allclose(evidence["positive_score"], [1, 1, 1, 0.8, 0.8], rtol=1e-6)


def test_a_query_without_a_positive_has_nothing_to_compare_with(teachers):
    known = Known.from_tables(CLOSURE.filter(pl.col("query_id") == "q1"), IDS)
    rows = ranked((0, 1, 1, 0.8), (1, 2, 1, 1.0))
    frame = gather_evidence(teachers[:1], [rows], known, IDS)
    assert frame["positive_similarity"].to_list() == pytest.approx([0.8, None])
    assert frame["positive_score"].to_list() == pytest.approx([1.0, None])
    evidence_schema(("dense",), ("dense",)).validate(frame)


@pytest.mark.parametrize("compared", [1, 2, 3, 1000])
def test_blocks_in_which_positives_are_compared_do_not_show(
    evidence, teachers, monkeypatch, compared
):
    monkeypatch.setattr("polymine.mining.signals.positive_side.COMPARED", compared)
    known = Known.from_tables(CLOSURE, IDS)
    rows = [(q, d, d + 1, 0.5) for q in (0, 1) for d in range(4)]
    frame = gather_evidence(teachers[:1], [ranked(*rows)], known, IDS)
    # q1 has the positive a = (1, 0); q2 has c = (0, 1) and d = (0.6, 0.8)
    nearest = [None, 0.8, 0, 0.6, 0.6, 0.96, 0.8, 0.8]
    assert frame["positive_similarity"].to_list() == pytest.approx(nearest, abs=1e-6)


def test_closed_pairs_carry_their_reason(evidence):
    assert evidence["closed"].to_list() == ["positive", "near_copy", None, "positive", "positive"]
    assert evidence["near_copy"].to_list() == [False, True, False, False, False]
    assert not evidence["same_group"].any()
    assert not evidence["equals_query"].any()
    assert evidence["label"].to_list() == [1, None, None, 1, 1]


@pytest.mark.parametrize("reason", ["same_group", "near_copy", "equals_query", "copy"])
def test_flags_name_their_own_reason_only(teachers, reason):
    known = Known.from_tables(closure(("q1", "a", "positive"), ("q1", "b", reason)), IDS)
    pair = ranked((0, 1, 1, 0.8))
    row = gather_evidence(teachers[:1], [pair], known, IDS).row(0, named=True)
    flags = [flag for flag in ("same_group", "near_copy", "equals_query") if row[flag]]
    assert flags == ([reason] if reason != "copy" else [])
    assert row["closed"] == reason


def test_deep_candidates_have_scores_but_no_rank(teachers):
    known = Known.from_tables(CLOSURE, IDS)
    first, deep = ranked((0, 0, 1, 1.0)), ranked((0, 2, 1, 0.0), (0, 3, 2, 0.6))
    frame = gather_evidence(teachers, [first, NOTHING], known, IDS, deep)
    assert frame.select("doc_id", "rank", "rank_dense").rows() == [
        ("a", 1, 1), ("c", None, None), ("d", None, None),
    ]  # fmt: skip
    np.testing.assert_allclose(frame["score_dense"], [1, 0, 0.6], rtol=1e-6)


def test_similarity_is_null_without_a_dense_teacher(teachers):
    known = Known.from_tables(CLOSURE, IDS)
    frame = gather_evidence(teachers[1:], [ranked((0, 3, 1, 1.0))], known, IDS)
    assert frame["positive_similarity"].to_list() == [None]
    expected = teachers[1].score(np.array([0]), np.array([0]))
    assert frame["positive_score"].to_list() == expected.tolist()


def test_similarity_comes_from_a_dense_teacher_that_stands_second(teachers):
    known = Known.from_tables(CLOSURE, IDS)
    pair = ranked((0, 3, 1, 1.0))
    frame = gather_evidence(teachers[::-1], [pair, pair], known, IDS)
    assert frame["positive_similarity"].to_list() == pytest.approx([0.6])


def test_tables_obey_their_contracts_even_when_empty(evidence, teachers):
    schema = evidence_schema(("dense", "words"), ("dense",))
    schema.validate(evidence)
    known = Known.from_tables(CLOSURE, IDS)
    empty = gather_evidence(teachers, [NOTHING, NOTHING], known, IDS, NOTHING)
    assert len(empty) == 0
    schema.validate(empty)
    scored = score_positives(teachers, known, IDS)
    unknown = [pl.lit(None, pl.Float32).alias(n) for n in ("validity", "validator_score")]
    positives_schema(("dense", "words")).validate(scored.with_columns(unknown))


def test_positives_are_scored_by_every_teacher(teachers):
    frame = score_positives(teachers, Known.from_tables(CLOSURE, IDS), IDS)
    assert frame.select("query_id", "doc_id").rows() == [("q1", "a"), ("q2", "c"), ("q2", "d")]
    np.testing.assert_allclose(frame["score_dense"], [1, 1, 0.8], rtol=1e-6)
    assert frame["score_words"][2] == 0


def test_known_pairs_of_some_queries():
    part = Known.from_tables(CLOSURE, IDS).of(np.array([0]))
    assert [side.tolist() for side in part.positives] == [[0], [0]]
    assert [side.tolist() for side in part.closed] == [[0, 0], [0, 1]]
    assert part.reasons.to_list() == ["positive", "near_copy"]


def test_same_rows_whatever_block_of_queries_is_gathered():
    draw = np.random.default_rng(5)
    matrix = draw.normal(size=(90, 24)).astype(np.float32)
    matrix /= np.linalg.norm(matrix, axis=1, keepdims=True)
    ids = ids_of([f"q{n:02}" for n in range(30)], [f"d{n:02}" for n in range(60)])
    pairs = [
        (f"q{n:02}", f"d{doc:02}", "positive")
        for n in range(30)
        for doc in draw.choice(60, size=1 + n % 4, replace=False)
    ]
    known = Known.from_tables(closure(*pairs), ids)
    model = DenseTeacher("t", ArrayVectors(matrix[:30]), ArrayVectors(matrix[30:]))

    def gather(rows):
        return gather_evidence([model], [rank(model, rows, 12)], known.of(rows), ids)

    whole = gather(np.arange(30))
    assert len(whole) == 30 * 12
    for size in (1, 7):
        blocks = [np.arange(30)[at : at + size] for at in range(0, 30, size)]
        assert pl.concat([gather(rows) for rows in blocks]).equals(whole)

    similar = matrix[30:] @ matrix[30:].T
    positive = {q: [int(d[1:]) for p, d, _ in pairs if p == q] for q in ids.queries}
    lowest = {q: min(float(matrix[int(q[1:])] @ matrix[30 + d]) for d in positive[q])
              for q in positive}  # fmt: skip
    for row in whole.iter_rows(named=True):
        here = int(row["doc_id"][1:])
        others = [similar[here, d] for d in positive[row["query_id"]] if d != here]
        nearest = max(others, default=None)
        assert row["positive_similarity"] == pytest.approx(nearest, abs=1e-6)
        assert row["positive_score"] == pytest.approx(lowest[row["query_id"]], abs=1e-6)
