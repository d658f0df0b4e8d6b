"""Pairs and triplets of texts without ids, made into documents, queries and judgments.

An id is the hash of its text, so that the same text gets the same id in every file and run. The
negatives that a file gives become documents: candidates that are judged like all others.
"""

from collections.abc import Iterable, Sequence

import polars as pl
import xxhash

from polymine.data_contracts.errors import InputError
from polymine.data_contracts.tables import INVISIBLE
from polymine.mining.broken_rows import BROKEN, SOURCE_COLUMN, as_json, nearest
from polymine.mining.ingestion import normalise
from polymine.reading.roles import Role

Grades = float | tuple[int | float | str, ...] | None  # as `Reading.grades`
_SHOWN = f"[^{INVISIBLE}]"
GIVEN = ("query_id", "doc_id")
# Labelled lists: names of the texts, and of the number that each of them has.
LISTS = (("documents", "docs", "passages"), ("labels", "is_selected"))


def with_texts(frame: pl.DataFrame, documents: pl.DataFrame | None, source: str) -> pl.DataFrame:
    """Put the texts of a corpus in the place of its ids.

    Args:
        frame: may name documents in lists, `positive_ids` and `negative_ids`.
        documents: doc_id, text.
        source: what errors call the file.

    Returns:
        The frame with `positive` and `negative` as lists of texts; null for an unknown id.

    Raises:
        InputError: it names ids, and there is no corpus.
    """
    if "positive_ids" not in frame.columns:
        return frame
    if documents is None or documents.height == 0:
        raise InputError(
            f"{source}: names documents by their ids; name them, too, as `corpus` "
            "(training reads texts: mine these as `pairs` beside it, and name the run)"
        )
    texts = dict(documents.select("doc_id", "text").rows())
    sides = [name for name in ("positive", "negative") if f"{name}_ids" in frame.columns]
    found = {
        side: [[texts.get(each) for each in ids or ()] for ids in frame[f"{side}_ids"].to_list()]
        for side in sides
    }
    return frame.with_columns(
        pl.Series(side, rows, dtype=pl.List(pl.String)) for side, rows in found.items()
    ).drop(f"{side}_ids" for side in sides)


def from_lists(frame: pl.DataFrame, source: str, grades: Grades = None) -> pl.DataFrame:
    """Part documents with a label each, as of labelled lists, into positives and negatives.

    `grades` says which labels are relevant; without it they are whole numbers, relevant above 0.
    Raises InputError where a row has other numbers of documents and labels, or a label is none.
    """
    listed = {name.lower(): name for name, kind in frame.schema.items() if kind == pl.List}
    sides = [next((listed[n] for n in names if n in listed), "") for names in LISTS]
    if not all(sides) or frame.schema[sides[1]] == pl.List(pl.String):
        return frame
    documents, labels = (frame[name].to_list() for name in sides)
    odd = [n for n, (d, g) in enumerate(zip(documents, labels, strict=True)) if _odd(d, g)]
    if odd:
        raise InputError(
            f"{source}: {len(odd):,} rows have not one label (a number) for each of their "
            f"documents, the first is row {odd[0] + 1}; correct them"
        )
    given = {float(label) for row in labels for label in row or ()}
    if grades is None and (
        odd_labels := [v for v in given if not (v.is_integer() and 0 <= v <= 127)]
    ):
        raise InputError(
            f"{source}: `{sides[1]}` hold {odd_labels[0]:g}, which is no whole grade; say which "
            "are relevant, as `grades = 0.5` for the lowest or `grades = [1, 2]`"
        )
    right_ones = {label for label in given if _is_relevant(label, grades)}
    texts = {
        side: [
            [
                text
                for text, label in zip(d or (), g or (), strict=True)
                if (float(label) in right_ones) == right
            ]
            for d, g in zip(documents, labels, strict=True)
        ]
        for side, right in (("positive", True), ("negative", False))
    }
    parted = (pl.Series(side, rows, pl.List(pl.String)) for side, rows in texts.items())
    return frame.drop(sides).with_columns(*parted)


