"""How near the same meaning lies in two languages, against how near any two texts lie.

Raw cosines mislead: of one model they fill -0.1 to 0.9, of another 0.7 to 1. So every kind of pair
stands beside the mean over all pairs of the same texts that do *not* belong together.

| kind | pairs |
|---|---|
| `translation` | one source in two languages |
| `compatible` | two texts of one language that go together: a high score, or question and answer |
| `random`, `compatible-random` | all others of the same texts |
| `above-random`, `compatible-above-random` | a pair's cosine less its texts' mean with the others |
"""

from collections.abc import Sequence

import numpy as np
import polars as pl
from numpy.typing import NDArray

from polymine.data_contracts.gap import GapSpreads
from polymine.evaluation.gap.cases import gather_cases, make_cases
from polymine.evaluation.gap.parallel import Parallel, Vectors
from polymine.evaluation.significance import Numbers

TRANSLATION, RANDOM, ABOVE = "translation", "random", "above-random"
COMPATIBLE = "compatible"
HUMAN = "human-over-machine"
MACHINE = "-x-mt"  # ends the language of texts that a machine translated, as `de-x-mt`
QUANTILES = (0.05, 0.25, 0.5, 0.75, 0.95)
Found = tuple[pl.DataFrame, pl.DataFrame]


def translation_cosines(parallel: Parallel, vectors: Vectors) -> Found:
    """Measure how near translations lie, for all pairs of languages.

    Args:
        parallel: the texts.
        vectors: unit vectors (n, d) in their order.

    Returns:
        `GapCases` of `translation`, `random` and `above-random` per pair and group, and of
        `human-over-machine`; and `GapSpreads` of the first two.
    """
    cases, spreads = [], []
    for a, b, groups, left, right in parallel.pairs():
        found = _compare(vectors[left], vectors[right])
        cases += [
            make_cases(kind, a, b, groups, found[kind]) for kind in (TRANSLATION, RANDOM, ABOVE)
        ]
        spreads += [(TRANSLATION, a, b, found[TRANSLATION]), (RANDOM, a, b, found["all"])]
    gathered = gather_cases(cases)
    return pl.concat([gathered, human_over_machine(gathered)]), _spreads(spreads)


def compatible_cosines(
    pairs: pl.DataFrame, left: Vectors, right: Vectors, together: pl.DataFrame | None = None
) -> Found:
    """Measure how near two texts of one language lie that go together.

    Args:
        pairs: language, case; a text may stand in several pairs.
        left, right: unit vectors (n, d) of both sides, in the order of the pairs.
        together: left, right: places of pairs whose left and right text go together, too, as a
            question and another question's answer that is its own; they are not random.

    Returns:
        `GapCases` of `compatible`, its random pairs and the difference, per language and pair; and
        `GapSpreads` of the first two.
    """
    cases, spreads = [], []
    for (code,), part in pairs.with_row_index("row").group_by("language", maintain_order=True):
        rows, language = part["row"].to_numpy(), str(code)
        if len(rows) < 2:
            continue
        beside = np.eye(len(rows), dtype=bool)
        if together is not None:
            place = part.select("row").with_row_index("place")
            named = together.select(pl.all().cast(pl.UInt32))
            inside = named.join(place.rename({"place": "one"}), left_on="left", right_on="row")
            inside = inside.join(place.rename({"place": "other"}), left_on="right", right_on="row")
            beside[inside["one"].to_numpy(), inside["other"].to_numpy()] = True
        if beside.all():
            continue
        found = _compare(left[rows], right[rows], beside)
        for kind, name in ((TRANSLATION, ""), (RANDOM, f"-{RANDOM}"), (ABOVE, f"-{ABOVE}")):
            name = f"{COMPATIBLE}{name}"
            cases.append(make_cases(name, language, language, part["case"], found[kind]))
        spreads += [(COMPATIBLE, language, language, found[TRANSLATION]),
                    (f"{COMPATIBLE}-{RANDOM}", language, language, found["all"])]  # fmt: skip
    return gather_cases(cases), _spreads(spreads)


def human_over_machine(cases: pl.DataFrame) -> pl.DataFrame:
    """Compare human with machine translations of the same source, by their distance from it.

    Args:
        cases: `GapCases` of `translation`. A machine's texts are in a language of their own, that
            of people with the private tag `-x-mt`.

    Returns:
        `GapCases` of `human-over-machine`: cosine of the source (`language_a`) with the human
        translation (`language_b`) less that with the machine's.
    """
    found = cases.filter(measure=TRANSLATION)
    both = pl.concat([found, found.rename({"language_a": "language_b", "language_b": "language_a"})
                      .select(found.columns)])  # fmt: skip
    source = both.filter(~pl.col("language_a").str.ends_with(MACHINE))
    machine = source.filter(pl.col("language_b").str.ends_with(MACHINE))
    machine = machine.with_columns(pl.col("language_b").str.strip_suffix(MACHINE))
    key = ["language_a", "language_b", "case"]
    compared = source.join(machine.select(*key, machine="value"), on=key, maintain_order="left")
    return compared.select(
        pl.lit(HUMAN).alias("measure"), *key, value=pl.col("value") - pl.col("machine")
    ).sort(key)


def _compare(
    left: Vectors, right: Vectors, together: NDArray[np.bool_] | None = None
) -> dict[str, Numbers]:
    """Cosines of pairs (n,), the mean of each one's texts with all others, and all others.

    Others are all but those that go `together`, (n, n): each with itself, if that is all. The mean
    of a pair that has none is no number.
    """
    cosines = (left @ right.T).astype(np.float64)
    own = cosines.diagonal().copy()
    apart = ~(np.eye(len(own), dtype=bool) if together is None else together)
    summed, count = np.where(apart, cosines, 0.0), apart.sum(axis=0) + apart.sum(axis=1)
    total = summed.sum(axis=0) + summed.sum(axis=1)
    others = np.where(count > 0, total / np.maximum(count, 1), np.nan)
    every = cosines[apart]
    return {TRANSLATION: own, RANDOM: others, ABOVE: own - others, "all": every}


def _spreads(found: Sequence[tuple[str, str, str, Numbers]]) -> pl.DataFrame:
    rows = [
        (*name, len(values), values.mean(), values.std(), *np.quantile(values, QUANTILES))
        for *name, values in found
    ]
    table = pl.DataFrame(rows, GapSpreads.column_names(), orient="row")
    return GapSpreads.validate(table, cast=True) if rows else GapSpreads.create_empty()
