"""What is done to a child process before it runs: another machine, devices with little memory."""

import os
from collections.abc import Callable
from typing import Any


def other_machine(environment: dict[str, str]) -> None:
    """Work as a machine with this environment, as a `POLYMINE_HOME` of its own."""
    os.environ.update(environment)


def little_memory(inference: int, training: int) -> None:
    """Let models raise torch.OutOfMemoryError for more tokens at once than these.

    The models themselves are real; what is put before them is the limit.
    """
    from polymine import models
    from polymine.training import adapters

    limits = ((models, "load_encoder", inference), (models, "load_cross_encoder", inference))
    for module, name, most in (*limits, (adapters, "load_encoder", training)):
        setattr(module, name, _limited(getattr(module, name), most))


def _limited(load: Callable[..., Any], most: int) -> Callable[..., Any]:
    def load_limited(*arguments: Any, **named: Any) -> Any:
        model = load(*arguments, **named)
        limit_memory(model, most)
        return model

    return load_limited


def limit_memory(model: Any, most: int) -> list[int]:
    """Let a sentence-transformers model hold `most` tokens at once; return what was refused."""
    import torch

    refused: list[int] = []

    def check(_: Any, inputs: tuple[dict[str, Any], ...]) -> None:
        tokens = inputs[0]["input_ids"].numel()
        if tokens > most:
            refused.append(tokens)
            raise torch.OutOfMemoryError(f"CUDA out of memory. Tried to allocate {tokens} tokens")

    model[0].register_forward_pre_hook(check)
    return refused
