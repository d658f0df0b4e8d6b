"""The weighted losses against the library's own and against a few lines of torch."""

import pytest
import torch
from sentence_transformers.sentence_transformer.losses import (
    CachedGISTEmbedLoss,
    CachedMultipleNegativesRankingLoss,
    DistillKLDivLoss,
)

from polymine import models
from polymine.training.losses import (
    WeightedDistillationLoss,
    WeightedGISTLoss,
    WeightedRankingLoss,
    shift_logits,
)
from tests.training.small_encoder import save_small_encoder

ROWS, NEGATIVES, T = 6, 2, 0.05
TEXTS = [
    [f"{word} {number} {'abcdef'[number]}" for number in range(ROWS)]
    for word in ("query about", "the right answer to", "a wrong answer to", "another wrong one for")
]


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    folder = tmp_path_factory.mktemp("small")
    return models.load_encoder(save_small_encoder(folder), device="cpu", dtype="float32")


def features(encoder, columns=TEXTS):
    return [encoder.preprocess(column) for column in columns]


def reps(encoder, columns=TEXTS):
    return [encoder(each)["sentence_embedding"].detach() for each in features(encoder, columns)]


def logits(columns, temperature=T):
    query, *documents = columns
    return query @ torch.cat(documents).T / temperature


@pytest.mark.parametrize("symmetric", [False, True])
@pytest.mark.parametrize("mini_batch", [4, 64])
def test_weights_of_one_are_the_librarys_loss_and_gradient(small, symmetric, mini_batch):
    directions = ("query_to_doc", "doc_to_query") if symmetric else ("query_to_doc",)
    theirs = CachedMultipleNegativesRankingLoss(
        small, scale=1 / T, mini_batch_size=mini_batch, directions=directions,
        partition_mode="per_direction" if symmetric else "joint",
    )  # fmt: skip
    ours = WeightedRankingLoss(small, T, mini_batch, symmetric)
    values, gradients = [], []
    for loss, labels in ((theirs, None), (ours, torch.ones(ROWS, NEGATIVES))):
        small.zero_grad()
        value = loss(features(small), labels)
        value.backward()
        values.append(value.item())
        gradients.append(small[0].model.encoder.layer[0].output.dense.weight.grad.clone())
    assert values[0] == pytest.approx(values[1], rel=1e-5)
    torch.testing.assert_close(*gradients, rtol=1e-4, atol=1e-6)


def test_a_weight_shifts_the_logit_of_a_rows_own_negative_and_no_other(small):
    weights = torch.rand(ROWS, NEGATIVES) * 0.9 + 0.05
    value = WeightedRankingLoss(small, T, 4, False)(features(small), weights)
    expected = logits(reps(small))
    for row in range(ROWS):
        for n in range(NEGATIVES):
            expected[row, ROWS * (n + 1) + row] += weights[row, n].log()
    target = torch.arange(ROWS)
    assert value.item() == pytest.approx(
        torch.nn.functional.cross_entropy(expected, target).item(), rel=1e-5
    )


def test_a_negative_of_weight_zero_is_nobodys(small):
    columns = reps(small)
    weights = torch.tensor([[1.0, 0.0]] * ROWS)
    value = WeightedRankingLoss(small, T, 64, False)(features(small), weights)
    kept = logits(columns)
    kept[:, 2 * ROWS :] = -torch.inf  # padding is nobody's negative
    target = torch.arange(ROWS)
    assert value.item() == pytest.approx(
        torch.nn.functional.cross_entropy(kept, target).item(), rel=1e-5
    )


def test_gist_masks_as_three_lines_of_torch_do(small, minilm):
    margin = 0.05
    loss = WeightedGISTLoss(
        small, minilm, temperature=T, mini_batch_size=4, margin_strategy="relative", margin=margin
    )
    weights = torch.rand(ROWS, NEGATIVES) * 0.9 + 0.05
    value = loss(features(small), weights).item()
    student, guide = reps(small), reps(minilm)

    def similarities(columns):
        query, positive, *negatives = columns
        others = [query @ query.T, positive @ positive.T]
        return torch.cat([query @ positive.T, *others, *(query @ n.T for n in negatives)], dim=1)

    threshold = (guide[0] * guide[1]).sum(1, keepdim=True)
    masked = similarities(guide) > threshold - threshold.abs() * margin
    masked[:, :ROWS] &= ~torch.eye(ROWS, dtype=torch.bool)
    expected = similarities(student) / T
    for n in range(NEGATIVES):
        rows = torch.arange(ROWS)
        expected[rows, (3 + n) * ROWS + rows] += weights[:, n].log()
    expected[masked] = -torch.inf
    assert masked.any()
    assert (~masked).any()
    target = torch.arange(ROWS)
    assert value == pytest.approx(
        torch.nn.functional.cross_entropy(expected, target).item(), rel=1e-4
    )


def test_gist_without_weights_is_the_librarys(small, minilm):
    arguments = {"temperature": T, "mini_batch_size": 4, "margin": 0.05}
    theirs = CachedGISTEmbedLoss(small, minilm, **arguments)(features(small), None)
    ours = WeightedGISTLoss(small, minilm, **arguments)(features(small), None)
    assert ours.item() == pytest.approx(theirs.item(), rel=1e-6)


def test_distillation_with_weights_of_one_is_the_librarys(small):
    scores = torch.rand(ROWS, 1 + NEGATIVES)
    theirs = DistillKLDivLoss(small, temperature=T)
    theirs.similarity_fct = torch.nn.CosineSimilarity(dim=-1)
    ours = WeightedDistillationLoss(small, temperature=T)
    labels = torch.cat([scores, torch.ones_like(scores)], dim=1)
    assert ours(features(small), labels).item() == pytest.approx(
        theirs(features(small), scores).item(), rel=1e-4
    )


def test_distillation_passes_over_a_negative_of_weight_zero(small):
    scores = torch.rand(ROWS, 1 + NEGATIVES)
    weights = torch.tensor([[1.0, 1.0, 0.0]] * ROWS)
    both = WeightedDistillationLoss(small, temperature=T)(
        features(small), torch.cat([scores, weights], dim=1)
    )
    one = WeightedDistillationLoss(small, temperature=T)(
        features(small, TEXTS[:3]), torch.cat([scores[:, :2], weights[:, :2]], dim=1)
    )
    assert both.item() == pytest.approx(one.item(), rel=1e-4)


def test_pairs_without_negatives_are_left_alone():
    columns = [[torch.rand(3, 4)], [torch.rand(3, 4)]]
    assert shift_logits(columns, None, T)[0][0] is columns[0][0]
