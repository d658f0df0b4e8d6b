"""One side of `benchmarks.training.lusifer --cost`, in a process of its own.

`plain` is sentence-transformers' trainer with LoRA on the target alone, `align` and `finetune` are
the stages of the chain. All read the same rows, without hard negatives, and stop after as many
steps.
"""

import json
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import polars as pl

from benchmarks.speed.throughput_work import make_rows

RANK = 16


def main() -> None:
    """Train as the job says, and print rows a second of the optimizer's steps."""
    job = json.loads(sys.argv[1])
    rows = make_rows(Path(job["data"]), negatives=0)
    with tempfile.TemporaryDirectory() as folder:
        seconds = (train_plain if job["side"] == "plain" else train_chain)(job, rows, folder)
    print(json.dumps({"rows_per_second": round(job["steps"] * job["batch"] / seconds, 2)}))


def train_plain(job: dict[str, Any], rows: pl.DataFrame, folder: str) -> float:
    """The library's trainer and loss on the target; seconds of its steps."""
    import torch
    from datasets import Dataset
    from peft import LoraConfig
    from sentence_transformers import (
        SentenceTransformer,
        SentenceTransformerTrainer,
        SentenceTransformerTrainingArguments,
    )
    from sentence_transformers.sentence_transformer.losses import MultipleNegativesRankingLoss

    from polymine import models

    location = models.resolve(job["target"]).location
    model = SentenceTransformer(location, device="cpu", model_kwargs={"dtype": torch.float32})
    model.max_seq_length = job["max_length"]
    model.add_adapter(LoraConfig(r=RANK, lora_alpha=2 * RANK, target_modules="all-linear"))
    arguments = SentenceTransformerTrainingArguments(
        output_dir=folder, max_steps=job["steps"], per_device_train_batch_size=job["batch"],
        use_cpu=True, report_to="none", save_strategy="no", disable_tqdm=True,
    )  # fmt: skip
    trainer = SentenceTransformerTrainer(
        model=model, args=arguments, loss=MultipleNegativesRankingLoss(model),
        train_dataset=Dataset(rows.select("anchor", "positive").to_arrow()),
    )  # fmt: skip
    began = time.monotonic()
    trainer.train()
    return time.monotonic() - began


def train_chain(job: dict[str, Any], rows: pl.DataFrame, folder: str) -> float:
    """One stage of the chain by Polymine's trainer; seconds of its steps."""
    from polymine.data_contracts.settings import (
        AdaptedModel,
        LoraSettings,
        LossSettings,
        ScheduleSettings,
        StepSettings,
        TargetSettings,
        TrainingSettings,
    )
    from polymine.training.trainer import train_step

    kind: Any = "align" if job["side"] == "align" else "infonce"
    schedule = ScheduleSettings(steps=job["steps"], batch=job["batch"], mini_batch=job["batch"])
    step = StepSettings(
        name="one", loss=LossSettings(kind=kind, negatives=0), schedule=schedule,
        lora=LoraSettings(rank=RANK, alpha=2 * RANK),
    )  # fmt: skip
    base = AdaptedModel(model=job["encoder"], dtype="float32", max_length=job["max_length"])
    training = TrainingSettings(
        base=base, target=TargetSettings(model=job["target"]), checkpoint_steps=10**6
    )
    return train_step(step, rows, training, checkpoints=Path(folder), fingerprint="cost").seconds


if __name__ == "__main__":
    main()
