"""Sums a run up: the output folder's report, card and manifest, and artifacts for the UI."""

import importlib.metadata
import platform
import time
from functools import cache
from pathlib import Path
from typing import Any, get_args

import polars as pl

from polymine.data_contracts.notes import CollectionNote, DecisionsNote, ExportNote, ScoredNote
from polymine.data_contracts.references import CollectionRef, DatasetRef
from polymine.data_contracts.settings import (
    DatasetSettings,
    Format,
    MiningSettings,
    OutputSettings,
)
from polymine.reporting.mining.card import render_card
from polymine.reporting.mining.example import choose_example
from polymine.reporting.mining.figures import draw_figures
from polymine.reporting.mining.funnel import Step, Totals, build_funnel, count_given
from polymine.reporting.mining.notes import find_notes
from polymine.reporting.mining.page import MiningReport, render_page
from polymine.reporting.mining.summary import Summary, summarise
from polymine.reporting.mining.tables import Tables
from polymine.reporting.mining.turns import find_turns
from polymine.reporting.report import Note
from polymine.reporting.templates import say
from polymine.tasks.engine.context import Context
from polymine.tasks.engine.stage import step
from polymine.tasks.mining import export
from polymine.tasks.mining.export import Sources
from polymine.tasks.mining.pair_score_cache import look_up
from polymine.tasks.mining.primary import say_primary
from polymine.tasks.monitoring.artifacts import make_artifacts, publish
from polymine.tasks.monitoring.events import TRIPLETS, announce
from polymine.tasks.reporting.outcome import list_timings, show, sum_up
from polymine.tasks.reporting.risk import read_risk, write_to_label
from polymine.tasks.store.datasets import Store, load, manifest_of, note_of, scan, shard_paths

LIBRARIES = (
    "polymine", "torch", "sentence-transformers", "transformers", "faiss-cpu", "bm25s",
    "polars", "pyarrow", "prefect",
)  # fmt: skip


@step("report")
def report(
    run: Context,
    sources: Sources,
    exported: DatasetRef,
    stages: dict[str, DatasetRef],
    dataset: DatasetSettings,
    mining: MiningSettings,
    output: OutputSettings,
) -> dict[str, Any]:
    """Write the output folder and return what the command line shows."""
    began = time.monotonic()
    parts = {"dataset": dataset, "mining": mining, "output": output, "engine": run.engine}
    settings = show(**parts)
    name = Path(output.path).name
    made = compose(sources, exported, stages, mining, settings, name)
    rows = rows_of(sources, exported)
    card = render_card(made, rows, output.formats if made.example else ())
    pages = {"report.html": render_page(made), "README.md": card}
    if made.risk.promotion and made.risk.promotion.unknown:
        pages["to_label.csv"] = write_to_label(sources, made.risk.promotion.unknown, mining.seed)
    manifest = made.to_manifest()
    folder = export.publish(exported, sources, output, manifest, pages)
    publish(make_artifacts(made, draw_figures(made.summary, made.mining), str(folder)))
    announce(TRIPLETS, folder, made.headline, doubtful=bool(manifest["warnings"]))
    took = {"stage": "report", "seconds": round(time.monotonic() - began, 3)}
    summed = sum_up(made, folder)
    return {
        **summed,
        "recall": say("mining", "recall", (made.summary, made.primary)),
        "triplet": made.example,
        "funnel": manifest["funnel"],
        "timings": [*summed["timings"], took],
    }


def write_tables(
    run: Context,
    sources: Sources,
    exported: DatasetRef,
    stages: dict[str, DatasetRef],
    dataset: DatasetSettings,
    mining: MiningSettings,
    folder: Path,
) -> Path:
    """Write a run's tables and manifest, for what reads them next: no page, nothing in the UI."""
    output = OutputSettings(path=str(folder))
    settings = show(dataset=dataset, mining=mining, output=output, engine=run.engine)
    made = compose(sources, exported, stages, mining, settings, folder.name)
    return export.publish(exported, sources, output, made.to_manifest(), {})


def compose(
    sources: Sources,
    exported: DatasetRef,
    stages: dict[str, DatasetRef],
    mining: MiningSettings,
    settings: dict[str, Any],
    name: str,
) -> MiningReport:
    """Gather what the page, the card, the manifest and the artifacts show."""
    named, primary = name_stages(sources, exported, stages), say_primary(sources.choice, mining)
    mining = mining.with_primary(primary.teacher)
    tables = open_tables(sources, exported, mining, settings["engine"]["store"])
    summary = summarise(tables, mining)
    risk = read_risk(sources, scan_part(exported, "negatives"), summary.kept, mining)
    expected = say("mining", "expected_briefly", risk)
    funnel = count_funnel(sources, exported, summary, mining, expected)
    given = count_given(note_of(exported, ExportNote).given, mining)
    read = note_of(sources.collection.documents, CollectionNote)
    return MiningReport(
        title=name,
        headline=say("mining", "headline", summary),
        notes=(
            *find_notes(summary, funnel, given, mining),
            *(Note("remark", say("mining", "detected", *found)) for found in read.detected.items()),
        ),
        primary=primary,
        summary=summary,
        risk=risk,
        funnel=funnel,
        given=given,
        sources=read.sources,
        example=choose_example(tables),
        mining=mining,
        timings=list_timings(named),
        settings=settings,
        turns=find_turns(summary, risk, funnel, mining, settings["output"]["path"]),
        fingerprints={n: ref.fingerprint for n, ref in named.items()},
        versions=versions(),
    )


