"""Counts and mean scores per query language, and per pair of query and passage language."""

from dataclasses import dataclass

import polars as pl

from polymine.reporting.mining.tables import Tables


@dataclass(frozen=True)
class LanguageRow:
    """One query language; `rate` is the expected share of false negatives among its negatives."""

    language: str
    queries: int
    negatives: int
    short: int
    positive_score: float | None
    negative_score: float | None
    rate: float | None


@dataclass(frozen=True)
class PairRow:
    """One pair of languages; `share` is its part of the query language's kept negatives."""

    query_language: str
    document_language: str
    positives: int
    negatives: int
    negative_score: float | None
    share: float | None


def plan_languages(tables: Tables) -> dict[str, pl.LazyFrame]:
    """Plan the counts; no text is read for them."""
    asked = tables.queries.select("query_id", query_language="language")
    written = tables.documents.select("doc_id", document_language="language")
    pair = ["query_language", "document_language"]
    totals = pl.len().alias("rows"), pl.col("score").sum().cast(pl.Float64).alias("sum")

    def per_pair(rows: pl.LazyFrame) -> pl.LazyFrame:
        named = rows.with_columns(pl.col("score").cast(pl.Float64))
        named = named.join(asked, on="query_id").join(written, on="doc_id")
        return named.group_by(pair).agg(totals)

    return {
        "asked": asked.group_by("query_language").len("rows"),
        "short": tables.shortfalls.select("query_id")
        .join(asked, on="query_id")
        .group_by("query_language")
        .len("rows"),
        "kept_pairs": per_pair(tables.kept),
        "kept_risks": tables.kept.join(asked, on="query_id")
        .group_by("query_language")
        .agg(pl.col("risk").cast(pl.Float64).mean()),
        "known_pairs": per_pair(tables.known),
    }


def finish_languages(
    found: dict[str, pl.DataFrame],
) -> tuple[tuple[LanguageRow, ...], tuple[PairRow, ...]]:
    """Make tables of the counts, most queries first."""
    short = dict(found["short"].rows())
    known = _by_language(found["known_pairs"])
    kept = _by_language(found["kept_pairs"])
    rates = dict(found["kept_risks"].rows())
    order = sorted(found["asked"].rows(), key=lambda row: (-row[1], row[0]))
    languages = tuple(
        LanguageRow(
            language=language,
            queries=count,
            negatives=kept.get(language, (0, 0.0))[0],
            short=short.get(language, 0),
            positive_score=_mean(*known.get(language, (0, 0.0))),
            negative_score=_mean(*kept.get(language, (0, 0.0))),
            rate=rates.get(language),
        )
        for language, count in order
    )
    return languages, _pairs(found, [row.language for row in languages])


def _pairs(found: dict[str, pl.DataFrame], order: list[str]) -> tuple[PairRow, ...]:
    known = {row[:2]: row[2:] for row in found["known_pairs"].rows()}
    kept = {row[:2]: row[2:] for row in found["kept_pairs"].rows()}
    totals = _by_language(found["kept_pairs"])
    keys = sorted({*known, *kept}, key=lambda key: (order.index(key[0]), key[1]))
    return tuple(
        PairRow(
            query_language=key[0],
            document_language=key[1],
            positives=known.get(key, (0, 0.0))[0],
            negatives=kept.get(key, (0, 0.0))[0],
            negative_score=_mean(*kept.get(key, (0, 0.0))),
            share=_mean(totals.get(key[0], (0, 0.0))[0], kept.get(key, (0, 0.0))[0]),
        )
        for key in keys
    )


def _by_language(pairs: pl.DataFrame) -> dict[str, tuple[int, float]]:
    merged = pairs.group_by("query_language").agg(pl.sum("rows"), pl.sum("sum"))
    return {language: (rows, total) for language, rows, total in merged.rows()}


def _mean(rows: int, total: float) -> float | None:
    return total / rows if rows else None
