"""Reads evaluation sets, local or from the hub, into one shape per kind (`sets.py`).

`splits.*` (query_id or id, split) beside the queries, pairs or sentences says what `split` chooses.
"""

import logging
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path

import polars as pl

from polymine.data_contracts.errors import InputError, SettingsError
from polymine.data_contracts.notes import SetNote, Understood
from polymine.data_contracts.references import DatasetRef, fingerprint
from polymine.data_contracts.settings import DatasetSettings, EvaluationSet, Reading
from polymine.data_contracts.tables import Copies
from polymine.evaluation import local_sets
from polymine.evaluation.collection import EvaluationCollection
from polymine.evaluation.mteb_tasks import mteb_pairs, mteb_version
from polymine.mining.ingestion import merge_copies, own_documents
from polymine.reading.roles import SPLITS
from polymine.tasks.engine.context import Context
from polymine.tasks.engine.plan import Plan
from polymine.tasks.engine.stage import stage
from polymine.tasks.evaluation.files import names_retrieval, tables_of
from polymine.tasks.evaluation.sets import (
    COLLECTION,
    LONE,
    Tables,
    count_texts,
    held_out_note,
    plan_set,
)
from polymine.tasks.sources.files import digest, fetch, side_table
from polymine.tasks.sources.reading import check_raw, fingerprint_sources, one_split, read_sources
from polymine.tasks.sources.tables import prepend_titles, read_side
from polymine.tasks.store.datasets import note_of

VERSION = 12
HUB = ("belebele", "belebele-choice", "xquad")
Sources = tuple[Understood, ...]
logger = logging.getLogger("polymine.evaluation")


@stage("read-set", "read-set-{chosen.name}")
def read_set(run: Context, chosen: EvaluationSet, seed: int, scored: bool = False) -> Plan:
    """Read one set, restricted to the split, languages and number of queries asked for.

    Args:
        run: to read in.
        chosen: the set.
        seed: of the queries that are drawn.
        scored: whether the texts of a benchmark of MTEB are read, which have to be pairs with
            scores; otherwise MTEB reads them by itself, when it measures.
    """
    retrieval = chosen.benchmark is None and (chosen.path is None or names_retrieval(chosen.path))
    by_mteb = {"mteb": mteb_version()} if scored and _is_mteb(chosen) else {}

    def make() -> tuple[SetNote, Tables]:
        kind, tables, sources = _read(chosen, seed, retrieval, scored)
        note = _describe(chosen, kind, tables, sources)
        if note.rejected:
            logger.warning(
                "%s: %s rows broke a rule and were set aside", chosen.name, f"{note.rejected:,}"
            )
        return note, tables

    depends = {
        "version": VERSION,
        "source": _fingerprint(chosen, retrieval),
        "choice": chosen.model_dump(
            mode="json", exclude={"path", "corpus", "queries", "judgments"}
        ),
        "seed": seed,
        **by_mteb,
    }
    return plan_set(depends, make)


def plain_form(chosen: EvaluationSet, reference: DatasetRef) -> EvaluationSet | None:
    """Say how plain trec_eval would read a set; None where that makes no difference."""
    note = note_of(reference, SetNote)
    if not note.merged and not note.own:
        return None
    return chosen.model_copy(update={"copies": "keep", "own_document": "rank"})


def _describe(chosen: EvaluationSet, kind: str, tables: Tables, sources: Sources) -> SetNote:
    held_out = held_out_note(chosen.path) if chosen.path else None
    note = SetNote(
        kind=kind, name=chosen.name, benchmark=chosen.benchmark, guard=chosen.guard,
        rejected=tables["rejected"].height if "rejected" in tables else 0,
        sources=() if held_out else sources, held_out=held_out,
    )  # fmt: skip
    if kind != "retrieval":
        return note
    counts = count_texts(tables)
    if not counts["queries"] and "copies" in tables:  # of parallel texts others say what is wrong
        raise InputError(
            f"evaluation.sets.{chosen.name}: none of {counts['unanswered']:,} queries has a "
            f"relevant document among {counts['documents']:,}; give judgments above 0, or other "
            "`languages` or another `split`"
        )
    return note.model_copy(update=counts)


