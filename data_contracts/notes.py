"""What stages note beside their rows: a typed value per contract, kept in the manifest."""

from pydantic import BaseModel, ConfigDict
from pydantic.dataclasses import dataclass


class Note(BaseModel):
    """Base of all notes."""

    model_config = ConfigDict(frozen=True, extra="forbid")


@dataclass(frozen=True)
class Choice:
    """What decides under the rule `risk`: the price of risk, and the highest risk taken at all."""

    price: float
    ceiling: float


@dataclass(frozen=True)
class Point:
    """One point of the trade-off: what a price buys. `found` is the share of wanted negatives."""

    price: float
    hardness: float
    expected: float
    found: float


class RankingNote(Note):
    """What a later ranking needs to build on this one; empty for teachers that rank anew.

    Args:
        series: rankings of one series differ in documents and queries alone.
        sketch: lowest hashes of texts, which stand for the corpus.
        tables: documents and queries, as `contract/fingerprint`.
    """

    series: str = ""
    sketch: tuple[int, ...] = ()
    tables: tuple[str, ...] = ()


class DecisionsNote(Note):
    """What there was to decide on.

    Args:
        reach: candidates per query that are put in order.
        candidates: how many were decided on.
        choice, chosen, curve: under the rule `risk`, what decides, what it buys, and what other
            prices would buy.
    """

    reach: int
    candidates: int
    choice: Choice | None = None
    chosen: Point | None = None
    curve: tuple[Point, ...] = ()


class ScoredNote(Note):
    """Pairs that a validator was asked about, and how many of them it had not scored before."""

    pairs: int
    pairs_scored_now: int


class ExportNote(Note):
    """Counts of an export; `reasons` are (verdict, reason, rows) of the master of negatives."""

    queries: int
    triplets: int
    shortfalls: int
    reasons: tuple[tuple[str, str | None, int], ...]
