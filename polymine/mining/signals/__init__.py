"""Kinds of evidence, one module each.

A signal is a function from the pairs of (query, candidate) at hand to named columns. To add one:
write a module with such a function, put it into `SIGNALS`, name its columns in
`polymine.data_contracts.tables.evidence_schema`, and, if the risk is to read it, in
`polymine.mining.risk`.
"""

from collections.abc import Callable

from polymine.mining.signals import (
    document_side,
    feedback,
    form,
    known,
    positive_side,
    query_side,
    ranks,
)
from polymine.mining.signals.pairs import Column, Pairs

__all__ = ["SIGNALS", "Column", "Pairs"]

# In this order: a later one may read the columns of an earlier one.
SIGNALS: tuple[Callable[[Pairs], dict[str, Column]], ...] = (
    ranks.find,
    query_side.find,
    document_side.find,
    positive_side.find,
    form.find,
    known.find,
    feedback.find,
)
