"""The risk model as a value: weights a reader can follow, what they were fitted on, how sure."""

from typing import Literal

from pydantic import BaseModel, ConfigDict

Pair = Literal["same", "foreign"]  # candidate in the language of the query, or in another
PAIRS: tuple[Pair, ...] = ("same", "foreign")


class _Value(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Linear(_Value):
    """Log-odds: intercept + sum of weight x (feature - centre); a missing feature counts 0.

    `spread` is the standard deviation of the weights, and `intercept_spread` that of the
    intercept: how far another data set's may lie (as a prior), or how sure they are (fitted).
    """

    features: tuple[str, ...]
    centres: tuple[float, ...]
    weights: tuple[float, ...]
    spreads: tuple[float, ...]
    intercept: float
    intercept_spread: float


class Bin(_Value):
    """One point of a reliability diagram: what was expected, what was true, of how many."""

    expected: float
    true: float
    count: int


class Proof(_Value):
    """What happened on a collection whose judgments took no part in the fit."""

    collection: str
    expected: float
    true: float
    bins: tuple[Bin, ...]


class Source(_Value):
    """Something the weights were fitted on, and how much of it there was."""

    name: str
    pairs: int


class RiskModel(_Value):
    """Probability that a candidate is relevant.

    `languages` are those of the queries that the weights were fitted on.
    `full` reads all evidence, per pair of languages; `query_side` only what can be known of a
    query's single positive too, and through it the data at hand say how many relevant documents
    nobody has marked. `offsets` shift the log-odds per query language. `rate_spread` is the
    standard deviation of ln(expected rate).
    """

    kinds: tuple[str, ...]
    languages: dict[Pair, tuple[str, ...]] = {}
    full: dict[Pair, Linear]
    query_side: Linear
    offsets: dict[str, float] = {}
    rate_spread: float
    sources: tuple[Source, ...] = ()
    notes: tuple[str, ...] = ()
    proofs: tuple[Proof, ...] = ()
