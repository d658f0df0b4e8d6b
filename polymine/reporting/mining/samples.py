"""Draws the examples the page shows, and reads only their texts.

Of what was kept these are the riskiest, of what was refused the likeliest to be negatives: both lie
where a false decision would be. Of the rest a fixed, random-looking few.
"""

from collections.abc import Mapping
from typing import Any

import polars as pl

from polymine.mining.hubs import REASON as LIMITED
from polymine.mining.risk import Teachers, columns_of, features_of
from polymine.reporting.mining.tables import Section, Tables

SHOWN = 5  # examples per kind: enough to see a pattern, few enough to be read
MANY = 20  # of the kinds whose border decides what the set is worth
HUBS = 5  # documents shown that are negatives of the most queries
SPARE = 8  # drawn per shown one, so that they can come from different queries
LONGEST = 20_000  # characters of a text that go into the page at all
KEYS = ["query_id", "doc_id"]
KNOWN = "known positive: "


class Drawn(Section):
    """Some rows of the master table of each kind of decision, the same in every run."""

    def plan(self) -> tuple[pl.LazyFrame, ...]:
        """Plan the draw: memory holds the drawn rows and not the table."""
        reason, verdict = pl.col("reason"), pl.col("verdict").cast(pl.String)
        closed, asked = reason.str.starts_with(KNOWN), reason.str.starts_with("validator")
        kinds = {
            "kept": verdict == "negative",
            "rule": (verdict == "excluded") & ~closed & ~asked,
            "grey": (verdict == "excluded") & asked,
            "promoted": verdict == "promoted",
            "closed": closed & (reason != f"{KNOWN}positive"),
        }
        rows = self.tables.negatives
        border = {"kept": -pl.col("risk"), "rule": pl.col("risk")}
        given = rows.filter(verdict != "negative").join(self.tables.given, on=KEYS, how="semi")
        return (
            *(_draw(rows.filter(which), kind, border.get(kind)) for kind, which in kinds.items()),
            _draw(given, "given"),
        )

    def finish(self) -> pl.DataFrame:
        """Rows of the master table with the column `kind`."""
        return pl.concat(self.frames)


def _draw(rows: pl.LazyFrame, kind: str, border: pl.Expr | None = None) -> pl.LazyFrame:
    """Draw rows with the lowest `border`, or without one by chance, from different queries."""
    shown = SHOWN if border is None else MANY
    border = pl.lit(0.0) if border is None else border.cast(pl.Float64).fill_null(0)
    drawn = rows.with_columns(border=border, key=pl.struct(KEYS).hash(seed=0))
    order = ["border", "key", *KEYS]
    drawn = drawn.bottom_k(shown * SPARE, by=order)
    # Row order after `bottom_k` is open, so sort; then one of every query before a second one.
    turn = pl.int_range(pl.len()).over("query_id")
    ordered = drawn.sort(order).with_columns(turn=turn).sort("turn", *order).head(shown)
    return ordered.drop("border", "key", "turn").with_columns(kind=pl.lit(kind))


class Hubs(Section):
    """Documents that are negatives of many queries, and negatives above their known positive."""

    def plan(self) -> tuple[pl.LazyFrame, ...]:
        """Plan the most used documents, the share above, and what the limit on hubs refused."""
        used = self.tables.kept.group_by("doc_id").len("queries")
        most = used.sort("queries", "doc_id", descending=[True, False]).head(HUBS)
        kept = self.tables.negatives.filter(pl.col("verdict").cast(pl.String) == "negative")
        return (
            most.filter(pl.col("queries") > 1),
            kept.select(
                pl.col("doc_id").n_unique(),
                above=(pl.col("score") > pl.col("positive_score")).mean(),
            ),
            self.tables.negatives.filter(pl.col("reason") == LIMITED).select(
                limited=pl.col("doc_id").n_unique(), limited_pairs=pl.len()
            ),
        )

    def finish(self, texts: "Texts") -> dict[str, Any]:
        """Fields of the summary: `hubs` with their texts, and the counts."""
        most, counts, limited = self.frames
        hubs = [{**row, "text": texts.text_of(row, "doc_id")} for row in most.to_dicts()]
        counted = counts.rename({"doc_id": "documents"}).hstack(limited)
        return {"hubs": hubs, **counted.to_dicts()[0]}