def open_tables(
    sources: Sources, exported: DatasetRef, mining: MiningSettings, store: str | None
) -> Tables:
    """Point at the run's tables without reading them."""
    parts = {name: scan_part(exported, name) for name in ("negatives", "triplets", "shortfalls")}
    return Tables(
        queries=scan(sources.collection.queries),
        documents=scan(sources.collection.documents),
        closure=scan(sources.collection.closure),
        given=scan(sources.collection.given),
        rejected=scan(sources.collection.rejected),
        positives=scan(sources.positives),
        risks=scan(sources.risks),
        evidence=pl.scan_parquet(
            [*shard_paths(sources.evidence), *shard_paths(sources.deep)], glob=False
        ),
        logits=load_positive_logits(sources, mining, store),
        teachers=tuple(teacher.name for teacher in mining.teachers),
        primary=mining.primary_teacher,
        **parts,
    )


def scan_part(exported: DatasetRef, name: str) -> pl.LazyFrame:
    """Read one of the tables of an export."""
    paths = [path for path in shard_paths(exported) if path.parent.name == name]
    return pl.scan_parquet(paths, glob=False)


def load_positive_logits(
    sources: Sources, mining: MiningSettings, store: str | None
) -> pl.DataFrame | None:
    """Look up the validator's lowest logit of each query's known positives."""
    if mining.validation is None:
        return None
    pairs = load(sources.positives).select("query_id", "doc_id")
    known = look_up(Store(store), mining.validation, sources.collection, pairs)
    return known.group_by("query_id").agg(lowest=pl.min("validator_score"))


def name_stages(
    sources: Sources, exported: DatasetRef, stages: dict[str, DatasetRef]
) -> dict[str, DatasetRef | CollectionRef]:
    """Put the stages of a run in order, by the names people see."""
    named: dict[str, DatasetRef | CollectionRef] = {"ingest": sources.collection}
    for key, reference in stages.items():
        teacher, _, what = key.partition("/")
        verb = {"index": "index", "rank": "rank"}.get(what, "embed")
        suffix = f" {what}" if verb == "embed" else ""
        named[f"{verb} {teacher}{suffix}"] = reference
    named |= {"positives": sources.positives, "evidence": sources.evidence}
    if sources.choice:
        named["choose teacher"] = sources.choice
    named |= {"fit risk": sources.model, "deepen": sources.deep, "predict risk": sources.risks}
    if sources.promotions:
        named["promote"] = sources.promotions
    named["select"] = sources.decisions
    if sources.scored:
        named["validate"] = sources.scored
    return {**named, "export": exported}


def count_funnel(
    sources: Sources,
    exported: DatasetRef,
    summary: Summary,
    mining: MiningSettings,
    expected: str,
) -> tuple[Step, ...]:
    """Count what went in, what was refused for which reason, and what came out."""
    exports, tables = note_of(exported, ExportNote), sources.collection
    pairs = note_of(sources.scored, ScoredNote) if sources.scored else None
    scored_now = (
        pairs.pairs_scored_now if pairs and sources.scored and not sources.scored.reused else 0
    )
    totals = Totals(
        documents=tables.documents.rows,
        copies=tables.copies.rows,
        rejected=tables.rejected.rows,
        queries=tables.queries.rows,
        candidates=note_of(sources.decisions, DecisionsNote).candidates,
        deep=sources.deep.rows,
        unanswered_candidates=summary.unanswered_candidates,
        reasons=[(verdict, str(why), n) for verdict, why, n in exports.reasons],
        validated=pairs.pairs if pairs else None,
        validated_now=scored_now,
        triplets=exports.triplets,
        shortfalls=exports.shortfalls,
        expected=expected,
    )
    return build_funnel(totals, mining)


def rows_of(sources: Sources, exported: DatasetRef) -> dict[str, int]:
    """Count the rows of every folder of tables that `publish` writes, triplets first.

    Files for other trainers are no tables, though NeMo's corpus lies there as one.
    """
    counts: dict[str, int] = {"triplets": 0, "negatives": 0}
    manifest = manifest_of(exported)
    for shard in manifest.shards if manifest else ():
        folder, _, _ = shard.name.partition("/")
        if folder not in get_args(Format):
            counts[folder] = counts.get(folder, 0) + shard.rows
    counts["evidence"] = sources.evidence.rows + sources.deep.rows
    counts["risks"] = sources.risks.rows
    counts["positives"] = sources.positives.rows
    if sources.collection.rejected.rows:
        counts["rejected"] = sources.collection.rejected.rows
    return counts


@cache
def versions() -> dict[str, str]:
    """Name the versions a result depends on."""
    found = {name: importlib.metadata.version(name) for name in LIBRARIES}
    return {"python": platform.python_version(), **found}
