"""Trains one adapter per step, kept in the store."""

import shutil
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from polymine import models
from polymine.data_contracts.learning import DevelopmentCurve, TrainingCurve
from polymine.data_contracts.notes import AdapterNote
from polymine.data_contracts.references import DatasetRef, fingerprint
from polymine.data_contracts.settings import (
    GuideModel,
    StepSettings,
    TargetSettings,
    TrainingSettings,
)
from polymine.tasks.engine.context import Context
from polymine.tasks.engine.execution import carry_out
from polymine.tasks.engine.load import Load
from polymine.tasks.engine.plan import Maker, Order, Plan
from polymine.tasks.engine.progress import TaskProgress
from polymine.tasks.engine.stage import step as stage_step
from polymine.tasks.engine.threads import count_threads
from polymine.tasks.evaluation.sets import open_collection
from polymine.tasks.store.datasets import Dataset, load, note_of, open_folder, scan
from polymine.tasks.store.errors import disk_errors_explained
from polymine.tasks.store.output import copy_file
from polymine.tasks.store.rates import note_rate
from polymine.tasks.training.development import Development
from polymine.tasks.training.locks import alone
from polymine.tasks.training.processes import count_processes, tell_processes
from polymine.training import recipes
from polymine.training.adapters import CONFIG, WEIGHTS, AdapterStack
from polymine.training.precision import learning_dtype

if TYPE_CHECKING:
    from polymine.training.trainer import TrainedStep

VERSION = 8
_ELSEWHERE: Any = {"data": True, "name": True, "on": True, "loss": {"guide": {"model"}}}
ADAPTER, CURVE, LOGS = "adapter", "curve.parquet", "logs"
LOOKS = "development.parquet"
Parent = DatasetRef | Path | None  # the adapter of an earlier step, or a folder


@stage_step("train", "train-{step.name}")
def train(
    run: Context,
    step: StepSettings,
    rows: DatasetRef,
    parent: Parent,
    training: TrainingSettings,
    development: Development | None = None,
) -> DatasetRef:
    """Train one adapter; an interrupted run resumes at its last checkpoint."""
    plan = plan_training(run, step, rows, parent, training, development)
    if run.dry or run.store.dataset(plan.contract, plan.fingerprint).find():
        return carry_out(run, plan)
    checkpoints = _checkpoints(run, plan)
    with disk_errors_explained(checkpoints), alone(checkpoints):
        made = carry_out(run, plan)
        shutil.rmtree(checkpoints, ignore_errors=True)
    return made


def plan_training(
    run: Context,
    step: StepSettings,
    rows: DatasetRef,
    parent: Parent,
    training: TrainingSettings,
    development: Development | None = None,
) -> Plan:
    """Plan one adapter."""
    device, base = models.visible_devices()[0], training.base
    notes: list[AdapterNote] = []

    def make(number: int, order: Order, progress: object) -> partial[None]:
        return partial(_train, run, step, rows, parent, training, development, plan, notes)

    plan = Plan(
        contract="adapters",
        depends={
            "version": VERSION,
            "base": models.fingerprint(base.model),
            # Data, parent and guide count by what they hold, wherever they lie.
            "step": step.model_dump(mode="json", exclude=_ELSEWHERE),
            "shares": [part.share for part in step.data],
            "rows": rows,
            "parent": models.fingerprint(str(parent)) if isinstance(parent, Path) else parent,
            "target": _describe_target(training.target),
            "guide": _describe_guide(step.loss.guide, device),
            "remote_code": base.trust_remote_code,
            "prompts": [base.query_prompt, base.document_prompt],
            "max_length": base.max_length,
            "dtype": learning_dtype(base, device),
            "device": device.partition(":")[0],
            "development": development and development.drawn,
            "choice": development
            and training.development.model_dump(
                include={"every", "patience", "never_below_base", "fewest"}
            ),
        },
        open=lambda _: Maker(make),
        estimate=lambda: _load_of(run, step, rows, training, device),
        resumable=False,
        note=lambda _: notes[-1],
    )
    return plan


def _train(
    run: Context,
    step: StepSettings,
    rows: DatasetRef,
    parent: Parent,
    training: TrainingSettings,
    development: Development | None,
    plan: Plan,
    notes: list[AdapterNote],
    dataset: Dataset,
) -> None:
    """Train, and write the adapter with what it stands on, which may change or go elsewhere."""
    stack, device = stack_on(step, parent), models.visible_devices()[0]
    processes = count_processes(run.engine, training, step)
    trained = _train_step(run, step, rows, training, development, plan, stack, processes)
    seen = trained.steps * step.schedule.batch
    rate = _rate(step, training, device, processes)
    note_rate(run.store.root, rate, seen, trained.seconds)
    trained.write(
        dataset.folder / ADAPTER, training.base.model,
        trust_remote_code=training.base.trust_remote_code,
    )  # fmt: skip
    dataset.write(CURVE, trained.curve, TrainingCurve)
    chosen = trained.chosen
    if development is not None and trained.looks is not None and chosen is not None:
        dataset.write(LOOKS, trained.looks, DevelopmentCurve)
        chosen = replace(chosen, of_documents=development.of_documents)
    _copy_beside(dataset, stack, _checkpoints(run, plan))
    notes.append(
        AdapterNote(
            rows=trained.rows,
            shares=trained.shares,
            steps=trained.steps,
            tokens=trained.tokens,
            closed=trained.closed,
            seconds=trained.seconds,
            parents=len(stack.frozen),
            device=device,
            processes=processes,
            chosen=chosen,
        )
    )


