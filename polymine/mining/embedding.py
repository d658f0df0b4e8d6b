"""Turns texts into vectors with sentence-transformers models, of unit length for cosines.

Exactness before speed only where it can be seen: the model may run in bfloat16, its vectors are
normalised in float32. Alternative not taken: `SentenceTransformer.encode`, which batches by count
(so padding and cache misses grow with text length) and rounds the norm in the model's dtype.
"""

import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from polymine import models
from polymine.data_contracts.errors import ModelError
from polymine.data_contracts.settings import EncoderSettings
from polymine.mining.batching import (
    GPU_BUDGET_FACTOR,
    count_tokens,
    plan_batches,
    run_batches,
)
from polymine.mining.hashing import hash_texts
from polymine.models.memory import AdaptiveBatcher
from polymine.progress import Progress, Silent

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer
    from torch.nn import Module

Matrix = NDArray[np.float32]


@dataclass(frozen=True)
class Encoded:
    """Vectors of one batch: `rows` are positions in the input, `vectors` is (len(rows), d)."""

    rows: NDArray[np.int64]
    vectors: Matrix
    tokens: int


class TextEncoder:
    """A dense model on every device that is visible.

    Args:
        replicas: the same model once per device; on a CPU one is enough, its threads share it. It
            is changed in place there: its linear layers become batch-invariant
            (`polymine.models.batch_invariance`).
        threads: batches computed at once on a CPU.
        batch_tokens: token budget of a batch on a CPU; GPUs get 32 times as many.
        name: of the model, in errors.
        unit: whether vectors are scaled to length 1; else they are as long as the model makes them.
    """

    def __init__(
        self,
        replicas: "Sequence[SentenceTransformer]",
        threads: int,
        batch_tokens: int,
        name: str = "",
        unit: bool = True,
    ) -> None:
        self._replicas, self._name, self._unit = list(replicas), name, unit
        self._on_cpu = self._replicas[0].device.type == "cpu"
        if self._on_cpu:
            from polymine.models.batch_invariance import make_batch_invariant

            make_batch_invariant(self._replicas[0])
        self.workers = threads if self._on_cpu else len(self._replicas)
        self.budget = batch_tokens if self._on_cpu else batch_tokens * GPU_BUDGET_FACTOR
        self._tokenizing = threading.Lock()  # fast tokenizers are not re-entrant
        self._batcher = AdaptiveBatcher("embedding", "Set a lower `max_length` for this teacher")

    @classmethod
    def load(cls, teacher: EncoderSettings, threads: int, batch_tokens: int) -> "TextEncoder":
        """Load a dense teacher's model onto every visible device.

        Args:
            teacher: names the model, its dtype, its maximum length in tokens and its similarity.
            threads: batches computed at once on a CPU.
            batch_tokens: token budget of a batch on a CPU; GPUs get 32 times as many.

        Returns:
            An encoder in evaluation mode.

        Raises:
            ModelError: there is no such model, or it cannot be loaded.
        """
        replicas = [
            models.load_encoder(
                str(teacher.model),
                device=device,
                dtype=models.dtype_of(teacher, device),
                max_length=teacher.max_length,
                trust_remote_code=teacher.trust_remote_code,
            )
            for device in models.visible_devices()
        ]
        unit = models.settled(teacher).similarity != "dot"
        return cls(replicas, threads, batch_tokens, str(teacher.model), unit)

    def count_tokens(self, texts: Sequence[str], prompt: str) -> NDArray[np.int64]:
        """Count the tokens that the model sees of each text.

        Args:
            prompt: put before every text, and counted.

        Returns:
            Tokens, shape (n,), at most the model's maximum length.
        """
        model = self._replicas[0]
        with models.told(f"Model {self._name!r} could not cut texts into tokens"):
            counted = count_tokens(model.tokenizer, [prompt + text for text in texts])
        return np.minimum(counted, models.length_limit(model))

    def encode(
        self,
        texts: Sequence[str],
        prompt: str = "",
        progress: Progress | None = None,
        stage: str = "embed",
    ) -> Iterator[Encoded]:
        """Encode all texts, batch by batch.

        The order and make-up of the batches depend on the texts alone, so a run that was killed
        meets the same batches again.

        Args:
            prompt: put before every text.
            progress: advanced by tokens.
            stage: what progress calls it.

        Returns:
            Batches, longest texts first: positions in `texts`, and float32 vectors, of length 1 if
            they are for cosines. Every text is in one batch.

        Raises:
            ModelError: a vector is not finite, or a single text does not fit into memory.
        """
        yield from self.encode_planned(texts, self.plan(texts, prompt), prompt, progress, stage)

    def plan(self, texts: Sequence[str], prompt: str) -> list[tuple[NDArray[np.int64], int]]:
        """Group the texts into batches of like length, as `encode` does.

        Returns:
            (positions in `texts`, tokens of all of them) of each batch, longest texts first.
        """
        lengths = self.count_tokens(texts, prompt)
        batches = plan_batches(lengths, hash_texts(texts), self.budget, one_length=self._on_cpu)
        return [(rows, int(lengths[rows].sum())) for rows in batches]

    def encode_planned(
        self,
        texts: Sequence[str],
        batches: Sequence[tuple[NDArray[np.int64], int]],
        prompt: str = "",
        progress: Progress | None = None,
        stage: str = "embed",
    ) -> Iterator[Encoded]:
        """Encode some batches only, for instance what a killed run left.

        Args:
            texts: all texts, since batches name positions in them.
            batches: some of those that `plan` gave; others might change the last bits.
            prompt, progress, stage: as for `encode`.

        Returns:
            A result for each of `batches`, in their order.

        Raises:
            ModelError: as for `encode`.
        """
        progress = progress or Silent()
        progress.start(stage, sum(tokens for _, tokens in batches), "tokens")

        def work(batch: tuple[NDArray[np.int64], int], worker: int) -> Encoded:
            rows, tokens = batch

            def forward(some: list[str]) -> Matrix:
                return self._forward(some, prompt, worker)

            some = [texts[row] for row in rows]
            with models.told(f"Model {self._name!r} failed on {some[0]!r:.80} and its batch"):
                vectors = self._batcher.compute(forward, some, tokens)
            return Encoded(rows, vectors, tokens)

        for encoded in run_batches(work, batches, self.workers):
            progress.advance(stage, encoded.tokens)
            yield encoded
        progress.finish(stage)

    def _forward(self, texts: list[str], prompt: str, worker: int) -> Matrix:
        import torch
        from sentence_transformers.util import batch_to_device

        model = self._replicas[0 if self._on_cpu else worker]
        with torch.inference_mode():
            with self._tokenizing:
                features = model.preprocess(texts, prompt=prompt or None)
            features = batch_to_device(features, model.device)
            vectors = model(features)["sentence_embedding"].float()
            if self._unit:
                vectors = torch.nn.functional.normalize(vectors, dim=1)
        return _checked(vectors.cpu().numpy(), texts, self._unit, model)


