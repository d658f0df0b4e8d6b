"""What must hold before anything is read or trained: refused in seconds, not after hours."""

from collections.abc import Sequence
from pathlib import Path

from polymine import models
from polymine.data_contracts.errors import SettingsError
from polymine.data_contracts.settings import StepSettings, TrainingSettings
from polymine.data_contracts.trained import BASE
from polymine.training import recipes


def check_training(training: TrainingSettings) -> tuple[StepSettings, ...]:
    """Write out the steps, and refuse what cannot work.

    Returns:
        The steps, in their order.

    Raises:
        SettingsError: steps, routes or trackers that cannot be.
        ModelError: a base without the target layers, a guide that is not there, adapters that do
            not fit the base.
    """
    from polymine.training import adapters

    steps = recipes.expand(training)
    recipes.check(steps)
    if set(recipes.routes(steps, training).values()) == {BASE}:
        raise SettingsError("training.routes: all lead to `base`; name the step for some language")
    for step in steps:
        if step.loss.guide is not None:
            models.resolve(step.loss.guide.model)
    _check_trackers(training.report_to)
    base = adapters.load_base(
        training.base.model,
        device="cpu",
        max_length=training.base.max_length,
        trust_remote_code=training.base.trust_remote_code,
    )
    names = {step.name for step in steps}
    loaded = set[str]()
    for step in steps:
        targets = adapters.find_targets(base, step.lora.targets)
        if step.on is None or step.on in names:
            continue
        if step.on not in loaded:
            adapters.load_adapter(base, f"given-{len(loaded)}", Path(step.on).expanduser())
            loaded.add(step.on)
        if step.adapter == "continue":
            _check_targets(step, targets)
    return steps


def _check_targets(step: StepSettings, targets: Sequence[str]) -> None:
    """Refuse to continue a folder's adapter in layers that it does not adapt."""
    from peft import LoraConfig

    held = LoraConfig.from_pretrained(str(Path(str(step.on)).expanduser())).target_modules or ()
    if other := [t for t in targets if not any(t == h or t.endswith(f".{h}") for h in held)]:
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
