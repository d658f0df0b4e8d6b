"""Computes what a report shows from a run's tables, in two passes over lazy frames.

The first pass counts, and draws the rows that are shown; the second fills histograms, whose bins
follow from the first, and reads the texts of the drawn rows alone. Memory does not grow with the
tables, apart from one number per row where a median is taken.
"""

from dataclasses import dataclass
from typing import Any

import polars as pl

from polymine.data_contracts.settings import MiningSettings
from polymine.mining.recall import ENOUGH
from polymine.reporting.mining.histograms import Histogram, Histograms, Ranges
from polymine.reporting.mining.languages import Languages
from polymine.reporting.mining.percent import ByPercent, Percent
from polymine.reporting.mining.recall import Recall, Recalled, Weak, find_weak
from polymine.reporting.mining.risk import Kept
from polymine.reporting.mining.samples import Drawn, Hubs, Texts
from polymine.reporting.mining.tables import Section, Tables, collect
from polymine.reporting.mining.teachers import Teachers, TeacherSummary

EXAMPLES = 3  # queries shown per reason of being short
SUSPECTS = 5  # doubtful known pairs shown
OUTSCORED = 0.25  # share of negatives above their positive from which a warning comes


@dataclass(frozen=True)
class Summary:
    """The numbers and texts of a report.

    Args:
        weights: the lowest, mean and highest weight of a triplet; None without any.
        languages, language_pairs: as from `Languages`.
        samples: as from `Texts`, by kind.
        hubs: documents that are negatives of the most queries, with `queries` and `text`.
        documents: how many different ones the negatives are.
        limited, limited_pairs: documents that were negatives of as many queries as one may be, and
            the pairs that this refused.
        above: share of the negatives that the primary teacher scores above their known positive.
        by_percent: what the rule of 95 % would take; None where this is that rule.
        shortfalls: per reason its count and examples (text, reason, found, wanted).
        recall: of known positives, by teacher and language.
        primary: name of the teacher whose scores decide.
        suspects: known pairs whose validity is below what the settings ask for or, where it is not
            known, that their teacher scores below the query's median candidate.
        closure, rejected: counts by reason, and by source and rule.
    """

    queries: int
    triplets: int
    negatives: int
    kept: Kept
    weights: tuple[float, float, float] | None
    short: int
    pairs: int
    unanswered: int
    unanswered_candidates: int
    histograms: dict[str, Histogram]
    teachers: TeacherSummary
    recall: tuple[Recalled, ...]
    primary: str
    languages: pl.DataFrame
    language_pairs: pl.DataFrame
    samples: dict[str, list[dict[str, Any]]]
    hubs: list[dict[str, Any]]
    documents: int
    above: float | None
    by_percent: ByPercent | None
    limited: int
    limited_pairs: int
    shortfalls: list[dict[str, Any]]
    suspects: list[dict[str, Any]]
    suspect_count: int
    closure: dict[str, int]
    rejected: dict[tuple[str, str], int]

    @property
    def weak(self) -> list[Weak]:
        """Teachers that do not seem to know the texts, the one whose scores decide first."""
        return sorted(find_weak(self.recall), key=lambda w: w.found.teacher != self.primary)

    @property
    def outscored(self) -> bool:
        """Whether so many negatives score above their positive that one of the two is in doubt."""
        return self.above is not None and self.above > OUTSCORED and self.queries >= ENOUGH


class Counts(Section):
    """How much there is, and how good it is on average."""

    def plan(self) -> tuple[pl.LazyFrame, ...]:
        """Plan counts of negatives, triplets, closed pairs and rejected rows."""
        tables = self.tables
        risk, score, weight = (pl.col(c).cast(pl.Float64) for c in ("risk", "score", "weight"))
        return (
            tables.kept.select(pl.len(), rate=risk.mean(), hardness=score.mean()),
            tables.triplets.select(
                pl.len(), low=weight.min(), mean=weight.mean(), high=weight.max()
            ),
            tables.closure.group_by(pl.col("reason").cast(pl.String)).len().sort("reason"),
            tables.rejected.group_by("source", "rule").len().sort("source", "rule"),
        )


