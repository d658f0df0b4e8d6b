"""What must hold before anything is read or trained: refused in seconds, not after hours."""

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path

from polymine import models
from polymine.data_contracts.errors import SettingsError
from polymine.data_contracts.settings import (
    MINED,
    MiningSettings,
    StepSettings,
    TrainingData,
    TrainingSettings,
)
from polymine.data_contracts.trained import BASE
from polymine.tasks.runs.folder import RunFolder
from polymine.tasks.store.manifests import RUN, read_manifest
from polymine.tasks.store.output import PIPELINE
from polymine.tasks.training.lists import check_target, open_run
from polymine.training import recipes

FULL_RATE = 1e-4  # learning rate above which all weights of a model are rather undone than trained
logger = logging.getLogger("polymine.training")


def check_training(
    training: TrainingSettings, mining: MiningSettings | None = None
) -> tuple[StepSettings, ...]:
    """Write out the steps, and refuse what cannot work.

    Args:
        training: what is to be trained.
        mining: of the data that are `mined`, where they are still to be mined.

    Returns:
        The steps, in their order.

    Raises:
        SettingsError: steps, routes or trackers that cannot be; a step that would distill the base
            from its own scores.
        ModelError: a base without the target layers, a guide that is not there or of another
            width, adapters that do not fit the base.
    """
    from polymine.training import adapters
    from polymine.training.objectives import check_guide

    models.check_call(training.base)
    steps = recipes.expand(training)
    recipes.check(steps, chain=training.target is not None)
    routes = recipes.routes(steps, training)
    if set(routes.values()) == {BASE}:
        raise SettingsError("training.routes: all lead to `base`; name the step for some language")
    _check_rounds(steps, training.rounds, routes)
    if steps[0].adapter == "full":
        _check_full(steps[0], routes)
    for step in steps:
        if step.loss.guide is not None:
            models.check_call(step.loss.guide)
    _check_trackers(training.report_to)
    _check_lists(steps, mining)
    if training.target is not None:
        _check_chain(steps, training)
        return steps
    _check_teachers(steps, training.base.model, mining)
    base = adapters.load_base(
        training.base.model,
        device="cpu",
        max_length=training.base.max_length,
        trust_remote_code=training.base.trust_remote_code,
    )
    names = {step.name for step in steps}
    loaded = set[str]()
    for step in steps:
        check_guide(step, base, training.base.model)
        targets = adapters.find_targets(base, step.lora.targets)
        if step.on is None or step.on in names:
            continue
        if step.on not in loaded:
            adapters.load_adapter(base, f"given-{len(loaded)}", Path(step.on).expanduser())
            loaded.add(step.on)
        if step.adapter == "continue":
            _check_targets(step, targets)
    return steps


def _check_rounds(steps: Sequence[StepSettings], rounds: int, routes: Mapping[str, str]) -> None:
    """Refuse to mine again with what is no single model for all languages."""
    if rounds > 1 and len(set(routes.values())) > 1:
        ways = ", ".join(f"{language} is read by {name}" for language, name in routes.items())
        raise SettingsError(
            f"training.rounds: a teacher reads all languages alike, and here {ways}; "
            f'set `training.routes = {{"*" = "{steps[-1].name}"}}`, or one round'
        )


def _check_full(step: StepSettings, routes: Mapping[str, str]) -> None:
    """Refuse to part languages between a whole model and its base; warn of an adapter's rate."""
    if set(routes.values()) != {step.name}:
        raise SettingsError(
            f"training.routes: step `{step.name}` trains all weights (`full`), and its model is "
            "for all languages: leave out the routes"
        )
    if step.schedule.learning_rate > FULL_RATE:
        logger.warning(
            "step %s: trains all weights at a learning rate of %g, which is one of adapters; "
            "2e-5 is usual",
            step.name, step.schedule.learning_rate,
        )  # fmt: skip


def _check_chain(steps: Sequence[StepSettings], training: TrainingSettings) -> None:
    """Refuse a chain that cannot be built, or cannot be trained by one of the steps."""
    from polymine.models.lusifer import ENCODER, TARGET
    from polymine.training import adapters, alignment, chain
    from polymine.training.objectives import check_guide

    assert training.target is not None, "the caller looked"
    trusted = training.base.trust_remote_code
    models.check_code(training.target.model, trusted)
    built = chain.load_chain(training, "cpu")
    places = {"encoder": ENCODER, "target": TARGET}
    for step in steps:
        check_guide(step, built, training.target.model)
        for part in chain.parts_of(step):
            if part in places:
                adapters.find_targets(built, step.lora.targets, place=places[part])
        if step.loss.kind == "align":
            alignment.check_chain(built, step.loss.align)
    if any(step.loss.kind == "align" for step in steps):
        alignment.load_language_model(built, training.target.model, trusted)


def _check_lists(steps: Sequence[StepSettings], mining: MiningSettings | None) -> None:
    """Refuse runs that have not stored what their lists are to teach, or will not."""
    for step in steps:
        for part in step.data:
            if part.lists == MINED and mining is not None:
                check_target(step.loss, "what is `mined` here", mining)
            elif part.lists not in (None, MINED):
                run = open_run(str(part.lists))
                mined = run.mining
                check_target(step.loss, str(part.lists), mined, run)


def _check_teachers(
    steps: Sequence[StepSettings], base: str, mining: MiningSettings | None
) -> None:
    """Refuse to distill a model from itself: it would learn rounding noise, and look as if it had.

    What continues or stacks on another adapter is no longer the base, and may be held to it.
    """
    for step in steps:
        if step.loss.kind not in ("distill", "margin") or step.adapter not in ("new", "full"):
            continue
        for mined in filter(None, (each for part in step.data for each in _minings(part, mining))):
            learned = mined.teachers  # any of them, while none is chosen
            if not mined.chooses_teacher:
                learned = tuple(t for t in learned if t.name == mined.primary_teacher)
            for teacher in learned:
                if teacher.model and models.fingerprint(teacher.model) == models.fingerprint(base):
                    raise SettingsError(
                        f"step `{step.name}`: loss `{step.loss.kind}` learns the scores of teacher "
                        f"`{teacher.name}`, which is the base itself ({base}): nothing would be "
                        "learned. Name another as `mining.selection.teacher`, or choose another "
                        "loss"
                    )


def _minings(part: TrainingData, mining: MiningSettings | None) -> list[MiningSettings | None]:
    """Settings that a part's triplets were mined with, as far as anybody knows."""
    named = part.triplets or []
    return [
        mining if source == MINED else _mining_of(Path(source).expanduser())
        for source in ([named] if isinstance(named, str) else named)
    ]


def _mining_of(folder: Path) -> MiningSettings | None:
    manifest = read_manifest(folder) if folder.is_dir() else None
    if manifest is None or manifest.contract not in (RUN, PIPELINE):
        return None
    return RunFolder(folder).mining


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
