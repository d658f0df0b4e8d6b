"""What the texts look like: their language and their length."""

import numpy as np
import polars as pl

from polymine.mining.known import UNDETERMINED
from polymine.mining.signals.pairs import Column, Pairs, rounded


def find(pairs: Pairs) -> dict[str, Column]:
    """Compare languages and lengths.

    Returns:
        `same_language`, where a language that is not stated counts as the query's, and
        `length_ratio`, ln(characters / those of the median document).
    """
    ids = pairs.ids
    typical = np.median(ids.lengths) if len(ids.lengths) else 1.0
    ratio = np.log(np.maximum(ids.lengths[pairs.documents], 1) / max(float(typical), 1.0))
    asked, written = ids.query_languages[pairs.queries], ids.languages[pairs.documents]
    same = (asked == written) | (asked == UNDETERMINED) | (written == UNDETERMINED)
    return {"same_language": pl.Series(same), "length_ratio": rounded(ratio)}
