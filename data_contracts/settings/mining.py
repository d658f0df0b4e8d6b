"""What mines: the teachers that rank candidates, and how much of what they find is kept."""

from typing import Literal

from pydantic import Field, field_validator, model_validator

from polymine.data_contracts.settings.base import Settings
from polymine.data_contracts.settings.locations import Model
from polymine.data_contracts.settings.models import EncoderSettings
from polymine.data_contracts.settings.selection import (
    PositiveSettings,
    RiskSettings,
    SelectionSettings,
    ValidationSettings,
)
from polymine.data_contracts.shipped_models import ENGLISH, MULTILINGUAL


class _TeacherKind(Settings):
    """What comes first in a teacher's table."""

    name: str = Field(pattern=r"^[a-z][a-z0-9_]{0,31}$")
    """Short name, used in column names such as `score_NAME`."""
    kind: Literal["dense", "lexical"] = "dense"
    """`dense` is a sentence-transformers model, `lexical` is BM25, which needs no model."""


class TeacherSettings(EncoderSettings, _TeacherKind):
    """One model that ranks candidates, or BM25, which needs no model."""

    model: Model | None = None  # type: ignore[assignment]
    """Hub id (`name@revision`), local folder, or `package:NAME`; none for a lexical teacher."""
    k1: float = Field(1.2, ge=0, le=10)
    """BM25: how soon further occurrences of a word stop counting. Lexical teachers only."""
    b: float = Field(0.75, ge=0, le=1)
    """BM25: how much long documents are marked down, from 0 to 1. Lexical teachers only."""

    @model_validator(mode="after")
    def _dense_names_a_model(self) -> "TeacherSettings":
        if self.kind == "dense" and not self.model:
            raise ValueError(f"dense teacher `{self.name}` needs a `model`")
        if self.kind == "lexical" and self.model:
            raise ValueError(f"lexical teacher `{self.name}` takes no `model`")
        return self


def teachers_for(language: str = "en") -> tuple[TeacherSettings, ...]:
    """Choose teachers for what is in one language: a small one for English, or one of many."""
    dense = TeacherSettings(name="e5", model=MULTILINGUAL)
    if language in ("en", "und", "detect"):  # where nobody says it, recall tells whether it is
        dense = TeacherSettings(name="minilm", model=ENGLISH)
    return dense, TeacherSettings(name="bm25", kind="lexical")


class MiningSettings(Settings):
    """How candidates are ranked, chosen and validated."""

    shown_first = ("negatives", "languages", "selection")  # a teacher is a screen long

    teachers: tuple[TeacherSettings, ...] = Field(default_factory=teachers_for, min_length=1)
    """Models that bring candidates. The scores of one of them decide, the primary teacher: see
    `selection.teacher`."""
    depth: int = Field(100, ge=1, le=10_000)
    """Candidates kept per query and teacher. More find more hard negatives and take more time."""
    negatives: int = Field(7, ge=1, le=1_000)
    """Negatives wanted per query. Queries that get fewer are listed with the reason."""
    languages: tuple[str, ...] | None = Field(None, min_length=1)
    """Languages of the documents that negatives may come from, as `["de"]`; all if not set."""
    seed: int = Field(0, ge=0, le=2**53 - 1)  # a form in a browser keeps no more exact
    """Seed of every random choice: the same settings and seed give the same bytes."""
    selection: SelectionSettings = SelectionSettings()
    """Which candidates become negatives."""
    positives: PositiveSettings = PositiveSettings()
    """What becomes of known pairs that the evidence doubts."""
    risk: RiskSettings = RiskSettings()
    """How the probability that a candidate is relevant is estimated."""
    validation: ValidationSettings | None = None
    """The cross-encoder, and how far it is followed; none if left out."""

    @field_validator("teachers")
    @classmethod
    def _names_differ(cls, teachers: tuple[TeacherSettings, ...]) -> tuple[TeacherSettings, ...]:
        names = [teacher.name for teacher in teachers]
        if len(set(names)) < len(names):
            raise ValueError(f"teachers need different names, got {', '.join(names)}")
        return teachers

    @field_validator("languages")
    @classmethod
    def _as_stored(cls, languages: tuple[str, ...] | None) -> tuple[str, ...] | None:
        # Ingestion writes codes in lower case; the order decides nothing, so it must not show.
        return None if languages is None else tuple(sorted({code.lower() for code in languages}))

    @model_validator(mode="after")
    def _selection_names_a_teacher(self) -> "MiningSettings":
        names = [teacher.name for teacher in self.teachers]
        if self.selection.teacher is not None and self.selection.teacher not in names:
            raise ValueError(
                f"selection.teacher `{self.selection.teacher}` is none of {', '.join(names)}"
            )
        return self

    @model_validator(mode="after")
    def _budget_can_be_held(self) -> "MiningSettings":
        sampling = self.selection.sampling
        if self.selection.rule == "risk" and sampling in ("softmax", "top1_sampled"):
            raise ValueError(
                f"selection.sampling `{sampling}` draws the hardest, and so the riskiest, more "
                "often than the budget counts on: take `top` or `random`, or another rule than "
                "`risk`"
            )
        return self

    @model_validator(mode="after")
    def _logits_have_a_validator(self) -> "MiningSettings":
        if self.positives.least_logit is not None and self.validation is None:
            raise ValueError(
                "positives.least_logit is for the logits of a validator, and there is none: name a "
                "`validation.model`, or leave it out"
            )
        return self

    @model_validator(mode="after")
    def _ranks_reach_as_far_as_asked(self) -> "MiningSettings":
        if (self.positives.within or 0) > self.depth:
            raise ValueError(
                f"positives.within is {self.positives.within}, and teachers rank no more than "
                f"`depth`, {self.depth}: set it to that at most, or rank deeper"
            )
        return self

    @property
    def teacher_kinds(self) -> tuple[tuple[str, str], ...]:
        """Name and kind of each teacher."""
        return tuple((teacher.name, teacher.kind) for teacher in self.teachers)

    @property
    def primary_teacher(self) -> str:
        """Name of the teacher whose score the rule reads; the first until another is chosen."""
        return self.selection.teacher or self.teachers[0].name

    @property
    def chooses_teacher(self) -> bool:
        """Whether recall chooses the primary teacher: of several, where the settings name none."""
        named = self.selection.teacher is not None or self.selection.in_units
        return len(self.teachers) > 1 and not named

    def with_primary(self, teacher: str) -> "MiningSettings":
        """Name the teacher that was chosen."""
        selection = self.selection.model_copy(update={"teacher": teacher})
        return self.model_copy(update={"selection": selection})
