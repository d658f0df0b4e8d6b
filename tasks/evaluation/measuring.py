"""Measures a model on a set, one dataset each."""

import logging
from collections.abc import Callable, Mapping, Sequence

import polars as pl

from polymine.data_contracts.errors import SettingsError
from polymine.data_contracts.learning import Answers, PairScores, QueryScores, SetScores
from polymine.data_contracts.notes import MeasuresNote, SetNote
from polymine.data_contracts.references import DatasetRef
from polymine.data_contracts.settings import EvaluatedRun, EvaluationSet, EvaluationSettings
from polymine.evaluation import choice, similarity
from polymine.evaluation.collection import EvaluationCollection
from polymine.evaluation.mteb_tasks import mteb_scores, mteb_version
from polymine.evaluation.rankings import measure_ranking, rank_words, read_run
from polymine.evaluation.retrieval import measure as measure_retrieval
from polymine.evaluation.tables import as_set_scores
from polymine.tasks.engine.context import Context
from polymine.tasks.engine.plan import Maker, Order, Plan
from polymine.tasks.engine.stage import stage
from polymine.tasks.evaluation.encoding import Matrix, Measured, encode
from polymine.tasks.evaluation.sets import kind_of, languages_of_set, open_collection, read_table
from polymine.tasks.sources.files import digest, fetch
from polymine.tasks.store.datasets import note_of

VERSION = 5
UNTOUCHED = "untouched"  # what the base is called where BM25 is what all are compared with
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


def check_runs(evaluation: EvaluationSettings) -> None:
    """Refuse rankings of sets that are not measured, before anything is encoded."""
    names = [chosen.name for chosen in evaluation.sets]
    for ranked in evaluation.runs:
        if ranked.set not in names:
            raise SettingsError(
                f"evaluation.runs.{ranked.name}: ranks the set {ranked.set}, and the sets are "
                f"{', '.join(names)}"
            )
    if evaluation.baseline == "bm25" and any(m.name == UNTOUCHED for m in evaluation.models):
        raise SettingsError(f"evaluation.models: beside BM25 `{UNTOUCHED}` is the untouched base")


@stage("measure-run", "measure-{chosen.name}-{chosen.set}")
def measure_run(
    run: Context, chosen: EvaluatedRun, tables: DatasetRef, evaluation: EvaluationSettings
) -> Plan:
    """Measure what another system ranked."""

    def ranked(collection: EvaluationCollection) -> pl.DataFrame:
        with fetch(chosen.path) as files:
            parts = [read_run(file.path.read_text("utf-8-sig"), file.name) for file in files]
        # Of documents with one text the set has one: it stands where the best of them stood.
        kept = read_table(tables, "copies").select("doc_id", "kept_id")
        ranking = pl.concat(parts).join(kept, on="doc_id", how="left")
        doc_id = pl.coalesce("kept_id", "doc_id").alias("doc_id")
        return ranking.group_by("query_id", doc_id).agg(pl.col("score").max())

    with fetch(chosen.path) as files:
        digests = [digest(file.path) for file in files]
    return _ranking_plan(chosen.name, {"run": digests}, ranked, tables, evaluation)


@stage("measure-bm25")
def measure_words(run: Context, tables: DatasetRef, evaluation: EvaluationSettings) -> Plan:
    """Measure BM25 on a set of retrieval."""
    return _ranking_plan("bm25", {"words": 1}, rank_words, tables, evaluation)


def _ranking_plan(
    name: str,
    of: Mapping[str, object],
    ranked: Callable[[EvaluationCollection], pl.DataFrame],
    tables: DatasetRef,
    evaluation: EvaluationSettings,
) -> Plan:
    note = note_of(tables, SetNote)
    if note.kind != "retrieval":
        raise SettingsError(
            f"evaluation: {name} ranks documents, and {note.name} is a set of {note.kind}; leave "
            "the set out, or the ranking"
        )

    together = all(each.pooled for each in evaluation.sets if each.name == note.name)

    def make(number: int, order: Order, progress: object) -> pl.DataFrame:
        collection = open_collection(tables)
        ranking = ranked(collection)
        missing = collection.relevant.join(ranking, on="query_id", how="anti")
        if count := missing["query_id"].n_unique():
            logger.warning(
                "%s ranks nothing for %s queries of %s, as %s: they count as 0",
                name, f"{count:,}", note.name, missing["query_id"][0],
            )  # fmt: skip
        pooled = together and collection.documents["language"].n_unique() > 1
        return measure_ranking(collection, ranking, name=note.name, k=evaluation.k, pooled=pooled)

    return Plan(
        contract="measures",
        depends={
            "version": VERSION,
            **of,
            "set": tables,
            "name": note.name,
            "k": evaluation.k,
            "pooled": together,
        },
        open=lambda _: Maker(make, QueryScores),
        note=lambda _: MeasuresNote(kind="retrieval"),
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

    if measured.shift:
        raise SettingsError(
            f"evaluation.models.{measured.name}: `shift` subtracts the mean of each language of a "
            f"set, which MTEB's own task {chosen.benchmark} gives in pieces; leave out one of them"
        )
    scores = mteb_scores(str(chosen.benchmark), vectors, chosen.languages)
    empty = {name: pl.lit(None, pl.Float64) for name in ("gain", "low", "high")}
    return as_set_scores(scores.with_columns(**empty), measured.name, chosen.name)
