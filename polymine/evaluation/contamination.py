"""Finds training texts that lie in evaluation data, exactly or nearly.

A model that has seen a test passage ranks it well for the wrong reason. Texts are equal by the key
that also merges copies in mining (`text_key`), and near by the same exact Jaccard similarity of
shingles, proposed by MinHash; here pairs are proposed across the two sides only.

Short texts say little by themselves: a name or `Who was he?` is in any two sets that have nothing
else in common. Below five words they count when they are equal and the other text of the training
row, its anchor or positive, lies in the same evaluation set too; below three only where that other
text is a long one, as the page that the query `running shoes` leads to. Near-copies count from five
words on. In scripts without spaces a word is taken for 5/3 characters, the ratio of the shingles'
widths.

How much of a set training must not have seen is its level. Where training and test share a corpus,
as in MS MARCO, SciFact and all of BEIR, every document is known by design, and what gives the test
away are its queries. A document then counts only beside a query of the set in the same row.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

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

Level = Literal["queries", "relevant", "all"]
Part = Literal["query", "document", "text"]  # what a text is in its set; `text`: none of both

NEAR = 0.8  # Jaccard similarity from which two texts are much the same
LONG, SHORT = 5, 3  # words: enough by themselves; enough together with the row's other text
BEGINNING = 400  # characters in which a text has shown whether it has that many words
NEIGHBOURS = 32  # texts of the other side, each way, that each text of a bucket is compared with
SHARED = 0.5  # share of the training positives from which a set's corpus is the training's own
CHUNK = 100_000  # texts whose shingles are in memory at once, each side: about 400 MB of abstracts
COLUMNS = ["row", "side", "set", "part", "id", "kind", "text"]
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

    Each distinct text is hashed once. Shingles are cut for CHUNK texts of either side at a time;
    what stays in memory of all evaluation texts are their bucket keys, some 100 bytes each.

    In a bucket of the MinHash each text is compared with NEIGHBOURS of the other side, each way, so
    that boilerplate does not cost the square of its number: what has hundreds of near-copies may
    not be listed with each of them.

    Args:
        training_texts: row, side, text and, where rows of several sources are numbered each from 0,
            source.
        evaluation_texts: set, id, text and, if known, part (`query`, `document` or `text`).
        near: Jaccard similarity of shingles, in (0, 1], from which texts are near.

    Returns:
        COLUMNS, after `source` if there is one; `text` is the training text, `kind` is `equal` or
        `near`. Sorted by all but kind and text, each (row, side, set, part, id) once, equal before
        near.
    """
    key = ["source", "row"] if "source" in training_texts.columns else ["row"]
    if "part" not in evaluation_texts.columns:
        evaluation_texts = evaluation_texts.with_columns(part=pl.lit("text"))
    if evaluation_texts.is_empty():  # nothing to compare every text with
        training_texts = training_texts.clear()
    sides = [_keyed(texts) for texts in (training_texts, evaluation_texts)]
    distinct = [side.unique("key", keep="first", maintain_order=True) for side in sides]
    pairs = _pairs(distinct[0], distinct[1], near)
    of_training, of_evaluation = (
        side.join(pairs.select(pl.col(end).unique()), left_on="key", right_on=end, how="semi")
        for side, end in zip(sides, ("left", "right"), strict=True)
    )
    trained = training_texts.select(*key, "side", "text").join(of_training, on="text")
    tested = evaluation_texts.select("set", "part", "id", "text").join(of_evaluation, on="text")
    found = trained.join(pairs, left_on="key", right_on="left").join(
        tested.select("set", "part", "id", "key"), left_on="right", right_on="key"
    )
    found = found.join(_words(found), on="key")
    return (
        _weighty(found, key)
        .select(*key[:-1], *COLUMNS)
        .sort(*key, "side", "set", "part", "id", "kind", "text")
        .unique([*key, "side", "set", "part", "id"], keep="first", maintain_order=True)
    )


def at_levels(overlap: pl.DataFrame, levels: Mapping[str, Level]) -> pl.DataFrame:
    """Keep what counts at the level of each set.

    Args:
        overlap: of `find_overlap`, with parts.
        levels: set name to its level; `all` where it is not named.

    Returns:
        Rows of `overlap`. At the level `queries`, those of a training row that holds a query of the
        set: documents are listed beside it, never alone. What texts of the set were compared at all
        decides between `relevant` and `all`.
    """
    key = [name for name in ("source", "row") if name in overlap.columns]
    asked = (pl.col("part") == "query").any().over(*key, "set")
    by_query = pl.col("set").is_in([name for name, level in levels.items() if level == "queries"])
    return overlap.filter(~by_query | asked | (pl.col("part") == "text"))


def shares_corpus(positives: pl.Series, documents: pl.Series) -> bool:
    """Say whether training and a set search one corpus.

    Args:
        positives: texts of the training rows' positives.
        documents: texts of the set's documents.

    Returns:
        Whether at least SHARED of the distinct positives are documents, word for word.
    """
    distinct = positives.unique()
    shared = int(distinct.is_in(documents.unique().implode()).sum())
    return 0 < shared >= SHARED * len(distinct)


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