def _is_relevant(label: float, grades: Grades) -> bool:
    if isinstance(grades, tuple):
        return label in [float(value) for value in grades if not isinstance(value, str)]
    return label >= grades if grades is not None else label > 0


def _odd(documents: list[str] | None, labels: list[float] | None) -> bool:
    return len(documents or ()) != len(labels or ()) or None in (labels or ())


def text_problems(
    frame: pl.DataFrame, role: Role, source: str, numbers: Sequence[str] = ()
) -> list[str]:
    """Look for missing columns and wrong types among the texts of a frame.

    Args:
        frame: under the role's names.
        source: what errors call the file.
        numbers: columns that hold numbers, where they are there.

    Returns:
        A sentence per problem.
    """
    problems = [
        f"{source}: column `{name}` is missing{nearest(name, frame)}; `columns` says what it is "
        f'called, as `{name} = "..."`'
        for name in role.needed
        if name not in frame.columns
    ]
    for name in (name for name in role.needed if name in frame.columns):
        kinds = [pl.String, pl.Null] + [pl.List(pl.String)] * (name == "positive")
        if (got := frame.schema[name]) not in kinds:
            expected = "strings or lists of strings" if name == "positive" else "strings"
            problems.append(f"{source}: column `{name}` should hold {expected}, got {got}")
    problems += [
        f"{source}: column `{name}` should hold one value a row, got {frame.schema[name]}"
        for name in role.columns
        if name not in (*role.needed, "negative", *numbers)
        and name in frame.columns
        and frame.schema[name].is_nested()
    ]
    return problems + [
        f"{source}: column `{name}` should hold numbers, got {frame.schema[name]}"
        for name in numbers
        if name in frame.columns and frame.schema[name].is_nested()
    ]


