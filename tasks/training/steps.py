"""Trains one adapter per step, kept in the store, and puts the model's folder together."""

import fcntl
import logging
import os
import shutil
import socket
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import polars as pl

from polymine import models
from polymine.data_contracts.errors import SettingsError
from polymine.data_contracts.learning import TrainingCurve
from polymine.data_contracts.references import DatasetRef, fingerprint
from polymine.data_contracts.settings import EngineSettings, StepSettings, TrainingSettings
from polymine.data_contracts.trained import BASE, TrainedModel
from polymine.tasks.engine.progress import TaskProgress
from polymine.tasks.engine.stages import stage
from polymine.tasks.engine.threads import count_threads
from polymine.tasks.store.datasets import (
    Dataset,
    Store,
    info_of,
    load,
    open_folder,
    write_bytes,
    write_frame,
)
from polymine.tasks.store.errors import explained
from polymine.tasks.store.model_folder import ABOUT, ADAPTERS, MODEL
from polymine.tasks.store.output import copy_file
from polymine.training import recipes
from polymine.training.step_checks import parent

VERSION = 1
CONTRACT = "adapters"
CONFIG, WEIGHTS = "adapter_config.json", "adapter_model.safetensors"
ADAPTER, CURVE, LOGS = "adapter", "curve.parquet", "logs"
logger = logging.getLogger("polymine.training")


@dataclass(frozen=True)
class Below:
    """What a step starts from: folders of frozen adapters, and of the one it continues.

    `fingerprints` are of these, in the same order.
    """

    frozen: tuple[str, ...] = ()
    initial: str | None = None
    fingerprints: tuple[str, ...] = ()


def check_training(training: TrainingSettings) -> tuple[StepSettings, ...]:
    """Write out the steps and refuse, before anything is read or trained, what cannot work.

    Raises SettingsError, or ModelError for a base without the target layers, a guide that is not
    there and adapters that do not fit the base.
    """
    steps = recipes.expand(training)
    recipes.check(steps)
    routes = recipes.routes(steps, training)
    if set(routes.values()) == {BASE}:
        raise SettingsError("training.routes: all lead to `base`; name the step for some language")
    for step in steps:
        if step.loss.guide is not None:
            models.resolve(step.loss.guide.model)
    _check_trackers(training.report_to)
    from polymine.training import adapters

    base = adapters.load_base(
        training.base.model,
        device="cpu",
        max_length=training.base.max_length,
        trust_remote_code=training.base.trust_remote_code,
    )
    for step in steps:
        adapters.find_targets(base, step.lora.targets)
    names = {step.name for step in steps}
    folders = {step.on for step in steps if step.on is not None and step.on not in names}
    for number, folder in enumerate(sorted(folders)):
        adapters.load_adapter(base, f"given-{number}", Path(folder).expanduser())
    for step in steps:
        if step.adapter == "continue" and step.on in folders:
            _check_shape(step, adapters.find_targets(base, step.lora.targets))
    return steps


def _check_shape(step: StepSettings, targets: Sequence[str]) -> None:
    """Refuse to continue an adapter under another shape than it has."""
    from peft import LoraConfig

    config = LoraConfig.from_pretrained(str(Path(str(step.on)).expanduser()))
    for name, had, wanted in (
        ("rank", config.r, step.lora.rank),
        ("alpha", config.lora_alpha, step.lora.alpha),
    ):
        if had != wanted:
            raise SettingsError(
                f"step `{step.name}`: continues {step.on}, whose {name} is {had}, with "
                f"{wanted:g}; set lora.{name} to that, or stack a new adapter on it"
            )
    other = [t for t in targets if not any(t == m or t.endswith(f".{m}") for m in
                                           config.target_modules or ())]  # fmt: skip
    if other:
        raise SettingsError(
            f"step `{step.name}`: continues {step.on}, which does not adapt {other[0]}; set "
            "lora.targets to the layers it has, or stack a new adapter on it"
        )