def _keyed(texts: pl.DataFrame) -> pl.DataFrame:
    """Every distinct text with what its copies share, as a number."""
    distinct = texts.select(pl.col("text").unique(maintain_order=True))["text"]
    keys = pl.Series("key", hash_texts(text_key(text) for text in distinct), dtype=pl.UInt64)
    return pl.DataFrame([distinct, keys])


def _pairs(trained: pl.DataFrame, tested: pl.DataFrame, near: float) -> pl.DataFrame:
    """Pairs of keys, `left` of training texts and `right` of evaluation texts, with their kind."""
    equal = trained.select(left="key").join(tested.select(left="key"), on="left")
    found = [equal.select("left", right="left", kind=pl.lit("equal"))]
    held = _Buckets.of_all(tested["text"], near)
    for part in trained.iter_slices(CHUNK):
        shingles = shingle(part["text"])
        left, right = _candidates(_Buckets.of(shingles, near), held)
        for start in range(0, len(left), CHUNK):
            one, other = left[start : start + CHUNK], right[start : start + CHUNK]
            texts, place = np.unique(other, return_inverse=True)
            both = _joined(shingles, shingle(tested["text"].gather(texts)))
            close = jaccard(both, one, part.height + place) >= near
            keys = {"left": part["key"].gather(one[close]),
                    "right": tested["key"].gather(other[close])}  # fmt: skip
            found.append(pl.DataFrame(keys).with_columns(kind=pl.lit("near")))
    copies = (pl.col("kind") == "near") & (pl.col("left") == pl.col("right"))
    return pl.concat(found).filter(~copies)


def _weighty(found: pl.DataFrame, key: list[str]) -> pl.DataFrame:
    """Leave out what is too short to say anything; see the module's docstring."""
    long = pl.col("words") >= LONG
    equal = pl.col("kind") == "equal"
    telling = found.filter(long | equal)
    partner = telling.filter(pl.col("side").is_in(_PARTNERS))
    words = pl.col("words")
    sides = partner.group_by(*key, "set").agg(
        partners=pl.col("side").n_unique(), least=words.min(), most=words.max()
    )
    telling = telling.join(sides, on=[*key, "set"], how="left", maintain_order="left")
    enough = (pl.col("least") >= SHORT) | (pl.col("most") >= LONG)
    both = pl.col("side").is_in(_PARTNERS) & (pl.col("partners") == len(_PARTNERS)) & enough
    return telling.filter(long | both)


@dataclass(frozen=True)
class _Buckets:
    """Which bucket each text lies in, band by band.

    Args:
        texts: positions of those that have a shingle, (n,).
        keys: (n, bands), by columns.
    """

    texts: Indices
    keys: NDArray[np.uint64]

    @classmethod
    def of(cls, shingles: Shingles, near: float) -> _Buckets:
        texts = np.flatnonzero(shingles.sizes)
        return cls(texts, band_keys(signatures(shingles, texts), rows_per_band(near)))

    @classmethod
    def of_all(cls, texts: pl.Series, near: float) -> _Buckets:
        """Cut the texts' shingles CHUNK texts at a time, and forget them."""
        starts = range(0, max(len(texts), 1), CHUNK)
        parts = [cls.of(shingle(texts.slice(start, CHUNK)), near) for start in starts]
        places = [part.texts + start for part, start in zip(parts, starts, strict=True)]
        keys = np.concatenate([part.keys for part in parts])
        return cls(np.concatenate(places), np.asfortranarray(keys))

    @cached_property
    def orders(self) -> list[Indices]:
        """What sorts the keys of each band."""
        return [np.argsort(column, kind="stable") for column in self.keys.T]


def _joined(one: Shingles, other: Shingles) -> Shingles:
    offsets = np.concatenate([one.offsets, one.offsets[-1] + other.offsets[1:]])
    return Shingles(np.concatenate([one.hashes, other.hashes]), offsets)


def _candidates(own: _Buckets, held: _Buckets) -> tuple[Indices, Indices]:
    """Pairs (training, evaluation) of texts that share a bucket."""
    count = int(held.texts.max(initial=0)) + 1
    codes = [np.empty(0, dtype=np.int64)]
    for band, order in enumerate(held.orders):
        keys, theirs = own.keys[:, band], held.keys[:, band]
        low, high = (np.searchsorted(theirs, keys, end, sorter=order) for end in ("left", "right"))
        left = np.flatnonzero(high > low)
        spans = np.unique(np.stack([low[left], high[left]]), axis=1).T
        right = np.concatenate([order[:0], *(order[start:stop] for start, stop in spans)])
        # As in mining: the next band breaks ties, so that the alike stand together in a crowd.
        tie = (band + 1) % own.keys.shape[1]
        first, second = (
            np.concatenate([own.keys[left, at], held.keys[right, at]]) for at in (band, tie)
        )
        sort = np.lexsort((second, first))
        buckets = np.cumsum(np.diff(first[sort], prepend=first[sort[:1]]) != 0)
        texts = np.concatenate([own.texts[left], held.texts[right]])[sort]
        for one, other in _across(buckets, sort < len(left)):
            codes.append(texts[one] * count + texts[other])
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
