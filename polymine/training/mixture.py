"""From tables to what a step learns from: rows of the contract TrainingRows.

Four kinds of tables make rows: triplets, lists, parallel pairs, and collections whose texts have
versions in other languages.

The `anchor` is the query, the `positive` the document. Whatever is left out is
counted by its reason, and equal (anchor, positive) pairs of the same languages are merged into one:
as two rows of a batch they would be each other's false negatives. What else is known of a row's
anchor and other rows' texts, `relations.relate` puts to them.
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import dataframely as dy
import numpy as np
import polars as pl

from polymine.data_contracts.errors import InputError
from polymine.data_contracts.learning import TrainingRows
from polymine.mining.hashing import hash_texts, uniform
from polymine.mining.lists import interleave, right
from polymine.reading.shared_texts import number_texts
from polymine.training.triplet_tables import gather, languages_of, present, require_columns

PAIR_KEY = ["anchor_language", "positive_language", "anchor", "positive"]
_LISTS = {
    "negatives": pl.String, "weights": pl.Float32, "scores": pl.Float32, "related": pl.UInt64,
    "related_weights": pl.Float32, "positive_weights": pl.Float32,
}  # fmt: skip
OTHER_LANGUAGES, OVER_LIMIT = "other language pairs", "over the limit"
DOUBTED = "positives less likely right than {:g}"


@dataclass(frozen=True)
class Counts:
    """What became of a table.

    Args:
        rows: training rows that came of it.
        merged: rows that went into an equal pair.
        dropped: reason to number of what was left out: rows, or negatives where it says so.
    """

    rows: int
    merged: int = 0
    dropped: Mapping[str, int] = field(default_factory=dict)

    def then(self, later: "Counts") -> "Counts":
        """Both, where `later` counts what was done to the rows of this one."""
        dropped = dict(Counter(self.dropped) + Counter(later.dropped))
        return Counts(later.rows, self.merged + later.merged, dropped)

    def and_dropped(self, reason: str, count: int) -> "Counts":
        """The same, with what was left out before the table was made."""
        dropped = {**self.dropped, **({reason: count} if count else {})}
        return Counts(self.rows, self.merged, dropped)


@dataclass(frozen=True)
class Part:
    """Rows of one part of a step's data, numbered in order from 0, and what was left out."""

    rows: dy.DataFrame[TrainingRows]
    counts: Counts


def from_triplets(triplets: pl.DataFrame, source: str, negatives: int) -> Part:
    """Gather each (query, positive) and its first negatives by position.

    A negative that is a positive of its anchor, or repeated, is left out. Of merged rows the one
    with most negatives stays, of equals the first.

    Args:
        triplets: contract Triplets, or a plain table: anchor, positive and either negative (a row
            per triplet), negative_1 to negative_n, or none. Where there are no ids the texts stand
            for them; missing languages are `und`, missing weights 1, a missing position is the
            order of the rows. Scores are kept where a row has all of them.
        source: of the rows, and in errors.
        negatives: of a row, at most.

    Returns:
        Rows by query_id and positive_id.

    Raises:
        InputError: missing columns, weights out of [0, 1], scores that are no numbers, or a table
            of which nothing is left.
    """
    rows, dropped = gather(triplets, source, negatives)
    return _part(rows, source, dropped)


