"""What is trained: a base model and a list of steps.

A recipe by name (`[training.recipe]`) is short for such a list; `polymine/training/recipes.py`
writes it out.
"""

from typing import Any, Literal

from pydantic import Field, model_validator

from polymine.data_contracts.settings.base import Settings
from polymine.data_contracts.settings.development import DevelopmentSettings
from polymine.data_contracts.settings.locations import Model
from polymine.data_contracts.settings.models import EncoderSettings
from polymine.data_contracts.settings.steps import (
    MINED,
    AlignSettings,
    LoraSettings,
    LossSettings,
    Part,
    ScheduleSettings,
    StepSettings,
    TrainingData,
)
from polymine.data_contracts.shipped_models import ENGLISH

MOST_ROUNDS = 9


def name_round(number: int) -> str:
    """Name a round, its folder and its model; as a teacher, with `_` for the `-`."""
    return f"round-{number}"


class PhaseSettings(AlignSettings):
    """One phase of LUSIFER's alignment."""

    schedule: ScheduleSettings = ScheduleSettings(batch=256, learning_rate=1.5e-4)
    """How long it trains and how fast."""


class TargetSettings(Settings):
    """The English model that stands behind `base` in a chain, and how the two are joined."""

    replaced = {"trust_remote_code": "say `base.trust_remote_code`, which is for both models"}

    model: Model
    """Hub id (`name@revision`), local folder, or `package:NAME`: a decoder or an encoder."""
    tokens: int = Field(1, ge=0, le=64)
    """Trainable tokens after each text."""
    bidirectional: bool = True
    """Each token of the target sees those behind it, too."""
    projection: bool = False
    """Two further layers after the mean, as in the authors' code."""

    @model_validator(mode="before")
    @classmethod
    def _from_name(cls, value: Any) -> Any:
        return {"model": value} if isinstance(value, str) else value


class RecipeSettings(Settings):
    """A list of steps, by name.

    mono: an adapter per language on that language's own pairs. cross: an adapter per language on
    pairs with the pivot, in both directions. mixed: both, `share` of the batches cross-lingual.
    sequential: mono, then cross in the same adapter. stacked: mono, frozen, and a second adapter
    for cross on top (Stacked LoRA). lusifer: the base, a connector and `training.target` as one
    chain, first aligned, then trained as mono is, both on `mono`'s pairs.
    """

    name: Literal["mono", "cross", "mixed", "sequential", "stacked", "lusifer"] = "mono"
    """Which recipe."""
    languages: tuple[str, ...] | None = Field(None, min_length=1)
    """Languages to adapt; all of the data's if not set."""
    per_language: bool = False
    """Train an adapter for each language, or one for all."""
    pivot: str = "en"
    """Language that the others are aligned with."""
    pairs: Literal["pivot", "all"] = "pivot"
    """Cross-lingual pairs: of each language with the pivot, or of every language with every
    other."""
    share: float = Field(0.5, ge=0, le=1)
    """Share of the batches that is cross-lingual (`mixed` only)."""
    mono: TrainingData = TrainingData(triplets=MINED)
    """Where pairs of one language come from."""
    cross: TrainingData | None = None
    """Where cross-lingual pairs come from."""
    align: TrainingData | None = None
    """Where the pairs of the alignment come from; those of `mono` if not set (`lusifer` only)."""
    phases: tuple[PhaseSettings, ...] = Field(
        (
            PhaseSettings(
                reconstruct=1,
                passage=0,
                question=0,
                schedule=ScheduleSettings(batch=256, learning_rate=2e-4),
            ),
            PhaseSettings(),
        ),
        min_length=1,
    )
    """Phases of the alignment, one after the other (`lusifer` only)."""
    stages: Literal["both", "align", "finetune"] = "both"
    """Leave out one of the two stages (`lusifer` only)."""
    learns: tuple[Part, ...] = Field(("encoder", "connector", "target"), min_length=1)
    """Parts of the chain that learn (`lusifer` only); the target never does in the alignment."""

    @model_validator(mode="after")
    def _has_what_it_needs(self) -> "RecipeSettings":
        if self.name == "lusifer":
            if self.per_language:
                raise ValueError("recipe `lusifer` has one chain for all languages")
            if self.cross is not None:
                raise ValueError("`cross` is for other recipes than `lusifer`, which reads `mono`")
            return self
        # Held against the defaults, not against what was set: dumped settings set everything.
        own = ("align", "phases", "stages", "learns")
        defaults = {name: type(self).model_fields[name].default for name in own}
        if named := [name for name in own if getattr(self, name) != defaults[name]]:
            raise ValueError(f"`{named[0]}` is for the recipe `lusifer`, this one is `{self.name}`")
        if self.name != "mono" and self.cross is None:
            raise ValueError(f"recipe `{self.name}` needs `cross`: where its pairs come from")
        if self.per_language and self.languages is None:
            raise ValueError("an adapter per language needs the `languages`")
        if self.name != "mono" and self.languages is None:
            raise ValueError(f"recipe `{self.name}` needs the `languages` to align")
        if self.pairs == "all" and (self.per_language or self.name == "mono"):
            raise ValueError(
                "`pairs` of all languages are for one adapter, and recipes with a `cross` part"
            )
        if self.name != "mono" and self.languages == (self.pivot,):
            raise ValueError(f"recipe `{self.name}` needs a language beside its pivot")
        if self.share in (0.0, 1.0) and self.name == "mixed":
            raise ValueError(
                "a `mixed` recipe needs a `share` between 0 and 1; else it is `mono` or `cross`"
            )
        return self


