"""What is measured: models against the untouched base, on which sets, with which certainty."""

from typing import Literal

from pydantic import Field, model_validator

from polymine.data_contracts.settings.base import NAME, Settings, Source
from polymine.data_contracts.settings.locations import Table
from polymine.data_contracts.settings.models import EncoderSettings

HELD_OUT, TRAINED = "held-out", "trained"  # a pipeline's own set and model


class _Named(Settings):
    name: str = Field(pattern=NAME, description="Short name, used in tables.")


class EvaluatedModel(EncoderSettings, _Named):
    """A model to measure: the folder of a training run, or anything a teacher could be.

    A trained model brings its prompts along, where none are given here, and its adapters by
    language; `trust_remote_code` is of its base.
    """


class EvaluationSet(Settings):
    """One set of texts with what is relevant, or a benchmark by name."""

    name: str = Field(pattern=NAME, description="Short name.")
    path: Table | None = Field(
        None,
        description="Folder: corpus, queries and qrels (with translations where texts have "
        "versions), or pairs with scores (STS) or without (parallel sentences).",
    )
    corpus: Source | None = Field(None, description="Instead of `path`: as in `dataset`.")
    queries: Source | None = Field(None, description="As in `dataset`.")
    judgments: Source | None = Field(None, description="As in `dataset`.")
    benchmark: str | None = Field(
        None,
        description="Instead of `path`: `belebele`, `belebele-choice` or `xquad` in all directions "
        "of `languages`, or the name of a task of MTEB, as `STS17`; from the hub.",
    )
    languages: tuple[str, ...] | None = Field(
        None, min_length=1, description="ISO 639-1 codes; all if not set."
    )
    split: str | None = Field(
        None, min_length=1, description="Only what `splits` gives this split, as `test`."
    )
    pooled: bool = Field(True, description="Also rank documents of all languages together.")
    queries_per_language: int | None = Field(None, ge=1, description="At most, drawn by hash.")
    title: bool = Field(True, description="Put a document's title before its text.")
    language: str = Field(
        "und",
        min_length=2,
        description="ISO 639-1 code for rows that name no language; `und` is undetermined.",
    )

    @model_validator(mode="after")
    def _has_one_source(self) -> "EvaluationSet":
        tables = bool(self.corpus and self.queries and self.judgments)
        if [bool(self.path), tables, bool(self.benchmark)].count(True) != 1:
            raise ValueError(
                "name a `path`, or `corpus`, `queries` and `judgments`, or a `benchmark`"
            )
        if self.split is not None and self.benchmark:
            raise ValueError(
                "`split` is of a `path` or of tables; a benchmark has its own, so leave `split` out"
            )
        return self


class EvaluationSettings(Settings):
    """How models are measured. Every table compares with the untouched base."""

    replaced = {
        key: f"each model has its own: `base.{key}`, `models.0.{key}`"
        for key in ("query_prompt", "document_prompt", "max_length", "trust_remote_code")
    }

    sets: tuple[EvaluationSet, ...] = Field(
        (), description="What to measure on, beside what a pipeline holds out."
    )
    models: tuple[EvaluatedModel, ...] = Field(
        (), description="What to measure, beside what a pipeline trains."
    )
    base: EncoderSettings | None = Field(
        None, description="The untouched model; the first trained model's base if not set."
    )
    held_out: float = Field(
        0.1,
        ge=0,
        lt=1,
        description="Share of a pipeline's documents, with all their queries, that is kept from "
        "mining and training and measured on.",
    )
    k: int = Field(10, ge=1, le=1000, description="Cut-off of nDCG, recall and MRR.")
    confidence: float = Field(0.95, gt=0.5, lt=1, description="Of the intervals.")
    resamples: int = Field(5_000, ge=100, le=1_000_000, description="Of the paired bootstrap.")
    seed: int = Field(0, ge=0, le=2**32 - 1, description="Of resampling and of what is held out.")
    pivot: str = Field("en", description="Pairs of languages with it are told from those without.")
    contaminated: Literal["fail", "report"] = Field(
        "fail",
        description="What to do when a set holds texts that a trained model has learned from: "
        "refuse to measure, or measure and say so.",
    )

    @model_validator(mode="after")
    def _names_differ(self) -> "EvaluationSettings":
        for kind in ("sets", "models"):
            names = [item.name for item in getattr(self, kind)]
            if len(set(names)) < len(names):
                raise ValueError(f"{kind} need different names, got {', '.join(names)}")
        if any(model.name == "base" for model in self.models):
            raise ValueError("no model may be called `base`: that is the untouched one")
        return self
