"""Judged collections: what is relevant, which part of it a miner may know, and what stays hidden.

A collection is a folder in the layout of the test data: `corpus`, `queries`, `qrels` as Parquet,
and side tables where it has them. Everything is read by one convention, so that a new collection
needs no code:

- `translations` (doc_id, group_id): the translations of a relevant document are relevant too. The
  groups are never shown to a miner.
- relevance 0 in `qrels`, and in `query_meta` (focus, question_type) what is relevant to another
  type of question on the same focus: true negatives that teach, because they are near. They are
  called *instructive* here and should not be thrown away.
- `query_meta.product_title`: what the question is about, put before it as titles are put before
  documents. Without it the question "does it fit?" asks nothing.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import polars as pl

from polymine.mining.hashing import hash_texts, uniform
from polymine.mining.ingestion import Ingested, ingest, near_copies
from polymine.tasks.sources.tables import prepend_titles

NEAR_COPY = 0.8  # the default of `[dataset] near_copy`
PAIR = ("query_id", "doc_id")
# all-MiniLM-L6-v2 reads Latin script only; elsewhere every miner would be measured on noise.
LANGUAGES = {"xquad": ("de", "en", "es", "ro", "tr", "vi")}


@dataclass(frozen=True)
class Collection:
    """Clean tables and the whole truth about them.

    Args:
        documents, queries: as ingestion leaves them, sorted by id; copies are merged.
        near: groups of near-copies (doc_id, near_group).
        judged: query_id, doc_id of what people judged relevant.
        relevant: `judged` and its translations.
        instructive: query_id, doc_id of known true negatives that are near.
    """

    name: str
    documents: pl.DataFrame
    queries: pl.DataFrame
    near: pl.DataFrame
    judged: pl.DataFrame
    relevant: pl.DataFrame
    instructive: pl.DataFrame


@dataclass(frozen=True)
class Revealed:
    """One way to hide the truth: `known` holds one positive of each of `queries`.

    All frames but `queries` hold query_id, doc_id. A miner may see queries and `known`; measures
    see `hidden`, the other relevant documents, and `instructive`.
    """

    queries: pl.DataFrame
    known: pl.DataFrame
    hidden: pl.DataFrame
    instructive: pl.DataFrame


def load(folder: Path, languages: Sequence[str] | None = None) -> Collection:
    """Read a collection; of several languages only those named, or LANGUAGES for a known folder."""
    documents = _read(folder / "corpus.parquet")
    queries = _read(folder / "queries.parquet")
    qrels = pl.read_parquet(folder / "qrels.parquet").select(*PAIR, "relevance")
    languages = languages or LANGUAGES.get(folder.name)
    if languages:
        spoken = pl.col("language").is_in(list(languages))
        documents, queries = documents.filter(spoken), queries.filter(spoken)
        qrels = qrels.join(documents, on="doc_id", how="semi")
        qrels = qrels.join(queries, on="query_id", how="semi")
    meta = _side_table(folder / "query_meta.parquet")
    clean = ingest(
        prepend_titles(documents), _name_products(queries, meta), qrels, near_copy=NEAR_COPY
    )
    judged = clean.judgments.filter(pl.col("relevance") > 0).select(PAIR)
    groups = _merged(_side_table(folder / "translations.parquet"), clean)
    relevant = pl.concat([judged, _translations(judged, groups)]).unique().sort(PAIR)
    refused = clean.judgments.filter(pl.col("relevance") == 0).select(PAIR)
    instructive = pl.concat([refused, _same_focus(judged, meta)]).unique()
    return Collection(
        folder.name,
        clean.documents,
        clean.queries,
        near_copies(clean.documents, NEAR_COPY),
        judged,
        relevant,
        instructive.join(relevant, on=PAIR, how="anti").sort(PAIR),
    )


def reveal(collection: Collection, seed: int, limit: int | None = None) -> Revealed:
    """Show one judged positive of each query that has a further relevant document.

    The draw depends on seed and ids alone. At most `limit` queries are kept, drawn likewise.
    Queries without judgments, or with a single relevant document, cannot show a false negative
    and are left out.
    """
    several = collection.relevant.group_by("query_id").len().filter(pl.col("len") > 1)
    queries = collection.queries.join(several, on="query_id", how="semi")
    drawn = pl.Series(uniform(seed, hash_texts(queries["query_id"])))
    queries = queries.with_columns(drawn=drawn).sort("drawn", "query_id")
    most = queries.height if limit is None else limit
    queries = queries.head(most).drop("drawn").sort("query_id")

    def of(pairs: pl.DataFrame) -> pl.DataFrame:
        return pairs.join(queries, on="query_id", how="semi").sort(PAIR)

    judged = of(collection.judged)
    order = uniform(seed, hash_texts(judged["query_id"]), hash_texts(judged["doc_id"]))
    known = judged.with_columns(order=pl.Series(order)).sort("query_id", "order", "doc_id")
    known = known.unique("query_id", keep="first", maintain_order=True).select(PAIR)
    hidden = of(collection.relevant).join(known, on=PAIR, how="anti").sort(PAIR)
    return Revealed(queries, known, hidden, of(collection.instructive))


def _read(path: Path) -> pl.DataFrame:
    if not path.exists():
        raise SystemExit(
            f"{path}: not there. A collection is a folder with corpus.parquet (doc_id, text, "
            "title?, language), queries.parquet (query_id, text, language) and qrels.parquet "
            "(query_id, doc_id, relevance); name its parent and itself: --data DIR NAME"
        )
    return pl.read_parquet(path)


def _side_table(path: Path) -> pl.DataFrame:
    return pl.read_parquet(path) if path.exists() else pl.DataFrame()


def _name_products(queries: pl.DataFrame, meta: pl.DataFrame) -> pl.DataFrame:
    if "product_title" not in meta.columns:
        return queries
    titled = queries.join(meta.select("query_id", title="product_title"), on="query_id", how="left")
    return prepend_titles(titled).select(queries.columns)


def _merged(groups: pl.DataFrame, clean: Ingested) -> pl.DataFrame:
    """Let the document that stands for merged copies take their place in `groups`."""
    if groups.is_empty():
        return pl.DataFrame(schema={"doc_id": pl.String, "group_id": pl.String})
    kept = pl.coalesce("kept_id", "doc_id")
    moved = groups.join(clean.copies, on="doc_id", how="left").select("group_id", doc_id=kept)
    return moved.join(clean.documents, on="doc_id", how="semi").unique()


def _translations(judged: pl.DataFrame, groups: pl.DataFrame) -> pl.DataFrame:
    found = judged.join(groups, on="doc_id").join(groups, on="group_id", suffix="_other")
    return found.select("query_id", doc_id="doc_id_other")


def _same_focus(judged: pl.DataFrame, meta: pl.DataFrame) -> pl.DataFrame:
    """Pair each query with what answers another type of question on its focus, and not its own."""
    if not {"focus", "question_type"} <= set(meta.columns):
        return judged.clear()
    asked = meta.select("query_id", "focus", "question_type").drop_nulls()
    answers = judged.join(asked, on="query_id").select("focus", "question_type", "doc_id").unique()
    pairs = asked.join(answers, on="focus", suffix="_other")
    same = pl.col("question_type") == pl.col("question_type_other")
    right = pairs.filter(same).select(PAIR)
    return pairs.filter(~same).select(PAIR).unique().join(right, on=PAIR, how="anti")
