"""What a batch is judged by beside its texts: weights of rows and pairs, a teacher's scores.

The trainer's batches carry the numbers of their rows. The collator looks up here what is known of
them, so that the tensors travel to the device with the texts.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl
import torch
from numpy.typing import NDArray
from sentence_transformers.sentence_transformer.data_collator import SentenceTransformerDataCollator

from polymine.mining.hashing import hash_texts
from polymine.reading.shared_texts import number_texts
from polymine.training.team import ALONE, Team

if TYPE_CHECKING:
    from torch import Tensor

PREFIX = "label_"  # of the tensors of Labels in a batch
NOBODY = -np.inf  # the shift of what is no negative


@dataclass(frozen=True)
class Labels:
    """What a loss is told of a batch.

    Args:
        shifts: (rows, columns x rows), what is added to the logit of row i's anchor and the text of
            row j in column c, at [i, c x rows + j]: ln of how much that text counts as a negative.
            Columns are anchors, positives, negatives_1 ... n. -inf where it is none: closed, or
            padding. 0 for the row's own positive.
        weights: (rows,), how likely the row's positive is right.
        scores: (rows, columns - 1), a teacher's, the positive's first; 0 where there are none, NaN
            for a document of a list that it has not scored.
        positives: (rows, columns - 1), how likely each of a row's own documents is right, 0 for
            what is none; None where rows are pairs, whose positive alone is.
        closed: pairs of an anchor and another row's document that are masked as known to belong
            together; a scalar.
        texts: of the columns, without any prompt.
    """

    shifts: Tensor
    weights: Tensor
    scores: Tensor
    closed: Tensor
    texts: tuple[list[str], ...] = ()
    positives: Tensor | None = None

    @classmethod
    def collect(cls, batch: dict[str, Any]) -> Labels:
        """Take them out of a batch, where `parts` put them."""
        held: dict[str, Any] = {n: batch.get(PREFIX + n) for n in cls.__dataclass_fields__}
        return cls(**held)

    def parts(self) -> dict[str, Any]:
        """Name them as they stand in a batch."""
        held = {name: getattr(self, name) for name in self.__dataclass_fields__}
        return {PREFIX + name: value for name, value in held.items() if value is not None}

    def of_column(self, column: int) -> Tensor:
        """Shifts of the anchors against one column's texts, (rows, rows)."""
        rows = len(self.weights)
        return self.shifts[:, column * rows : (column + 1) * rows]

    def listed(self) -> Tensor:
        """Which of a row's own documents have their place in its order, (rows, columns - 1)."""
        assert self.positives is not None, "rows of pairs are no lists"
        columns = range(1, 1 + self.positives.shape[1])
        own = torch.stack([self.of_column(column).diagonal() for column in columns], dim=1)
        return ((self.positives > 0) | own.isfinite()) & self.scores.isfinite()


