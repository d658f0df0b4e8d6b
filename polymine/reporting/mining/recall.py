"""How well each teacher finds the known positives: who does not know a language is found out.

A known positive's rank counts the candidates that score at least as high, known positives of the
query left out (the "filtered" rank of link prediction, Bordes et al. 2013); copies and versions of
a positive are no candidates either. A tie counts against the teacher: one that knows no word of a
language gives all of it the same score.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import polars as pl

from polymine.reporting.mining.tables import Section, Tables

TOP = 10  # ranks that count for the second of the two shares
ENOUGH = 20  # queries of a language from which a warning may come
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
        tables, key = self.tables, ["query_id", "doc_id"]
        known = tables.positives.join(tables.queries.select("query_id", "language"), on="query_id")
        rivals = tables.evidence.filter(pl.col("closed").is_null())
        parts = []
        for teacher in tables.teachers:
            score, rank = f"score_{teacher}", pl.col(f"rank_{teacher}")
            place = rank.rank("ordinal").over("query_id")  # among rivals alone
            near = rivals.filter(rank.is_not_null()).filter(place <= TOP)
            each = known.select(*key, "language", score).join(
                near.select("query_id", rival=score), on="query_id", how="left"
            )
            ranks = each.group_by(*key, "language").agg(
                above=(pl.col("rival") >= pl.col(score)).sum(), rivals=pl.col("rival").count()
            )
            own = tables.evidence.filter(pl.col("closed") == "positive").select(*key, own=rank)
            # Where fewer rivals are ranked, a positive that is not is behind those that are not.
            found = pl.col("own").is_not_null() | (pl.col("rivals") >= TOP)
            queries = (
                ranks.join(own, on=key, how="left")
                .group_by("query_id", "language")
                .agg(
                    first=((pl.col("above") < 1) & found).mean(),
                    within=((pl.col("above") < TOP) & found).mean(),
                )
            )
            shares = [pl.len().alias("queries"), pl.col("first").mean(), pl.col("within").mean()]
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
