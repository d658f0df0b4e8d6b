"""What a folder of pairs or sentences is, and its rows in one shape whatever the folder.

| tables | what it is |
|---|---|
| `pairs` with scores | semantic textual similarity |
| `pairs` without | parallel sentences |
| `sentences` with labels | clustering |
| `sentences` with groups alone | parallel sentences, a row per language |

`splits` (id, split) is known beside any of them, as is a column `split`; other tables are left
alone. Sets for retrieval are read as the data to mine are.
"""

import logging
from collections.abc import Iterable, Mapping
from typing import Literal

import polars as pl

from polymine.data_contracts.errors import InputError
from polymine.evaluation.collection import EvaluationCollection
from polymine.evaluation.tables import check_unique, need_columns

logger = logging.getLogger("polymine.evaluation")

Tables = Mapping[str, pl.DataFrame]
Kind = Literal["similarity", "parallel", "clustering"]

_PAIRS = ("id", "text_a", "lang_a", "text_b", "lang_b")
_SENTENCES = ("id", "text", "language", "label")
_HAS_VERSIONS = pl.col("group_id").is_duplicated() & pl.col("group_id").is_not_null()


def set_kind(tables: Tables) -> Kind:
    """Tell what the tables are.

    Args:
        tables: frames by name, with `pairs` or `sentences` among them.

    Returns:
        The kind: pairs are `similarity` with scores and `parallel` without.

    Raises:
        InputError: they are nothing known, or only some pairs have scores.
    """
    if "pairs" in tables:
        pairs = tables["pairs"]
        need_columns(pairs, _PAIRS, "pairs")
        unscored = pairs["score"].null_count() if "score" in pairs.columns else pairs.height
        if 0 < unscored < pairs.height:
            raise InputError(
                f"pairs: {unscored} of {pairs.height} have no score; give every pair one "
                "(similarity) or none (parallel sentences)"
            )
        return "parallel" if unscored else "similarity"
    if "sentences" in tables:
        labelled = "label" in tables["sentences"].columns
        return "clustering" if labelled else "parallel"
    found = ", ".join(sorted(tables)) or "no table"
    raise InputError(
        f"an evaluation set needs corpus, queries and qrels, or pairs, or sentences; found {found}"
    )