class Texts(Section):
    """Texts of the rows that are shown, of a known positive each, and the evidence on them.

    Args:
        drawn: as from `Drawn`.
        others: further rows whose texts are wanted, with query_id, and doc_id or not.
    """

    def __init__(
        self, tables: Tables, drawn: pl.DataFrame, teachers: Teachers, *others: pl.DataFrame
    ) -> None:
        super().__init__(tables)
        self.drawn, self.teachers = drawn, teachers
        self.query_ids, self.doc_ids = (
            pl.concat([frame[key] for frame in (drawn, *others) if key in frame.columns]).unique()
            for key in KEYS
        )

    def plan(self) -> tuple[pl.LazyFrame, ...]:
        """Plan the lowest known positive, the texts and the z-scores."""
        tables, shown = self.tables, pl.col("query_id").is_in(self.query_ids.implode())
        known = tables.known.filter(shown).sort("score", "doc_id").group_by("query_id").agg(
            positive_id=pl.first("doc_id"), positive_score=pl.first("score"),
            more_positives=pl.len() - 1,
        )  # fmt: skip
        wanted = pl.concat([pl.LazyFrame(self.doc_ids), known.select(doc_id="positive_id")])
        columns = [name for names in columns_of(self.teachers).values() for name in names]
        return (
            known,
            _cut(tables.queries.filter(shown)),
            _cut(tables.documents.join(wanted.unique(), on="doc_id", how="semi")),
            tables.evidence.select(*KEYS, *columns).join(
                self.drawn.lazy().select(KEYS), on=KEYS, how="semi"
            ),
        )

    def finish(self) -> dict[str, list[dict[str, Any]]]:
        """Samples by kind: a row of the master table with texts, languages and evidence."""
        known, queries, documents, evidence = self.frames
        asked = queries.select("query_id", query="text", query_language="language")
        texts = documents.select("doc_id", candidate="text", candidate_language="language")
        positives = documents.select(positive_id="doc_id", positive="text")
        logits = self.tables.logits
        if logits is None:
            logits = pl.DataFrame(schema={"query_id": pl.String, "lowest": pl.Float32})
        rows = self.drawn.drop("positive_score")
        for frame in (asked, texts, known, positives, logits.rename({"lowest": "positive_logit"})):
            on = [name for name in frame.columns if name in rows.columns]
            rows = rows.join(frame, on=on, how="left", maintain_order="left")
        z = read_evidence(evidence, self.teachers)
        samples: dict[str, list[dict[str, Any]]] = {}
        for row in rows.to_dicts():
            row["evidence"] = z.get((row["query_id"], row["doc_id"]), [])
            samples.setdefault(row["kind"], []).append(row)
        return samples

    def text_of(self, row: Mapping[str, Any], key: str) -> str:
        """The text of a row's query or document."""
        frame = self.frames[1] if key == "query_id" else self.frames[2]
        return str(frame.filter(pl.col(key) == row[key])["text"].item())


def read_evidence(
    rows: pl.DataFrame, teachers: Teachers
) -> dict[tuple[str, str], list[tuple[str, float]]]:
    """Summarise z-scores as the risk does: (feature, z-score) by query_id and doc_id."""
    features = features_of(rows, teachers)
    names = [name.replace("_", " ") for name in features]
    values = zip(*(column.tolist() for column in features.values()), strict=True)
    return {
        key: [(name, z) for name, z in zip(names, found, strict=True) if z == z]
        for key, found in zip(rows.select(KEYS).rows(), values, strict=True)
    }


def _cut(rows: pl.LazyFrame) -> pl.LazyFrame:
    """Shorten texts that are too long to be read in a page."""
    text = pl.col("text")
    length = text.str.len_chars()
    short = pl.format("{} … [{} characters]", text.str.head(LONGEST), length)
    return rows.with_columns(text=pl.when(length > LONGEST).then(short).otherwise(text))
