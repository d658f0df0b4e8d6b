"""Which rows make which batch: one source and one pair of languages each, in the shares asked for.

A batch of one kind only: else languages and sources give each other away, and in-batch negatives
teach to tell languages apart instead of meanings. Languages may be mixed all the same, which others
have found to help where positives cross them (arXiv 2209.01335).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl
from sentence_transformers.base.sampler import (
    MultiDatasetDefaultBatchSampler,
    NoDuplicatesBatchSampler,
)

from polymine.data_contracts.errors import InputError
from polymine.data_contracts.settings import StepSettings
from polymine.reading.shared_texts import number_texts
from polymine.training.mixture import check_scores, spread_of

if TYPE_CHECKING:
    import torch
    from datasets import Dataset, DatasetDict

LEAST = 0.5  # of a whole batch's rows, below which a leftover is no batch
SEPARATOR = " | "  # in a part's name, between source, document's and query's language
MIXED = "mixed"  # in the place of both, where pairs of languages share batches


def split_rows(rows: pl.DataFrame, *, mixed: bool = False) -> dict[str, pl.DataFrame]:
    """Cut TrainingRows into parts that may share a batch.

    Rows without negatives are apart from those with: a batch is a rectangle.

    Args:
        rows: TrainingRows of all sources.
        mixed: whether rows of all language pairs share batches.

    Returns:
        Rows by part, in their order, sorted by name: `source | document's language | query's
        language`, with ` | pairs` at the end where they have no negatives.
    """
    document, query = (
        pl.lit(MIXED) if mixed else pl.col(f"{side}_language") for side in ("positive", "anchor")
    )
    kind = pl.concat_str(
        "source", pl.lit(SEPARATOR), document, pl.lit(SEPARATOR), query,
        pl.when(pl.col("negatives").list.len() > 0).then(pl.lit("")).otherwise(
            pl.lit(f"{SEPARATOR}pairs")
        ),
    )  # fmt: skip
    parts = rows.with_columns(part=kind).partition_by(
        "part", as_dict=True, include_key=False, maintain_order=True
    )
    return {str(name): part for (name,), part in sorted(parts.items())}


def check_parts(parts: Mapping[str, pl.DataFrame], step: StepSettings) -> None:
    """Refuse what cannot be trained on.

    Args:
        parts: of `split_rows`.
        step: its data must each have a part of 2 rows or more, for `distill` with scores, for
            `list` with some that differ.

    Raises:
        InputError: names step and part.
    """
    held = {name.partition(SEPARATOR)[0] for name in parts}
    for number, data in enumerate(step.data):
        if source_name(number) not in held:
            share = (
                "" if data.share is None else f", and it was to be {data.share:.0%} of the batches"
            )
            raise InputError(
                f"step {step.name}: part {number + 1} of its data has no rows left{share}; give it "
                "data, or leave the part out"
            )
    for name, part in parts.items():
        if len(part) < 2:
            raise InputError(
                f"step {step.name}: {name} has {len(part)} row; a batch needs at least 2, each the "
                "other's negative. Add data, or leave this pair out by `languages`"
            )
    if step.loss.kind in ("distill", "margin"):
        for part in parts.values():
            check_scores(part)
    if step.loss.kind == "list":
        spread_of(parts.values())


def share_parts(parts: Mapping[str, pl.DataFrame], step: StepSettings) -> dict[str, float]:
    """Divide a step's batches among its parts.

    Args:
        parts: of `split_rows`.
        step: a source has the share its settings name, else one by its rows; within a source a
            pair of n rows has one in proportion to n^(1/T), T being the schedule's
            `language_temperature` (arXiv 1907.05019), and its parts share that by rows.

    Returns:
        Share of the batches by part; they sum to 1.
    """
    rows = {name: len(part) for name, part in parts.items()}
    sources = {name: name.partition(SEPARATOR)[0] for name in parts}
    pairs = {name: tuple(name.split(SEPARATOR)[:3]) for name in parts}
    totals, spoken = Counter[str](), Counter[tuple[str, ...]]()
    for name, count in rows.items():
        totals[sources[name]] += count
        spoken[pairs[name]] += count
    power = 1 / step.schedule.language_temperature
    weights = {
        name: spoken[pairs[name]] ** power * count / spoken[pairs[name]]
        for name, count in rows.items()
    }
    weighed = {
        source: sum(weights[name] for name in parts if sources[name] == source) for source in totals
    }
    asked = {source_name(i): data.share for i, data in enumerate(step.data)}
    whole = sum(totals.values())

    def of_source(source: str) -> float:
        share = asked.get(source)
        return totals[source] / whole if share is None else share

    return {
        name: of_source(source) * weights[name] / weighed[source]
        for name, source in sources.items()
    }


def count_passes(
    rows: Mapping[str, int], shares: Mapping[str, float], steps: int, batch: int
) -> dict[str, float]:
    """Count how often the rows of each part are read.

    Args:
        rows: of each part, language pairs apart.
        shares: of the batches, by the parts that make them.
        steps: of the optimizer.
        batch: rows of a batch; one of a smaller part has no more than that part.

    Returns:
        Passes by part, as `rows`; a little more than there are, where equal texts or leftovers make
        smaller batches.
    """
    parts = {name: name if name in shares else _mixed(name) for name in rows}
    held = Counter[str]()
    for name, count in rows.items():
        held[parts[name]] += count
    return {
        name: steps * shares[part] * min(batch, held[part]) / held[part]
        for name, part in parts.items()
    }


def _mixed(part: str) -> str:
    """Name the part whose batches hold this one's rows and those of other languages."""
    source, _, _, *rest = part.split(SEPARATOR)
    return SEPARATOR.join((source, MIXED, MIXED, *rest))


