"""What is known of a pair already: closed, and for which reason; labelled, and as what."""

import numpy as np
import polars as pl

from polymine.mining.signals.pairs import Column, Pairs

FLAGS = ("same_group", "near_copy", "equals_query")


def find(pairs: Pairs) -> dict[str, Column]:
    """Look up what is known of each pair.

    Returns:
        `closed`, the reason or null; a flag for each of its commonest reasons; `label`: 1 for a
        known positive and for what a labelled file calls relevant, 0 for what was judged not
        relevant, null for everything else.
    """
    closed = pl.Series([None] * len(pairs.queries), dtype=pl.String)
    place = pairs.find(*pairs.known.closed)
    if (place >= 0).any():
        reasons = pairs.known.reasons.filter(pl.Series(place >= 0))
        closed = closed.scatter(place[place >= 0], reasons)
    flags = {flag: (closed == flag).fill_null(value=False) for flag in FLAGS}
    return {"closed": closed, **flags, "label": _labels(pairs)}


def _labels(pairs: Pairs) -> pl.Series:
    label = np.full(len(pairs.queries), -1, dtype=np.int8)
    place = pairs.find(*pairs.known.labels[:2])
    label[place[place >= 0]] = pairs.known.labels[2][place >= 0]
    positive = pairs.find(*pairs.known.positives)
    label[positive[positive >= 0]] = 1
    return pl.Series(label).replace(-1, None)
