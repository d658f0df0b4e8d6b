"""The whole of mining in memory, for notebooks and tests: the same core the flow runs in stages.

The flow adds a store, shards and progress; it computes nothing this does not.
"""

import os
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import polars as pl

from data_contracts.settings import EngineSettings, MiningSettings, TeacherSettings
from polymine.mining.bm25 import LexicalTeacher
from polymine.mining.dense import DenseTeacher
from polymine.mining.embedding import TextEncoder, encode_all
from polymine.mining.evidence import gather_evidence, score_positives
from polymine.mining.export import (
    build_negatives,
    build_triplets,
    describe_searched,
    find_shortfalls,
)
from polymine.mining.ingestion import Ingested
from polymine.mining.known import Ids, Known
from polymine.mining.lexical import build_index
from polymine.mining.ranking import NOTHING, rank, rank_below
from polymine.mining.selection import (
    apply_rule,
    compare_with_ceilings,
    compute_ceilings,
    count_needed,
    count_searched,
    find_short,
    order_survivors,
)
from polymine.mining.teachers import (
    ArrayVectors,
    Rows,
    Scores,
    Teacher,
)
from polymine.mining.validation import PairScorer, score_all, validate

BATCH_TOKENS = EngineSettings().batch_tokens


@dataclass(frozen=True)
class Mined:
    """The product and why it is so: tables by the contracts of the same names."""

    triplets: pl.DataFrame
    negatives: pl.DataFrame
    shortfalls: pl.DataFrame
    evidence: pl.DataFrame


def mine(data: Ingested, settings: MiningSettings | None = None) -> Mined:
    """Mine hard negatives from ingested tables, everything in memory.

    Raises ModelError for a model that is not there. Same input and seed, same result.
    """
    settings = settings or MiningSettings()
    ids = Ids.from_tables(data.queries, data.documents)
    known = Known.from_tables(data.closure, ids, data.labels)
    candidates = _candidate_rows(data.documents, settings.languages)
    teachers = [open_teacher(teacher, data, candidates) for teacher in settings.teachers]
    evidence = _gather(teachers, known, ids, settings)
    positives = score_positives(teachers, known, ids).select(
        "query_id", "doc_id", score=f"score_{settings.deciding_teacher}"
    )
    ceilings = compute_ceilings(positives, settings.selection)
    deep = _deepen(evidence, ceilings, teachers, known, ids, settings)
    evidence = pl.concat([evidence, deep]).sort("query_id", "doc_id")
    decided = apply_rule(evidence, ceilings, settings.deciding_teacher, settings.selection)
    survivors = order_survivors(decided, settings.selection, settings.seed).filter(
        pl.col("order") <= count_needed(settings)
    )
    verdicts = _validate(survivors, positives, data, settings)
    negatives = build_negatives(decided, survivors, verdicts, settings.negatives)
    return Mined(
        build_triplets(negatives, positives, data.queries, data.documents),
        negatives,
        find_shortfalls(
            data.queries,
            positives,
            survivors,
            negatives,
            settings.negatives,
            describe_searched(settings),
        ),
        evidence,
    )


def open_teacher(
    settings: TeacherSettings, data: Ingested, candidates: Rows | None = None
) -> Teacher:
    """Embed or index a data set for one teacher, in memory."""
    ids = Ids.from_tables(data.queries, data.documents)
    queries, documents = data.queries["text"].to_list(), data.documents["text"].to_list()
    if settings.kind == "lexical":
        index = build_index(documents, settings.k1, settings.b)
        return LexicalTeacher(settings.name, index, queries, documents, candidates, ids.languages)
    encoder = TextEncoder.load(settings, _threads(), BATCH_TOKENS)
    return DenseTeacher(
        settings.name,
        ArrayVectors(encode_all(encoder, queries, settings.query_prompt)),
        ArrayVectors(encode_all(encoder, documents, settings.document_prompt)),
        candidates,
        query_languages=ids.query_languages,
        languages=ids.languages,
    )


def _gather(
    teachers: Sequence[Teacher], known: Known, ids: Ids, settings: MiningSettings
) -> pl.DataFrame:
    rows = np.arange(len(ids.queries))
    rankings = [rank(teacher, rows, settings.depth) for teacher in teachers]
    return gather_evidence(teachers, rankings, known, ids)


def _deepen(
    evidence: pl.DataFrame,
    ceilings: pl.DataFrame,
    teachers: Sequence[Teacher],
    known: Known,
    ids: Ids,
    settings: MiningSettings,
) -> pl.DataFrame:
    compared = compare_with_ceilings(
        evidence, ceilings, settings.deciding_teacher, settings.selection
    )
    short = find_short(compared, ceilings, ids.queries, count_searched(settings))
    if not len(short):
        return evidence.clear()
    rows = ids.queries.search_sorted(short["query_id"]).to_numpy().astype(np.int64)
    part = known.of(rows)
    deciding = next(model for model in teachers if model.name == settings.deciding_teacher)
    limits = short["ceiling"].to_numpy()
    deep = rank_below(deciding, rows, limits, count_searched(settings), part.closed)
    found = gather_evidence(teachers, [NOTHING] * len(teachers), part, ids, deep)
    return found.join(evidence, on=["query_id", "doc_id"], how="anti")


def _validate(
    survivors: pl.DataFrame, positives: pl.DataFrame, data: Ingested, settings: MiningSettings
) -> pl.DataFrame | None:
    if settings.validation is None:
        return None
    scorer = PairScorer.load(settings.validation, _threads(), BATCH_TOKENS)
    queries = dict(zip(data.queries["query_id"], data.queries["text"], strict=True))
    documents = dict(zip(data.documents["doc_id"], data.documents["text"], strict=True))

    def score(pairs: pl.DataFrame, purpose: str) -> Scores:
        rows = zip(pairs["query_id"], pairs["doc_id"], strict=True)
        return score_all(scorer, [(queries[query], documents[doc]) for query, doc in rows])

    known = positives.join(survivors, on="query_id", how="semi")
    return validate(survivors, known, settings.negatives, settings.validation, score)


def _candidate_rows(documents: pl.DataFrame, languages: tuple[str, ...] | None) -> Rows | None:
    if languages is None:
        return None
    return np.flatnonzero(documents["language"].is_in(pl.Series(languages).implode()).to_numpy())


def _threads() -> int:
    return len(os.sched_getaffinity(0))
