"""Negatives found in other ways, the arms of a comparison, and what they come to."""

from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from math import comb
from typing import Any

import dataframely as dy
import polars as pl

from polymine import models
from polymine.data_contracts.errors import SettingsError
from polymine.data_contracts.learning import Arms, Comparisons, Differences, QueryScores
from polymine.data_contracts.references import CollectionRef, DatasetRef
from polymine.data_contracts.settings import (
    ArmSettings,
    EvaluationSettings,
    MiningSettings,
    TeacherSettings,
    TrainingSettings,
    apply_override,
    check_as,
)
from polymine.data_contracts.tables import Closure, Triplets
from polymine.evaluation.arms import adjust, compare_pairs, enough_draws
from polymine.evaluation.matrix import FEWEST, compare_seeds, overall
from polymine.evaluation.significance import Resampling
from polymine.mining.baseline_miners import library_triplets, random_triplets
from polymine.mining.library_miner import check_options
from polymine.tasks.engine.context import Context
from polymine.tasks.engine.plan import Maker, Plan
from polymine.tasks.engine.stage import stage
from polymine.tasks.evaluation.sets import kind_of, open_collection
from polymine.tasks.store.datasets import Dataset, load, shard_name
from polymine.training import recipes

VERSION = 11
ARMS, DIFFERENCES, COMPARISONS = "arms.parquet", "differences.parquet", "comparisons.parquet"
_TRIPLETS = f"triplets/{shard_name(0)}"
_CLOSURE = f"closure/{shard_name(0)}"
Scores = Mapping[str, Mapping[int, pl.DataFrame]]  # arm, seed: QueryScores
Measured = Mapping[str, Mapping[int, Mapping[str, DatasetRef]]]  # arm, seed, set: measures


def arm_mining(arm: ArmSettings, mining: MiningSettings, seed: int) -> MiningSettings:
    """Apply an arm's settings over `[mining]`; SettingsError names a wrong one."""
    values = mining.model_dump(mode="json", exclude_unset=True) | {"seed": seed}
    for override in arm.set:
        apply_override(values, override)
    return check_as(MiningSettings, values, where=f"comparison arm {arm.name}")


def trained_by(arm: ArmSettings, training: TrainingSettings) -> TrainingSettings:
    """Apply an arm's settings over `[training]`; SettingsError names a wrong one."""
    if not arm.training:
        return training
    values = training.model_dump(mode="json", exclude_unset=True)
    for override in arm.training:
        apply_override(values, override)
    return check_as(TrainingSettings, values, where=f"comparison arm {arm.name}")


def minings_of(arms: Sequence[ArmSettings], mining: MiningSettings) -> dict[str, MiningSettings]:
    """Name the settings that each arm of Polymine's own mines with."""
    own = (arm for arm in arms if arm.miner == "polymine")
    return {f"comparison.arms.{arm.name}": arm_mining(arm, mining, 0) for arm in own}


def check_arms(
    arms: Sequence[ArmSettings], mining: MiningSettings, training: TrainingSettings
) -> None:
    """Refuse, before any work, arms that cannot be mined, or would not be trained alike."""
    for arm in arms:
        own = trained_by(arm, training)
        if own.rounds > 1:
            raise SettingsError(
                f"comparison arm {arm.name}: training.rounds: {own.rounds} rounds mine again after "
                "each training, which `polymine pipeline` alone does; leave it out here"
            )
        steps = recipes.expand(own)
        if open_ended := [step.name for step in steps if step.schedule.steps is None]:
            raise SettingsError(
                f"training: step {open_ended[0]} goes by epochs, and arms have different numbers "
                "of rows: set schedule.steps, so that all train equally long"
            )
        if arm.miner != "polymine" and recipes.learns_lists(own):
            raise SettingsError(
                f"comparison arm {arm.name}: `{arm.miner}` finds triplets, and `lists` are what "
                "Polymine mines; let this arm train on `triplets`, or name the folder of a run"
            )
        if arm.miner == "random" and any(step.loss.kind in ("distill", "margin") for step in steps):
            raise SettingsError("comparison: `random` negatives have no scores to distill")
        if arm.miner == "polymine":
            arm_mining(arm, mining, 0)
            continue
        if arm.miner == "random":
            if arm.set:
                raise SettingsError(f"comparison arm {arm.name}: `random` takes no settings")
            continue
        check_options(_options(arm), mining.negatives)
        if not any(teacher.kind == "dense" for teacher in mining.teachers):
            raise SettingsError(
                f"comparison arm {arm.name}: mine_hard_negatives needs a dense teacher in "
                "mining.teachers"
            )


