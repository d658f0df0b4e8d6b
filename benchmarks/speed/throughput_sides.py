"""One side of `benchmarks.speed.throughput`: training or embedding, ours or theirs.

Run as `python -m benchmarks.speed.throughput_sides JOB`. A step's seconds run from the end of the
step before, so loading, logging and clipping are in them; what is before the first step is
start-up.
"""

import json
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from benchmarks.speed.flops import count_flops
from benchmarks.speed.throughput_work import (
    ALPHA,
    DECAY,
    RANK,
    RATE,
    SEED,
    WARMUP,
    WEIGHT_DECAY,
    settings,
)

BEGAN = time.monotonic()


class Clock:
    """Receives Polymine's progress and keeps when each step ended."""

    def __init__(self) -> None:
        self.ends: list[float] = []

    def start(self, stage: str, total: int, unit: str) -> None:
        """Begin."""
        self.ends = [time.monotonic()]

    def advance(self, stage: str, amount: int, note: str = "") -> None:
        """Note the end of a step."""
        self.ends.append(time.monotonic())

    def finish(self, stage: str) -> None:
        """Do nothing: the last step's end is known."""

    def result(self) -> dict[str, Any]:
        """Seconds per step, and before the first."""
        return {
            "startup_s": round(self.ends[0] - BEGAN, 2),
            "step_s": [round(step, 4) for step in np.diff(self.ends).tolist()],
        }


def train_polymine(job: dict[str, Any]) -> dict[str, Any]:
    """Train a step as a pipeline does."""
    from polymine import models
    from polymine.training import adapters
    from polymine.training.trainer import train_step

    step, training = settings(job)
    device = models.visible_devices()[0]
    clock = Clock()
    with tempfile.TemporaryDirectory() as folder:
        trained = train_step(
            step,
            pl.read_parquet(job["rows"]),
            training,
            checkpoints=Path(folder),
            fingerprint="throughput",
            device=device,
            progress=clock,
        )
    adapters.activate(trained.encoder, [trained.adapter], trained.adapter)  # as in training
    flops = count_flops(trained.encoder.train())
    return {
        **clock.result(),
        **gpu_memory(),
        "losses": trained.curve["loss"].to_list(),
        "tokens": trained.tokens,
        "flops_per_token": flops,
    }


def train_baseline(job: dict[str, Any]) -> dict[str, Any]:
    """Train with the library's trainer as its documentation shows it, one adapter added."""
    from datasets import Dataset
    from sentence_transformers import SentenceTransformerTrainer
    from sentence_transformers.sentence_transformer import losses
    from transformers import TrainerCallback

    clock = Clock()

    class Watch(TrainerCallback):
        def on_train_begin(self, *_: Any, **__: Any) -> None:
            clock.start("", 0, "")

        def on_step_end(self, *_: Any, **__: Any) -> None:
            clock.advance("", 1)

    model = load_baseline(job)
    loss = (
        losses.CachedMultipleNegativesRankingLoss(model, mini_batch_size=job["mini_batch"])
        if job["mini_batch"] < job["batch"]
        else losses.MultipleNegativesRankingLoss(model)
    )
    with tempfile.TemporaryDirectory() as folder:
        trainer = SentenceTransformerTrainer(
            model=model,
            args=baseline_arguments(job, folder),
            train_dataset=Dataset(pl.read_parquet(job["ordered"]).to_arrow()),
            loss=loss,
            callbacks=[Watch()],
        )
        trainer.train()
    curve = [entry["loss"] for entry in trainer.state.log_history if "loss" in entry]
    return {**clock.result(), **gpu_memory(), "losses": curve}