class RowFacts:
    """What is known of all rows of a step, by their number over all its parts.

    Args:
        parts: TrainingRows; rows are numbered through in the order given.
    """

    def __init__(self, parts: Iterable[pl.DataFrame]) -> None:
        rows, texts = number_texts(pl.concat(parts), ["anchor", "positive", "negatives"])
        hashes = hash_texts(texts)
        negatives = rows["negatives"].list.len().to_numpy()
        most = int(negatives.max())
        self._texts = np.zeros((len(rows), 2 + most), np.uint64)
        self._texts[:, 0], self._texts[:, 1] = (
            hashes[rows[side].to_numpy()] for side in ("anchor", "positive")
        )
        flat = rows["negatives"].explode().drop_nulls().to_numpy()
        self._texts[:, 2:] = _rectangle(hashes[flat], negatives, most)
        self._weights = _lists(rows["weights"], most)
        scores = rows["scores"].list.eval(pl.element().fill_null(float("nan")))
        self._scores = _lists(scores, most + 1)
        self._rows = rows["positive_weight"].to_numpy()
        self._positives = None
        if rows["positive_weights"].list.len().sum():
            further = _lists(rows["positive_weights"], most)
            self._positives = np.concatenate([self._rows[:, None], further], axis=1)
            self._rows = self._positives.max(axis=1)
        lengths = rows["related"].list.len().cast(pl.Int64).to_numpy()
        self._bounds = np.concatenate([[0], np.cumsum(lengths)])
        self._related = rows["related"].explode().drop_nulls().to_numpy()
        with np.errstate(divide="ignore"):
            self._shifts = np.log(rows["related_weights"].explode().drop_nulls().to_numpy())

    def of(self, numbers: NDArray[np.int64], columns: int) -> Labels:
        """Look up what is known of a batch.

        Args:
            numbers: of its rows.
            columns: of texts: anchor, positive and negatives.

        Returns:
            Tensors in memory. A row's own negatives count by their weight, unless they are
            closed; one of weight 0 is padding and nobody's. A row of several positives counts as
            its surest one.
        """
        count = len(numbers)
        own = np.arange(count)
        shifts = self._relate(numbers, columns)
        others = np.arange(count, shifts.shape[1]) % count != own[:, None]
        closed = np.isneginf(shifts[:, count:]) & others
        cells = shifts.reshape(count, columns, count)
        with np.errstate(divide="ignore"):
            weights = np.log(self._weights[numbers, : columns - 2])
        for column, given in enumerate(weights.T, start=2):
            # The row says what its own negatives count, by the rule it was mined with.
            known = cells[own, column, own]
            cells[own, column, own] = np.where(np.isneginf(known), known, given)
            cells[:, column, np.isneginf(given)] = NOBODY
        positives = None
        if self._positives is not None:
            positives = self._positives[numbers, : columns - 1]
            cells[own, 1:, own] = np.where(positives > 0, NOBODY, cells[own, 1:, own])
        cells[own, 0, own] = NOBODY
        cells[own, 1, own] = 0.0
        return Labels(
            torch.from_numpy(shifts),
            torch.from_numpy(self._rows[numbers]),
            torch.from_numpy(self._scores[numbers, : columns - 1]),
            torch.tensor(closed.sum()),
            positives=None if positives is None else torch.from_numpy(positives),
        )

    def _relate(self, numbers: NDArray[np.int64], columns: int) -> NDArray[np.float32]:
        """What is known of all pairs of a batch, (rows, columns x rows)."""
        texts, place = np.unique(self._texts[numbers, :columns].T, return_inverse=True)
        spans = [np.arange(self._bounds[n], self._bounds[n + 1]) for n in numbers]
        asked = np.repeat(np.arange(len(numbers)), [len(span) for span in spans])
        known = np.concatenate(spans)
        at = np.searchsorted(texts, self._related[known]).clip(max=len(texts) - 1)
        met = texts[at] == self._related[known]
        shifts = np.zeros((len(numbers), len(texts)), np.float32)
        shifts[asked[met], at[met]] = self._shifts[known[met]]
        return shifts[:, place.ravel()]


@dataclass
class LabellingCollator(SentenceTransformerDataCollator):
    """Puts the labels of a batch beside its texts, in the place of the numbers of its rows.

    Without facts the labels are no such numbers, and stay as they are. Texts are tokenized of the
    rows that this process reads; labels are always those of the whole batch.
    """

    facts: RowFacts | None = None
    team: Team = ALONE

    def __call__(self, features: list[dict[str, Any]]) -> dict[str, Any]:
        """Tokenize the texts, as the library does, and look up their labels."""
        batch: dict[str, Any] = super().__call__(features[self.team.read(len(features))])
        if self.team.size > 1:
            batch["label"] = torch.tensor([row["label"] for row in features])
        if self.facts is None:
            return batch
        columns = [name for name in features[0] if name not in ("label", "dataset_name")]
        known = self.facts.of(batch.pop("label").numpy(), len(columns))
        texts = tuple([row[name] for row in features] for name in columns)
        return batch | replace(known, texts=texts).parts()


def _lists(column: pl.Series, width: int) -> NDArray[np.float32]:
    """Lists of numbers as a rectangle, 0 where a list is shorter."""
    flat = column.explode().drop_nulls().to_numpy()
    return _rectangle(flat, column.list.len().to_numpy(), width).astype(np.float32)


def _rectangle(flat: NDArray[Any], lengths: NDArray[Any], width: int) -> NDArray[Any]:
    out = np.zeros((len(lengths), width), flat.dtype)
    out[np.arange(width) < lengths[:, None]] = flat
    return out
