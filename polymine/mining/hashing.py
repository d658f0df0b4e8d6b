"""Content hashes and the seeded random numbers made from them.

A random number that depends on (seed, query, document) alone does not care in which order, shard
or process a candidate is met.
"""

from collections.abc import Iterable

import numpy as np
import xxhash
from numpy.typing import NDArray


def hash_texts(texts: Iterable[str]) -> NDArray[np.uint64]:
    """Hash texts (xxh3, 64 bit).

    Args:
        texts: hashed as UTF-8, half surrogates included.

    Returns:
        uint64, (n,).
    """
    return np.fromiter(
        (xxhash.xxh3_64_intdigest(text.encode("utf-8", "surrogatepass")) for text in texts),
        dtype=np.uint64,
    )


def uniform(seed: int, *keys: NDArray[np.uint64]) -> NDArray[np.float64]:
    """Draw one random number per row (SplitMix64 over seed and keys).

    Args:
        seed: not negative.
        keys: hashes, (n,) each; their order counts.

    Returns:
        float64 in (0, 1], shape (n,); the largest number rounds to 1.
    """
    state = np.full(len(keys[0]), np.uint64(seed), dtype=np.uint64)
    with np.errstate(over="ignore"):
        for key in keys:
            state = _mix(state ^ key)
        state = _mix(state)
    return ((state >> np.uint64(11)).astype(np.float64) + 0.5) * 2.0**-53


def _mix(state: NDArray[np.uint64]) -> NDArray[np.uint64]:
    state = state + np.uint64(0x9E3779B97F4A7C15)
    state = (state ^ (state >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    state = (state ^ (state >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return state ^ (state >> np.uint64(31))
