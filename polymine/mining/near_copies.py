"""Near-copies: documents that share almost all of their wording.

MinHash signatures propose pairs (LSH), the exact Jaccard similarity of the shingle sets decides.
Shingles are runs of 3 words, or of 5 characters where a script writes no spaces between words.
Everything up to the decision works on flat arrays: one Python object per document would cost
more than the hashing.

The transitive closure of the decided pairs makes the groups. A complete comparison inside large
groups is not attempted: boilerplate that fills a bucket with k texts would cost k squared pairs.
"""

import itertools
import unicodedata
from dataclasses import dataclass

import numpy as np
import polars as pl
from numpy.typing import NDArray

from polymine.mining.groups import Indices, components

Hashes = NDArray[np.uint64]

PERMUTATIONS = 128
RECALL = 0.99  # chance that a pair exactly at the threshold is proposed; higher above it
NEIGHBOURS = 8  # documents of one bucket each of its documents is compared with, besides the first
WORDS, CHARACTERS = 3, 5  # tokens per shingle
SIGNATURE_ROWS = 16_384  # signatures come back as Python lists: 64 MiB of them at a time
BLOCK_CHARACTERS = 4_000_000  # shingled at a time: about 300 MiB of work space
PAIR_ROWS = 16_384  # pairs compared at a time
_SEED = 1
_HASH_BITS = np.uint64(42)
_STEP = np.uint64(0x9E3779B97F4A7C15)  # keeps zeros and repeats from cancelling while mixing
# Thai and Lao, Myanmar, Khmer, kana, ideographs: scripts without spaces between words.
_UNSPACED = (
    (0x0E00, 0x0EFF), (0x1000, 0x109F), (0x1780, 0x17FF), (0x3005, 0x3007), (0x3040, 0x30FF),
    (0x3400, 0x4DBF), (0x4E00, 0x9FFF), (0xF900, 0xFAFF), (0x20000, 0x3FFFF),
)  # fmt: skip


@dataclass(frozen=True)
class Shingles:
    """Shingle sets of texts, one after the other in the order of the texts.

    Args:
        hashes: (shingles,), 42 bits each; those of text i lie in
            `hashes[offsets[i] : offsets[i + 1]]`, ascending and distinct.
        offsets: (texts + 1,), from 0 to the number of shingles.
    """

    hashes: Hashes
    offsets: Indices

    @property
    def sizes(self) -> Indices:
        """Shingles of each text: (texts,); 0 for one without a letter or digit."""
        return np.diff(self.offsets)

    def of(self, documents: Indices) -> tuple[Hashes, Indices]:
        """Take the shingle sets of some texts.

        Args:
            documents: positions of texts, in any order.

        Returns:
            Hashes of these texts in their order, and offsets: both as the class's.
        """
        sizes = self.sizes[documents]
        offsets = np.concatenate([[0], np.cumsum(sizes)])
        place = np.arange(offsets[-1]) + np.repeat(self.offsets[documents] - offsets[:-1], sizes)
        return self.hashes[place], offsets


def text_key(text: str) -> str:
    """Bring a text into the form that it shares with its copies.

    Args:
        text: any.

    Returns:
        It in NFKC, case-folded, with single spaces.
    """
    if not text.isascii():  # ASCII is its own normal form, and most of many corpora
        folded = unicodedata.normalize("NFKC", text).casefold()
        return " ".join(unicodedata.normalize("NFKC", folded).split())
    return " ".join(text.casefold().split())


def near_copies(documents: pl.DataFrame, threshold: float) -> pl.DataFrame:
    """Group documents whose shingle sets have a Jaccard similarity of at least `threshold`.

    Args:
        documents: doc_id (unique), text.
        threshold: in (0, 1]. A pair just at it is found with a probability of 0.99, a closer one
            more surely; what is found is checked exactly.

    Returns:
        doc_id, near_group (Int64) by doc_id, of groups of two and more only. Groups are numbered
        by their lowest doc_id, so the order of the rows does not matter.
    """
    documents = documents.select("doc_id", "text").sort("doc_id")
    shingles = shingle(documents["text"])
    left, right = _candidates(shingles, threshold)
    close = jaccard(shingles, left, right) >= threshold
    group = components(documents.height, left[close], right[close])
    return (
        documents.select("doc_id", near_group=pl.Series(group, dtype=pl.Int64))
        .filter(pl.len().over("near_group") > 1)
        .with_columns(pl.col("near_group").rank("dense").cast(pl.Int64) - 1)
    )


