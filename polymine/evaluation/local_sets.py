"""What a folder of tables is, and its rows in one shape whatever the folder.

| tables | what it is |
|---|---|
| `corpus`, `queries`, `qrels` | retrieval; `translations` and `query_translations` join languages |
| `pairs` with scores | semantic textual similarity |
| `pairs` without | parallel sentences |
| `sentences` with labels | clustering |

`splits` is known beside any of them; other tables are left alone.
"""

from collections.abc import Iterable, Mapping
from typing import Literal

import polars as pl

from data_contracts.errors import InputError
from polymine.evaluation.collection import EvaluationCollection

Tables = Mapping[str, pl.DataFrame]
Kind = Literal["retrieval", "similarity", "parallel", "clustering"]

_PAIRS = ("id", "text_a", "lang_a", "text_b", "lang_b")
_SENTENCES = ("id", "text", "language", "label")


def set_kind(tables: Tables) -> Kind:
    """What the tables are; `InputError` names what would be needed where they are nothing known."""
    if {"corpus", "queries", "qrels"} <= set(tables):
        return "retrieval"
    if "pairs" in tables:
        pairs = tables["pairs"]
        _need("pairs", pairs, _PAIRS)
        unscored = pairs["score"].null_count() if "score" in pairs.columns else pairs.height
        if 0 < unscored < pairs.height:
            raise InputError(
                f"pairs: {unscored} of {pairs.height} have no score; give every pair one "
                "(similarity) or none (parallel sentences)"
            )
        return "parallel" if unscored else "similarity"
    if "sentences" in tables:
        return "clustering"
    found = ", ".join(sorted(tables)) or "no table"
    raise InputError(
        f"an evaluation set needs corpus, queries and qrels, or pairs, or sentences; found {found}"
    )


def retrieval_set(
    tables: Tables, languages: Iterable[str] | None = None, *, title: bool = True,
    split: str | None = None,
) -> EvaluationCollection:  # fmt: skip
    """Documents, queries and judgments of the languages asked for.

    Args:
        tables: `corpus` (doc_id, text, language and perhaps title), `queries` (query_id, text,
            language), `qrels` (query_id, doc_id, relevance). `translations` (doc_id, group_id) and
            `query_translations` (query_id, group_id) may also name texts of other collections.
        languages: of documents and queries; all if None. Judgments are handed on to translations
            first, so none is lost with the language it was made in.
        title: put before a document's text: `(title + " " + text).strip()`, as MTEB does.
        split: only the queries that `splits` gives it.

    Raises:
        InputError: for a missing column, an id that stands twice, a judgment of what is not there,
            and a language that is not there.
    """
    documents, queries, judgments = tables["corpus"], tables["queries"], tables["qrels"]
    _need("corpus", documents, ("doc_id", "text", "language"))
    _need("queries", queries, ("query_id", "text", "language"))
    _need("qrels", judgments, ("query_id", "doc_id", "relevance"))
    wanted = _wanted(
        languages, {"documents": documents["language"], "queries": queries["language"]}
    )
    asked = _of_split(queries, tables, "query_id", split)
    text = _titled() if title and "title" in documents.columns else pl.col("text")
    whole = EvaluationCollection(
        _grouped(documents.with_columns(text=text), tables.get("translations"), "doc_id"),
        _grouped(asked, tables.get("query_translations"), "query_id"),
        judgments if split is None else _judged(judgments, queries, asked),
    )
    return whole if languages is None else whole.only(tuple(wanted))


def similarity_set(
    tables: Tables, languages: Iterable[str] | None = None, *, split: str | None = None
) -> pl.DataFrame:
    """Pairs with scores whose two languages are both asked for.

    Returns:
        `id, text_a, language_a, text_b, language_b, gold` (Float64) and `group_id`, which a pair's
        versions in other languages share: from `splits` where that has one, otherwise the id.

    Raises:
        InputError: for a missing column, an id that stands twice, a language that is not there,
            and languages that are there but in no pair together.
    """
    kept = _pairs(tables, languages, split)
    return _pairs_with_groups(kept, tables.get("splits")).select(
        "id", "text_a", pl.col("lang_a").alias("language_a"), "text_b",
        pl.col("lang_b").alias("language_b"), pl.col("score").cast(pl.Float64).alias("gold"),
        "group_id",
    )  # fmt: skip


def parallel_set(
    tables: Tables, languages: Iterable[str] | None = None, *, split: str | None = None
) -> EvaluationCollection:
    """Parallel sentences as retrieval of the other side; `InputError` as for `similarity_set`."""
    return EvaluationCollection.from_pairs(_pairs(tables, languages, split))


