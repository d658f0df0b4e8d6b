"""The whole of mining in memory, for notebooks and tests: the same core the flow runs in stages.

The flow adds a store, shards and progress; it computes nothing this does not.
"""

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import polars as pl

from polymine.data_contracts.risk import RiskModel
from polymine.data_contracts.settings import (
    EngineSettings,
    MiningSettings,
    TeacherSettings,
)
from polymine.mining.bm25 import LexicalTeacher
from polymine.mining.dense import DenseTeacher
from polymine.mining.embedding import TextEncoder, encode_all
from polymine.mining.evidence import gather_evidence, score_positives
from polymine.mining.export import (
    build_negatives,
    build_promoted,
    build_triplets,
    describe_searched,
    find_shortfalls,
)
from polymine.mining.ingestion import Ingested
from polymine.mining.known import Ids, Known
from polymine.mining.lexical import build_index
from polymine.mining.ranking import NOTHING, rank, rank_below
from polymine.mining.risk import assess
from polymine.mining.risk_fit import draw_queries, fit
from polymine.mining.risk_weights import load_prior
from polymine.mining.selection import (
    apply_rule,
    compare_with_ceilings,
    compute_ceilings,
    count_needed,
    count_priced,
    count_searched,
    find_choice,
    find_short,
    limit_depth,
    order_survivors,
    order_within_budget,
    promote,
)
from polymine.mining.teachers import (
    ArrayVectors,
    Rows,
    Scores,
    Teacher,
)
from polymine.mining.validation import PairScore, PairScorer, score_all, validate
from polymine.mining.validator_evidence import (
    draw_sample,
    label_sample,
    look,
    plan_pairs,
    with_looks,
)

BATCH_TOKENS = EngineSettings().batch_tokens


@dataclass(frozen=True)
class Mined:
    """The product and why it is so: tables by the contracts of the same names.

    `evidence` has the column `risk` in addition.
    """

    triplets: pl.DataFrame
    negatives: pl.DataFrame
    shortfalls: pl.DataFrame
    evidence: pl.DataFrame
    risk: RiskModel


def mine(data: Ingested, settings: MiningSettings | None = None) -> Mined:
    """Mine hard negatives from ingested tables, everything in memory.

    Raises ModelError for a model that is not there. Same input and seed, same result.
    """
    settings = settings or MiningSettings()
    ids = Ids.from_tables(data.queries, data.documents)
    known = Known.from_tables(data.closure, ids, data.labels)
    candidates = _candidate_rows(data.documents, settings.languages)
    teachers = [open_teacher(teacher, data, candidates) for teacher in settings.teachers]
    positives = score_positives(teachers, known, ids).select(
        "query_id", "doc_id", score=f"score_{settings.primary_teacher}"
    )
    ceilings = compute_ceilings(positives, settings.selection)
    evidence = _gather(teachers, known, ids, settings)
    model = fit_risk(
        evidence,
        data.queries,
        positives,
        data.labels,
        settings,
        lambda: open_validator(data, settings),
    )
    evidence = add_risk(evidence, data.queries, model, settings)
    deep = _deepen(evidence, ceilings, teachers, known, ids, settings)
    deep = add_risk(deep, data.queries, model, settings)
    evidence = pl.concat([evidence, deep]).sort("query_id", "doc_id")
    decided = apply_rule(evidence, ceilings, settings.primary_teacher, settings.selection)
    relevant = data.labels.filter(pl.col("relevance") > 0)
    decided = promote(decided, relevant, settings.risk.promote)
    by_risk = settings.selection.rule == "risk"
    decide = _decide_by_risk if by_risk else _decide_by_rule
    decided, survivors, verdicts = decide(decided, positives, data, settings)
    negatives = build_negatives(decided, survivors, verdicts, settings.negatives)
    promoted = build_promoted(negatives)
    triplets = build_triplets(
        negatives, positives, data.queries, data.documents, promoted, weighted=by_risk
    )
    searched = describe_searched(settings)
    shortfalls = find_shortfalls(
        data.queries, positives, survivors, negatives, settings.negatives, searched
    )
    return Mined(triplets, negatives, shortfalls, evidence, model)


def fit_risk(
    evidence: pl.DataFrame,
    queries: pl.DataFrame,
    positives: pl.DataFrame,
    labels: pl.DataFrame,
    settings: MiningSettings,
    open_scores: Callable[[], PairScore],
) -> RiskModel:
    """Fit the risk to evidence, or take the shipped weights if the settings say so.

    Args:
        positives: query_id, doc_id of the known positives.
        labels: query_id of what is labelled.
        open_scores: loads the validator; called only if it is to label a sample.
    """
    models = tuple(teacher.model for teacher in settings.teachers if teacher.model)
    prior = load_prior(settings.teacher_kinds, models)
    if not settings.risk.fit:
        return prior
    drawn = draw_queries(
        queries.select("query_id", "language"), labels["query_id"], settings.risk.fit_queries
    )
    rows = evidence.filter(pl.col("query_id").is_in(drawn.implode())).sort("query_id", "doc_id")
    languages = languages_of(rows, queries)
    model = fit(rows, settings.teacher_kinds, languages, prior)
    by_risk = settings.selection.rule == "risk"
    if settings.validation is None or not (by_risk and settings.risk.validator_labels):
        return model
    open_ = add_risk(rows, queries, model, settings).filter(pl.col("closed").is_null())
    sample = draw_sample(open_, settings.risk.validator_sample)
    labels = label_sample(sample, positives, settings.validation, open_scores())
    keys = ["query_id", "doc_id"]
    rows = rows.join(labels, on=keys, how="left", suffix="_said", maintain_order="left")
    rows = rows.with_columns(label=pl.coalesce("label", "label_said")).drop("label_said")
    return fit(rows, settings.teacher_kinds, languages, prior)


