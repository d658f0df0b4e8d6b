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


@dataclass(frozen=True)
class Proxy:
    """How the map is trained."""

    rank: int = 64
    steps: int = 100
    batch: int = 64
    rate: float = 1e-3
    temperature: float = 0.05

    def train(
        self,
        queries: Vectors,
        documents: Vectors,
        numbers: NDArray[np.int64],
        weights: NDArray[np.float32],
        seed: int,
    ) -> torch.nn.Module:
        """Train on pairs by InfoNCE over the batch.

        Args:
            queries, documents: unit vectors of the pairs, (n, d) each.
            numbers: of the pairs' documents, (n,); equal ones are no negatives of each other.
            weights: what each pair counts, (n,).
            seed: of first weights and batches.

        Returns:
            A map from vectors to vectors, not normalised.
        """
        torch.manual_seed(seed)
        student = _Residual(queries.shape[1], self.rank)
        optimizer = torch.optim.AdamW(student.parameters(), lr=self.rate)
        draws = torch.Generator().manual_seed(seed)
        asked, read = torch.from_numpy(queries), torch.from_numpy(documents)
        names, counts = torch.from_numpy(numbers), torch.from_numpy(weights)
        for _ in range(self.steps):
            part = torch.randperm(len(asked), generator=draws)[: self.batch]
            left, right = (
                torch.nn.functional.normalize(student(each[part])) for each in (asked, read)
            )
            same = names[part][:, None] == names[part]
            logits = (left @ right.T / self.temperature).masked_fill(
                same & ~torch.eye(len(part), dtype=torch.bool), -torch.inf
            )
            loss = torch.nn.functional.cross_entropy(
                logits, torch.arange(len(part)), reduction="none"
            )
            optimizer.zero_grad()
            (loss * counts[part]).mean().backward()  # type: ignore[no-untyped-call]
            optimizer.step()
        return student.eval()


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
    ranks = 1 + (scores[asked] > scores[asked, right][:, None]).sum(1)
    table = relevant.select("query").with_columns(
        rank=pl.Series(ranks), relevance=pl.lit(1), document_language=pl.lit("*")
    )
    return add_metrics(table, 10).sort("query")["ndcg"].to_numpy()
