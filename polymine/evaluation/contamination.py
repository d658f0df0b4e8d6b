"""Finds training texts that lie in evaluation data, exactly or nearly.

A model that has seen a test passage ranks it well for the wrong reason. Texts are equal by the key
that also merges copies in mining (`text_key`), and near by the same exact Jaccard similarity of
shingles, proposed by MinHash; here pairs are proposed across the two sides only.

Short texts say little. Below three words they say nothing: a name or `Who?` is in any two sets.
Three or four words, as `Who was he?`, are shared by sets that have nothing else in common; they
count when they are equal and the other text of the training row, its anchor or positive, lies in
the same evaluation set too. Near-copies count from five words on. In scripts without spaces a word
is taken for 5/3 characters, the ratio of the shingles' widths.
"""

import numpy as np
import polars as pl
from numpy.typing import NDArray

from polymine.mining.groups import Indices
from polymine.mining.hashing import hash_texts
from polymine.mining.near_copies import (
    WORDS,
    Shingles,
    band_keys,
    hash_tokens,
    jaccard,
    rows_per_band,
    shingle,
    signatures,
    text_key,
)

NEAR = 0.8  # Jaccard similarity from which two texts are much the same
LONG, SHORT = 5, 3  # words: enough by themselves; enough together with the row's other text
BEGINNING = 400  # characters in which a text has shown whether it has that many words
NEIGHBOURS = 32  # texts of the other side, each way, that each text of a bucket is compared with
COLUMNS = ["row", "side", "set", "id", "kind", "text"]
_PARTNERS = ("anchor", "positive")


def texts_of(rows: pl.DataFrame) -> pl.DataFrame:
    """List the texts of training rows.

    Args:
        rows: TrainingRows.

    Returns:
        source, row, side (`anchor`, `positive` or `negative`), text; a row per negative.
    """
    key = ["source", "row"]
    sides = [rows.select(*key, side=pl.lit(side), text=side) for side in _PARTNERS]
    negatives = rows.select(*key, side=pl.lit("negative"), text="negatives").explode("text")
    return pl.concat([*sides, negatives.drop_nulls("text")])


def find_overlap(
    training_texts: pl.DataFrame, evaluation_texts: pl.DataFrame, near: float = NEAR
) -> pl.DataFrame:
    """List the training texts that are equal or near to an evaluation text.

    In a bucket of the MinHash each text is compared with NEIGHBOURS of the other side, each way, so
    that boilerplate does not cost the square of its number: what has hundreds of near-copies may
    not be listed with each of them.

    Args:
        training_texts: row, side, text and, where rows of several sources are numbered each from 0,
            source.
        evaluation_texts: set, id, text.
        near: Jaccard similarity of shingles, in (0, 1], from which texts are near.

    Returns:
        COLUMNS, after `source` if there is one; `text` is the training text, `kind` is `equal` or
        `near`. Sorted by all but kind and text, each (row, side, set, id) once, equal before near.
    """
    key = ["source", "row"] if "source" in training_texts.columns else ["row"]
    trained = training_texts.select(*key, "side", "text", key=_keys(training_texts["text"]))
    tested = evaluation_texts.select("set", "id", "text", key=_keys(evaluation_texts["text"]))
    distinct = [
        frame.unique("key", keep="first", maintain_order=True) for frame in (trained, tested)
    ]
    pairs = _pairs(distinct[0], distinct[1], near)
    found = trained.join(pairs, left_on="key", right_on="left").join(
        tested.select("set", "id", "key"), left_on="right", right_on="key"
    )
    found = found.join(_words(found), on="key")
    return (
        _weighty(found, key)
        .select(*key[:-1], *COLUMNS)
        .sort(*key, "side", "set", "id", "kind", "text")
        .unique([*key, "side", "set", "id"], keep="first", maintain_order=True)
    )


def exclude(rows: pl.DataFrame, overlap: pl.DataFrame) -> tuple[pl.DataFrame, int]:
    """Remove the training rows with any text in an overlap.

    Args:
        rows: TrainingRows.
        overlap: of `find_overlap`.

    Returns:
        The rows that are left, in their order, and the number of those removed.
    """
    key = ["source", "row"] if "source" in overlap.columns else ["row"]
    kept = rows.join(overlap.select(key).unique(), on=key, how="anti", maintain_order="left")
    return kept, rows.height - kept.height


