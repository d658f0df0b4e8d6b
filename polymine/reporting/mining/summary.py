"""Computes what a report shows from a run's tables, in two passes over lazy frames.

The first pass counts, and draws the rows that are shown; the second fills histograms, whose bins
follow from the first, and reads the texts of the drawn rows alone. Memory does not grow with the
tables, apart from one number per row where a median is taken.
"""

from dataclasses import dataclass

import polars as pl

from polymine.data_contracts.settings import MiningSettings
from polymine.reporting.charts.histograms import Histogram, assemble, count_bins, describe, grid_of
from polymine.reporting.mining.languages import (
    LanguageRow,
    PairRow,
    finish_languages,
    plan_languages,
)
from polymine.reporting.mining.risk import Kept, finish_kept, plan_kept
from polymine.reporting.mining.samples import (
    Sample,
    SampleKind,
    cut,
    draw_samples,
    ids_of,
    name_kinds,
    plan_evidence,
    read_evidence,
    write_out,
)
from polymine.reporting.mining.tables import Tables
from polymine.reporting.mining.teachers import (
    Agreement,
    Bucket,
    Found,
    finish_teachers,
    plan_teachers,
)

EXAMPLES = 3  # queries shown per reason of being short
SUSPECTS = 5  # doubtful known pairs shown
LOWEST_RISK = 1e-4  # lower ones are counted as this one: their logarithm is without end

_JUDGED = (
    ("negative", "kept negatives", "negative"),
    ("excluded", "excluded candidates", "excluded"),
    ("promoted", "promoted to positive", "promoted"),
)
GROUPS = {
    "scores": (("positive", "known positives", "positive"), *_JUDGED),
    "margins": (("margin", "triplets", "negative"),),
    "logits": _JUDGED,
    "risks": _JUDGED,
}


@dataclass(frozen=True)
class Shortfall:
    """Queries that are short for one reason, with some of their texts."""

    reason: str
    count: int
    examples: tuple[tuple[str, str, int, int], ...]  # query text, reason, found, wanted


@dataclass(frozen=True)
class Suspect:
    """A known pair that its teacher scores below the query's median candidate."""

    query: str
    positive: str
    score: float
    median: float


@dataclass(frozen=True)
class Summary:
    """The numbers and texts of a report.

    The histogram `risks` is of their decimal logarithm. `weights` are the lowest, mean and highest
    weight of a triplet; None without any.
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
    ranks: tuple[Bucket, ...]
    found: tuple[Found, ...]
    agreement: tuple[Agreement, ...]
    languages: tuple[LanguageRow, ...]
    language_pairs: tuple[PairRow, ...]
    samples: tuple[tuple[SampleKind, tuple[Sample, ...]], ...]
    shortfalls: tuple[Shortfall, ...]
    suspects: tuple[Suspect, ...]
    suspect_count: int
    closure: dict[str, int]
    rejected: dict[tuple[str, str], int]


def summarise(tables: Tables, mining: MiningSettings) -> Summary:
    """Compute a report's numbers, and draw and read its examples."""
    values = _values(tables)
    first = _collect(
        {
            **plan_languages(tables),
            **plan_teachers(tables),
            **draw_samples(tables.negatives),
            **{f"{name} described": describe(rows) for name, rows in values.items()},
            **_plan_doubts(tables),
            "triplets": _plan_weights(tables),
            "kept means": plan_kept(tables),
            "closure": tables.closure.group_by(pl.col("reason").cast(pl.String)).len("rows"),
            "rejected": tables.rejected.group_by("source", "rule").len("rows"),
        }
    )
    drawn = {name: first[name] for name in draw_samples(tables.negatives)}
    grids = {name: grid_of(first[f"{name} described"]) for name in values}
    second = _collect(
        {
            **{
                f"{name} counted": count_bins(rows, grid)
                for name, rows in values.items()
                if (grid := grids[name])
            },
            **_plan_texts(tables, drawn, first["suspects"], first["cause examples"]),
            "drawn evidence": plan_evidence(tables.evidence, drawn, mining.teacher_kinds),
        }
    )
    histograms = {
        name: assemble(grid, first[f"{name} described"], second[f"{name} counted"], GROUPS[name])
        for name, grid in grids.items()
        if grid
    }
    return _finish(first, second, drawn, histograms, tables, mining)


def _collect(plans: dict[str, pl.LazyFrame]) -> dict[str, pl.DataFrame]:
    """Run plans together, so that polars reads a table that several of them use once."""
    return dict(zip(plans, pl.collect_all(list(plans.values())), strict=True))


def _values(tables: Tables) -> dict[str, pl.LazyFrame]:
    """Name the histograms' values: columns group, value."""
    verdict = pl.col("verdict").cast(pl.String)
    known = tables.known.select(group=pl.lit("positive"), value="score")
    # The known positives are among the candidates that are excluded; they have a group already.
    others = tables.negatives.filter(pl.col("reason") != "known positive: positive")
    judged = others.select(group=verdict, value="score")
    margin = pl.col("positive_score") - pl.col("negative_score")
    likely = pl.col("risk").cast(pl.Float64).clip(lower_bound=LOWEST_RISK).log10()
    assessed = others.filter(pl.col("risk").is_not_null()).select(group=verdict, value=likely)
    values = {
        "risks": assessed,
        "scores": pl.concat([known, judged]),
        "margins": tables.triplets.select(group=pl.lit("margin"), value=margin),
    }
    if tables.logits is not None:
        looked_at = tables.negatives.filter(pl.col("validator_score").is_not_null())
        relative = looked_at.join(tables.logits.lazy(), on="query_id").select(
            group=verdict, value=pl.col("validator_score") - pl.col("lowest")
        )
        values["logits"] = relative
    return values


