"""How well each teacher finds the known positives: who does not know a language is found out."""

from collections.abc import Sequence
from dataclasses import dataclass

import polars as pl

from polymine.mining.recall import ENOUGH, TOP, find_recall
from polymine.reporting.mining.tables import Section, Tables

TRAILS = 0.2  # behind the best teacher's share of positives within TOP, from which one is weak
LOW = 0.3  # share within TOP that any search model reaches where it understands the texts


@dataclass(frozen=True)
class Recalled:
    """Recall of known positives by one teacher: a mean over queries of the share of theirs.

    Args:
        teacher: its name.
        language: of the queries; None for all of them.
        queries: that have a known positive.
        first, within: share of positives at rank 1, and within TOP; the latter is None where less
            than TOP candidates are ranked.
    """

    teacher: str
    language: str | None
    queries: int
    first: float
    within: float | None

    @property
    def best(self) -> float:
        """The share by which teachers are compared."""
        return self.first if self.within is None else self.within


@dataclass(frozen=True)
class Weak:
    """A teacher that finds far fewer positives than the best one does, or than a search model."""

    found: Recalled
    best: Recalled


class Recall(Section):
    """Counts, for every known positive, the candidates above it.

    Args:
        tables: of the run.
        depth: candidates that were ranked per query and teacher.
    """

    def __init__(self, tables: Tables, depth: int) -> None:
        super().__init__(tables)
        self._depth = depth

    def plan(self) -> tuple[pl.LazyFrame, ...]:
        """Plan one frame: teacher, language (null for all), queries, first, within."""
        tables = self.tables
        languages = tables.queries.select("query_id", "language")
        known = tables.positives.join(languages, on="query_id")
        shares = [pl.len().alias("queries"), pl.col("first").mean(), pl.col("within").mean()]
        parts = []
        for teacher in tables.teachers:
            queries = find_recall(teacher, tables.evidence, known, ["language"])
            whole = queries.select(pl.lit(None, pl.String).alias("language"), *shares)
            parts += [
                frame.select(pl.lit(teacher).alias("teacher"), pl.all())
                for frame in (whole, queries.group_by("language").agg(shares).sort("language"))
            ]
        return (pl.concat(parts, how="vertical_relaxed"),)

    def finish(self) -> tuple[Recalled, ...]:
        """Name what was counted: each teacher over all queries, then by language."""
        return tuple(
            Recalled(teacher, language, queries, first, within if self._depth >= TOP else None)
            for teacher, language, queries, first, within in self.frames[0].rows()
            if queries
        )


def find_weak(recall: Sequence[Recalled]) -> list[Weak]:
    """Find teachers that do not seem to know a language, or the texts as a whole.

    Args:
        recall: as from `Recall.finish`.

    Returns:
        Each with the best teacher on the same queries, all queries before single languages; a
        language is not named where the teacher is as weak on all of them.
    """
    weak: list[Weak] = []
    for found in sorted(recall, key=lambda each: each.language is not None):
        same = [each for each in recall if each.language == found.language]
        best = max(same, key=lambda each: each.best)
        trails = found.best < best.best - TRAILS or found.best < LOW
        said = {each.found.teacher for each in weak if each.found.language is None}
        if found.queries >= ENOUGH and trails and found.teacher not in said:
            weak.append(Weak(found, best))
    return weak
