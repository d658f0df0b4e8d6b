"""Reads tables of triplets, Polymine's own and plain ones, into one list of negatives per pair."""

import difflib
import re
from collections.abc import Sequence

import polars as pl

from polymine.data_contracts.errors import InputError
from polymine.mining.hashing import hash_texts
from polymine.mining.near_copies import text_key
from polymine.reading.shared_texts import number_texts, put_texts

UNKNOWN_LANGUAGE = "und"  # ISO 639's code for it
CODE = r"^[a-z]{2,3}([-_][a-z0-9]{2,8})*$"  # of a language, as mining has it
_NUMBERED = re.compile(r"^negative_(\d+)$")
_EXAMPLE_CHARACTERS = 120
_HINTS = {
    "anchor": ("query", "question", "sentence1"),
    "positive": ("document", "answer", "passage", "sentence2"),
}


def gather(
    triplets: pl.DataFrame, source: str, negatives: int
) -> tuple[pl.DataFrame, dict[str, int]]:
    """Gather one row per (query, positive), with negatives, weights and scores in lists.

    Rows go together by ids and texts: files of several sources may number their rows alike. A
    negative that is a copy of a positive of its query, or of the query itself, is none.

    Args:
        triplets, source, negatives: as in `mixture.from_triplets`.

    Returns:
        The rows and, by reason, the number of what was left out. `scores` begins with the
        positive's, and is empty where one is missing.

    Raises:
        InputError: as in `mixture.from_triplets`.
    """
    require_columns(triplets, source, ["anchor", "positive"])
    given = triplets.cast({"anchor": pl.String, "positive": pl.String})
    given = given.filter(present("anchor") & present("positive"))
    dropped = {"empty text": triplets.height - given.height}
    whole = _aligned(_one_negative_per_row(given), source)
    key = ["query", "document", "anchor", "positive"]
    whole = whole.with_columns(is_negative=present("negative").fill_null(False))
    whole, texts = number_texts(whole, [*key, "negative"])
    whole = _with_copies(whole, texts)
    known = pl.concat(
        [whole.select("anchor_copied", copied=f"{side}_copied") for side in ("positive", "anchor")]
    ).unique()
    rows = whole.join(
        known.with_columns(known=pl.lit(True)), left_on=["anchor_copied", "negative_copied"],
        right_on=["anchor_copied", "copied"], how="left", maintain_order="left",
    )  # fmt: skip
    rows = rows.with_columns(pl.col("known").fill_null(False))
    rows = rows.sort([*key, "position"], maintain_order=True).with_columns(
        repeated=pl.col("is_negative") & ~pl.struct(*key, "negative_copied").is_first_distinct()
    )
    taken = pl.col("is_negative") & ~pl.col("known") & ~pl.col("repeated")
    dropped |= {
        "negatives that are positives of their query, or copies": rows.filter("known").height,
        "negatives repeated": rows.filter(pl.col("repeated") & ~pl.col("known")).height,
    }
    gathered = rows.group_by(key, maintain_order=True).agg(
        pl.first("anchor_language", "positive_language", "positive_score", "positive_weight"),
        pl.col("negative").filter(taken).head(negatives).alias("negatives"),
        pl.col("weight").filter(taken).head(negatives).alias("weights"),
        pl.col("negative_score").filter(taken).head(negatives).alias("scores"),
        over=taken.sum() - taken.sum().clip(upper_bound=negatives),
    )
    dropped["negatives beyond those wanted"] = int(gathered["over"].sum())
    scored = pl.col("positive_score").is_not_null() & (
        pl.col("scores").list.len() == pl.col("scores").list.drop_nulls().list.len()
    )
    scores = pl.when(scored).then(pl.concat_list("positive_score", "scores"))
    gathered = gathered.with_columns(
        scores.otherwise(pl.lit([], pl.List(pl.Float32))).alias("scores")
    )
    gathered = put_texts(gathered, texts, [*key, "negatives"])
    return gathered, {reason: count for reason, count in dropped.items() if count}


def require_columns(table: pl.DataFrame, source: str, names: Sequence[str]) -> None:
    """Check that columns are there; those of texts must hold strings.

    Args:
        table: any table of the user's.
        source: what errors call it.
        names: of columns.

    Raises:
        InputError: one is missing, with a column that may be meant, or has another type.
    """
    for name in names:
        if name not in table.columns:
            close = difflib.get_close_matches(name, table.columns, n=1, cutoff=0.6)
            close += [hint for hint in _HINTS.get(name, ()) if hint in table.columns]
            hint = f"; rename `{close[0]}` if that is it" if close else ""
            raise InputError(
                f"{source}: column `{name}` is missing{hint} "
                f"(found: {', '.join(table.columns) or 'no columns'})"
            )
        if name in ("anchor", "positive", "text", "text_a", "text_b"):
            _require_strings(table, source, name)