def from_lists(
    lists: pl.DataFrame,
    queries: pl.DataFrame,
    documents: pl.DataFrame,
    source: str,
    *,
    negatives: int,
    positives: int,
    scored: bool,
) -> Part:
    """Make one row of every query's list.

    Its surest positive stands first, then its other positives. Where a teacher's scores are
    learned, negatives and further candidates follow in turn, so that a short list has both; else
    the negatives alone. Positives and negatives without a score stay, as what they are.

    Args:
        lists: contract Lists and, if `scored`, the teacher's `score`, null where it has none.
        queries, documents: query_id or doc_id, text, language, of all that the lists name.
        source: of the rows, and in errors.
        negatives: documents of a row beside the first, at most.
        positives: of a row, at most; those left out stay known.
        scored: whether the rows are to have scores.

    Returns:
        Rows by query_id.

    Raises:
        InputError: of no query a list is left.
    """
    told = right() | (pl.col("verdict") == "negative")
    keep = {"candidates without a score": told | pl.col("score").is_not_null()} if scored else {}
    listed, dropped = _filtered(interleave(lists).with_columns(right=right()), keep)
    nth = pl.int_range(pl.len()).over("query_id", "right")
    wanted = pl.when("right").then(nth < positives).otherwise(pl.lit(scored) | told)
    listed = listed.filter(wanted)
    listed = listed.filter(pl.int_range(pl.len()).over("query_id") <= negatives)
    read = documents.select("doc_id", read="text", positive_language="language")
    rows = _gathered(listed.join(read, on="doc_id", how="left", maintain_order="left"), scored)
    asked = queries.select("query_id", anchor="text", anchor_language="language")
    rows = rows.join(asked, on="query_id", how="left", maintain_order="left")
    return _part(rows, source, dropped)


def _gathered(listed: pl.DataFrame, scored: bool) -> pl.DataFrame:
    """Gather the documents of every query; a further positive is no negative of its own row."""
    sure = pl.when("right").then("weight").otherwise(0.0).cast(pl.Float32)
    none = pl.when("right").then(1.0).otherwise("weight").cast(pl.Float32)
    scores = {"scores": pl.col("score").cast(pl.Float32)} if scored else {}
    return (
        listed.with_columns(sure=sure, none=none)
        .group_by("query_id", maintain_order=True)
        .agg(
            pl.first("positive_language"),
            positive=pl.first("read"),
            positive_weight=pl.first("sure"),
            negatives=pl.col("read").slice(1),
            weights=pl.col("none").slice(1),
            positive_weights=pl.col("sure").slice(1),
            **scores,
        )
    )


def from_parallel(pairs: pl.DataFrame, source: str, min_score: float | None = None) -> Part:
    """Train both directions of each pair, without negatives.

    Equal texts of one language teach nothing and are dropped.

    Args:
        pairs: text_a, lang_a, text_b, lang_b and, for `min_score`, score.
        source: of the rows, and in errors.
        min_score: pairs below it, or without a score, are dropped.

    Returns:
        Rows pair by pair, first with text_a as the anchor, then with text_b.

    Raises:
        InputError: missing columns, or a table of which nothing is left.
    """
    needed = ["text_a", "lang_a", "text_b", "lang_b"]
    require_columns(pairs, source, needed + ["score"] * (min_score is not None))
    if min_score is not None and not pairs["score"].dtype.is_numeric():
        raise InputError(
            f"{source}: `min_score` needs numbers in `score`, got {pairs['score'].dtype}"
        )
    frame = pairs.with_columns(
        lang_a=languages_of(pairs, source, "lang_a"), lang_b=languages_of(pairs, source, "lang_b")
    )
    equal = (pl.col("text_a") == pl.col("text_b")) & (pl.col("lang_a") == pl.col("lang_b"))
    keep = {"empty text": present("text_a") & present("text_b"), "equal texts": ~equal}
    if min_score is not None:
        keep["no score"] = pl.col("score").cast(pl.Float64).is_not_nan().fill_null(False)
        keep[f"scored below {min_score:g}"] = pl.col("score") >= min_score
    frame, dropped = _filtered(frame, keep)
    frame = frame.with_row_index("pair")
    directions = [
        frame.select(
            "pair",
            anchor=f"text_{one}",
            positive=f"text_{other}",
            anchor_language=f"lang_{one}",
            positive_language=f"lang_{other}",
        )
        for one, other in ("ab", "ba")
    ]
    return _part(pl.concat(directions).sort("pair", maintain_order=True), source, dropped)


