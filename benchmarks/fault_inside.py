"""What is done to a child process before it runs: set clocks, and devices with little memory."""

import itertools
import threading
import time
from collections.abc import Callable
from typing import Any

JUMPS = (-86_400.0, 3_600.0, -7.0, 31_536_000.0)  # seconds: a day back, an hour on, a year on
JUMP_EVERY = 0.4  # seconds


def jumping_clock() -> None:
    """Let the clock of this process jump, forwards and backwards, for as long as it runs.

    Python's own clock: `time.time` and `time.time_ns`. The monotonic clock never jumps.
    """
    true, true_ns, offset = time.time, time.time_ns, [0.0]
    time.time = lambda: true() + offset[0]
    time.time_ns = lambda: true_ns() + int(offset[0] * 1e9)

    def jump() -> None:
        for each in itertools.cycle(JUMPS):
            time.sleep(JUMP_EVERY)
            offset[0] = each

    threading.Thread(target=jump, daemon=True).start()


def little_memory(inference: int, training: int) -> None:
    """Let models raise torch.OutOfMemoryError for more tokens at once than these.

    The models themselves are real; what is put before them is the limit.
    """
    from polymine import models
    from polymine.training import adapters

    models.load_encoder = _limited(models.load_encoder, inference)
    models.load_cross_encoder = _limited(models.load_cross_encoder, inference)
    adapters.load_encoder = _limited(adapters.load_encoder, training)


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
