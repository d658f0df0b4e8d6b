"""The library's trainer, storing only what learns, counting what it reads, telling its progress."""

from __future__ import annotations

import importlib
import logging
import math
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import polars as pl
import torch
from safetensors.torch import load_file, save_file
from sentence_transformers import SentenceTransformerTrainer
from transformers import PrinterCallback, TrainerCallback, TrainerState

from polymine.data_contracts.errors import ModelError
from polymine.models import told
from polymine.models.memory import is_out_of_memory, release_memory
from polymine.progress import Progress
from polymine.training.adapters import WEIGHTS
from polymine.training.checkpoints import Checkpoint
from polymine.training.labels import LabellingCollator, Labels, RowFacts
from polymine.training.team import FullElsewhere, Team
from polymine.training.watch import Watch, WatchCallback

if TYPE_CHECKING:
    from torch import Tensor

logger = logging.getLogger("polymine.training")


@contextmanager
def own_run(trackers: Sequence[str]) -> Iterator[None]:
    """End the run of W&B that training opens: left open, the next step's losses would go into it.

    The other trackers end theirs. A run that was open before is its owner's, and stays open.
    """
    wandb = importlib.import_module("wandb") if "wandb" in trackers else None
    if wandb is None or wandb.run is not None:
        yield
        return
    code = 1
    try:
        yield
        code = 0
    finally:
        wandb.finish(exit_code=code)


