"""Puts a person's labels to a collection that is in the store, where texts are embedded already."""

import polars as pl

from polymine.data_contracts.errors import StoreError
from polymine.data_contracts.notes import CollectionNote
from polymine.data_contracts.references import CollectionRef, fingerprint
from polymine.data_contracts.settings import DatasetSettings, EngineSettings
from polymine.data_contracts.tables import Closure
from polymine.mining.labelling import KEYS, add_labels, check_labels
from polymine.mining.promotion import widen
from polymine.tasks.engine.context import Context
from polymine.tasks.mining.ingestion import SCHEMAS, find_tables, store_tables
from polymine.tasks.sources.reading import read_labels
from polymine.tasks.store.datasets import load, note_of

VERSION = 1


def label_collection(
    ingested: str, dataset: DatasetSettings, engine: EngineSettings, run_name: str
) -> str:
    """Store a collection anew with further labels.

    Args:
        ingested: fingerprint of the collection.
        dataset: how it was read, and as `labels` the further ones alone.
        run_name: what errors call the run it was mined in.

    Returns:
        The fingerprint of the collection with the labels. Raises InputError for labels that cannot
        be used, StoreError where the store no longer has the collection.
    """
    run = Context.of(engine)
    collection = find_tables(run, ingested)
    if collection is None:
        raise StoreError(
            f"{run.store.root}: the store no longer has the tables that were mined; mine them again"
        )
    read = read_labels(dataset)
    names = [f"{table} of {run_name}" for table in ("documents", "queries", "judgments")]
    labels = _checked(collection, read, [*names, str(dataset.labels)])
    version = fingerprint(version=VERSION, collection=ingested, labels=labels.sort(KEYS).rows())
    if find_tables(run, version) is None:
        note = note_of(collection.documents, CollectionNote)  # the files are the same
        store_tables(run, _with_labels(collection, labels, str(dataset.labels)), version, note)
    return version


def _checked(collection: CollectionRef, read: pl.DataFrame, names: list[str]) -> pl.DataFrame:
    """Check labels; what names a merged copy is of the document that stands for it."""
    judgments = load(collection.judgments)
    copies = dict(load(collection.copies).rows())
    labels = read.with_columns(pl.col("doc_id").replace(copies))
    named = pl.concat([labels["doc_id"], judgments["doc_id"]]).unique()
    documents = load(collection.documents).filter(pl.col("doc_id").is_in(named.implode()))
    return check_labels(labels, documents, load(collection.queries), judgments, names)


def _with_labels(
    collection: CollectionRef, labels: pl.DataFrame, source: str
) -> dict[str, pl.DataFrame]:
    tables: dict[str, pl.DataFrame] = {name: load(getattr(collection, name)) for name in SCHEMAS}
    tables["labels"] = add_labels(tables["labels"], labels, tables["judgments"], source)
    relevant = labels.filter(pl.col("relevance") > 0).select(KEYS)
    relevant = relevant.join(tables["judgments"], on=KEYS, how="anti")
    reasons = Closure.columns()["reason"].dtype
    closed = [
        tables["closure"],
        relevant.with_columns(reason=pl.lit("labelled").cast(reasons)),
        widen(relevant, tables["versions"]).with_columns(reason=pl.lit("same_group").cast(reasons)),
    ]
    tables["closure"] = pl.concat(closed).unique(KEYS, keep="first", maintain_order=True).sort(KEYS)
    return tables
