"""The losses of a step, with the weight of each row and of each pair of its batch.

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
from sentence_transformers.base.losses.merged_forward import embed_columns
from sentence_transformers.sentence_transformer.losses import (
    CachedMultipleNegativesRankingLoss,
    DistillKLDivLoss,
    MatryoshkaLoss,
)
from sentence_transformers.util import pairwise_cos_sim
from torch.nn.functional import cross_entropy, kl_div, log_softmax, normalize, softplus

from polymine import models
from polymine.data_contracts.errors import ModelError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from contextlib import AbstractContextManager

    from sentence_transformers import SentenceTransformer
    from torch import Tensor

    from polymine.data_contracts.settings import EncoderSettings, GuideModel, LossSettings
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


class _BatchLoss(CachedMultipleNegativesRankingLoss):
    """Weighted losses of rows over a whole batch, with an anchor where one is given."""

    anchor: BaseAnchor | None = None
    _base: tuple[Tensor, ...] = ()

    def forward(self, sentence_features: Iterable[dict[str, Tensor]], labels: Any) -> Tensor:
        """Embed a batch and compare it.

        Args:
            sentence_features: per column, queries first, then positives and negatives.
            labels: `Labels` of the batch.

        Returns:
            The mean loss over rows, a scalar, and what the anchor adds.
        """
        features = list(sentence_features)
        if self.anchor is not None:
            with self.anchor.untouched():
                self._base = tuple(map(self._vectors, features))
        loss: Tensor = self._embed_and_compare(features, labels)
        return loss

    def _embed_and_compare(self, features: list[dict[str, Tensor]], labels: Any) -> Any:
        return self.forward_cached(features, labels)

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
        total = _in_chunks(compare, labels.weights, self.mini_batch_size, with_backward)
        if self.anchor is None:
            return total
        moved = self.anchor.weight * _moved(columns, self._base, labels)
        if with_backward:
            moved.backward()  # type: ignore[no-untyped-call]
            moved = moved.detach()
        return total + moved


class WeightedRankingLoss(_BatchLoss):
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
        reps = [[each] for each in embed_columns(self.model, features)]
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
        query, *columns = (torch.cat(list(each)) for each in reps)
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


class WeightedGISTLoss(_BatchLoss):
    """Cached GIST (Solatorio, arXiv 2402.16829) with a margin as a share of the positive's cosine.

    The library's loss hands the guide the student's own tokens, its prompts among them; here the
    guide reads the texts, each after the prompt that it was trained with.

    Args:
        model: that learns.
        guide: says which negatives may be right.
        call: how the guide is called: its prompts, and how its vectors are compared.
        temperature: similarities are divided by it.
        mini_batch: texts embedded, and rows compared, at once.
        margin: what the guide scores above (1 - margin) times the positive's cosine is left out.
        contrasts: `queries` and `documents` that are compared with one another, too.
    """

    def __init__(
        self,
        model: SentenceTransformer,
        guide: SentenceTransformer,
        call: EncoderSettings,
        temperature: float,
        mini_batch: int,
        margin: float,
        contrasts: Sequence[str] = ("queries", "documents"),
    ) -> None:
        super().__init__(model, scale=1 / temperature, mini_batch_size=mini_batch)
        self._guide, self._call, self._margin = [guide], call, margin  # no module: it stays
        self._among = [(0, 0)] * ("queries" in contrasts) + [(1, 1)] * ("documents" in contrasts)

    def calculate_loss(
        self, reps: list[list[Tensor]], labels: Any = None, *, with_backward: bool = False
    ) -> Tensor:
        """Compare as InfoNCE does, without what the guide takes for right or the labels close.

        Args:
            reps: the student's mini-batches of embeddings per column.
            labels: `Labels` of the batch, with its texts.
            with_backward: whether gradients are computed, mini-batch by mini-batch.

        Returns:
            The mean loss over rows, a scalar.
        """
        student = [torch.cat(list(each)) for each in reps]
        queries, *documents = labels.texts
        guide = [self._read(queries, "queries"), *(self._read(d, "documents") for d in documents)]
        pairs = [(0, column) for column in range(1, len(student))] + self._among
        targets = torch.arange(len(labels.weights), device=student[0].device)

        def compare(part: slice) -> Tensor:
            own = torch.eye(len(targets), dtype=torch.bool, device=targets.device)[part]
            positive = (guide[0][part] * guide[1][part]).sum(1, keepdim=True)
            limit = positive - positive.abs() * self._margin
            logits = []
            for left, right in pairs:
                masked = products(guide[left][part], guide[right]) > limit
                # A positive is never masked for itself; a text is never compared with itself.
                masked = masked | own if left == right else masked & ~(own & (right == 1))
                found = cosine(student[left][part], student[right]) * self.scale
                shifted = found + labels.of_column(right)[part]
                logits.append(shifted.masked_fill(masked, -torch.inf))
            return cross_entropy(torch.cat(logits, dim=1), targets[part], reduction="none")

        return self._sum(compare, student, labels, with_backward)

    def _read(self, texts: list[str], side: str) -> Tensor:
        """The guide's vectors of a column, in the precision that it was loaded in."""
        (guide,) = self._guide
        with torch.autocast(guide.device.type, enabled=False):
            found = guide.encode(
                texts, prompt=self._call.prompt_for(side), batch_size=self.mini_batch_size,
                convert_to_tensor=True, show_progress_bar=False,
            )  # fmt: skip
        return found.float() if self._call.similarity == "dot" else normalize(found.float())


