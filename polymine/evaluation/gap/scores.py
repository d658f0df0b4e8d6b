"""From values per case to means with intervals: per pair, per language, over all."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import polars as pl
from numpy.typing import NDArray

from polymine.data_contracts.gap import GapCases, GapChanges, GapClusters, GapScores
from polymine.evaluation.collection import POOL
from polymine.evaluation.gap.cosines import MACHINE
from polymine.evaluation.significance import Numbers, Resampling, interval_of_means

_PAIR = ["language_a", "language_b"]
PAIRS = ("few", "unrelated")  # kinds of flags that are of pairs


@dataclass(frozen=True, eq=False)
class Averages:
    """How the cases of a set become means with intervals.

    What is drawn for the intervals is a cluster of cases with all their pairs of languages:
    translations of one text are not so many proofs, nor are the questions on one passage. Means
    are over pairs, each counting the same.

    Args:
        set: its name.
        flags: `GapFlags` of the set; a pair that it names is in no mean.
        fewest: cases that a pair needs to be in a mean.
        resampling: how the intervals are made.
        clusters: `GapClusters`; what it does not name is a cluster by itself.
    """

    set: str
    flags: pl.DataFrame
    fewest: int
    resampling: Resampling
    clusters: pl.DataFrame = field(default_factory=GapClusters.create_empty)

    def scores(self, cases: pl.DataFrame, model: str) -> pl.DataFrame:
        """Average each measure per pair of languages, per language and over all pairs.

        Args:
            cases: `GapCases` of a model.
            model: its name.

        Returns:
            `GapScores`.
        """
        return _checked(self._named(cases).with_columns(model=pl.lit(model)), GapScores)

    def changes(
        self, cases: pl.DataFrame, reference: pl.DataFrame, names: tuple[str, str]
    ) -> pl.DataFrame:
        """Average what a model changes against another, on the cases that both have.

        Args:
            cases, reference: `GapCases` of both.
            names: of the model and of the reference.

        Returns:
            `GapChanges`.
        """
        key = GapCases.primary_key()
        both = cases.join(reference.select(*key, before="value"), on=key, maintain_order="left")
        changed = both.with_columns(value=pl.col("value") - pl.col("before"))
        named = self._named(changed).rename({"value": "change"})
        named = named.with_columns(model=pl.lit(names[0]), reference=pl.lit(names[1]))
        return _checked(named, GapChanges)

    def _named(self, cases: pl.DataFrame) -> pl.DataFrame:
        named = cases.join(self.clusters, on="case", how="left", maintain_order="left")
        cases = named.with_columns(pl.col("cluster").fill_null(pl.col("case")))
        parts = [
            _average(str(measure), part, self.flags, self.fewest, self.resampling)
            for (measure,), part in cases.group_by("measure", maintain_order=True)
        ]
        whole = pl.concat(parts) if parts else GapScores.create_empty().drop("model", "set")
        return whole.with_columns(set=pl.lit(self.set))


def _checked(table: pl.DataFrame, schema: type[GapScores | GapChanges]) -> pl.DataFrame:
    ordered = table.select(schema.column_names()).sort(schema.primary_key())
    return schema.validate(ordered, cast=True)


def _average(
    measure: str, cases: pl.DataFrame, flags: pl.DataFrame, fewest: int, resampling: Resampling
) -> pl.DataFrame:
    """Average one measure: the pairs themselves, then what they come to."""
    pairs = cases.group_by(_PAIR).agg(count=pl.len()).sort(_PAIR).with_row_index("column")
    wrong = flags.filter(pl.col("kind").is_in(PAIRS)).select(*_PAIR, wrong=pl.lit(True))
    flagged = pl.col("wrong").fill_null(False) | (pl.col("count") < fewest)
    pairs = pairs.join(wrong, on=_PAIR, how="left", maintain_order="left").with_columns(
        flagged=flagged
    )
    sums, counts = _spread(cases, pairs)
    whole, members = _means_over(pairs)
    low, high = interval_of_means(sums, counts, members, resampling)
    share = members / members.sum(axis=1, keepdims=True)
    value = share @ (sums[:, :, 0].sum(axis=0) / counts.sum(axis=0))
    # Of a single case nothing is known; its pair is flagged, and its value all there is to show.
    low, high = (np.where(np.isfinite(end), end, value[:, None]) for end in (low, high))
    return whole.with_columns(
        measure=pl.lit(measure), value=pl.Series(value), low=pl.Series(low[:, 0]),
        high=pl.Series(high[:, 0]),
    )  # fmt: skip


def _spread(cases: pl.DataFrame, pairs: pl.DataFrame) -> tuple[Numbers, Numbers]:
    """Sums of values by cluster and pair: (clusters, pairs, 1), and how many, (clusters, pairs)."""
    placed = cases.join(pairs.select(*_PAIR, "column"), on=_PAIR, maintain_order="left")
    cells = (placed["cluster"].rank("dense").to_numpy().astype(np.int64) - 1,
             placed["column"].to_numpy())  # fmt: skip
    counts = np.zeros((placed["cluster"].n_unique(), pairs.height))
    sums = np.zeros((*counts.shape, 1))
    np.add.at(counts, cells, 1.0)
    np.add.at(sums[:, :, 0], cells, placed["value"].to_numpy())
    return sums, counts


def _means_over(pairs: pl.DataFrame) -> tuple[pl.DataFrame, NDArray[np.bool_]]:
    """Name all means, with the pairs that each is over: (means, pairs).

    Every pair by itself; each language with all others, on either side, or on each side where
    directions count; all pairs. Of a measure of one language at a time, only the last.
    """
    first, second = (pairs[name].to_numpy() for name in _PAIR)
    apart = first != second
    # a person's and a machine's translation into one language are no pair of languages
    people = [[code.removesuffix(MACHINE) for code in side] for side in (first, second)]
    alike = apart & (np.array(people[0]) == np.array(people[1]))
    counted = ~pairs["flagged"].to_numpy() & ~alike & (apart if apart.any() else True)
    wanted = {(POOL, POOL): counted}
    for code in sorted({*first[apart], *second[apart]}):
        sides = {(code, POOL): first == code, (POOL, code): second == code}
        if not (first > second).any():
            sides = {(code, POOL): (first == code) | (second == code)}
        wanted |= {name: counted & side for name, side in sides.items()}
    means = {name: members for name, members in wanted.items() if members.any()}
    counts = pairs["count"].to_numpy()
    rows = pl.DataFrame(
        [(*name, int(counts[members].sum()), False) for name, members in means.items()],
        pairs.select(*_PAIR, "count", "flagged").schema, orient="row",
    )  # fmt: skip
    every = pl.concat([pairs.select(rows.columns), rows])
    return every, np.array([*np.eye(pairs.height, dtype=bool), *means.values()])
