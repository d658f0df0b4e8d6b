"""A stored evaluation set: its kind, its tables and its texts.

| kind | shards |
|---|---|
| `retrieval` | documents, queries, judgments, hidden; variants: texts with or without title; of |
| | parallel sentences also lone: those that have no version |
| `similarity` | pairs with gold scores |
| `clustering` | sentences with labels |
| `choice` | passages, questions and four answers |
| `mteb` | none: MTEB reads its own data |
"""

from collections.abc import Callable, Mapping
from functools import cache
from pathlib import Path
from typing import Any

import polars as pl

from polymine.data_contracts.notes import HeldOutNote, SetNote
from polymine.data_contracts.references import DatasetRef
from polymine.evaluation.choice import option_texts
from polymine.evaluation.collection import EvaluationCollection
from polymine.evaluation.contamination import Level, Part, shares_corpus
from polymine.tasks.engine.plan import Maker, Plan
from polymine.tasks.store.atomic import write_frame
from polymine.tasks.store.datasets import Dataset, is_dataset, note_of, open_folder
from polymine.tasks.store.manifests import read_manifest

CONTRACT, HELD_OUT_CONTRACT = "evaluation-sets", "held-out"
_CHANGED = {"hidden": "own", "copies": "merged"}  # tables that plain trec_eval would not have
LONE = "lone"
COLLECTION = ("documents", "queries", "judgments", "hidden")  # tables of a set of retrieval
Tables = dict[str, pl.DataFrame]


def plan_set(depends: Mapping[str, Any], make: Callable[[], tuple[SetNote, Tables]]) -> Plan:
    """Plan a set: its tables as files of these names, and its note."""
    made = cache(make)

    def write(dataset: Dataset) -> None:
        for name, table in made()[1].items():
            write_frame(table, dataset.folder / f"{name}.parquet")

    return Plan(
        contract=CONTRACT,
        depends=depends,
        open=lambda _: Maker(lambda *_: write),
        resumable=False,  # which tables there are, the set itself says
        reads=True,
        note=lambda _: made()[0],
    )


def kind_of(reference: DatasetRef) -> str:
    """Say what kind of set this is."""
    return note_of(reference, SetNote).kind


def open_collection(reference: DatasetRef) -> EvaluationCollection:
    """Open a set of the kind `retrieval`."""
    return EvaluationCollection(*(read_table(reference, name) for name in COLLECTION))


def read_table(reference: DatasetRef, name: str) -> pl.DataFrame:
    """Read one of the tables of a set."""
    return pl.read_parquet(open_folder(reference.path) / f"{name}.parquet", glob=False)


def tables_in(reference: DatasetRef) -> list[str]:
    """Name the tables of a set."""
    return [path.stem for path in sorted(open_folder(reference.path).glob("*.parquet"))]


def count_texts(tables: Mapping[str, pl.DataFrame]) -> dict[str, Any]:
    """Count what a set of retrieval has, as its SetNote says it."""
    collection = EvaluationCollection(*(tables[name] for name in COLLECTION))
    answered = collection.relevant["query_id"].n_unique()
    languages = dict(collection.documents["language"].value_counts().sort("language").rows())
    changed = {name: tables[name].height if "copies" in tables else 0 for name in _CHANGED}
    return {
        "documents": collection.documents.height,
        "languages": languages if len(languages) > 1 else {},
        "queries": answered,
        "unanswered": collection.queries.height - answered,
        "chained": collection.chained,
        **{key: changed[name] for name, key in _CHANGED.items()},
    }


def is_checked(reference: DatasetRef) -> bool:
    """Whether `texts_of_set` knows the set's texts: not those that MTEB reads by itself."""
    return kind_of(reference) != "mteb"


def languages_of_set(reference: DatasetRef) -> set[str] | None:
    """List the languages of all texts that are encoded; None where MTEB reads them by itself."""
    columns = {
        "retrieval": [("documents", "language"), ("queries", "language")],
        "similarity": [("pairs", "language_a"), ("pairs", "language_b")],
        "clustering": [("sentences", "language")],
        "choice": [("items", "language")],
    }.get(kind_of(reference))
    if columns is None:
        return None
    return {code for table, name in columns for code in read_table(reference, table)[name].unique()}


def sides_of_set(reference: DatasetRef) -> list[tuple[pl.DataFrame, str]]:
    """List all texts that are encoded: text and language, and as what, `queries` or `documents`."""

    def side(table: str, text: str, language: str, role: str) -> tuple[pl.DataFrame, str]:
        return read_table(reference, table).select(text=text, language=language), role

    match kind_of(reference):
        case "retrieval":
            return [side(role, "text", "language", role) for role in ("queries", "documents")]
        case "similarity":
            return [side("pairs", f"text_{end}", f"language_{end}", "queries") for end in "ab"]
        case "clustering":
            return [side("sentences", "text", "language", "documents")]
        case "choice":
            options = option_texts(read_table(reference, "items"))
            return [(options, "queries"), side("items", "passage", "language", "documents")]
        case _:
            return []


def texts_of_set(reference: DatasetRef, level: Level = "all") -> pl.DataFrame:
    """List the texts that training must not have seen: id, text, part.

    Documents that have a title are there with and without it: training passages often have none,
    and a short passage is no near-copy of itself under a long title. Below the level `all` only
    documents that are relevant to a query are there; the level `queries` leaves it to
    `contamination.at_levels` that these count beside a query only. Empty where `is_checked` says
    that nothing is known.
    """
    kind = kind_of(reference)
    columns: list[tuple[str, str, str, Part]] = {
        "retrieval": [("documents", "doc_id", "text", "document"),
                      ("variants", "doc_id", "text", "document"),
                      ("queries", "query_id", "text", "query")],
        "similarity": [("pairs", "id", "text_a", "text"), ("pairs", "id", "text_b", "text")],
        "clustering": [("sentences", "id", "text", "text")],
        "choice": [("items", "item_id", "passage", "text"),
                   ("items", "item_id", "question", "text")],
    }.get(kind, [])  # type: ignore[assignment]  # fmt: skip
    parts = [
        read_table(reference, table).select(
            id=pl.col(key).cast(pl.String), text=text, part=pl.lit(part)
        )
        for table, key, text, part in columns
    ]
    empty = pl.DataFrame(schema=dict.fromkeys(("id", "text", "part"), pl.String))
    found = pl.concat([empty, *parts]).unique(maintain_order=True)
    if level == "all" or kind != "retrieval":
        return found
    relevant = open_collection(reference).relevant["doc_id"].unique().implode()
    return found.filter((pl.col("part") != "document") | pl.col("id").is_in(relevant))


def level_for(reference: DatasetRef, positives: pl.Series) -> Level:
    """Say how much of a set training must not have seen; see `EvaluationSet.guard`.

    Args:
        reference: the set.
        positives: texts of the training rows' positives.
    """
    note = note_of(reference, SetNote)
    if note.guard != "auto":
        return note.guard
    if note.kind != "retrieval":
        return "all"
    texts = [read_table(reference, name)["text"] for name in ("documents", "variants")]
    return "queries" if shares_corpus(positives, pl.concat(texts)) else "all"


def held_out_note(path: str) -> HeldOutNote | None:
    """Say how a set was held out; None for a folder that is not of `hold_out_set`."""
    there = is_dataset(path) or Path(path).is_dir()
    manifest = read_manifest(open_folder(path)) if there else None
    if manifest is None or manifest.contract != HELD_OUT_CONTRACT:
        return None
    return HeldOutNote.model_validate(manifest.info)
