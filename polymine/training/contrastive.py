"""Losses over a whole batch, with the weight of each row and of each pair.

`weight` is the probability w that a negative is one. In a softmax over candidates, what is a
negative only with probability w should count for w of one, so its logit is shifted by ln w: w = 1
is the plain loss, w -> 0 is the mask of GIST. `Labels` has the shift of every pair of a batch: a
query's own negatives by their weight, other rows' documents where they are known to be relevant to
it or where the evidence doubts that they are not. A row counts as its positive is likely to be
right.

Embedding, gradient caching and its chunks are those of sentence-transformers.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from sentence_transformers.base.losses.merged_forward import merge_feature_batches
from sentence_transformers.sentence_transformer.losses import CachedMultipleNegativesRankingLoss
from torch.nn.functional import cross_entropy, kl_div, log_softmax, normalize, softplus

from polymine.training.team import ALONE, Team

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from contextlib import AbstractContextManager

    from sentence_transformers import SentenceTransformer
    from torch import Tensor

    from polymine.data_contracts.settings.steps import Similarity
    from polymine.training.labels import Labels

LOWEST = -50.0  # shift of a candidate that is none where -inf would make 0 x inf: e^-50 is none
NEAREST = 1e-6  # squared distance below which its root has no slope: it would be infinite at 0


@dataclass(frozen=True)
class BaseAnchor:
    """Pulls a batch's vectors towards the untouched base's (arXiv 2609.10750).

    Args:
        weight: of the mean squared distance of unit vectors, 0 to 4, beside the loss of the rows.
        untouched: lets texts pass through the base alone while it is open.
    """

    weight: float
    untouched: Callable[[], AbstractContextManager[None]]


class BatchLoss(CachedMultipleNegativesRankingLoss):
    """Weighted losses of rows over a whole batch, with an anchor where one is given.

    A process of several embeds its rows and compares those of all; see `polymine.training.team`.
    """

    anchor: BaseAnchor | None = None
    team: Team = ALONE
    _base: tuple[Tensor, ...] = ()
    _order: Tensor | None = None
    _documents: int

    def forward(self, sentence_features: Iterable[dict[str, Tensor]], labels: Any) -> Tensor:
        """Embed a batch and compare it.

        Args:
            sentence_features: per column, queries first, then positives and negatives; the rows
                that this process reads.
            labels: `Labels` of the whole batch.

        Returns:
            The mean loss over rows, a scalar, and what the anchor adds.
        """
        features = list(sentence_features)
        if self.anchor is not None:
            with self.anchor.untouched():
                own = [self._vectors(each) for each in features]
            self._base = tuple(self.team.whole(own, len(labels.weights)))
        self._documents = len(features) - 1
        packed, self._order = pack(features)
        loss: Tensor = self._embed_and_compare(packed, labels)
        return loss

    def _embed_and_compare(self, features: list[dict[str, Tensor]], labels: Any) -> Any:
        return self.forward_cached(features, labels)

    def _join(self, reps: Iterable[Sequence[Tensor]], labels: Labels) -> list[Tensor]:
        """Columns of the whole batch, each (rows, d), from the mini-batches of this process."""
        query, *documents = (torch.cat(list(each)) for each in reps)
        if self._order is not None:
            vectors = documents[0].unbind()  # an index would be freed by the first of many passes
            back = self._order.argsort().tolist()
            documents = list(torch.stack([vectors[at] for at in back]).chunk(self._documents))
        return self.team.whole([query, *documents], len(labels.weights))

    def _vectors(self, column: dict[str, Tensor]) -> Tensor:
        """Embed a column's texts as of no language: adapters of one would be switched on again."""
        plain = {key: value for key, value in column.items() if key != "task"}
        return torch.cat([v for v, _ in self.embed_minibatch_iter(plain, False, False)])

    def _sum(
        self,
        compare: Callable[[slice], Tensor],
        columns: Sequence[Tensor],
        labels: Any,
        with_backward: bool,
    ) -> Tensor:
        """Add up what `compare` says of rows, and how far the texts are from where they were."""
        total = in_chunks(compare, labels.weights, self.mini_batch_size, with_backward)
        if self.anchor is None:
            return total
        moved = self.anchor.weight * _moved(columns, self._base, labels)
        if with_backward:
            moved.backward()  # type: ignore[no-untyped-call]
            moved = moved.detach()
        return total + moved


