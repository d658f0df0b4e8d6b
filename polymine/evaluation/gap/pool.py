"""Who is found in a pool of documents in all languages, and what the mix costs.

| measure | per query | source |
|---|---|---|
| `pool-map` | average precision over all versions of the answer | LAReQA, arXiv 2004.05484 |
| `pool-ndcg` | nDCG@k over the pool | |
| `apart-ndcg` | nDCG@k over each language's documents by themselves, averaged | |
| `mix-cost` | `apart-ndcg` less `pool-ndcg` | |
| `language-ndcg` | Lang-nDCG@k: only versions in the asker's language count | MLAIRE, 2605.07249 |
| `preference` | LPR: whether the first version is in the asker's language | MLAIRE, 2605.07249 |
| `depth` | Max@R: rank at which the last version is found | 2604.05684 |
| `complete` | whether all R versions are among the first k, or R if there are more | 2604.05684 |
| `peer` | probability that no language is ranked before another | Yang et al., SIGIR 2024 |
| `found` | whether the version in that language is among the first k | |
| `agreement` | MRC@k: correlation of the rankings by a question in two languages | 2509.06195 |

Of MLAIRE, 2604.05684 and 2509.06195 only what others say of them was at hand: the definitions are
read from that. `found` is per direction, `agreement` per pair of query languages, all others per
query language, which then stands in both places.
"""

from collections.abc import Iterator
from itertools import combinations

import numpy as np
import polars as pl
from numpy.typing import NDArray

from polymine.evaluation.collection import POOL, EvaluationCollection
from polymine.evaluation.gap.cases import COLUMNS, gather_cases, make_cases
from polymine.evaluation.metrics import add_metrics
from polymine.evaluation.retrieval import rank_relevant
from polymine.evaluation.significance import Numbers
from polymine.mining.teachers import Scores

AGREEMENT, PEER, FOUND = "agreement", "peer", "found"
CELLS = 1 << 25  # cosines in memory at once: 128 MB
FAIR = 20  # ranks that PEER looks at, as its authors do
Places = NDArray[np.int64]


def pool_measures(
    collection: EvaluationCollection, queries: Scores, documents: Scores, *, name: str, k: int
) -> pl.DataFrame:
    """Measure retrieval from the documents of all languages together.

    Args:
        collection: whose answers have versions in several languages.
        queries, documents: unit vectors (n, d), float32, in the order of the collection's rows.
        name: of the set.
        k: ranks that count.

    Returns:
        `GapCases`; a case is a question, whatever the language it is asked in. Queries whose answer
        has one version are left out: they say nothing of languages.

    Raises:
        InputError: as `polymine.evaluation.retrieval.measure`.
    """
    ranks = rank_relevant(collection, queries, documents, name=name)
    asked = collection.queries.with_row_index("query").select("query", asked="language")
    several = (
        ranks.filter(document_language=POOL).group_by("query").agg(pl.col("language").n_unique())
    )
    several = several.filter(pl.col("language") > 1).select("query")
    ranks = ranks.join(several, on="query", how="semi").join(asked, on="query")
    measured = [*_ranked(ranks, k), *_metrics(ranks, k)]
    order = _top(collection, queries, documents, max(k, FAIR))
    measured.append(_fairness(collection, several["query"], order[:, :FAIR]))
    question = collection.questions["question"]
    cases = [
        part.with_columns(case=question.gather(part["query"])).select(COLUMNS) for part in measured
    ]
    agreement = _agreement(collection, several["query"].to_list(), order[:, :k])
    return gather_cases([*cases, *agreement])


def _ranked(ranks: pl.DataFrame, k: int) -> Iterator[pl.DataFrame]:
    """What the ranks of an answer's versions say: preference, depth, complete and found."""
    pool = ranks.filter(document_language=POOL)
    first = pool.sort("query", "rank").group_by("query", maintain_order=True).first()
    own = pool.filter(pl.col("language") == pl.col("asked")).select("query").unique()
    nearest = first.join(own, on="query", how="semi")
    yield _named("preference", nearest, pl.col("language") == pl.col("asked"))
    depth = pool.group_by("query", "asked").agg(depth=pl.col("rank").max(), count=pl.len())
    yield _named("depth", depth, pl.col("depth"))
    yield _named("complete", depth, pl.col("depth") <= pl.max_horizontal("count", pl.lit(k)))
    best = pool.group_by("query", "asked", "language").agg(pl.col("rank").min())
    yield best.select(
        "query", measure=pl.lit(FOUND), language_a="language", language_b="asked",
        value=(pl.col("rank") <= k).cast(pl.Float64),
    )  # fmt: skip


def _metrics(ranks: pl.DataFrame, k: int) -> Iterator[pl.DataFrame]:
    """trec_eval's metrics of the pool, of each language's documents, and of the own language."""
    scored = add_metrics(ranks, k).join(ranks.select("query", "asked").unique(), on="query")
    pool = scored.filter(document_language=POOL)
    yield _named("pool-map", pool, pl.col("map"))
    yield _named("pool-ndcg", pool, pl.col("ndcg"))
    apart = scored.filter(pl.col("document_language") != POOL)
    apart = apart.group_by("query", "asked").agg(apart=pl.col("ndcg").mean())
    yield _named("apart-ndcg", apart, pl.col("apart"))
    both = apart.join(pool.select("query", "ndcg"), on="query")
    yield _named("mix-cost", both, pl.col("apart") - pl.col("ndcg"))
    own = ranks.filter(
        (pl.col("document_language") == POOL) & (pl.col("language") == pl.col("asked"))
    )
    own_scores = add_metrics(own, k).join(own.select("query", "asked").unique(), on="query")
    yield _named("language-ndcg", own_scores, pl.col("ndcg"))