def _plan_weights(tables: Tables) -> pl.LazyFrame:
    weight = pl.col("weight").cast(pl.Float64)
    return tables.triplets.select(
        pl.len(), lowest=weight.min(), mean=weight.mean(), highest=weight.max()
    )


def _plan_doubts(tables: Tables) -> dict[str, pl.LazyFrame]:
    """Plan what may be wrong: weak known pairs, queries without any, and shortfalls."""
    score = pl.col(f"score_{tables.deciding}")
    typical = tables.evidence.group_by("query_id").agg(median=score.median(), candidates=pl.len())
    doubtful = (
        tables.known.join(typical, on="query_id")
        .filter(pl.col("score") < pl.col("median"))
        .with_columns(gap=pl.col("median") - pl.col("score"))
    )
    general = pl.col("reason").str.replace_all(r"\d[\d,.]*", "N")
    ordered = tables.shortfalls.with_columns(cause=general).sort("query_id")
    asked = tables.queries.select("query_id")
    unanswered = asked.join(tables.known, on="query_id", how="anti")
    return {
        "pairs": tables.known.select(pl.len()),
        "suspect count": doubtful.select(pl.len()),
        "suspects": doubtful.sort(
            "gap", "query_id", "doc_id", descending=[True, False, False]
        ).head(SUSPECTS),
        "causes": ordered.group_by("cause").len("rows"),
        "cause examples": ordered.group_by("cause", maintain_order=True).head(EXAMPLES),
        "unanswered": unanswered.join(typical, on="query_id", how="left").select(
            pl.len(), pl.col("candidates").sum()
        ),
    }


def _plan_texts(
    tables: Tables,
    drawn: dict[str, pl.DataFrame],
    suspects: pl.DataFrame,
    short: pl.DataFrame,
) -> dict[str, pl.LazyFrame]:
    """Read the texts of the rows that are shown, and of one known positive each."""
    frames = [*drawn.values(), suspects, short]
    queries = ids_of(frames, "query_id")
    known = tables.known.filter(pl.col("query_id").is_in(queries.implode()))
    shown = pl.LazyFrame({"doc_id": ids_of(frames, "doc_id")})
    first = known.sort("score", "doc_id").unique("query_id", keep="first", maintain_order=True)
    wanted = pl.concat([shown, first.select("doc_id")]).unique()
    return {
        "known": known,
        "texts of queries": tables.queries.filter(pl.col("query_id").is_in(queries.implode())),
        "texts of documents": tables.documents.join(wanted, on="doc_id", how="semi"),
    }


def _finish(
    first: dict[str, pl.DataFrame],
    second: dict[str, pl.DataFrame],
    drawn: dict[str, pl.DataFrame],
    histograms: dict[str, Histogram],
    tables: Tables,
    mining: MiningSettings,
) -> Summary:
    languages, pairs = finish_languages(first)
    ranks, found, agreement = finish_teachers(first, tuple(tables.teachers))
    logits = {} if tables.logits is None else dict(tables.logits.rows())
    queries, documents = second["texts of queries"], second["texts of documents"]
    evidence = read_evidence(second["drawn evidence"], mining.teacher_kinds)
    triplets, *weights = first["triplets"].row(0)
    asked = sum(row.queries for row in languages)
    return Summary(
        queries=asked,
        triplets=triplets,
        kept=finish_kept(first["kept means"], asked * mining.negatives),
        weights=(weights[0], weights[1], weights[2]) if triplets else None,
        negatives=sum(row.negatives for row in languages),
        short=sum(row.short for row in languages),
        pairs=first["pairs"].item(),
        unanswered=first["unanswered"]["len"].item(),
        unanswered_candidates=first["unanswered"]["candidates"].item() or 0,
        histograms=histograms,
        ranks=ranks,
        found=found,
        agreement=agreement,
        languages=languages,
        language_pairs=pairs,
        samples=write_out(
            drawn, second["known"], logits, evidence, queries, documents, name_kinds(mining)
        ),
        shortfalls=_shortfalls(first, queries),
        suspects=_suspects(first["suspects"], queries, documents),
        suspect_count=first["suspect count"].item(),
        closure=dict(sorted(first["closure"].rows())),
        rejected={row[:2]: row[2] for row in sorted(first["rejected"].rows())},
    )


def _shortfalls(first: dict[str, pl.DataFrame], queries: pl.DataFrame) -> tuple[Shortfall, ...]:
    texts = dict(queries.select("query_id", "text").rows())
    examples: dict[str, list[tuple[str, str, int, int]]] = {}
    for row in first["cause examples"].to_dicts():
        shown = (cut(texts[row["query_id"]]), row["reason"], row["found"], row["wanted"])
        examples.setdefault(row["cause"], []).append(shown)
    counted = sorted(first["causes"].rows(), key=lambda row: (-row[1], row[0]))
    return tuple(Shortfall(cause, rows, tuple(examples[cause])) for cause, rows in counted)


def _suspects(
    found: pl.DataFrame, queries: pl.DataFrame, documents: pl.DataFrame
) -> tuple[Suspect, ...]:
    asked = dict(queries.select("query_id", "text").rows())
    written = dict(documents.select("doc_id", "text").rows())
    return tuple(
        Suspect(
            query=cut(asked[row["query_id"]]),
            positive=cut(written[row["doc_id"]]),
            score=row["score"],
            median=row["median"],
        )
        for row in found.to_dicts()
    )