def _train_step(
    run: Context,
    step: StepSettings,
    rows: DatasetRef,
    training: TrainingSettings,
    development: Development | None,
    plan: Plan,
    stack: AdapterStack,
    processes: int,
) -> "TrainedStep":
    """Train with the threads that settings leave."""
    import torch

    from polymine.training.trainer import train_step

    tell_processes(processes, training, step)
    threads = torch.get_num_threads()
    torch.set_num_threads(count_threads(run.engine))
    try:
        return train_step(
            step,
            load(rows, repeated=True),
            training,
            stack=stack,
            checkpoints=_checkpoints(run, plan),
            fingerprint=plan.fingerprint,
            device=models.visible_devices()[0],
            progress=TaskProgress(),
            development=open_collection(development.drawn) if development else None,
            processes=processes,
        )
    finally:
        torch.set_num_threads(threads)


def _copy_beside(dataset: Dataset, stack: AdapterStack, checkpoints: Path) -> None:
    """Copy what the adapter stands on, and what trackers wrote, beside it."""
    for number, folder in enumerate(stack.frozen):
        for name in (CONFIG, WEIGHTS):
            copy_file(folder / name, dataset.folder / _parent_name(number) / name)
    if (checkpoints / "runs").is_dir():  # where trackers such as TensorBoard write
        shutil.copytree(checkpoints / "runs", dataset.folder / LOGS, dirs_exist_ok=True)


def _load_of(
    run: Context, step: StepSettings, rows: DatasetRef, training: TrainingSettings, device: str
) -> Load:
    from polymine.training.batches import count_steps

    steps = count_steps({"all": scan(rows).select("row").collect()}, step)
    processes = count_processes(run.engine, training, step)
    return Load(steps * step.schedule.batch, "rows", _rate(step, training, device, processes))


def _rate(step: StepSettings, training: TrainingSettings, device: str, processes: int) -> str:
    """Name such work: rows a second depend on the models, the length and what is learned."""
    base, where = training.base, device.partition(":")[0]
    named = fingerprint(
        base=models.fingerprint(base.model), max_length=base.max_length, loss=step.loss.kind,
        dtype=learning_dtype(base, device), target=_describe_target(training.target),
        negatives=step.loss.negatives, device=where if processes == 1 else f"{where} x {processes}",
        full=step.adapter == "full",
    )  # fmt: skip
    return f"adapters/{named}"


def adapters_of(reference: DatasetRef) -> tuple[Path, ...]:
    """List the folders of a step's adapters, the lowest parent first and its own last."""
    folder = open_folder(reference.path)
    count = note_of(reference, AdapterNote).parents
    return (*(folder / _parent_name(number) for number in range(count)), folder / ADAPTER)


def find_parent(
    step: StepSettings, steps: Sequence[StepSettings], made: Mapping[str, DatasetRef]
) -> Parent:
    """Find what a step's adapter continues or is stacked on; None for a new one."""
    on = recipes.parent(steps, step.name)
    if on is None:
        return None
    return made[on] if on in made else Path(on).expanduser().absolute()


def stack_on(step: StepSettings, parent: Parent) -> AdapterStack:
    """Say what a step starts from, as folders.

    A stack on a stack stands on all of it; what continues an adapter stands on the same.
    """
    if parent is None:
        return AdapterStack()
    *lower, own = adapters_of(parent) if isinstance(parent, DatasetRef) else (parent,)
    if step.adapter == "stack":
        return AdapterStack((*lower, own))
    return AdapterStack(tuple(lower), own)


def _describe_target(target: TargetSettings | None) -> dict[str, object] | None:
    """Say all of a target that the result depends on, wherever it lies."""
    if target is None:
        return None
    return target.model_dump() | {"model": models.fingerprint(target.model)}


def _describe_guide(guide: GuideModel | None, device: str) -> str | None:
    """Say what a guide is, wherever it lies, and its precision where the step leaves that open."""
    if guide is None:
        return None
    held = models.fingerprint(guide.model)
    return held if guide.dtype != "auto" else f"{held} {models.dtype_of(guide, device)}"


def _checkpoints(run: Context, plan: Plan) -> Path:
    """Name their folder: not uploaded, since it is scratch and gone at the end."""
    return run.store.folder / "checkpoints" / plan.fingerprint


def _parent_name(number: int) -> str:
    return f"parent-{number}"
