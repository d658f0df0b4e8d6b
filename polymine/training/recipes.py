"""From a recipe's name to the steps it stands for, and from steps to the routes of a model.

A recipe is data for the one training function: mono, cross, mixed, sequential and stacked differ in
their list of steps alone. The steps are:

    mono        mono
    cross       cross
    mixed       mixed (`share` of its batches cross-lingual)
    sequential  mono, then cross, which continues its adapter
    stacked     mono, then cross, a second adapter on the first, frozen (Stacked LoRA)
    lusifer     align-1, align-2 ..., then finetune, each going on with the chain of the one before

With an adapter per language each step is made per language (`mono-ru`, `cross-ru`). Texts of other
languages, the pivot's among them, pass through the untouched base, as in the cross-lingual
alignment of arXiv 2407.14878. The pivot itself has nothing to be aligned with: it gets a mono step
where the recipe has mono data, and none in `cross`.

Language pairs name the document's language first.
"""

import re
from collections.abc import Sequence
from itertools import combinations
from typing import Any

from polymine.data_contracts.errors import SettingsError
from polymine.data_contracts.settings import (
    MINED,
    AlignSettings,
    LossSettings,
    RecipeSettings,
    StepSettings,
    TrainingData,
    TrainingSettings,
)
from polymine.data_contracts.trained import BASE, OTHERS
from polymine.training.step_checks import check, nearest, parent

__all__ = ["BASE", "OTHERS", "check", "expand", "learns_lists", "parent", "routes"]

_CODE = re.compile(r"^[a-z]{2,3}$")


def expand(training: TrainingSettings) -> tuple[StepSettings, ...]:
    """List the steps of a run.

    Args:
        training: its `steps`, or those of its recipe (`mono` if there is none) with the LoRA, loss,
            schedule and seed of these settings.

    Returns:
        Steps in the order in which they are trained.

    Raises:
        SettingsError: languages that are no codes, or parts of the recipe that contradict it.
    """
    if training.steps:
        return training.steps
    recipe = training.recipe or RecipeSettings()
    _check_recipe(recipe)
    shared = {name: getattr(training, name) for name in ("lora", "loss", "schedule", "seed")}
    if recipe.name == "lusifer":
        return _chain_steps(recipe, shared)
    if not recipe.per_language:
        return _steps(recipe, recipe.languages, None, shared)
    steps: list[StepSettings] = []
    for language in recipe.languages or ():
        steps += _steps(recipe, (language,), language, shared)
    return tuple(steps)


def learns_lists(training: TrainingSettings) -> bool:
    """Tell whether a step reads the lists of what is mined for it.

    Args:
        training: with `mined` where that is.

    Returns:
        Whether the folder of a whole run is needed; triplets need less.

    Raises:
        SettingsError: as in `expand`.
    """
    parts = (part for step in expand(training) for part in step.data)
    return any(part.lists is not None and part.is_mined for part in parts)


def routes(steps: Sequence[StepSettings], training: TrainingSettings) -> dict[str, str]:
    """Say which step's adapter encodes a language.

    By default a language goes to the last step trained on it, and `*`, all others, to the last
    step trained on all languages, else to `base`.

    Args:
        steps: of `expand`.
        training: its `routes` come before the default; with a `*` among them they are all there is.

    Returns:
        Language, or `*`, to the name of a step, or `base`.

    Raises:
        SettingsError: a route to a step that there is not, or from what is no language.
    """
    given = training.routes or {}
    names = [step.name for step in steps]
    for language, name in given.items():
        if language != OTHERS and not _CODE.match(language):
            raise SettingsError(
                f"routes: `{language}` is no language: write a code as `ru`, or `{OTHERS}` for all "
                "others"
            )
        if name not in (BASE, *names):
            raise SettingsError(
                f"routes: `{language}` goes to `{name}`, and no step has that name"
                f"{nearest(name, [BASE, *names])}"
            )
    if OTHERS in given:
        return dict(given)
    found = _default_routes(steps)
    if training.recipe is not None:
        found = aligned_routes(found, training.recipe)
    return found | given


def _default_routes(steps: Sequence[StepSettings]) -> dict[str, str]:
    """The last step per language; a step without languages is trained on all of them."""
    found = {OTHERS: BASE}
    for step in steps:
        if step.languages is None:
            found = {OTHERS: step.name}
        else:
            found |= dict.fromkeys(step.languages, step.name)
    return found


def aligned_routes(routes: dict[str, str], recipe: RecipeSettings) -> dict[str, str]:
    """Send the pivot to the base where others were aligned with it there.

    With an adapter per language, what learned across languages learned to meet the pivot's texts
    as the untouched base encodes them; the pivot's own adapter would move them away again.

    Args:
        routes: by language.
        recipe: that made the steps.

    Returns:
        The routes, the pivot's changed or not.
    """
    across = recipe.per_language and recipe.name != "mono"
    return routes | {recipe.pivot: BASE} if across and recipe.pivot in routes else routes


