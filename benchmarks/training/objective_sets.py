"""What a judged collection gives to learn from, and what it is measured on, for one seed.

Three tenths of the queries are kept for measuring, with all that hangs together with them: their
translations and the other queries of their documents. Where nearly all hang together, as in CISI,
single queries are drawn. Of the others a miner knows one relevant document each; translations are
hidden. The whole truth is beside it, for oracles and to see what was promised.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import polars as pl
from numpy.typing import NDArray

from benchmarks.data import collection
from benchmarks.negatives.baseline import Baseline
from benchmarks.negatives.cases import DENSE, LEXICAL, Case, Encoder, open_case, prepare
from benchmarks.negatives.judged import PAIR, Collection, Revealed, load
from polymine.mining.groups import linked
from polymine.mining.hashing import hash_texts, uniform
from polymine.mining.labelling import draw_pairs
from polymine.mining.risk import predict_risk
from polymine.mining.risk_estimate import languages_of
from polymine.mining.risk_fit import fit
from polymine.mining.risk_weights import load_prior

TESTED, CHAINED = 0.3, 0.3  # shares of queries: kept; in one component from which all are drawn
REVEALED = 1_000_000  # added to the seed of the draw of known positives
QUERIES = 1200  # at most, to learn from; modest, so that a set takes minutes
MEASURED = 900  # at most
LANGUAGES = {"xquad": ("de", "en", "es"), "lareqa-xquad-r": ("de", "en", "es")}
DEPTH, PERCENT = 100, 0.05  # candidates of each teacher; the library's relative margin


@dataclass(frozen=True)
class Mined:
    """One set and seed; numbers are rows of the vectors.

    Args:
        queries, documents: unit vectors.
        candidates: query_id, doc_id, query, document, score, fused, risk, kind, languages, right,
            and `label`, what a person who labelled it said (null for most).
        known, closed: query, document: the positive that is known, and what may be no negative; of
            the known also `fused`.
        percent: query, document: negatives by the library's own rule.
        tested: query, document, all relevant ones of the measured queries.
        components: of each measured query, by its number: what is drawn together.
    """

    name: str
    seed: int
    queries: NDArray[np.float32]
    documents: NDArray[np.float32]
    candidates: pl.DataFrame
    known: pl.DataFrame
    closed: pl.DataFrame
    percent: pl.DataFrame
    tested: pl.DataFrame
    components: pl.DataFrame


def mine(name: str, seed: int, encoder: Encoder, labels: int, negatives: int) -> Mined:
    """Mine a set, hand `labels` pairs to a person who knows the truth, and mine it again."""
    prepared = prepare(load(collection(name), LANGUAGES.get(name)), encoder)
    whole = prepared.collection
    learned, tested = split(whole, seed)
    case = open_case(prepared, reveal_one(whole, learned, seed), DEPTH)
    languages = case.documents.select("doc_id", document_language="language")
    spoken = case.queries.select("query_id", query_language="language")
    right = whole.relevant.with_columns(right=pl.lit(value=True))
    evidence = case.evidence.join(right, on=PAIR, how="left", maintain_order="left")
    evidence = evidence.join(languages, on="doc_id", how="left", maintain_order="left")
    evidence = evidence.join(spoken, on="query_id", how="left", maintain_order="left")
    evidence = evidence.with_columns(
        pl.col("right").fill_null(value=False),
        kind=pl.when("same_language").then(pl.lit("same")).otherwise(pl.lit("foreign")),
        languages=pl.format("{}-{}", "document_language", "query_language"),
        risk=pl.Series(_risk(case, case.evidence)),
        fused=pl.mean_horizontal(f"z_{DENSE.name}", f"z_{LEXICAL.name}"),
    )
    open_ones = evidence.filter(pl.col("closed").is_null())
    drawn = draw_pairs(open_ones, labels, seed).with_columns(asked=pl.lit(value=True))
    marked = evidence.join(drawn, on=PAIR, how="left", maintain_order="left")
    label = pl.when("asked").then(pl.col("right").cast(pl.Int8))
    labelled = _risk(case, marked.with_columns(label=label).select(case.evidence.columns))
    table = marked.with_columns(label=label, risk_labelled=pl.Series(labelled)).filter(
        pl.col("closed").is_null()
    )
    number = _numbered(whole)
    candidates = number(table).select(
        *PAIR, "query", "document", "risk", "risk_labelled", "kind", "languages", "right", "label",
        "fused", score=f"score_{DENSE.name}",
    )  # fmt: skip
    closure = evidence.filter(pl.col("closed").is_not_null())
    percent = Baseline().choose(case, PERCENT, negatives)
    relevant = whole.relevant.join(tested, on="query_id", how="semi")
    tables = (case.positives, closure, percent, relevant)
    known, closed, chosen, truth = (number(each).select("query", "document") for each in tables)
    ranked = number(closure).select("query", "document", "fused")
    known = known.join(ranked, on=["query", "document"], how="left", maintain_order="left")
    first = tested.with_columns(doc_id=pl.lit(whole.documents["doc_id"][0]))  # any will do
    return Mined(
        name=name, seed=seed, queries=prepared.query_vectors, documents=prepared.document_vectors,
        candidates=candidates, known=known, closed=closed, percent=chosen, tested=truth,
        components=number(first).select("query", "component"),
    )  # fmt: skip


def split(whole: Collection, seed: int) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Choose queries to learn from (query_id) and to measure (query_id, component)."""
    asked = whole.relevant.join(whole.queries.select("query_id"), on="query_id", how="semi")
    table = asked.with_columns(linked(asked, PAIR)).select("query_id", "component").unique()
    largest = int(table.group_by("component").len()["len"].to_numpy().max())
    if largest > CHAINED * len(table):
        table = table.with_columns(component=pl.col("query_id").rank("dense").cast(pl.Int64))
    table = table.sort("query_id")
    names = table["component"].unique().sort()
    apart = names.filter(pl.Series(np.random.default_rng(seed).random(len(names)) < TESTED))
    tested = table.filter(pl.col("component").is_in(apart.implode()))
    learned = table.join(tested, on="query_id", how="anti")
    return _some(learned, QUERIES, seed).select("query_id"), _some(tested, MEASURED, seed)


