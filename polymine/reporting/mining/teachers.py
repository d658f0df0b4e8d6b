"""What the teachers have in common: their best candidates, and who found the kept negatives."""

from dataclasses import dataclass
from itertools import combinations

import polars as pl

from polymine.reporting.mining.tables import Tables

TOP = 10  # best candidates whose overlap is measured
RANKS = (1, 2, 3, 5, 10, 20, 50, 100, 200, 500, 1000)  # last rank of each bucket


@dataclass(frozen=True)
class Agreement:
    """Mean over queries of shared / all of two teachers' best candidates (Jaccard index)."""

    one: str
    other: str
    overlap: float


@dataclass(frozen=True)
class Bucket:
    """Kept negatives whose best rank lies in a range."""

    label: str
    count: int


@dataclass(frozen=True)
class Found:
    """How many kept negatives a teacher had among its candidates, and alone."""

    teacher: str
    count: int
    alone: int


def plan_teachers(tables: Tables) -> dict[str, pl.LazyFrame]:
    """Plan both counts over the evidence."""
    names = {teacher: pl.col(f"rank_{teacher}") for teacher in tables.teachers}
    keys = tables.kept.select("query_id", "doc_id")
    kept = tables.evidence.select("query_id", "doc_id", "rank", *names.values()).join(
        keys, on=["query_id", "doc_id"], how="semi"
    )
    ranks = [0, *RANKS]
    bucket = pl.col("rank").cast(pl.Int64).cut(ranks[1:], labels=_labels()).cast(pl.String)
    hit = {teacher: rank.is_not_null() for teacher, rank in names.items()}
    plans = {
        "buckets": kept.group_by(bucket.fill_null("deeper").alias("bucket")).len("rows"),
        "found": kept.select(pl.sum_horizontal(hit.values()).alias("hits"), **hit).select(
            *[pl.col(teacher).sum().alias(f"count_{teacher}") for teacher in names],
            *[
                (pl.col(teacher) & (pl.col("hits") == 1)).sum().alias(f"alone_{teacher}")
                for teacher in names
            ],
        ),
    }
    if len(names) > 1:
        plans["overlap"] = _plan_overlap(tables, names)
    return plans


def _plan_overlap(tables: Tables, names: dict[str, pl.Expr]) -> pl.LazyFrame:
    best = {teacher: rank.is_not_null() & (rank <= TOP) for teacher, rank in names.items()}
    rows = tables.evidence.select("query_id", **best).filter(pl.any_horizontal(*names))
    ratios = []
    for one, other in combinations(names, 2):
        both, either = pl.col(one) & pl.col(other), pl.col(one) | pl.col(other)
        ratios.append((both.sum() / either.sum()).alias(f"{one}\x1f{other}"))
    # Teachers that both found nothing have no overlap to speak of: NaN, left out of the mean.
    per_query = rows.group_by("query_id").agg(ratios)
    return per_query.select(pl.exclude("query_id").fill_nan(None).mean())


def finish_teachers(
    found: dict[str, pl.DataFrame], teachers: tuple[str, ...]
) -> tuple[tuple[Bucket, ...], tuple[Found, ...], tuple[Agreement, ...]]:
    """Name what was counted."""
    counts = dict(found["buckets"].rows())
    labels = [*_labels(), "deeper"]
    last = max((labels.index(label) for label in counts if label != "deeper"), default=-1)
    shown = [*labels[: last + 1], *(["deeper"] if "deeper" in counts else [])]
    buckets = tuple(Bucket(label, counts.get(label, 0)) for label in shown)
    row = found["found"].row(0, named=True)
    finds = tuple(
        Found(name, row[f"count_{name}"] or 0, row[f"alone_{name}"] or 0) for name in teachers
    )
    overlaps = found["overlap"].row(0, named=True) if "overlap" in found else {}
    agreement = []
    for pair, overlap in overlaps.items():
        one, _, other = pair.partition("\x1f")
        if overlap is not None:
            agreement.append(Agreement(one, other, overlap))
    return buckets, finds, tuple(agreement)


def _labels() -> list[str]:
    firsts = [1, *(last + 1 for last in RANKS[:-1])]
    spans = zip(firsts, RANKS, strict=True)
    return [str(a) if a == b else f"{a}–{b}" for a, b in spans] + [f"> {RANKS[-1]}"]