class AdaptedModel(EncoderSettings):
    """The model that is adapted, and how it is called in training.

    Weights stay in float32; `dtype` is what is computed in. Evaluation reads all tokens that the
    model can take, whatever `max_length` says here.
    """

    model: Model = ENGLISH
    """Hub id (`name@revision`), local folder, or `package:NAME`."""

    @model_validator(mode="after")
    def _trains_in_its_precision(self) -> "AdaptedModel":
        if self.dtype == "float16":
            raise ValueError("training computes in float32 or bfloat16, not in float16")
        return self


class TrainingSettings(Settings):
    """One training run."""

    replaced = {
        **{
            key: f"say `base.{key}`"
            for key in ("query_prompt", "document_prompt", "max_length", "trust_remote_code")
        },
        "bf16": 'say `base.dtype`, "float32" or "bfloat16"',
    }

    base: AdaptedModel = AdaptedModel()
    """The model that is adapted, and how it is called in training."""
    target: TargetSettings | None = None
    """An English model behind the base: what is trained is the chain of both (LUSIFER)."""
    recipe: RecipeSettings | None = None
    """Steps by the name of a recipe; or write them out as `steps`."""
    steps: tuple[StepSettings, ...] = ()
    """Steps in the order they are trained; each makes an adapter."""
    routes: dict[str, str] | None = None
    """Which step's adapter encodes which language, `*` for all others; `base` is none of them. If
    not set, the last step that trained on a language."""
    lora: LoraSettings = LoraSettings()
    """The adapters' shape in a recipe's steps."""
    loss: LossSettings = LossSettings()
    """The loss of a recipe's steps."""
    schedule: ScheduleSettings = ScheduleSettings()
    """The schedule of a recipe's steps."""
    seed: int = Field(0, ge=0, le=2**32 - 1)
    """The seed of a recipe's steps."""
    rounds: int = Field(1, ge=1, le=MOST_ROUNDS)
    """How often a pipeline mines and trains, each time from the base. From the second round on,
    what was trained in the round before is a further teacher. All rounds are evaluated."""
    checkpoint_steps: int = Field(25, ge=1)
    """A checkpoint is written after so many steps, and the last two are kept; a killed run resumes
    from the last one."""
    development: DevelopmentSettings = DevelopmentSettings()
    """What chooses the step and the scale of each adapter."""
    report_to: tuple[str, ...] = ()
    """Trackers that the trainer reports to, as `tensorboard` or `wandb`."""
    contaminated: Literal["fail", "exclude", "report"] = "fail"
    """If training rows appear in evaluation data (see `guard` of a set): fail, leave those rows
    out, or train on them and say so."""

    @model_validator(mode="after")
    def _is_one_plan(self) -> "TrainingSettings":
        if self.recipe is not None and self.steps:
            raise ValueError("name a `recipe` or write out `steps`, not both")
        of_recipe = {"lora": LoraSettings(), "loss": LossSettings(), "schedule": ScheduleSettings()}
        unread = [name for name, default in of_recipe.items() if getattr(self, name) != default]
        if self.steps and unread:
            raise ValueError(
                f"{unread[0]}: is of a recipe's steps, and these are written out; set it in each "
                f"of `steps`, as `training.steps.0.{unread[0]}`"
            )
        if self.recipe is not None and self.recipe.name == "lusifer" and self.target is None:
            raise ValueError(
                "recipe `lusifer` needs the `target`: the English model behind the base"
            )
        if self.schedule.mixed_languages and self.recipe is not None and self.recipe.per_language:
            raise ValueError(
                "`schedule.mixed_languages` needs one adapter for all: leave out "
                "`recipe.per_language`"
            )
        if self.target is None:
            self._needs_no_chain()
        names = [step.name for step in self.steps]
        if twice := sorted({name for name in names if names.count(name) > 1}):
            raise ValueError(f"steps need different names, got {', '.join(twice)} twice")
        if "base" in names:
            raise ValueError("no step may be called `base`: that is the untouched model")
        return self

    def _needs_no_chain(self) -> None:
        """Refuse what only a chain can learn from; `loss` is that of a recipe's steps."""
        learnt = [(f"step `{step.name}`: ", step.loss, step.learns) for step in self.steps]
        for where, loss, learns in learnt or [("", self.loss, None)]:
            what = "loss `align`" if loss.kind == "align" else "`learns`"
            if loss.kind == "align" or learns is not None:
                raise ValueError(
                    f"{where}{what} is for a chain; name the English model as `training.target`"
                )
