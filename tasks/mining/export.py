"""Writes a run's output folder: beside its place, whole, and then moved there in one step."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl

from polymine.data_contracts.references import CollectionRef, DatasetRef, fingerprint
from polymine.data_contracts.settings import MiningSettings, OutputSettings
from polymine.data_contracts.tables import (
    DocumentHashes,
    Negatives,
    Promoted,
    QueryHashes,
    Shortfalls,
    Triplets,
)
from polymine.mining.export import (
    build_negatives,
    build_promoted,
    build_triplets,
    build_view,
    describe_searched,
    find_shortfalls,
)
from polymine.mining.hashing import hash_texts
from polymine.tasks.engine.progress import track
from polymine.tasks.engine.stages import stage
from polymine.tasks.mining.trainer_formats import TrainerFiles
from polymine.tasks.store.atomic import staged
from polymine.tasks.store.datasets import (
    RUN,
    Dataset,
    Store,
    check,
    info_of,
    load,
    open_folder,
    scan,
    shard_name,
    shard_paths,
    write_frame,
)
from polymine.tasks.store.output import check_place, copy_file, write_folder_manifest
from polymine.tasks.store.references import noted_output

VERSION = 4
QUERIES_PER_FILE = 16_384  # fixed: output files are the same whatever shards a run was cut into


@dataclass(frozen=True)
class Sources:
    """The datasets an output is made of."""

    collection: CollectionRef
    evidence: DatasetRef
    deep: DatasetRef
    positives: DatasetRef
    risks: DatasetRef
    model: DatasetRef
    decisions: DatasetRef
    verdicts: DatasetRef | None
    looks: DatasetRef | None

    @property
    def scored(self) -> DatasetRef | None:
        """What the validator said, under whichever rule."""
        return self.verdicts or self.looks


@stage("export")
def export(
    sources: Sources, mining: MiningSettings, output: OutputSettings, root: str
) -> DatasetRef:
    """Build triplets, the master of negatives, shortfalls, training views and trainers' files."""
    version = fingerprint(
        version=VERSION,
        decisions=sources.decisions.fingerprint,
        verdicts=sources.verdicts.fingerprint if sources.verdicts else None,
        collection=sources.collection.fingerprint,
        negatives=mining.negatives,
        views=output.views,
        formats=output.formats,
    )
    dataset = Store(root).dataset("exports", version)
    if found := dataset.find():
        return found
    writer = _Writer(dataset, sources, mining, output)
    blocks = track(writer.blocks(), "export", sources.collection.queries.rows, "queries")
    for number, block in enumerate(blocks):
        writer.write_block(number, block)
    return writer.commit()


class _Writer:
    """Writes the tables block by block of queries and counts the funnel on the way."""

    def __init__(
        self, dataset: Dataset, sources: Sources, mining: MiningSettings, output: OutputSettings
    ) -> None:
        self._dataset, self._sources, self._mining = dataset, sources, mining
        self._views = [view for view in output.views if view != "triplet"]
        self._formats = [
            TrainerFiles(dataset.folder / form, form, dataset.fingerprint)
            for form in output.formats
        ]
        self._queries = load(sources.collection.queries)
        self._documents = load(sources.collection.documents)
        self._positives = load(sources.positives).select(
            "query_id", "doc_id", score=f"score_{mining.primary_teacher}"
        )
        self._reasons: list[pl.DataFrame] = []
        self._counts = {"triplets": 0, "shortfalls": 0, "queries": len(self._queries)}

    def blocks(self) -> Iterator[pl.DataFrame]:
        """Cut the queries."""
        return self._queries.iter_slices(QUERIES_PER_FILE)

    def write_block(self, number: int, block: pl.DataFrame) -> None:
        """Write all tables for some queries."""
        wanted = self._mining.negatives
        ids = block.select("query_id")
        decisions = _of(self._sources.decisions, block)
        survivors = decisions.filter(pl.col("order").is_not_null()).drop("reason")
        decided = decisions.drop("order")
        verdicts = _of(self._sources.verdicts, block) if self._sources.verdicts else None
        positives = self._positives.join(ids, on="query_id", how="semi")
        negatives = build_negatives(decided, survivors, verdicts, wanted)
        by_risk = self._mining.selection.rule == "risk"
        promoted = build_promoted(negatives)
        triplets = build_triplets(
            negatives, positives, block, self._documents, promoted, weighted=by_risk
        )
        shortfalls = find_shortfalls(
            block, positives, survivors, negatives, wanted, describe_searched(self._mining)
        )
        name = shard_name(number)
        self._dataset.write(f"negatives/{name}", negatives, Negatives)
        self._dataset.write(f"triplets/{name}", triplets, Triplets)
        self._dataset.write(f"shortfalls/{name}", shortfalls, Shortfalls)
        self._dataset.write(f"promoted/{name}", promoted, Promoted)
        for view in self._views:
            shaped = build_view(triplets, view, wanted)
            write_frame(shaped, self._dataset.folder / view / name)
        for files in self._formats:
            files.write_block(number, triplets)
        self._reasons.append(negatives.group_by("verdict", "reason").len())
        self._counts["triplets"] += len(triplets)
        self._counts["shortfalls"] += len(shortfalls)

    def commit(self) -> DatasetRef:
        """Finish the dataset with the counts of every verdict and reason."""
        reasons = pl.concat(self._reasons).group_by("verdict", "reason").agg(pl.sum("len"))
        rows = reasons.sort("verdict", "len", "reason", descending=[False, True, False])
        info: dict[str, Any] = {**self._counts, "reasons": rows.rows()}
        return self._dataset.commit(info=info)