def _some(queries: pl.DataFrame, most: int, seed: int) -> pl.DataFrame:
    drawn = pl.Series(uniform(seed, hash_texts(queries["query_id"])))
    return queries.with_columns(drawn=drawn).sort("drawn").head(most).drop("drawn").sort("query_id")


def reveal_one(whole: Collection, learned: pl.DataFrame, seed: int) -> Revealed:
    """Show a miner one judged positive of each of these queries (query_id)."""
    queries = whole.queries.join(learned, on="query_id", how="semi").sort("query_id")
    judged = whole.judged.join(queries, on="query_id", how="semi")
    # Another seed than that of the labels: what was drawn first here would never be among those.
    order = uniform(seed + REVEALED, hash_texts(judged["query_id"]), hash_texts(judged["doc_id"]))
    shuffled = judged.with_columns(order=pl.Series(order)).sort("query_id", "order", "doc_id")
    known = shuffled.unique("query_id", keep="first", maintain_order=True).select(PAIR)
    return Revealed(queries, known, known.clear(), known.clear())


def _risk(case: Case, evidence: pl.DataFrame) -> NDArray[np.float64]:
    """Fit the risk, to labels too, and predict it as if none were known."""
    teachers = [(teacher.name, teacher.kind) for teacher in (DENSE, LEXICAL)]
    languages = languages_of(evidence, case.queries)
    model = fit(evidence, teachers, languages, load_prior(teachers, without=case.name))
    blind = evidence.with_columns(label=pl.lit(None, pl.Int8))
    return predict_risk(model, blind, teachers, languages)


def _numbered(whole: Collection) -> Callable[[pl.DataFrame], pl.DataFrame]:
    queries, documents = (
        table.select(key, pl.int_range(pl.len(), dtype=pl.Int64).alias(name))
        for table, key, name in (
            (whole.queries, "query_id", "query"), (whole.documents, "doc_id", "document")
        )
    )  # fmt: skip

    def number(table: pl.DataFrame) -> pl.DataFrame:
        named = table.join(queries, on="query_id", how="inner", maintain_order="left")
        return named.join(documents, on="doc_id", how="inner", maintain_order="left")

    return number
