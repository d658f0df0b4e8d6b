"""Turns texts into vectors with sentence-transformers models, of unit length for cosines.

Exactness before speed only where it can be seen: the model may run in bfloat16, its vectors are
normalised in float32. Alternative not taken: `SentenceTransformer.encode`, which batches by count
(so padding and cache misses grow with text length) and rounds the norm in the model's dtype.
"""

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from polymine import models
from polymine.data_contracts.errors import ModelError
from polymine.data_contracts.settings import EncoderSettings
from polymine.mining.batched_model import Batch, BatchedModel, Computed
from polymine.progress import Progress, Silent

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer
    from torch.nn import Module

Matrix = NDArray[np.float32]


class TextEncoder(BatchedModel):
    """A dense model on every device that is visible.

    Args:
        replicas, threads, batch_tokens, name: as for `BatchedModel`.
        unit: whether vectors are scaled to length 1; else they are as long as the model makes them.
    """

    what, advice = "embedding", "Set a lower `max_length` for this teacher"

    def __init__(
        self,
        replicas: "Sequence[SentenceTransformer]",
        threads: int,
        batch_tokens: int,
        name: str = "",
        unit: bool = True,
    ) -> None:
        super().__init__(replicas, threads, batch_tokens, name)
        self._unit = unit

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
        return self._count([prompt + text for text in texts])

    def plan(self, texts: Sequence[str], prompt: str) -> list[Batch]:
        """Group the texts into batches of like length.

        They depend on the texts alone, so a run that was killed meets the same batches again.

        Returns:
            (positions in `texts`, tokens of all of them) of each batch, longest texts first.
        """
        return self._plan(self.count_tokens(texts, prompt), texts)

    def encode(
        self,
        texts: Sequence[str],
        batches: Sequence[Batch],
        prompt: str = "",
        progress: Progress | None = None,
    ) -> Iterator[Computed]:
        """Encode batches of texts: all, or what a killed run left.

        Args:
            texts: all texts, since batches name positions in them.
            batches: of those that `plan` gave; others might change the last bits.
            prompt: put before every text.
            progress: advanced by tokens, in the stage `embed`.

        Returns:
            Vectors (n, d) for each of `batches`, in their order; of length 1 if they are for
            cosines.

        Raises:
            ModelError: a vector is not finite, or a single text does not fit into memory.
        """
        progress = progress or Silent()
        progress.start("embed", sum(tokens for _, tokens in batches), "tokens")
        for computed in self._compute(texts, batches, prompt=prompt or None):
            progress.advance("embed", computed.tokens)
            yield computed
        progress.finish("embed")

    def _forward(self, model: Any, texts: list[str], reading: dict[str, Any]) -> Matrix:
        from torch.nn.functional import normalize

        vectors = self._outputs(model, texts, reading)["sentence_embedding"].float()
        vectors = normalize(vectors, dim=1) if self._unit else vectors
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
    parts = list(encoder.encode(texts, encoder.plan(texts, prompt), prompt))
    if not parts:
        return np.empty((0, 0), dtype=np.float32)
    order = np.argsort(np.concatenate([part.rows for part in parts]))
    vectors: Matrix = np.concatenate([part.values for part in parts])[order]
    return vectors
