"""Keeps documents, with all their queries, from mining and training, to measure on them."""

from dataclasses import replace
from functools import partial

import polars as pl

from polymine.data_contracts.references import CollectionRef, fingerprint
from polymine.data_contracts.settings import HELD_OUT as HELD_OUT
from polymine.data_contracts.settings import DatasetSettings, EvaluationSettings
from polymine.evaluation.contamination import NEAR
from polymine.mining.split import TEST, TRAINING, Side, hold_out, near_texts, take
from polymine.tasks.engine.context import Context
from polymine.tasks.engine.plan import Maker, Plan
from polymine.tasks.engine.stage import stage, step
from polymine.tasks.mining.ingestion import SCHEMAS, find_tables, store_tables
from polymine.tasks.store.datasets import Dataset, load

VERSION = 3
# Contract to the file's name, as evaluation reads it.
_FILES = {"documents": "corpus", "queries": "queries", "judgments": "qrels"}
Tables = tuple[pl.DataFrame, pl.DataFrame, pl.DataFrame]


@stage("hold-out")
def hold_out_set(
    run: Context,
    collection: CollectionRef,
    dataset: DatasetSettings,
    evaluation: EvaluationSettings,
) -> Plan:
    """Write the held-out side as a folder that evaluation reads as any other set."""
    return Plan(
        contract="held-out",
        depends=_depends(collection, dataset, evaluation),
        open=lambda _: Maker(
            lambda *_: partial(_write, _side(TEST, collection, dataset, evaluation))
        ),
        resumable=False,
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
    if run.dry:
        return replace(collection, fingerprint=version)
    documents, queries, judgments = _side(TRAINING, collection, dataset, evaluation)
    copies = load(collection.copies)
    tables = {
        "documents": documents,
        "queries": queries,
        "judgments": judgments,
        "labels": _both(load(collection.labels), queries, documents),
        "closure": _both(load(collection.closure), queries, documents),
        "copies": copies.join(documents.select(kept_id="doc_id"), on="kept_id", how="semi"),
        "rejected": load(collection.rejected),
    }
    return store_tables(run, tables, version)


def _side(
    side: Side, collection: CollectionRef, dataset: DatasetSettings, evaluation: EvaluationSettings
) -> Tables:
    """Cut the collection in two; documents, queries and judgments of one side."""
    documents, queries, judgments = (load(getattr(collection, name)) for name in _FILES)
    near, asked = near_texts(documents, queries, min(dataset.near_copy, NEAR))
    share, seed = evaluation.held_out, evaluation.seed
    split = hold_out(documents, queries, judgments, near, share, seed, asked)
    return take(split, side, documents, queries, judgments)


def _write(tables: Tables, dataset: Dataset) -> None:
    for (contract, name), table in zip(_FILES.items(), tables, strict=True):
        dataset.write(f"{name}.parquet", table, SCHEMAS[contract])


def _depends(
    collection: CollectionRef, dataset: DatasetSettings, evaluation: EvaluationSettings
) -> dict[str, object]:
    return {
        "version": VERSION,
        "collection": collection,
        "near_copy": dataset.near_copy,
        "share": evaluation.held_out,
        "seed": evaluation.seed,
    }


def _both(pairs: pl.DataFrame, queries: pl.DataFrame, documents: pl.DataFrame) -> pl.DataFrame:
    asked = pairs.join(queries, on="query_id", how="semi", maintain_order="left")
    return asked.join(documents, on="doc_id", how="semi", maintain_order="left")