def languages_of(table: pl.DataFrame, source: str, name: str) -> pl.Series:
    """Read a column of languages.

    Args:
        table: any table of the user's.
        source: what errors call it.
        name: of the column, which need not be there.

    Returns:
        Codes in lower case, `und` where the table says nothing.

    Raises:
        InputError: what is no code.
    """
    if name not in table.columns:
        return pl.repeat(UNKNOWN_LANGUAGE, table.height, dtype=pl.String, eager=True).alias(name)
    codes = table[name].cast(pl.String).str.strip_chars().str.to_lowercase()
    codes = codes.replace("", UNKNOWN_LANGUAGE).fill_null(UNKNOWN_LANGUAGE)
    if (wrong := codes.filter(~codes.str.contains(CODE))).len():
        raise InputError(
            f"{source}: `{name}` should hold codes as `ru`, got `{wrong[0]}` ({wrong.len():,} rows)"
        )
    return codes


def present(name: str) -> pl.Expr:
    """Whether a text has anything in it."""
    return pl.col(name).is_not_null() & pl.col(name).str.contains(r"\S")


def _with_copies(rows: pl.DataFrame, texts: pl.Series) -> pl.DataFrame:
    """Name each text beside its number by what all of its copies share: a hash of `text_key`."""
    copied = {f"{side}_copied": side for side in ("anchor", "positive", "negative")}
    keys = pl.Series(hash_texts(text_key(text) for text in texts))
    return put_texts(rows.with_columns(**copied), keys, list(copied))


def _one_negative_per_row(triplets: pl.DataFrame) -> pl.DataFrame:
    """Turn negative_1 to negative_n into rows, in the order of their numbers."""
    numbered = [name for name in triplets.columns if _NUMBERED.match(name)]
    if "negative" in triplets.columns:
        return triplets
    if not numbered:
        return triplets.with_columns(negative=pl.lit(None, pl.String))
    numbered.sort(key=lambda name: int(name.removeprefix("negative_")))
    others = [name for name in triplets.columns if name not in numbered]
    parts = [
        triplets.select(
            *others, pl.col(name).cast(pl.String).alias("negative"), position=pl.lit(place)
        )
        for place, name in enumerate(numbered, start=1)
    ]
    return pl.concat(parts)


def _aligned(long: pl.DataFrame, source: str) -> pl.DataFrame:
    """The columns of Triplets that matter, with defaults where a plain table has none."""
    _require_strings(long, source, "negative")
    ids = {"query_id", "positive_id"} <= set(long.columns)
    frame = long.select(
        pl.col("query_id" if ids else "anchor").cast(pl.String).alias("query"),
        pl.col("positive_id" if ids else "positive").cast(pl.String).alias("document"),
        "anchor",
        "positive",
        pl.col("negative").cast(pl.String),
        languages_of(long, source, "anchor_language"),
        languages_of(long, source, "positive_language"),
        _numbers(long, source, "weight").fill_null(1.0),
        _numbers(long, source, "positive_weight").fill_null(1.0),
        _numbers(long, source, "positive_score"),
        _numbers(long, source, "negative_score"),
        _numbers(long, source, "position").fill_null(0),
    )
    for name, least in (("weight", "from 0"), ("positive_weight", "above 0")):
        right = pl.col(name).is_between(0, 1, closed="both" if name == "weight" else "right")
        wrong = frame.filter(~right)
        if wrong.height:
            raise InputError(
                f"{source}: `{name}` should lie {least} to 1, got {wrong[name][0]:g} "
                f"({wrong.height:,} rows); the first: {wrong['anchor'][0][:_EXAMPLE_CHARACTERS]!r}"
            )
    return frame


def _numbers(table: pl.DataFrame, source: str, name: str) -> pl.Series:
    if name not in table.columns:
        return pl.repeat(None, table.height, dtype=pl.Float32, eager=True).alias(name)
    kind = table[name].dtype
    if not (kind.is_numeric() or kind == pl.Null):
        raise InputError(f"{source}: `{name}` should hold numbers, got {kind}")
    values = table[name].cast(pl.Float32)
    if (wrong := values.filter(~values.is_finite())).len():
        raise InputError(
            f"{source}: `{name}` should hold numbers, got {wrong[0]} ({wrong.len():,} rows)"
        )
    return values


def _require_strings(table: pl.DataFrame, source: str, name: str) -> None:
    if table[name].dtype not in (pl.String, pl.Null, pl.Categorical, pl.Enum):
        raise InputError(f"{source}: `{name}` should hold strings, got {table[name].dtype}")