class WeightedDistillationLoss(DistillKLDivLoss):
    """KL divergence from the teacher's order of a row's own candidates to the student's.

    ln weight shifts the logits of both sides, so that a doubtful negative counts as little in what
    is asked as in what is answered.
    """

    def compute_loss_from_embeddings(self, embeddings: list[Tensor], labels: Any) -> Tensor:
        """Compare the student's order of each row's candidates with the teacher's.

        Args:
            embeddings: queries, positives and negatives, each (rows, d).
            labels: `Labels` of the batch, with scores.

        Returns:
            The mean over rows, a scalar; student and teacher logits are cosines over temperature.
        """
        query, *candidates = embeddings
        own = [labels.of_column(column).diagonal() for column in range(1, len(embeddings))]
        shift = torch.stack(own, dim=1).clamp(min=LOWEST)
        student = torch.stack([pairwise_cos_sim(query, each) for each in candidates], dim=1)
        student = log_softmax(student / self.student_temperature + shift, dim=1)
        teacher = log_softmax(labels.scores / self.teacher_temperature + shift, dim=1)
        loss = kl_div(student, teacher, reduction="none", log_target=True).sum(1)
        # As in the library: T changes no gradient's size.
        mean: Tensor = (loss * labels.weights).mean() * self.student_temperature**2
        return mean


class WeightedMarginLoss(torch.nn.Module):
    """Mean squared error of the student's margins of cosines against the teacher's (MarginMSE).

    Hofstaetter et al., arXiv 2010.02666. A negative counts by its weight; padding and what is
    closed not at all.
    """

    def __init__(self, model: SentenceTransformer) -> None:
        super().__init__()
        self.model = model

    def forward(self, sentence_features: Iterable[dict[str, Tensor]], labels: Any) -> Tensor:
        """Compare margins of a batch.

        Args:
            sentence_features: per column, queries first, then positives and negatives.
            labels: `Labels` of the batch, with scores.

        Returns:
            The weighted mean over rows, a scalar.
        """
        query, positive, *negatives = (
            self.model(each)["sentence_embedding"] for each in sentence_features
        )
        own = [labels.of_column(column).diagonal() for column in range(2, 2 + len(negatives))]
        weights = torch.stack(own, dim=1).exp()
        cosines = torch.stack([pairwise_cos_sim(query, each) for each in negatives], dim=1)
        margins = pairwise_cos_sim(query, positive)[:, None] - cosines
        wanted = labels.scores[:, :1] - labels.scores[:, 1:]
        apart = (weights * (margins - wanted) ** 2).sum(1) / weights.sum(1).clamp(min=1e-6)
        mean: Tensor = (apart * labels.weights).mean()
        return mean


def build_loss(
    model: SentenceTransformer,
    settings: LossSettings,
    mini_batch: int,
    *,
    device: str,
    anchor: BaseAnchor | None = None,
    spread: float | None = None,
) -> torch.nn.Module:
    """Make the loss that a step's settings name.

    Args:
        model: that learns.
        settings: of all kinds but `mse` and `align`; `gist` loads its guide.
        mini_batch: texts embedded at once; `distill` and `margin` hold the whole batch.
        device: of the guide.
        anchor: pulls towards the base; for losses over a whole batch.
        spread: of the scores that `list` learns: the teacher's temperature, if none is set.

    Returns:
        A loss as the sentence-transformers trainer calls it, with `Labels` of the batch.

    Raises:
        ModelError: it gives shorter vectors than it is to learn with.
    """
    loss = _plain_loss(model, settings, mini_batch, device, spread)
    if isinstance(loss, _BatchLoss):
        loss.anchor = anchor
    if settings.dimensions is None:
        return loss
    whole = model.get_embedding_dimension()
    if whole is None or max(settings.dimensions) > whole:
        raise ModelError(
            f"loss.dimensions: the model gives vectors of {whole} components, fewer than "
            f"{max(settings.dimensions)}"
        )
    dimensions = sorted({*settings.dimensions, whole})
    if isinstance(loss, WeightedRankingLoss):
        loss.always_cached = True  # else its gradients would not pass through what is cut
    each = [1 / len(dimensions)] * len(dimensions)
    return MatryoshkaLoss(model, loss, dimensions, each)


def _plain_loss(
    model: SentenceTransformer,
    settings: LossSettings,
    mini_batch: int,
    device: str,
    spread: float | None,
) -> torch.nn.Module:
    if settings.kind == "list":
        teacher = settings.teacher_temperature or spread
        assert teacher is not None, "measured where none is set"
        return WeightedListLoss(
            model, settings.temperature, mini_batch, teacher, settings.infonce_weight
        )
    if settings.kind == "distill":
        return WeightedDistillationLoss(model, temperature=settings.temperature)
    if settings.kind == "margin":
        return WeightedMarginLoss(model)
    if settings.kind == "gist":
        assert settings.guide is not None, "checked by the settings"
        guide, call = load_guide(settings.guide, device)
        return WeightedGISTLoss(
            model, guide, call, settings.temperature, mini_batch, settings.margin,
            settings.contrasts,
        )  # fmt: skip
    clear = settings.kind == "clear"
    return WeightedRankingLoss(
        model, settings.temperature, mini_batch,
        reverse=settings.reverse if clear else settings.symmetric / 2,
        agreement=settings.agreement if clear else 0.0,
        unseen_margin=settings.unseen_margin, similarity=settings.similarity,
    )  # fmt: skip


def load_guide(guide: GuideModel, device: str) -> tuple[SentenceTransformer, GuideModel]:
    """Load a guide, and say how it is called: its prompts and similarity settled."""
    call = models.settled(guide)
    loaded = models.load_encoder(
        call.model, device=device, dtype=models.dtype_of(call, device), max_length=call.max_length,
        trust_remote_code=call.trust_remote_code,
    )  # fmt: skip
    return loaded, call


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


def _in_chunks(
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
