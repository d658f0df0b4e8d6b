"""What a list of steps must be before any work, and what each step's adapter stands on."""

import difflib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from polymine.data_contracts.errors import SettingsError
from polymine.data_contracts.settings import StepSettings

ADAPTER_FILE = "adapter_config.json"  # PEFT writes one into every adapter's folder


def check(steps: Sequence[StepSettings], chain: bool = False) -> None:
    """Refuse, before any work, what cannot be trained.

    Args:
        steps: in the order in which they would be trained.
        chain: whether they train a chain of base and target.

    Raises:
        SettingsError: names used twice, `on` that is neither an earlier step nor an adapter's
            folder, nothing to stand on, a continued adapter of another shape, data that the step's
            loss or languages can make nothing of; it names the step.
    """
    if not steps:
        raise SettingsError("training has no steps: name a `recipe`, or write out `steps`")
    names = [step.name for step in steps]
    for step in steps:
        if step.adapter == "full" and (len(steps) > 1 or chain):
            raise _refused(
                step,
                "`full` makes a whole model, so it is the only step and there is no target; to go "
                "on from it, merge it and name the folder as `training.base` of another run",
            )
    for index, step in enumerate(steps):
        if step.name == "base":
            raise _refused(step, "that is the untouched model; choose another name")
        if step.name in names[:index]:
            raise _refused(step, "an earlier step has that name; choose another")
        _check_parent(steps[:index], step, names)
        _check_shape(steps[:index], step)
        _check_data(step)
        if chain:
            _check_chained(step, names[:index])


def parent(steps: Sequence[StepSettings], name: str) -> str | None:
    """Find what a step's adapter continues or is stacked on.

    Args:
        steps: all of the run.
        name: of the step.

    Returns:
        An earlier step's name, or a folder, by `on`; without it the step before. None for a new
        adapter.

    Raises:
        SettingsError: the first step continues or is stacked and has no `on`.
    """
    index = [step.name for step in steps].index(name)
    step = steps[index]
    if step.adapter in ("new", "full"):
        return None
    if step.on is None and index == 0:
        raise _refused(
            step,
            f"the first step has nothing to {step.adapter} on: set `on` to the folder of a trained "
            'adapter, or `adapter = "new"`',
        )
    return step.on or steps[index - 1].name


def nearest(name: str, known: Sequence[str]) -> str:
    """End of a sentence about a name that is not known: the nearest, and all there are."""
    close = difflib.get_close_matches(name, known, n=1, cutoff=0.5)
    hint = f"; did you mean `{close[0]}`?" if close else ""
    return f"{hint} (there are: {', '.join(known) or 'none'})"


def _refused(step: StepSettings, why: str) -> SettingsError:
    return SettingsError(f"step `{step.name}`: {why}")


def _check_chained(step: StepSettings, earlier: list[str]) -> None:
    if step.languages is not None:
        raise _refused(step, "all languages pass through a chain; leave out its `languages`")
    if step.adapter == "stack" or (step.on is not None and step.on not in earlier):
        raise _refused(step, "a step of a chain is `new`, or continues an earlier step of the run")
    if step.loss.base_anchor:
        raise _refused(step, "a chain has no untouched base to stay near; leave out `base_anchor`")
    if step.loss.kind == "align" and step.learns is not None and "target" in step.learns:
        raise _refused(step, "`align` leaves the target as it is; take it out of `learns`")


def _check_parent(earlier: Sequence[StepSettings], step: StepSettings, names: list[str]) -> None:
    if step.adapter in ("new", "full"):
        if step.on is not None:
            raise _refused(step, "a new adapter stands on the base; drop `on`")
        return
    known = [before.name for before in earlier]
    on = parent([*earlier, step], step.name)
    if on is None or on in known or _is_adapter(on):
        return
    if on == step.name:
        raise _refused(step, f"its adapter cannot {step.adapter} on itself")
    if on in names:
        raise _refused(step, f"`{on}` comes later; put it before this step to {step.adapter} on it")
    if Path(on).expanduser().is_dir():
        raise _refused(
            step,
            f"the folder {on} has no {ADAPTER_FILE}: `on` names the folder of one adapter, as "
            "model/adapters/NAME of a training run",
        )
    raise _refused(
        step,
        f"`on` is `{on}`, which is neither an earlier step nor the folder of an adapter"
        f"{nearest(on, known)}",
    )


def _check_shape(earlier: Sequence[StepSettings], step: StepSettings) -> None:
    """A continued adapter keeps its shape; dropout may change, since it has no weights."""
    if step.adapter != "continue":
        return
    on = str(parent([*earlier, step], step.name))
    for name, had in _shape_of(earlier, on).items():
        wanted = getattr(step.lora, name)
        if had != wanted:
            raise _refused(
                step,
                f"continues the adapter of `{on}`, whose lora.{name} is {had}, with {wanted}; give "
                "both the same, or stack a new adapter on it",
            )


def _shape_of(earlier: Sequence[StepSettings], on: str) -> dict[str, Any]:
    """What a continued adapter must share; a folder's target layers take the model to compare."""
    for before in earlier:
        if before.name == on:
            return {name: getattr(before.lora, name) for name in ("rank", "alpha", "targets")}
    config = json.loads((Path(on).expanduser() / ADAPTER_FILE).read_text(encoding="utf-8"))
    keys = {"rank": "r", "alpha": "lora_alpha"}
    return {name: config[key] for name, key in keys.items() if key in config}


def _is_adapter(folder: str) -> bool:
    return (Path(folder).expanduser() / ADAPTER_FILE).is_file()


def _check_data(step: StepSettings) -> None:
    for number, part in enumerate(step.data, start=1):
        where = f"step `{step.name}`, data {number}"
        if step.loss.kind in ("distill", "margin") and part.triplets is None:
            raise SettingsError(
                f"{where}: loss `{step.loss.kind}` learns a teacher's scores, which only "
                "`triplets` have"
            )
        if part.lists and step.loss.kind not in ("infonce", "list"):
            raise SettingsError(
                f"{where}: `lists` have several positives in a row, which the losses `infonce` and "
                f"`list` take and `{step.loss.kind}` does not; name the run as `triplets`"
            )
        if step.loss.kind == "list" and not part.lists:
            raise SettingsError(
                f"{where}: loss `list` learns the order of a list, which only the `lists` of a "
                "mining run have; name its folder there"
            )
        spoken = {code for pair in part.languages or () for code in pair.split("-")}
        if spoken and step.languages and not spoken & set(step.languages):
            raise SettingsError(
                f"{where}: no text of {', '.join(part.languages or ())} passes through an adapter "
                f"for {', '.join(step.languages)}: nothing would be trained"
            )
