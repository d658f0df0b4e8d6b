"""The reports of training, evaluation, pipeline and comparison: a model per kind of page."""

from collections.abc import Mapping
from dataclasses import dataclass, field

import polars as pl
from pydantic import Field

from polymine.data_contracts.learning import (
    Arms,
    Changes,
    Comparisons,
    DevelopmentCurve,
    Differences,
    SetScores,
    TrainingCurve,
)
from polymine.data_contracts.notes import Chosen, Overlap
from polymine.data_contracts.settings import StepSettings
from polymine.reporting.report import Report

LOW = 20  # rows of a step, one of which a pair of languages has at least, unless it is low-resource


@dataclass(frozen=True)
class RowCount:
    """How many rows of a part of the data, in a pair of languages, a step learned from.

    Args:
        share: of all rows of the step.
        passes: how often each of them was read, about.
    """

    source: str
    document_language: str
    query_language: str
    rows: int
    share: float = 1.0
    passes: float = 1.0

    @property
    def low(self) -> bool:
        """Whether the pair is a low-resource one: fewer than one row of LOW is of it."""
        return self.share * LOW < 1


@dataclass(frozen=True)
class StepReport:
    """A step of a recipe with what it learned from; `reused`: trained by an earlier run."""

    settings: StepSettings
    counts: tuple[RowCount, ...] = ()
    reused: bool = False

    @property
    def rows(self) -> int:
        """Rows of all parts together."""
        return sum(count.rows for count in self.counts)


@dataclass(frozen=True)
class Speed:
    """How fast a step went; rates per second of training, saving and logging left out."""

    step_name: str
    steps: int
    seconds: float
    tokens_per_second: float
    rows_per_second: float


@dataclass(frozen=True)
class Contamination:
    """What of the training data was found in the evaluation data.

    Args:
        checked: training texts that were looked for.
        exact, near: training texts that an evaluation set has, word for word or nearly.
        removed: training rows that were left out for it.
        examples: a few of them, worst first.
        levels: set name to how much of it was compared.
    """

    checked: int
    exact: int = 0
    near: int = 0
    removed: int = 0
    examples: tuple[Overlap, ...] = ()
    levels: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True)
class Searched:
    """What the queries of a set search.

    Args:
        set: its name.
        documents, queries: of it; queries that have an answer.
        about: which documents these are, in words.
        languages: documents of each language, where there are several.
    """

    set: str
    documents: int
    queries: int
    about: str
    languages: Mapping[str, int] = field(default_factory=dict)

    @property
    def said(self) -> str:
        """Say it in a line, plain."""
        said = f"{self.set}: {self.queries:,} queries, {self.documents:,} documents: {self.about}"
        return f"{said}; {self.by_language}" if self.languages else said

    @property
    def by_language(self) -> str:
        """Say how many documents a direction searches: those of its language."""
        each = ", ".join(f"{code} {count:,}" for code, count in self.languages.items())
        return f"each direction searches the documents of its language ({each})"


@dataclass(frozen=True)
class Called:
    """How a measured model was called, in the words that it read before every text."""

    model: str
    query_prompt: str
    document_prompt: str
    max_length: int | None


class LearningReport(Report):
    """What the four kinds share; a section of the page is left out where its part is empty.

    Args:
        base: the untouched model, by its name in the settings.
        k, confidence: of the metrics and of the intervals.
        searched: the sets of retrieval.
        calls: how base and models were called to be measured.
    """

    base: str
    steps: tuple[StepReport, ...] = ()
    k: int = 10
    confidence: float = 0.95
    searched: tuple[Searched, ...] = ()
    calls: tuple[Called, ...] = ()


class TrainingReport(LearningReport):
    """What a recipe did.

    Args:
        curves: `TrainingCurve`, of all steps.
        looks: `DevelopmentCurve`, of the steps that had a development part.
        chosen: step to what that chose.
    """

    kind = "training"

    curves: pl.DataFrame = Field(default_factory=TrainingCurve.create_empty, exclude=True)
    looks: pl.DataFrame = Field(default_factory=DevelopmentCurve.create_empty, exclude=True)
    chosen: dict[str, Chosen] = {}
    speeds: tuple[Speed, ...] = ()
    contamination: Contamination | None = None
    routes: dict[str, str] = {}


class EvaluationReport(LearningReport):
    """What models are worth on sets.

    Args:
        models: the measured models beside the base, most important first.
        comparisons: `Comparisons`; the base may have rows of its own, which are not shown.
        scores: `SetScores`, those of the base under `base`.
        changes: `Changes`, the queries that got better and worse most.
        differences: `Differences`, of every pair of models.
        pivot: the language that the others are aligned with, if there is one.
    """

    kind = "evaluation"

    models: tuple[str, ...] = ()
    comparisons: pl.DataFrame = Field(default_factory=Comparisons.create_empty, exclude=True)
    scores: pl.DataFrame = Field(default_factory=SetScores.create_empty, exclude=True)
    changes: pl.DataFrame = Field(default_factory=Changes.create_empty, exclude=True)
    differences: pl.DataFrame = Field(default_factory=Differences.create_empty, exclude=True)
    pivot: str | None = None


class PipelineReport(TrainingReport, EvaluationReport):
    """Training on what was mined, and what that is worth."""

    kind = "mining, training and evaluation"


class ComparisonReport(LearningReport):
    """What ways to mine are worth.

    Args:
        arms: `Arms`, a row per arm, seed, set and metric; a null seed stands for all seeds.
        differences: `Differences`, of the arms from one of them.
        comparisons: `Comparisons` of each arm with the base by pair of languages, where there are
            several.
        pivot: the language that the others are aligned with, if there is one.
    """

    kind = "comparison of ways to mine"

    arms: pl.DataFrame = Field(default_factory=Arms.create_empty, exclude=True)
    comparisons: pl.DataFrame = Field(default_factory=Comparisons.create_empty, exclude=True)
    pivot: str | None = None
    differences: pl.DataFrame = Field(default_factory=Differences.create_empty, exclude=True)
