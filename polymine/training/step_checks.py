"""What a list of steps must be before any work, and what each step's adapter stands on."""

import difflib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from polymine.data_contracts.errors import SettingsError
from polymine.data_contracts.settings.training import StepSettings

ADAPTER_FILE = "adapter_config.json"  # PEFT writes one into every adapter's folder


@dataclass(frozen=True)
class Lineage:
    """What the model of a step is made of.

    Args:
        adapters: names of the steps whose adapters are added to the base, the lowest first and the
            step's own last. The first may be a folder: that of an adapter trained elsewhere.
        continued: the step or folder whose adapter this step's own started as; None for one that
            started at zero.
    """

    adapters: tuple[str, ...]
    continued: str | None


def check(steps: Sequence[StepSettings]) -> None:
    """Refuse, before any work, what cannot be trained.

    Raises SettingsError, which names the step: names used twice, `on` that is neither an earlier
    step nor an adapter's folder, nothing to stand on, a continued adapter of another shape, data
    that the step's loss or languages can make nothing of.
    """
    if not steps:
        raise SettingsError("training has no steps: name a `recipe`, or write out `steps`")
    names = [step.name for step in steps]
    for index, step in enumerate(steps):
        if step.name == "base":
            raise SettingsError("step `base`: that is the untouched model; choose another name")
        if step.name in names[:index]:
            raise SettingsError(
                f"step `{step.name}`: an earlier step has that name; choose another"
            )
        _check_parent(steps[:index], step, names)
        _check_shape(steps[:index], step)
        _check_data(step)


def parent(steps: Sequence[StepSettings], name: str) -> str | None:
    """What the step's adapter continues or is stacked on: an earlier step's name, or a folder.

    None for a new adapter. Without `on` it is the step before.
    """
    index = _index(steps, name)
    step = steps[index]
    if step.adapter == "new":
        return None
    if step.on is not None:
        return step.on
    if index == 0:
        raise SettingsError(_nothing_below(step))
    return steps[index - 1].name


def lineage(steps: Sequence[StepSettings], name: str) -> Lineage:
    """Follow a step down to the base. Raises SettingsError as `check` does for what is not there.

    A stacked adapter adds itself to all of the step it stands on. A continued one takes the place
    of the adapter it started as, above whatever that one is stacked on.
    """
    index = _index(steps, name)
    step, below = steps[index], parent(steps, name)
    if below is None:
        return Lineage((name,), None)
    earlier = [before.name for before in steps[:index]]
    under = lineage(steps[:index], below).adapters if below in earlier else (below,)
    if step.adapter == "stack":
        return Lineage((*under, name), None)
    return Lineage((*under[:-1], name), below)


def nearest(name: str, known: Sequence[str]) -> str:
    """End of a sentence about a name that is not known: the nearest, and all there are."""
    close = difflib.get_close_matches(name, known, n=1, cutoff=0.5)
    hint = f"; did you mean `{close[0]}`?" if close else ""
    return f"{hint} (there are: {', '.join(known) or 'none'})"


def _index(steps: Sequence[StepSettings], name: str) -> int:
    names = [step.name for step in steps]
    if name not in names:
        raise SettingsError(f"no step is called `{name}`{nearest(name, names)}")
    return names.index(name)


def _check_parent(earlier: Sequence[StepSettings], step: StepSettings, names: list[str]) -> None:
    if step.adapter == "new":
        if step.on is not None:
            raise SettingsError(f"step `{step.name}`: a new adapter stands on the base; drop `on`")
        return
    known = [before.name for before in earlier]
    if step.on is None:
        if not earlier:
            raise SettingsError(_nothing_below(step))
        return
    if step.on in known or (Path(step.on) / ADAPTER_FILE).is_file():
        return
    if step.on == step.name:
        raise SettingsError(f"step `{step.name}`: its adapter cannot {step.adapter} on itself")
    if step.on in names:
        raise SettingsError(
            f"step `{step.name}`: `{step.on}` comes later; put it before this step to "
            f"{step.adapter} on it"
        )
    if Path(step.on).is_dir():
        raise SettingsError(
            f"step `{step.name}`: the folder {step.on} has no {ADAPTER_FILE}: `on` names the "
            "folder of one adapter, as model/adapters/NAME of a training run"
        )
    raise SettingsError(
        f"step `{step.name}`: `on` is `{step.on}`, which is neither an earlier step nor the folder "
        f"of an adapter{nearest(step.on, known)}"
    )


def _nothing_below(step: StepSettings) -> str:
    return (
        f"step `{step.name}`: the first step has nothing to {step.adapter} on: set `on` to the "
        'folder of a trained adapter, or `adapter = "new"`'
    )


def _check_shape(earlier: Sequence[StepSettings], step: StepSettings) -> None:
    """A continued adapter keeps its shape; dropout may change, since it has no weights."""
    below = parent([*earlier, step], step.name) if step.adapter == "continue" else None
    for before in earlier:
        if before.name != below:
            continue
        for name in ("rank", "alpha", "targets"):
            had, wanted = getattr(before.lora, name), getattr(step.lora, name)
            if had != wanted:
                raise SettingsError(
                    f"step `{step.name}`: continues the adapter of `{below}`, whose lora.{name} is "
                    f"{had}, with {wanted}; give both the same, or stack a new adapter on it"
                )


def _check_data(step: StepSettings) -> None:
    for number, part in enumerate(step.data, start=1):
        where = f"step `{step.name}`, data {number}"
        if step.loss.kind == "distill" and part.triplets is None:
            raise SettingsError(
                f"{where}: loss `distill` learns a teacher's scores, which only `triplets` have"
            )
        if part.min_score is not None and part.parallel is None:
            raise SettingsError(f"{where}: `min_score` is for `parallel` pairs")
        spoken = {code for pair in part.languages or () for code in pair.split("-")}
        if spoken and step.languages and not spoken & set(step.languages):
            raise SettingsError(
                f"{where}: no text of {', '.join(part.languages or ())} passes through an adapter "
                f"for {', '.join(step.languages)}: nothing would be trained"
            )
