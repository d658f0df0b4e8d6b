"""Chooses the step and the scale of what was trained, by queries that training never sees.

The nDCG@10 of a development part is looked at where a step begins and every so many of its steps.
The best weights are kept in memory and in every checkpoint, so that an interrupted step chooses
the same. Among equals the least training wins: the earlier step, then the smaller scale.

A fresh adapter may also be taken at half its scale, as interpolated weights often carry over better
than either end (arXiv 2109.01903). What continues an adapter, and a chain, have no scale: half of
them is no model that anybody has trained. Any training may be taken as the mean of its weights at
the looks of its second half (arXiv 1803.05407). The library's own choice of a checkpoint knows none
of these, nor the beginning, and evaluates once more wherever a run is resumed.
"""

from __future__ import annotations

import json
import time
from dataclasses import dataclass, field
from math import ceil
from pathlib import Path
from typing import TYPE_CHECKING, Any

import polars as pl
import torch
from transformers import TrainerCallback

from polymine.data_contracts.learning import DevelopmentCurve
from polymine.data_contracts.notes import Chosen, InLanguage
from polymine.data_contracts.settings import DevelopmentSettings, StepSettings, TrainingSettings
from polymine.evaluation.collection import POOL
from polymine.training.development import Part

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer

SCALES = (0.5,)  # tried beside 0 and 1
COST = 0.1  # of the training that looking may take, by texts
TRAINED = 2.0  # texts of a look that take as long as a text of training: 1.8, measured
MOST, LEAST = 10, 2  # looks at one step, where nobody says how often
WEIGHTS, POINTS = "development.safetensors", "development.json"  # in a checkpoint
MEAN = "development-mean.safetensors"  # there, too
Weights = dict[str, torch.Tensor]


@dataclass(frozen=True)
class Point:
    """A look at the development part: nDCG@10 by language of the queries, `*` for all.

    `averaged` is how many looks' weights were looked at, as their mean; `step` is the last of them.
    """

    step: int
    scale: float
    scores: dict[str, float]
    averaged: int = 1

    @property
    def ndcg(self) -> float:
        """Mean over all queries."""
        return self.scores[POOL]

    @property
    def rank(self) -> tuple[float, int, float, int]:
        """The highest is best; of equals that of the least training."""
        return self.ndcg, -self.step, -self.scale, -self.averaged