def _check_trackers(names: Sequence[str]) -> None:
    from transformers.integrations.integration_utils import get_available_reporting_integrations

    there = get_available_reporting_integrations()  # type: ignore[no-untyped-call]
    if missing := [name for name in names if name not in there]:
        raise SettingsError(
            f"training.report_to: {', '.join(missing)} is not installed or not known; installed "
            f"are {', '.join(there) or 'none'}. Install it, as `pip install {missing[0]}`"
        )


@stage("train", "train-{step.name}")
def train(
    step: StepSettings,
    rows: DatasetRef,
    below: Below,
    training: TrainingSettings,
    engine: EngineSettings,
    root: str,
) -> DatasetRef:
    """Train one adapter; an interrupted run goes on from its last checkpoint."""
    device = models.visible_devices()[0]
    version = fingerprint(
        version=VERSION,
        base=models.fingerprint(training.base.model),
        step=step.model_dump(mode="json", exclude={"data", "name", "on"}),
        shares=[part.share for part in step.data],
        rows=rows.fingerprint,
        below=[below.fingerprints, len(below.frozen), below.initial is not None],
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
    with explained(checkpoints), _alone(checkpoints):
        return place.find() or _train(step, rows, below, training, engine, place, checkpoints)


def _train(
    step: StepSettings,
    rows: DatasetRef,
    below: Below,
    training: TrainingSettings,
    engine: EngineSettings,
    place: Dataset,
    checkpoints: Path,
) -> DatasetRef:
    import torch

    from polymine.training.trainer import Start, train_step

    device = models.visible_devices()[0]
    threads = torch.get_num_threads()
    torch.set_num_threads(count_threads(engine))
    try:
        trained = train_step(
            step,
            load(rows),
            training,
            start=Start(
                tuple(map(Path, below.frozen)), Path(below.initial) if below.initial else None
            ),
            checkpoints=checkpoints,
            stamp=place.fingerprint,
            device=device,
            progress=TaskProgress(),
        )
    finally:
        torch.set_num_threads(threads)
    trained.write(place.folder / ADAPTER, training.base.model)
    write_frame(TrainingCurve.validate(trained.curve, cast=True), place.folder / CURVE)
    for number, folder in enumerate(below.frozen):  # what lies beneath may change or go
        for name in (CONFIG, WEIGHTS):
            copy_file(Path(folder) / name, place.folder / beneath_name(number) / name)
    info = {
        "rows": trained.rows, "shares": trained.shares, "steps": trained.steps,
        "tokens": trained.tokens, "seconds": trained.seconds, "frozen": len(below.frozen),
        "device": device,
    }  # fmt: skip
    if (checkpoints / "runs").is_dir():  # where trackers such as TensorBoard write
        shutil.copytree(checkpoints / "runs", place.folder / LOGS, dirs_exist_ok=True)
    reference = place.commit({"rows": rows.fingerprint}, info)
    shutil.rmtree(checkpoints, ignore_errors=True)
    return reference


def beneath_name(number: int) -> str:
    """Name the folder of a frozen adapter within a step's dataset, the lowest first."""
    return f"below-{number}"


def stack_of(reference: DatasetRef) -> tuple[Path, ...]:
    """List the folders of a step's adapters, the lowest first and its own last."""
    folder = open_folder(reference.path)
    count = int(info_of(reference)["frozen"])
    return (*(folder / beneath_name(number) for number in range(count)), folder / ADAPTER)


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """Let one run at a time train this; another one waits, and then finds the result."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    lock = folder.parent / f"{folder.name}.lock"
    while True:
        with lock.open("a+") as file:
            try:
                _take(file, folder)
            except OSError as error:  # some network folders have no locks
                logger.warning(
                    "%s cannot be locked (%s); see that no other run trains the same", folder, error
                )
            if lock.exists() and lock.stat().st_ino == os.fstat(file.fileno()).st_ino:
                yield  # else `polymine gc` removed it while this run waited
                file.truncate(0)  # whoever meets it next is not told of this run
                return


def _take(lock: IO[str], folder: Path) -> None:
    """Take a lock; if another run has it, say which one, and wait: its training may take hours."""
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        lock.seek(0)
        logger.warning(
            "%s trains the same (%s); this run waits until that ends, and takes over the result",
            lock.read() or "another process", folder.name,
        )  # fmt: skip
        fcntl.flock(lock, fcntl.LOCK_EX)
    lock.truncate(0)
    lock.write(f"process {os.getpid()} on {socket.gethostname()}")
    lock.flush()


def beneath(
    step: StepSettings, steps: Sequence[StepSettings], made: Mapping[str, DatasetRef]
) -> Below:
    """Find what a step stands on: an earlier step's adapter, or a folder.

    A stack on a stack stands on all of it; what continues an adapter stands on the same.
    """
    if step.adapter == "new":
        return Below()
    on = parent(steps, step.name)
    assert on is not None, "checked before any work"
    if on in made:
        *lower, own = stack_of(made[on])
        folder, frozen = str(own), tuple(map(str, lower))
        version = made[on].fingerprint
    else:
        folder, frozen = str(Path(on).expanduser().absolute()), ()
        version = models.fingerprint(on)
    if step.adapter == "stack":
        return Below((*frozen, folder), None, (version,))
    return Below(frozen, folder, (version,))


def describe_model(
    training: TrainingSettings,
    steps: Sequence[StepSettings],
    made: Mapping[str, DatasetRef],
    rows: Mapping[str, DatasetRef],
) -> TrainedModel:
    """Say what the trained adapters are and which language uses which."""
    routes = recipes.routes(steps, training)
    places = {"data": {"__all__": {"triplets", "parallel", "collection"}}}  # of this machine alone
    return TrainedModel(
        base=_lasting_name(training.base.model),
        routes=routes,
        query_prompt=training.base.query_prompt,
        document_prompt=training.base.document_prompt,
        max_length=training.base.max_length,
        fingerprint=fingerprint(
            adapters={name: reference.fingerprint for name, reference in made.items()},
            routes=routes,
        ),
        steps=[step.model_dump(mode="json", exclude=places) for step in steps],
        rows={name: reference.fingerprint for name, reference in rows.items()},
    )


def _lasting_name(base: str) -> str:
    """Name a local folder from the root: from another current folder it would be a hub id."""
    return (
        str(Path(base).expanduser().absolute()) if models.resolve(base).kind == "folder" else base
    )


@stage("assemble")
def assemble(model: TrainedModel, made: Mapping[str, DatasetRef], root: str) -> DatasetRef:
    """Write the model's folder: each adapter whole, with what it stands on."""
    place = Store(root).dataset("models", fingerprint(version=VERSION, model=model))
    if found := place.find():
        return found
    from polymine.training.adapters import concatenate

    with explained(place.folder):
        for name in model.adapters:
            concatenate(stack_of(made[name]), place.folder / ADAPTERS / name, model.base)
    write_bytes(place.folder / ABOUT, model.model_dump_json(indent=1).encode())
    return place.commit({name: reference.fingerprint for name, reference in made.items()})


def model_files(assembled: DatasetRef) -> dict[str, Path]:
    """Name the files of a model as they lie in an output folder."""
    folder = open_folder(assembled.path)
    files = sorted(path for path in (folder / ADAPTERS).rglob("*") if path.is_file())
    files.append(folder / ABOUT)
    return {f"{MODEL}/{path.relative_to(folder).as_posix()}": path for path in files}


def log_files(made: Mapping[str, DatasetRef]) -> dict[str, Path]:
    """Name what trackers wrote on this machine, by step."""
    found = {}
    for name, reference in made.items():
        folder = open_folder(reference.path) / LOGS
        for path in sorted(folder.rglob("*")):
            if path.is_file():
                found[f"{LOGS}/{name}/{path.relative_to(folder).as_posix()}"] = path
    return found


def read_curves(made: Mapping[str, DatasetRef]) -> pl.DataFrame:
    """Read the curves of all steps, in their order."""
    curves = [
        pl.read_parquet(open_folder(reference.path) / CURVE, glob=False).with_columns(
            step_name=pl.lit(name)
        )
        for name, reference in made.items()
    ]
    return pl.concat(curves) if curves else TrainingCurve.create_empty()


def describe_steps(made: Mapping[str, DatasetRef]) -> dict[str, dict[str, Any]]:
    """Read what each step was trained on and how fast."""
    return {name: info_of(reference) for name, reference in made.items()}
