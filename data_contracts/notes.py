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


@dataclass(frozen=True)
class Understood:
    """What one file was understood to be.

    Args:
        file: what errors call it.
        format: `CSV`, `TSV`, `JSON lines`, `Parquet`, `TREC qrels` ...
        rows: records read, broken ones included.
        lines: lines counted, header and blank ones aside; None where a format has none.
        encoding, separator, quoting, header: of delimited text only.
        columns: (meaning, column) of what is used.
        by_position: meanings for which only the position of a column spoke.
        ignored: columns that are not used.
        missing: cells that hold a mark such as `NaN` and are read as missing.
        languages, grades: values seen, with their number of rows.
    """

    file: str
    format: str
    rows: int = 0
    lines: int | None = None
    encoding: str | None = None
    separator: str | None = None
    quoting: bool | None = None
    header: bool | None = None
    columns: tuple[tuple[str, str], ...] = ()
    by_position: tuple[str, ...] = ()
    ignored: tuple[str, ...] = ()
    missing: int = 0
    languages: tuple[tuple[str, int], ...] = ()
    grades: tuple[tuple[str, int], ...] = ()


class CollectionNote(Note):
    """Where a collection came from.

    Args:
        sources: what each of its files was taken for.
        given: pairs of queries and negatives that its files give.
    """

    sources: tuple[Understood, ...] = ()
    given: int = 0


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