def add_risk(
    evidence: pl.DataFrame, queries: pl.DataFrame, model: RiskModel, settings: MiningSettings
) -> pl.DataFrame:
    """Put the `risk` to every row of evidence."""
    languages = languages_of(evidence, queries)
    risk = assess(model, evidence, settings.teacher_kinds, languages)
    return evidence.with_columns(risk=pl.Series(risk.astype(np.float32)))


def languages_of(evidence: pl.DataFrame, queries: pl.DataFrame) -> pl.Series:
    """The query's language of each row of evidence."""
    known = queries.select("query_id", "language")
    rows = evidence.select("query_id").join(known, on="query_id", how="left", maintain_order="left")
    return rows["language"]


_Decided = tuple[pl.DataFrame, pl.DataFrame, pl.DataFrame | None]


def _decide_by_rule(
    decided: pl.DataFrame, positives: pl.DataFrame, data: Ingested, settings: MiningSettings
) -> _Decided:
    survivors = order_survivors(decided, settings.selection, settings.seed).filter(
        pl.col("order") <= count_needed(settings)
    )
    if settings.validation is None:
        return decided, survivors, None
    known = positives.join(survivors, on="query_id", how="semi")
    score = open_validator(data, settings)
    verdicts = validate(survivors, known, settings.negatives, settings.validation, score)
    return decided, survivors, verdicts


def _decide_by_risk(
    decided: pl.DataFrame, positives: pl.DataFrame, data: Ingested, settings: MiningSettings
) -> _Decided:
    selection, count = settings.selection, count_priced(settings.selection, settings.negatives)
    if settings.validation is not None:
        choice = find_choice([decided], selection, count)
        pairs = plan_pairs(
            decided, choice, count, settings.validation.pairs_per_query,
            selection.max_false_negative_rate, settings.risk.promote,
        )  # fmt: skip
        score = open_validator(data, settings)
        looks = look(pairs, decided, positives, settings, score)
        decided = promote(with_looks(decided, looks), data.labels.clear(), settings.risk.promote)
    choice = find_choice([decided], selection, count)
    ordered = order_within_budget(decided, choice, selection, settings.negatives, settings.seed)
    taken = pl.col("order").is_not_null() & pl.col("reason").is_null()
    reach = pl.col("order") <= count_needed(settings)
    return ordered.drop("order"), ordered.filter(taken & reach).drop("reason"), None


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
        evidence, ceilings, settings.primary_teacher, settings.selection
    )
    if settings.selection.rule == "risk":
        compared, ceilings = limit_depth(compared, evidence, ceilings, settings.primary_teacher)
    short = find_short(compared, ceilings, ids.queries, count_searched(settings))
    if not len(short):
        return evidence.drop("risk").clear()
    rows = ids.queries.search_sorted(short["query_id"]).to_numpy().astype(np.int64)
    part = known.of(rows)
    deciding = next(model for model in teachers if model.name == settings.primary_teacher)
    limits = short["ceiling"].to_numpy()
    deep = rank_below(deciding, rows, limits, count_searched(settings), part.closed)
    likeliest = evidence.filter("in_centroid").join(short, on="query_id", how="semi")
    found = gather_evidence(teachers, [NOTHING] * len(teachers), part, ids, deep, likeliest)
    return found.join(evidence, on=["query_id", "doc_id"], how="anti")


def open_validator(data: Ingested, settings: MiningSettings) -> PairScore:
    """Load the validator, to score pairs of a data set in memory."""
    assert settings.validation is not None
    scorer = PairScorer.load(settings.validation, _threads(), BATCH_TOKENS)
    queries = dict(zip(data.queries["query_id"], data.queries["text"], strict=True))
    documents = dict(zip(data.documents["doc_id"], data.documents["text"], strict=True))

    def score(pairs: pl.DataFrame, purpose: str) -> Scores:
        rows = zip(pairs["query_id"], pairs["doc_id"], strict=True)
        return score_all(scorer, [(queries[query], documents[doc]) for query, doc in rows])

    return score


def _candidate_rows(documents: pl.DataFrame, languages: tuple[str, ...] | None) -> Rows | None:
    if languages is None:
        return None
    return np.flatnonzero(documents["language"].is_in(pl.Series(languages).implode()).to_numpy())


def _threads() -> int:
    return len(os.sched_getaffinity(0))
