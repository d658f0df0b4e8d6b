"""A device whose memory does not hold a batch: the batch is halved, and the log says so.

How much memory a batch needs depends on the model, its attention, its precision and on what else
runs on the device; no estimate made beforehand is right everywhere. So a batch is tried, and what
did not fit is halved. What was learned is kept: later batches are cut before they fail, too.
accelerate tells what means that memory is full; its `find_executable_batch_size` is not used, since
it collects garbage before every call, and learns nothing for the next one.
"""

import logging
import threading
from collections.abc import Callable, Sequence
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from polymine.data_contracts.errors import ModelError

Item = TypeVar("Item")

logger = logging.getLogger("polymine.models.memory")


class AdaptiveBatcher:
    """Computes batches in pieces that the memory of a device holds.

    Args:
        what: in the log, as `embedding with all-MiniLM`.
        advice: what a person can do when a single text does not fit.
    """

    def __init__(self, what: str, advice: str) -> None:
        self._what, self._advice = what, advice
        self._most: float | None = None  # tokens that may fit, once some did not
        self._lock = threading.Lock()

    def compute(
        self,
        forward: Callable[[list[Item]], NDArray[np.float32]],
        items: Sequence[Item],
        tokens: float,
    ) -> NDArray[np.float32]:
        """Apply `forward` to all items, halving them for as long as they do not fit.

        Args:
            forward: gives one row per item, in their order.
            items: texts or pairs of texts.
            tokens: of all of them together.

        Returns:
            One row per item, in their order.

        Raises:
            ModelError: a single item does not fit.
        """
        if len(items) == 1 or self._most is None or tokens <= self._most:
            # The error must be gone before the next try: its traceback holds the batch's tensors.
            try:
                return forward(list(items))
            except RuntimeError as error:
                if not is_out_of_memory(error):
                    raise
                if len(items) == 1:
                    raise ModelError(
                        f"{self._what}: one text is more than memory holds by itself: "
                        f"{items[0]!r:.120}. {self._advice}"
                    ) from error
            release_memory()
            self._learn(tokens)
        middle = len(items) // 2
        share = tokens / len(items)
        halves = (items[:middle], items[middle:])
        return np.concatenate([self.compute(forward, h, share * len(h)) for h in halves])

    def _learn(self, tokens: float) -> None:
        with self._lock:
            if self._most is not None and self._most <= tokens / 2:
                return  # another thread's batch said so already
            self._most = tokens / 2
        logger.warning(
            "%s: a batch of %s tokens is more than memory holds; halved, and so are those to come",
            self._what, f"{tokens:,.0f}",
        )  # fmt: skip


def is_out_of_memory(error: Exception) -> bool:
    """Whether an error means that a device, or this machine, has no memory left for a tensor."""
    from accelerate.utils.memory import should_reduce_batch_size

    return should_reduce_batch_size(error) or "CUBLAS_STATUS_ALLOC_FAILED" in str(error)


def release_memory() -> None:
    """Give back what a failed try left behind, so that half of it has room."""
    from accelerate.utils.memory import clear_device_cache

    clear_device_cache(garbage_collection=True)
