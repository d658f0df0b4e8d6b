"""From a user's tables to clean ones, and to the list of what may never be a negative.

The recipe is `ingest`. Two things happen to documents before any model sees them: exact copies
become one document, and whatever stands too near to a known positive is put into the closure.
"""

import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass

import dataframely as dy
import polars as pl
import xxhash

from polymine.data_contracts.tables import (
    Closure,
    Copies,
    Documents,
    Given,
    Judgments,
    Labels,
    Queries,
    Rejected,
    Versions,
)
from polymine.mining.groups import linked
from polymine.mining.input_checks import NAMES, Checked, OnInvalid, check_tables
from polymine.mining.near_copies import near_copies, text_key

__all__ = [
    "Checked",
    "Ingested",
    "check_tables",
    "close_positives",
    "ingest",
    "merge_copies",
    "near_copies",
    "normalise",
    "text_key",
]


@dataclass(frozen=True)
class Ingested:
    """Clean tables, each sorted by its ids.

    Args:
        documents: no two of them copies.
        queries: with or without a known positive.
        judgments: re-pointed to the documents that stand for merged copies.
        labels: pairs judged not relevant, and what the labels say of further pairs.
        given: candidates that files give.
        closure: what may not be a negative of which query, and why.
        copies: `doc_id` of every merged document and the `kept_id` that stands for it.
        rejected: rows that broke a rule.
        versions: which documents are versions of each other, and which queries ask alike.
    """

    documents: dy.DataFrame[Documents]
    queries: dy.DataFrame[Queries]
    judgments: dy.DataFrame[Judgments]
    labels: dy.DataFrame[Labels]
    closure: dy.DataFrame[Closure]
    copies: dy.DataFrame[Copies]
    rejected: dy.DataFrame[Rejected]
    given: dy.DataFrame[Given]
    versions: dy.DataFrame[Versions]


def ingest(
    documents: pl.DataFrame,
    queries: pl.DataFrame,
    judgments: pl.DataFrame,
    labels: pl.DataFrame | None = None,
    given: pl.DataFrame | None = None,
    *,
    near_copy: float = 0.8,
    on_invalid: OnInvalid = "fail",
    names: Sequence[str] = NAMES,
) -> Ingested:
    """Check, normalise and merge; then close every query's known positives.

    The order of the rows never changes the result.

    Args:
        documents, queries, judgments, labels, given: as `check_tables` takes them.
        near_copy: Jaccard similarity of word 3-grams from which two documents are near-copies.
        names: what errors call the tables, in this order.

    Returns:
        Clean tables, and what may not be a negative of which query.

    Raises:
        InputError: for bad input, see `check_tables`.
    """
    checked = check_tables(
        documents, queries, judgments, labels, given, on_invalid=on_invalid, names=names
    )
    asked = _normalised(checked.queries).sort("query_id")
    corpus, judged, copies = merge_copies(_normalised(checked.documents), checked.judgments)
    labels = _labels(judged, checked.labels, copies)
    near = near_copies(corpus, near_copy)
    candidates = checked.given.with_columns(pl.col("doc_id").replace(dict(copies.rows())))
    return Ingested(
        documents=Documents.validate(corpus),
        queries=Queries.validate(asked),
        judgments=Judgments.validate(judged),
        labels=Labels.validate(labels, cast=True),
        closure=Closure.validate(close_positives(corpus, asked, judged, near, labels)),
        copies=Copies.validate(copies),
        rejected=checked.rejected,
        given=Given.validate(candidates.unique().sort("query_id", "doc_id")),
        versions=Versions.validate(find_versions(corpus, asked, near), cast=True),
    )