def from_collection(
    documents: pl.DataFrame, queries: pl.DataFrame, judgments: pl.DataFrame, source: str
) -> Part:
    """Pair every query with every version of its relevant documents, in all languages.

    Args:
        documents: doc_id, text, language and, if known, group_id, which versions share. Texts are
            taken as they are: who wants titles puts them before.
        queries: query_id, text, language and, if known, group_id: what is relevant to one query of
            a group is relevant to all.
        judgments: query_id, doc_id, relevance (above 0: relevant).
        source: of the rows, and in errors.

    Returns:
        Rows without negatives, by query_id and doc_id.

    Raises:
        InputError: missing columns, or no query has a relevant document.
    """
    require_columns(documents, f"{source}: documents", ["doc_id", "text", "language"])
    require_columns(queries, f"{source}: queries", ["query_id", "text", "language"])
    require_columns(judgments, f"{source}: judgments", ["query_id", "doc_id", "relevance"])
    passages = _versions(documents, "doc_id", "positive", source)
    asked = _versions(queries, "query_id", "anchor", source)
    positive = judgments.filter(pl.col("relevance") > 0).select("query_id", "doc_id")
    known = positive.join(asked.select("query_id", "anchor_group"), on="query_id").join(
        passages.select("doc_id", "positive_group"), on="doc_id"
    )
    pairs = (
        known.select("anchor_group", "positive_group")
        .unique()
        .join(asked, on="anchor_group")
        .join(passages, on="positive_group")
        .sort("query_id", "doc_id")
    )
    kept, dropped = _filtered(pairs, {"empty text": present("anchor") & present("positive")})
    if dangling := positive.height - known.height:
        dropped["judgments of texts that are not there"] = dangling
    return _part(kept, source, dropped)


def select(
    rows: pl.DataFrame,
    languages: Sequence[str] | None,
    limit: int | None,
    seed: int,
    least: float | None = None,
) -> Part:
    """Take the rows of some language pairs with positives that are sure enough, and a sample.

    Args:
        rows: TrainingRows of one source.
        languages: pairs with the document's language first, as `ru-en`; all if None.
        limit: rows at most.
        seed: of the sample, which depends on it and the rows' texts alone, not on their order or
            number.
        least: probability that a positive is right; any if None.

    Returns:
        The rows with their numbers and in their order, and what was left out.

    Raises:
        InputError: there is no row of a language pair.
    """
    pair = pl.concat_str("positive_language", "anchor_language", separator="-")
    kept, dropped = rows.with_columns(pair=pair), {}
    if languages is not None:
        _check_pairs(kept["pair"], rows, languages)
        kept = kept.filter(pl.col("pair").is_in(list(languages)))
        dropped[OTHER_LANGUAGES] = rows.height - kept.height
    if least is not None:
        sure = kept.filter(pl.col("positive_weight") >= pl.lit(least, pl.Float32))
        dropped[DOUBTED.format(least)] = kept.height - sure.height
        kept = sure
    if limit is not None and kept.height > limit:
        texts = kept.select(pl.concat_str("pair", "anchor", "positive", separator="\0"))
        drawn = uniform(seed, hash_texts(texts.to_series()))
        dropped[OVER_LIMIT] = kept.height - limit
        kept = kept[np.sort(np.argsort(drawn, kind="stable")[:limit])]
    counts = Counts(kept.height, 0, {reason: count for reason, count in dropped.items() if count})
    return Part(TrainingRows.validate(kept.drop("pair")), counts)


def check_scores(rows: pl.DataFrame) -> None:
    """Check that every row has scores: distillation has nothing to learn from others.

    Args:
        rows: TrainingRows.

    Raises:
        InputError: a row has none; names the first.
    """
    bare = rows.filter(pl.col("scores").list.len() == 0)
    if bare.height:
        first = bare.row(0, named=True)
        raise InputError(
            f"{bare.height:,} of {rows.height:,} training rows have no teacher's scores, which the "
            f"losses `distill` and `margin` learn; the first is row {first['row']} of "
            f"{first['source']}: {first['anchor'][:80]!r}. Give positive_score and "
            "negative_score, as mined triplets have them, or choose another loss"
        )


