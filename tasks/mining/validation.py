"""Asks the cross-encoder about candidates; every pair score is cached and used again."""

from collections.abc import Mapping

import polars as pl

from polymine.data_contracts.notes import DecisionsNote, ScoredNote
from polymine.data_contracts.references import CollectionRef, DatasetRef
from polymine.data_contracts.settings import MiningSettings, ValidationSettings
from polymine.data_contracts.tables import ValidatorEvidence, Verdicts
from polymine.mining.selection import count_needed, count_priced
from polymine.mining.validation import validate as validate_survivors
from polymine.mining.validator_evidence import (
    gather_validator_evidence,
    plan_pairs,
)
from polymine.tasks.engine.context import Context
from polymine.tasks.engine.load import Load
from polymine.tasks.engine.plan import Maker, Plan
from polymine.tasks.engine.stage import stage
from polymine.tasks.mining.pair_score_cache import PairScoreCache, name_scores
from polymine.tasks.mining.risk import Assessed
from polymine.tasks.mining.selection import Decided
from polymine.tasks.store.datasets import load, note_of, scan

VERSION = 4
RISKED = ("query_id", "doc_id", "risk")


@stage("validate")
def validate(
    run: Context,
    collection: CollectionRef,
    decisions: DatasetRef,
    positives: DatasetRef,
    mining: MiningSettings,
) -> Plan:
    """Ask the cross-encoder, in waves, until each query has its negatives."""
    settings = _settings(mining)
    cache = PairScoreCache(run, collection, settings)

    def make(*_: object) -> pl.DataFrame:
        passed = scan(decisions).filter(pl.col("order").is_not_null())
        survivors = passed.select("query_id", "doc_id", "order").collect()
        known = load(positives).join(survivors, on="query_id", how="semi")
        found = validate_survivors(survivors, known, mining.negatives, settings, cache.score)
        return found.sort("query_id", "doc_id")

    depends = {"grey_zone": settings.grey_zone, "negatives": mining.negatives}
    most = collection.queries.rows * count_needed(mining) + collection.judgments.rows
    return _plan("verdicts", Maker(make, Verdicts), cache, decisions, settings, depends, most)


@stage("validator-evidence", "validate")
def validator_evidence(
    run: Context,
    assessed: Assessed,
    promotions: DatasetRef | None,
    decisions: DatasetRef,
    mining: MiningSettings,
) -> Plan:
    """Ask the cross-encoder about the candidates nearest the decision (rule `risk`)."""
    settings, selection, collection = _settings(mining), mining.selection, assessed.collection
    cache = PairScoreCache(run, collection, settings)

    def make(*_: object) -> pl.DataFrame:
        choice, planned, risked = note_of(decisions, DecisionsNote).choice, [], []
        assert choice is not None, "the rule `risk` has chosen"
        for decided in Decided(assessed, promotions, mining):
            pairs = plan_pairs(
                decided,
                choice,
                count_priced(selection, mining.negatives),
                settings.pairs_per_query,
                selection.max_false_negative_rate,
            )
            planned.append(pairs)
            risks_of = decided.select(*RISKED)
            risked.append(pairs.join(risks_of, on=["query_id", "doc_id"], how="left"))
        known = load(assessed.positives).select("query_id", "doc_id")
        return gather_validator_evidence(
            pl.concat(planned), pl.concat(risked), known, mining, cache.score
        )

    maker = Maker(make, ValidatorEvidence)
    depends = {"pairs": settings.pairs_per_query, "weight": mining.risk.validator_weight}
    most = collection.queries.rows * settings.pairs_per_query + collection.judgments.rows
    return _plan("validator_evidence", maker, cache, decisions, settings, depends, most)


def _plan(
    contract: str,
    maker: Maker,
    cache: PairScoreCache,
    decisions: DatasetRef,
    settings: ValidationSettings,
    depends: Mapping[str, object],
    most: int,
) -> Plan:
    common = {"version": VERSION, "scores": name_scores(settings), "margin": settings.margin}
    return Plan(
        contract=contract,
        depends={**common, "decisions": decisions, **depends},
        open=lambda _: maker,
        resumable=False,  # the note counts what it asked; scores are cached
        note=lambda _: ScoredNote(pairs=cache.asked, pairs_scored_now=cache.scored),
        # Besides, each known positive is read; what the cache holds already is not read again.
        estimate=lambda: Load(most, "pairs", cache.rate, estimated=True),
    )


def _settings(mining: MiningSettings) -> ValidationSettings:
    assert mining.validation is not None, "the order asks no validator that is not there"
    return mining.validation
