"""Losses by which a row's own candidates are ordered as a teacher orders them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from sentence_transformers.sentence_transformer.losses import DistillKLDivLoss, MSELoss
from sentence_transformers.util import pairwise_cos_sim
from torch.nn.functional import kl_div, log_softmax

from polymine.training.contrastive import LOWEST
from polymine.training.team import ALONE, Team

if TYPE_CHECKING:
    from collections.abc import Iterable

    from sentence_transformers import SentenceTransformer
    from torch import Tensor


class WeightedDistillationLoss(DistillKLDivLoss):
    """KL divergence from the teacher's order of a row's own candidates to the student's.

    ln weight shifts the logits of both sides, so that a doubtful negative counts as little in what
    is asked as in what is answered.
    """

    team: Team = ALONE

    def compute_loss_from_embeddings(self, embeddings: list[Tensor], labels: Any) -> Tensor:
        """Compare the student's order of each row's candidates with the teacher's.

        Args:
            embeddings: queries, positives and negatives, each (rows that this process reads, d).
            labels: `Labels` of the whole batch, with scores.

        Returns:
            The mean over rows, a scalar; student and teacher logits are cosines over temperature.
        """
        query, *candidates = self.team.whole(embeddings, len(labels.weights))
        own = [labels.of_column(column).diagonal() for column in range(1, len(embeddings))]
        shift = torch.stack(own, dim=1).clamp(min=LOWEST)
        student = torch.stack([pairwise_cos_sim(query, each) for each in candidates], dim=1)
        student = log_softmax(student / self.student_temperature + shift, dim=1)
        teacher = log_softmax(labels.scores / self.teacher_temperature + shift, dim=1)
        loss = kl_div(student, teacher, reduction="none", log_target=True).sum(1)
        # As in the library: T changes no gradient's size.
        mean: Tensor = (loss * labels.weights).mean() * self.student_temperature**2
        return mean


class WeightedMarginLoss(torch.nn.Module):
    """Mean squared error of the student's margins of cosines against the teacher's (MarginMSE).

    Hofstaetter et al., arXiv 2010.02666. A negative counts by its weight; padding and what is
    closed not at all.
    """

    team: Team = ALONE

    def __init__(self, model: SentenceTransformer) -> None:
        super().__init__()
        self.model = model

    def forward(self, sentence_features: Iterable[dict[str, Tensor]], labels: Any) -> Tensor:
        """Compare margins of a batch.

        Args:
            sentence_features: per column, queries first, then positives and negatives; the rows
                that this process reads.
            labels: `Labels` of the whole batch, with scores.

        Returns:
            The weighted mean over rows, a scalar.
        """
        own = [self.model(each)["sentence_embedding"] for each in sentence_features]
        query, positive, *negatives = self.team.whole(own, len(labels.weights))
        shifts = [labels.of_column(column).diagonal() for column in range(2, 2 + len(negatives))]
        weights = torch.stack(shifts, dim=1).exp()
        cosines = torch.stack([pairwise_cos_sim(query, each) for each in negatives], dim=1)
        margins = pairwise_cos_sim(query, positive)[:, None] - cosines
        wanted = labels.scores[:, :1] - labels.scores[:, 1:]
        apart = (weights * (margins - wanted) ** 2).sum(1) / weights.sum(1).clamp(min=1e-6)
        mean: Tensor = (apart * labels.weights).mean()
        return mean


class ImitationLoss(MSELoss):
    """Mean squared distance of a row's texts from a guide's vector of its document."""

    team: Team = ALONE

    def compute_loss_from_embeddings(
        self, embeddings: list[Tensor], teacher_embeddings: list[Tensor]
    ) -> Tensor:
        """Compare a batch.

        Args:
            embeddings: of the columns, each (rows that this process reads, d).
            teacher_embeddings: for each of them, those of the whole batch, (rows, d).

        Returns:
            The mean over rows and components, a scalar.
        """
        whole = self.team.whole(embeddings, len(teacher_embeddings[0]))
        loss: Tensor = super().compute_loss_from_embeddings(whole, teacher_embeddings)
        return loss
