"""Lets the cross-encoder look at survivors; every pair score is stored and used again."""

import polars as pl

from polymine.data_contracts.references import CollectionRef, DatasetRef, fingerprint
from polymine.data_contracts.settings import EngineSettings, MiningSettings
from polymine.data_contracts.tables import SecondLooks, Verdicts
from polymine.mining.budget import Choice
from polymine.mining.selection import count_priced
from polymine.mining.validation import validate as validate_survivors
from polymine.mining.validator_evidence import look as look_at
from polymine.mining.validator_evidence import plan_pairs, trust_in
from polymine.tasks.engine.stages import stage
from polymine.tasks.mining.pair_score_cache import ScoreBook, score_family
from polymine.tasks.mining.selection import Decided
from polymine.tasks.store.datasets import Store, info_of, load, scan

VERSION = 2
RISKED = ("query_id", "doc_id", "risk")


@stage("validate")
def validate(
    collection: CollectionRef,
    decisions: DatasetRef,
    positives: DatasetRef,
    mining: MiningSettings,
    engine: EngineSettings,
    root: str,
) -> DatasetRef:
    """Ask the cross-encoder, in waves, until each query has its negatives."""
    settings = mining.validation
    assert settings is not None
    store, family = Store(root), score_family(settings)
    version = fingerprint(
        version=VERSION,
        scores=family,
        decisions=decisions.fingerprint,
        margin=settings.margin,
        grey_zone=settings.grey_zone,
        negatives=mining.negatives,
    )
    dataset = store.dataset("verdicts", version)
    if found := dataset.find():
        return found
    survivors = (
        scan(decisions)
        .filter(pl.col("order").is_not_null())
        .select("query_id", "doc_id", "order")
        .collect()
    )
    known = load(positives).join(survivors, on="query_id", how="semi")
    book = ScoreBook(store, family, collection, settings, engine)
    frame = validate_survivors(survivors, known, mining.negatives, settings, book.score)
    info = {"pairs": book.asked, "pairs_scored_now": book.scored}
    return dataset.write_single(frame.sort("query_id", "doc_id"), Verdicts, info=info)


@stage("look", "validate")
def look(
    collection: CollectionRef,
    base: DatasetRef,
    deep: DatasetRef,
    positives: DatasetRef,
    risks: DatasetRef,
    decisions: DatasetRef,
    mining: MiningSettings,
    engine: EngineSettings,
    root: str,
) -> DatasetRef:
    """Ask the cross-encoder about the candidates nearest the decision (rule `risk`)."""
    settings = mining.validation
    assert settings is not None
    store, family = Store(root), score_family(settings)
    version = fingerprint(
        version=VERSION,
        scores=family,
        decisions=decisions.fingerprint,
        margin=settings.margin,
        pairs=settings.pairs_per_query,
        trust=trust_in(mining),
    )
    dataset = store.dataset("looks", version)
    if found := dataset.find():
        return found
    planned, risked = [], []
    choice = Choice(**info_of(decisions)["choice"])
    for decided in Decided(collection, base, deep, positives, risks, mining):
        pairs = plan_pairs(
            decided,
            choice,
            count_priced(mining.selection, mining.negatives),
            settings.pairs_per_query,
            mining.selection.max_false_negative_rate,
            mining.risk.promote,
        )
        planned.append(pairs)
        risked.append(pairs.join(decided.select(*RISKED), on=["query_id", "doc_id"], how="left"))
    book = ScoreBook(store, family, collection, settings, engine)
    known = load(positives).select("query_id", "doc_id")
    frame = look_at(pl.concat(planned), pl.concat(risked), known, mining, book.score)
    info = {"pairs": book.asked, "pairs_scored_now": book.scored}
    return dataset.write_single(frame, SecondLooks, info=info)
