"""Do texts lie together by language or by meaning? Numbers beside the maps."""

import numpy as np
import polars as pl

from polymine.evaluation.gap.cases import gather_cases, make_cases
from polymine.evaluation.gap.parallel import Parallel, Rows, Vectors
from polymine.evaluation.significance import Numbers

PURITY, CHANCE, PROBE = "purity", "purity-by-chance", "probe"
BY_LANGUAGE, BY_MEANING = "silhouette-language", "silhouette-meaning"
FOLDS = 5


def separation(parallel: Parallel, vectors: Vectors, neighbours: int) -> pl.DataFrame:
    """Measure how much of where a text lies is its language.

    Args:
        parallel: the texts.
        vectors: unit vectors (n, d) in their order.
        neighbours: how many of the nearest texts are asked for their language.

    Returns:
        `GapCases` per text, its language in both places: `purity`, the share of its nearest texts
        that are in its language, and `purity-by-chance`, the share among all others; `probe`,
        whether a linear classifier tells its language that has learned from other groups; the
        silhouettes (Rousseeuw 1987) of languages and of groups as clusters, from -1 to 1. Nothing
        for fewer than five groups.
    """
    from sklearn.metrics import silhouette_samples

    if len(parallel.groups) < FOLDS:
        return gather_cases([])
    language = parallel.texts["language"].rank("dense").to_numpy().astype(np.int64) - 1
    group = parallel.texts["group"].rank("dense").to_numpy().astype(np.int64) - 1
    distance = np.clip(1 - vectors @ vectors.T, 0, 2)
    np.fill_diagonal(distance, 0)
    found = {
        PURITY: _purity(distance, language, neighbours),
        CHANCE: (np.bincount(language)[language] - 1) / (len(language) - 1),
        PROBE: _probe(vectors, language, group),
        BY_LANGUAGE: silhouette_samples(distance, language, metric="precomputed"),
        BY_MEANING: silhouette_samples(distance, group, metric="precomputed"),
    }
    parts = []
    for place, code in enumerate(parallel.languages):
        rows = np.flatnonzero(language == place)
        case = parallel.texts["group"].gather(rows)
        parts += [
            make_cases(name, code, code, case, values[rows]) for name, values in found.items()
        ]
    return gather_cases(parts)


def _purity(distance: Vectors, language: Rows, neighbours: int) -> Numbers:
    """Share of the nearest texts that are in a text's own language, (n,)."""
    count = min(neighbours, len(language) - 1)
    apart = distance + np.diag(np.full(len(language), np.inf, dtype=distance.dtype))
    nearest = np.argpartition(apart, count - 1, axis=1)[:, :count]
    shares: Numbers = (language[nearest] == language[:, None]).mean(axis=1)
    return shares


def _probe(vectors: Vectors, language: Rows, group: Rows) -> Numbers:
    """Whether the language of each text is told by a classifier that has not seen its group, (n,).

    Ridge regression on the classes: linear as logistic regression is, and solved in one step.
    """
    from sklearn.linear_model import RidgeClassifier
    from sklearn.model_selection import GroupKFold, cross_val_predict
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    folds = GroupKFold(FOLDS)
    probe = make_pipeline(StandardScaler(), RidgeClassifier())
    told = cross_val_predict(probe, vectors, language, groups=group, cv=folds)
    hits: Numbers = (told == language).astype(np.float64)
    return hits
