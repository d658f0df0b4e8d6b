"""Counts and mean scores per query language, and per pair of query and passage language."""

import polars as pl

from polymine.reporting.mining.tables import Section

PAIR = ["query_language", "document_language"]


class Languages(Section):
    """Two small frames; no text is read for them."""

    def plan(self) -> tuple[pl.LazyFrame, ...]:
        """Plan both tables, most queries first."""
        tables = self.tables
        asked = tables.queries.select("query_id", query_language="language")
        written = tables.documents.select("doc_id", document_language="language")
        kept, known = (
            rows.join(asked, on="query_id").join(written, on="doc_id")
            for rows in (tables.kept, tables.known)
        )
        score, risk = (pl.col(name).cast(pl.Float64).mean() for name in ("score", "risk"))
        negatives = {"negatives": pl.len(), "negative_score": score}
        short = tables.shortfalls.select("query_id").join(asked, on="query_id")
        own = PAIR[:1]
        languages = asked.group_by(own).agg(queries=pl.len())
        for found in (
            kept.group_by(own).agg(**negatives, rate=risk),
            known.group_by(own).agg(positive_score=score),
            short.group_by(own).agg(short=pl.len()),
        ):
            languages = languages.join(found, on=own, how="left")
        languages = languages.with_columns(pl.col("negatives", "short").fill_null(0))
        pairs = kept.group_by(PAIR).agg(**negatives).join(
            known.group_by(PAIR).agg(positives=pl.len()), on=PAIR, how="full", coalesce=True
        ).with_columns(pl.col("negatives", "positives").fill_null(0))  # fmt: skip
        whole = pl.col("negatives").sum().over(own)
        pairs = pairs.with_columns(share=(pl.col("negatives") / whole).fill_nan(None))
        pairs = pairs.join(languages.select(*own, "queries"), on=own)
        return languages.sort("queries", *own, descending=[True, False]), pairs.sort(
            "queries", *PAIR, descending=[True, False, False]
        )

    def finish(self) -> tuple[pl.DataFrame, pl.DataFrame]:
        """Take both tables.

        Returns:
            Per query language: queries, negatives, short, mean scores, rate. Per query and document
            language: negatives, positives, share of the query language's negatives, mean score.
        """
        return self.frames[0], self.frames[1]
