"""Makes the loss that a step's settings name."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from sentence_transformers.sentence_transformer.losses import MatryoshkaLoss

from polymine import models
from polymine.data_contracts.errors import ModelError
from polymine.training.contrastive import (
    BaseAnchor,
    BatchLoss,
    WeightedListLoss,
    WeightedRankingLoss,
)
from polymine.training.distillation import WeightedDistillationLoss, WeightedMarginLoss
from polymine.training.gist import WeightedGISTLoss
from polymine.training.team import ALONE, Team

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer

    from polymine.data_contracts.settings import GuideModel, LossSettings


def build_loss(
    model: SentenceTransformer,
    settings: LossSettings,
    mini_batch: int,
    *,
    device: str,
    anchor: BaseAnchor | None = None,
    spread: float | None = None,
    team: Team = ALONE,
) -> torch.nn.Module:
    """Make the loss that a step's settings name.

    Args:
        model: that learns.
        settings: of all kinds but `mse` and `align`; `gist` loads its guide.
        mini_batch: texts embedded at once; `distill` and `margin` hold the whole batch.
        device: of the guide.
        anchor: pulls towards the base; for losses over a whole batch.
        spread: of the scores that `list` learns: the teacher's temperature, if none is set.
        team: of the processes that share a batch.

    Returns:
        A loss as the sentence-transformers trainer calls it, with `Labels` of the batch.

    Raises:
        ModelError: it gives shorter vectors than it is to learn with.
    """
    loss = _plain_loss(model, settings, mini_batch, device, spread)
    loss.team = team
    if isinstance(loss, BatchLoss):
        loss.anchor = anchor
    if settings.dimensions is None:
        return loss
    whole = model.get_embedding_dimension()
    if whole is None or max(settings.dimensions) > whole:
        raise ModelError(
            f"loss.dimensions: the model gives vectors of {whole} components, fewer than "
            f"{max(settings.dimensions)}"
        )
    dimensions = sorted({*settings.dimensions, whole})
    if isinstance(loss, WeightedRankingLoss):
        loss.always_cached = True  # else its gradients would not pass through what is cut
    each = [1 / len(dimensions)] * len(dimensions)
    return MatryoshkaLoss(model, loss, dimensions, each)


def _plain_loss(
    model: SentenceTransformer,
    settings: LossSettings,
    mini_batch: int,
    device: str,
    spread: float | None,
) -> BatchLoss | WeightedDistillationLoss | WeightedMarginLoss:
    if settings.kind == "list":
        teacher = settings.teacher_temperature or spread
        assert teacher is not None, "measured where none is set"
        return WeightedListLoss(
            model, settings.temperature, mini_batch, teacher, settings.infonce_weight
        )
    if settings.kind == "distill":
        return WeightedDistillationLoss(model, temperature=settings.temperature)
    if settings.kind == "margin":
        return WeightedMarginLoss(model)
    if settings.kind == "gist":
        assert settings.guide is not None, "checked by the settings"
        guide, call = load_guide(settings.guide, device)
        return WeightedGISTLoss(
            model, guide, call, settings.temperature, mini_batch, settings.margin,
            settings.contrasts,
        )  # fmt: skip
    clear = settings.kind == "clear"
    return WeightedRankingLoss(
        model, settings.temperature, mini_batch,
        reverse=settings.reverse if clear else settings.symmetric / 2,
        agreement=settings.agreement if clear else 0.0,
        unseen_margin=settings.unseen_margin, similarity=settings.similarity,
    )  # fmt: skip


def load_guide(guide: GuideModel, device: str) -> tuple[SentenceTransformer, GuideModel]:
    """Load a guide, and say how it is called: its prompts and similarity settled."""
    call = models.settled(guide)
    loaded = models.load_encoder(
        call.model, device=device, dtype=models.dtype_of(call, device), max_length=call.max_length,
        trust_remote_code=call.trust_remote_code,
    )  # fmt: skip
    return loaded, call
