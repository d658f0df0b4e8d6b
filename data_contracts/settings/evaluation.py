"""What is measured: models against the untouched base, on which sets, with which certainty."""

from typing import Annotated, Literal

from pydantic import Field, model_validator

from polymine.data_contracts.settings.base import NAME, Settings, Source
from polymine.data_contracts.settings.dataset import Reading
from polymine.data_contracts.settings.locations import Table
from polymine.data_contracts.settings.models import EncoderSettings

HELD_OUT, TRAINED = "held-out", "trained"  # a pipeline's own set and model


class _Named(Settings):
    name: str = Field(pattern=NAME)
    """Short name, used in tables."""


class EvaluatedModel(EncoderSettings, _Named):
    """A model to measure: the folder of a training run, or anything a teacher could be.

    A trained model brings its prompts along, where none are given here, and its adapters by
    language; `trust_remote_code` is of its base.
    """

    shift: bool = False
    """Subtract from each vector what its language adds to all of them (SHIFT), with no training:
    the mean of the set's texts in it, less the mean of all languages. For sets whose languages hold
    the same kind of texts."""


class EvaluatedRun(_Named):
    """What another system ranked for one set, as a TREC run; one name may rank several sets."""

    set: str
    """Name of the set that it ranks."""
    path: Table
    """File of `query Q0 document rank score system` lines."""


class _Set(Settings):
    name: str = Field(pattern=NAME)
    """Short name, used in tables."""
    path: Table | None = None
    """Folder with corpus, queries and qrels (and translations, where texts have versions), with
    pairs and scores (STS), or with pairs or `sentences.*` with a group_id (parallel sentences)."""
    corpus: Source | None = None
    """Instead of `path`: documents, as in `dataset`."""
    queries: Source | None = None
    """With `corpus`: queries, as in `dataset`."""
    judgments: Source | None = None
    """With `corpus`: judgments, as in `dataset`."""
    benchmark: str | None = None
    """Instead of `path`, from the hub: `belebele`, `belebele-choice` or `xquad` in all directions
    of `languages`, or a task of MTEB by its name, as `STS17`."""
    languages: tuple[str, ...] | None = Field(None, min_length=1)
    """ISO 639-1 codes of the languages to measure; all if not set."""
    pooled: bool = True
    """Also rank the documents of all languages together."""
    queries_per_language: int | None = Field(None, ge=1)
    """Measure at most so many queries of each language, always the same ones; all if not set."""
    title: bool = True
    """Put a document's title before its text."""
    language: str = Field("und", min_length=2)
    """ISO 639-1 code of rows that name no language; `und` is undetermined."""

    guard: Literal["auto", "queries", "relevant", "all"] = "auto"
    """Which of the set's texts training must not hold: its `queries`; these and the documents that
    are `relevant` to them; or `all` texts. `auto` is `queries` where training and the set search
    one corpus, as SciFact's or MS MARCO's two splits do, else `all`."""
    copies: Literal["merge", "keep"] = "merge"
    """Merge documents of equal text into one, which is relevant if any of them is, as mining does;
    or keep all, as plain trec_eval does. Where it matters, the report says what plain trec_eval
    gives."""
    own_document: Literal["hide", "rank"] = "hide"
    """Leave a document that is the query's own text, and not relevant, out of its ranking, as
    mining does, or rank it, as plain trec_eval does."""


class EvaluationSet(Reading, _Set):
    """One set of texts with what is relevant, or a benchmark by name."""

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

    sets: tuple[EvaluationSet, ...] = ()
    """What to measure on, beside what a pipeline holds out."""
    models: tuple[EvaluatedModel, ...] = ()
    """What to measure, beside what a pipeline trains."""
    runs: tuple[EvaluatedRun, ...] = ()
    """Rankings of other systems, measured beside the models."""
    base: EncoderSettings | None = None
    """The untouched model that all are compared with; the first trained model's base if not set.
    Named alone, without models, it is measured by itself."""
    baseline: Literal["base", "bm25"] = "base"
    """What all are compared with: the untouched `base`, or BM25, beside which the base then stands
    as one model more (retrieval alone)."""
    held_out: float = Field(0.1, ge=0, lt=1)
    """Share of a pipeline's documents that mining and training never see, with all their queries;
    or of its queries (`hold_out`). They are measured on."""
    hold_out: Literal["auto", "documents", "queries"] = "auto"
    """Hold out whole groups of `documents` that belong together, with their queries; or `queries`,
    and leave their documents in the corpus. `auto` is `documents`, unless more than a tenth of the
    queries hang together with so many others that they could never be held out."""
    development: float = Field(0.1, ge=0, lt=1)
    """Share of what is then left to mine and train that is kept apart in the same way, to choose a
    model by (`training.development`); none is where it would have too few queries for that."""
    pool: Literal["whole", "held-out"] = "whole"
    """What held-out queries search: the `whole` corpus, as users do, or the `held-out` documents
    alone, which is easier. Where queries are held out it is always the whole corpus."""
    k: int = Field(10, ge=1, le=1000)
    """Ranks that count for nDCG, recall and MRR."""
    cutoffs: tuple[Annotated[int, Field(ge=1, le=1000)], ...] = ()
    """Further cut-offs of nDCG and recall, as `[1, 100]`."""
    confidence: float = Field(0.95, gt=0.5, lt=1)
    """Probability that an interval holds the true value."""
    resamples: int = Field(5_000, ge=100, le=1_000_000)
    """Draws of the paired bootstrap that the intervals come from."""
    seed: int = Field(0, ge=0, le=2**32 - 1)
    """Seed of these draws and of what is held out."""
    pivot: str = "en"
    """Language that others are compared through: directions with it and without it are averaged
    apart."""
    contaminated: Literal["fail", "exclude", "report"] = "fail"
    """If a set holds texts that a trained model has learned from: refuse to measure, leave those
    queries, pairs or sentences out for all models, or measure and say so."""

    @model_validator(mode="after")
    def _names_differ(self) -> "EvaluationSettings":
        for kind in ("sets", "models"):
            names = [item.name for item in getattr(self, kind)]
            if len(set(names)) < len(names):
                raise ValueError(f"{kind} need different names, got {', '.join(names)}")
        if any(item.name == "base" for item in (*self.models, *self.runs)):
            raise ValueError("no model may be called `base`: that is what all are compared with")
        if self.k in self.cutoffs or len(set(self.cutoffs)) < len(self.cutoffs):
            raise ValueError(f"cutoffs differ from each other and from k, got {self.cutoffs}")
        ranked = [(item.name, item.set) for item in self.runs]
        if len(set(ranked)) < len(ranked) or {item.name for item in self.runs} & {
            item.name for item in self.models
        }:
            raise ValueError("runs need names that no model has, and one file per name and set")
        return self
