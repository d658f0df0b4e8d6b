"""What chooses the step and the scale of an adapter while it trains."""

from typing import Literal

from pydantic import Field

from polymine.data_contracts.settings.base import Settings
from polymine.data_contracts.settings.evaluation import EvaluationSet


class DevelopmentSettings(Settings):
    """How a development part is used: queries that neither training nor the test part holds.

    A pipeline cuts it by `evaluation.development`; anything else names one as `set`. Without one
    the last step is kept.
    """

    set: EvaluationSet | None = None
    """Queries with what is relevant, as of `evaluation.sets`; a pipeline cuts none then."""
    queries: int = Field(300, ge=10, le=100_000)
    """At most so many of its queries are asked, of all languages together; but `fewest` of each."""
    documents: int = Field(1_000, ge=10, le=10_000_000)
    """They search at most so many documents: those that answer, and a sample of the others."""
    fewest: int = Field(50, ge=1)
    """Fewer questions are too few to choose by, translations counted once."""
    every: int | None = Field(None, ge=1)
    """Optimizer steps from one look to the next. If not set, looking takes about a tenth of the
    training: ten looks at most, two at least."""
    patience: int | None = Field(None, ge=1)
    """Training ends after so many looks without a better one; at its last step if not set."""
    never_below_base: bool | Literal["languages"] = True
    """Where a step began, half of a fresh adapter, and the mean of the weights at the looks of the
    second half are also to be chosen from: what harms on the development part ends where it
    began. With `"languages"` what is below the base in some language of the queries, of those with
    `fewest` questions, is chosen only where nothing else is left."""
    strict: bool = False
    """Fail a run whose model ends below its base on the development part, over all its queries or
    in one of their languages; a language with fewer than `fewest` questions is named, not held."""
