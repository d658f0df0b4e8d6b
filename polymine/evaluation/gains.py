"""What models gain over their base on a set that is no retrieval: one number a model."""

from collections.abc import Mapping

import polars as pl

from polymine.data_contracts.learning import SetScores
from polymine.evaluation import choice, similarity
from polymine.evaluation.significance import Resampling

_KEY = ["set", "document_language", "query_language", "metric"]


def score_models(
    kind: str,
    base: pl.DataFrame,
    models: Mapping[str, pl.DataFrame],
    *,
    set: str,
    resampling: Resampling,
) -> pl.DataFrame:
    """Score base and models on one set.

    Args:
        kind: `similarity` and `choice` have rows that are resampled; of any other there are scores
            alone, so that gains have no intervals.
        base: measures of the base.
        models: name to measures of the same pairs or items.
        set: its name.
        resampling: of the intervals.

    Returns:
        SetScores, those of the base as `base`.
    """
    if kind in ("similarity", "choice"):
        score = similarity.correlations if kind == "similarity" else choice.accuracies
        found = [score(base, None, model="base", set=set)]
        for name, rows in models.items():
            found.append(score(rows, base, model=name, set=set, resampling=resampling))
        return pl.concat(found)
    before, empty = base.select(*_KEY, before="value"), pl.lit(None, pl.Float64)
    gain = pl.col("value") - pl.col("before")
    frames = [
        rows.join(before, on=_KEY, maintain_order="left").with_columns(
            model=pl.lit(name), gain=empty if name == "base" else gain, low=empty, high=empty
        )
        for name, rows in {"base": base, **models}.items()
    ]
    return SetScores.validate(
        pl.concat([frame.select(SetScores.column_names()) for frame in frames]), cast=True
    )
