"""How many processes train a step: one, unless settings say."""

import logging
from collections.abc import Sequence

from polymine import models
from polymine.data_contracts.errors import SettingsError
from polymine.data_contracts.settings import EngineSettings, StepSettings, TrainingSettings

logger = logging.getLogger("polymine.training")


def check_processes(
    engine: EngineSettings, training: TrainingSettings, steps: Sequence[StepSettings]
) -> None:
    """Refuse a number of processes that some step cannot be trained by on this machine.

    Raises SettingsError; where a work pool trains, its worker looks at its own machine.
    """
    asked = engine.training_processes
    if asked == "auto" or asked == 1 or engine.gpu_pool is not None:
        return
    name, devices = f"engine.training_processes = {asked}", models.visible_devices()
    if training.target is not None:
        raise SettingsError(f"{name}: a chain is trained by one process; leave it out")
    if devices != ["cpu"] and asked > len(devices):
        raise SettingsError(
            f"{name}: each needs a GPU of its own, and {len(devices)} can be seen here; set it to "
            f"{len(devices)} at most, or leave it out"
        )
    for step in steps:
        if step.schedule.batch < asked:
            raise SettingsError(
                f"{name}: step `{step.name}` has batches of {step.schedule.batch} rows, fewer than "
                "one for each process; set a larger `schedule.batch`, or fewer processes"
            )


def count_processes(engine: EngineSettings, training: TrainingSettings, step: StepSettings) -> int:
    """Count the processes that train a step here.

    Args:
        engine: says how many, or `auto`: as many as GPUs.
        training: a chain is trained by one.
        step: a batch has a row at least for each.
    """
    if engine.training_processes != "auto":
        return engine.training_processes
    visible = len(models.visible_devices())
    return 1 if training.target is not None else min(visible, step.schedule.batch)


def tell_processes(processes: int, training: TrainingSettings, step: StepSettings) -> None:
    """Write into the log how many train a step, and why they are fewer than GPUs."""
    visible = len(models.visible_devices())
    if processes > 1:
        each = "each with its part of every batch"
        logger.info("step %s: %d processes train it, %s", step.name, processes, each)
    if processes < visible:
        why = '`engine.training_processes = "auto"` would take all'
        if training.target is not None:
            why = "a chain is trained by one process"
        elif processes == step.schedule.batch:
            why = f"a batch has {processes} rows"
        logger.info("step %s: %d of %d GPUs train it: %s", step.name, processes, visible, why)
