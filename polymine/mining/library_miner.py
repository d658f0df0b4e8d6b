"""Calls sentence-transformers' `mine_hard_negatives` as its users do, but seeded and quiet."""

import contextlib
import io
import random
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any, Literal

import polars as pl
from pydantic import Field, field_validator, model_validator

from polymine import models
from polymine.data_contracts.errors import SettingsError
from polymine.data_contracts.settings import check_as
from polymine.data_contracts.settings.base import Settings

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer

SIMILARITIES = 1 << 28  # held at once by the library, 1 GiB in float32
LIBRARY_BATCH = 16384  # queries it compares at once with all documents, by its own default
_MINED: dict[str, pl.DataType | type[pl.DataType]] = {
    "anchor": pl.String,
    "positive": pl.String,
    "negative": pl.String,
    "scores": pl.List(pl.Float32),
}


class LibraryOptions(Settings):
    """Arguments of `mine_hard_negatives` that choose negatives, with its names and its defaults.

    A prompt that is not given is the model's own for queries or documents.
    """

    relative_margin: float | None = None
    absolute_margin: float | None = None
    margin: float | None = None  # what absolute_margin was called before
    max_score: float | None = None
    min_score: float | None = None
    range_min: int = Field(0, ge=0)
    range_max: int | None = Field(None, ge=1)
    sampling_strategy: Literal["top", "random"] = "top"
    query_prompt: str | None = None
    corpus_prompt: str | None = None

    @field_validator("*", mode="before")
    @classmethod
    def _is_no_flag(cls, value: Any) -> Any:
        if isinstance(value, bool):  # would be read as 0 or 1
            raise ValueError("no argument here is true or false")
        return value

    @model_validator(mode="after")
    def _has_one_margin(self) -> "LibraryOptions":
        if self.margin is not None and self.absolute_margin is not None:
            raise ValueError("margin and absolute_margin are the same argument: give one of them")
        return self


def check_options(options: Mapping[str, Any], negatives: int) -> LibraryOptions:
    """Read the arguments of `mine_hard_negatives`.

    Args:
        options: by name; values as they are or as text, such as "0.05".
        negatives: for which `range_min` and `range_max` must leave room.

    Returns:
        All of them, checked.

    Raises:
        SettingsError: says which argument is wrong and what was expected.
    """
    where = "set of a sentence-transformers arm (the number of negatives is `mining.negatives`)"
    chosen = check_as(LibraryOptions, dict(options), where)
    if chosen.range_max is not None and chosen.range_max - chosen.range_min < negatives:
        raise SettingsError(
            f"{where}: expected at least {negatives} ranks from range_min to range_max, one per "
            f"negative, got {chosen.range_min} to {chosen.range_max}. Raise range_max, lower "
            "range_min, or ask for fewer negatives"
        )
    return chosen


def mine(
    pairs: pl.DataFrame,
    corpus: list[str],
    encoder: "SentenceTransformer",
    options: LibraryOptions,
    negatives: int,
    seed: int,
) -> pl.DataFrame:
    """Call the library.

    Args:
        pairs: anchor, positive: texts, in the order in which random negatives are drawn.
        corpus: texts that may be negatives, each once.
        options: as from `check_options`.
        seed: of the library's random draws; the state of other generators is left as it was.

    Returns:
        anchor, positive, negative, scores [of the positive, of the negative], in the library's
        order.
    """
    if not len(pairs):  # the library refuses that
        return pl.DataFrame(schema=_MINED)
    from datasets import Dataset
    from sentence_transformers.util import mine_hard_negatives

    with models.quiet(), _no_bars(), _seeded(seed):
        mined = mine_hard_negatives(
            Dataset.from_dict(pairs.select("anchor", "positive").to_dict(as_series=False)),
            encoder,
            corpus=corpus,
            num_negatives=negatives,
            **options.model_dump(),
            output_scores=True,
            # Its own size times a million documents would be 64 GB; the results are the same.
            faiss_batch_size=max(1, min(LIBRARY_BATCH, SIMILARITIES // len(corpus))),
            verbose=False,
        )
    return pl.DataFrame(mined.to_dict(), schema=_MINED)


@contextlib.contextmanager
def _no_bars() -> Iterator[None]:
    """Hold back the progress bars the library shows whatever it is asked; they go to stderr."""
    with contextlib.redirect_stderr(io.StringIO()):
        yield


@contextlib.contextmanager
def _seeded(seed: int) -> Iterator[None]:
    """Seed the global random numbers, from which the library draws, and put them back after."""
    before = random.getstate()
    random.seed(seed)
    try:
        yield
    finally:
        random.setstate(before)
