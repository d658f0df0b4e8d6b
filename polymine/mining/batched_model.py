"""A model on every device that is visible: it computes texts, or pairs of texts, batch by batch."""

import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from polymine import models
from polymine.mining.batching import (
    GPU_BUDGET_FACTOR,
    Lengths,
    count_tokens,
    plan_batches,
    run_batches,
)
from polymine.mining.hashing import hash_texts
from polymine.models.memory import AdaptiveBatcher

if TYPE_CHECKING:
    from torch import Tensor

Rows = NDArray[np.int64]
Batch = tuple[Rows, int]  # positions in the input, and tokens of all of them
Texts = Sequence[str] | Sequence[tuple[str, str]]


@dataclass(frozen=True)
class Computed:
    """Of one batch: `rows` are positions in the input, `values` is (len(rows), ...)."""

    rows: Rows
    values: NDArray[np.float32]
    tokens: int


class BatchedModel:
    """A model on every device that is visible.

    Args:
        replicas: the same model once per device; on a CPU one is enough, its threads share it. It
            is changed in place there: its linear layers become batch-invariant
            (`polymine.models.batch_invariance`).
        threads: batches computed at once on a CPU.
        batch_tokens: token budget of a batch on a CPU; GPUs get 32 times as many.
        name: of the model, in errors.
    """

    what = ""  # it does, in the log
    advice = ""  # where a single text does not fit into memory

    def __init__(
        self, replicas: Sequence[Any], threads: int, batch_tokens: int, name: str = ""
    ) -> None:
        self._replicas, self._name = list(replicas), name
        self._on_cpu = self._replicas[0].device.type == "cpu"
        if self._on_cpu:
            from polymine.models.batch_invariance import make_batch_invariant

            make_batch_invariant(self._replicas[0])
        self._workers = threads if self._on_cpu else len(self._replicas)
        self._budget = batch_tokens if self._on_cpu else batch_tokens * GPU_BUDGET_FACTOR
        self._tokenizing = threading.Lock()  # fast tokenizers are not re-entrant
        self._batcher = AdaptiveBatcher(self.what, self.advice)

    def _count(self, texts: Texts) -> Lengths:
        """Count the tokens that the model sees of each text: at most its maximum length."""
        model = self._replicas[0]
        with models.told(f"Model {self._name!r} could not cut texts into tokens"):
            counted = count_tokens(model.tokenizer, texts)
        return np.minimum(counted, models.length_limit(model))

    def _plan(self, lengths: Lengths, texts: Iterator[str] | Sequence[str]) -> list[Batch]:
        """Group texts into batches of like length, longest first; they depend on these alone."""
        batches = plan_batches(lengths, hash_texts(texts), self._budget, one_length=self._on_cpu)
        return [(rows, int(lengths[rows].sum())) for rows in batches]

    def _compute(
        self, texts: Texts, batches: Sequence[Batch], **reading: Any
    ) -> Iterator[Computed]:
        """Compute batches side by side, in pieces that memory holds; results in their order."""

        def work(batch: Batch, worker: int) -> Computed:
            rows, tokens = batch
            model = self._replicas[0 if self._on_cpu else worker]

            def forward(some: list[Any]) -> NDArray[np.float32]:
                return self._forward(model, some, reading)

            some = [texts[row] for row in rows]
            with models.told(f"Model {self._name!r} failed on {some[0]!r:.160} and its batch"):
                return Computed(rows, self._batcher.compute(forward, some, tokens), tokens)

        return run_batches(work, batches, self._workers)

    def _forward(
        self, model: Any, texts: list[Any], reading: dict[str, Any]
    ) -> NDArray[np.float32]:
        """Compute one piece on one device, and check what came out."""
        raise NotImplementedError

    def _outputs(
        self, model: Any, texts: list[Any], reading: dict[str, Any]
    ) -> "dict[str, Tensor]":
        """Give what the model says of texts, without gradients."""
        import torch
        from sentence_transformers.util import batch_to_device

        with torch.inference_mode():
            with self._tokenizing:
                features = model.preprocess(texts, **reading)
            found: dict[str, Tensor] = model(batch_to_device(features, model.device))
            return found
