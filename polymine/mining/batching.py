"""Batches by token budget, worked on by all processors at once, with the same bits every time.

On a CPU each batch is computed by one thread and the batches run side by side: the cores are as
busy as if every matrix product were split over them. A batch holds texts of one length, so nothing
is padded. Measured with float32 and bfloat16 (docs/LOG.md): a text's result then has the same bits
whatever else is computed with it and on however many threads, while a single column of padding
changes them. So do products of few rows: see `polymine.models.batch_invariance`. A GPU wants large
batches more than equal bits; there texts of like length share one.
"""

import contextvars
import copy
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

Lengths = NDArray[np.int64]
Item = TypeVar("Item")
Result = TypeVar("Result")

GPU_BUDGET_FACTOR = 32  # a GPU needs far larger batches than a CPU's cache holds


def plan_batches(
    lengths: NDArray[np.int64], hashes: NDArray[np.uint64], budget: int, one_length: bool
) -> list[NDArray[np.int64]]:
    """Group texts of like length so that rows times the longest stays within `budget` tokens.

    Args:
        lengths: tokens per text, shape (n,).
        hashes: content hashes, shape (n,); they break ties between equal lengths.
        budget: tokens per batch, padding included; a longer text gets a batch of its own.
        one_length: whether texts that share a batch must be equally long.

    Returns:
        Positions per batch, longest texts first, so that memory peaks at the start.
    """
    order = np.lexsort((hashes, -lengths))
    ordered = np.maximum(lengths[order], 1)  # some tokenizers find nothing in a text of symbols
    batches, start = [], 0
    while start < len(order):
        longest = int(ordered[start])
        stop = min(start + max(budget // longest, 1), len(order))
        if one_length:
            stop = start + int(np.searchsorted(-ordered[start:stop], -longest, side="right"))
        batches.append(order[start:stop])
        start = stop
    return batches


def count_tokens(tokenizer: Any, texts: Sequence[str] | Sequence[tuple[str, str]]) -> Lengths:
    """Count the tokens of texts or text pairs, untruncated, special tokens included.

    Args:
        tokenizer: of transformers. One without a fast implementation gives a guess from the
            characters: good enough to batch by, though texts of one guessed length may be padded.
        texts: texts, or pairs that are encoded together.

    Returns:
        Tokens per text, shape (n,).
    """
    if not getattr(tokenizer, "is_fast", False):
        return np.array([len("".join(text)) // 4 + 2 for text in texts], dtype=np.int64)
    # A copy, because padding and truncation are state of the tokenizer that others set.
    counter = copy.deepcopy(tokenizer.backend_tokenizer)
    counter.no_padding()
    counter.no_truncation()
    counts = (len(encoding) for encoding in counter.encode_batch_fast(list(texts)))
    return np.fromiter(counts, dtype=np.int64, count=len(texts))


def run_batches(
    work: Callable[[Item, int], Result], items: Sequence[Item], workers: int
) -> Iterator[Result]:
    """Apply `work(item, worker)` to every item with `workers` threads.

    At most two items per worker are in flight, so memory stays flat however many there are.

    Args:
        work: called with an item and the number of a worker, 0 to workers - 1, which no other call
            has at the same time; torch has one thread in it.
        items: batches, in the order in which they are started.

    Returns:
        The results in the order of the items; the first error is raised in its item's place.
    """
    with _single_threaded_torch(), ThreadPoolExecutor(workers, initializer=_one_thread) as pool:
        free = list(range(workers))

        def run(item: Item) -> Result:
            worker = free.pop()  # list.pop and append are atomic
            try:
                return work(item, worker)
            finally:
                free.append(worker)

        waiting: list[Future[Result]] = []
        for item in items:
            # In the caller's context, so that a log line of a thread is one of the caller's task.
            waiting.append(pool.submit(contextvars.copy_context().run, run, item))
            if len(waiting) >= 2 * workers:
                yield waiting.pop(0).result()
        for future in waiting:
            yield future.result()


def _one_thread() -> None:
    import torch

    torch.set_num_threads(1)


@contextmanager
def _single_threaded_torch() -> Iterator[None]:
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)
