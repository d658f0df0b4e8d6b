"""Writes the tables of a run, and its output folder: under another name until it is whole."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import polars as pl

from polymine.data_contracts.notes import ExportNote
from polymine.data_contracts.references import CollectionRef, DatasetRef
from polymine.data_contracts.settings import MiningSettings, OutputSettings
from polymine.data_contracts.tables import (
    Closure,
    DocumentHashes,
    Doubtful,
    GivenVerdicts,
    Logits,
    Negatives,
    Promoted,
    QueryHashes,
    Shortfalls,
    Triplets,
)
from polymine.mining.export import (
    build_given,
    build_negatives,
    build_promoted,
    build_triplets,
    build_view,
    close_promoted,
    describe_searched,
    find_near,
    find_shortfalls,
    judge_positives,
)
from polymine.mining.hashing import hash_texts
from polymine.tasks.engine.context import Context
from polymine.tasks.engine.plan import Maker, Plan, cut
from polymine.tasks.engine.stage import stage
from polymine.tasks.mining.pair_score_cache import PairScoreCache
from polymine.tasks.mining.risk import Assessed
from polymine.tasks.mining.trainer_formats import TrainerFiles
from polymine.tasks.store.atomic import write_frame
from polymine.tasks.store.datasets import (
    Dataset,
    check,
    load,
    note_of,
    open_folder,
    scan,
    shard_name,
    shard_paths,
)
from polymine.tasks.store.manifests import RUN
from polymine.tasks.store.output import publish_folder

VERSION = 9
QUERIES_PER_FILE = 16_384  # fixed: output files are the same whatever shards a run was cut into


@dataclass(frozen=True)
class Sources(Assessed):
    """The datasets an output is made of.

    Args:
        promotions: what is precise enough to be a positive, under the rule `risk`.
        verdicts: the validator's, under the rules that ask it about survivors.
        validator: its evidence, under the rule `risk`.
        decisions_before: what the rule `risk` decided before it had that evidence.
        choice: the primary teacher, where recall chose it.
    """

    model: DatasetRef
    decisions: DatasetRef
    promotions: DatasetRef | None = None
    verdicts: DatasetRef | None = None
    validator: DatasetRef | None = None
    decisions_before: DatasetRef | None = None
    choice: DatasetRef | None = None

    @property
    def scored(self) -> DatasetRef | None:
        """What the validator said, under whichever rule."""
        return self.verdicts or self.validator


@stage("export")
def export(run: Context, sources: Sources, mining: MiningSettings, output: OutputSettings) -> Plan:
    """Build triplets, the master of negatives, shortfalls, training views and trainers' files."""
    return Plan(
        contract="exports",
        depends={
            "version": VERSION,
            "decisions": sources.decisions,
            "promotions": sources.promotions,
            "verdicts": sources.verdicts,
            "collection": sources.collection,
            "positives": sources.positives,
            "doubtful": mining.positives,
            "seed": mining.seed,
            "negatives": mining.negatives,
            "views": output.views,
            "formats": output.formats,
            **({"logits": sources.scored} if sources.scored else {}),
        },
        # Fixed blocks: output files are the same whatever shards a run was cut into.
        blocks=cut(sources.collection.queries.rows, QUERIES_PER_FILE),
        unit="queries",
        open=lambda _: Maker(_Writer(run, sources, mining, output).make),
        resumable=False,  # a block is many files: tables, views, what other trainers read
        note=partial(_count, sources.collection.queries.rows),
    )


