"""A way to choose negatives, and the one value of it that trades hardness against cleanliness.

A method sees a `Case` and one value and says what it would choose; it never sees what is hidden.
The values of a method are the same for every collection: nothing is tuned on what is reported.
"""

from collections.abc import Sequence
from typing import Protocol

import numpy as np
import polars as pl

from benchmarks.negatives.cases import Case

Value = float | None  # None: the method has nothing to set


def steps(first: float, last: float, step: float) -> tuple[Value, ...]:
    """Values from `first` to `last`, both included."""
    return tuple(np.round(np.arange(first, last + step / 2, step), 6).tolist())


SHIFTS: tuple[Value, ...] = (
    0, 1, 2, 3, 5, 7, 10, 15, 20, 25, 30, 40, 50, 60, 80, 120, 160, 240, 320, 480,
)  # fmt: skip
ABSOLUTES = steps(0.15, 0.9, 0.025)
MARGINS = (*steps(0, 0.2, 0.0125), 0.25, 0.3, 0.35, 0.4)
PERCENTS = (*steps(0.4, 0.75, 0.05), *steps(0.8, 1.1, 0.025))
SUMS = (*steps(0, 10, 0.25), *steps(10.5, 24, 0.5), *steps(26, 60, 2))
PRICES = (0.0, *np.round(np.geomspace(0.02, 200, 49), 4).tolist())
# What the baseline calls a relative margin m is percent 1 - m; None is its default, no margin.
BASELINE_MARGINS = (None, *steps(0, 0.2, 0.025), *steps(0.25, 0.6, 0.05))


class Method(Protocol):
    """Chooses negatives; `values` are tried one after the other."""

    @property
    def name(self) -> str:
        """What tables and pictures call it."""
        ...

    @property
    def values(self) -> Sequence[Value]:
        """The sweep, the same for every collection."""
        ...

    def choose(self, case: Case, value: Value, wanted: int) -> pl.DataFrame:
        """Choose at most `wanted` negatives per query: query_id, doc_id, score of the dense
        teacher."""
        ...
