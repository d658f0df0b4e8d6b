"""Parallel texts: one per group and language, checked for what is no translation."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from itertools import combinations

import numpy as np
import polars as pl
from numpy.typing import NDArray

from polymine.data_contracts.errors import InputError
from polymine.data_contracts.gap import GapFlags, ParallelTexts
from polymine.evaluation.gap.scripts import in_other_script
from polymine.mining.hashing import hash_texts, uniform

Rows = NDArray[np.int64]
Vectors = NDArray[np.float32]
# Spearman of lengths below which texts are no translations: three deviations of what chance gives,
# within these bounds. On ntrex, tatoeba and XQuAD, of 15 texts .4 % of true pairs lie below, and
# 89 % of shuffled ones; of 80 none, and all. Most true ones have .6 to .9.
UNRELATED = (0.2, 0.3)
LONGEST = 80  # characters of an example


@dataclass(frozen=True, eq=False)
class Parallel:
    """Parallel texts in the order in which they are embedded.

    Args:
        texts: `ParallelTexts`, by group and language.
    """

    texts: pl.DataFrame

    @cached_property
    def languages(self) -> tuple[str, ...]:
        """Languages, in the alphabet's order."""
        return tuple(self.texts["language"].unique().sort())

    @cached_property
    def groups(self) -> pl.Series:
        """Groups, in order."""
        return self.texts["group"].unique().sort()

    @cached_property
    def rows(self) -> Rows:
        """Row of each group's text in each language, shape (groups, languages); -1 for none."""
        places = np.full((len(self.groups), len(self.languages)), -1, dtype=np.int64)
        group = self.texts["group"].rank("dense").to_numpy().astype(np.int64) - 1
        language = self.texts["language"].rank("dense").to_numpy().astype(np.int64) - 1
        places[group, language] = np.arange(self.texts.height)
        return places

    def pairs(self, least: int = 2) -> Iterator[tuple[str, str, pl.Series, Rows, Rows]]:
        """Go through all pairs of languages that have `least` groups in common.

        Args:
            least: groups that both languages have.

        Returns:
            Of each pair: both languages, the n groups they share, and the rows of their texts,
            (n,) for each language.
        """
        for a, b in combinations(range(len(self.languages)), 2):
            shared = np.flatnonzero((self.rows[:, a] >= 0) & (self.rows[:, b] >= 0))
            if len(shared) >= least:
                left, right = self.rows[shared, a], self.rows[shared, b]
                yield self.languages[a], self.languages[b], self.groups.gather(shared), left, right

    def draw(self, count: int, seed: int) -> Parallel:
        """Take each language's first `count` groups: the same ones in every language that has them.

        Those in most languages come first, then the order is random and depends on the seed alone.

        Args:
            count: groups of each language.
            seed: of the order.

        Returns:
            What is left, in the order it had.
        """
        ordered = self._by_size(seed).select("group").with_row_index("place")
        placed = self.texts.join(ordered, on="group", maintain_order="left")
        first = pl.col("place").rank("ordinal").over("language") <= count
        return self._only(placed.filter(first))

    def widest(self, count: int, seed: int) -> Parallel:
        """Take those groups that are in most languages.

        Args:
            count: groups in all.
            seed: of the order among groups of as many languages.

        Returns:
            What is left, in the order it had.
        """
        return self._only(self._by_size(seed).head(count))

    def _by_size(self, seed: int) -> pl.DataFrame:
        sizes = self.texts.group_by("group").len()
        sizes = sizes.with_columns(key=uniform(seed, hash_texts(sizes["group"].to_list())))
        return sizes.sort("len", "key", "group", descending=[True, False, False])

    def _only(self, groups: pl.DataFrame) -> Parallel:
        return Parallel(self.texts.join(groups, on="group", how="semi", maintain_order="left"))


def gather(texts: pl.DataFrame, name: str) -> tuple[Parallel, pl.DataFrame]:
    """Put texts into groups, and set aside what is no text of its language or group.

    Args:
        texts: group, language, text, in any order; a group in one language alone is left out.
        name: of the set, for the error.

    Returns:
        The texts, and `GapFlags` of what was set aside: texts in another script than their
        language's, further ones of a group in the same language, and those of groups that have no
        other language.

    Raises:
        InputError: fewer than two languages have a text in common.
    """
    strange = in_other_script(texts)
    unique = texts.filter(~strange).unique().sort("group", "language", "text")
    first = unique.unique(["group", "language"], keep="first", maintain_order=True)
    extra = unique.join(first, on=["group", "language", "text"], how="anti", nulls_equal=True)
    kept = first.filter(pl.col("language").n_unique().over("group") > 1)
    if kept["language"].n_unique() < 2:
        counts = ", ".join(f"{code} {n:,}" for code, n in texts["language"].value_counts(sort=True)
                           .rows()) or "none"  # fmt: skip
        wrong = f"; {int(strange.sum()):,} texts are in another script" if strange.any() else ""
        raise InputError(
            f"{name}: no two languages have a text in common (texts: {counts}{wrong}); a gap needs "
            "texts of at least two languages that share a `group_id`, or pairs of two languages"
        )
    parallel = Parallel(ParallelTexts.validate(kept.select("group", "language", "text"), cast=True))
    alone = first.filter(pl.col("language").n_unique().over("group") == 1)
    aside = (("script", texts.filter(strange)), ("extra", extra), ("alone", alone))
    return parallel, pl.concat([set_aside(kind, part) for kind, part in aside])


def set_aside(kind: str, texts: pl.DataFrame) -> pl.DataFrame:
    """Count what is set aside.

    Args:
        kind: of `GapFlags`.
        texts: language, text.

    Returns:
        `GapFlags` by language, with an example each.
    """
    shown = pl.col("text").sort().first().str.slice(0, LONGEST)
    found = texts.group_by("language").agg(count=pl.len(), example=shown).sort("language")
    named = found.select(
        kind=pl.lit(kind), language_a="language", language_b="language", count="count",
        example="example",
    )  # fmt: skip
    return GapFlags.validate(named, cast=True)


def flag_pairs(parallel: Parallel, fewest: int) -> pl.DataFrame:
    """Name pairs with few texts, and those whose texts are no translations of each other.

    Whatever the languages, a long sentence has a long translation. Where the lengths of a pair's
    texts do not go together, the groups are wrong: shuffled, shifted by a row, or of others.

    Args:
        parallel: the texts.
        fewest: groups that a pair of languages needs to count in a mean.

    Returns:
        `GapFlags` of the kinds `few` and `unrelated`.
    """
    from scipy.stats import spearmanr

    length = parallel.texts["text"].str.len_chars().to_numpy()
    flags = []
    for a, b, groups, left, right in parallel.pairs(least=0):
        if len(groups) < fewest:
            flags.append(("few", a, b, len(groups), f"{len(groups)} of {fewest} texts"))
        elif np.ptp(length[left]) and np.ptp(length[right]):
            related = float(spearmanr(length[left], length[right]).statistic)
            if related < np.clip(3 / np.sqrt(len(groups)), *UNRELATED):
                example = " / ".join(
                    str(parallel.texts["text"][int(row)])[:LONGEST] for row in (left[0], right[0])
                )
                flags.append(("unrelated", a, b, len(groups), example))
    schema = {"kind": pl.String, "language_a": pl.String, "language_b": pl.String,
              "count": pl.UInt32, "example": pl.String}  # fmt: skip
    return GapFlags.validate(pl.DataFrame(flags, schema, orient="row"), cast=True)
