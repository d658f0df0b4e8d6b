"""What `benchmarks.speed.throughput` works on: the same rows, batches and texts for both sides."""

import argparse
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

NEGATIVES = 2
RANK, ALPHA, SEED = 16, 32, 0
RATE, WEIGHT_DECAY, WARMUP, DECAY = 2e-4, 0.01, 0.1, "cosine"


def prepare(scratch: Path, options: argparse.Namespace) -> dict[str, Any]:
    """Write what both sides read: rows, the same rows batch by batch, and texts to encode."""
    from polymine import models
    from polymine.data_contracts.settings import StepSettings
    from polymine.mining.batching import count_tokens

    encoder = models.load_encoder(options.model, device="cpu", dtype="float32")
    job = {
        "model": options.model,
        "steps": options.steps,
        "batch": options.batch,
        "max_length": options.max_length,
        "negatives": NEGATIVES,
    }
    rows = make_rows(options.data)
    most = rows["positive"].n_unique() // (2 * (1 + NEGATIVES))
    if options.batch > most:  # no text is twice in a batch, and there must be a choice
        raise SystemExit(f"--batch {options.batch}: {options.data.name} has texts for {most} rows")
    ordered = order_rows(rows, StepSettings(name="order"), options.steps, options.batch)
    texts = pl.concat(
        pl.read_parquet(options.data / f"{name}.parquet").select("text")
        for name in ("corpus", "queries")
    )
    texts = texts.sample(min(options.texts, len(texts)), seed=0, shuffle=True)
    paths = {name: str(scratch / f"{name}.parquet") for name in ("rows", "ordered", "texts")}
    for path, frame in zip(paths.values(), (rows, ordered, texts), strict=True):
        frame.write_parquet(path)

    def tokens(column: str, frame: pl.DataFrame, longest: int) -> Any:
        return np.minimum(count_tokens(encoder.tokenizer, frame[column].to_list()), longest)

    per_row = sum(tokens(column, ordered, options.max_length) for column in ordered.columns)
    whole = int(tokens("text", texts, encoder.max_seq_length or 1 << 30).sum())
    steps = per_row.reshape(options.steps, options.batch).sum(axis=1).tolist()
    said = {**job, "data": options.data.name, "texts": len(texts), "text_tokens": whole}
    return {"job": {**job, **paths}, "step_tokens": steps, "scratch": scratch, "said": said}


def make_rows(folder: Path, negatives: int = NEGATIVES) -> pl.DataFrame:
    """Make TrainingRows of a judged collection; negatives drawn at random, since none is judged.

    Drawing them takes gigabytes for a moment, none without them: what measures memory has none.
    """
    from polymine.training.relations import own_relations, relate

    corpus = pl.read_parquet(folder / "corpus.parquet").sort("doc_id")
    judged = (
        pl.read_parquet(folder / "qrels.parquet")
        .unique("query_id", keep="first", maintain_order=True)
        .sort("query_id")
        .join(pl.read_parquet(folder / "queries.parquet"), on="query_id")
        .join(corpus.with_row_index("at"), on="doc_id", suffix="_document")
    )
    # Another document than the positive, by a number of places between 1 and all of them.
    draws = np.empty((len(judged), 0), dtype=np.int64)
    if negatives:
        others = np.tile(np.arange(1, len(corpus)), (len(judged), 1))
        draws = np.random.default_rng(0).permuted(others, axis=1)[:, :negatives]
    places = (judged["at"].to_numpy()[:, None] + draws) % len(corpus)
    texts = corpus["text"].to_list()
    rows = judged.select(
        pl.lit("data-0").alias("source"),
        pl.int_range(pl.len(), dtype=pl.UInt32).alias("row"),
        pl.col("language").alias("anchor_language"),
        pl.col("language_document").alias("positive_language"),
        pl.col("text").alias("anchor"),
        pl.col("text_document").alias("positive"),
        pl.Series("negatives", [[texts[at] for at in row] for row in places], pl.List(pl.String)),
        pl.Series("weights", [[1.0] * negatives] * len(places), pl.List(pl.Float32)),
        pl.Series("scores", [[]] * len(places), pl.List(pl.Float32)),
        pl.lit(1.0, pl.Float32).alias("positive_weight"),
    )
    return relate(rows, own_relations(rows))


def order_rows(rows: pl.DataFrame, step: Any, steps: int, batch: int) -> pl.DataFrame:
    """Put the columns' texts in the order in which Polymine's trainer batches them."""
    import torch
    from torch.utils.data import ConcatDataset

    from polymine.training import batches

    (dataset,) = batches.build_datasets(batches.split_rows(rows), step).values()
    generator = torch.Generator()
    sampler = batches.sample_without_copies(dataset, batch, True, ["label"], generator, step.seed)
    shared = batches.SharedBatches(
        ConcatDataset([dataset]), [sampler], generator, step.seed, shares=(1.0,), steps=steps
    )
    order = [row for members in shared for row in members]
    wide = pl.DataFrame(dataset.data.table).drop("label")
    return wide[order]


def settings(job: dict[str, Any]) -> tuple[Any, Any]:
    """Name Polymine's step and training for a job; the baseline has the same numbers."""
    from polymine.data_contracts.settings import (
        AdaptedModel,
        LoraSettings,
        LossSettings,
        ScheduleSettings,
        StepSettings,
        TrainingSettings,
    )

    step = StepSettings(
        name="throughput",
        seed=SEED,
        lora=LoraSettings(rank=RANK, alpha=ALPHA, dropout=0.0),
        loss=LossSettings(negatives=job["negatives"], temperature=0.05),
        schedule=ScheduleSettings(
            steps=job["steps"],
            batch=job["batch"],
            mini_batch=job["mini_batch"],
            learning_rate=RATE,
            warmup=WARMUP,
            decay=DECAY,
        ),
    )
    base = AdaptedModel(model=job["model"], dtype=job["dtype"], max_length=job["max_length"])
    return step, TrainingSettings(base=base)