def shingle(texts: pl.Series) -> Shingles:
    """Cut texts into their shingle sets.

    Args:
        texts: strings without nulls; they are cut by their `text_key`.

    Returns:
        Sets of three tokens in a row each; of five where more than a third of the characters
        belong to a script without spaces between words.
    """
    keys = [text_key(text) for text in texts]
    block = np.cumsum([len(key) for key in keys]) // BLOCK_CHARACTERS
    hashes, sizes = [np.empty(0, dtype=np.uint64)], [np.empty(0, dtype=np.int64)]
    for start, stop in itertools.pairwise([*np.flatnonzero(np.diff(block, prepend=-1)), len(keys)]):
        tokens, lengths, width = hash_tokens(keys[start:stop])
        found, document = _distinct(*_windows(tokens, lengths, width))
        hashes.append(found)
        sizes.append(np.bincount(document, minlength=stop - start))
    offsets = np.concatenate([[0], np.cumsum(np.concatenate(sizes))])
    return Shingles(np.concatenate(hashes), offsets.astype(np.int64))


def hash_tokens(keys: list[str]) -> tuple[Hashes, Indices, Indices]:
    """Hash the tokens of texts.

    A token is a run of letters, marks and digits, or a single one of them in a script that
    writes no spaces. A word's hash is the sum of its characters' hashes, each mixed with its
    place in the word.

    Args:
        keys: texts by their `text_key`.

    Returns:
        The hash of every token, text after text: (tokens,); the number of tokens: (texts,); and
        how many of them make a shingle, CHARACTERS or WORDS: (texts,).
    """
    sizes = np.array([len(key) for key in keys])
    codes = np.frombuffer("".join(keys).encode("utf-32-le"), dtype=np.uint32)
    document = np.repeat(np.arange(len(keys)), sizes)
    in_word, alone = _character_classes(codes)
    opens = np.diff(document, prepend=-1) != 0
    starts = in_word & (opens | alone | ~np.roll(in_word, 1) | np.roll(alone, 1))
    word = np.cumsum(starts)[in_word]
    place = np.flatnonzero(in_word) - np.flatnonzero(starts)[word - 1]
    mixed = _mix(codes[in_word] + (place.astype(np.uint64) << np.uint64(32)))
    edges = np.flatnonzero(np.diff(word, prepend=0))
    hashes = np.add.reduceat(mixed, edges) if len(edges) else mixed
    lengths = np.bincount(document[starts], minlength=len(keys))
    unspaced = np.bincount(document[alone], minlength=len(keys)) * 3 > sizes
    return hashes, lengths, np.where(unspaced, CHARACTERS, WORDS)


