"""Measures a model on a set, one dataset each."""

import logging
from collections.abc import Sequence

import polars as pl

from polymine.data_contracts.learning import Answers, PairScores, QueryScores, SetScores
from polymine.data_contracts.notes import MeasuresNote
from polymine.data_contracts.references import DatasetRef
from polymine.data_contracts.settings import EvaluationSet, EvaluationSettings
from polymine.evaluation import choice, similarity
from polymine.evaluation.mteb_tasks import mteb_scores, mteb_version
from polymine.evaluation.retrieval import measure as measure_retrieval
from polymine.evaluation.tables import as_set_scores
from polymine.tasks.engine.context import Context
from polymine.tasks.engine.plan import Maker, Order, Plan
from polymine.tasks.engine.stage import stage
from polymine.tasks.evaluation.encoding import Matrix, Measured, encode
from polymine.tasks.evaluation.sets import kind_of, languages_of_set, open_collection, read_table
from polymine.tasks.store.datasets import note_of

VERSION = 4
_SCHEMAS = {"retrieval": QueryScores, "similarity": PairScores, "choice": Answers}

logger = logging.getLogger("polymine.evaluation")


@stage("measure", "measure-{measured.name}-{chosen.name}")
def measure(
    run: Context,
    measured: Measured,
    chosen: EvaluationSet,
    tables: DatasetRef,
    evaluation: EvaluationSettings,
) -> Plan:
    """Measure one model on one set; per query, pair or item wherever these can be resampled."""
    kind = kind_of(tables)
    languages = languages_of_set(tables) or set(chosen.languages or ())
    untouched = sorted(languages) if measured.leaves_untouched(languages) else []

    def make(number: int, order: Order, progress: object) -> pl.DataFrame:
        if untouched:
            logger.warning(
                "%s: no text of %s (%s) passes through an adapter; it is measured as its base",
                measured.name, chosen.name, ", ".join(untouched),
            )  # fmt: skip
        return _measures(run, kind, measured, chosen, tables, evaluation)

    return Plan(
        contract="measures",
        depends={
            "version": VERSION,
            "model": measured.fingerprint,
            "set": tables,
            "name": chosen.name,
            "k": evaluation.k if kind == "retrieval" else None,
            "pooled": chosen.pooled if kind == "retrieval" else None,
            "languages": chosen.languages if kind == "mteb" else None,
            "seed": evaluation.seed if kind == "clustering" else None,
            "mteb": mteb_version() if kind == "mteb" else None,
        },
        open=lambda _: Maker(make, _SCHEMAS.get(kind, SetScores)),
        note=lambda _: MeasuresNote(kind=kind, untouched=tuple(untouched)),
    )


def untouched_languages(measures: DatasetRef) -> tuple[str, ...]:
    """List the languages of a set none of whose texts passed through an adapter; else nothing."""
    return note_of(measures, MeasuresNote).untouched


def _measures(
    run: Context,
    kind: str,
    measured: Measured,
    chosen: EvaluationSet,
    tables: DatasetRef,
    evaluation: EvaluationSettings,
) -> pl.DataFrame:
    """Encode the texts of a set, and measure as its kind is measured."""

    def vectors(table: pl.DataFrame, text: str, side: str, language: str = "language") -> Matrix:
        return encode(run, measured, table[text], table[language], side)

    match kind:
        case "retrieval":
            collection = open_collection(tables)
            return measure_retrieval(
                collection,
                vectors(collection.queries, "text", "queries"),
                vectors(collection.documents, "text", "documents"),
                name=chosen.name,
                k=evaluation.k,
                pooled=chosen.pooled and collection.documents["language"].n_unique() > 1,
            )
        case "similarity":
            pairs = read_table(tables, "pairs")
            similarity.check_pairs(pairs)
            sides = (vectors(pairs, f"text_{s}", "queries", f"language_{s}") for s in "ab")
            return similarity.compare_texts(pairs, *sides)
        case "clustering":
            sentences = read_table(tables, "sentences")
            found = vectors(sentences, "text", "documents")
            names = {"model": measured.name, "set": chosen.name}
            return similarity.cluster(sentences, found, seed=evaluation.seed, **names)
        case "choice":
            items = read_table(tables, "items")
            options = vectors(choice.option_texts(items), "text", "queries")
            return choice.answer(items, options, vectors(items, "passage", "documents"))
        case _:
            return _benchmark(run, measured, chosen)


def _benchmark(run: Context, measured: Measured, chosen: EvaluationSet) -> pl.DataFrame:
    """Let MTEB read and score one of its tasks."""

    def vectors(texts: Sequence[str], language: str, role: str) -> Matrix:
        side = "documents" if role == "document" else "queries"
        return encode(run, measured, texts, [language] * len(texts), side)

    scores = mteb_scores(str(chosen.benchmark), vectors, chosen.languages)
    empty = {name: pl.lit(None, pl.Float64) for name in ("gain", "low", "high")}
    return as_set_scores(scores.with_columns(**empty), measured.name, chosen.name)
