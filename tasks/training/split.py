"""Keeps documents, with all their queries, from mining and training, to measure on them."""

from dataclasses import replace

import polars as pl

from polymine.data_contracts.references import CollectionRef, DatasetRef, fingerprint
from polymine.data_contracts.settings import HELD_OUT as HELD_OUT
from polymine.data_contracts.settings import DatasetSettings, EvaluationSettings
from polymine.evaluation.contamination import NEAR
from polymine.mining.split import TEST, TRAINING, Split, hold_out, near_texts, take
from polymine.tasks.engine.stages import stage
from polymine.tasks.mining.ingestion import SCHEMAS, collect_tables
from polymine.tasks.store.atomic import write_frame
from polymine.tasks.store.datasets import Store, load

VERSION = 2
_TABLES = ("documents", "queries", "judgments")


@stage("hold-out")
def hold_out_set(
    collection: CollectionRef, dataset: DatasetSettings, evaluation: EvaluationSettings, root: str
) -> DatasetRef:
    """Write the held-out side as a folder that evaluation reads as any other set."""
    version = _version(collection, dataset, evaluation)
    place = Store(root).dataset("held-out", version)
    if found := place.find():
        return found
    split = _split(collection, dataset, evaluation)
    documents, queries, judgments = (load(getattr(collection, n)) for n in _TABLES)
    tables = take(split, TEST, documents, queries, judgments)
    for name, table in zip(("corpus", "queries", "qrels"), tables, strict=True):
        write_frame(table, place.folder / f"{name}.parquet")
    return place.commit(
        {"collection": collection.fingerprint},
        {"sides": split.counts, "left_out": split.left_out},
    )


@stage("training-side")
def training_side(
    collection: CollectionRef, dataset: DatasetSettings, evaluation: EvaluationSettings, root: str
) -> CollectionRef:
    """Write the collection without what is held out; mining sees only this."""
    version = fingerprint(side=TRAINING, of=_version(collection, dataset, evaluation))
    store = Store(root)
    places = {name: store.ingested(name, version) for name in SCHEMAS}
    found = {name: place.find() for name, place in places.items()}
    whole = {name: reference for name, reference in found.items() if reference}
    if len(whole) == len(SCHEMAS):
        return replace(collect_tables(whole, version), reused=True)
    split = _split(collection, dataset, evaluation)
    documents, queries, judgments = take(
        split, TRAINING, *(load(getattr(collection, name)) for name in _TABLES)
    )
    tables = {
        "documents": documents,
        "queries": queries,
        "judgments": judgments,
        "labels": _both(load(collection.labels), queries, documents),
        "closure": _both(load(collection.closure), queries, documents),
        "copies": load(collection.copies).join(
            documents.select(kept_id="doc_id"), on="kept_id", how="semi"
        ),
        "rejected": load(collection.rejected),
    }
    made = {name: places[name].write_single(tables[name], SCHEMAS[name]) for name in SCHEMAS}
    return collect_tables(made, version)


def _split(
    collection: CollectionRef, dataset: DatasetSettings, evaluation: EvaluationSettings
) -> Split:
    documents, queries, judgments = (load(getattr(collection, name)) for name in _TABLES)
    near, asked = near_texts(documents, queries, min(dataset.near_copy, NEAR))
    share, seed = evaluation.held_out, evaluation.seed
    return hold_out(documents, queries, judgments, near, share, seed, asked)


def _version(
    collection: CollectionRef, dataset: DatasetSettings, evaluation: EvaluationSettings
) -> str:
    return fingerprint(
        version=VERSION,
        collection=collection.fingerprint,
        near_copy=dataset.near_copy,
        share=evaluation.held_out,
        seed=evaluation.seed,
    )


def _both(pairs: pl.DataFrame, queries: pl.DataFrame, documents: pl.DataFrame) -> pl.DataFrame:
    asked = pairs.join(queries, on="query_id", how="semi", maintain_order="left")
    return asked.join(documents, on="doc_id", how="semi", maintain_order="left")
