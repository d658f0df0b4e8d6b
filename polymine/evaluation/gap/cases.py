"""What every measure gives: a value per case, a group of texts or a query."""

from collections.abc import Sequence

import polars as pl

from polymine.data_contracts.gap import GapCases
from polymine.evaluation.significance import Numbers

COLUMNS = GapCases.column_names()


def make_cases(
    measure: str, language_a: str, language_b: str, case: pl.Series, values: Numbers
) -> pl.DataFrame:
    """Name the values of a measure.

    Args:
        measure: its name.
        language_a, language_b: see `GapCases`.
        case: (n,), groups or queries.
        values: (n,); what is not a number is not defined there and left out.

    Returns:
        `GapCases`, unchecked.
    """
    named = pl.DataFrame(
        {"case": case.cast(pl.String), "value": pl.Series(values, dtype=pl.Float64)}
    )
    return named.filter(pl.col("value").is_finite()).select(
        measure=pl.lit(measure), language_a=pl.lit(language_a), language_b=pl.lit(language_b),
        case="case", value="value",
    )  # fmt: skip


def gather_cases(parts: Sequence[pl.DataFrame]) -> pl.DataFrame:
    """Put the cases of several measures together and check them.

    Args:
        parts: measure, language_a, language_b, case, value each.

    Returns:
        `GapCases`, by their key; empty without parts.
    """
    whole = pl.concat(parts) if parts else GapCases.create_empty()
    return GapCases.validate(whole.select(COLUMNS).sort(GapCases.primary_key()), cast=True)
