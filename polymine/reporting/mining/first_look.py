"""A first look at a run under way: what one teacher ranks for some queries, nothing decided yet."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import polars as pl

from polymine.data_contracts.notes import Understood
from polymine.mining.recall import ENOUGH, TOP
from polymine.reporting.mining.recall import LOW
from polymine.reporting.report import Note, Report
from polymine.reporting.templates import markdown, say, templates

SAMPLE = 100  # queries that are ranked: a share of them is known to some ten percent
SHOWN = 20  # queries with their texts
DEPTH = 50  # documents ranked per query
CANDIDATES = 2  # texts shown per query: with its positive, a row of the page
KEYS = ["query_id", "doc_id"]


@dataclass(frozen=True)
class Placed:
    """A document and where the teacher puts it; no rank below the first DEPTH."""

    doc_id: str
    language: str
    text: str
    rank: int | None
    score: float | None


@dataclass(frozen=True)
class Case:
    """A query with its known positives, and the best candidates that are not known."""

    query_id: str
    language: str
    text: str
    positives: tuple[Placed, ...]
    candidates: tuple[Placed, ...]


@dataclass(frozen=True)
class Found:
    """For which shares of the queries a known positive stands first, and among the TOP best."""

    teacher: str
    queries: int
    first: float
    within: float


class FirstLook(Report):
    """What the page of a first look shows; `teachers` are all of the run."""

    kind = "first look"

    found: Found
    teachers: tuple[str, ...]
    cases: tuple[Case, ...]


def known_positives(closure: pl.DataFrame, documents: pl.DataFrame) -> pl.DataFrame:
    """List the known pairs that can be found: query_id, doc_id.

    Args:
        closure: contract Closure.
        documents: contract Documents; those that may be ranked.
    """
    known = closure.filter(pl.col("reason").cast(pl.String) == "positive").select(KEYS)
    return known.join(documents, on="doc_id", how="semi")


def choose_queries(queries: pl.DataFrame, known: pl.DataFrame) -> pl.DataFrame:
    """Choose SAMPLE queries that have a known positive, or of all if none has, evenly by id.

    Args:
        queries: contract Queries, sorted by id.
        known: as from `known_positives`.
    """
    asked = queries.join(known, on="query_id", how="semi", maintain_order="left")
    return _spread(asked if len(asked) else queries, SAMPLE)


def compose(
    rankings: pl.DataFrame,
    queries: pl.DataFrame,
    documents: pl.DataFrame,
    closure: pl.DataFrame,
    teachers: Sequence[str],
    sources: tuple[Understood, ...],
) -> FirstLook:
    """Gather what the page shows.

    Args:
        rankings: of the chosen queries (contract Rankings), by one teacher.
        queries: those that were chosen.
        documents: those that may be ranked.
        closure: contract Closure.
        teachers: names of all, the one that ranked first.
        sources: what the input was taken for.
    """
    known = known_positives(closure, documents).join(queries, on="query_id", how="semi")
    placed = known.join(rankings, on=KEYS, how="left")
    best = placed.group_by("query_id").agg(pl.min("rank"))["rank"]
    shares = [float((best <= bound).fill_null(False).mean() or 0.0) for bound in (1, TOP)]  # type: ignore[arg-type]
    found = Found(teachers[0], len(best), *shares)
    shown = _spread(queries, SHOWN)
    others = rankings.join(closure, on=KEYS, how="anti").sort("query_id", "rank")
    few = others.group_by("query_id", maintain_order=True).head(CANDIDATES)
    cases = _tell(shown, placed.sort("query_id", "rank", nulls_last=True), few, documents)
    poor = len(best) >= ENOUGH and found.within < LOW
    return FirstLook(
        title="while the run goes on",
        headline=say("mining", "first_look", found),
        notes=(Note("warning", say("mining", "finds_few", found)),) if poor else (),
        sources=sources,
        found=found,
        teachers=tuple(teachers),
        cases=cases,
    )


def render_look(look: FirstLook) -> str:
    """Write the page: HTML that needs no other file, in which texts of the data are only text."""
    page = templates().get_template("mining/first_look.html.j2")
    return page.render(report=look, settings=(), depth=DEPTH)


def summarise_look(look: FirstLook, page: str) -> str:
    """Write it in Markdown; `page` is where the page lies."""
    summary = markdown().get_template("mining/first_look.md.j2")
    return summary.render(report=look, page=page, depth=DEPTH)


def _spread(rows: pl.DataFrame, count: int) -> pl.DataFrame:
    return rows[np.linspace(0, len(rows) - 1, min(len(rows), count)).astype(np.int64)]


def _tell(
    shown: pl.DataFrame, positives: pl.DataFrame, candidates: pl.DataFrame, documents: pl.DataFrame
) -> tuple[Case, ...]:
    """Put texts to the queries that are shown."""
    sides: list[dict[str, list[Placed]]] = []
    texts = documents.select("doc_id", "language", "text")
    for table in (positives, candidates):
        rows = table.join(shown, on="query_id", how="semi", maintain_order="left")
        rows = rows.join(texts, on="doc_id", maintain_order="left")
        side: dict[str, list[Placed]] = {}
        for query, *placed in rows.select("query_id", *Placed.__annotations__).rows():
            side.setdefault(query, []).append(Placed(*placed))
        sides.append(side)
    return tuple(
        Case(query, language, text, *(tuple(side.get(query, ())) for side in sides))
        for query, language, text in shown.select("query_id", "language", "text").rows()
    )