def _checked(vectors: Matrix, texts: list[str], unit: bool, model: "Module") -> Matrix:
    length = np.linalg.norm(vectors, axis=1)
    right = np.abs(length - 1) < 1e-2 if unit else np.isfinite(length) & (length > 0)
    bad = np.flatnonzero(~right)
    if len(bad):
        kind = "NaN or infinite" if not np.isfinite(length[bad[0]]) else "all zeros"
        advice = (
            "try dtype = 'float32' for this model"
            if any(weight.element_size() < 4 for weight in model.parameters())
            else "it computes in float32: look whether its weights are whole"
        )  # fmt: skip
        raise ModelError(
            f"the model gave a vector that is {kind} for {len(bad)} of {len(texts)} texts of one "
            f"batch, such as {texts[bad[0]][:80]!r}, and no batch after it was computed; {advice}"
        )
    return vectors


def encode_all(encoder: TextEncoder, texts: Sequence[str], prompt: str = "") -> Matrix:
    """Encode texts into one matrix.

    Args:
        encoder: the model.
        texts: to encode; equal ones are not merged.
        prompt: put before every text.

    Returns:
        Vectors, float32, (n, d), in the order of the texts; (0, 0) without any.
    """
    parts = list(encoder.encode(texts, prompt))
    if not parts:
        return np.empty((0, 0), dtype=np.float32)
    out = np.empty((len(texts), parts[0].vectors.shape[1]), dtype=np.float32)
    for part in parts:
        out[part.rows] = part.vectors
    return out
