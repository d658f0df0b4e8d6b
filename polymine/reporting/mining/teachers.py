"""What the teachers have in common: their best candidates, and who found the kept negatives."""

from itertools import combinations
from typing import NamedTuple

import polars as pl

from polymine.reporting.mining.tables import Section

TOP = 10  # best candidates whose overlap is measured
RANKS = (1, 2, 3, 5, 10, 20, 50, 100, 200, 500, 1000)  # last rank of each bucket
DEEPER = "deeper"


class Agreement(NamedTuple):
    """Mean over queries of shared / all of two teachers' best candidates (Jaccard index)."""

    one: str
    other: str
    overlap: float


class Found(NamedTuple):
    """How many kept negatives a teacher had among its candidates, and alone."""

    teacher: str
    hits: int
    alone: int


class TeacherSummary(NamedTuple):
    """Kept negatives by best rank, as (label, count); who found them; how far teachers agree."""

    ranks: tuple[tuple[str, int], ...]
    found: tuple[Found, ...]
    agreement: tuple[Agreement, ...]


class Teachers(Section):
    """Counts over the evidence."""

    def plan(self) -> tuple[pl.LazyFrame, ...]:
        """Plan how the teachers' finds compare.

        Returns:
            Buckets of the negatives' ranks; per teacher how many it found, and how many it alone;
            the mean overlap of each two teachers' first `TOP`.
        """
        tables = self.tables
        hit = {teacher: pl.col(f"rank_{teacher}").is_not_null() for teacher in tables.teachers}
        kept = tables.evidence.join(
            tables.kept.select("query_id", "doc_id"), on=["query_id", "doc_id"], how="semi"
        )
        bucket = pl.col("rank").cast(pl.Int64).cut(RANKS, labels=_labels()).cast(pl.String)
        alone = pl.sum_horizontal(hit.values()) == 1
        best = {name: found & (pl.col(f"rank_{name}") <= TOP) for name, found in hit.items()}
        top = tables.evidence.select("query_id", **best)
        overlaps = {}
        for at, (one, other) in enumerate(combinations(tables.teachers, 2)):
            both, either = pl.col(one) & pl.col(other), pl.col(one) | pl.col(other)
            # Teachers that both found nothing have no overlap to speak of: left out of the mean.
            overlaps[f"{at}"] = (both.sum() / either.sum()).fill_nan(None)
        return (
            kept.group_by(bucket.fill_null(DEEPER).alias("bucket")).len(),
            kept.select(found.sum().alias(name) for name, found in hit.items()),
            kept.select((found & alone).sum().alias(name) for name, found in hit.items()),
            top.group_by("query_id").agg(**overlaps).select(pl.exclude("query_id").mean()),
        )

    def finish(self) -> TeacherSummary:
        """Name what was counted."""
        buckets, found, alone, overlaps = self.frames
        teachers = self.tables.teachers
        counts = dict(buckets.rows())
        labels = _labels()
        last = max((labels.index(label) for label in counts if label != DEEPER), default=-1)
        shown = [*labels[: last + 1], *([DEEPER] if DEEPER in counts else [])]
        pairs = combinations(teachers, 2)
        means = overlaps.row(0) if overlaps.width else ()
        return TeacherSummary(
            tuple((label, counts.get(label, 0)) for label in shown),
            tuple(map(Found, teachers, found.row(0), alone.row(0))),
            tuple(
                Agreement(*pair, mean)
                for pair, mean in zip(pairs, means, strict=True)
                if mean is not None
            ),
        )


def _labels() -> list[str]:
    firsts = [1, *(last + 1 for last in RANKS[:-1])]
    spans = zip(firsts, RANKS, strict=True)
    return [str(a) if a == b else f"{a}–{b}" for a, b in spans] + [f"> {RANKS[-1]}"]
