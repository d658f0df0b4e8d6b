"""Pair files: query text and positive text, without ids. Made into the three tables.

An id is the hash of its text, so that the same text gets the same id in every file and run.
"""

from collections.abc import Iterable

import polars as pl
import xxhash

from polymine.mining.ingestion import normalise
from polymine.mining.input_checks import BROKEN, SOURCE_COLUMN, as_json
from polymine.tasks.sources.columns import rename_columns

COLUMNS = {
    "anchor": ("anchor", "query", "question", "sentence1", "text_a"),
    "positive": (
        "positive", "positives", "pos", "answer", "passage", "document", "sentence2", "text_b",
    ),
    "anchor_language": ("anchor_language", "query_language", "lang_a"),
    "positive_language": ("positive_language", "document_language", "lang_b"),
    "language": ("language", "lang"),
    "relevance": ("relevance", "label"),  # `score` is a similarity in most pair files
}  # fmt: skip
_NO_TEXT = ("id", "_id", "idx", "title", "score", "split", "source")


def name_pair_columns(frame: pl.DataFrame) -> pl.DataFrame:
    """Find anchor and positive: by name, or else the first two text columns."""
    frame = rename_columns(frame, COLUMNS)
    missing = [name for name in ("anchor", "positive") if name not in frame.columns]
    free = [name for name in frame.columns if _may_be_text(name, frame.schema[name])]
    return frame.rename({column: name for name, column in zip(missing, free, strict=False)})


def pair_problems(frame: pl.DataFrame, source: str) -> list[str]:
    """What keeps a named frame from being pairs, each as a sentence."""
    missing = [name for name in ("anchor", "positive") if name not in frame.columns]
    if missing:
        return [
            f"{source}: pairs need two text columns, `anchor` and `positive`; missing is "
            f"{' and '.join(missing)} (found: {', '.join(frame.columns) or 'no columns'})"
        ]
    problems = []
    for name, kinds in (("anchor", [pl.String]), ("positive", [pl.String, pl.List(pl.String)])):
        if (got := frame.schema[name]) not in kinds:
            expected = "strings" if len(kinds) == 1 else "strings or lists of strings"
            problems.append(f"{source}: column `{name}` should hold {expected}, got {got}")
    return problems


def split_broken_pairs(frame: pl.DataFrame, source: str) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Part pairs from rows that lack a text on one side (a BROKEN frame)."""
    rules = {
        "`anchor` is null": pl.col("anchor").is_null(),
        "`anchor` is empty": _is_blank(pl.col("anchor")),
        "`positive` is null": pl.col("positive").is_null(),
    }
    if frame.schema["positive"] == pl.String:
        rules["`positive` is empty"] = _is_blank(pl.col("positive"))
    else:
        blank = pl.element().is_null() | _is_blank(pl.element())
        any_blank = pl.col("positive").list.eval(blank).list.any()
        rules["`positive` is empty"] = (pl.col("positive").list.len() == 0) | any_blank
    if "relevance" in frame.columns:
        rules["`relevance` is not a number"] = _number("relevance").is_null()
    broken = frame.select(
        pl.concat_list(pl.when(is_broken).then(pl.lit(rule)) for rule, is_broken in rules.items())
        .list.drop_nulls()
        .alias("rules")
    ).to_series()
    fails = broken.list.len() > 0
    rows = [as_json(row) for row in frame.filter(fails).iter_rows(named=True)]
    rejected = pl.DataFrame(
        {"source": [source] * len(rows), "rules": broken.filter(fails), "row": rows}, schema=BROKEN
    )
    return frame.filter(~fails), rejected


def pair_rows(frame: pl.DataFrame, source: str, language: str) -> pl.DataFrame:
    """Bring whole pairs into one shape; a list of positives counts as so many pairs."""
    if frame.schema["positive"] == pl.List(pl.String):
        frame = frame.explode("positive")
    return frame.select(
        anchor=pl.col("anchor"),
        positive=pl.col("positive"),
        anchor_language=_language(frame, "anchor_language", language),
        positive_language=_language(frame, "positive_language", language),
        relevance=_number("relevance") if "relevance" in frame.columns else pl.lit(1.0),
        source_file=pl.lit(source),
    )


def tables_of_pairs(pairs: pl.DataFrame) -> tuple[pl.DataFrame, pl.DataFrame, pl.DataFrame]:
    """Make documents, queries and judgments of pair rows.

    Identical texts become one row, in the lowest of their languages; of a repeated pair the
    highest relevance counts. Sorted by ids.
    """
    pairs = pairs.with_columns(
        query_id=pl.Series(_ids("q", pairs["anchor"]), dtype=pl.String),
        doc_id=pl.Series(_ids("d", pairs["positive"]), dtype=pl.String),
    )
    judgments = pairs.group_by("query_id", "doc_id").agg(
        pl.col("relevance").max(), pl.col(SOURCE_COLUMN).min()
    )
    return (
        _texts(pairs, "doc_id", "positive"),
        _texts(pairs, "query_id", "anchor"),
        judgments.sort("query_id", "doc_id"),
    )


def _texts(pairs: pl.DataFrame, key: str, side: str) -> pl.DataFrame:
    texts = pairs.group_by(key).agg(
        pl.col(side).min().alias("text"),
        pl.col(f"{side}_language").min().alias("language"),
        pl.col(SOURCE_COLUMN).min(),
    )
    return texts.sort(key)


def _ids(prefix: str, texts: Iterable[str]) -> list[str]:
    return [f"{prefix}-{xxhash.xxh3_64_hexdigest(normalise(text).encode())}" for text in texts]


def _language(pairs: pl.DataFrame, side: str, language: str) -> pl.Expr:
    names = [name for name in (side, "language") if name in pairs.columns]
    return pl.coalesce(*(pl.col(name).cast(pl.String) for name in names), pl.lit(language))


def _number(name: str) -> pl.Expr:
    return pl.col(name).cast(pl.Float64, strict=False)


def _is_blank(text: pl.Expr) -> pl.Expr:
    return text.str.strip_chars().str.len_chars() == 0


def _may_be_text(name: str, dtype: pl.DataType) -> bool:
    lowered = name.lower()
    apart = lowered in COLUMNS or lowered in _NO_TEXT or lowered.endswith("_id")
    return dtype in (pl.String, pl.List(pl.String)) and not apart and not lowered.startswith("neg")
