"""Says in which precision training is fastest here, which encoding alone does not tell.

Training keeps float32 weights and casts them in each step, so bfloat16 may gain less.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from polymine import models
from polymine.data_contracts.settings import AdaptedModel, LoraSettings
from polymine.training import adapters

TEXTS = ["word " * 62] * 8


def learning_dtype(base: AdaptedModel, device: str) -> str:
    """Say in which precision a base is trained on a device: as named, or the fastest.

    Raises:
        ModelError: see `polymine.models.fastest`.
    """
    return models.fastest(base, device, "train", partial(_open, base.trust_remote_code))


def _open(trusted: bool, name: str) -> Callable[[str], Callable[[], None]]:
    """Load a base with a fresh adapter, and learn a batch as a step does."""
    import torch

    encoder = adapters.load_base(name, device="cpu", trust_remote_code=trusted)
    adapters.add_fresh(encoder, "tried", LoraSettings(), seed=0)
    adapters.activate(encoder, ["tried"], "tried")
    features = encoder.train().preprocess(TEXTS)

    def batch(dtype: str) -> Callable[[], None]:
        def compute() -> None:
            with torch.autocast("cpu", torch.bfloat16, enabled=dtype == "bfloat16"):
                vectors = encoder(dict(features))["sentence_embedding"]
            vectors.float().square().sum().backward()
            encoder.zero_grad()

        return compute

    return batch