class Doubts(Section):
    """What may be wrong: weak known pairs, queries without any, and shortfalls."""

    def __init__(self, tables: Tables, least_validity: float) -> None:
        super().__init__(tables)
        self._least = least_validity

    def plan(self) -> tuple[pl.LazyFrame, ...]:
        """Plan what may be wrong.

        Returns:
            Number of known pairs; number of doubtful ones, and the worst; unanswered queries with
            their candidates; causes of shortfalls, numbers replaced by N, and examples of each.
        """
        tables = self.tables
        score = pl.col(f"score_{tables.primary}")
        typical = tables.evidence.group_by("query_id").agg(
            median=score.median(), candidates=pl.len()
        )
        doubtful = tables.known.join(typical, on="query_id").with_columns(
            gap=pl.col("median") - pl.col("score")
        ).filter(
            (pl.col("validity") < self._least).fill_null(pl.col("gap") > 0)
        )  # fmt: skip
        order = {
            "by": ["validity", "gap", "query_id", "doc_id"],
            "descending": [False, True, False, False],
        }
        cause = pl.col("reason").str.replace_all(r"\d[\d,.]*", "N")
        short = tables.shortfalls.with_columns(cause=cause).sort("query_id")
        unanswered = tables.queries.select("query_id").join(tables.known, on="query_id", how="anti")
        return (
            tables.known.select(pl.len()),
            doubtful.select(pl.len()),
            doubtful.sort(**order).head(SUSPECTS),  # type: ignore[arg-type]
            unanswered.join(typical, on="query_id", how="left").select(
                pl.len(), pl.col("candidates").sum()
            ),
            short.group_by("cause").len("count").sort("count", "cause", descending=[True, False]),
            short.group_by("cause", maintain_order=True).head(EXAMPLES),
        )


def summarise(tables: Tables, mining: MiningSettings) -> Summary:
    """Compute a report's numbers, and draw and read its examples.

    Args:
        tables: of the run, read in two passes.
        mining: negatives wanted and kinds of teachers.

    Returns:
        The summary, the same in every run over the same tables.
    """
    counts, doubts, languages = (
        Counts(tables),
        Doubts(tables, mining.positives.least_validity),
        Languages(tables),
    )
    teachers, drawn, ranges = Teachers(tables), Drawn(tables), Ranges(tables)
    recall, hubs = Recall(tables, mining.depth), Hubs(tables)
    percent = Percent(tables, mining.negatives)
    collect(counts, doubts, languages, teachers, drawn, ranges, recall, hubs, percent)
    pairs, suspect_count, suspects, unanswered, causes, short = doubts.frames
    histograms = Histograms(tables, ranges.finish())
    texts = Texts(tables, drawn.finish(), mining.teacher_kinds, suspects, short, hubs.frames[0])
    collect(histograms, texts)
    kept, triplets, closure, rejected = counts.frames
    asked, language_pairs = languages.finish()
    queries, short_of = (int(asked[name].sum()) for name in ("queries", "short"))
    count, rate, hardness = kept.row(0)
    written, *weights = triplets.row(0)
    return Summary(
        queries=queries,
        triplets=written,
        negatives=count,
        kept=Kept(count, rate, hardness, count / max(queries * mining.negatives, 1)),
        weights=(weights[0], weights[1], weights[2]) if written else None,
        short=short_of,
        pairs=pairs.item(),
        unanswered=unanswered["len"].item(),
        unanswered_candidates=unanswered["candidates"].item() or 0,
        histograms=histograms.finish(),
        teachers=teachers.finish(),
        recall=recall.finish(),
        primary=tables.primary,
        languages=asked,
        language_pairs=language_pairs,
        samples=texts.finish(),
        **hubs.finish(texts),
        by_percent=None if mining.selection.rule == "percent" else percent.finish(),
        shortfalls=_shortfalls(causes, short, texts),
        suspects=[
            {**row, "query": texts.text_of(row, "query_id"),
             "positive": texts.text_of(row, "doc_id")}
            for row in suspects.to_dicts()
        ],
        suspect_count=suspect_count.item(),
        closure=dict(closure.rows()),
        rejected={row[:2]: row[2] for row in rejected.rows()},
    )  # fmt: skip


def _shortfalls(causes: pl.DataFrame, short: pl.DataFrame, texts: Texts) -> list[dict[str, Any]]:
    return [
        {"reason": cause, "count": rows, "examples": [
            {**row, "text": texts.text_of(row, "query_id")}
            for row in short.filter(cause=cause).to_dicts()
        ]}
        for cause, rows in causes.rows()
    ]  # fmt: skip