class WeightedRankingLoss(BatchLoss):
    """Cached InfoNCE (van den Oord et al., arXiv 1807.03748) over the documents of a batch.

    A row with several positives is the mean of their losses, each weighted with how likely it is
    right, against the negatives alone: none is set against another.

    Args:
        model: that learns.
        temperature: similarities are divided by it.
        mini_batch: texts embedded, and rows compared, at once.
        reverse: share of the loss by which the document finds its query; .5 is the symmetric one.
        agreement: share of the divergence of the order of documents, given a query, from that of
            queries, given its document, both over the batch (CLEAR, arXiv 2604.05821; there the two
            queries are translations of each other, here they are one).
        unseen_margin: documents of other rows of which nothing is known are left out where their
            cosine lies more than this above the positive's (arXiv 2506.05176); none if None.
        similarity: of two vectors, their cosine or negative distance on the unit sphere (`l2`).
    """

    def __init__(
        self,
        model: SentenceTransformer,
        temperature: float,
        mini_batch: int,
        reverse: float = 0.0,
        agreement: float = 0.0,
        unseen_margin: float | None = None,
        similarity: Similarity = "cosine",
    ) -> None:
        super().__init__(model, scale=1 / temperature, mini_batch_size=mini_batch)
        self.always_cached = False
        self._reverse, self._agreement = reverse, agreement
        self._margin, self._similarity = unseen_margin, similarity

    def _embed_and_compare(self, features: list[dict[str, Tensor]], labels: Any) -> Any:
        """Embed a batch that fits into one mini-batch once; caching would embed it twice."""
        if self.always_cached or len(features[0]["attention_mask"]) > self.mini_batch_size:
            return self.forward_cached(features, labels)
        reps = [
            [vectors for vectors, _ in self.embed_minibatch_iter(each, True, False)]
            for each in features
        ]
        return self.calculate_loss(reps, labels)

    def calculate_loss(
        self, reps: list[list[Tensor]], labels: Any = None, *, with_backward: bool = False
    ) -> Tensor:
        """Compare every query with all documents of the batch.

        Args:
            reps: mini-batches of embeddings per column.
            labels: `Labels` of the batch.
            with_backward: whether gradients are computed, mini-batch by mini-batch.

        Returns:
            The mean loss over rows, a scalar.
        """
        query, *columns = self._join(reps, labels)
        documents, rows = torch.cat(columns), len(query)
        targets = torch.arange(rows, device=query.device)

        def compare(part: slice) -> Tensor:
            cosines = cosine(query[part], documents)
            shifts = labels.shifts[part, rows:]
            if self._margin is not None:
                shifts = _mask_unseen(cosines.detach(), shifts, targets, part, self._margin)
            scaled = self._scale(cosines)
            found = scaled + shifts
            if labels.positives is None:
                loss = cross_entropy(found, targets[part], reduction="none")
            else:
                own = own_columns(scaled, targets[part], rows)
                loss = _several(found, own, targets[part], labels.positives[part])
            loss = self._add(loss, cosines, labels, part)
            if not self._reverse and not self._agreement:
                return loss
            asked = self._scale(cosine(columns[0][part], query)) + labels.of_column(1).T[part]
            loss = (1 - self._reverse - self._agreement) * loss
            loss = loss + self._reverse * cross_entropy(asked, targets[part], reduction="none")
            if not self._agreement:
                return loss
            return loss + self._agreement * _divergence(asked, found[:, :rows])

        return self._sum(compare, (query, *columns), labels, with_backward)

    def _add(self, loss: Tensor, cosines: Tensor, labels: Labels, part: slice) -> Tensor:
        """What else a row is judged by; nothing here."""
        return loss

    def _scale(self, cosines: Tensor) -> Tensor:
        """Turn cosines into logits."""
        alike = negative_distance(cosines) if self._similarity == "l2" else cosines
        return alike * self.scale


class WeightedListLoss(WeightedRankingLoss):
    """KL divergence from a teacher's order of a row's own list to the student's, beside InfoNCE.

    What both softmaxes range over is the row's list alone: positives, negatives and further
    candidates count alike, whatever their weight. There is no factor T^2, as in distillation at
    temperatures above 1: at the student's usual ones it would shrink the divergence 400 times, and
    `infonce_weight` would say nothing.

    Args:
        model, temperature, mini_batch: as of InfoNCE; the temperature is the student's in both.
        teacher_temperature: the teacher's scores are divided by it.
        infonce_weight: InfoNCE counts as much beside the divergence, which counts 1.
    """

    def __init__(
        self,
        model: SentenceTransformer,
        temperature: float,
        mini_batch: int,
        teacher_temperature: float,
        infonce_weight: float,
    ) -> None:
        super().__init__(model, temperature, mini_batch)
        self._teacher, self._infonce = teacher_temperature, infonce_weight

    def _add(self, loss: Tensor, cosines: Tensor, labels: Labels, part: slice) -> Tensor:
        """Add the divergence of some rows to their InfoNCE, (rows,)."""
        rows = len(labels.weights)
        targets = torch.arange(rows, device=cosines.device)[part]
        apart = ~labels.listed()[part]
        found = own_columns(cosines, targets, rows) * self.scale
        student, teacher = (
            log_softmax(each.masked_fill(apart, -torch.inf), dim=1)
            for each in (found, labels.scores[part] / self._teacher)
        )
        each = teacher.exp() * (teacher - student).masked_fill(apart, 0.0)
        return each.sum(1) + self._infonce * loss