def _pairs(trained: pl.DataFrame, tested: pl.DataFrame, near: float) -> pl.DataFrame:
    """Pairs of keys, `left` of training texts and `right` of evaluation texts, with their kind."""
    equal = trained.select(left="key").join(tested.select(left="key"), on="left")
    equal = equal.select("left", right="left", kind=pl.lit("equal"))
    shingles = shingle(pl.concat([trained["text"], tested["text"]]))
    left, right = _candidates(shingles, trained.height, near)
    close = jaccard(shingles, left, right) >= near
    alike = pl.DataFrame(
        {
            "left": trained["key"].gather(left[close]),
            "right": tested["key"].gather(right[close] - trained.height),
        }
    ).with_columns(kind=pl.lit("near"))
    return pl.concat([equal, alike.filter(pl.col("left") != pl.col("right"))])


def _weighty(found: pl.DataFrame, key: list[str]) -> pl.DataFrame:
    """Leave out what is too short to say anything; see the module's docstring."""
    long = pl.col("words") >= LONG
    equal = pl.col("kind") == "equal"
    telling = found.filter((pl.col("words") >= SHORT) & (long | equal))
    partner = telling.filter(pl.col("side").is_in(_PARTNERS))
    sides = partner.group_by(*key, "set").agg(partners=pl.col("side").n_unique())
    telling = telling.join(sides, on=[*key, "set"], how="left", maintain_order="left")
    both = pl.col("side").is_in(_PARTNERS) & (pl.col("partners") == len(_PARTNERS))
    return telling.filter(long | both)


def _candidates(shingles: Shingles, trained: int, near: float) -> tuple[Indices, Indices]:
    """Pairs (training, evaluation) of texts that share a bucket; those below `trained` train."""
    texts = np.flatnonzero(shingles.sizes)
    count = len(shingles.sizes)
    if len(texts) == 0:
        return texts, texts
    keys = band_keys(signatures(shingles, texts), rows_per_band(near))
    codes = [np.empty(0, dtype=np.int64)]
    for band in range(keys.shape[1]):
        # As in mining: the next band breaks ties, so that the alike stand together in a crowd.
        order = np.lexsort((keys[:, (band + 1) % keys.shape[1]], keys[:, band]))
        ordered = texts[order]
        buckets = np.cumsum(np.diff(keys[order, band], prepend=keys[order[:1], band]) != 0)
        for one, other in _across(buckets, ordered < trained):
            codes.append(ordered[one] * count + ordered[other])
    distinct = np.unique(np.concatenate(codes))
    return distinct // count, distinct % count


def _across(buckets: Indices, training: NDArray[np.bool_]) -> list[tuple[Indices, Indices]]:
    """Positions (training, evaluation) of one bucket, `buckets` ascending: nearest neighbours."""
    left, right = np.flatnonzero(training), np.flatnonzero(~training)
    pairs = []
    for one, other, swap in ((left, right, False), (right, left, True)):
        place = np.searchsorted(other, one)
        for step in range(-NEIGHBOURS, NEIGHBOURS):
            beside = place + step
            inside = (beside >= 0) & (beside < len(other))
            here, there = one[inside], other[beside[inside]]
            same = buckets[here] == buckets[there]
            pair = (here[same], there[same])
            pairs.append(pair[::-1] if swap else pair)
    return pairs


def _words(found: pl.DataFrame) -> pl.DataFrame:
    """Words per key, of a long text's beginning: only few words are ever asked about.

    In a script without spaces there are as many as the shingles are worth.
    """
    texts = found.unique("key").select("key", "text")
    if texts.height == 0:
        return texts.select("key", words=pl.lit(0.0))
    lengths, width = hash_tokens([text_key(text[:BEGINNING]) for text in texts["text"]])[1:]
    return texts.select("key", words=pl.Series(lengths * WORDS / width, dtype=pl.Float64))


def _keys(texts: pl.Series) -> pl.Series:
    """What copies share, as a number."""
    return pl.Series("key", hash_texts(text_key(text) for text in texts), dtype=pl.UInt64)
