"""One side of `benchmarks.speed.mining`: Polymine, or sentence-transformers' `mine_hard_negatives`.

Run as `python -m benchmarks.speed.mining_sides JOB`. `work_s` is the mining itself, model loading
included; imports and start-up stand beside it.
"""

import json
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any

BEGAN = time.monotonic()


def run_polymine(job: dict[str, Any]) -> dict[str, Any]:
    """Run the flow as `polymine run` does: with a server, tasks, report and artifacts."""
    from polymine.commands.running import ready_flow, run_flow
    from polymine.data_contracts.settings import RunSettings

    settings = RunSettings.model_validate(job["settings"])
    with ready_flow("mine") as (server, flow):
        import sentence_transformers  # noqa: F401 (the baseline imports it before its clock starts)

        ready = time.monotonic()
        summary = run_flow(flow, settings, server)
        flow_s = time.monotonic() - ready
    stages = {timing["stage"]: timing["seconds"] for timing in summary["timings"]}
    found = {step["step"]: step["count"] for step in summary["funnel"]}
    return {
        "startup_s": round(ready - BEGAN, 2),
        "work_s": round(sum(stages.values()), 3),
        "flow_s": round(flow_s, 3),
        "stages_s": stages,
        "reused": summary["reused"],
        "queries_short": found["shortfalls"],
        "short_named": found["shortfalls"],
        "triplets": found["triplets"],
    }


def run_baseline(job: dict[str, Any]) -> dict[str, Any]:
    """Call `mine_hard_negatives` as its documentation shows it."""
    import polars as pl
    import torch
    from datasets import Dataset
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.util import mine_hard_negatives

    from polymine import models

    folder = Path(job["folder"])
    queries = pl.read_parquet(folder / "queries.parquet")
    documents = pl.read_parquet(folder / "corpus.parquet")
    pairs = (
        pl.read_parquet(folder / "qrels.parquet")
        .join(queries.select("query_id", anchor="text"), on="query_id")
        .join(documents.select("doc_id", positive="text"), on="doc_id")
    )
    imported = time.monotonic()
    dtype = {"dtype": getattr(torch, job.get("dtype", "float32"))}
    model = SentenceTransformer(models.resolve(job["model"]).location, model_kwargs=dtype)
    validator = None
    if job.get("validator"):
        validator = models.load_cross_encoder(job["validator"], device="cpu", dtype="float32")
    mined = mine_hard_negatives(
        Dataset.from_dict(pairs.select("anchor", "positive").to_dict(as_series=False)),
        model,
        corpus=documents["text"].to_list(),
        cross_encoder=validator,
        num_negatives=job["negatives"],
        relative_margin=None if validator else job["margin"],
        absolute_margin=job["margin"] if validator else None,
        cache_folder=job.get("cache"),
        verbose=False,
    )
    work = time.monotonic() - imported
    counts = Counter(mined["anchor"])
    asked = set(pairs["anchor"])
    return {
        "startup_s": round(imported - BEGAN, 2),
        "work_s": round(work, 3),
        "queries_short": sum(counts[query] < job["negatives"] for query in asked),
        "short_named": 0,
        "triplets": len(mined),
    }


if __name__ == "__main__":
    request = json.loads(sys.argv[1])
    side = run_polymine if request["side"] == "polymine" else run_baseline
    print(json.dumps(side(request)), flush=True)
