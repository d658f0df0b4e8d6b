"""GIST: a guide says which documents of a batch may be right."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch.nn.functional import cross_entropy, normalize

from polymine.training.contrastive import BatchLoss, cosine, products

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sentence_transformers import SentenceTransformer
    from torch import Tensor

    from polymine.data_contracts.settings import EncoderSettings


class WeightedGISTLoss(BatchLoss):
    """Cached GIST (Solatorio, arXiv 2402.16829) with a margin as a share of the positive's cosine.

    The library's loss hands the guide the student's own tokens, its prompts among them; here the
    guide reads the texts, each after the prompt that it was trained with.

    Args:
        model: that learns.
        guide: says which negatives may be right.
        call: how the guide is called: its prompts, and how its vectors are compared.
        temperature: similarities are divided by it.
        mini_batch: texts embedded, and rows compared, at once.
        margin: what the guide scores above (1 - margin) times the positive's cosine is left out.
        contrasts: `queries` and `documents` that are compared with one another, too.
    """

    def __init__(
        self,
        model: SentenceTransformer,
        guide: SentenceTransformer,
        call: EncoderSettings,
        temperature: float,
        mini_batch: int,
        margin: float,
        contrasts: Sequence[str] = ("queries", "documents"),
    ) -> None:
        super().__init__(model, scale=1 / temperature, mini_batch_size=mini_batch)
        self._guide, self._call, self._margin = [guide], call, margin  # no module: it stays
        self._among = [(0, 0)] * ("queries" in contrasts) + [(1, 1)] * ("documents" in contrasts)

    def calculate_loss(
        self, reps: list[list[Tensor]], labels: Any = None, *, with_backward: bool = False
    ) -> Tensor:
        """Compare as InfoNCE does, without what the guide takes for right or the labels close.

        Args:
            reps: the student's mini-batches of embeddings per column.
            labels: `Labels` of the batch, with its texts.
            with_backward: whether gradients are computed, mini-batch by mini-batch.

        Returns:
            The mean loss over rows, a scalar.
        """
        student = self._join(reps, labels)
        rows = len(labels.weights)
        queries, *documents = (column[self.team.read(rows)] for column in labels.texts)
        read = [self._read(queries, "queries"), *(self._read(d, "documents") for d in documents)]
        guide = self.team.whole(read, rows)
        pairs = [(0, column) for column in range(1, len(student))] + self._among
        targets = torch.arange(rows, device=student[0].device)

        def compare(part: slice) -> Tensor:
            own = torch.eye(len(targets), dtype=torch.bool, device=targets.device)[part]
            positive = (guide[0][part] * guide[1][part]).sum(1, keepdim=True)
            limit = positive - positive.abs() * self._margin
            logits = []
            for left, right in pairs:
                masked = products(guide[left][part], guide[right]) > limit
                # A positive is never masked for itself; a text is never compared with itself.
                masked = masked | own if left == right else masked & ~(own & (right == 1))
                found = cosine(student[left][part], student[right]) * self.scale
                shifted = found + labels.of_column(right)[part]
                logits.append(shifted.masked_fill(masked, -torch.inf))
            return cross_entropy(torch.cat(logits, dim=1), targets[part], reduction="none")

        return self._sum(compare, student, labels, with_backward)

    def _read(self, texts: list[str], side: str) -> Tensor:
        """The guide's vectors of a column, in the precision that it was loaded in."""
        (guide,) = self._guide
        with torch.autocast(guide.device.type, enabled=False):
            found = guide.encode(
                texts, prompt=self._call.prompt_for(side), batch_size=self.mini_batch_size,
                convert_to_tensor=True, show_progress_bar=False,
            )  # fmt: skip
        return found.float() if self._call.similarity == "dot" else normalize(found.float())
