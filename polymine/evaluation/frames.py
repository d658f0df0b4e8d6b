"""What every loader of a retrieval set returns: documents, queries and what is relevant."""

from dataclasses import dataclass

import polars as pl


@dataclass(frozen=True)
class CollectionFrames:
    """Texts of any languages with what is relevant to what.

    Args:
        documents: `doc_id, text, language, group_id`; a document without versions in other
            languages is a group of its own.
        queries: `query_id, text, language, group_id`, likewise.
        judgments: `query_id, doc_id, relevance` (Int8); above 0 relevant, 0 judged not relevant.
            Every pair is of these documents and queries, and stands once.
    """

    documents: pl.DataFrame
    queries: pl.DataFrame
    judgments: pl.DataFrame
