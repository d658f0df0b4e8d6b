"""Trains a step on positives that are sure to several degrees, and keeps what chose itself.

How precise promoted positives are decides whether they help, and that differs from data to data:
the development part says which are worth training on. A trial is the step with a number in the
place of `"development"`, so that its rows and its adapter are those of that number.
"""

import logging
from collections.abc import Mapping, Sequence

from polymine.data_contracts.errors import InputError, SettingsError
from polymine.data_contracts.notes import AdapterNote, Chosen
from polymine.data_contracts.references import DatasetRef
from polymine.data_contracts.settings import BY_DEVELOPMENT, StepSettings, TrainingSettings
from polymine.reporting.report import Note
from polymine.reporting.templates import say
from polymine.tasks.engine.context import Context
from polymine.tasks.evaluation.sets import open_collection
from polymine.tasks.store.datasets import manifest_of, note_of
from polymine.tasks.training.development import Development
from polymine.tasks.training.rows import check_rows
from polymine.training import recipes

LEAST = (1.0, 0.9, 0.7, 0.5)  # below a half nothing is promoted
logger = logging.getLogger("polymine.training")


def trials(step: StepSettings) -> tuple[StepSettings, ...]:
    """Write out what is tried of a step, the surest positives first; itself if it leaves no choice.

    Each is called after the step and its number of percent, with a sign that no step's name has.
    """
    if not step.is_tried:
        return (step,)
    return tuple(
        step.model_copy(
            update={
                "name": f"{step.name}_{least:.0%}".removesuffix("%"),
                "data": tuple(
                    part.model_copy(update={"min_positive_weight": least})
                    if part.min_positive_weight == BY_DEVELOPMENT
                    else part
                    for part in step.data
                ),
            }
        )
        for least in LEAST
    )


def check_rows_of(step: StepSettings, rows: Mapping[str, DatasetRef]) -> tuple[StepSettings, ...]:
    """Check the rows of what is tried of a step; see `check_rows`.

    Returns:
        The trials that differ. One without rows enough is left out and named in the log, as where
        all translations are promoted ones; that with most rows is refused.
    """
    kept: list[StepSettings] = []
    *surer, last = trials(step)
    for one in surer:
        try:
            check_rows(one, rows[one.name])
        except InputError as error:
            logger.warning("%s is not tried: %s", one.name, error)
        else:
            kept.append(one)
    check_rows(last, rows[last.name])
    # Not by their number: of more rows than its `limit` a part takes others, and as many.
    held = [_content(rows[one.name]) for one in (*kept, last)]
    pairs = zip([*kept, last], held, [None, *held[:-1]], strict=True)
    return tuple(one for one, own, before in pairs if own != before)


def check_trials(training: TrainingSettings, development: Development | None) -> None:
    """Refuse, before anything is mined or trained, steps that a part is to judge and cannot.

    It is to choose of a step's trials, or with `strict` to hold a step that some language uses
    against the base. Raises SettingsError: there is none, or it has too few questions in the step's
    languages.
    """
    from polymine.training.development import Part

    steps, own = recipes.expand(training), training.development
    held = set(recipes.routes(steps, training).values()) if own.strict else set()
    for step in steps:
        if not step.is_tried and step.name not in held:
            continue
        whole = open_collection(development.drawn) if development is not None else None
        if whole is None or Part.of(whole, step, training, half=False) is None:
            asks, else_ = (
                ('`min_positive_weight = "development"`', "say a number")
                if step.is_tried
                else ("`training.development.strict`", "set it to false")
            )
            raise SettingsError(
                f"step {step.name}: {asks} needs a development part with {own.fewest} questions or "
                "more that the step can change, and there is none; name one as "
                f"`training.development.set`, or {else_}"
            )


def pick(
    run: Context,
    tried: Sequence[StepSettings],
    made: Mapping[str, DatasetRef],
    training: TrainingSettings,
) -> StepSettings:
    """Pick what is best on the development part; of equals that with the surest positives.

    A plan over what is still to be trained goes on with the first.
    """
    if len(tried) == 1 or (run.dry and not all(made[one.name].reused for one in tried)):
        return tried[0]

    def rank(step: StepSettings) -> tuple[bool, float]:
        found = _chosen(made[step.name])
        each = training.development.never_below_base == "languages"
        return not (each and found.below), found.ndcg

    return max(tried, key=rank)


def describe_trials(
    step: StepSettings,
    tried: Sequence[StepSettings],
    best: StepSettings,
    made: Mapping[str, DatasetRef],
) -> tuple[Note, ...]:
    """Say what was tried of a step and what came of each; nothing where there was no choice."""
    if not step.is_tried:
        return ()
    points = [
        (_least(step, one), None if len(tried) == 1 else _chosen(made[one.name]).ndcg)
        for one in tried
    ]
    return (Note("remark", say("learning", "tried", step.name, points, _least(step, best))),)


def _chosen(made: DatasetRef) -> Chosen:
    chosen = note_of(made, AdapterNote).chosen
    assert chosen is not None, "checked before training"
    return chosen


def _content(rows: DatasetRef) -> list[str]:
    manifest = manifest_of(rows)
    assert manifest is not None, "a plan, too, reads rows"
    return [shard.checksum for shard in manifest.shards]


def _least(step: StepSettings, trial: StepSettings) -> float:
    """Say the number that stands for `"development"` in a trial; other parts have their own."""
    pairs = zip(step.data, trial.data, strict=True)
    asked = (tried for part, tried in pairs if part.min_positive_weight == BY_DEVELOPMENT)
    least = next(asked).min_positive_weight
    assert isinstance(least, float)
    return least
