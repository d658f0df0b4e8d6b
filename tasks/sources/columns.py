"""Which of a file's columns means what, whatever its author called it."""

from dataclasses import dataclass

import dataframely as dy
import polars as pl

from polymine.data_contracts.tables import Documents, Judgments, Queries

_DOC_ID = ("doc_id", "_id", "id", "docid", "document_id", "corpus-id", "corpus_id", "pid")
_QUERY_ID = ("query_id", "_id", "id", "qid", "query-id", "queryid")
_LANGUAGE = ("language", "lang")
_RELEVANCE = ("relevance", "score", "label", "rel")


@dataclass(frozen=True)
class Role:
    """What a table is for.

    Args:
        name: as in the settings.
        files: names its files go by in a folder.
        contract: what its rows must become.
        columns: each column of the contract with the names it goes by, the first found wins.
        translations: name of the side table that holds its `group_id`.
    """

    name: str
    files: tuple[str, ...]
    contract: type[dy.Schema]
    columns: dict[str, tuple[str, ...]]
    translations: str | None = None


CORPUS = Role(
    name="corpus",
    files=("corpus", "documents", "passages"),
    contract=Documents,
    columns={
        "doc_id": _DOC_ID,
        "text": ("text", "contents", "content", "passage", "document"),
        "title": ("title",),
        "language": _LANGUAGE,
        "group_id": ("group_id",),
    },
    translations="translations",
)
QUERIES = Role(
    name="queries",
    files=("queries",),
    contract=Queries,
    columns={
        "query_id": _QUERY_ID,
        "text": ("text", "query", "question", "anchor", "sentence1"),
        "language": _LANGUAGE,
        "group_id": ("group_id",),
    },
    translations="query_translations",
)
JUDGMENTS = Role(
    name="judgments",
    files=("qrels", "judgments"),
    contract=Judgments,
    columns={
        "query_id": ("query_id", "query-id", "qid", "queryid"),
        "doc_id": ("doc_id", "corpus-id", "corpus_id", "docid", "document_id", "pid"),
        "relevance": _RELEVANCE,
    },
)


LABELS = Role(
    name="labels",
    files=("labels",),
    contract=Judgments,
    columns=JUDGMENTS.columns,
)


def rename(frame: pl.DataFrame, role: Role) -> pl.DataFrame:
    """Give known columns the contract's names; the others stay, for errors to list them."""
    return rename_columns(frame, role.columns)


def rename_columns(frame: pl.DataFrame, names: dict[str, tuple[str, ...]]) -> pl.DataFrame:
    """Rename the first column found of each name's synonyms, whatever its case.

    A column stands for one name only: `_id` of a pair file is not its query and its document.
    """
    given = {column.lower(): column for column in reversed(frame.columns)}
    found: dict[str, str] = {}
    for name, synonyms in names.items():
        column = next((given[synonym] for synonym in synonyms if synonym in given), None)
        if column is not None and column not in found.values():
            found[name] = column
    shadowed = [name for name in found if name in frame.columns and found[name] != name]
    return frame.drop(shadowed).rename({column: name for name, column in found.items()})


def prepend_titles(documents: pl.DataFrame) -> pl.DataFrame:
    """Start each text with its title, where there is one."""
    if "title" not in documents.columns:
        return documents
    titled = (pl.col("title") + " " + pl.col("text")).str.strip_chars()
    return documents.with_columns(
        text=pl.when(pl.col("title").is_null()).then("text").otherwise(titled)
    )
