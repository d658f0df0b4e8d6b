"""Trains one adapter per step, kept in the store."""

import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path

from polymine import models
from polymine.data_contracts.learning import TrainingCurve
from polymine.data_contracts.references import DatasetRef, fingerprint
from polymine.data_contracts.settings import EngineSettings, StepSettings, TrainingSettings
from polymine.tasks.engine.progress import TaskProgress
from polymine.tasks.engine.stages import stage
from polymine.tasks.engine.threads import count_threads
from polymine.tasks.store.datasets import Dataset, Store, info_of, load, open_folder
from polymine.tasks.store.errors import disk_errors_explained
from polymine.tasks.store.output import copy_file
from polymine.tasks.training.locks import alone
from polymine.training import recipes
from polymine.training.adapters import CONFIG, WEIGHTS, AdapterStack

VERSION = 2
CONTRACT = "adapters"
ADAPTER, CURVE, LOGS = "adapter", "curve.parquet", "logs"


@stage("train", "train-{step.name}")
def train(
    step: StepSettings,
    rows: DatasetRef,
    stack: AdapterStack,
    training: TrainingSettings,
    engine: EngineSettings,
    root: str,
) -> DatasetRef:
    """Train one adapter; an interrupted run resumes at its last checkpoint."""
    device = models.visible_devices()[0]
    version = fingerprint(
        version=VERSION,
        base=models.fingerprint(training.base.model),
        step=step.model_dump(mode="json", exclude={"data", "name", "on"}),
        shares=[part.share for part in step.data],
        rows=rows.fingerprint,
        stack=[stack.fingerprints, len(stack.frozen), stack.initial is not None],
        guide=models.fingerprint(step.loss.guide.model) if step.loss.guide else None,
        remote_code=training.base.trust_remote_code,
        prompts=[training.base.query_prompt, training.base.document_prompt],
        max_length=training.base.max_length,
        dtype=models.resolve_dtype(training.base.dtype, device),
        device=device.partition(":")[0],
    )
    store = Store(root)
    place = store.dataset(CONTRACT, version)
    if found := place.find():
        return found
    checkpoints = store.folder / "checkpoints" / version  # not uploaded: scratch, gone at the end
    with disk_errors_explained(checkpoints), alone(checkpoints):
        return place.find() or _train(step, rows, stack, training, engine, place, checkpoints)


def _train(
    step: StepSettings,
    rows: DatasetRef,
    stack: AdapterStack,
    training: TrainingSettings,
    engine: EngineSettings,
    place: Dataset,
    checkpoints: Path,
) -> DatasetRef:
    import torch

    from polymine.training.trainer import train_step

    device = models.visible_devices()[0]
    threads = torch.get_num_threads()
    torch.set_num_threads(count_threads(engine))
    try:
        trained = train_step(
            step,
            load(rows),
            training,
            stack=stack,
            checkpoints=checkpoints,
            fingerprint=place.fingerprint,
            device=device,
            progress=TaskProgress(),
        )
    finally:
        torch.set_num_threads(threads)
    trained.write(place.folder / ADAPTER, training.base.model)
    place.write(CURVE, trained.curve, TrainingCurve)
    for number, folder in enumerate(stack.frozen):  # what it stands on may change or go
        for name in (CONFIG, WEIGHTS):
            copy_file(folder / name, place.folder / _parent_name(number) / name)
    info = {
        "rows": trained.rows, "shares": trained.shares, "steps": trained.steps,
        "tokens": trained.tokens, "seconds": trained.seconds, "parents": len(stack.frozen),
        "device": device,
    }  # fmt: skip
    if (checkpoints / "runs").is_dir():  # where trackers such as TensorBoard write
        shutil.copytree(checkpoints / "runs", place.folder / LOGS, dirs_exist_ok=True)
    reference = place.commit({"rows": rows.fingerprint}, info)
    shutil.rmtree(checkpoints, ignore_errors=True)
    return reference


def adapters_of(reference: DatasetRef) -> tuple[Path, ...]:
    """List the folders of a step's adapters, the lowest parent first and its own last."""
    folder = open_folder(reference.path)
    count = int(info_of(reference)["parents"])
    return (*(folder / _parent_name(number) for number in range(count)), folder / ADAPTER)


def parents_of(
    step: StepSettings, steps: Sequence[StepSettings], made: Mapping[str, DatasetRef]
) -> AdapterStack:
    """Find what a step stands on: an earlier step's adapter, or a folder.

    A stack on a stack stands on all of it; what continues an adapter stands on the same.
    """
    if step.adapter == "new":
        return AdapterStack()
    on = recipes.parent(steps, step.name)
    assert on is not None, "checked before any work"
    if on in made:
        *lower, own = adapters_of(made[on])
        version = made[on].fingerprint
    else:
        lower, own, version = [], Path(on).expanduser().absolute(), models.fingerprint(on)
    if step.adapter == "stack":
        return AdapterStack((*lower, own), None, (version,))
    return AdapterStack(tuple(lower), own, (version,))


def _parent_name(number: int) -> str:
    return f"parent-{number}"
