"""Row numbers for ids, and what is known of pairs before any teacher looks at them."""

from dataclasses import dataclass, replace

import numpy as np
import polars as pl
from numpy.typing import NDArray

from polymine.mining.teachers import Rows

UNDETERMINED = 0  # the number of a language that is not stated; the others count from 1
_NO_ROWS = np.empty(0, dtype=np.int64)
_NO_PAIRS = (_NO_ROWS, _NO_ROWS)
_NO_LABELS = (_NO_ROWS, _NO_ROWS, np.empty(0, dtype=np.int8))


@dataclass(frozen=True)
class Ids:
    """Row numbers back to ids (sorted, unique), and what of the texts is evidence.

    Attributes:
        languages, query_languages: a number per row; equal numbers, equal languages;
            UNDETERMINED where none is stated.
        lengths: characters of each document.
    """

    queries: pl.Series
    documents: pl.Series
    query_languages: Rows
    languages: Rows
    lengths: Rows

    @classmethod
    def from_tables(cls, queries: pl.DataFrame, documents: pl.DataFrame) -> "Ids":
        """Read ids, languages and lengths off the tables.

        Args:
            queries, documents: contracts Queries and Documents, sorted by id. Of a language, only
                the part before a hyphen counts: en-GB is English.

        Returns:
            Ids and lengths in the order of the rows, and a number for each language.
        """
        codes = pl.concat([queries["language"], documents["language"]])
        codes = codes.str.to_lowercase().str.split("-").list.first()  # en-GB is English
        ranks = codes.rank("dense").cast(pl.Int64).to_numpy()
        numbers = np.where((codes == "und").to_numpy(), UNDETERMINED, ranks)
        lengths = documents["text"].str.len_chars().cast(pl.Int64).to_numpy()
        return cls(
            queries["query_id"],
            documents["doc_id"],
            numbers[: len(queries)],
            numbers[len(queries) :],
            lengths,
        )

    def rows(self, pairs: pl.DataFrame) -> tuple[Rows, Rows]:
        """Translate pairs to row numbers.

        Args:
            pairs: query_id, doc_id, each of them in the tables: others are not noticed.

        Returns:
            Rows of queries and of documents, (n,) each, in the order of the pairs.
        """
        return (
            _row_of(self.queries, pairs["query_id"]).to_numpy(),
            _row_of(self.documents, pairs["doc_id"]).to_numpy(),
        )


@dataclass(frozen=True)
class Known:
    """Known pairs by row number, ordered by query then document.

    `positives` are what judgments call relevant; `closed` every pair that may not be a negative,
    positives included, with its `reasons`; `labels` pairs with a 0 (judged not relevant) or a 1
    (relevant by a labelled file), and these numbers; `given` candidates that files gave.
    """

    positives: tuple[Rows, Rows]
    closed: tuple[Rows, Rows]
    reasons: pl.Series
    labels: tuple[Rows, Rows, NDArray[np.int8]] = _NO_LABELS
    given: tuple[Rows, Rows] = _NO_PAIRS

    @classmethod
    def from_tables(
        cls,
        closure: pl.DataFrame,
        ids: Ids,
        labels: pl.DataFrame | None = None,
        given: pl.DataFrame | None = None,
    ) -> "Known":
        """Translate tables to row numbers.

        Args:
            closure: contract Closure.
            ids: of the same data set.
            labels: contract Labels; a relevance above 0 becomes 1.
            given: contract Given.

        Returns:
            Their pairs, each kind by query, then document.
        """
        table = closure.select(
            query=_row_of(ids.queries, closure["query_id"]),
            document=_row_of(ids.documents, closure["doc_id"]),
            reason=pl.col("reason").cast(pl.String),
        ).sort("query", "document")
        positive = table.filter(pl.col("reason") == "positive")
        pairs = _NO_PAIRS if given is None else ids.rows(given.sort("query_id", "doc_id"))
        known = cls(_rows(positive), _rows(table), table["reason"], given=pairs)
        if labels is None or not len(labels):
            return known
        rows = labels.select(
            query=_row_of(ids.queries, labels["query_id"]),
            document=_row_of(ids.documents, labels["doc_id"]),
            label=(pl.col("relevance") > 0).cast(pl.Int8),
        ).sort("query", "document")
        return replace(known, labels=(*_rows(rows), rows["label"].to_numpy()))

    def of(self, queries: Rows) -> "Known":
        """Keep the pairs of some queries.

        Args:
            queries: row numbers, in any order.

        Returns:
            These pairs, in the order they had.
        """
        closed = np.isin(self.closed[0], queries)
        positive = np.isin(self.positives[0], queries)
        labelled = np.isin(self.labels[0], queries)
        given = np.isin(self.given[0], queries)
        return Known(
            (self.positives[0][positive], self.positives[1][positive]),
            (self.closed[0][closed], self.closed[1][closed]),
            self.reasons.filter(pl.Series(closed)),
            (self.labels[0][labelled], self.labels[1][labelled], self.labels[2][labelled]),
            (self.given[0][given], self.given[1][given]),
        )


def _row_of(ids: pl.Series, values: pl.Series) -> pl.Series:
    return ids.search_sorted(values, side="left").cast(pl.Int64)


def _rows(table: pl.DataFrame) -> tuple[Rows, Rows]:
    return table["query"].to_numpy(), table["document"].to_numpy()
