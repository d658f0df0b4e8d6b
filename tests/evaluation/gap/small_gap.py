"""Small parallel texts and vectors whose answers can be computed by hand or by another library."""

import numpy as np
import polars as pl
from numpy.typing import NDArray

from polymine.evaluation.gap.parallel import Parallel

LANGUAGES = ("de", "en", "ru")
WORDS = {"de": "Haus und Garten", "en": "house and garden", "ru": "дом и сад"}


def sentences(groups: int = 12, languages: tuple[str, ...] = LANGUAGES) -> pl.DataFrame:
    """A row per group and language; later groups have longer texts, in every language."""
    rows = [
        (f"{at:03}-{code}", f"{at:03}", code, f"{WORDS[code]} {at} " * (1 + at % 7))
        for at in range(groups)
        for code in languages
    ]
    return pl.DataFrame(rows, ["id", "group_id", "language", "text"], orient="row")


def parallel(groups: int = 12, languages: tuple[str, ...] = LANGUAGES) -> Parallel:
    texts = sentences(groups, languages).rename({"group_id": "group"})
    return Parallel(texts.select("group", "language", "text").sort("group", "language"))


def vectors(count: int, dimension: int = 8, seed: int = 0) -> NDArray[np.float32]:
    drawn = np.random.default_rng(seed).normal(size=(count, dimension))
    return (drawn / np.linalg.norm(drawn, axis=1, keepdims=True)).astype(np.float32)


def related(texts: Parallel, noise: float, seed: int = 0) -> NDArray[np.float32]:
    """Vectors of which those of one group lie near each other."""
    rng = np.random.default_rng(seed)
    middle = rng.normal(size=(len(texts.groups), 8))
    place = texts.texts["group"].rank("dense").to_numpy().astype(np.int64) - 1
    drawn = middle[place] + noise * rng.normal(size=(len(place), 8))
    return (drawn / np.linalg.norm(drawn, axis=1, keepdims=True)).astype(np.float32)


def values(cases: pl.DataFrame, measure: str, a: str, b: str) -> NDArray[np.float64]:
    """Values of a measure of one pair, by case."""
    found = cases.filter(measure=measure, language_a=a, language_b=b).sort("case")
    return found["value"].to_numpy()
