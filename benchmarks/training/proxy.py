"""A student that trains in seconds: a residual map of low rank on vectors that do not change.

It stands in for LoRA where many objectives or filters are to be compared: what an objective does
to the ranking of unseen queries shows in it, the height of a gain does not.
"""

from dataclasses import dataclass

import numpy as np
import polars as pl
import torch
from numpy.typing import NDArray

from polymine.evaluation.metrics import add_metrics

Vectors = NDArray[np.float32]
Numbers = NDArray[np.int64]


@dataclass(frozen=True)
class Rows:
    """What a student learns from, by row numbers of the vectors.

    Args:
        queries, positives: of each row, (n,).
        negatives: (n, k), -1 where a row has fewer.
        weights: what each row counts, (n,).
        mass: how much each negative is a further positive beside its row's, which is 1, (n, k).
        counts: how much each negative counts as one, (n, k); in full, if left out.
        order: a teacher's scores over its temperature, the positive's first, (n, 1 + k); what is
            padded is -inf. Its divergence from the student's order counts beside InfoNCE.
    """

    queries: Numbers
    positives: Numbers
    negatives: Numbers
    weights: NDArray[np.float32]
    mass: NDArray[np.float32] | None = None
    counts: NDArray[np.float32] | None = None
    order: NDArray[np.float32] | None = None


@dataclass(frozen=True)
class Known:
    """Pairs that only a batch brings together, and what they are.

    Args:
        keys: query number times `width` plus document number, sorted, (n,).
        shifts: added to the pair's logit, (n,): -inf for what is no negative.
    """

    width: int
    keys: Numbers
    shifts: NDArray[np.float32]

    def of(self, queries: Numbers, documents: Numbers) -> torch.Tensor:
        """Shifts of all pairs, (queries, documents); 0 for what is not known."""
        asked = queries[:, None] * self.width + documents
        place = np.searchsorted(self.keys, asked).clip(max=max(len(self.keys) - 1, 0))
        if not len(self.keys):
            return torch.zeros(asked.shape)
        return torch.from_numpy(
            np.where(self.keys[place] == asked, self.shifts[place], 0.0)
        ).float()


@dataclass(frozen=True)
class Proxy:
    """How the map is trained."""

    rank: int = 64
    steps: int = 100
    batch: int = 64
    rate: float = 1e-3
    temperature: float = 0.05
    infonce: float = 1.0  # what InfoNCE counts beside an order, which counts 1

    def train(
        self,
        queries: Vectors,
        documents: Vectors,
        rows: Rows,
        seed: int,
        known: Known | None = None,
    ) -> torch.nn.Module:
        """Train by InfoNCE over the batch: its positives and negatives are all rows' candidates.

        Args:
            queries, documents: unit vectors, (a, d) and (b, d).
            rows: equal documents are no negatives of each other.
            seed: of first weights and batches.
            known: of pairs in a batch; nothing is, if left out.

        Returns:
            A map from vectors to vectors, not normalised.
        """
        torch.manual_seed(seed)
        student = _Residual(queries.shape[1], self.rank)
        optimizer = torch.optim.AdamW(student.parameters(), lr=self.rate)
        draws = torch.Generator().manual_seed(seed)
        for _ in range(self.steps):
            part = torch.randperm(len(rows.queries), generator=draws)[: self.batch].numpy()
            asked, read = rows.queries[part], _columns(rows, part)
            left, right = (
                torch.nn.functional.normalize(student(torch.from_numpy(side)))
                for side in (queries[asked], documents[read.clip(min=0)])
            )
            logits = left @ right.T / self.temperature + _shifts(rows, part, read, known)
            loss = -(_target(rows, part) * logits.log_softmax(1).nan_to_num(neginf=0.0)).sum(1)
            if rows.order is not None:
                order = torch.from_numpy(rows.order[part])
                loss = self.infonce * loss + _divergence(order, left @ right.T / self.temperature)
            optimizer.zero_grad()
            (loss * torch.from_numpy(rows.weights[part])).mean().backward()  # type: ignore[no-untyped-call]
            optimizer.step()
        return student.eval()


