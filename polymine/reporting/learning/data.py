"""What a page of training, evaluation or comparison shows, before anything is drawn."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import polars as pl

from polymine.data_contracts.learning import (
    Arms,
    Comparisons,
    Differences,
    SetScores,
    TrainingCurve,
)
from polymine.data_contracts.settings import StepSettings
from polymine.reporting.mining.notes import Note
from polymine.reporting.mining.page import Timing


@dataclass(frozen=True)
class RowCount:
    """How many rows of a part of the data, in a pair of languages, a step learned from."""

    source: str
    document_language: str
    query_language: str
    rows: int


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
class Leak:
    """A training text that an evaluation set has too; `similarity` is 1 for the same text."""

    set: str
    source: str
    text: str
    similarity: float = 1.0


@dataclass(frozen=True)
class Contamination:
    """What of the training data was found in the evaluation data.

    Args:
        checked: training texts that were looked for.
        exact, near: training texts that an evaluation set has, word for word or nearly.
        removed: training rows that were left out for it.
        examples: a few of them, worst first.
    """

    checked: int
    exact: int = 0
    near: int = 0
    removed: int = 0
    examples: tuple[Leak, ...] = ()


@dataclass(frozen=True)
class LinkedFile:
    """A file beside the page, by its relative path."""

    name: str
    path: str
    about: str = ""


@dataclass(frozen=True)
class LearningReport:
    """Everything a page shows; a section is left out where its part is empty.

    Args:
        title: what the run is called.
        headline: what came out, in one sentence; `learning_words.write_headline` writes one.
        base: the untouched model, by its name in the settings.
        models: the measured models beside the base, most important first.
        curves: `TrainingCurve`, of all steps.
        comparisons: `Comparisons`; the base may have rows of its own, which are not shown.
        scores: `SetScores`, those of the base under `base`.
        arms: `Arms`, a row per arm, seed, set and metric; a null seed stands for all seeds.
        differences: `Differences`, of the arms from one of them.
        k, confidence: of the metrics and of the intervals.
        pivot: the language that the others are aligned with, if there is one.
        settings: nested, as written into the manifest.
    """

    title: str
    headline: str
    base: str
    models: tuple[str, ...] = ()
    steps: tuple[StepReport, ...] = ()
    curves: pl.DataFrame = field(default_factory=TrainingCurve.create_empty)
    speeds: tuple[Speed, ...] = ()
    comparisons: pl.DataFrame = field(default_factory=Comparisons.create_empty)
    scores: pl.DataFrame = field(default_factory=SetScores.create_empty)
    arms: pl.DataFrame = field(default_factory=Arms.create_empty)
    differences: pl.DataFrame = field(default_factory=Differences.create_empty)
    contamination: Contamination | None = None
    notes: tuple[Note, ...] = ()
    k: int = 10
    confidence: float = 0.95
    pivot: str | None = None
    settings: Mapping[str, Any] = field(default_factory=dict)
    fingerprints: Mapping[str, str] = field(default_factory=dict)
    versions: Mapping[str, str] = field(default_factory=dict)
    timings: Sequence[Timing] = ()
    files: tuple[LinkedFile, ...] = ()
    kind: Literal["training", "evaluation", "pipeline", "comparison"] = "pipeline"