def spread_of(parts: Iterable[pl.DataFrame]) -> float:
    """Measure how far the scores of a list lie apart: the root of their mean variance.

    Args:
        parts: TrainingRows with scores.

    Returns:
        Four digits of it, in the unit of the scores.

    Raises:
        InputError: no list has two scores, or all scores of every list are equal.
    """
    scores = pl.concat(part["scores"] for part in parts)
    several = scores.filter(scores.list.drop_nulls().list.len() > 1)
    if several.is_empty():
        raise InputError(
            "no list has two documents with a score of the teacher, so that there is no order to "
            "learn; choose another `loss.target`, or more `loss.negatives`"
        )
    spread = float(f"{np.sqrt(several.list.var(ddof=0).to_numpy().mean()):.4g}")
    if spread > 0:
        return spread
    raise InputError(
        "the teacher gives all documents of a list the same score, so that there is no order to "
        "learn; choose another `loss.target`"
    )


def _check_pairs(pairs: pl.Series, rows: pl.DataFrame, languages: Sequence[str]) -> None:
    counts = dict(pairs.value_counts(sort=True).sort("count", "pair", descending=True).rows())
    if absent := [wanted for wanted in languages if wanted not in counts]:
        there = ", ".join(f"{pair} ({count:,})" for pair, count in counts.items())
        source = ", ".join(rows["source"].unique().sort()) or "training data"
        raise InputError(
            f"{source}: no row of {', '.join(absent)} (document's language first, then the "
            f"query's); there are: {there or 'none'}"
        )


def _versions(texts: pl.DataFrame, key: str, role: str, source: str) -> pl.DataFrame:
    """Id, text, language and group of each text; one without a group is a group of its own."""
    group = pl.lit(None, pl.String) if "group_id" not in texts.columns else pl.col("group_id")
    return texts.select(
        pl.col(key),
        pl.col("text").alias(role),
        languages_of(texts, source, "language").alias(f"{role}_language"),
        pl.coalesce("g " + group.cast(pl.String), "i " + pl.col(key)).alias(f"{role}_group"),
    )


def _filtered(
    frame: pl.DataFrame, keep: Mapping[str, pl.Expr]
) -> tuple[pl.DataFrame, dict[str, int]]:
    """Apply conditions one after the other; count what each leaves out, by its reason."""
    dropped = {}
    for reason, condition in keep.items():
        kept = frame.filter(condition)
        if kept.height < frame.height:
            dropped[reason] = frame.height - kept.height
        frame = kept
    return frame, dropped


def _part(rows: pl.DataFrame, source: str, dropped: dict[str, int]) -> Part:
    """Merge equal pairs, number the rows, and put empty lists where a table has none."""
    if rows.height == 0:
        reasons = ", ".join(f"{reason}: {count:,}" for reason, count in dropped.items())
        raise InputError(f"{source}: no training row is left ({reasons or 'the table is empty'})")
    for name, kind in _LISTS.items():
        if name not in rows.columns:
            rows = rows.with_columns(pl.lit([], pl.List(kind)).alias(name))
    if "positive_weight" not in rows.columns:
        rows = rows.with_columns(positive_weight=pl.lit(1.0, pl.Float32))
    longest = rows.with_row_index("row").sort(
        pl.col("negatives").list.len(), descending=True, maintain_order=True
    )
    pairs, _ = number_texts(longest.select(PAIR_KEY), PAIR_KEY)
    merged = (
        longest.filter(pairs.select(pl.struct(PAIR_KEY).is_first_distinct()).to_series())
        .sort("row")
        .with_columns(pl.int_range(pl.len(), dtype=pl.UInt32).alias("row"), source=pl.lit(source))
    )
    counts = Counts(merged.height, rows.height - merged.height, dropped)
    return Part(TrainingRows.validate(merged.select(TrainingRows.column_names())), counts)