def _steps(
    recipe: RecipeSettings,
    languages: tuple[str, ...] | None,
    only: str | None,
    shared: dict[str, Any],
) -> tuple[StepSettings, ...]:
    """Steps for `languages` in common; `only` names the one language of an adapter of its own."""
    ending = "" if only is None else f"-{only}"
    through = None if only is None else (only,)

    def step(name: str, *data: TrainingData, then: str = "new") -> StepSettings:
        below = None if then == "new" else "mono" + ending
        made = {"name": name + ending, "adapter": then, "on": below, "languages": through}
        return StepSettings.model_validate(made | {"data": data} | shared)

    others = [language for language in languages or () if language != recipe.pivot]
    if recipe.name == "mono" or not others:
        if recipe.name == "cross":
            return ()
        return (step("mono", _within(recipe.mono, languages, "mono")),)
    cross = _cross(recipe, others)
    if recipe.name == "cross":
        return (step("cross", cross),)
    mono = _within(recipe.mono, languages, "mono")
    if recipe.name == "mixed":
        shares = ((mono, 1 - recipe.share), (cross, recipe.share))
        parts = [part.model_copy(update={"share": share}) for part, share in shares]
        return (step("mixed", *parts),)
    then = "continue" if recipe.name == "sequential" else "stack"
    return (step("mono", mono), step("cross", cross, then=then))


def _chain_steps(recipe: RecipeSettings, shared: dict[str, Any]) -> tuple[StepSettings, ...]:
    """Phases of the alignment, then finetuning; the target stays as it is until then."""
    steps: list[dict[str, Any]] = []
    data = _within(recipe.mono, recipe.languages, "mono")
    if recipe.stages != "finetune":
        aligned = _within(recipe.align, recipe.languages, "align") if recipe.align else data
        learns = tuple(part for part in recipe.learns if part != "target")
        for number, phase in enumerate(recipe.phases, start=1):
            asked = AlignSettings.model_validate(phase.model_dump(exclude={"schedule"}))
            loss = LossSettings(kind="align", negatives=0, align=asked)
            own = {"data": (aligned,), "loss": loss, "schedule": phase.schedule}
            steps.append({"name": f"align-{number}", "learns": learns, **own})
    if recipe.stages != "align":
        steps.append({"name": "finetune", "learns": recipe.learns, "data": (data,)})
    return tuple(
        StepSettings.model_validate(
            {**shared, "adapter": "continue" if number else "new", **step}
            | ({"on": steps[number - 1]["name"]} if number else {})
        )
        for number, step in enumerate(steps)
    )


def _within(part: TrainingData, languages: tuple[str, ...] | None, which: str) -> TrainingData:
    """Data whose both sides are in one of the languages; all of it where none are named."""
    if languages is None:
        return part
    return _narrowed(part, [f"{language}-{language}" for language in languages], which)


def _cross(recipe: RecipeSettings, languages: Sequence[str]) -> TrainingData:
    both = [(language, recipe.pivot) for language in languages]
    if recipe.pairs == "all":
        both = list(combinations((*languages, recipe.pivot), 2))
    pairs = [pair for a, b in both for pair in (f"{a}-{b}", f"{b}-{a}")]
    return _narrowed(recipe.cross or TrainingData(triplets=MINED), pairs, "cross")


def _narrowed(part: TrainingData, pairs: Sequence[str], which: str) -> TrainingData:
    """Data of these language pairs; a part's own `languages` narrow them further."""
    taken = [pair for pair in pairs if part.languages is None or pair in part.languages]
    if not taken:
        raise SettingsError(
            f"recipe.{which}: its `languages` ({', '.join(part.languages or ())}) have none of the "
            f"language pairs the recipe needs there: {', '.join(pairs)}. Add one, or leave "
            "`languages` out"
        )
    return part.model_copy(update={"languages": tuple(taken)})


def _check_recipe(recipe: RecipeSettings) -> None:
    languages = recipe.languages or ()
    for language in (*languages, recipe.pivot):
        if not _CODE.match(language):
            raise SettingsError(f"recipe: `{language}` is no language: write a code as `ru`")
    if len(set(languages)) < len(languages):
        raise SettingsError(f"recipe: `languages` name one twice: {', '.join(languages)}")
    if recipe.name == "lusifer" and recipe.learns == ("target",) and recipe.stages != "finetune":
        raise SettingsError(
            "recipe.learns: the alignment leaves the target as it is, so another part must learn"
        )
    parts = (("mono", recipe.mono), ("cross", recipe.cross), ("align", recipe.align))
    for which, part in parts:
        if part is not None and part.share is not None:
            raise SettingsError(
                f"recipe.{which}: leave out its `share` ({part.share:g}): the recipe's own `share` "
                "says how much of a `mixed` recipe is cross-lingual"
            )
