"""Sums a run up: the output folder's report and manifest, and artifacts for the UI."""

import importlib.metadata
import platform
from typing import Any

import polars as pl

from data_contracts.references import CollectionRef, DatasetRef
from data_contracts.settings import (
    DatasetSettings,
    EngineSettings,
    MiningSettings,
    OutputSettings,
)
from tasks.export import Sources, publish
from tasks.store import info_of, shard_paths

LIBRARIES = (
    "polymine", "torch", "sentence-transformers", "transformers", "faiss-cpu", "bm25s",
    "polars", "pyarrow", "prefect",
)  # fmt: skip


def report(
    sources: Sources,
    exported: DatasetRef,
    stages: dict[str, DatasetRef],
    dataset: DatasetSettings,
    mining: MiningSettings,
    output: OutputSettings,
    engine: EngineSettings,
) -> dict[str, Any]:
    """Write the output folder and return what the command line shows."""
    named = name_stages(sources, exported, stages)
    funnel = count_funnel(sources, exported)
    manifest = {
        "settings": {
            "dataset": dataset.model_dump(mode="json"),
            "mining": mining.model_dump(mode="json"),
            "output": output.model_dump(mode="json"),
            "engine": engine.model_dump(mode="json"),
        },
        "funnel": funnel,
        "fingerprints": {name: ref.fingerprint for name, ref in named.items()},
        "timings": [{"stage": n, "seconds": round(r.seconds, 3)} for n, r in named.items()],
        "reused": [name for name, ref in named.items() if ref.reused],
        "versions": versions(),
    }
    place = publish(exported, sources, output, manifest, {"report.html": "<html></html>"})
    return {
        "output": str(place),
        "report": str(place / "report.html"),
        "triplet": first_triplet(exported),
        "funnel": funnel,
        "reused": manifest["reused"],
        "timings": manifest["timings"],
    }


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
    named |= {"deepen": sources.deep, "select": sources.decisions}
    if sources.verdicts:
        named["validate"] = sources.verdicts
    return {**named, "export": exported}


def count_funnel(sources: Sources, exported: DatasetRef) -> list[dict[str, Any]]:
    """Count what went in, what was refused for which reason, and what came out."""
    info, chosen = info_of(exported), info_of(sources.decisions)
    steps = [
        ("documents", sources.collection.documents.rows, ""),
        ("copies merged", sources.collection.copies.rows, "equal texts become one document"),
        ("rows rejected", sources.collection.rejected.rows, "broke a contract"),
        ("queries", sources.collection.queries.rows, ""),
        ("candidates", int(chosen["candidates"]), f"{sources.deep.rows:,} from below the ceiling"),
    ]
    for verdict, reason, count in info["reasons"]:
        name = "kept" if verdict == "negative" else verdict
        steps.append((name, int(count), "" if verdict == "negative" else str(reason)))
    if sources.verdicts:
        pairs = info_of(sources.verdicts)
        note = f"{pairs['pairs_scored_now']:,} of them scored in this run"
        steps.append(("pairs validated", int(pairs["pairs"]), note))
    steps.append(("triplets", int(info["triplets"]), ""))
    steps.append(("shortfalls", int(info["shortfalls"]), "queries with fewer than wanted"))
    return [{"step": step, "count": count, "note": note} for step, count, note in steps]


def first_triplet(exported: DatasetRef) -> dict[str, Any]:
    """Return one triplet in full, or nothing if there is none."""
    paths = [path for path in shard_paths(exported) if path.parent.name == "triplets"]
    row = pl.scan_parquet(paths).head(1).collect()
    return row.row(0, named=True) if len(row) else {}


def versions() -> dict[str, str]:
    """Name the versions a result depends on."""
    found = {name: importlib.metadata.version(name) for name in LIBRARIES}
    return {"python": platform.python_version(), **found}