def _labels(judged: pl.DataFrame, labels: pl.DataFrame, copies: pl.DataFrame) -> pl.DataFrame:
    """Judgments of 0 and labels, by the documents that stand for copies; a judgment wins."""
    refuted = judged.filter(pl.col("relevance") == 0).with_columns(source=pl.lit("judgments"))
    kept = dict(copies.rows())
    further = (
        labels.with_columns(pl.col("doc_id").replace(kept))
        .group_by("query_id", "doc_id")
        .agg(pl.col("relevance").max())
        .join(judged, on=["query_id", "doc_id"], how="anti")
        .with_columns(source=pl.lit("labels"))
    )
    columns = Labels.column_names()
    return pl.concat([refuted.select(columns), further.select(columns)]).sort("query_id", "doc_id")


def normalise(text: str) -> str:
    """Unicode NFC, the form texts are stored in: one way to write each character."""
    return unicodedata.normalize("NFC", text)


def merge_copies(
    documents: pl.DataFrame, judgments: pl.DataFrame
) -> tuple[pl.DataFrame, pl.DataFrame, pl.DataFrame]:
    """Let the lowest doc_id stand for all documents with the same `text_key`.

    Groups that share a copy become one, named by its lowest group_id, so that a group reached
    through any copy counts.

    Args:
        documents: contract Documents.
        judgments: query_id, doc_id, relevance.

    Returns:
        The documents that are left, the judgments re-pointed to them (of several the highest
        relevance), and `copies` (doc_id, kept_id) of what was merged, all sorted by id.
    """
    rows = documents.sort("doc_id").with_columns(key=_keys(documents.sort("doc_id")["text"]))
    rows = rows.with_columns(linked(rows, ["key", "group_id"])).with_columns(
        kept_id=pl.col("doc_id").first().over("key"),
        group_id=pl.col("group_id").min().over("component"),
    )
    kept = rows.filter(pl.col("doc_id") == pl.col("kept_id")).select(documents.columns)
    judged = (
        judgments.join(rows.select("doc_id", "kept_id"), on="doc_id")
        .group_by("query_id", doc_id="kept_id")
        .agg(pl.col("relevance").max())
        .sort("query_id", "doc_id")
    )
    copies = rows.filter(pl.col("doc_id") != pl.col("kept_id")).select("doc_id", "kept_id")
    return kept, judged, copies


def close_positives(
    documents: pl.DataFrame,
    queries: pl.DataFrame,
    judgments: pl.DataFrame,
    near: pl.DataFrame,
    labels: pl.DataFrame | None = None,
) -> pl.DataFrame:
    """Find every (query, document) that may not be a negative.

    Documents are joined into components by equal text, near-copy group and group_id; one positive
    closes its whole component, for its query and for every query that asks the same (equal text
    or group_id, again by components). A document equals a query with or without its title, since
    the title may have been put before the text.

    Args:
        near: doc_id, near_group, as from `near_copies`.
        labels: query_id, doc_id, relevance; what they call relevant closes as a positive does.

    Returns:
        Contract Closure, by query_id, doc_id; of several reasons the strongest, in the order of
        the contract.
    """
    passages, asked = _components(documents, near), _circles(queries)
    positive, labelled = (
        table.filter(pl.col("relevance") > 0).select("query_id", "doc_id")
        for table in (judgments, judgments.clear() if labels is None else labels)
    )
    known = pl.concat([positive, labelled]).join(passages, on="doc_id")
    circles = known.join(asked.select("query_id", "circle"), on="query_id")
    shared = circles.select("circle", "component").unique().join(asked, on="circle")
    found = {
        "positive": positive,
        "labelled": labelled,
        "copy": _pairs(known, passages, "key"),
        "near_copy": _pairs(known, passages, "near_group"),
        "same_group": _pairs(known, passages, "component"),
        "equals_query": _equal(asked, passages, documents),
        "judged_query_group": _pairs(shared, passages, "component"),
    }
    reasons = Closure.columns()["reason"].dtype
    rows = [pairs.with_columns(reason=pl.lit(reason)) for reason, pairs in found.items()]
    return (
        pl.concat(rows)
        .unique(["query_id", "doc_id"], keep="first", maintain_order=True)
        .with_columns(pl.col("reason").cast(reasons))
        .sort("query_id", "doc_id")
    )