class StepTrainer(SentenceTransformerTrainer):
    """Trains what learns of a model; a checkpoint holds that and the library's state of training.

    The library reads that state by `torch.load(weights_only=True)`, which refuses a pickle that
    would run code.

    Args:
        step: its name, for what is told of it.
        fingerprint: of all that the result depends on.
        facts: on the rows, by their numbers in the datasets; None where the labels are their own.
        watch: looks at a development part, where there is one.
        team: of the processes that share the batches; the first writes checkpoints.
        arguments: of `SentenceTransformerTrainer`.
    """

    data_collator_class = LabellingCollator

    def __init__(
        self,
        *,
        step: str,
        fingerprint: str,
        facts: RowFacts | None,
        watch: Watch | None,
        team: Team,
        **arguments: Any,
    ) -> None:
        self._step, self._team = step, team  # trackers' name of the run has a fingerprint behind
        self._fingerprint, self._knows, self._watch = fingerprint, facts is not None, watch
        self._tokens, self._closed, self._began, self._before = 0, 0, time.monotonic(), 0.0
        self._pending: Any = torch.zeros(2, dtype=torch.int64)  # tokens, closed pairs
        super().__init__(**arguments)
        self.data_collator.facts = facts  # type: ignore[attr-defined]
        self.data_collator.team = team  # type: ignore[attr-defined]
        self.remove_callback(PrinterCallback)  # a core that prints disturbs whoever calls it
        if watch is not None:
            self.add_callback(WatchCallback(watch))

    def run(self, resume: tuple[Path, Checkpoint] | None) -> None:
        """Train, on from a checkpoint if there is one, until the last step or patience's end."""
        if resume is None:
            self.train()
            return
        folder, checkpoint = resume
        self._resume_counts(checkpoint)
        if self._watch is not None:
            self._watch.read(folder)
            self._before += self._watch.seconds  # which is taken off again
            if self._watch.stopped:
                self.state = TrainerState.load_from_json(str(folder / "trainer_state.json"))
                return
        self.train(resume_from_checkpoint=str(folder))

    def add_model_card_callback(self, default_args_dict: dict[str, Any]) -> None:
        """Leave the library's card out: it tokenizes examples for seconds and ours says more."""

    def collect_features(self, inputs: dict[str, Any]) -> tuple[list[dict[str, Tensor]], Any]:
        """Count the tokens that are read, padding left out, and the pairs that labels close."""
        features, given = super().collect_features(inputs)
        # On the device, and read when it is logged: waiting for a GPU at every step is slow.
        tokens = torch.stack([each["attention_mask"].sum() for each in features]).sum()
        known = Labels.collect(inputs) if self._knows else None
        rows: Any = known.weights if known else given
        own = self._team.own(len(rows))
        if own.start == own.stop:  # what is read all the same does not count
            tokens = torch.zeros_like(tokens)
        # Tokens are those of the rows read here, closed pairs those of the whole batch.
        closed = known.closed if known and self._team.leads else torch.zeros_like(tokens)
        counted = torch.stack([tokens, closed])
        self._pending = counted + self._pending.to(counted.device)
        return features, known or given

    def training_step(
        self, model: Any, inputs: dict[str, Any], num_items_in_batch: Any = None
    ) -> Tensor:
        """Halve the mini-batch for as long as a step does not fit into memory, of any process.

        A step that failed is taken back: gradients, RNG state and what was counted are as before
        it. So the loss is that of the smaller mini-batch from the start, which differs by rounding
        (and by the draws of a LoRA's dropout).
        """
        self._team.seed(self.args.seed, self.state.global_step)
        with told(f"step {self._step}: the model failed on a batch"):
            loss = self._step_that_fits(model, inputs, num_items_in_batch)
            self._team.add_gradients(model.parameters())
        return loss

    def _step_that_fits(self, model: Any, inputs: dict[str, Any], items: Any) -> Tensor:
        rng, pending = (torch.get_rng_state(), torch.cuda.get_rng_state_all()), self._pending
        while True:
            try:
                loss: Tensor = super().training_step(model, dict(inputs), items)
                if self._team.any_full():
                    raise FullElsewhere
                return loss
            except RuntimeError as error:
                if not isinstance(error, FullElsewhere):
                    if not is_out_of_memory(error):
                        raise
                    self._team.any_full(True)
                self._halve(_rows(inputs), error)
            model.zero_grad(set_to_none=True)
            release_memory()
            torch.set_rng_state(rng[0])
            torch.cuda.set_rng_state_all(rng[1])
            self._pending = pending

    def _halve(self, rows: int, error: RuntimeError) -> None:
        """Let half as many texts be in memory at once; raise ModelError where one is the least."""
        loss: Any = self.loss
        before = self._team.most(min(getattr(loss, "mini_batch_size", 1), rows))
        if before < 2:
            whole = not hasattr(loss, "mini_batch_size")
            held = f"a batch of {rows}, which this loss holds at once," if whole else "a single row"
            raise ModelError(
                f"step {self._step}: {held} is more than memory holds; set a "
                "lower `training.base.max_length`, `schedule.batch` or number of `negatives`"
            ) from error
        loss.mini_batch_size = before // 2
        logger.warning(
            "step %s: a mini-batch of %d texts is more than memory holds; halved to %d, which "
            "changes the loss by no more than rounding",
            self._step, before, before // 2,
        )  # fmt: skip

    def _count(self) -> int:
        """Add up what all processes have read; all count at the same steps."""
        tokens, closed = self._team.add(self._pending).tolist()
        self._pending = torch.zeros_like(self._pending)
        self._tokens, self._closed = self._tokens + tokens, self._closed + closed
        return self._tokens

    @property
    def closed(self) -> int:
        """Pairs of a query and another row's document that were masked so far."""
        self._count()
        return self._closed

    def _seconds(self) -> float:
        looked = self._watch.seconds if self._watch is not None else 0.0
        return self._before + time.monotonic() - self._began - looked

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        """Add tokens and seconds so far; they outlive an interruption in the trainer's state."""
        for name in ("loss", "grad_norm"):
            value = logs.get(name)
            if value is not None and not math.isfinite(value):
                raise ModelError(
                    f"{name} became {value} after {self.state.global_step} steps: lower "
                    "schedule.learning_rate, or set base.dtype to float32"
                )
        logs["tokens"] = self._count()
        logs["seconds"] = round(self._seconds(), 3)
        super().log(logs, start_time)

    def _save(self, output_dir: str | None = None, state_dict: Any = None) -> None:
        folder = Path(output_dir or str(self.args.output_dir))
        folder.mkdir(parents=True, exist_ok=True)
        learning = {
            name: value.detach().cpu().contiguous()
            for name, value in self.model.named_parameters()
            if value.requires_grad
        }
        save_file(learning, str(folder / WEIGHTS))

    def _load_from_checkpoint(self, resume_from_checkpoint: str, model: Any = None) -> None:
        weights = load_file(str(Path(resume_from_checkpoint) / WEIGHTS))
        unknown = self.model.load_state_dict(weights, strict=False).unexpected_keys
        assert not unknown, "the fingerprint would differ"

    def _save_checkpoint(self, model: Any, trial: Any) -> None:
        self._count()
        if not self._team.leads:
            return
        super()._save_checkpoint(model, trial)
        folder = Path(str(self.args.output_dir)) / f"checkpoint-{self.state.global_step}"
        if self._watch is not None:
            self._watch.write(folder)
        Checkpoint(
            step=self._step,
            fingerprint=self._fingerprint,
            tokens=self._tokens,
            closed=self._closed,
            seconds=self._seconds(),
            mini_batch=getattr(self.loss, "mini_batch_size", None),
        ).write(folder)

    def _resume_counts(self, checkpoint: Checkpoint) -> None:
        """Count on from where the interrupted run was."""
        self._tokens, self._before = checkpoint.tokens, checkpoint.seconds
        self._closed = checkpoint.closed
        if checkpoint.mini_batch is not None:  # smaller than the settings' where memory was short
            loss: Any = self.loss
            loss.mini_batch_size = checkpoint.mini_batch


