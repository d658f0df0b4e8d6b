"""Keeps documents with their queries, or queries, from mining and training, to measure on them."""

from functools import cache
from typing import Literal

import polars as pl

from polymine.data_contracts.notes import CollectionNote, HeldOutNote
from polymine.data_contracts.references import CollectionRef, DatasetRef, fingerprint
from polymine.data_contracts.settings import HELD_OUT as HELD_OUT
from polymine.data_contracts.settings import DatasetSettings, EvaluationSet, EvaluationSettings
from polymine.evaluation.collection import EvaluationCollection
from polymine.evaluation.contamination import NEAR
from polymine.mining.split import TEST, TRAINING, Split, hold_out, near_texts, take
from polymine.tasks.engine.context import Context
from polymine.tasks.engine.plan import Maker, Plan
from polymine.tasks.engine.stage import stage, step
from polymine.tasks.evaluation.sets import HELD_OUT_CONTRACT
from polymine.tasks.mining.ingestion import SCHEMAS, find_tables, store_tables
from polymine.tasks.store.datasets import Dataset, load, note_of

VERSION = 6
# Contract to the file's name, as evaluation reads it.
_FILES = {"documents": "corpus", "queries": "queries", "judgments": "qrels"}
Tables = tuple[pl.DataFrame, pl.DataFrame, pl.DataFrame]


@stage("hold-out")
def hold_out_set(
    run: Context,
    collection: CollectionRef,
    dataset: DatasetSettings,
    evaluation: EvaluationSettings,
    most: int | None = None,
) -> Plan:
    """Write the held-out side as a folder that evaluation reads as any other set.

    Its queries search `most` documents: those that answer, and a sample of the others.
    """
    found = cache(lambda: _split(collection, dataset, evaluation))

    def write(target: Dataset) -> None:
        split, tables = found()
        cut = take(split, TEST, *tables, whole=_pool(split, evaluation) == "whole")
        if most is not None:
            kept = EvaluationCollection(*cut).thin(most, evaluation.seed).documents
            cut = (cut[0].join(kept, on="doc_id", how="semi", maintain_order="left"), *cut[1:])
        for (contract, name), table in zip(_FILES.items(), cut, strict=True):
            target.write(f"{name}.parquet", table, SCHEMAS[contract])

    return Plan(
        contract=HELD_OUT_CONTRACT,
        depends={
            **_depends(collection, dataset, evaluation),
            "pool": evaluation.pool,
            **({} if most is None else {"most": most}),
        },
        open=lambda _: Maker(lambda *_: write),
        resumable=False,
        reads=True,
        note=lambda _: _describe(*found(), evaluation),
    )


def as_set(name: str, held: DatasetRef) -> EvaluationSet:
    """Name what was held out as a set like any other.

    Its documents are in training where queries were held out; else nothing that answers them is.
    """
    way = note_of(held, HeldOutNote).way
    return EvaluationSet(
        name=name,
        path=held.path,
        title=False,  # texts have their titles already
        guard="queries" if way == "queries" else "relevant",
    )


@step("training-side")
def training_side(
    run: Context,
    collection: CollectionRef,
    dataset: DatasetSettings,
    evaluation: EvaluationSettings,
) -> CollectionRef:
    """Write the collection without what is held out; mining sees only this."""
    depends = _depends(collection, dataset, evaluation)
    version = fingerprint(side=TRAINING, of=fingerprint(**depends))
    if found := find_tables(run, version):
        return found
    split, of_both = _split(collection, dataset, evaluation)
    documents, queries, judgments = take(split, TRAINING, *of_both)
    copies = load(collection.copies)
    tables = {
        "documents": documents,
        "queries": queries,
        "judgments": judgments,
        "labels": _both(load(collection.labels), queries, documents),
        "closure": _both(load(collection.closure), queries, documents),
        "copies": copies.join(documents.select(kept_id="doc_id"), on="kept_id", how="semi"),
        "rejected": load(collection.rejected),
        "given": _both(load(collection.given), queries, documents),
        "versions": _remaining(load(collection.versions), documents, queries),
    }
    note = note_of(collection.documents, CollectionNote)  # the files are the same
    return store_tables(run.aside or run, tables, version, note)


def _split(
    collection: CollectionRef, dataset: DatasetSettings, evaluation: EvaluationSettings
) -> tuple[Split, Tables]:
    """Cut the collection in two; also its documents, queries and judgments."""
    documents, queries, judgments = (load(getattr(collection, name)) for name in _FILES)
    near, asked = near_texts(documents, queries, min(dataset.near_copy, NEAR))
    share, seed, way = evaluation.held_out, evaluation.seed, evaluation.hold_out
    split = hold_out(documents, queries, judgments, near, share, seed, asked, way)
    return split, (documents, queries, judgments)


def _pool(split: Split, evaluation: EvaluationSettings) -> Literal["whole", "held-out"]:
    """What test queries search: their documents are no pool where those are in training too."""
    return "whole" if split.way == "queries" else evaluation.pool


def _describe(split: Split, tables: Tables, evaluation: EvaluationSettings) -> HeldOutNote:
    pool = _pool(split, evaluation)
    asked = tables[2].filter(pl.col("relevance") > 0).join(tables[1], on="query_id", how="semi")
    return HeldOutNote(
        way=split.way,
        pool=pool,
        documents=tables[0].height if pool == "whole" else split.counts[TEST]["documents"],
        queries=split.counts[TEST]["queries"],
        of_queries=asked["query_id"].n_unique(),
        largest=split.largest,
    )


def _depends(
    collection: CollectionRef, dataset: DatasetSettings, evaluation: EvaluationSettings
) -> dict[str, object]:
    return {
        "version": VERSION,
        "collection": collection,
        "near_copy": dataset.near_copy,
        "share": evaluation.held_out,
        "way": evaluation.hold_out,
        "seed": evaluation.seed,
    }


def _both(pairs: pl.DataFrame, queries: pl.DataFrame, documents: pl.DataFrame) -> pl.DataFrame:
    asked = pairs.join(queries, on="query_id", how="semi", maintain_order="left")
    return asked.join(documents, on="doc_id", how="semi", maintain_order="left")


def _remaining(
    versions: pl.DataFrame, documents: pl.DataFrame, queries: pl.DataFrame
) -> pl.DataFrame:
    """Versions of what is there; one whose others are gone hangs together with nothing."""
    ids = pl.concat([
        documents.select(side=pl.lit("document"), id="doc_id"),
        queries.select(side=pl.lit("query"), id="query_id"),
    ]).cast({"side": versions.schema["side"]})  # fmt: skip
    return versions.join(ids, on=["side", "id"], how="semi", maintain_order="left")