def _named(measure: str, rows: pl.DataFrame, value: pl.Expr) -> pl.DataFrame:
    return rows.select(
        "query", measure=pl.lit(measure), language_a="asked", language_b="asked",
        value=value.cast(pl.Float64),
    )  # fmt: skip


def _top(collection: EvaluationCollection, asked: Scores, documents: Scores, k: int) -> Places:
    """Rows of the k best documents of each query, best first; equal ones by descending id."""
    place = collection.documents["doc_id"].rank("ordinal", descending=True).to_numpy()
    order = np.argsort(place)
    k, size = min(k, len(order)), max(1, CELLS // max(1, len(order)))
    best = []
    for start in range(0, len(asked), size):
        scores = asked[start : start + size] @ documents[order].T
        near = np.sort(np.argpartition(-scores, k - 1, axis=1)[:, :k], axis=1)
        by_score = np.argsort(-np.take_along_axis(scores, near, axis=1), axis=1, kind="stable")
        best.append(order[np.take_along_axis(near, by_score, axis=1)])
    return np.concatenate(best)


def _fairness(collection: EvaluationCollection, queries: pl.Series, order: Places) -> pl.DataFrame:
    """PEER of each query, relevant and other documents weighing the same."""
    languages = collection.documents["language"].to_list()
    row = {doc: at for at, doc in enumerate(collection.documents["doc_id"])}
    names = collection.queries["query_id"]
    wanted = collection.relevant.filter(pl.col("query_id").is_in(names.gather(queries).implode()))
    relevant = {str(q): {row[d] for d in docs} for q, docs in
                wanted.group_by("query_id").agg("doc_id").iter_rows()}  # fmt: skip
    values = [
        equal_expected_rank(order[query].tolist(), relevant[names[query]], languages)
        for query in queries
    ]
    asked = collection.queries["language"].gather(queries)
    rows = pl.DataFrame({"query": queries, "asked": asked, "value": values})
    return _named(PEER, rows, pl.col("value"))


def equal_expected_rank(ranked: list[int], relevant: set[int], languages: list[str]) -> float:
    """Probability of equal expected rank (PEER; Yang, Jänich, Mayfield, Lawrie, SIGIR 2024).

    Kruskal and Wallis' test of whether documents of some language stand before those of another,
    once among the relevant ones, once among the others, each with half the weight. Relevant ones
    that were not found share the mean of the ranks behind all. The statistic is that of the
    authors' `peer_measure`.

    Args:
        ranked: documents that were found, best first.
        relevant: documents.
        languages: of all documents.

    Returns:
        From 0, where languages are ranked one after the other, to 1.
    """
    found = set(ranked)
    wanted, others = dict[str, list[float]](), dict[str, list[float]]()
    for rank, document in enumerate(ranked, start=1):
        side = wanted if document in relevant else others
        side.setdefault(languages[document], []).append(rank)
    missed = sorted(relevant - found)
    size = sum(map(len, wanted.values())) + len(missed)
    for document in missed:
        wanted.setdefault(languages[document], []).append((2 * size + len(missed) + 1) / 2)
    return (_equal_ranks(list(wanted.values())) + _equal_ranks(list(others.values()))) / 2


def _equal_ranks(groups: list[list[float]]) -> float:
    """P value of Kruskal and Wallis' statistic of these ranks; 1 where nothing can differ."""
    from scipy.stats import chi2

    ranks = np.concatenate([np.asarray(group) for group in groups]) if groups else np.zeros(0)
    spread = np.square(ranks - ranks.mean()).sum() if len(ranks) else 0.0
    if len(groups) < 2 or spread == 0:
        return 1.0
    between = sum(len(group) * (np.mean(group) - ranks.mean()) ** 2 for group in groups)
    return float(chi2.sf((len(ranks) - 1) * between / spread, len(groups) - 1))


def _agreement(
    collection: EvaluationCollection, queries: list[int], order: Places
) -> Iterator[pl.DataFrame]:
    """Compare the rankings of the pool by one question in two languages."""
    asked = collection.queries.with_row_index("query").filter(pl.col("query").is_in(queries))
    asked = asked.join(collection.questions, on="query_id", maintain_order="left")
    of = {
        str(code): dict(part.select("question", "query").iter_rows())
        for (code,), part in asked.group_by("language")
    }
    for a, b in combinations(sorted(of), 2):
        shared = sorted(of[a].keys() & of[b].keys())
        values = np.array([rank_agreement(order[of[a][q]], order[of[b][q]]) for q in shared])
        yield make_cases(AGREEMENT, a, b, pl.Series(shared, dtype=pl.String), values)


def rank_agreement(left: Places, right: Places) -> float:
    """Spearman's correlation of two rankings of k documents (MRC@k).

    Args:
        left, right: k different documents each, best first.

    Returns:
        Over the documents that either holds; those that a ranking lacks share the ranks behind its
        own. From 1, where both are the same, to below -0.5, where they have nothing in common.
    """
    union = np.union1d(left, right)
    ranks: list[Numbers] = []
    for ranking in (left, right):
        place = np.full(len(union), len(ranking) + 1.0)
        place[np.searchsorted(union, ranking)] = np.arange(1, len(ranking) + 1)
        # Average ranks, as Spearman's correlation has them: those behind all share the last ones.
        behind = place > len(ranking)
        place[behind] = len(ranking) + (behind.sum() + 1) / 2
        ranks.append(place - place.mean())
    size = np.sqrt(np.square(ranks[0]).sum() * np.square(ranks[1]).sum())
    return float((ranks[0] * ranks[1]).sum() / size) if size else 1.0