def similarity_set(
    tables: Tables, languages: Iterable[str] | None = None, *, split: str | None = None
) -> pl.DataFrame:
    """Take the pairs with scores whose two languages are both asked for.

    Args:
        tables: `pairs` (id, text_a, lang_a, text_b, lang_b, score) and, if known, `splits`.
        languages: codes as in the tables; all if None.
        split: by `splits` (id, split) or the pairs' own column; all rows if None.

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
    """Take parallel sentences as retrieval of the other side.

    Args:
        tables, languages, split: as for `similarity_set`; pairs without scores, or `sentences`
            (id, text, language, group_id) without labels.

    Returns:
        The collection of `EvaluationCollection.from_pairs`.

    Raises:
        InputError: as for `similarity_set`.
    """
    if "pairs" not in tables:
        return EvaluationCollection.from_pairs(_pairs_of_groups(tables, languages, split))
    return EvaluationCollection.from_pairs(_pairs(tables, languages, split))


def lone_sentences(
    tables: Tables, languages: Iterable[str] | None = None, *, split: str | None = None
) -> pl.DataFrame:
    """List the sentences that `parallel_set` compares with nothing.

    Args:
        tables, languages, split: as for `parallel_set`.

    Returns:
        `id, text, language`; nothing of pairs.
    """
    columns = ["id", "text", "language"]
    if "pairs" in tables:
        return pl.DataFrame(schema=dict.fromkeys(columns, pl.String))
    return _sentences_of(tables, languages, split).filter(~_HAS_VERSIONS).select(
        pl.col(columns).cast(pl.String)
    )  # fmt: skip


def sentence_set(
    tables: Tables, languages: Iterable[str] | None = None, *, split: str | None = None
) -> pl.DataFrame:
    """Take labelled sentences.

    Args:
        tables: `sentences` (id, text, language, label and, if known, group_id) and `splits`.
        languages, split: as for `similarity_set`.

    Returns:
        `id, text, language, label, group_id`, the last the id where it is not known.

    Raises:
        InputError: as for `similarity_set`.
    """
    sentences = tables["sentences"]
    need_columns(sentences, _SENTENCES, "sentences")
    check_unique(sentences, "sentences", ["id"])
    wanted = _wanted(languages, {"sentences": sentences["language"]})
    kept = _of_split(sentences, tables, split).filter(pl.col("language").is_in(wanted))
    if "group_id" not in kept.columns:
        kept = kept.with_columns(group_id=pl.col("id"))
    return kept.select(*_SENTENCES, "group_id")


def only_split(
    frame: pl.DataFrame, splits: pl.DataFrame | None, key: str, split: str
) -> pl.DataFrame:
    """Take the rows of a split.

    Args:
        frame: with the column `key`.
        splits: `key` and split.
        key: column of ids.
        split: name of the split.

    Returns:
        Rows of `frame` in their order.

    Raises:
        InputError: there is no table, it has no such split, or none of the split's rows is there.
    """
    if splits is None:
        raise InputError(
            f"split {split!r} was asked for, but there is no table `splits` ({key}, split); put "
            "one beside the others, or leave `split` out"
        )
    need_columns(splits, (key, "split"), "splits")
    splits = splits.select(pl.col(key, "split").cast(pl.String)).drop_nulls()
    members = splits.filter(pl.col("split") == split)[key]
    if members.is_empty():
        names = ", ".join(splits["split"].unique().sort())
        raise InputError(f"splits: has no {split!r}; it has {names or 'no rows'}")
    kept = frame.filter(pl.col(key).cast(pl.String).is_in(members.implode()))
    if kept.is_empty():
        raise InputError(
            f"splits: none of the {len(members):,} rows of {split!r}, such as {members[0]!r}, is "
            f"there by its {key}"
        )
    return kept


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


def _pairs(tables: Tables, languages: Iterable[str] | None, split: str | None) -> pl.DataFrame:
    set_kind(tables)
    pairs = tables["pairs"]
    check_unique(pairs, "pairs", ["id"])
    wanted = _wanted(languages, {"first texts": pairs["lang_a"], "second texts": pairs["lang_b"]})
    kept = _of_split(pairs, tables, split).filter(
        pl.col("lang_a").is_in(wanted) & pl.col("lang_b").is_in(wanted)
    )
    if kept.is_empty():
        both = pairs.select(pl.format("{}-{}", "lang_a", "lang_b")).unique().to_series().sort()
        raise InputError(
            f"pairs: none has both its languages among {', '.join(wanted)}; there are "
            f"{', '.join(both)}"
        )
    return kept


def _pairs_of_groups(
    tables: Tables, languages: Iterable[str] | None, split: str | None
) -> pl.DataFrame:
    """Pair the first sentence of each group with every other one."""
    rows = _sentences_of(tables, languages, split)
    kept = rows.filter(_HAS_VERSIONS)
    if kept.height < rows.height:
        logger.warning(
            "sentences: %s of %s have no `group_id`, or one that no other has, and are compared "
            "with nothing",
            f"{rows.height - kept.height:,}", f"{rows.height:,}",
        )  # fmt: skip
    kept = kept.sort("group_id", "language", "id")
    first = kept.group_by("group_id", maintain_order=True).first()
    named = first.select("group_id", text_a="text", lang_a="language", first="id")
    pairs = kept.join(named, on="group_id", maintain_order="left")
    pairs = pairs.filter(pl.col("id") != pl.col("first"))
    return pairs.select("text_a", "lang_a", text_b="text", lang_b="language")


def _sentences_of(
    tables: Tables, languages: Iterable[str] | None, split: str | None
) -> pl.DataFrame:
    sentences = tables["sentences"]
    need_columns(sentences, ("id", "text", "language", "group_id"), "sentences")
    wanted = _wanted(languages, {"sentences": sentences["language"]})
    return _of_split(sentences, tables, split).filter(pl.col("language").is_in(wanted))


def _of_split(frame: pl.DataFrame, tables: Tables, split: str | None) -> pl.DataFrame:
    """Rows of the split by `splits`, or by a column `split` of their own."""
    if split is None:
        return frame
    own = "split" in frame.columns
    return only_split(frame, frame if own else tables.get("splits"), "id", split)


def _pairs_with_groups(pairs: pl.DataFrame, splits: pl.DataFrame | None) -> pl.DataFrame:
    if splits is None or "group_id" not in splits.columns:
        return pairs.with_columns(group_id=pl.col("id"))
    return (
        pairs.drop("group_id", strict=False)
        .join(splits.select("id", "group_id"), on="id", how="left", maintain_order="left")
        .with_columns(pl.coalesce("group_id", "id").alias("group_id"))
    )