@dataclass
class Watch:
    """Looks at a development part during one step's training.

    Args:
        part: that is looked at.
        settings: how often, and what may be chosen.
        encoder: that learns.
        steps: of the whole training.
        every: of them from look to look.
        scalable: whether half of what was trained is a model.
        base: scores of the untouched base, if training does not begin there.
    """

    part: Part
    settings: DevelopmentSettings
    encoder: SentenceTransformer
    steps: int
    every: int
    scalable: bool
    base: dict[str, float] | None = None
    points: list[Point] = field(default_factory=list)
    seconds: float = 0.0
    _start: Weights = field(init=False)
    _best: Weights = field(default_factory=dict)
    _mean: Weights = field(default_factory=dict)
    _averaged: int = 0

    def __post_init__(self) -> None:
        """Keep what training begins with."""
        self._start = self._learning()

    @classmethod
    def of(
        cls,
        encoder: SentenceTransformer,
        part: Part,
        step: StepSettings,
        training: TrainingSettings,
        steps: int,
        base: dict[str, float] | None,
    ) -> Watch:
        """Watch a step of so many steps; see the attributes."""
        settings = training.development
        read = step.schedule.batch * (2 + step.loss.negatives)
        every = settings.every or looks_every(steps, part.texts, read)
        scalable = step.adapter in ("new", "stack") and training.target is None
        return cls(part, settings, encoder, steps, every, scalable, base)

    def look(self, step: int) -> None:
        """Measure the encoder after `step` steps, and keep its weights if none was better."""
        began = time.monotonic()
        point = Point(step, 1.0, self.part.score(self.encoder))
        trained = [self._rank(earlier) for earlier in self.points if earlier.step]
        if step and self._rank(point) >= max(trained, default=self._rank(point)):
            self._best = self._learning()
        if 2 * step > self.steps and self.settings.never_below_base:
            self._average()
        self.points.append(point)
        self.seconds += time.monotonic() - began

    def _average(self) -> None:
        """Move the mean towards the weights of now."""
        now, self._averaged = self._learning(), self._averaged + 1
        for name, value in now.items():
            mean = self._mean.get(name, value)
            self._mean[name] = mean + (value - mean) / self._averaged

    def is_due(self, step: int) -> bool:
        """Whether to look after so many steps."""
        return step % self.every == 0 or step == self.steps

    @property
    def stopped(self) -> bool:
        """Whether no look was better for as many times as the settings have patience for."""
        patience = self.settings.patience
        best = max(range(len(self.points)), key=lambda at: self._rank(self.points[at]))
        return patience is not None and len(self.points) - 1 - best >= patience

    def choose(self, steps: int) -> Chosen:
        """Give the encoder the best of what training left to choose from.

        Args:
            steps: how many were trained.

        Returns:
            What was chosen, and what it was chosen by.
        """
        began = time.monotonic()
        trained = max((p for p in self.points if p.step), key=self._rank)
        found = [(trained, self._best)]
        if self.settings.never_below_base:
            found += [(self.points[0], self._start), *self._look_further(trained.step)]
        best, weights = max(found, key=lambda each: self._rank(each[0]))
        self._put(weights, best.scale)
        self.seconds += time.monotonic() - began
        return Chosen(
            questions=self.part.collection.answered,
            documents=self.part.collection.documents.height,
            of_documents=self.part.collection.documents.height,
            step=best.step,
            scale=best.scale,
            ndcg=best.ndcg,
            base=self._base[POOL],
            looks=len(self.points),
            seconds=self.seconds,
            stopped=steps < self.steps,
            averaged=best.averaged,
            languages=self._by_language(best),
        )

    def _rank(self, point: Point) -> tuple[bool, tuple[float, int, float, int]]:
        """The highest is best; where each language counts, what is below in none comes first."""
        each = self.settings.never_below_base == "languages" and bool(self.points)
        return not (each and any(one.below for one in self._by_language(point))), point.rank

    def _by_language(self, point: Point) -> tuple[InLanguage, ...]:
        return tuple(
            InLanguage(
                language, questions, point.scores[language], self._base[language],
                questions >= self.settings.fewest,
            )
            for language, questions in self.part.asked.items()
        )  # fmt: skip

    def _look_further(self, best: int) -> list[tuple[Point, Weights]]:
        """Look at what no step gave: the best one's adapter in part, and the mean of the last."""
        last = max(point.step for point in self.points)
        asked = [(best, scale, 1, self._best) for scale in SCALES if self.scalable]
        asked += [(last, 1.0, self._averaged, self._mean)] if self._averaged > 1 else []
        found = []
        for step, scale, averaged, weights in asked:
            self._put(weights, scale)
            found.append((Point(step, scale, self.part.score(self.encoder), averaged), weights))
        self.points += [point for point, _ in found]
        return found

    def write(self, folder: Path) -> None:
        """Keep the looks, the best weights so far and the mean of the last beside a checkpoint."""
        from safetensors.torch import save_file

        for name, weights in ((WEIGHTS, self._best), (MEAN, self._mean)):
            if weights:
                save_file(weights, str(folder / name))
        points = [[point.step, point.scores] for point in self.points]
        kept = [self.seconds, points, self._averaged]
        (folder / POINTS).write_text(json.dumps(kept), encoding="utf-8")

    def read(self, folder: Path) -> None:
        """Go on from what `write` kept."""
        from safetensors.torch import load_file

        kept = json.loads((folder / POINTS).read_text(encoding="utf-8"))
        self.seconds, points, self._averaged = kept
        self.points = [Point(step, 1.0, scores) for step, scores in points]
        if (folder / WEIGHTS).is_file():
            self._best = load_file(str(folder / WEIGHTS))
        if self._averaged:
            self._mean = load_file(str(folder / MEAN))

    def curve(self, name: str) -> pl.DataFrame:
        """List all looks of a step.

        Args:
            name: of the step.

        Returns:
            DevelopmentCurve; step 0 at scale 0 is the base.
        """
        rows = [
            (name, point.step, point.scale, point.averaged, language, ndcg)
            for point in (Point(0, 0.0, self._base), *self.points)
            for language, ndcg in point.scores.items()
        ]
        found = pl.DataFrame(rows, DevelopmentCurve.column_names(), orient="row")
        return DevelopmentCurve.validate(found, cast=True)

    @property
    def _base(self) -> dict[str, float]:
        return self.points[0].scores if self.base is None else self.base

    def _learning(self) -> Weights:
        return {
            name: value.detach().cpu().clone()
            for name, value in self.encoder.named_parameters()
            if value.requires_grad
        }

    def _put(self, weights: Weights, scale: float = 1.0) -> None:
        """Set what learns; a LoRA's update is as large as its B."""
        with torch.no_grad():
            for name, value in self.encoder.named_parameters():
                if name in weights:
                    value.copy_(weights[name] * (scale if ".lora_B." in name else 1.0))


class WatchCallback(TrainerCallback):
    """Looks where training begins and when it is time, and ends it where patience does."""

    def __init__(self, watch: Watch) -> None:
        self._watch = watch

    def on_train_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        if not self._watch.points:
            self._watch.look(state.global_step)

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        if self._watch.is_due(state.global_step):
            self._watch.look(state.global_step)
            control.should_training_stop |= self._watch.stopped


def looks_every(steps: int, texts: int, batch_texts: int) -> int:
    """Say after how many steps to look again, where nobody says.

    Args:
        steps: of the training.
        texts: that a look encodes.
        batch_texts: that a step reads.

    Returns:
        So many that looking takes about COST of the training, but MOST looks at most and LEAST at
        least.
    """
    affordable = ceil(texts / (COST * TRAINED * batch_texts))
    return min(max(affordable, ceil(steps / MOST)), ceil(steps / LEAST))
