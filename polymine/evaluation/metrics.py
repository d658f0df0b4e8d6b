"""trec_eval's metrics from ranks: pytrec_eval computes them, each different case once.

A query's ranking is told to trec_eval by ranks alone: documents are called by their rank, and
the ranking ends after its last relevant document, since nothing after it changes any metric.
Queries with the same grades at the same ranks are one case; where one document is relevant, a
corpus of 240 documents has 240 cases, whatever the number of queries and directions.
"""

from collections.abc import Iterable

import polars as pl

DEPTH = 1000  # documents that trec_eval is shown: MAP is over these
CHUNK = 2_000  # cases at a time: 2 million documents at most are in trec_eval's memory




def add_metrics(ranks: pl.DataFrame, k: int) -> pl.DataFrame:
    """Compute nDCG@k, recall@k, MRR@k (`recip_rank` of the first k) and MAP per query.

    Args:
        ranks: query, document_language, rank (from 1, in the whole corpus), relevance (above 0);
            one row per relevant document.
        k: cut-off, at most 1000.

    Returns:
        query, document_language, ndcg, recall, mrr, map: one row per query and language.
    """
    seen = pl.when(pl.col("rank") <= DEPTH).then("rank").otherwise(0).cast(pl.Int64)
    hits = ranks.with_columns(hit=pl.struct(rank=seen, relevance="relevance"))
    hits = hits.sort("document_language", "query", "rank", "relevance")
    cases = hits.group_by("document_language", "query", maintain_order=True).agg(
        hits=pl.col("hit"),
        case=pl.format("{}:{}", seen, "relevance").str.join(" "),
    )
    different = cases.unique("case", maintain_order=True).select("case", "hits")
    scores = pl.concat(
        [_evaluate(part, k) for part in different.iter_slices(CHUNK)]
        or [pl.DataFrame(schema={"case": pl.String, **dict.fromkeys(METRICS, pl.Float64)})]
    )
    return cases.select("query", "document_language", "case").join(scores, on="case").drop("case")


METRICS = ("ndcg", "recall", "mrr", "map")


def _evaluate(cases: pl.DataFrame, k: int) -> pl.DataFrame:
    import pytrec_eval

    judged, whole, cut = {}, {}, {}
    for case, hits in cases.iter_rows():
        # 0: beyond what trec_eval is shown, so that no ranking holds the name
        judged[case] = {
            str(hit["rank"] or f"beyond {place}"): int(hit["relevance"])
            for place, hit in enumerate(hits)
        }
        last = max(1, *(hit["rank"] for hit in hits))
        whole[case], cut[case] = _ranking(last), _ranking(min(last, k))
    names = {f"ndcg_cut_{k}": "ndcg", f"recall_{k}": "recall", "map": "map"}
    measures = {f"ndcg_cut.{k}", f"recall.{k}", "map"}
    found = pytrec_eval.RelevanceEvaluator(judged, measures).evaluate(whole)
    first = pytrec_eval.RelevanceEvaluator(judged, {"recip_rank"}).evaluate(cut)
    return pl.DataFrame(
        {"case": list(judged)}
        | {new: _column((found[case] for case in judged), old) for old, new in names.items()}
        | {"mrr": _column((first[case] for case in judged), "recip_rank")}
    ).select("case", *METRICS)


def _ranking(length: int) -> dict[str, float]:
    return {str(place): float(DEPTH - place) for place in range(1, length + 1)}


def _column(scores: Iterable[dict[str, float]], name: str) -> list[float]:
    # a ratio of equal sums can be a last bit above 1
    return [min(score[name], 1.0) for score in scores]
