"""Compares two runs by their folders alone: the store may be gone."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import polars as pl

from polymine.data_contracts.errors import InputError
from polymine.data_contracts.tables import DocumentHashes, QueryHashes
from polymine.mining.diff import KEYS, RunTables, compare
from polymine.mining.selection import compute_ceilings
from polymine.reporting.formatting import format_rate, format_score
from polymine.reporting.runs.diff import RunDiff, compare_stages, differences
from polymine.tasks.runs.run import FinishedRun, hint_nearest
from polymine.tasks.store.atomic import staged_new, write_bytes, write_frame


def diff_runs(before: FinishedRun, after: FinishedRun, query_id: str | None = None) -> RunDiff:
    """Compare two runs, or what they did for one query.

    Raises StoreError when one is damaged or was written by an earlier version, InputError for a
    query that neither has.
    """
    tables = [_read(run, query_id) for run in (before, after)]
    if query_id is not None and not any(len(run.queries) for run in tables):
        raise InputError(f"{query_id}: a query of neither run{hint_nearest(query_id, after.ids())}")
    changes = compare(*tables)
    negatives = tables[0].negatives.filter(pl.col("verdict") == "negative")
    old, new = before.info, after.info
    return RunDiff(
        before=before.name,
        after=after.name,
        changes=changes,
        settings=differences(_decisive(old), _decisive(new)),
        stages=compare_stages(old.get("fingerprints", {}), new.get("fingerprints", {})),
        reused=list(new.get("reused", [])),
        versions=differences(old.get("versions", {}), new.get("versions", {})),
        choices=(_choice(old), _choice(new)),
        figures=differences(_figures(before), _figures(after)),
        kept=len(negatives) - len(changes.filter(pl.col("change") != "came")),
        triplets=(before.scan("triplets"), after.scan("triplets")),
    )


def write_diff(diff: RunDiff, target: Path) -> None:
    """Write the changes as a table and the summary as JSON into a new folder."""
    with staged_new(target) as beside:
        write_frame(diff.changes, beside / "changes.parquet")
        summary = json.dumps(diff.to_dict(limit=0), ensure_ascii=False, indent=1)
        write_bytes(beside / "summary.json", summary.encode())


def _read(run: FinishedRun, query_id: str | None) -> RunTables:
    score = f"score_{run.mining.primary_teacher}"
    positives = run.read("positives", query_id).select(*KEYS, score=score)
    ceilings = compute_ceilings(positives.drop("doc_id"), run.mining.selection)
    evidence = run.scan("evidence", query_id).select(*KEYS, "rank", score=score)
    return RunTables(
        queries=QueryHashes.cast(run.read("query_hashes", query_id)),
        documents=DocumentHashes.cast(run.read("document_hashes")),
        negatives=run.read("negatives", query_id),
        positives=positives.select(KEYS),
        ceilings=ceilings.select("query_id", "ceiling"),
        evidence=evidence.join(run.scan("risks", query_id), on=KEYS, how="left"),
    )


def _decisive(info: Mapping[str, Any]) -> dict[str, Any]:
    """The settings that decide a result."""
    return {part: info["settings"].get(part) for part in ("dataset", "mining")}


def _choice(info: Mapping[str, Any]) -> dict[str, float] | None:
    return (info.get("risk") or {}).get("choice")


def _figures(run: FinishedRun) -> dict[str, Any]:
    """What a run gave, by the words it is told with."""
    risk = run.info.get("risk") or {}
    rate, interval = risk.get("expected_rate"), risk.get("interval")
    between = f" ({' – '.join(map(format_rate, interval))})" if interval else ""
    return {
        "primary teacher": run.mining.primary_teacher,
        "triplets": f"{run.count('triplets'):,}",
        "queries short of negatives": f"{run.count('shortfalls'):,}",
        "promoted": f"{run.count('promoted'):,}",
        "expected false negatives": None if rate is None else f"{format_rate(rate)}{between}",
        "mean score of the negatives": format_score(risk.get("hardness")),
    }
