"""SHIFT: what a language adds to all of its vectors, taken away, without any training.

Semantic Harmonization via Index-side Feature Transformation (arXiv 2606.18801) estimates a
language's vector from translations and subtracts it when documents are indexed. Here it is the mean
of a language's own texts less the mean of all languages, so that no translations are needed, and is
taken from questions as from documents. That holds where the languages' texts are of one kind: the
offset of a language whose texts are all on one subject is that subject. A set's questions and
documents have one offset per language, of both together: what is subtracted from a question alone
would move it away from its answers.
"""

from collections.abc import Mapping, Sequence

import numpy as np
import polars as pl
from numpy.typing import NDArray

Vectors = NDArray[np.float32]
Offsets = Mapping[str, NDArray[np.float64]]


def language_offsets(sides: Sequence[tuple[Vectors, pl.Series]]) -> Offsets:
    """Find what each language adds to all of its vectors.

    Args:
        sides: unit vectors (n, d) of all texts of a set, and the texts' languages, (n,) each, a
            side at a time.

    Returns:
        Language to its mean less the mean of the languages, (d,); nothing where there is one alone.
    """
    sums, counts = dict[str, NDArray[np.float64]](), dict[str, int]()
    for vectors, languages in sides:
        for code in languages.unique():
            chosen = vectors[(languages == code).to_numpy()]
            sums[code] = sums.get(code, 0.0) + chosen.sum(axis=0, dtype=np.float64)
            counts[code] = counts.get(code, 0) + len(chosen)
    if len(sums) < 2:
        return {}
    means = {code: total / counts[code] for code, total in sums.items()}
    middle = np.mean([means[code] for code in sorted(means)], axis=0)
    return {code: mean - middle for code, mean in means.items()}


def without_offsets(vectors: Vectors, languages: pl.Series, offsets: Offsets) -> Vectors:
    """Subtract each language's mean offset.

    Args:
        vectors: unit vectors (n, d).
        languages: (n,), of the texts.
        offsets: of `language_offsets`; a language that it does not name stays as it is.

    Returns:
        Unit vectors (n, d). A vector that is nothing but its language's offset stays as it was,
        since nothing has no direction.
    """
    moved = vectors.astype(np.float64)
    for code in set(languages) & offsets.keys():
        moved[(languages == code).to_numpy()] -= offsets[code]
    length = np.linalg.norm(moved, axis=1, keepdims=True)
    shifted: Vectors = np.where(length > 1e-6, moved / np.maximum(length, 1e-6), vectors)
    return shifted.astype(np.float32)