def sentence_set(
    tables: Tables, languages: Iterable[str] | None = None, *, split: str | None = None
) -> pl.DataFrame:
    """Labelled sentences: `id, text, language, label, group_id`; `InputError` as for other sets."""
    sentences = tables["sentences"]
    _need("sentences", sentences, _SENTENCES)
    _check_unique("sentences", sentences, "id")
    wanted = _wanted(languages, {"sentences": sentences["language"]})
    if split is not None and "split" in sentences.columns:
        tables = {"splits": sentences.select("id", "split")}
    kept = _of_split(sentences, tables, "id", split).filter(pl.col("language").is_in(wanted))
    if "group_id" not in kept.columns:
        kept = kept.with_columns(group_id=pl.col("id"))
    return kept.select(*_SENTENCES, "group_id")


def _titled() -> pl.Expr:
    """MTEB's text of a document."""
    return pl.concat_str(
        pl.col("title").fill_null(""), pl.lit(" "), pl.col("text")
    ).str.strip_chars()


def _wanted(languages: Iterable[str] | None, where: Mapping[str, pl.Series]) -> list[str]:
    """The languages to keep, sorted; counts of those there are in the error for one that is not."""
    there = set().union(*(set(series.unique()) for series in where.values()))
    wanted = there if languages is None else set(languages)
    missing = sorted(wanted - there)
    if not missing:
        return sorted(wanted)
    counts = "; ".join(
        f"{name}: "
        + ", ".join(f"{code} {count:,}" for code, count in sorted(series.value_counts().rows()))
        for name, series in where.items()
    )
    raise InputError(f"no texts in {', '.join(missing)}. There are {counts}")


def _grouped(texts: pl.DataFrame, groups: pl.DataFrame | None, key: str) -> pl.DataFrame:
    """`texts` with the `group_id` of `groups`; null for a text that it does not name."""
    if groups is None:
        return texts
    name = "translations" if key == "doc_id" else "query_translations"
    _need(name, groups, (key, "group_id"))
    _check_unique(name, groups, key)
    return texts.drop("group_id", strict=False).join(
        groups.select(key, "group_id"), on=key, how="left", maintain_order="left"
    )


def _judged(judgments: pl.DataFrame, queries: pl.DataFrame, asked: pl.DataFrame) -> pl.DataFrame:
    """Judgments without those of queries that are there but were not asked for."""
    others = queries.join(asked, on="query_id", how="anti")
    return judgments.join(others, on="query_id", how="anti", maintain_order="left")


def _pairs(tables: Tables, languages: Iterable[str] | None, split: str | None) -> pl.DataFrame:
    set_kind(tables)
    pairs = tables["pairs"]
    _check_unique("pairs", pairs, "id")
    wanted = _wanted(languages, {"first texts": pairs["lang_a"], "second texts": pairs["lang_b"]})
    kept = _of_split(pairs, tables, "id", split).filter(
        pl.col("lang_a").is_in(wanted) & pl.col("lang_b").is_in(wanted)
    )
    if kept.is_empty():
        both = pairs.select(pl.format("{}-{}", "lang_a", "lang_b")).unique().to_series().sort()
        raise InputError(
            f"pairs: none has both its languages among {', '.join(wanted)}; there are "
            f"{', '.join(both)}"
        )
    return kept


def _pairs_with_groups(pairs: pl.DataFrame, splits: pl.DataFrame | None) -> pl.DataFrame:
    if splits is None or "group_id" not in splits.columns:
        return pairs.with_columns(group_id=pl.col("id"))
    return (
        pairs.drop("group_id", strict=False)
        .join(splits.select("id", "group_id"), on="id", how="left", maintain_order="left")
        .with_columns(pl.coalesce("group_id", "id").alias("group_id"))
    )


def _of_split(frame: pl.DataFrame, tables: Tables, key: str, split: str | None) -> pl.DataFrame:
    if split is None:
        return frame
    splits = tables.get("splits")
    if splits is None:
        raise InputError(f"split {split!r} was asked for, but there is no table `splits`")
    _need("splits", splits, (key, "split"))
    names = splits["split"].unique().sort()
    if split not in names:
        raise InputError(f"splits: has no {split!r}; it has {', '.join(names)}")
    members = splits.filter(pl.col("split") == split)
    return frame.join(members, on=key, how="semi", maintain_order="left")


def _check_unique(name: str, frame: pl.DataFrame, *key: str) -> None:
    twice = frame.filter(pl.struct(key).is_duplicated())
    if not twice.is_empty():
        raise InputError(f"{name}: {', '.join(map(repr, twice.row(0)[: len(key)]))} stands twice")


def _need(name: str, frame: pl.DataFrame, columns: tuple[str, ...]) -> None:
    missing = [column for column in columns if column not in frame.columns]
    if missing:
        raise InputError(
            f"{name}: has no column {', '.join(missing)}; it has {', '.join(frame.columns)}"
        )