def _read(
    chosen: EvaluationSet, seed: int, retrieval: bool, scored: bool
) -> tuple[str, Tables, Sources]:
    """Kind and tables of a set, and what its files were taken for."""
    if scored and _is_mteb(chosen):
        return "similarity", {"pairs": mteb_pairs(str(chosen.benchmark), chosen.languages)}, ()
    if chosen.benchmark is not None:
        return *_read_benchmark(chosen, chosen.benchmark, seed), ()
    if retrieval:
        collection, beside, sources = _collection(chosen)
        tables = _restricted(collection, chosen, seed, beside["variants"])
        kept = {name: beside[name] for name in ("rejected", "copies")}
        return "retrieval", tables | kept, sources
    tables, sources = tables_of(chosen)
    rejected = {"rejected": tables.pop("rejected")}
    kind, languages, split = local_sets.set_kind(tables), chosen.languages, chosen.split
    if kind == "similarity":
        pairs = local_sets.similarity_set(tables, languages, split=split)
        return kind, {"pairs": pairs, **rejected}, sources
    if kind == "clustering":
        sentences = local_sets.sentence_set(tables, languages, split=split)
        return kind, {"sentences": sentences, **rejected}, sources
    found = local_sets.parallel_set(tables, languages, split=split)
    lone = {LONE: local_sets.lone_sentences(tables, languages, split=split)}
    return "retrieval", _restricted(found, chosen, seed, narrowed=True) | rejected | lone, sources


def _collection(chosen: EvaluationSet) -> tuple[EvaluationCollection, Tables, Sources]:
    """Read a collection; beside it rejected rows, and texts as they are not (see `title`)."""
    plain = read_sources(_as_dataset(chosen))
    splits = None if chosen.split in plain.splits else _splits(chosen)
    if chosen.split is None and splits is None:
        one_split(plain, f"evaluation.sets.{chosen.name}")
    titled = replace(plain, documents=prepend_titles(plain.documents))
    shown, other = (titled, plain) if chosen.title else (plain, titled)
    checked = check_raw(shown, chosen.on_invalid)
    documents: pl.DataFrame = checked.documents
    judgments: pl.DataFrame = checked.judgments
    copies: pl.DataFrame = Copies.create_empty()
    if chosen.copies == "merge":
        documents, judgments, copies = merge_copies(documents, judgments)
    hidden = None
    if chosen.own_document == "hide":
        hidden = _own(documents, checked.queries, judgments)
        if hidden.height:
            logger.warning(
                "%s: documents that are a query's own text (%s) are left out of its ranking, "
                'unlike in plain trec_eval; `own_document = "rank"` keeps them',
                chosen.name, f"{hidden.height:,}",
            )  # fmt: skip
    whole = EvaluationCollection(documents, checked.queries, judgments, hidden)
    variants = other.documents.select("doc_id", "text").unique(maintain_order=True)
    variants = variants.filter(pl.col("text").str.len_chars() > 0)
    beside = {"variants": variants, "rejected": checked.rejected, "copies": copies}
    if chosen.split is None:
        return whole, beside, plain.understood
    if chosen.split in plain.splits:
        asked = whole.queries.join(checked.judgments, on="query_id", how="semi")
        return whole.ask(asked), beside, plain.understood
    asked = local_sets.only_split(whole.queries, splits, "query_id", chosen.split)
    return whole.ask(asked), beside, plain.understood


def _own(documents: pl.DataFrame, queries: pl.DataFrame, judgments: pl.DataFrame) -> pl.DataFrame:
    """Documents that are a query's own text, as ArguAna and Quora have them, unless relevant."""
    relevant = judgments.filter(pl.col("relevance") > 0)
    own = own_documents(documents, queries)
    return own.join(relevant, on=["query_id", "doc_id"], how="anti", maintain_order="left")