def _character_classes(codes: NDArray[np.uint32]) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Which characters belong to tokens, and which are tokens by themselves."""
    in_word, alone = np.zeros((2, 0x110000), dtype=np.bool_)
    seen = np.zeros(0x110000, dtype=np.bool_)
    seen[codes] = True
    for code in np.flatnonzero(seen).tolist():
        category = unicodedata.category(chr(code))
        in_word[code] = category[0] in "LMN"
        alone[code] = in_word[code] and any(low <= code <= high for low, high in _UNSPACED)
    return in_word[codes], alone[codes]


def _mix(values: Hashes) -> Hashes:
    """Finaliser of SplitMix64: spreads every bit of a value over all of them."""
    values = (values ^ (values >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    values = (values ^ (values >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return values ^ (values >> np.uint64(31))


def _windows(tokens: Hashes, lengths: Indices, width: Indices) -> tuple[Hashes, Indices]:
    """Hash every run of `width` tokens of a document, or its only run if it is shorter.

    Returns the hashes and, beside each, its document.
    """
    document = np.repeat(np.arange(len(lengths)), lengths)
    starts = np.cumsum(lengths) - lengths
    left_over = lengths[document] - (np.arange(len(tokens)) - starts[document])
    runs = width[document]
    hashes = np.zeros(len(tokens), dtype=np.uint64)
    for step in range(int(width.max(initial=0))):
        inside = (step < runs) & (step < left_over)
        hashes = np.where(inside, _mix(hashes + np.roll(tokens, -step) + _STEP), hashes)
    full = (left_over >= runs) | (left_over == lengths[document])
    return hashes[full], document[full]


def _distinct(hashes: Hashes, document: Indices) -> tuple[Hashes, Indices]:
    """Sort by document and hash, without repeats.

    Both are packed into one integer, which sorts ten times faster than two columns: a block has
    fewer than 2^22 documents, and 42 bits of a hash tell the shingles of two documents apart.
    """
    packed = np.sort((document.astype(np.uint64) << _HASH_BITS) | (hashes >> np.uint64(22)))
    packed = packed[np.diff(packed, prepend=~packed[:1]) != 0]  # np.unique hashes, which is slower
    return packed & ((np.uint64(1) << _HASH_BITS) - np.uint64(1)), packed >> _HASH_BITS


def _candidates(shingles: Shingles, threshold: float) -> tuple[Indices, Indices]:
    """Pairs (left < right, distinct) that share a bucket of the LSH, or their whole set."""
    count = len(shingles.sizes)
    documents = np.flatnonzero(shingles.sizes)
    if len(documents) == 0:
        return documents, documents
    kept, twins = _collapse(shingles, documents)
    keys = band_keys(signatures(shingles, kept), rows_per_band(threshold))
    codes = [twins[0] * count + twins[1]]
    for band in range(keys.shape[1]):
        # The next band breaks ties, so that within a crowded bucket the alike stand together.
        order = np.lexsort((keys[:, (band + 1) % keys.shape[1]], keys[:, band]))
        for left, right in _bucket_pairs(keys[order, band]):
            one, other = kept[order[left]], kept[order[right]]
            codes.append(np.minimum(one, other) * count + np.maximum(one, other))
    distinct = np.unique(np.concatenate(codes))
    return distinct // count, distinct % count


def _collapse(shingles: Shingles, documents: Indices) -> tuple[Indices, tuple[Indices, Indices]]:
    """Leave one document of each distinct shingle set; pair the others with it."""
    starts = shingles.offsets[documents]
    parts = (shingles.hashes, _mix(shingles.hashes))
    sums = [np.add.reduceat(part, starts) for part in parts]
    frame = pl.DataFrame({"document": documents, "a": sums[0], "b": sums[1]})
    first = frame.select(pl.col("document").first().over("a", "b")).to_series().to_numpy()
    twin = first != documents
    return documents[~twin], (first[twin], documents[twin])


def rows_per_band(threshold: float) -> int:
    """Find the most rows per band (the fewest false candidates) that keep RECALL at the threshold.

    Args:
        threshold: a Jaccard similarity in (0, 1].

    Returns:
        From 1 to PERMUTATIONS.
    """
    for rows in range(PERMUTATIONS, 1, -1):
        missed = (1 - threshold**rows) ** (PERMUTATIONS // rows)
        if 1 - missed >= RECALL:
            return rows
    return 1


def signatures(shingles: Shingles, documents: Indices) -> NDArray[np.uint32]:
    """Compute MinHash signatures of some texts (Broder 1997).

    Args:
        documents: positions of texts, none of them empty.

    Returns:
        (documents, PERMUTATIONS); two texts agree in a column with their sets' Jaccard similarity
        as probability.
    """
    from rensa import RMinHash

    blocks = [np.empty((0, PERMUTATIONS), dtype=np.uint32)]
    for start in range(0, len(documents), SIGNATURE_ROWS):
        hashes, offsets = shingles.of(documents[start : start + SIGNATURE_ROWS])
        matrix = RMinHash.digest_matrix_from_flat_token_hashes(
            hashes, offsets.astype(np.uint64), num_perm=PERMUTATIONS, seed=_SEED
        )
        blocks.append(np.array(matrix.to_rows(), dtype=np.uint32))
    return np.concatenate(blocks)


def band_keys(minhashes: NDArray[np.uint32], rows: int) -> Hashes:
    """Make bucket keys from signatures.

    Args:
        minhashes: (documents, PERMUTATIONS).
        rows: columns to a band.

    Returns:
        (documents, PERMUTATIONS // rows): texts with an equal key in a band share its bucket.
    """
    bands = PERMUTATIONS // rows
    parts = minhashes[:, : bands * rows].reshape(len(minhashes), bands, rows)
    keys = np.zeros((len(minhashes), bands), dtype=np.uint64)
    for row in range(rows):
        keys = _mix(keys + parts[:, :, row] + _STEP)
    return keys


def _bucket_pairs(keys: Hashes) -> list[tuple[Indices, Indices]]:
    """Pairs of positions in a sorted array with equal keys: the bucket's first, and neighbours."""
    opens = np.concatenate([[True], keys[1:] != keys[:-1]])
    first = np.maximum.accumulate(np.where(opens, np.arange(len(keys)), 0))
    far = np.flatnonzero(np.arange(len(keys)) - first > NEIGHBOURS)
    pairs = [(first[far], far)]
    for step in range(1, NEIGHBOURS + 1):
        same = np.flatnonzero(keys[step:] == keys[:-step])
        if len(same) == 0:
            break
        pairs.append((same, same + step))
    return pairs


def jaccard(shingles: Shingles, left: Indices, right: Indices) -> NDArray[np.float64]:
    """Compare the shingle sets of pairs, exactly.

    Args:
        left, right: positions of texts: (pairs,) each.

    Returns:
        Jaccard similarities, (pairs,); 0 where both sets are empty.
    """
    from scipy.sparse import csr_array

    involved = np.unique(np.concatenate([left, right]))
    hashes, offsets = shingles.of(involved)
    columns = np.unique(hashes, return_inverse=True)[1]
    ones = np.ones(len(columns), dtype=np.int32)
    width = int(columns.max(initial=0)) + 1
    sets = csr_array((ones, columns, offsets), shape=(len(involved), width))
    row = np.searchsorted(involved, np.stack([left, right]))
    shared = np.zeros(len(left), dtype=np.int64)
    for start in range(0, len(left), PAIR_ROWS):
        block = slice(start, start + PAIR_ROWS)
        shared[block] = (sets[row[0, block]] * sets[row[1, block]]).sum(axis=1)
    sizes = shingles.sizes
    similarity: NDArray[np.float64] = shared / np.maximum(sizes[left] + sizes[right] - shared, 1)
    return similarity