def split_broken(
    frame: pl.DataFrame,
    role: Role,
    source: str,
    numbers: Sequence[str] = ("relevance",),
    *,
    scored: bool = False,
) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Part rows of texts from those that lack one, or a number.

    Args:
        frame: under the role's names, without `text_problems`.
        source: what errors call the file.
        numbers: columns that must be finite numbers where they are; only `relevance`, a whole one,
            may not be null.
        scored: whether a `score` or `label` may not be null either, where any row has one.

    Returns:
        The sound rows, with these columns as float64, and the others: source, rules, row.
    """
    rules: dict[str, pl.Expr] = {}
    for name in role.needed:
        rules[f"`{name}` is null"] = pl.col(name).is_null()
        if frame.schema[name] == pl.List(pl.String):
            blank = pl.element().is_null() | ~pl.element().str.contains(_SHOWN)
            any_blank = pl.col(name).list.eval(blank).list.any()
            rules[f"`{name}` is empty"] = (pl.col(name).list.len() == 0) | any_blank
        else:
            rules[f"`{name}` is empty"] = ~pl.col(name).cast(pl.String).str.contains(_SHOWN)
    for name in (name for name in numbers if name in frame.columns):
        held = frame[name].null_count() < frame.height
        needed = name == "relevance" or (name == "score" and scored and held)
        given = pl.lit(True) if needed else pl.col(name).is_not_null()
        finite = _number(name).is_finite().fill_null(False)
        rules[f"`{name}` is not a number"] = given & ~finite
    if scored and "label" in frame.columns and frame["label"].null_count() < frame.height:
        rules["`label` is null"] = pl.col("label").is_null()
    if "relevance" in frame.columns and "relevance" in numbers:
        grade = _number("relevance")
        rules["`relevance` is not a whole number from 0 to 127"] = (
            grade.is_finite() & ((grade != grade.floor()) | ~grade.is_between(0, 127))
        ).fill_null(False)
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
    whole = frame.filter(~fails)
    return whole.with_columns(_number(n) for n in numbers if n in frame.columns), rejected


def triplet_rows(frame: pl.DataFrame) -> pl.DataFrame:
    """Write out a row per positive and negative, as training takes them.

    Args:
        frame: positive and negative, each a text or a list.

    Returns:
        Its columns, and `position` of each negative from 1, unless there was one; where it names
        the language of both texts in one column, each has its own.
    """
    if "language" in frame.columns:
        sides = ("anchor_language", "positive_language")
        frame = frame.with_columns(_language(frame, side, None).alias(side) for side in sides)
    if frame.schema["positive"] == pl.List(pl.String):
        frame = frame.explode("positive")
    if "negative" not in frame.columns:
        return frame
    if "position" in frame.columns:
        return frame.explode("negative", empty_as_null=True)
    placed = pl.int_ranges(1, pl.col("negative").list.len() + 1)
    return frame.with_columns(position=placed).explode("negative", "position", empty_as_null=True)


def pair_rows(frame: pl.DataFrame, source: str, language: str) -> pl.DataFrame:
    """Bring whole pairs into one shape.

    Args:
        frame: anchor and positive; a list of positives counts as so many pairs.
        source: file they come from.
        language: of texts for which no column names one.

    Returns:
        anchor, positive, negative (list), anchor_language, positive_language, relevance (1.0 if
        there was none), source_file.
    """
    if frame.schema["positive"] == pl.List(pl.String):
        frame = frame.explode("positive")
    no_negatives = pl.lit([], pl.List(pl.String))
    return frame.select(
        anchor=pl.col("anchor"),
        positive=pl.col("positive"),
        negative=pl.col("negative") if "negative" in frame.columns else no_negatives,
        anchor_language=_language(frame, "anchor_language", language),
        positive_language=_language(frame, "positive_language", language),
        relevance=_number("relevance") if "relevance" in frame.columns else pl.lit(1.0),
        source_file=pl.lit(source),
    )


def tables_of_pairs(pairs: pl.DataFrame) -> tuple[pl.DataFrame, ...]:
    """Make tables of pair rows.

    Args:
        pairs: as from `pair_rows`.

    Returns:
        Documents, queries, judgments and given negatives (query_id, doc_id), sorted by ids.
        Identical texts are one row, in the lowest of their languages; of a repeated pair the
        highest relevance counts.
    """
    pairs = pairs.with_columns(
        query_id=pl.Series(text_ids("q", pairs["anchor"]), dtype=pl.String),
        doc_id=pl.Series(text_ids("d", pairs["positive"]), dtype=pl.String),
    )
    judgments = pairs.group_by("query_id", "doc_id").agg(
        pl.col("relevance").max(), pl.col(SOURCE_COLUMN).min()
    )
    given = pairs.explode("negative").filter(pl.col("negative").is_not_null())
    given = given.with_columns(doc_id=pl.Series(text_ids("d", given["negative"]), dtype=pl.String))
    columns = ["doc_id", "text", "positive_language", SOURCE_COLUMN]
    documents = pl.concat(
        [pairs.rename({"positive": "text"}).select(columns),
         given.rename({"negative": "text"}).select(columns)]
    )  # fmt: skip
    return (
        _texts(documents, "doc_id", "text", "positive_language"),
        _texts(pairs, "query_id", "anchor", "anchor_language"),
        judgments.sort("query_id", "doc_id"),
        given.select(GIVEN).unique().sort(GIVEN),
    )


def _texts(rows: pl.DataFrame, key: str, text: str, language: str) -> pl.DataFrame:
    texts = rows.group_by(key).agg(
        pl.col(text).min().alias("text"),
        pl.col(language).min().alias("language"),
        pl.col(SOURCE_COLUMN).min(),
    )
    return texts.sort(key)


def text_ids(prefix: str, texts: Iterable[str]) -> list[str]:
    """Ids of texts: `q` or `d`, and the hash of the text as it is stored."""
    return [f"{prefix}-{xxhash.xxh3_64_hexdigest(normalise(text).encode())}" for text in texts]


def _language(pairs: pl.DataFrame, side: str, language: str | None) -> pl.Expr:
    names = [name for name in (side, "language") if name in pairs.columns]
    return pl.coalesce(*(pl.col(name).cast(pl.String) for name in names), pl.lit(language))


def _number(name: str) -> pl.Expr:
    return pl.col(name).cast(pl.Float64, strict=False)
