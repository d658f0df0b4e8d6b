"""What is measured: models against the untouched base, on which sets, with which certainty."""

from typing import Literal

from pydantic import Field, model_validator

from polymine.data_contracts.settings.base import Settings, Source, at
from polymine.data_contracts.settings.locations import Model, Table
from polymine.data_contracts.settings.training import NAME

HELD_OUT, TRAINED = "held-out", "trained"  # a pipeline's own set and model


class ModelSettings(Settings):
    """A model to measure: what `train` wrote, or anything a teacher could be."""

    name: str = Field(pattern=NAME, description="Short name, used in tables.")
    model: Model = Field(
        description="Output folder of a training run (its adapters are used by language), hub id, "
        "local folder or `package:NAME`."
    )
    trust_remote_code: bool = Field(
        False, description="Run code that comes with this model, or with its base."
    )


class EvaluationSet(Settings):
    """One set of texts with what is relevant, or a benchmark by name."""

    name: str = Field(pattern=NAME, description="Short name.", json_schema_extra=at(0))
    path: Table | None = Field(
        None,
        description="Folder: corpus, queries and qrels (with translations where texts have "
        "versions), or pairs with scores (STS) or without (parallel sentences).",
        json_schema_extra=at(1),
    )
    corpus: Source | None = Field(
        None, description="Instead of `path`: as in `dataset`.", json_schema_extra=at(2)
    )
    queries: Source | None = Field(None, description="As in `dataset`.", json_schema_extra=at(3))
    judgments: Source | None = Field(None, description="As in `dataset`.", json_schema_extra=at(4))
    benchmark: str | None = Field(
        None,
        description="Instead of `path`: `belebele`, `belebele-choice` or `xquad` in all directions "
        "of `languages`, or the name of a task of MTEB, as `STS17`; from the hub.",
        json_schema_extra=at(5),
    )
    languages: tuple[str, ...] | None = Field(
        None, min_length=1, description="ISO 639-1 codes; all if not set.", json_schema_extra=at(6)
    )
    split: str | None = Field(
        None,
        min_length=1,
        description="Only what `splits` gives this split, as `test`.",
        json_schema_extra=at(7),
    )
    pooled: bool = Field(
        True, description="Also rank documents of all languages together.", json_schema_extra=at(8)
    )
    queries_per_language: int | None = Field(
        None, ge=1, description="At most, drawn by hash.", json_schema_extra=at(9)
    )
    title: bool = Field(
        True, description="Put a document's title before its text.", json_schema_extra=at(10)
    )
    language: str = Field(
        "und",
        min_length=2,
        description="ISO 639-1 code for rows that name no language; `und` is undetermined.",
        json_schema_extra=at(11),
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

    sets: tuple[EvaluationSet, ...] = Field(
        (), description="What to measure on, beside what a pipeline holds out.",
        json_schema_extra=at(0),
    )  # fmt: skip
    models: tuple[ModelSettings, ...] = Field(
        (), description="What to measure, beside what a pipeline trains.", json_schema_extra=at(1)
    )
    base: Model | None = Field(
        None, description="The untouched model; the first trained model's base if not set.",
        json_schema_extra=at(2),
    )  # fmt: skip
    held_out: float = Field(
        0.1, ge=0, lt=1,
        description="Share of a pipeline's documents, with all their queries, that is kept from "
        "mining and training and measured on.",
        json_schema_extra=at(3),
    )  # fmt: skip
    k: int = Field(10, ge=1, le=1000, description="Cut-off of nDCG, recall and MRR.",
                   json_schema_extra=at(4))  # fmt: skip
    confidence: float = Field(
        0.95, gt=0.5, lt=1, description="Of the intervals.", json_schema_extra=at(5)
    )
    resamples: int = Field(
        5_000, ge=100, le=1_000_000, description="Of the paired bootstrap.",
        json_schema_extra=at(6),
    )  # fmt: skip
    seed: int = Field(0, ge=0, le=2**32 - 1, description="Of resampling and of what is held out.",
                      json_schema_extra=at(7))  # fmt: skip
    pivot: str = Field(
        "en", description="Pairs of languages with it are told from those without.",
        json_schema_extra=at(11),
    )  # fmt: skip
    query_prompt: str = Field(
        "", description="Before every query; a trained model brings its own.",
        json_schema_extra=at(8),
    )  # fmt: skip
    document_prompt: str = Field(
        "", description="Before every document; a trained model brings its own.",
        json_schema_extra=at(9),
    )  # fmt: skip
    max_length: int | None = Field(
        None, ge=8, le=131072, description="Tokens; the model's own if not set.",
        json_schema_extra=at(10),
    )  # fmt: skip
    trust_remote_code: bool = Field(
        False, description="Run code that comes with the base.", json_schema_extra=at(12)
    )
    contaminated: Literal["fail", "report"] = Field(
        "fail",
        description="What to do when a set holds texts that a trained model has learned from: "
        "refuse to measure, or measure and say so.",
        json_schema_extra=at(13),
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
