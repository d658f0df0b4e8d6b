"""Parallel texts as a retrieval task: which sentence is the translation of this one?"""

from dataclasses import dataclass

import numpy as np
import polars as pl

from polymine.mining.groups import components
from polymine.mining.hashing import hash_texts

DOCUMENTS = ("doc_id", "text", "language", "group_id")
QUERIES = ("query_id", "text", "language", "group_id")


@dataclass(frozen=True)
class BitextTables:
    """Tables of an `EvaluationCollection`."""

    documents: pl.DataFrame
    queries: pl.DataFrame
    judgments: pl.DataFrame
    hidden: pl.DataFrame


def texts_of_pairs(pairs: pl.DataFrame) -> BitextTables:
    """Make every distinct text of parallel pairs a query and a document.

    A text is its language and its wording: ids of rows play no part, and a sentence that several
    rows share is one document. All that chains of rows join is one group, so that two translations
    of one English sentence are relevant to each other as well. A text never finds itself, nor what
    its group has in its own language (those pairs are hidden), unless a row pairs the two: with
    rows of two languages no direction is of one language alone.

    Args:
        pairs: text_a, lang_a, text_b, lang_b.

    Returns:
        The tables of a collection, whose ids are `language-hash of the text`.
    """
    left, right = (
        pairs.select(text=f"text_{side}", language=f"lang_{side}") for side in ("a", "b")
    )
    texts = pl.concat([left, right]).unique().sort("language", "text").with_row_index("node")
    edges = pl.DataFrame(
        {"a": _nodes(left, texts), "b": _nodes(right, texts)}, schema={"a": pl.Int64, "b": pl.Int64}
    )
    edges = edges.filter(pl.col("a") != pl.col("b"))
    group = components(texts.height, edges["a"].to_numpy(), edges["b"].to_numpy())
    names = texts["language"] + "-" + _names(texts["text"])
    named = texts.select("text", "language", name=names, group_id=names.gather(group))
    both = pl.concat([edges, edges.select(a="b", b="a")]).unique(maintain_order=True)
    judgments = pl.DataFrame(
        {"query_id": names.gather(both["a"]), "doc_id": names.gather(both["b"])}
    ).with_columns(relevance=pl.lit(1, dtype=pl.Int8))
    return BitextTables(
        named.rename({"name": "doc_id"}).select(DOCUMENTS),
        named.rename({"name": "query_id"}).select(QUERIES),
        judgments,
        _own(named).join(judgments, on=["query_id", "doc_id"], how="anti"),
    )


def _nodes(side: pl.DataFrame, texts: pl.DataFrame) -> pl.Series:
    found = side.join(texts, on=["text", "language"], how="left", maintain_order="left")
    return found["node"].cast(pl.Int64)


def _names(texts: pl.Series) -> pl.Series:
    """Name texts by content, so that ids do not depend on the order of the rows."""
    hashes = np.asarray(hash_texts(texts.to_list()))
    return pl.Series("name", [f"{value:016x}" for value in hashes.tolist()], dtype=pl.String)


def _own(named: pl.DataFrame) -> pl.DataFrame:
    """Pair every text with itself and with what its group says in the same language."""
    keys = ["group_id", "language"]
    pairs = named.select(*keys, query_id="name").join(named.select(*keys, doc_id="name"), on=keys)
    return pairs.select("query_id", "doc_id").sort("query_id", "doc_id")
