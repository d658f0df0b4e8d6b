"""Measures a model on a set, one dataset each."""

import logging
from collections.abc import Sequence

import polars as pl

from polymine.data_contracts.references import DatasetRef, fingerprint
from polymine.data_contracts.settings import EngineSettings, EvaluationSet, EvaluationSettings
from polymine.evaluation import choice, similarity
from polymine.evaluation.mteb_tasks import mteb_scores, mteb_version
from polymine.evaluation.retrieval import measure as measure_retrieval
from polymine.tasks.engine.stages import stage
from polymine.tasks.evaluation.encoding import Matrix, Measured, encode
from polymine.tasks.evaluation.sets import kind_of, languages_of_set, open_collection, read_table
from polymine.tasks.store.atomic import write_frame
from polymine.tasks.store.datasets import Store, info_of, shard_name

VERSION = 3
CONTRACT = "measures"

logger = logging.getLogger("polymine.evaluation")


@stage("measure", "measure-{measured.name}-{chosen.name}")
def measure(
    measured: Measured,
    chosen: EvaluationSet,
    tables: DatasetRef,
    evaluation: EvaluationSettings,
    engine: EngineSettings,
    root: str,
) -> DatasetRef:
    """Measure one model on one set; per query, pair or item wherever these can be resampled."""
    kind = kind_of(tables)
    version = fingerprint(
        version=VERSION,
        model=measured.fingerprint,
        set=tables.fingerprint,
        name=chosen.name,
        k=evaluation.k if kind == "retrieval" else None,
        pooled=chosen.pooled if kind == "retrieval" else None,
        languages=chosen.languages if kind == "mteb" else None,
        seed=evaluation.seed if kind == "clustering" else None,
        mteb=mteb_version() if kind == "mteb" else None,
    )
    place = Store(root).dataset(CONTRACT, version)
    if found := place.find():
        return found
    frame = _measures(kind, measured, chosen, tables, evaluation, engine, root)
    write_frame(frame, place.folder / shard_name(0))
    languages = languages_of_set(tables) or set(chosen.languages or ())
    untouched = sorted(languages) if measured.leaves_untouched(languages) else []
    if untouched:
        logger.warning(
            "%s: no text of %s (%s) passes through an adapter; it is measured as its base",
            measured.name, chosen.name, ", ".join(untouched),
        )  # fmt: skip
    info = {"kind": kind, "untouched": untouched}
    return place.commit({"set": tables.fingerprint}, info)


def untouched_languages(measures: DatasetRef) -> tuple[str, ...]:
    """List the languages of a set none of whose texts passed through an adapter; else nothing."""
    return tuple(info_of(measures)["untouched"])


def _measures(
    kind: str,
    measured: Measured,
    chosen: EvaluationSet,
    tables: DatasetRef,
    evaluation: EvaluationSettings,
    engine: EngineSettings,
    root: str,
) -> pl.DataFrame:
    """Encode the texts of a set, and measure as its kind is measured."""

    def vectors(table: pl.DataFrame, text: str, side: str, language: str = "language") -> Matrix:
        return encode(
            measured, table[text], table[language], side, engine, root, tables.fingerprint
        )

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
            return _benchmark(measured, chosen, engine, root)


def _benchmark(
    measured: Measured, chosen: EvaluationSet, engine: EngineSettings, root: str
) -> pl.DataFrame:
    """Let MTEB read and score one of its tasks."""

    def run(texts: Sequence[str], language: str, role: str) -> Matrix:
        side = "documents" if role == "document" else "queries"
        return encode(measured, texts, [language] * len(texts), side, engine, root)

    scores = mteb_scores(str(chosen.benchmark), run, chosen.languages)
    return scores.with_columns(set=pl.lit(chosen.name), model=pl.lit(measured.name))