class ProgressCallback(TrainerCallback):
    """Tells progress in optimizer steps, with the loss and the tokens per second."""

    def __init__(self, progress: Progress, name: str, steps: int) -> None:
        self._progress, self._stage, self._steps = progress, f"train {name}", steps
        self._note, self._at = "", 0

    def on_train_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        self._at = state.global_step  # what an interrupted run did is no speed of this one
        self._progress.start(self._stage, self._steps - self._at, "steps")
        if self._at:
            self._progress.advance(self._stage, 0, f"resumed at step {self._at}")

    def on_log(self, args: Any, state: Any, control: Any, **others: Any) -> None:
        logs = others.get("logs") or {}
        if "loss" in logs:
            speed = logs["tokens"] / max(logs["seconds"], 1e-6)
            self._note = f"loss {logs['loss']:.3f}, {speed:,.0f} tokens/s"

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        self._move(state.global_step)

    def on_train_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        self._progress.finish(self._stage)

    def _move(self, step: int) -> None:
        self._progress.advance(self._stage, step - self._at, self._note)
        self._at = step


def read_curve(history: Sequence[dict[str, Any]], name: str) -> pl.DataFrame:
    """Turn the trainer's log into a TrainingCurve.

    Args:
        history: `trainer.state.log_history`; only entries with a loss count.
        name: of the step.

    Returns:
        step_name, step, loss, rate, gradient_norm, tokens, seconds; the last two since the start
        of the step's training, interruptions left out.
    """
    rows = [
        {
            "step_name": name,
            "step": entry["step"],
            "loss": float(entry["loss"]),
            "rate": float(entry["learning_rate"]),
            "gradient_norm": entry.get("grad_norm"),
            "tokens": entry.get("tokens", 0),
            "seconds": entry.get("seconds", 0.0),
        }
        for entry in history
        if "loss" in entry
    ]
    schema = {
        "step_name": pl.String, "step": pl.UInt32, "loss": pl.Float64, "rate": pl.Float64,
        "gradient_norm": pl.Float64, "tokens": pl.UInt64, "seconds": pl.Float64,
    }  # fmt: skip
    return pl.DataFrame(rows, schema=schema)


def _rows(inputs: dict[str, Any]) -> int:
    """Count the rows of a batch."""
    return max(len(each) for name, each in inputs.items() if name.endswith("input_ids"))