def arm_training(arm: str, seed: int, training: TrainingSettings) -> TrainingSettings:
    """Write out the steps for one arm and seed, under names of its own."""
    steps = recipes.expand(training)
    names = {step.name: f"{arm}-{seed}-{step.name}" for step in steps}
    renamed = [
        step.model_copy(
            update={"name": names[step.name], "seed": seed,
                    "on": names.get(recipes.parent(steps, step.name) or "", step.on)}
        )
        for step in steps
    ]  # fmt: skip
    routes = {
        language: names.get(name, name)
        for language, name in recipes.routes(steps, training).items()
    }
    return training.model_copy(update={"steps": tuple(renamed), "recipe": None, "routes": routes})


@stage("mine-otherwise", "mine-{arm.name}-{seed}")
def mine_otherwise(
    run: Context, arm: ArmSettings, collection: CollectionRef, mining: MiningSettings, seed: int
) -> Plan:
    """Find negatives as another tool does, into a folder with `triplets/` and `closure/`.

    The closure masks what is known in a batch, so that arms differ by their negatives alone.
    """
    teacher = next((t for t in mining.teachers if t.kind == "dense"), None)
    named = teacher if arm.miner == "sentence-transformers" else None
    device = models.visible_devices()[0]

    def write(dataset: Dataset) -> None:
        found = _mine(arm, collection, mining, seed, named, device)
        dataset.write(_TRIPLETS, found, Triplets)
        dataset.write(_CLOSURE, load(collection.closure), Closure)

    return Plan(
        contract="other-triplets",
        depends={
            "version": VERSION,
            "miner": arm.miner,
            "options": _prompted(arm, named) if named else arm.set,
            "collection": collection,
            "negatives": mining.negatives,
            "positives": mining.positives.per_query,
            "seed": seed,
            "teacher": _version_of(named, device) if named else None,
        },
        open=lambda _: Maker(lambda *_: write),
        resumable=False,
    )


def _mine(
    arm: ArmSettings,
    collection: CollectionRef,
    mining: MiningSettings,
    seed: int,
    teacher: TeacherSettings | None,
    device: str,
) -> pl.DataFrame:
    tables = (load(collection.documents), load(collection.queries), load(collection.judgments))
    most = mining.positives.per_query  # of Polymine's own arms as well: they differ in negatives
    chosen: dict[str, Any] = {"negatives": mining.negatives, "seed": seed, "most": most}
    if teacher is None:
        return random_triplets(*tables, load(collection.closure), **chosen)
    encoder = models.load_encoder(
        str(teacher.model),
        device=device,
        dtype=models.dtype_of(teacher, device),
        max_length=teacher.max_length,
        trust_remote_code=teacher.trust_remote_code,
    )
    with models.told(f"comparison arm {arm.name}: mine_hard_negatives failed"):
        return library_triplets(*tables, encoder, options=_prompted(arm, teacher), **chosen)


def _version_of(teacher: TeacherSettings, device: str) -> dict[str, Any]:
    """Everything but the prompts that decides a teacher's vectors."""
    return {
        "model": models.fingerprint(str(teacher.model)),
        "max_length": teacher.max_length,
        "dtype": models.dtype_of(teacher, device),
        "device": device.partition(":")[0],
        "remote_code": teacher.trust_remote_code,
    }


def _prompted(arm: ArmSettings, teacher: TeacherSettings) -> dict[str, Any]:
    """Give the library the teacher's prompts, unless the arm names some."""
    teacher = models.settled(teacher)
    prompts = {"query_prompt": teacher.query_prompt, "corpus_prompt": teacher.document_prompt}
    return prompts | _options(arm)