def _columns(rows: Rows, part: Numbers) -> Numbers:
    """Documents of a batch, by column, then row: all positives, then each row's first negative."""
    return np.concatenate([rows.positives[part], rows.negatives[part].T.ravel()])


def _shifts(rows: Rows, part: Numbers, read: Numbers, known: Known | None) -> torch.Tensor:
    """What is added to the logits of a batch; -inf where a document is no negative."""
    count = len(part)
    own = torch.eye(count, dtype=torch.bool).repeat(1, len(read) // count)
    shifts = torch.zeros(count, len(read)) if known is None else known.of(rows.queries[part], read)
    equal = torch.from_numpy(read == rows.positives[part][:, None])
    shifts = shifts.masked_fill(equal & ~own, -torch.inf)
    shifts = shifts.masked_fill(own, 0.0)  # the row's own documents count as it says
    if rows.counts is not None:
        each = torch.from_numpy(rows.counts[part]).log().T.reshape(-1)  # by column, then row
        shifts[:, count:] += torch.where(own[:, count:], each, 0.0)
    return shifts.masked_fill(torch.from_numpy(read < 0), -torch.inf)


def _target(rows: Rows, part: Numbers) -> torch.Tensor:
    """The distribution to learn: all on the positive, or shared with its row's negatives."""
    count, width = len(part), rows.negatives.shape[1]
    each = np.concatenate([np.ones((count, 1), np.float32),
                           np.zeros((count, width), np.float32) if rows.mass is None
                           else rows.mass[part]], axis=1)  # fmt: skip
    each /= each.sum(1, keepdims=True)
    own = torch.from_numpy(each).T.reshape(-1)  # by column, then row
    return torch.eye(count).repeat(1, width + 1) * own


def _divergence(order: torch.Tensor, logits: torch.Tensor) -> torch.Tensor:
    """KL divergence of the student's order of each row's own documents from the teacher's."""
    count = len(order)
    own = logits.reshape(count, -1, count).diagonal(dim1=0, dim2=2).T  # (rows, columns)
    apart = order.isneginf()
    teacher, student = (each.masked_fill(apart, -torch.inf).log_softmax(1) for each in (order, own))
    return (teacher.exp() * (teacher - student).masked_fill(apart, 0.0)).sum(1)


class _Residual(torch.nn.Module):
    def __init__(self, width: int, rank: int) -> None:
        super().__init__()
        self.down = torch.nn.Linear(width, rank, bias=False)
        self.up = torch.nn.Linear(rank, width, bias=False)
        torch.nn.init.zeros_(self.up.weight)

    def forward(self, vectors: torch.Tensor) -> torch.Tensor:
        moved: torch.Tensor = vectors + self.up(self.down(vectors))
        return moved


def ndcg(
    queries: Vectors, documents: Vectors, relevant: pl.DataFrame, student: torch.nn.Module | None
) -> NDArray[np.float64]:
    """Measure nDCG@10 over the whole corpus.

    Args:
        queries, documents: unit vectors, (n, d) and (m, d).
        relevant: rows `query` and `document`, each query in it at least once.
        student: maps both sides; None leaves them as they are.

    Returns:
        One figure per query that is in `relevant`, in ascending order.
    """
    sides = [torch.from_numpy(side) for side in (queries, documents)]
    if student is not None:
        with torch.no_grad():
            sides = [torch.nn.functional.normalize(student(side)) for side in sides]
    scores = (sides[0] @ sides[1].T).numpy()
    asked, right = relevant["query"].to_numpy(), relevant["document"].to_numpy()
    ranks = np.empty(len(asked), dtype=np.int64)
    for start in range(0, len(asked), 1024):
        part = slice(start, start + 1024)
        found = scores[asked[part], right[part]][:, None]
        ranks[part] = 1 + (scores[asked[part]] > found).sum(1)
    table = relevant.select("query").with_columns(
        rank=pl.Series(ranks), relevance=pl.lit(1), document_language=pl.lit("*")
    )
    return add_metrics(table, 10).sort("query")["ndcg"].to_numpy()