def pack(features: list[dict[str, Any]]) -> tuple[list[dict[str, Any]], Tensor | None]:
    """Merge a batch's columns of documents, the shortest first.

    A mini-batch is as wide as its longest text: among texts of about one length little of it is
    padding.

    Args:
        features: per column, queries first.

    Returns:
        The queries and all documents; and the order of these, which stood column by column. None
        where they stay apart, since the columns are not alike.
    """
    merged = merge_feature_batches(features[1:]) if len(features) > 2 else None
    if merged is None:
        return features, None
    order = merged["attention_mask"].sum(1).argsort(stable=True)
    packed = {
        key: value[order] if isinstance(value, torch.Tensor) and key != "prompt_length" else value
        for key, value in merged.items()
    }
    return [features[0], packed], order


def cosine(left: Tensor, right: Tensor) -> Tensor:
    """Compute cosines in float32: a bfloat16 product would round one to .004, a logit to .08.

    Args:
        left, right: (n, d) and (m, d).

    Returns:
        (n, m), also under autocast.
    """
    return products(normalize(left.float()), normalize(right.float()))


def products(left: Tensor, right: Tensor) -> Tensor:
    """Multiply (n, d) with (m, d) in float32, also under autocast: (n, m)."""
    with torch.autocast(left.device.type, enabled=False):
        return left.float() @ right.float().T


def negative_distance(cosines: Tensor) -> Tensor:
    """Turn cosines into negative distances of the unit vectors: -|u - v| = -sqrt(2 - 2 cos)."""
    return -(2 - 2 * cosines).clamp(min=NEAREST).sqrt()


def own_columns(pairs: Tensor, targets: Tensor, rows: int) -> Tensor:
    """Take the cells of each query and its row's own documents.

    Args:
        pairs: (n, columns x rows), of some queries and all documents of a batch, by column.
        targets: (n,), which row each query is of.
        rows: of the batch.

    Returns:
        (n, columns).
    """
    every = torch.arange(len(targets), device=targets.device)
    found: Tensor = pairs.reshape(len(pairs), -1, rows)[every, :, targets]
    return found


def _several(found: Tensor, own: Tensor, targets: Tensor, positives: Tensor) -> Tensor:
    """InfoNCE of rows with several positives, (rows,): each against what is a negative."""
    negatives = found.scatter(1, targets[:, None], -torch.inf)
    # Where there is none, its logarithm of a sum would have no slope.
    negatives = negatives.masked_fill(negatives.isneginf().all(1, keepdim=True), LOWEST)
    losses = softplus(negatives.logsumexp(1, keepdim=True) - own)
    return (losses * positives).sum(1) / positives.sum(1)


def _divergence(wanted: Tensor, found: Tensor) -> Tensor:
    """KL divergence of rows of logits from others, (rows,); -inf is no candidate."""
    target, order = (log_softmax(each.clamp(min=LOWEST), dim=1) for each in (wanted, found))
    return kl_div(order, target, reduction="none", log_target=True).sum(1)


def _mask_unseen(
    cosines: Tensor, shifts: Tensor, targets: Tensor, part: slice, margin: float
) -> Tensor:
    """Shifts of some rows without others' unknown documents that lie far above the positive."""
    own = targets[part, None]
    others = torch.arange(shifts.shape[1], device=own.device) % len(targets) != own
    above = cosines > cosines.gather(1, own) + margin
    return shifts.masked_fill(above & others & (shifts == 0), -torch.inf)


def _moved(columns: Sequence[Tensor], base: Sequence[Tensor], labels: Any) -> Tensor:
    """Mean squared distance of unit vectors from the base's; padding is no text."""
    now, then = torch.cat(list(columns)).float(), torch.cat(list(base)).float()
    # Of vectors that are cut (Matryoshka), the base's are cut alike.
    apart = (normalize(now) - normalize(then[:, : now.shape[1]])).square().sum(1)
    rows = len(labels.weights)
    texts = ~labels.shifts.isneginf().all(0)
    texts[: 2 * rows] = True
    return apart[texts].mean()


def in_chunks(
    compare: Callable[[slice], Tensor], weights: Tensor, size: int, with_backward: bool
) -> Tensor:
    """Sum up weighted losses of rows over a batch's mini-batches, as a mean over its rows."""
    total = torch.zeros((), device=weights.device)
    for begin in range(0, len(weights), size):
        part = slice(begin, begin + size)
        loss = (compare(part) * weights[part]).sum() / len(weights)
        if with_backward:
            loss.backward()  # type: ignore[no-untyped-call]
            loss = loss.detach()
        total = total + loss
    return total
