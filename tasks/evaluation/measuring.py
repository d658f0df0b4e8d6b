"""Measures a model on a set, one dataset each."""

import logging
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from typing import Any

import polars as pl

from polymine.data_contracts.errors import SettingsError
from polymine.data_contracts.learning import Answers, PairScores, QueryScores, SetScores
from polymine.data_contracts.notes import MeasuresNote, SetNote
from polymine.data_contracts.references import DatasetRef
from polymine.data_contracts.settings import (
    EvaluatedRun,
    EvaluationSet,
    EvaluationSettings,
    Reading,
)
from polymine.evaluation import choice, similarity
from polymine.evaluation.collection import EvaluationCollection
from polymine.evaluation.mteb_tasks import mteb_scores, mteb_version
from polymine.evaluation.rankings import check_ids, measure_ranking, rank_words, read_run
from polymine.evaluation.retrieval import measure as measure_retrieval
from polymine.evaluation.tables import as_set_scores
from polymine.reading.files import read_text
from polymine.tasks.engine.context import Context
from polymine.tasks.engine.plan import Maker, Order, Plan
from polymine.tasks.engine.stage import stage
from polymine.tasks.evaluation.encoding import (
    Encoded,
    Matrix,
    Measured,
    embed,
    encode,
    load_of,
    offsets_of,
)
from polymine.tasks.evaluation.leaving_out import left_out_of
from polymine.tasks.evaluation.sets import (
    kind_of,
    languages_of_set,
    open_collection,
    read_table,
    sides_of_set,
    tables_in,
)
from polymine.tasks.sources.files import digest, fetch
from polymine.tasks.store.datasets import note_of

VERSION = 6
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
        estimate=lambda: load_of(run, measured, sides_of_set(tables)),
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
            parts = [read_run(read_text(f.path, f.name, Reading()), f.name) for f in files]
        gone = left_out_of(tables).implode()
        ranking = pl.concat(parts).filter(~pl.col("query_id").is_in(gone))
        if "copies" not in tables_in(tables):
            return ranking
        # Of documents with one text the set has one: it stands where the best of them stood.
        kept = read_table(tables, "copies").select("doc_id", "kept_id")
        ranking = ranking.join(kept, on="doc_id", how="left")
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

    @cache
    def measured() -> tuple[pl.DataFrame, int]:
        collection = open_collection(tables)
        ranking = ranked(collection)
        path = next((f" ({run.path})" for run in evaluation.runs if run.name == name), "")
        check_ids(collection, ranking, f"evaluation.runs.{name}{path}: a ranking of {note.name}")
        missing = collection.relevant.join(ranking, on="query_id", how="anti")
        if count := missing["query_id"].n_unique():
            logger.warning(
                "%s leaves out queries of %s: %s, as %s, count as 0",
                name, note.name, f"{count:,}", missing["query_id"][0],
            )  # fmt: skip
        pooled = together and collection.documents["language"].n_unique() > 1
        options: dict[str, Any] = {"name": note.name, "k": evaluation.k, "pooled": pooled}
        return measure_ranking(collection, ranking, **options), count

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
        open=lambda _: Maker(lambda *_: measured()[0], QueryScores),
        reads="run" in of,
        note=lambda _: MeasuresNote(kind="retrieval", unranked=measured()[1]),
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

    sides = sides_of_set(tables)
    offsets = offsets_of(run, measured, sides)

    def vectors(number: int) -> Matrix:
        table, role = sides[number]
        return encode(run, measured, table["text"], table["language"], role, offsets)

    def stored(number: int) -> Matrix | Encoded:
        """A corpus is not copied into memory as a whole, unless its vectors are shifted."""
        table, role = sides[number]
        if offsets:
            return vectors(number)
        return embed(run, measured, table["text"], table["language"], role)

    match kind:
        case "retrieval":
            collection = open_collection(tables)
            return measure_retrieval(
                collection, stored(0), stored(1),
                name=chosen.name,
                k=evaluation.k,
                pooled=chosen.pooled and collection.documents["language"].n_unique() > 1,
            )  # fmt: skip
        case "similarity":
            pairs = read_table(tables, "pairs")
            similarity.check_pairs(pairs)
            return similarity.compare_texts(pairs, vectors(0), vectors(1))
        case "clustering":
            names = {"model": measured.name, "set": chosen.name}
            sentences = read_table(tables, "sentences")
            return similarity.cluster(sentences, vectors(0), seed=evaluation.seed, **names)
        case "choice":
            return choice.answer(read_table(tables, "items"), vectors(0), vectors(1))
        case _:
            return _benchmark(run, measured, chosen)


def check_shift(measured: Measured, chosen: EvaluationSet) -> None:
    """Refuse to shift vectors of texts that MTEB gives in pieces."""
    if measured.shift:
        raise SettingsError(
            f"model {measured.name}: `shift` subtracts the mean of each language of a set, which "
            f"MTEB's own task {chosen.benchmark} gives in pieces; leave out one of them"
        )


def _benchmark(run: Context, measured: Measured, chosen: EvaluationSet) -> pl.DataFrame:
    """Let MTEB read and score one of its tasks."""

    def vectors(texts: Sequence[str], language: str, role: str) -> Matrix:
        side = "documents" if role == "document" else "queries"
        return encode(run, measured, texts, [language] * len(texts), side)

    check_shift(measured, chosen)
    similarity = measured.call.similarity
    scores = mteb_scores(str(chosen.benchmark), vectors, chosen.languages, similarity)
    empty = {name: pl.lit(None, pl.Float64) for name in ("gain", "low", "high")}
    return as_set_scores(scores.with_columns(**empty), measured.name, chosen.name)