def load_baseline(job: dict[str, Any]) -> Any:
    """Load the base with a fresh adapter on the very layers that Polymine's has."""
    import torch
    from peft import LoraConfig
    from sentence_transformers import SentenceTransformer

    from polymine import models
    from polymine.training.adapters import find_targets

    model = SentenceTransformer(models.resolve(job["model"]).location)
    model.max_seq_length = job["max_length"]
    if not job["dropout"]:
        for module in model.modules():
            if isinstance(module, torch.nn.Dropout):
                module.p = 0.0
    config = LoraConfig(
        r=RANK,
        lora_alpha=ALPHA,
        lora_dropout=0.0,
        target_modules=find_targets(model, ["all-linear"]),
    )
    torch.manual_seed(SEED)
    model.add_adapter(config)
    return model


def baseline_arguments(job: dict[str, Any], folder: str) -> Any:
    """Say what Polymine's trainer says, too; all else is as the library has it."""
    import torch
    from sentence_transformers import SentenceTransformerTrainingArguments
    from sentence_transformers.base.sampler import DefaultBatchSampler

    def in_order(dataset: Any, batch_size: int, drop_last: bool, **_: Any) -> Any:
        """Leave the rows in the order in which Polymine's side meets them."""
        rows = torch.utils.data.SequentialSampler(dataset)
        return DefaultBatchSampler(rows, batch_size=batch_size, drop_last=drop_last)

    return SentenceTransformerTrainingArguments(
        output_dir=folder,
        max_steps=job["steps"],
        per_device_train_batch_size=job["batch"],
        learning_rate=RATE,
        warmup_steps=WARMUP,
        lr_scheduler_type=DECAY,
        weight_decay=WEIGHT_DECAY,
        seed=SEED,
        bf16=job["dtype"] == "bfloat16",
        use_cpu=not torch.cuda.is_available(),
        batch_sampler=in_order,
        logging_steps=1,
        save_strategy="no",
        report_to="none",
        disable_tqdm=True,
    )


def embed_polymine(job: dict[str, Any]) -> dict[str, Any]:
    """Encode as the stage `embed` does, on all threads."""
    from benchmarks.negatives.cases import threads
    from polymine.data_contracts.settings import EngineSettings, TeacherSettings
    from polymine.mining.embedding import TextEncoder, encode_all

    teacher = TeacherSettings(name="teacher", model=job["model"], dtype=job["dtype"])
    encoder = TextEncoder.load(teacher, threads(), EngineSettings().batch_tokens)
    return encode(job, lambda texts: encode_all(encoder, texts))


def embed_baseline(job: dict[str, Any]) -> dict[str, Any]:
    """Call `encode` with its defaults."""
    import torch
    from sentence_transformers import SentenceTransformer

    from polymine import models

    dtype = {"dtype": getattr(torch, job["dtype"])}
    model = SentenceTransformer(models.resolve(job["model"]).location, model_kwargs=dtype)
    flops = count_flops(model.eval(), learning=False)
    result = encode(job, lambda texts: model.encode(texts, show_progress_bar=False))
    return {**result, "flops_per_token": flops}


def encode(job: dict[str, Any], work: Callable[[list[str]], Any]) -> dict[str, Any]:
    """Time encoding all texts, after some to warm up; keep the vectors for comparison."""
    texts = pl.read_parquet(job["texts"])["text"].to_list()
    work(texts[:64])
    startup, began = time.monotonic() - BEGAN, time.monotonic()
    vectors = work(texts)
    seconds = [round(time.monotonic() - began, 4)]
    np.save(job["vectors"], np.asarray(vectors, dtype=np.float32))
    return {"startup_s": round(startup, 2), "round_s": seconds, **gpu_memory()}


def gpu_memory() -> dict[str, int]:
    """Peak of what tensors took on the GPU, if there is one."""
    import torch

    if not torch.cuda.is_available():
        return {}
    return {"gpu_peak_mb": round(torch.cuda.max_memory_allocated() / 2**20)}


SIDES = {
    "train polymine": train_polymine,
    "train baseline": train_baseline,
    "embed polymine": embed_polymine,
    "embed baseline": embed_baseline,
}

if __name__ == "__main__":
    request = json.loads(sys.argv[1])
    print(json.dumps(SIDES[request["side"]](request)), flush=True)