def source_name(index: int) -> str:
    """Name the source of a step's part of data.

    Args:
        index: its position in the step's `data`, from 0.

    Returns:
        The `source` of its TrainingRows, as `data-0`.
    """
    return f"data-{index}"


def languages_of(part: str) -> tuple[str, str]:
    """Read the languages from a part's name.

    Args:
        part: a key of `split_rows`.

    Returns:
        The document's language, then the query's.
    """
    document, query = part.split(SEPARATOR)[1:3]
    return document, query


def count_steps(parts: Mapping[str, pl.DataFrame], step: StepSettings) -> int:
    """Count the optimizer steps of a training step.

    Args:
        parts: of `split_rows`.
        step: whose `schedule` sets steps, or epochs over all rows.

    Returns:
        The steps, 1 at least; epochs are rounded to whole batches.
    """
    if step.schedule.steps is not None:
        return step.schedule.steps
    rows = sum(len(part) for part in parts.values())
    return max(1, round(step.schedule.epochs * rows / step.schedule.batch))


def build_datasets(parts: Mapping[str, pl.DataFrame], step: StepSettings) -> DatasetDict:
    """Shape the parts as sentence-transformers reads them.

    Args:
        parts: of `split_rows`.
        step: how many negatives.

    Returns:
        By part: columns anchor, positive, negative_1 ... n, and `label`, the row's number over all
        parts, by which `RowFacts` of the same parts knows it. A batch is a rectangle: a row of
        fewer negatives repeats its last, which `RowFacts` counts as nothing.
    """
    from datasets import Dataset, DatasetDict
    from datasets.fingerprint import generate_random_fingerprint

    shaped, first = {}, 0
    for name, part in parts.items():
        last = pl.col("negatives").list.len().cast(pl.Int64) - 1
        wide = part.select(
            "anchor", "positive",
            *(pl.col("negatives").list.get(pl.min_horizontal(pl.lit(i), last))
              .alias(f"negative_{i + 1}")
              for i in range(min(step.loss.negatives, _count(part)))),
            label=pl.int_range(first, first + pl.len()),
        )  # fmt: skip
        views = wide.to_arrow(compat_level=pl.CompatLevel.newest())  # of texts, which copy none
        # Without a name of its own the dataset would be written out to hash it.
        shaped[name] = Dataset(views, fingerprint=generate_random_fingerprint())
        first += len(part)
    return DatasetDict(shaped)


def _count(part: pl.DataFrame) -> int:
    return int(part["negatives"].list.len().max() or 0)  # type: ignore[arg-type]


def sample_without_copies(
    dataset: Dataset,
    batch_size: int,
    drop_last: bool,
    valid_label_columns: list[str] | None = None,
    generator: torch.Generator | None = None,
    seed: int = 0,
) -> NoDuplicatesBatchSampler:
    """Make the sampler of one part: no text twice in a batch. The library's signature.

    Args:
        dataset: a part of `build_datasets`.
        batch_size: rows.
        drop_last: is not followed: what is left over at the end makes a smaller batch.
        valid_label_columns: columns that are no texts.
        generator: draws the order of the rows.
        seed: of the generator, to which each epoch adds its number.

    Returns:
        Batches of row numbers.
    """
    sampler = NoDuplicatesBatchSampler(
        dataset, batch_size, False, valid_label_columns, generator, seed, precompute_hashes=True
    )
    # Numbers of texts tell as much as hashes, and need not be read row by row.
    held: Any = sampler.dataset.data.table
    texts = pl.DataFrame(pl.from_arrow(held))
    numbers, _ = number_texts(texts, texts.columns)
    sampler._row_hashes = numbers.to_numpy()
    return sampler


class SharedBatches(MultiDatasetDefaultBatchSampler):
    """Draws `steps` batches from the parts in their shares, each part as often as it takes.

    The order depends on the seed alone, so that a resumed run skips the very batches it had. Parts
    alternate as evenly as their shares allow (the largest remainder is next).
    """

    def __init__(
        self,
        dataset: Any,
        batch_samplers: list[Any],
        generator: torch.Generator | None = None,
        seed: int = 0,
        *,
        shares: tuple[float, ...],
        steps: int,
    ) -> None:
        super().__init__(dataset, batch_samplers, generator, seed)
        self._shares, self._steps = np.asarray(shares), steps

    def __len__(self) -> int:
        return self._steps

    def __iter__(self) -> Iterator[list[int]]:
        if self.generator is not None:
            self.generator.manual_seed(self.seed)
        parts: list[Any] = self.dataset.datasets
        offsets = np.cumsum([0, *map(len, parts)])
        streams = [_endless(sampler) for sampler in self.batch_samplers]
        owed = np.zeros(len(streams))
        for _ in range(self._steps):
            owed += self._shares
            part = int(np.argmax(owed))
            owed[part] -= 1
            yield [int(offsets[part]) + row for row in next(streams[part])]


def _endless(sampler: Any) -> Iterator[list[int]]:
    """Pass over a part again and again, shuffled anew each time.

    Small leftovers are passed over: in a batch of few rows there is little to tell apart. Whatever
    was left over is drawn again in the next pass. Raises InputError when no two rows of a part
    have different texts.
    """
    epoch = 0
    while True:
        sampler.set_epoch(epoch)
        drawn = [batch for batch in sampler if len(batch) > 1]
        if not drawn:
            raise InputError(
                "training data: no two rows of a part have different texts, so none could be the "
                "other's negative; add data, or leave the part out"
            )
        longest = max(map(len, drawn))
        yield from (batch for batch in drawn if len(batch) >= longest * LEAST)
        epoch += 1
