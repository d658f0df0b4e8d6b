"""The mining flow: from a data set to triplets, one line per stage."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from prefect import flow

from polymine.data_contracts.errors import StoreError
from polymine.data_contracts.references import CollectionRef, DatasetRef
from polymine.data_contracts.settings import (
    DatasetSettings,
    EngineSettings,
    MiningSettings,
    OutputSettings,
    TrainingSettings,
)
from polymine.tasks.engine.cluster import working
from polymine.tasks.engine.context import Context
from polymine.tasks.engine.stage import named_work
from polymine.tasks.mining.deepening import deepen
from polymine.tasks.mining.evidence import evidence, score_positives
from polymine.tasks.mining.export import Sources, export
from polymine.tasks.mining.ingestion import find_tables, ingest
from polymine.tasks.mining.primary import choose_teacher, settle
from polymine.tasks.mining.promotion import promote
from polymine.tasks.mining.ranking import rank
from polymine.tasks.mining.risk import Assessed, fit_risk, predict_risk
from polymine.tasks.mining.selection import select
from polymine.tasks.mining.teachers import (
    check_languages,
    check_models,
    inputs_of,
    prepare_teachers,
    quickest,
)
from polymine.tasks.mining.validation import validate, validator_evidence
from polymine.tasks.monitoring.failures import SHOWN, explains_failures
from polymine.tasks.reporting.first_look import first_look
from polymine.tasks.reporting.mining import report, write_tables
from polymine.tasks.sources.allowed_roots import check_roots
from polymine.tasks.store.output import check_output, resolve_path
from polymine.training.recipes import learns_lists


@flow(name="mine", persist_result=False, validate_parameters=True, **SHOWN)
@explains_failures
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
    output = resolve_path(output)
    check_roots(dataset=dataset, output=output, mining=mining, engine=engine)
    return mine_into(dataset, output, mining, engine)


def mine_into(
    dataset: DatasetSettings,
    output: OutputSettings,
    mining: MiningSettings,
    engine: EngineSettings,
    ingested: str | None = None,
) -> dict[str, Any]:
    """Mine a data set into a folder; `ingested` names tables that the store has of it already.

    Raises StoreError where it has them no longer.
    """
    check_output(output, settings={"dataset": dataset, "mining": mining})
    check_models(mining)
    with working(engine) as run:
        collection = find_tables(run, ingested) if ingested else ingest(run, dataset)
        if collection is None:
            raise StoreError(
                f"{run.store.root}: the store no longer has the tables that were mined; mine them "
                "again"
            )
        mined = mine_collection(run, collection, output, mining)
        return report(run, mined.sources, mined.exported, mined.stages, dataset, mining, output)


@dataclass(frozen=True)
class Mined:
    """What mining made, by references: its sources, its result, and stages by name."""

    sources: Sources
    exported: DatasetRef
    stages: dict[str, DatasetRef]


@contextmanager
def as_folder(
    run: Context,
    mined: Mined,
    dataset: DatasetSettings,
    mining: MiningSettings,
    training: TrainingSettings,
) -> Iterator[str]:
    """Name the folder that a training reads what was mined from.

    Lists are read from that of a whole run, which is there for as long.
    """
    if not learns_lists(training):
        yield mined.exported.path
        return
    with TemporaryDirectory() as folder:
        made = (mined.sources, mined.exported, mined.stages)
        yield str(write_tables(run, *made, dataset, mining, Path(folder) / "mined"))


def mine_collection(
    run: Context, collection: CollectionRef, output: OutputSettings, mining: MiningSettings
) -> Mined:
    """Mine a collection: the order of all stages, for flows and notebooks alike."""
    check_languages(collection, mining)
    first = quickest(mining)
    inputs = prepare_teachers(run, collection, [first])
    first_look(run, first, collection, mining, inputs)
    others = [teacher for teacher in mining.teachers if teacher != first]
    inputs |= prepare_teachers(run, collection, others)
    return mine_prepared(run, collection, inputs, output, mining)


def mine_prepared(
    run: Context,
    collection: CollectionRef,
    inputs: dict[str, DatasetRef],
    output: OutputSettings,
    mining: MiningSettings,
) -> Mined:
    """Mine a collection whose vectors and indexes are there."""
    *rankings, positives = run.together(
        [
            *(
                partial(rank, run, each, collection, mining, inputs_of(inputs, each))
                for each in mining.teachers
            ),
            partial(score_positives, run, collection, mining, inputs),
        ]
    )
    base = evidence(run, collection, rankings, mining, inputs)
    choice = choose_teacher(run, base, positives, mining) if mining.chooses_teacher else None
    mining = settle(run, choice, mining)
    model = fit_risk(run, collection, base, mining)
    deep = deepen(run, collection, base, positives, model, mining, inputs, choice)
    risks = predict_risk(run, collection, base, deep, model, mining)
    known = Assessed(collection, base, deep, positives, risks)
    by_risk, promotions = mining.selection.rule == "risk", None
    if by_risk and mining.selection.max_false_positive_rate:
        promotions = promote(run, known, model, mining)
    decisions = before = select(run, known, promotions, mining)
    verdicts = validator = None
    if mining.validation is not None and by_risk:
        validator = validator_evidence(run, known, promotions, before, mining)
        with named_work("again"):
            decisions = select(run, known, promotions, mining, validator)
    elif mining.validation is not None:
        verdicts = validate(run, collection, decisions, positives, mining)
    sources = Sources(
        **vars(known), model=model, decisions=decisions, promotions=promotions, verdicts=verdicts,
        validator=validator, decisions_before=before, choice=choice,
    )  # fmt: skip
    exported = export(run, sources, mining, output)
    names = [f"{teacher.name}/rank" for teacher in mining.teachers]
    return Mined(sources, exported, {**inputs, **dict(zip(names, rankings, strict=True))})
