"""The losses against the library's own and against a few lines of torch."""

from dataclasses import replace
from functools import partial

import pytest
import torch
from sentence_transformers.sentence_transformer.losses import (
    CachedGISTEmbedLoss,
    CachedMultipleNegativesRankingLoss,
    DistillKLDivLoss,
)

from polymine import models
from polymine.data_contracts.errors import ModelError
from polymine.data_contracts.settings import GuideModel, LoraSettings, LossSettings
from polymine.training import adapters
from polymine.training.contrastive import BaseAnchor, WeightedRankingLoss
from polymine.training.distillation import WeightedDistillationLoss
from polymine.training.gist import WeightedGISTLoss
from polymine.training.labels import Labels
from polymine.training.losses import build_loss
from tests.small import save_small_encoder

ROWS, NEGATIVES, T = 6, 2, 0.05
TEXTS = [
    [f"{word} {number} {'abcdef'[number]}{' more' * (3 * number % 5)}" for number in range(ROWS)]
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


def plain(columns=2 + NEGATIVES) -> Labels:
    """Labels of rows of which nothing is known."""
    shifts = torch.zeros(ROWS, columns * ROWS)
    shifts[:, :ROWS].fill_diagonal_(-torch.inf)
    return Labels(shifts, torch.ones(ROWS), torch.zeros(ROWS, columns - 1), torch.tensor(0))


def known(columns=2 + NEGATIVES) -> Labels:
    """Doubtful rows and pairs, and closed ones: another row's positive and its negative."""
    labels = plain(columns)
    labels.weights.copy_(torch.rand(ROWS) * 0.9 + 0.1)
    labels.shifts[:, 2 * ROWS :] = torch.rand(ROWS, (columns - 2) * ROWS).log()
    labels.shifts[0, ROWS + 3] = labels.shifts[3, ROWS] = -torch.inf
    if columns > 2:
        labels.shifts[1, 2 * ROWS + 4] = -torch.inf
        labels.shifts[:, 3 * ROWS + 2] = -torch.inf  # padding is nobody's negative
    return labels


def value_and_gradient(small, loss, labels, columns=TEXTS):
    small.zero_grad()
    value = loss(features(small, columns), labels)
    value.backward()
    return value.item(), small[0].model.encoder.layer[0].output.dense.weight.grad.clone()


def of_rows(logits, labels):
    """The weighted mean of each row's cross-entropy."""
    losses = torch.nn.functional.cross_entropy(logits, torch.arange(ROWS), reduction="none")
    return (losses * labels.weights).mean()


@pytest.mark.parametrize("symmetric", [False, True])
@pytest.mark.parametrize("mini_batch", [4, 64])
def test_without_knowledge_it_is_the_librarys_loss_and_gradient(small, symmetric, mini_batch):
    directions = ("query_to_doc", "doc_to_query") if symmetric else ("query_to_doc",)
    theirs = CachedMultipleNegativesRankingLoss(
        small, scale=1 / T, mini_batch_size=mini_batch, directions=directions,
        partition_mode="per_direction" if symmetric else "joint",
    )  # fmt: skip
    ours = WeightedRankingLoss(small, T, mini_batch, reverse=symmetric / 2)
    expected, value = (
        value_and_gradient(small, theirs, None),
        value_and_gradient(small, ours, plain()),
    )
    assert value[0] == pytest.approx(expected[0], rel=1e-5)
    torch.testing.assert_close(value[1], expected[1], rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("symmetric", [False, True])
@pytest.mark.parametrize("mini_batch", [4, 64])
@pytest.mark.parametrize("columns", [2, 4])
def test_infonce_is_a_few_lines_of_torch(small, symmetric, mini_batch, columns):
    """With closed pairs, doubtful ones and rows; cached or not, with negatives or without."""
    labels, texts = known(columns), TEXTS[:columns]

    def reference(given, _):
        query, *documents = [small(each)["sentence_embedding"] for each in given]
        logits = query @ torch.cat(documents).T / T + labels.shifts[:, ROWS:]
        loss = of_rows(logits, labels)
        if symmetric:
            back = documents[0] @ query.T / T + labels.shifts[:, ROWS : 2 * ROWS].T
            loss = (loss + of_rows(back, labels)) / 2
        return loss

    expected = value_and_gradient(small, reference, labels, texts)
    loss = WeightedRankingLoss(small, T, mini_batch, reverse=symmetric / 2)
    value = value_and_gradient(small, loss, labels, texts)
    assert value[0] == pytest.approx(expected[0], rel=1e-5)
    torch.testing.assert_close(value[1], expected[1], rtol=1e-4, atol=1e-6)


def listed() -> Labels:
    """As `known`, with a further positive in half of the rows, which is nobody's own negative."""
    labels = known()
    positives = torch.zeros(ROWS, 1 + NEGATIVES)
    positives[:, 0], positives[::2, 1] = labels.weights, 0.7
    for row in range(0, ROWS, 2):
        labels.shifts[row, 2 * ROWS + row] = -torch.inf
    labels.scores.copy_(torch.randn(ROWS, 1 + NEGATIVES) * 3)
    labels.scores[5, 0] = torch.nan  # a positive that the teacher has not scored
    return replace(labels, positives=positives)


def infonce_of_lists(vectors, labels):
    """Each row's loss, (rows,): positive by positive, with all others left out."""
    query, *documents = vectors
    logits = query @ torch.cat(documents).T / T
    losses = []
    for row in range(ROWS):
        own = [column * ROWS + row for column in range(1 + NEGATIVES)]
        total = 0
        for place, weight in zip(own, labels.positives[row], strict=True):
            rivals = logits[row] + labels.shifts[row, ROWS:]
            rivals[own[0]] = -torch.inf
            rivals[place] = logits[row, place]
            total = total - weight * rivals.log_softmax(0)[place]
        losses.append(total / labels.positives[row].sum())
    return torch.stack(losses)


def vectors_of(small, given):
    return [small(each)["sentence_embedding"] for each in given]


@pytest.mark.parametrize("mini_batch", [4, 64])
def test_infonce_of_several_positives_is_a_few_lines_of_torch(small, mini_batch):
    labels = listed()

    def reference(given, _):
        return (infonce_of_lists(vectors_of(small, given), labels) * labels.weights).mean()

    expected = value_and_gradient(small, reference, labels)
    value = value_and_gradient(small, WeightedRankingLoss(small, T, mini_batch), labels)
    assert value[0] == pytest.approx(expected[0], rel=1e-5)
    torch.testing.assert_close(value[1], expected[1], rtol=1e-4, atol=1e-6)


def test_a_list_with_one_positive_is_a_pair_with_its_negatives(small):
    labels = known()
    positives = torch.zeros(ROWS, 1 + NEGATIVES)
    positives[:, 0] = labels.weights
    loss = WeightedRankingLoss(small, T, 64)
    pairs = value_and_gradient(small, loss, labels)
    lists = value_and_gradient(small, loss, replace(labels, positives=positives))
    assert lists[0] == pytest.approx(pairs[0], rel=1e-5)
    torch.testing.assert_close(lists[1], pairs[1], rtol=1e-4, atol=1e-6)


def test_a_row_whose_negatives_are_all_closed_teaches_nothing(small):
    labels = listed()
    labels.shifts[:, ROWS:] = -torch.inf
    value, gradient = value_and_gradient(small, WeightedRankingLoss(small, T, 64), labels)
    assert value == pytest.approx(0, abs=1e-8)
    assert gradient.abs().max() < 1e-8


@pytest.mark.parametrize("weight", [0.0, 0.5])
@pytest.mark.parametrize("mini_batch", [4, 64])
def test_the_order_of_a_list_is_a_few_lines_of_torch(small, mini_batch, weight):
    """The divergence counts as it is, beside InfoNCE at its weight; padding is in no list."""
    labels, teacher = listed(), 2.5
    settings = LossSettings(
        kind="list", target="fused", temperature=T, teacher_temperature=teacher,
        infonce_weight=weight,
    )  # fmt: skip

    def reference(given, _):
        query, *documents = vectors = vectors_of(small, given)
        cosines = torch.stack([(query * each).sum(1) for each in documents], dim=1)
        there = [0, 1]  # the last column is padding in one row, and another row's is closed
        divergence = []
        for row in range(ROWS):
            shift = labels.shifts[row, 3 * ROWS + row]
            places = [*there, 2] if shift.isfinite() else there
            closed = labels.shifts[row, 2 * ROWS + row].isneginf() and labels.positives[row, 1] == 0
            places = [place for place in places if not (place == 1 and closed)]
            places = [place for place in places if labels.scores[row, place].isfinite()]
            wanted = (labels.scores[row, places] / teacher).softmax(0)
            found = (cosines[row, places] / T).log_softmax(0)
            divergence.append((wanted * (wanted.log() - found)).sum())
        rows = torch.stack(divergence) + weight * infonce_of_lists(vectors, labels)
        return (rows * labels.weights).mean()

    expected = value_and_gradient(small, reference, labels)
    loss = build_loss(small, settings, mini_batch, device="cpu")
    value = value_and_gradient(small, loss, labels)
    assert value[0] == pytest.approx(expected[0], rel=1e-5)
    torch.testing.assert_close(value[1], expected[1], rtol=1e-4, atol=1e-6)


def test_the_teachers_temperature_is_the_spread_of_its_scores_if_none_is_set(small):
    labels = listed()
    told = {"kind": "list", "target": "risk", "temperature": T}
    named = build_loss(small, LossSettings(**told, teacher_temperature=3.0), 64, device="cpu")
    measured = build_loss(small, LossSettings(**told), 64, device="cpu", spread=3.0)
    assert (
        value_and_gradient(small, named, labels)[0]
        == value_and_gradient(small, measured, labels)[0]
    )


@pytest.mark.parametrize("mini_batch", [4, 64])
def test_clear_is_a_few_lines_of_torch(small, mini_batch):
    """Documents given the query, queries given the document, and the divergence of both orders."""
    labels = known()
    kl = torch.nn.functional.kl_div

    def reference(given, _):
        query, *documents = [small(each)["sentence_embedding"] for each in given]
        forward = query @ torch.cat(documents).T / T + labels.shifts[:, ROWS:]
        back = documents[0] @ query.T / T + labels.shifts[:, ROWS : 2 * ROWS].T
        orders = [each.clamp(min=-50).softmax(1) for each in (back, forward[:, :ROWS])]
        apart = kl(orders[1].log(), orders[0], reduction="none").sum(1)
        apart = (apart * labels.weights).mean()
        return 0.3 * of_rows(forward, labels) + 0.5 * of_rows(back, labels) + 0.2 * apart

    expected = value_and_gradient(small, reference, labels)
    settings = LossSettings(kind="clear", temperature=T, reverse=0.5, agreement=0.2)
    value = value_and_gradient(small, build_loss(small, settings, mini_batch, device="cpu"), labels)
    assert value[0] == pytest.approx(expected[0], rel=1e-4)
    torch.testing.assert_close(value[1], expected[1], rtol=1e-3, atol=1e-5)


def test_a_closed_pair_is_as_if_the_document_were_not_there(small):
    """Also at temperatures at which no finite shift would outweigh a cosine."""
    labels = plain(2)
    labels.shifts[0, ROWS + 1 :] = -torch.inf
    labels.weights[1:] = 1e-30
    loss = WeightedRankingLoss(small, 0.001, 64)
    assert loss(features(small, TEXTS[:2]), labels).item() == pytest.approx(0.0, abs=1e-7)


def test_what_nobody_looked_at_is_left_out_far_above_the_positive_only(small):
    labels, margin = known(), -0.05
    query, *documents = reps(small)
    cosines = query @ torch.cat(documents).T
    own = torch.arange(ROWS).repeat(1 + NEGATIVES) == torch.arange(ROWS)[:, None]
    labels.shifts[:, 2 * ROWS : 3 * ROWS] = 0.0  # a column of which nothing is known
    shifts = labels.shifts[:, ROWS:]
    above = cosines > cosines[:, :ROWS].diagonal()[:, None] + margin
    unseen = above & ~own & (shifts == 0)
    assert unseen.any()
    assert (above & ~unseen).any()
    expected = of_rows((cosines / T + shifts).masked_fill(unseen, -torch.inf), labels)
    for mini_batch in (4, 64):
        loss = WeightedRankingLoss(small, T, mini_batch, unseen_margin=margin)
        assert loss(features(small), labels).item() == pytest.approx(expected.item(), rel=1e-5)


def make_gist(small, guide, prompts=("", ""), contrasts=("queries", "documents")):
    call = GuideModel(model="guide", query_prompt=prompts[0], document_prompt=prompts[1])
    return WeightedGISTLoss(small, guide, call, T, 4, 0.05, contrasts)


@pytest.mark.parametrize("contrasts", [("queries", "documents"), ()])
@pytest.mark.parametrize("prompts", [("", ""), ("the question is ", "the answer is ")])
def test_gist_masks_as_a_few_lines_of_torch_do(small, minilm, contrasts, prompts):
    labels = replace(known(), texts=tuple(TEXTS))
    loss = make_gist(small, minilm, prompts, contrasts)
    value = loss(features(small), labels).item()
    student = reps(small)
    guide = [
        torch.as_tensor(minilm.encode(column, prompt=prompts[at > 0]))
        for at, column in enumerate(TEXTS)
    ]
    pairs = [(0, 1), *[(0, 0), (1, 1)] * bool(contrasts), (0, 2), (0, 3)]

    def similarities(columns):
        return torch.stack([columns[left] @ columns[right].T for left, right in pairs])

    threshold = (guide[0] * guide[1]).sum(1, keepdim=True)
    masked = similarities(guide) > threshold - threshold.abs() * 0.05
    masked[0].fill_diagonal_(False)
    shifts = torch.stack([labels.of_column(right) for _, right in pairs])
    assert masked.any()
    assert (~masked).any()
    scores = (similarities(student) / T + shifts).masked_fill(masked, -torch.inf)
    expected = of_rows(torch.cat(list(scores), dim=1), labels)
    assert value == pytest.approx(expected.item(), rel=1e-4)


def test_gist_without_knowledge_is_the_librarys(small, minilm):
    theirs = CachedGISTEmbedLoss(
        small, minilm, temperature=T, mini_batch_size=4, margin_strategy="relative", margin=0.05
    )
    expected = value_and_gradient(small, theirs, None)
    value = value_and_gradient(
        small, make_gist(small, minilm), replace(plain(), texts=tuple(TEXTS))
    )
    assert value[0] == pytest.approx(expected[0], rel=1e-6)
    torch.testing.assert_close(value[1], expected[1], rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("mini_batch", [4, 64])
@pytest.mark.parametrize("kind", ["infonce", "clear", "gist"])
def test_an_anchor_adds_the_distance_from_the_base(adapted, mini_batch, kind):
    """Cached or not; texts that are padding are no texts, and the base is the same model's."""
    encoder, base, untouched = adapted
    labels = replace(known(), texts=tuple(TEXTS))
    settings = LossSettings(kind=kind, temperature=T, guide=base if kind == "gist" else None)
    plain_loss = build_loss(encoder, settings, mini_batch, device="cpu")
    given = features(encoder)
    for column in given:
        column["task"] = "en"  # as the trainer's
    before = torch.cat(reps(models.load_encoder(base, device="cpu", dtype="float32")))
    seen = torch.ones(4 * ROWS, dtype=torch.bool)
    seen[3 * ROWS + 2] = False

    def reference(given, labels):
        now = torch.cat([encoder(dict(each))["sentence_embedding"] for each in given])
        return plain_loss(given, labels) + 0.7 * ((now - before) ** 2).sum(1)[seen].mean()

    anchor = BaseAnchor(0.7, untouched)
    loss = build_loss(encoder, settings, mini_batch, device="cpu", anchor=anchor)
    expected, value = (gradient(encoder, each, given, labels) for each in (reference, loss))
    without, _ = gradient(encoder, plain_loss, given, labels)
    assert value[0] == pytest.approx(expected[0], rel=1e-4)
    assert value[0] > without * 1.001
    torch.testing.assert_close(value[1], expected[1], rtol=1e-3, atol=1e-5)


def test_an_anchor_holds_nothing_back_that_has_not_moved(adapted):
    encoder, _, untouched = adapted
    settings = LossSettings(temperature=T)
    loss = build_loss(encoder, settings, 4, device="cpu", anchor=BaseAnchor(1e3, untouched))
    plain_loss = build_loss(encoder, settings, 4, device="cpu")
    for layer in adapters._layers(encoder):
        torch.nn.init.zeros_(layer.lora_B["own"].weight)
    given = features(encoder)
    assert loss(given, plain()).item() == pytest.approx(plain_loss(given, plain()).item(), rel=1e-5)


@pytest.fixture
def adapted(tmp_path):
    """An encoder whose adapter changes vectors, its base's folder, and how to see that."""
    base = save_small_encoder(tmp_path)
    encoder = adapters.load_base(base, device="cpu")
    adapters.add_fresh(encoder, "own", LoraSettings(rank=4, alpha=8), seed=0)
    adapters.activate(encoder, ["own"], "own")
    torch.manual_seed(0)
    for layer in adapters._layers(encoder):
        torch.nn.init.normal_(layer.lora_B["own"].weight, std=0.3)
    return encoder, base, partial(adapters.untouched, encoder, ["own"], "own")


def gradient(encoder, loss, given, labels):
    encoder.zero_grad()
    value = loss(given, labels)
    value.backward()
    layer = adapters._layers(encoder)[0]
    return value.item(), layer.lora_B["own"].weight.grad.clone()


def with_scores(labels: Labels, scores) -> Labels:
    return replace(labels, scores=scores)


def test_distillation_without_knowledge_is_the_librarys(small):
    scores = torch.rand(ROWS, 1 + NEGATIVES)
    theirs = DistillKLDivLoss(small, temperature=T)
    theirs.similarity_fct = torch.nn.CosineSimilarity(dim=-1)
    ours = WeightedDistillationLoss(small, temperature=T)
    labels = with_scores(plain(), scores)
    assert ours(features(small), labels).item() == pytest.approx(
        theirs(features(small), scores).item(), rel=1e-4
    )


def test_distillation_passes_over_a_negative_of_weight_zero_and_weighs_rows(small):
    scores = torch.rand(ROWS, 1 + NEGATIVES)
    loss = WeightedDistillationLoss(small, temperature=T)
    labels = plain()
    labels.shifts[:, 3 * ROWS :].fill_diagonal_(-torch.inf)
    labels.weights.fill_(0.5)
    both = loss(features(small), with_scores(labels, scores))
    one = loss(features(small, TEXTS[:3]), with_scores(plain(3), scores[:, :2]))
    assert both.item() == pytest.approx(one.item() / 2, rel=1e-4)


def test_margins_are_a_few_lines_of_torch(small):
    labels = known()
    labels.scores.copy_(torch.rand(ROWS, 1 + NEGATIVES))

    def reference(given, _):
        query, positive, *negatives = [small(each)["sentence_embedding"] for each in given]
        total, weights = 0, 0
        for place, negative in enumerate(negatives):
            column = 2 + place
            weight = labels.shifts[:, column * ROWS : (column + 1) * ROWS].diagonal().exp()
            found = (query * positive).sum(1) - (query * negative).sum(1)
            wanted = labels.scores[:, 0] - labels.scores[:, 1 + place]
            total, weights = total + weight * (found - wanted) ** 2, weights + weight
        return (labels.weights * total / weights).mean()

    loss = build_loss(small, LossSettings(kind="margin", negatives=2), 4, device="cpu")
    expected, value = (value_and_gradient(small, of, labels) for of in (reference, loss))
    assert value[0] == pytest.approx(expected[0], rel=1e-5)
    torch.testing.assert_close(value[1], expected[1], rtol=1e-4, atol=1e-7)


@pytest.mark.parametrize("kind", ["infonce", "margin", "distill", "list"])
@pytest.mark.parametrize("mini_batch", [4, 64])
def test_cut_vectors_count_as_much_as_whole_ones(small, kind, mini_batch):
    labels = listed() if kind == "list" else known()
    labels.scores.copy_(torch.rand(ROWS, 1 + NEGATIVES))
    order = {"target": "risk", "teacher_temperature": 0.5} if kind == "list" else {}
    settings = LossSettings(kind=kind, negatives=2, dimensions=(8, 16), **order)
    plain_loss = build_loss(small, settings.model_copy(update={"dimensions": None}), 64,
                            device="cpu")  # fmt: skip
    whole = small.get_embedding_dimension()

    def reference(given, told):
        forward = small.forward
        parts = []
        for dimensions in (whole, 16, 8):

            def cut(features, dimensions=dimensions):
                found = dict(forward(dict(features)))
                vectors = found["sentence_embedding"][:, :dimensions]
                found["sentence_embedding"] = torch.nn.functional.normalize(vectors, dim=1)
                return found

            small.forward = cut
            parts.append(plain_loss([dict(each) for each in given], told))
        small.forward = forward
        return sum(parts) / 3

    loss = build_loss(small, settings, mini_batch, device="cpu")
    expected, value = (value_and_gradient(small, of, labels) for of in (reference, loss))
    assert value[0] == pytest.approx(expected[0], rel=1e-4)
    torch.testing.assert_close(value[1], expected[1], rtol=1e-3, atol=1e-6)


def test_more_components_than_there_are_cannot_be_learned_with(small):
    settings = LossSettings(dimensions=(8, 4096))
    with pytest.raises(ModelError, match=r"vectors of \d+ components, fewer than 4096"):
        build_loss(small, settings, 4, device="cpu")
