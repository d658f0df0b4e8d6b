"""The mining flow: from a data set to triplets, one line per stage."""

from dataclasses import dataclass
from typing import Any

from prefect import flow

from polymine.data_contracts.references import CollectionRef, DatasetRef
from polymine.data_contracts.settings import (
    DatasetSettings,
    EngineSettings,
    MiningSettings,
    OutputSettings,
)
from polymine.tasks.engine.cluster import cluster
from polymine.tasks.engine.stages import named_work
from polymine.tasks.engine.threads import limited_threads
from polymine.tasks.mining.deepening import deepen
from polymine.tasks.mining.embedding import embed
from polymine.tasks.mining.evidence import evidence, score_positives
from polymine.tasks.mining.export import Sources, export
from polymine.tasks.mining.ingestion import ingest
from polymine.tasks.mining.ranking import rank
from polymine.tasks.mining.risk import assess, fit_risk
from polymine.tasks.mining.selection import select
from polymine.tasks.mining.teachers import check_languages, check_models, index
from polymine.tasks.mining.validation import look, validate
from polymine.tasks.monitoring.failures import SHOWN, explained
from polymine.tasks.reporting.mining import report
from polymine.tasks.sources.allowed_roots import check_roots
from polymine.tasks.store.datasets import Store
from polymine.tasks.store.output import check_place, settle
from polymine.tasks.store.references import noted_use


@flow(name="mine", persist_result=False, validate_parameters=True, **SHOWN)
@explained
def mine(
    dataset: DatasetSettings,
    output: OutputSettings,
    mining: MiningSettings = MiningSettings(),
    engine: EngineSettings = EngineSettings(),
) -> dict[str, Any]:
    """Mine hard negatives.

    Ranks candidates with every teacher, keeps those the rule and the validator call negatives, and
    writes triplets with a report. Whatever an earlier run has already made is reused.
    """
    output = settle(output)
    check_roots(dataset=dataset, output=output, mining=mining, engine=engine)
    check_place(output, settings={"dataset": dataset, "mining": mining})
    check_models(mining)
    with limited_threads(engine), cluster(engine), noted_use(engine):
        return run_stages(dataset, output, mining, engine)


@dataclass(frozen=True)
class Mined:
    """What mining made, by references: its sources, its result, and stages by name."""

    sources: Sources
    exported: DatasetRef
    stages: dict[str, DatasetRef]


def run_stages(
    dataset: DatasetSettings, output: OutputSettings, mining: MiningSettings, engine: EngineSettings
) -> dict[str, Any]:
    """Read the data set, mine it and write what came out."""
    root = str(Store(engine.store).root)
    collection = ingest(dataset, root)
    mined = mine_collection(collection, output, mining, engine)
    return report(mined.sources, mined.exported, mined.stages, dataset, mining, output, engine)


def mine_collection(
    collection: CollectionRef,
    output: OutputSettings,
    mining: MiningSettings,
    engine: EngineSettings,
) -> Mined:
    """Run one stage after the other."""
    root = str(Store(engine.store).root)
    check_languages(collection, mining)
    inputs = prepare_teachers(collection, mining, engine, root)
    rankings = [
        rank(teacher, collection, mining, inputs, engine, root) for teacher in mining.teachers
    ]
    positives = score_positives(collection, mining, inputs, engine, root)
    base = evidence(collection, rankings, mining, inputs, engine, root)
    model = fit_risk(collection, base, positives, mining, engine, root)
    deep = deepen(collection, base, positives, model, mining, inputs, engine, root)
    risks = assess(collection, base, deep, model, mining, root)
    known = (collection, base, deep, positives, risks)
    decisions = select(*known, mining, root)
    verdicts = looks = None
    if mining.validation is not None and mining.selection.rule == "risk":
        looks = look(*known, decisions, mining, engine, root)
        with named_work("again"):
            decisions = select(*known, mining, root, looks)
    elif mining.validation is not None:
        verdicts = validate(collection, decisions, positives, mining, engine, root)
    sources = Sources(*known, model, decisions, verdicts, looks)
    exported = export(sources, mining, output, root)
    return Mined(sources, exported, {**inputs, **_named(rankings, mining)})


def prepare_teachers(
    collection: CollectionRef, mining: MiningSettings, engine: EngineSettings, root: str
) -> dict[str, DatasetRef]:
    """Embed queries and documents for dense teachers, index the corpus for lexical ones."""
    inputs: dict[str, DatasetRef] = {}
    for teacher in mining.teachers:
        if teacher.kind == "lexical":
            inputs[f"{teacher.name}/index"] = index(teacher, collection.documents, root)
            continue
        for side, table in (("documents", collection.documents), ("queries", collection.queries)):
            inputs[f"{teacher.name}/{side}"] = embed(teacher, side, table, engine, root)
    return inputs


def _named(rankings: list[DatasetRef], mining: MiningSettings) -> dict[str, DatasetRef]:
    return {f"{t.name}/rank": ref for t, ref in zip(mining.teachers, rankings, strict=True)}
