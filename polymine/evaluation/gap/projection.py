"""Maps of texts in the plane: near on the map is near in the space, and nothing else is true of it.

UMAP (McInnes et al., arXiv 1802.03426) keeps more of what lies far apart, t-SNE (van der Maaten and
Hinton 2008) more of who is whose neighbour. Both are seeded; neither's distances are distances.
"""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, version

import numpy as np
import polars as pl

from polymine.data_contracts.gap import GapPoints
from polymine.evaluation.gap.parallel import Parallel, Vectors

UMAP, TSNE = "UMAP", "t-SNE"
NEIGHBOURS, APART = 15, 0.1  # UMAP's n_neighbors and min_dist, its defaults
PERPLEXITY = 30  # t-SNE's, its default
FEWEST = 10  # texts that a map needs


def umap_version() -> str | None:
    """Name the version of the package that makes UMAP's maps; None where it is not installed."""
    try:
        return version("umap-learn")
    except PackageNotFoundError:
        return None


def project(parallel: Parallel, vectors: Vectors, seed: int) -> pl.DataFrame:
    """Lay texts out in the plane, by cosine.

    Args:
        parallel: the texts.
        vectors: unit vectors (n, d) in their order.
        seed: the same seed, the same map.

    Returns:
        `GapPoints` by t-SNE, and by UMAP where `umap-learn` is installed; each from 0 to 1 on both
        axes. Empty for fewer than ten texts.
    """
    if len(vectors) < FEWEST:
        return GapPoints.create_empty()
    maps = {TSNE: _tsne(vectors, seed)}
    if umap_version() is not None:
        maps[UMAP] = _umap(vectors, seed)
    parts = []
    for method, places in maps.items():
        low, high = places.min(axis=0), places.max(axis=0)
        scaled = (places - low) / np.where(high > low, high - low, 1)
        parts.append(
            parallel.texts.select(
                "group", "language", "text", method=pl.lit(method),
                x=pl.Series(scaled[:, 0]), y=pl.Series(scaled[:, 1]),
            )
        )  # fmt: skip
    table = pl.concat(parts).select(GapPoints.column_names()).sort(GapPoints.primary_key())
    return GapPoints.validate(table, cast=True)


def _tsne(vectors: Vectors, seed: int) -> Vectors:
    from sklearn.manifold import TSNE as Layout

    perplexity = min(PERPLEXITY, (len(vectors) - 1) / 3)
    layout = Layout(metric="cosine", perplexity=perplexity, init="pca", random_state=seed)
    places: Vectors = layout.fit_transform(vectors)
    return places


def _umap(vectors: Vectors, seed: int) -> Vectors:
    from umap import UMAP as Layout

    near = min(NEIGHBOURS, len(vectors) - 1)
    layout = Layout(n_neighbors=near, min_dist=APART, metric="cosine", random_state=seed, n_jobs=1)
    places: Vectors = layout.fit_transform(vectors)
    return places
