"""Are wrong positives found, and is it worth it? A tenth of the known pairs is shuffled.

    python -m benchmarks.negatives.noisy_positives [SET ...] [--seeds 3]

Three tenths of each set's queries are kept for measuring. Of the others' pairs a tenth get each
other's documents. `mining.positives` then says how likely each pair is right: the AUC of finding
the shuffled ones, how many of them it doubts, and of the right ones. A student that trains in
seconds (`benchmarks.training.proxy`) learns from all pairs, from those left by `drop`, by `weight`,
and without the shuffled ones; nDCG@10 is over the whole corpus, intervals over queries, all seeds
of a query averaged. Figures are kept in benchmarks/results/noisy_positives.json.
"""

import argparse
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray
from scipy.stats import bootstrap, rankdata

from benchmarks.data import collection
from benchmarks.negatives.cases import Encoder, Prepared, open_teachers, prepare
from benchmarks.negatives.judged import PAIR, load
from benchmarks.processes import measure_sets
from benchmarks.training.proxy import Proxy, Rows, ndcg
from polymine.data_contracts.settings import PositiveSettings
from polymine.mining.hashing import hash_texts, uniform
from polymine.mining.known import Known
from polymine.mining.validity import assess_positives

SETS = ("piaf", "pubmedqa", "squad-dev", "cranfield", "xquad")
SHUFFLED, TESTED = 0.1, 0.3
LEAST = PositiveSettings().least_validity
ARMS = ("clean", "keep", "weight", "drop", "oracle")


def run_set(name: str, seeds: int, encoder: Encoder) -> dict[str, Any]:
    """Measure one set: what is found, and each arm's nDCG."""
    prepared = prepare(load(collection(name)), encoder)
    runs = [run_seed(prepared, seed) for seed in range(seeds)]
    found = {key: float(np.mean([run[key] for run in runs])) for key in ("auc", "caught", "blamed")}
    scores = {arm: np.concatenate([run["ndcg"][arm] for run in runs]) for arm in ("base", *ARMS)}
    queries = np.concatenate([run["tested"] for run in runs])
    gains = {arm: _difference(scores[arm] - scores["keep"], queries) for arm in ARMS}
    means = {arm: round(float(values.mean()), 4) for arm, values in scores.items()}
    return {"set": name, "pairs": runs[0]["pairs"], **found, "ndcg": means, "over keep": gains}


def run_seed(prepared: Prepared, seed: int) -> dict[str, Any]:
    """Shuffle, assess and train once."""
    whole = prepared.collection
    pairs = whole.judged.join(whole.queries.select("query_id"), on="query_id", how="semi")
    drawn = pl.Series(uniform(seed, hash_texts(pairs["query_id"])))
    train, tested = pairs.filter(drawn >= TESTED), pairs.filter(drawn < TESTED)
    noisy, wrong = shuffle(train, seed)
    validity = assess(prepared, noisy, seed)
    arms = {
        "clean": (train, np.ones(len(train))),
        "keep": (noisy, np.ones(len(noisy))),
        "weight": (noisy, validity),
        "drop": (noisy, (validity >= LEAST).astype(float)),
        "oracle": (noisy, (~wrong).astype(float)),
    }
    rows = _rows(prepared, tested)
    asked, place = np.unique(rows[0], return_inverse=True)
    relevant = pl.DataFrame({"query": place, "document": rows[1]})
    sides = prepared.query_vectors[asked], prepared.document_vectors
    measured = {"base": ndcg(*sides, relevant, None)}
    for arm, (known, weights) in arms.items():
        taken = weights > 0
        queries, documents = _rows(prepared, known.filter(pl.Series(taken)))
        counts = weights[taken].astype(np.float32)
        pairs_alone = Rows(queries, documents, np.empty((len(queries), 0), np.int64), counts)
        student = Proxy().train(prepared.query_vectors, sides[1], pairs_alone, seed)
        measured[arm] = ndcg(*sides, relevant, student)
    ranks = rankdata(validity)
    right = int((~wrong).sum())
    above = ranks[~wrong].sum() - right * (right + 1) / 2
    return {
        "pairs": len(noisy), "auc": above / (right * wrong.sum()), "tested": asked,
        "caught": np.mean(validity[wrong] < LEAST), "blamed": np.mean(validity[~wrong] < LEAST),
        "ndcg": measured,
    }  # fmt: skip


def shuffle(pairs: pl.DataFrame, seed: int) -> tuple[pl.DataFrame, NDArray[np.bool_]]:
    """Let a tenth of the pairs change documents in a circle; returns which are wrong now.

    A document that is relevant to its new query all the same is not wrong.
    """
    chosen = np.random.default_rng(seed).choice(len(pairs), round(SHUFFLED * len(pairs)), False)
    documents = pairs["doc_id"].to_numpy().copy()
    documents[chosen] = np.roll(documents[chosen], 1)
    moved = pairs.with_columns(doc_id=pl.Series(documents))
    moved = moved.unique(PAIR, maintain_order=True).sort(PAIR)
    right = pairs.select(PAIR).with_columns(right=pl.lit(value=True))
    marked = moved.join(right, on=PAIR, how="left", maintain_order="left")
    return moved, marked["right"].is_null().to_numpy()


def assess(prepared: Prepared, pairs: pl.DataFrame, seed: int) -> NDArray[np.float64]:
    """Say how likely each pair is right, as a mining run does."""
    queries = prepared.collection.queries.join(pairs, on="query_id", how="semi")
    ids, teachers = open_teachers(prepared, queries)
    rows = ids.rows(pairs)
    known = Known(rows, rows, pl.Series(["positive"] * len(pairs)))
    return assess_positives(teachers, known, ids, seed)


def _rows(prepared: Prepared, pairs: pl.DataFrame) -> tuple[Any, Any]:
    """Row numbers of pairs in the whole collection."""
    whole = prepared.collection
    queries = whole.queries["query_id"].search_sorted(pairs["query_id"]).to_numpy()
    documents = whole.documents["doc_id"].search_sorted(pairs["doc_id"]).to_numpy()
    return queries.astype(np.int64), documents.astype(np.int64)


def _difference(values: NDArray[np.float64], queries: NDArray[np.int64]) -> list[float]:
    """Mean difference and its 95 % interval over queries."""
    place = np.unique(queries, return_inverse=True)[1]
    means = np.bincount(place, weights=values) / np.bincount(place)
    found = bootstrap((means,), np.mean, method="percentile", rng=0, n_resamples=2_000)
    ends = found.confidence_interval
    return [round(float(each), 4) for each in (means.mean(), ends.low, ends.high)]


def main() -> None:
    """Run the sets asked for, print the figures and keep them."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("sets", nargs="*", default=list(SETS))
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--cache", type=Path)
    parser.add_argument("--no-results", action="store_true")
    options = parser.parse_args()
    encoder = Encoder(options.cache)
    measure_sets("noisy_positives", options, lambda name: run_set(name, options.seeds, encoder))


if __name__ == "__main__":
    main()
