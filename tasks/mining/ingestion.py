"""Reads the user's files, checks and closes them, and stores clean tables."""

import logging
from collections.abc import Mapping
from dataclasses import replace

import polars as pl

from polymine.data_contracts.notes import CollectionNote
from polymine.data_contracts.references import CollectionRef, DatasetRef, fingerprint
from polymine.data_contracts.settings import DatasetSettings
from polymine.data_contracts.tables import (
    Closure,
    Copies,
    Documents,
    Given,
    Judgments,
    Labels,
    Queries,
    Rejected,
    Versions,
)
from polymine.mining.ingestion import ingest as ingest_tables
from polymine.reporting.templates import say
from polymine.tasks.engine.context import Context
from polymine.tasks.engine.stage import step
from polymine.tasks.sources.reading import fingerprint_sources, read_sources
from polymine.tasks.store.datasets import manifest_of

VERSION = 6
SCHEMAS = {
    "documents": Documents,
    "queries": Queries,
    "judgments": Judgments,
    "labels": Labels,
    "closure": Closure,
    "copies": Copies,
    "rejected": Rejected,
    "given": Given,
    "versions": Versions,
}
logger = logging.getLogger("polymine.ingest")


@step("ingest")
def ingest(run: Context, settings: DatasetSettings) -> CollectionRef:
    """Read, check, merge and close the data set."""
    version = fingerprint(
        version=VERSION,
        sources=fingerprint_sources(settings),
        near_copy=settings.near_copy,
        on_invalid=settings.on_invalid,
    )
    if found := find_tables(run, version):
        return found
    raw = read_sources(settings)
    if len(raw.splits) > 1:
        logger.warning(
            "judgments of %s are mined together: what is for testing is then trained on; `split = "
            '"train"` takes one of them',
            " and ".join(raw.splits),
        )
    clean = ingest_tables(
        raw.documents,
        raw.queries,
        raw.judgments,
        raw.labels,
        raw.given,
        near_copy=settings.near_copy,
        on_invalid=settings.on_invalid,
        names=raw.names,
    )
    tables: dict[str, pl.DataFrame] = {name: getattr(clean, name) for name in SCHEMAS}
    tables["rejected"] = pl.concat([raw.rows_rejected, clean.rejected])
    place = run.aside or run  # a plan reads, and leaves nothing behind
    for role, counts in raw.detected.items():
        logger.info("%s", say("mining", "detected", role, counts))
    note = CollectionNote(sources=raw.understood, detected=raw.detected)
    made = store_tables(place, tables, version, note)
    if raw.labels is not None and len(raw.labels) > made.labels.rows:
        logger.warning(
            "labels: %s rows, of which %s with judgments of 0 are used; the others were rejected, "
            "repeat each other, or name pairs that the judgments decide already",
            f"{len(raw.labels):,}", f"{made.labels.rows:,}",
        )  # fmt: skip
    known = tables["closure"].filter(pl.col("reason").cast(pl.String) == "positive").height
    logger.info(
        "%s documents (%s copies merged), %s queries, %s known pairs, %s more that may be no "
        "negatives (copies, versions, labels), %s rows rejected",
        *(f"{getattr(made, name).rows:,}" for name in ("documents", "copies", "queries")),
        f"{known:,}", f"{made.closure.rows - known:,}", f"{made.rejected.rows:,}",
    )  # fmt: skip
    return made


def find_tables(run: Context, version: str) -> CollectionRef | None:
    """Find a collection that was ingested before, if all its tables are there."""
    tables = {name: run.store.ingested(name, version) for name in SCHEMAS}
    found = {name: each.peek() if run.dry else each.find() for name, each in tables.items()}
    whole = {name: reference for name, reference in found.items() if reference}
    if len(whole) < len(SCHEMAS):
        return None
    return replace(collect_tables(whole, version), reused=True)


def store_tables(
    run: Context,
    tables: Mapping[str, pl.DataFrame],
    version: str,
    note: CollectionNote | None = None,
) -> CollectionRef:
    """Store the clean tables of a collection under a fingerprint; the documents hold the note."""
    info = (note or CollectionNote()).model_dump(mode="json")
    made = {
        name: run.store.ingested(name, version).write_single(
            tables[name], schema, info=info if name == "documents" else None
        )
        for name, schema in SCHEMAS.items()
    }
    return collect_tables(made, version)


def collect_tables(tables: dict[str, DatasetRef], version: str) -> CollectionRef:
    """Put the references of a collection's tables together."""
    return CollectionRef(
        _by_content(tables["documents"]),
        _by_content(tables["queries"]),
        tables["judgments"],
        tables["labels"],
        tables["closure"],
        tables["copies"],
        tables["rejected"],
        tables["given"],
        tables["versions"],
        version,
    )


def _by_content(table: DatasetRef) -> DatasetRef:
    """Fingerprint a table by its rows, so that what follows from them alone is reused.

    A new judgment or another threshold for near-copies makes other tables beside it, and need not
    rank the same documents for the same queries again.
    """
    manifest = manifest_of(table)
    checksums = [shard.checksum for shard in manifest.shards] if manifest else [table.fingerprint]
    return replace(table, fingerprint=fingerprint(table=table.contract, content=checksums))