def find_versions(
    documents: pl.DataFrame, queries: pl.DataFrame, near: pl.DataFrame
) -> pl.DataFrame:
    """List which documents, and which queries, stand for each other.

    Args:
        documents, queries, near: as in `close_positives`, whose components these are.

    Returns:
        Contract Versions, by side and id; what stands for nothing else is not in it.
    """
    sides = (
        ("document", _components(documents, near), "doc_id", "component"),
        ("query", _circles(queries), "query_id", "circle"),
    )
    tables = [
        table.filter(pl.len().over(group) > 1).select(
            pl.lit(side).alias("side"), pl.col(key).alias("id"),
            pl.col(key).min().over(group).alias("version"),
        )
        for side, table, key, group in sides
    ]  # fmt: skip
    return pl.concat(tables).sort("side", "id")


def _components(documents: pl.DataFrame, near: pl.DataFrame) -> pl.DataFrame:
    """Documents with the `component` of those with equal text, near wording or one group."""
    passages = documents.select("doc_id", "group_id", key=_keys(documents["text"]))
    passages = passages.join(near, on="doc_id", how="left", maintain_order="left")
    return passages.with_columns(linked(passages, ["key", "near_group", "group_id"]))


def _circles(queries: pl.DataFrame) -> pl.DataFrame:
    """Queries with the `circle` of those that ask the same, by text or group."""
    asked = queries.select("query_id", "group_id", key=_keys(queries["text"]))
    return asked.with_columns(linked(asked, ["key", "group_id"]).alias("circle"))


def own_documents(documents: pl.DataFrame, queries: pl.DataFrame) -> pl.DataFrame:
    """Find the documents that are a query's own text, with or without their title.

    Args:
        documents: doc_id, text and, where there are titles, title.
        queries: query_id, text.

    Returns:
        query_id, doc_id, sorted; texts are equal by `text_key`.
    """
    asked = queries.select("query_id", key=_keys(queries["text"]))
    passages = documents.select("doc_id", key=_keys(documents["text"]))
    return _equal(asked, passages, documents).unique().sort("query_id", "doc_id")


def _equal(asked: pl.DataFrame, passages: pl.DataFrame, documents: pl.DataFrame) -> pl.DataFrame:
    return pl.concat([_pairs(asked, passages, "key"), _pairs(asked, _untitled(documents), "key")])


def _pairs(queries: pl.DataFrame, documents: pl.DataFrame, on: str) -> pl.DataFrame:
    """(query_id, doc_id) of equal values in `on`; nulls are equal to nothing."""
    wanted = queries.select("query_id", on).unique()
    return wanted.join(documents.select("doc_id", on), on=on).select("query_id", "doc_id")


def _untitled(documents: pl.DataFrame) -> pl.DataFrame:
    """Keys of what follows the title, for documents whose text starts with it."""
    if "title" not in documents.columns:
        return pl.DataFrame(schema={"doc_id": pl.String, "key": pl.Binary})
    title = pl.col("title").str.normalize("NFC").str.strip_chars() + " "
    titled = documents.filter(pl.col("text").str.starts_with(title))
    bodies = titled.select(pl.col("text").str.strip_prefix(title)).to_series()
    return titled.select("doc_id", key=_keys(bodies))


def _keys(texts: pl.Series) -> pl.Series:
    """Digest of each text's key: 16 bytes stand for the text while tables are joined by it."""
    digests = [xxhash.xxh3_128_digest(text_key(text).encode()) for text in texts]
    return pl.Series("key", digests, dtype=pl.Binary)


def _normalised(rows: pl.DataFrame) -> pl.DataFrame:
    return rows.with_columns(
        pl.col("text").str.normalize("NFC"), pl.col("language").str.to_lowercase()
    )