def _options(arm: ArmSettings) -> dict[str, Any]:
    values: dict[str, Any] = {}
    for override in arm.set:
        apply_override(values, override)
    return values


@stage("compare-arms")
def compare_arms(
    run: Context,
    sets: Mapping[str, DatasetRef],
    base: Mapping[str, DatasetRef],
    arms: Measured,
    evaluation: EvaluationSettings,
) -> Plan:
    """Compare every arm with the base: each seed, and all seeds of a query's scores together.

    Args:
        run: of the stage.
        sets, base: set name to its tables, and to the base's measures.
        arms: arm, seed and set name to measures.
        evaluation: says how to resample.

    Returns:
        The plan of `arms` (Arms) and `differences` (Differences) of every pair of arms.
    """
    measured = {
        f"{arm}/{seed}": dict(of) for arm, seeds in arms.items() for seed, of in seeds.items()
    }
    return Plan(
        contract="arms",
        depends={
            "version": VERSION,
            "base": dict(base),
            "arms": measured,
            "order": list(arms),
            "resampling": [evaluation.confidence, evaluation.resamples, evaluation.seed],
        },
        open=lambda _: Maker(lambda *_: partial(_write, sets, base, arms, evaluation)),
        resumable=False,
    )


def _write(
    sets: Mapping[str, DatasetRef],
    base: Mapping[str, DatasetRef],
    arms: Measured,
    evaluation: EvaluationSettings,
    dataset: Dataset,
) -> None:
    searched = [name for name, tables in sets.items() if kind_of(tables) == "retrieval"]
    asked = Resampling(evaluation.confidence, evaluation.resamples, evaluation.seed)
    resampling = enough_draws(asked, len(searched) * comb(len(arms), 2))
    compared: list[pl.DataFrame] = [Arms.create_empty()]
    directions: list[pl.DataFrame] = [Comparisons.create_empty()]
    pairs: list[pl.DataFrame] = []
    for name in searched:
        before = _scores(base[name])
        options = {
            "questions": open_collection(sets[name]).clusters.with_columns(set=pl.lit(name)),
            "pivot": evaluation.pivot,
            "fewest": FEWEST,
            "resampling": resampling,
        }
        scores = {
            arm: {seed: _scores(measures[name]) for seed, measures in seeds.items()}
            for arm, seeds in arms.items()
        }
        for arm, rows in _gains(before, scores, options):
            compared.append(arm)
            directions.append(rows)
        pairs.append(
            compare_pairs({arm: list(own.values()) for arm, own in scores.items()}, **options)
        )
    dataset.write(ARMS, pl.concat(compared), Arms)
    dataset.write(COMPARISONS, pl.concat(directions), Comparisons)
    found = adjust(pl.concat(pairs)) if pairs else Differences.create_empty()
    dataset.write(DIFFERENCES, found, Differences)


def _gains(
    base: pl.DataFrame, scores: Scores, options: Mapping[str, Any]
) -> Iterator[tuple[dy.DataFrame[Arms], dy.DataFrame[Comparisons]]]:
    """Compare each arm with the base: seed by seed and all together; these by direction, too."""
    arms = [list(of.values()) for of in scores.values()]
    for arm, own in scores.items():
        whole = compare_seeds([base], list(own.values()), name=arm, arms=arms, **options)
        each: dict[int | None, pl.DataFrame] = {
            seed: compare_seeds([base], [of], name=arm, **options) for seed, of in own.items()
        }
        each[None] = whole
        rows = pl.concat(
            overall(found).with_columns(arm="model", seed=pl.lit(seed, pl.Int64))
            for seed, found in each.items()
        )
        yield (
            Arms.validate(rows.select(Arms.column_names()), cast=True),
            Comparisons.validate(whole.select(Comparisons.column_names()), cast=True),
        )


def _scores(measures: DatasetRef) -> pl.DataFrame:
    return QueryScores.validate(load(measures), cast=True)
