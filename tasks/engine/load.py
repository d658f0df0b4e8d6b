"""What a stage has to do, for `polymine plan` and for progress."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Load:
    """What there is to do, as far as it can be told before anything is done.

    Args:
        amount: in `unit`.
        rate: name under which a store notes how fast such work goes.
        each: what every unit is compared with, as the documents that a query is ranked among.
        estimated: whether the amount comes from a sample, or is the most that it can be.
    """

    amount: int
    unit: str
    rate: str
    each: int = 1
    estimated: bool = False
