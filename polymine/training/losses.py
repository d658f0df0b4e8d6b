"""The losses of sentence-transformers, with the weight of each triplet.

`weight` is the probability w that a triplet is right. In a softmax over candidates, a negative that
is one only with probability w should count for w of one, so its logit is shifted by ln w: w = 1 is
the plain loss, w -> 0 is the mask of GIST. Only a query's own negatives carry a weight; how another
query's documents relate to it nobody has looked at.

The shift is put into the embeddings as extra components, one per row of the batch, so that the
losses themselves, their chunks and their gradient caching stay those of the library.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from sentence_transformers.base.losses.merged_forward import embed_columns
from sentence_transformers.sentence_transformer.losses import (
    CachedGISTEmbedLoss,
    CachedMultipleNegativesRankingLoss,
    DistillKLDivLoss,
)
from sentence_transformers.util import pairwise_cos_sim

from polymine import models

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from sentence_transformers import SentenceTransformer
    from torch import Tensor

    from polymine.data_contracts.settings import LossSettings

LOWEST = -50.0  # ln of a weight of 0: e^-50 of a negative is none
SMALL = 1e-3  # squared it is nothing: queries are compared with queries, too (GIST)


class WeightedRankingLoss(CachedMultipleNegativesRankingLoss):
    """Cached InfoNCE; labels are weights (rows, negatives), or None where all count fully."""

    def __init__(
        self, model: SentenceTransformer, temperature: float, mini_batch: int, symmetric: bool
    ) -> None:
        super().__init__(
            model,
            scale=1 / temperature,
            similarity_fct=_Shifted(_dimension(model)),
            mini_batch_size=mini_batch,
            directions=("query_to_doc", "doc_to_query") if symmetric else ("query_to_doc",),
            partition_mode="per_direction" if symmetric else "joint",
        )

    def forward(self, sentence_features: Iterable[dict[str, Tensor]], labels: Tensor) -> Tensor:
        """Embed a batch that fits into one mini-batch once; caching would embed it twice.

        Args:
            sentence_features: per column, queries first, then positives and negatives.
            labels: weights (rows, negatives), or None.

        Returns:
            The mean loss over rows, a scalar.
        """
        features = list(sentence_features)
        if len(features[0]["attention_mask"]) > self.mini_batch_size:
            return super().forward(features, labels)
        reps = [[each] for each in embed_columns(self.model, features)]
        return self.calculate_loss(reps, labels)

    def calculate_loss(
        self, reps: list[list[Tensor]], labels: Tensor | None = None, *, with_backward: bool = False
    ) -> Tensor:
        """Shift the logits of a row's own negatives by ln weight, then as the library does.

        Args:
            reps: mini-batches of embeddings per column.
            labels: weights (rows, negatives), or None.
            with_backward: whether gradients are computed, mini-batch by mini-batch.

        Returns:
            The mean loss over rows, a scalar.
        """
        shifted = shift_logits(reps, labels, 1 / self.scale)
        return super().calculate_loss(shifted, with_backward=with_backward)


class WeightedGISTLoss(CachedGISTEmbedLoss):
    """Cached GIST (Solatorio, arXiv 2402.16829) with a margin; labels as in WeightedRankingLoss."""

    def forward(self, sentence_features: Iterable[dict[str, Tensor]], labels: Tensor) -> Tensor:
        """Keep the weights for `calculate_loss`, which this loss does not hand them to."""
        self._weights = labels
        return super().forward(sentence_features, labels)

    def calculate_loss(
        self,
        reps: list[list[Tensor]],
        reps_guided: list[list[Tensor]],
        *,
        with_backward: bool = False,
    ) -> Tensor:
        """Shift the student's logits, never the guide's, then as the library does.

        Args:
            reps: the student's mini-batches of embeddings per column.
            reps_guided: the guide's, of the same texts.
            with_backward: whether gradients are computed, mini-batch by mini-batch.

        Returns:
            The mean loss over rows, a scalar.
        """
        shifted = shift_logits(reps, self._weights, self.temperature)
        self._width = shifted[0][0].shape[1]
        if self._width == reps_guided[0][0].shape[1]:  # else the two could not be told apart
            shifted = [[torch.nn.functional.pad(each, (0, 1)) for each in c] for c in shifted]
            self._width += 1
        return super().calculate_loss(shifted, reps_guided, with_backward=with_backward)

    def sim_matrix(self, embed1: Tensor, embed2: Tensor) -> Tensor:
        """Compute cosines, with the shift where the embeddings are the student's and carry one.

        Args:
            embed1, embed2: (n, d) and (m, d), both the student's or both the guide's.

        Returns:
            Similarities (n, m).
        """
        if embed1.shape[1] != self._width:
            return super().sim_matrix(embed1, embed2)
        return _Shifted(_dimension(self.model))(embed1, embed2)


class WeightedDistillationLoss(DistillKLDivLoss):
    """KL divergence from the teacher's order of a list to the student's.

    Labels are (rows, 2 x candidates): the teacher's scores of positive and negatives, then their
    weights, the positive's being 1. ln weight shifts the logits of both sides, so that a doubtful
    negative counts as little in what is asked as in what is answered.
    """

    def compute_loss_from_embeddings(self, embeddings: list[Tensor], labels: Tensor) -> Tensor:
        """Compare the student's order of each row's candidates with the teacher's.

        Args:
            embeddings: queries, positives and negatives, each (rows, d).
            labels: as the class says.

        Returns:
            The mean over rows, a scalar; student and teacher logits are cosines over temperature.
        """
        scores, weights = labels.chunk(2, dim=1)
        shift = _log(weights)
        query, *candidates = embeddings
        student = torch.stack([pairwise_cos_sim(query, each) for each in candidates], dim=1)
        student = torch.log_softmax(student / self.student_temperature + shift, dim=1)
        teacher = torch.log_softmax(scores / self.teacher_temperature + shift, dim=1)
        loss = torch.nn.functional.kl_div(student, teacher, reduction="batchmean", log_target=True)
        return loss * self.student_temperature**2  # as the library: T changes no gradient's size


def build_loss(
    model: SentenceTransformer,
    settings: LossSettings,
    mini_batch: int,
    *,
    device: str,
) -> torch.nn.Module:
    """Make the loss that a step's settings name.

    Args:
        model: that learns.
        settings: `infonce`, `gist` (loads its guide) or `distill`.
        mini_batch: texts embedded at once; `distill` holds the whole batch.
        device: of the guide.

    Returns:
        A loss as the sentence-transformers trainer calls it; labels are weights, or scores and
        weights.
    """
    if settings.kind == "distill":
        return WeightedDistillationLoss(model, temperature=settings.temperature)
    if settings.kind == "gist":
        assert settings.guide is not None, "checked by the settings"
        guide = models.load_encoder(
            settings.guide.model,
            device=device,
            dtype=settings.guide.dtype,
            max_length=settings.guide.max_length,
            trust_remote_code=settings.guide.trust_remote_code,
        )
        return WeightedGISTLoss(
            model,
            guide,
            temperature=settings.temperature,
            mini_batch_size=mini_batch,
            margin_strategy="relative",
            margin=settings.margin,
        )
    return WeightedRankingLoss(model, settings.temperature, mini_batch, settings.symmetric)


def shift_logits(
    reps: Sequence[Sequence[Tensor]], weights: Tensor | None, temperature: float
) -> list[list[Tensor]]:
    """Add components whose dot products shift logits: one per row, and one for all rows.

    A query has 1 in its row's component, a negative of weight w temperature x ln w there. A
    negative of weight 0 is padding and nobody's: the last component says so to all.

    Args:
        reps: mini-batches of embeddings per column: queries, positives, negatives_1 ... n.
        weights: (rows, n), or None.

    Returns:
        One tensor per column, (rows, dimension + rows + 1); unchanged without weights.
    """
    if weights is None or len(reps) < 3:
        return [list(column) for column in reps]
    first = reps[0][0]
    rows = len(weights)
    like: Any = {"device": first.device, "dtype": first.dtype}
    own, ones = torch.eye(rows, **like), torch.ones(rows, 1, **like)
    shifts = (_log(weights) * temperature).to(first)
    padding = torch.where(weights == 0, LOWEST * temperature / SMALL, 0.0).to(first)
    query = torch.cat([own, ones * SMALL], dim=1)
    negatives = [
        torch.cat([own * shift, ones * nobodys[:, None]], dim=1)
        for shift, nobodys in zip(shifts.T, padding.T, strict=True)
    ]
    extra = [query, torch.zeros_like(query), *negatives]
    return [
        [torch.cat([torch.cat(list(column)), more], dim=1)]
        for column, more in zip(reps, extra, strict=True)
    ]


class _Shifted:
    """Cosine of the first components plus the dot product of the rest, always in float32.

    Under autocast a bfloat16 product would round a cosine to .004, a logit to .08.
    """

    def __init__(self, dimension: int) -> None:
        self._dimension = dimension

    def __call__(self, left: Tensor, right: Tensor) -> Tensor:
        d = self._dimension
        unit = torch.nn.functional.normalize
        with torch.autocast(left.device.type, enabled=False):
            left, right = left.float(), right.float()
            cosines = unit(left[:, :d], dim=1) @ unit(right[:, :d], dim=1).T
            return cosines if left.shape[1] == d else cosines + left[:, d:] @ right[:, d:].T


def _dimension(model: SentenceTransformer) -> int:
    dimension = model.get_embedding_dimension()
    assert dimension is not None
    return dimension


def _log(weights: Tensor) -> Tensor:
    return weights.log().clamp(min=LOWEST)
