"""Was it right to refuse, and to keep? Pairs of a run, drawn to be read without its figures.

    python -m benchmarks.negatives.reading RUN FILE.csv [COUNT [SEED]]

draws a candidate refused for its risk of each of COUNT (40) queries, and a kept negative of each of
COUNT queries, and writes them mixed, without verdicts and scores. Fill in `judged`: `false` where
the candidate answers the query, `hard` where it does not and one could take it for an answer, else
`easy`. Called again it counts them: `risk` is how many were expected to be false, other columns say
how many the 95 % rule and another budget take of the same evidence.
"""

import sys
from pathlib import Path
from typing import Any

import polars as pl

import polymine
from polymine.mining.hashing import hash_texts, uniform

PAIR = ["query_id", "doc_id"]
RIVALS: dict[str, dict[str, Any]] = {
    "percent": {"rule": "percent"},
    "budget 5 %": {"max_false_negative_rate": 0.05},
}
TEXTS = (("query", "queries", "query_id"), ("positive", "documents", "positive_id"),
         ("candidate", "documents", "doc_id"))  # fmt: skip


def draw(run: polymine.Run, count: int, seed: int) -> pl.DataFrame:
    """Draw pairs of both kinds, with their texts, in an order that tells nothing."""
    for_risk = pl.col("reason").str.starts_with("risk: ")
    pairs = run.negatives.filter((pl.col("verdict") == "negative") | for_risk)
    query, candidate = (hash_texts(pairs[key]) for key in PAIR)
    keys = {"first": uniform(seed, query), "then": uniform(seed + 1, query, candidate)}
    pairs = pairs.with_columns(pl.Series(name, key) for name, key in keys.items()).sort("then")
    pairs = pairs.unique(["verdict", "query_id"], keep="first", maintain_order=True).sort("first")
    pairs = pairs.group_by("verdict", maintain_order=True).head(count)
    known = run.read("positives").sort(PAIR).unique("query_id", keep="first", maintain_order=True)
    pairs = pairs.join(known.select("query_id", positive_id="doc_id"), on="query_id")
    for name, table, key in TEXTS:
        id_ = "query_id" if table == "queries" else "doc_id"
        texts = run.collection(table, id_, pairs[key].unique())
        if texts is None:
            raise SystemExit(f"{run.name}: the store no longer has its texts; run it again")
        pairs = pairs.join(texts.select(pl.col(id_).alias(key), pl.col("text").alias(name)), on=key)
    texts_of = [name for name, _, _ in TEXTS]
    return pairs.sort("then").select(pl.lit("").alias("judged"), *PAIR, *texts_of)


def count(run: polymine.Run, judged: pl.DataFrame) -> pl.DataFrame:
    """Count pairs by verdict and what they were judged to be."""
    pairs = judged.select("judged", *PAIR).join(run.negatives, on=PAIR)
    if len(pairs) < len(judged):
        raise SystemExit(f"{run.name}: decided on {len(pairs)} of the {len(judged)} pairs only")
    for name, changes in RIVALS.items():
        taken = run.select(**changes).negatives.filter(verdict="negative").select(PAIR)
        pairs = pairs.join(taken.with_columns(pl.lit(1).alias(name)), on=PAIR, how="left")
    figures = pl.len().alias("pairs"), pl.sum("risk", *RIVALS), pl.mean("score")
    return pairs.group_by("verdict", "judged").agg(*figures).sort("verdict", "judged")


if __name__ == "__main__":
    opened, file = polymine.open(sys.argv[1]), Path(sys.argv[2])
    if file.exists():
        print(count(opened, pl.read_csv(file)))
    else:
        asked, seed = (*map(int, sys.argv[3:5]), *(40, 0)[len(sys.argv) - 3 :])
        draw(opened, asked, seed).write_csv(file)