def _of(reference: DatasetRef, block: pl.DataFrame) -> pl.DataFrame:
    """Read the rows of a block of queries; ids are sorted, so a range says which."""
    first, last = block["query_id"][0], block["query_id"][-1]
    return (
        scan(reference).filter(pl.col("query_id").is_between(pl.lit(first), pl.lit(last))).collect()
    )


def publish(
    exported: DatasetRef,
    sources: Sources,
    output: OutputSettings,
    manifest: dict[str, Any],
    pages: dict[str, str],
) -> Path:
    """Put the output folder into its place, whole.

    Args:
        exported: what `export` made.
        manifest: content of `manifest.json` apart from the files.
        pages: further files to write, name to content, as `report.html`.

    Raises StoreError when the place holds another run and `output.overwrite` is off.
    """
    place = Path(output.path).expanduser().absolute()
    check_place(output, exported.fingerprint)
    with noted_output(place, exported.fingerprint), staged(place) as beside:
        made = open_folder(exported.path)
        for path in shard_paths(exported):
            copy_file(path, beside / path.relative_to(made))
        tables = {"evidence": (sources.evidence, sources.deep), "risks": (sources.risks,)}
        parts = [(name, reference) for name, of in tables.items() for reference in of]
        for name, reference in parts:
            for path in shard_paths(reference):
                part = f"part-{len(list((beside / name).glob('*'))):05d}{path.suffix}"
                copy_file(path, beside / name / part)
        copy_file(shard_paths(sources.model)[0], beside / "risk.json")
        copy_file(shard_paths(sources.positives)[0], beside / "positives" / shard_name(0))
        for name, table in hash_tables(sources.collection).items():
            write_frame(table, beside / name / shard_name(0))
        if sources.collection.rejected.rows:
            copy_file(
                shard_paths(sources.collection.rejected)[0], beside / "rejected" / shard_name(0)
            )
        for name, content in pages.items():
            (beside / name).write_text(content, encoding="utf-8")
        rows = int(info_of(exported)["triplets"])
        write_folder_manifest(beside, RUN, exported.fingerprint, rows, manifest)
        check_place(output, exported.fingerprint)  # again: copying may have taken minutes
    return place


def hash_tables(collection: CollectionRef) -> dict[str, pl.DataFrame]:
    """Say which queries and documents there are, and which texts they have.

    `polymine diff` tells by it what is new, gone or edited when the store has long been emptied.
    """
    queries, documents = load(collection.queries), load(collection.documents)
    copies = load(collection.copies).with_columns(text_hash=pl.lit(None, pl.UInt64))
    hashed = documents.select(
        "doc_id",
        text_hash=pl.Series(hash_texts(documents["text"])),
        kept_id=pl.lit(None, pl.String),
    )
    known = pl.concat([hashed, copies.select(hashed.columns)])
    asked = queries.select("query_id", text_hash=pl.Series(hash_texts(queries["text"])))
    return {
        "query_hashes": check(asked, QueryHashes, "query_hashes"),
        "document_hashes": check(known, DocumentHashes, "document_hashes"),
    }