def _splits(chosen: EvaluationSet) -> pl.DataFrame | None:
    """Which query is of which split, from `splits.*` beside the queries."""
    with _split_files(chosen) as files:
        tables = [read_side(path, path.name, SPLITS) for path in files]
    tables = [t.rename({"id": "query_id"}) if "query_id" not in t.columns else t for t in tables]
    return pl.concat(tables, how="diagonal_relaxed") if tables else None


@contextmanager
def _split_files(chosen: EvaluationSet) -> Iterator[list[Path]]:
    """Files `splits.*` beside the queries, on this machine for as long as the context lasts."""
    named = chosen.path or chosen.queries or []
    with ExitStack() as stack:
        sources = [named] if isinstance(named, str) else named
        files = [file for source in sources for file in stack.enter_context(fetch(source))]
        beside = (side_table(file, "splits") for file in files)
        yield list(dict.fromkeys(path for path in beside if path is not None))


def _as_dataset(chosen: EvaluationSet) -> DatasetSettings:
    """Name the sources; titles are put before texts here, where both forms are kept."""
    hints = chosen.model_dump(include={*Reading.model_fields, "language"})
    if chosen.path is not None:
        return DatasetSettings(corpus=chosen.path, title="ignore", **hints)
    return DatasetSettings(
        corpus=chosen.corpus, queries=chosen.queries, judgments=chosen.judgments,
        title="ignore", **hints,
    )  # fmt: skip


def _restricted(
    collection: EvaluationCollection,
    chosen: EvaluationSet,
    seed: int,
    variants: pl.DataFrame | None = None,
    narrowed: bool = False,
) -> dict[str, pl.DataFrame]:
    """Tables of what is left; of `variants` those that differ from a document that is left."""
    if chosen.languages is not None and not narrowed:
        collection = collection.only(chosen.languages)
    if chosen.queries_per_language is not None:
        collection = collection.draw(chosen.queries_per_language, seed)
    tables = {name: getattr(collection, name) for name in COLLECTION}
    shown = collection.documents.select("doc_id", shown="text")
    if variants is None:
        variants = shown.clear().rename({"shown": "text"})
    other = variants.join(shown, on="doc_id", maintain_order="left")
    other = other.filter(pl.col("text") != pl.col("shown"))
    return tables | {"variants": other.select("doc_id", "text")}


def _is_mteb(chosen: EvaluationSet) -> bool:
    return chosen.benchmark is not None and chosen.benchmark.partition("@")[0] not in HUB


def _read_benchmark(
    chosen: EvaluationSet, name: str, seed: int
) -> tuple[str, dict[str, pl.DataFrame]]:
    benchmark, _, revision = name.partition("@")
    if _is_mteb(chosen):
        return "mteb", {}
    languages = _named_languages(chosen)
    if benchmark == "xquad":
        from polymine.evaluation.xquad import load_xquad, xquad_collection

        found = load_xquad(languages, *([f"google/xquad@{revision}"] if revision else []))
        return "retrieval", _restricted(xquad_collection(found), chosen, seed)
    from polymine.evaluation.belebele import belebele_choice, belebele_collection, load_belebele

    rows = load_belebele(languages, *([f"mteb/belebele@{revision}"] if revision else []))
    if benchmark == "belebele-choice":
        return "choice", {"items": belebele_choice(rows)}
    return "retrieval", _restricted(belebele_collection(rows), chosen, seed)


def _named_languages(chosen: EvaluationSet) -> Iterable[str]:
    if chosen.languages is None:
        raise SettingsError(
            f"evaluation.sets.{chosen.name}: name the `languages` of `{chosen.benchmark}`, as "
            '["ar", "en", "es", "fa", "fr", "ru"]'
        )
    return chosen.languages


def _fingerprint(chosen: EvaluationSet, retrieval: bool) -> str:
    if chosen.benchmark is not None:
        return chosen.benchmark
    if retrieval or chosen.path is None:
        sources = fingerprint_sources(_as_dataset(chosen))
        if chosen.split is None:
            return sources
        with _split_files(chosen) as paths:
            return fingerprint(sources=sources, splits=[digest(path) for path in paths])
    with fetch(chosen.path) as files:
        return fingerprint(files={file.name: digest(file.path) for file in files})
