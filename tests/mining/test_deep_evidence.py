"""What is found deeper is judged as if it had been ranked: the same evidence at any depth."""

import numpy as np
import polars as pl
import pytest

from polymine.data_contracts.tables import Closure
from polymine.mining.dense import DenseTeacher
from polymine.mining.evidence import gather_evidence
from polymine.mining.known import Ids, Known
from polymine.mining.ranking import NOTHING, Ranked, rank
from polymine.mining.teachers import ArrayVectors


@pytest.fixture(scope="module")
def world():
    """Forty queries and ninety documents at random, one positive each."""
    draw = np.random.default_rng(2)
    matrix = draw.normal(size=(130, 16)).astype(np.float32)
    matrix /= np.linalg.norm(matrix, axis=1, keepdims=True)
    queries = pl.DataFrame({"query_id": [f"q{n:02}" for n in range(40)], "language": "en"})
    documents = pl.DataFrame(
        {"doc_id": [f"d{n:02}" for n in range(90)], "language": "en", "text": "words"}
    )
    ids = Ids.from_tables(queries, documents)
    pairs = {"query_id": queries["query_id"], "doc_id": documents["doc_id"].head(40)}
    closure = pl.DataFrame(pairs).with_columns(reason=pl.lit("positive"))
    known = Known.from_tables(Closure.validate(closure, cast=True), ids)
    teacher = DenseTeacher("t", ArrayVectors(matrix[:40]), ArrayVectors(matrix[40:]))
    return teacher, known, ids


def test_deeper_candidates_have_the_evidence_of_ranked_ones(world):
    teacher, known, ids = world
    rows = np.arange(40)
    shallow, deep = rank(teacher, rows, 25), rank(teacher, rows, 60)
    base = gather_evidence([teacher], [shallow], known, ids)
    whole = gather_evidence([teacher], [deep], known, ids)
    below = deep.ranks > 25
    found = Ranked(deep.queries[below], deep.documents[below], deep.ranks[below],
                   deep.scores[below])  # fmt: skip
    likeliest = base.filter("in_centroid")
    assert likeliest.group_by("query_id").len()["len"].to_list() == [5] * 40
    further = gather_evidence([teacher], [NOTHING], known, ids, found, likeliest)
    kept = [name for name in whole.columns if "rank" not in name and name != "agreement"]
    same = whole.join(further.select("query_id", "doc_id"), on=["query_id", "doc_id"], how="semi")
    # The five best by all evidence may lie deeper still; those centroids differ by design.
    stable = same.join(_with_same_centroid(base, whole), on="query_id", how="semi").select(kept)
    assert len(stable) > 500
    alike = further.join(stable.select("query_id", "doc_id"), on=["query_id", "doc_id"], how="semi")
    assert alike.select(kept).equals(stable)


def _with_same_centroid(base: pl.DataFrame, whole: pl.DataFrame) -> pl.DataFrame:
    keys = ["query_id", "doc_id"]
    both = base.filter("in_centroid").join(whole.filter("in_centroid"), on=keys, how="semi")
    return both.group_by("query_id").len().filter(pl.col("len") == 5).select("query_id")
