"""Gathers the evidence on every candidate."""

from functools import partial
from typing import Any

import dataframely as dy
import numpy as np
import polars as pl

from polymine.data_contracts.references import CollectionRef, DatasetRef
from polymine.data_contracts.settings import MiningSettings, ValidationSettings
from polymine.data_contracts.tables import evidence_schema, positives_schema
from polymine.mining.evidence import gather_evidence
from polymine.mining.evidence import score_positives as score_known
from polymine.mining.selection import compute_ceilings
from polymine.mining.validity import assess_positives
from polymine.progress import Progress
from polymine.tasks.engine.context import Context
from polymine.tasks.engine.plan import Maker, Order, Plan
from polymine.tasks.engine.stage import stage
from polymine.tasks.mining.pair_score_cache import PairScoreCache, name_scores
from polymine.tasks.mining.ranking import from_frame
from polymine.tasks.mining.teachers import KINDS, Inputs, Opened, blocks_of
from polymine.tasks.store.datasets import load, shard_paths

VERSION = 9
ASSESSED = 1  # version of the positives' validity


@stage("positives", "score-positives")
def score_positives(
    run: Context, collection: CollectionRef, mining: MiningSettings, inputs: Inputs
) -> Plan:
    """Score the known positives with every teacher, and say how likely each is right."""
    names = tuple(teacher.name for teacher in mining.teachers)
    validator = _validator(mining)

    def open_teachers(run: Context) -> Maker:
        opened = Opened(collection, mining, inputs, run.engine)
        teachers = opened.teachers()

        def make(*_: object) -> pl.DataFrame:
            right = assess_positives(teachers, opened.known, opened.ids, mining.seed)
            scored = score_known(teachers, opened.known, opened.ids)
            validity = pl.Series(right.astype(np.float32), nan_to_null=True)
            logits: Any = pl.lit(None, pl.Float32)
            if validator is not None:
                asked = scored.select("query_id", "doc_id")
                scores = PairScoreCache(run, collection, validator).score(asked, "known positives")
                logits = pl.Series(scores)
            return scored.with_columns(validity=validity, validator_score=logits)

        return Maker(make, positives_schema(names))

    return Plan(
        contract="positives",
        depends=_depends(collection, inputs)
        | {
            "names": names,
            "seed": mining.seed,
            "assessed": ASSESSED,
            "languages": mining.languages,  # what scores are standardised over
            "validator": name_scores(validator) if validator else None,
        },
        open=open_teachers,
    )


def _validator(mining: MiningSettings) -> ValidationSettings | None:
    """The validator, where a filter of known pairs reads its logits."""
    return mining.validation if mining.positives.least_logit is not None else None


@stage("evidence")
def evidence(
    run: Context,
    collection: CollectionRef,
    rankings: list[DatasetRef],
    mining: MiningSettings,
    inputs: Inputs,
) -> Plan:
    """Let every teacher score the union of the candidates."""
    columns = {"names": schema_of(mining).column_names(), "rankings": rankings}
    if collection.given.rows:
        columns["languages"] = mining.languages  # given candidates of others are left out
    return Plan(
        contract="evidence",
        depends=_depends(collection, inputs) | columns,
        blocks=blocks_of(collection, run.engine),
        unit="queries",
        open=partial(_open, collection, tuple(rankings), mining, inputs),
        spread=True,
    )


def _open(
    collection: CollectionRef,
    rankings: tuple[DatasetRef, ...],
    mining: MiningSettings,
    inputs: Inputs,
    run: Context,
) -> Maker:
    """Open all teachers over the whole corpus, and the blocks of every ranking."""
    opened = Opened(collection, mining, inputs, run.engine)
    teachers = opened.teachers()
    blocks = list(zip(opened.blocks(), *map(shard_paths, rankings), strict=True))

    def make(number: int, order: Order, progress: Progress) -> pl.DataFrame:
        rows, *paths = blocks[number]
        ranked = [from_frame(pl.read_parquet(path, glob=False), opened.ids) for path in paths]
        return gather_evidence(teachers, ranked, opened.known.of(rows), opened.ids)

    return Maker(make, schema_of(mining))


def schema_of(mining: MiningSettings) -> type[dy.Schema]:
    """Schema of the evidence that these teachers bring."""
    names = tuple(teacher.name for teacher in mining.teachers)
    sided = tuple(teacher.name for teacher in mining.teachers if KINDS[teacher.kind].sided)
    return evidence_schema(names, sided)


def load_ceilings(positives: DatasetRef, mining: MiningSettings) -> pl.DataFrame:
    """Read the positives and compute each query's ceiling under the rule."""
    scores = load(positives).select("query_id", score=f"score_{mining.primary_teacher}")
    return compute_ceilings(scores, mining.selection)


def _depends(collection: CollectionRef, inputs: Inputs) -> dict[str, object]:
    return {
        "version": VERSION,
        "collection": collection,
        "labels": collection.labels,
        "inputs": dict(inputs),
    }
