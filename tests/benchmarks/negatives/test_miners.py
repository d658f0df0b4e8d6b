"""The methods that are compared, against brute force over the same vectors."""

import numpy as np
import polars as pl
import pytest

from benchmarks.negatives.baseline import Baseline
from benchmarks.negatives.cases import Prepared, open_case
from benchmarks.negatives.judged import Collection, Revealed
from benchmarks.negatives.miners import Rule, SumOfThree
from polymine.mining.lexical import build_index

WANTED = 3
WORDS = ("otter", "camel", "owl", "yak", "gecko", "stork")
PAIRS = {"query_id": pl.String, "doc_id": pl.String}


@pytest.fixture(scope="module")
def case():
    """Four queries, forty documents, random vectors; document 0 to 3 is known of query 0 to 3."""
    numbers = np.random.default_rng(3)
    names = [f"d{at:02d}" for at in range(40)]
    texts = [" ".join([*numbers.choice(WORDS, 3), f"number{at}"]) for at in range(40)]
    documents = pl.DataFrame({"doc_id": names, "text": texts, "language": "en"})
    documents = documents.with_columns(
        title=pl.lit(None, pl.String), group_id=pl.lit(None, pl.String)
    )
    queries = pl.DataFrame({"query_id": ["q0", "q1", "q2", "q3"], "text": WORDS[:4]})
    queries = queries.with_columns(language=pl.lit("en"), group_id=pl.lit(None, pl.String))
    known = pl.DataFrame({"query_id": queries["query_id"], "doc_id": names[:4]})
    none = pl.DataFrame(schema=PAIRS)
    near = pl.DataFrame(schema={"doc_id": pl.String, "near_group": pl.Int64})
    vectors = numbers.standard_normal((44, 5)).astype(np.float32) + 0.5
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    prepared = Prepared(
        Collection("small", documents, queries, near, known, known, none),
        vectors[:4],
        vectors[4:],
        build_index(texts, 1.2, 0.75),
    )
    return open_case(prepared, Revealed(queries, known, none, none), depth=40)


def cosines(case):
    return case.query_vectors.astype(float) @ case.document_vectors.astype(float).T


def hardest(case, scores, allowed):
    """Brute force: the best documents of each query that are allowed and not its positive."""
    chosen = set()
    for query, row in enumerate(np.where(allowed, scores, -np.inf)):
        row[query] = -np.inf
        best = np.argsort(-row)[:WANTED]
        chosen |= {(f"q{query}", f"d{at:02d}") for at in best if np.isfinite(row[at])}
    return chosen


def as_set(chosen):
    return set(chosen.select("query_id", "doc_id").rows())


@pytest.mark.parametrize("percent", [0.2, 0.7, 0.95, 1.1])
def test_percent_takes_the_hardest_below_its_ceiling(case, percent):
    scores = cosines(case)
    positive = np.diag(scores)[:, None]
    ceiling = positive - abs(positive) * (1 - percent)
    chosen = Rule("percent", "percent", ()).choose(case, percent, WANTED)
    assert as_set(chosen) == hardest(case, scores, scores < ceiling)


def test_shifted_passes_over_the_best(case):
    scores = cosines(case)
    expected = set()
    for query, row in enumerate(scores):
        order = [at for at in np.argsort(-row) if at != query][2 : 2 + WANTED]
        expected |= {(f"q{query}", f"d{at:02d}") for at in order}
    assert as_set(Rule("shifted", "shift", ()).choose(case, 2, WANTED)) == expected


def test_a_rule_goes_deeper_than_the_evidence(case):
    shallow = case.evidence.filter(pl.col("rank_minilm") <= 5)
    narrow = type(case)(**{**vars(case), "evidence": shallow})
    rule = Rule("absolute", "absolute", ())
    scores = cosines(case)
    assert as_set(rule.choose(narrow, 0.1, WANTED)) == hardest(case, scores, scores < 0.1)


@pytest.mark.parametrize("ceiling", [-9.0, -1.0, 0.5, 2.0, 9.0])
def test_the_sum_is_of_three_z_scores(case, ceiling):
    scores = cosines(case)
    vectors = case.document_vectors.astype(float)
    words = np.stack([next(case.teachers[1].blocks(np.array([at])))[1][0] for at in range(4)])
    words = np.where(np.isfinite(words), words, 0.0)
    sides = [scores, vectors[:4] @ vectors.T, words]
    total = sum((side - side.mean(1)[:, None]) / side.std(1)[:, None] for side in sides)
    # What is below the ceiling comes first, by score; then the rest, the lowest sum first.
    preferred = np.where(total < ceiling, 100 + scores, -total)
    chosen = SumOfThree().choose(case, ceiling, WANTED)
    assert as_set(chosen) == hardest(case, preferred, np.isfinite(total))


@pytest.mark.parametrize("margin", [None, 0.05, 0.3])
def test_the_baseline_chooses_as_percent_does_where_it_finds_enough(case, margin):
    rule, value = ("naive", None) if margin is None else ("percent", 1 - margin)
    ours = Rule(rule, rule if margin else None, ()).choose(case, value, WANTED)
    theirs = Baseline().choose(case, margin, WANTED)
    full = theirs.filter(pl.len().over("query_id") == WANTED)["query_id"].unique().sort()
    # The positives of q0 and q1 lie so deep that with a margin the baseline finds nothing below.
    assert full.to_list() == ([] if margin else ["q0", "q1"]) + ["q2", "q3"]
    by = ["query_id", "doc_id"]
    ours, theirs = (
        table.filter(pl.col("query_id").is_in(full.implode())).sort(by) for table in (ours, theirs)
    )
    assert theirs.select(by).equals(ours.select(by))
    np.testing.assert_allclose(theirs["score"], ours["score"], atol=1e-6)