class _Writer:
    """Writes the tables of a block of queries."""

    def __init__(
        self, run: Context, sources: Sources, mining: MiningSettings, output: OutputSettings
    ) -> None:
        self._sources, self._mining = sources, mining
        self._views = [view for view in output.views if view != "triplet"]
        self._formats = output.formats
        self._queries = load(sources.collection.queries)
        self._documents = load(sources.collection.documents)
        self._positives = load(sources.positives).select(
            "query_id", "doc_id", "validity", "validator_score",
            score=f"score_{mining.primary_teacher}",
        )  # fmt: skip
        self._logits = self._read_logits(run)

    def make(self, number: int, *_: object) -> Callable[[Dataset], None]:
        """Give what writes all tables for some queries."""
        return partial(self._write, number)

    def _write(self, number: int, dataset: Dataset) -> None:
        block = self._queries.slice(number * QUERIES_PER_FILE, QUERIES_PER_FILE)
        wanted, sources = self._mining.negatives, self._sources
        decisions = _of(sources.decisions, block)
        survivors = decisions.filter(pl.col("order").is_not_null()).drop("reason")
        verdicts = _of(sources.verdicts, block) if sources.verdicts else None
        positives = self._positives.join(block, on="query_id", how="semi")
        negatives = build_negatives(decisions.drop("order"), survivors, verdicts, wanted)
        by_risk = self._mining.selection.rule == "risk"
        listed = _of(sources.promotions, block) if sources.promotions else None
        promoted = build_promoted(negatives, listed)
        trained, doubtful = judge_positives(positives, self._near(block), self._mining.positives)
        triplets = build_triplets(
            negatives, trained, block, self._documents, promoted, weighted=by_risk,
            most=self._mining.positives.per_query, seed=self._mining.seed,
        )  # fmt: skip
        searched = describe_searched(self._mining)
        kept = pl.concat([each.select("query_id") for each in (trained, promoted)])
        doubted = doubtful.join(kept, on="query_id", how="anti")
        shortfalls = find_shortfalls(
            block, positives, survivors, negatives, wanted, searched, doubted
        )
        name = shard_name(number)
        for view in self._views:
            write_frame(build_view(triplets, view, wanted), dataset.folder / view / name)
        for form in self._formats:
            files = TrainerFiles(dataset.folder / form, form, dataset.fingerprint)
            files.write_block(number, triplets)
        dataset.write(f"shortfalls/{name}", shortfalls, Shortfalls)
        closure = close_promoted(_of(sources.collection.closure, block), listed)
        dataset.write(f"closure/{name}", closure, Closure)
        dataset.write(f"promoted/{name}", promoted, Promoted)
        if self._logits is not None:
            said = self._logits.join(block, on="query_id", how="semi", maintain_order="left")
            dataset.write(f"logits/{name}", said, Logits)
        if self._mining.positives.doubtful == "review":
            asked = block.select("query_id", anchor="text")
            read = self._documents.select("doc_id", positive="text")
            texts = doubtful.join(asked, on="query_id").join(read, on="doc_id")
            listed = texts.select(Doubtful.column_names()).sort("query_id", "doc_id")
            dataset.write(f"doubtful/{name}", listed, Doubtful)
        dataset.write(f"triplets/{name}", triplets, Triplets)
        dataset.write(f"negatives/{name}", negatives, Negatives)
        if sources.collection.given.rows:
            given, risks = _of(sources.collection.given, block), _of(sources.risks, block)
            verdicts_of_given = build_given(given, negatives, risks, positives)
            dataset.write(f"given/{name}", verdicts_of_given, GivenVerdicts)

    def _near(self, block: pl.DataFrame) -> pl.DataFrame:
        """Known positives that some teacher ranks near enough, if the settings ask for it."""
        if self._mining.positives.within is None:
            return self._positives.clear()
        evidence = _of(self._sources.evidence, block)
        return find_near(evidence, self._positives, self._documents, self._mining)

    def _read_logits(self, run: Context) -> pl.DataFrame | None:
        """What the validator said of the candidates that it read, and of their queries' positives.

        These were asked with the candidates: the cache has them, or asks again where it was lost.
        """
        sources, settings = self._sources, self._mining.validation
        if sources.scored is None or settings is None:
            return None
        read = load(sources.scored).select("query_id", "doc_id", "validator_score")
        known = self._positives.select("query_id", "doc_id").join(read, on="query_id", how="semi")
        logits = PairScoreCache(run, sources.collection, settings).score(known, "known positives")
        told = known.with_columns(validator_score=pl.Series(logits))
        both = pl.concat([read, told]).unique(["query_id", "doc_id"])
        return both.sort("query_id", "doc_id")


def _count(queries: int, dataset: Dataset) -> ExportNote:
    """Count every verdict and reason in what was written."""

    def scan_table(name: str) -> pl.LazyFrame:
        return pl.scan_parquet(sorted((dataset.folder / name).glob("*.parquet")), glob=False)

    def count_reasons(name: str) -> tuple[tuple[Any, ...], ...]:
        counted = scan_table(name).group_by("verdict", "reason").len().collect()
        rows = counted.sort("verdict", "len", "reason", descending=[False, True, False])
        return tuple(rows.iter_rows())

    triplets, shortfalls = (
        scan_table(name).select(pl.len()).collect().item() for name in ("triplets", "shortfalls")
    )
    return ExportNote(
        queries=queries, triplets=triplets, shortfalls=shortfalls,
        reasons=count_reasons("negatives"),
        given=count_reasons("given") if (dataset.folder / "given").is_dir() else (),
    )  # fmt: skip


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
    """Put the output folder where it belongs, whole.

    Args:
        exported: what `export` made.
        manifest: content of `manifest.json` apart from the files.
        pages: further files to write, name to content, as `report.html`.

    Raises StoreError when the folder holds another run and `output.overwrite` is off.
    """
    made, collection = open_folder(exported.path), sources.collection
    files: dict[str, Path | str | pl.DataFrame] = {
        path.relative_to(made).as_posix(): path for path in shard_paths(exported)
    }
    tables = {
        "evidence": [*shard_paths(sources.evidence), *shard_paths(sources.deep)],
        "risks": shard_paths(sources.risks),
        "positives": shard_paths(sources.positives),
        "rejected": shard_paths(collection.rejected) if collection.rejected.rows else [],
    }
    for name, paths in tables.items():
        files |= {f"{name}/{shard_name(number)}": path for number, path in enumerate(paths)}
    files["risk.json"] = shard_paths(sources.model)[0]
    for name, table in hash_tables(collection).items():
        files[f"{name}/{shard_name(0)}"] = table
    return publish_folder(
        output, {**files, **pages}, manifest, kind=RUN, run=exported.fingerprint,
        rows=note_of(exported, ExportNote).triplets,
    )  # fmt: skip


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
