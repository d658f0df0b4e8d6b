"""SHIFT: what a language adds to all of its vectors, taken away, without any training.

Semantic Harmonization via Index-side Feature Transformation (arXiv 2606.18801) estimates a
language's vector from translations and subtracts it when documents are indexed. Here it is the mean
of a language's own texts less the mean of all languages, so that no translations are needed, and is
taken from questions as from documents. That holds where the languages' texts are of one kind: the
offset of a language whose texts are all on one subject is that subject.
"""

import numpy as np
import polars as pl
from numpy.typing import NDArray

Vectors = NDArray[np.float32]


def without_offsets(vectors: Vectors, languages: pl.Series) -> Vectors:
    """Subtract each language's mean offset.

    Args:
        vectors: unit vectors (n, d).
        languages: (n,), of the texts.

    Returns:
        Unit vectors (n, d), those of one language alone as they were. A vector that is nothing but
        its language's offset stays as it was too, since nothing has no direction.
    """
    codes = languages.rank("dense").to_numpy().astype(np.int64) - 1
    counts = np.bincount(codes)
    if len(counts) < 2:
        return vectors
    means = np.zeros((len(counts), vectors.shape[1]))
    np.add.at(means, codes, vectors)
    means /= counts[:, None]
    moved = vectors - (means - means.mean(axis=0))[codes]
    length = np.linalg.norm(moved, axis=1, keepdims=True)
    shifted: Vectors = np.where(length > 1e-6, moved / np.maximum(length, 1e-6), vectors)
    return shifted.astype(np.float32)
