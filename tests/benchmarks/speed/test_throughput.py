"""The throughput benchmark counts what torch counts, and both sides see the same batches."""

import polars as pl
import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from benchmarks.speed.flops import count_flops, find_peak
from benchmarks.speed.throughput_work import make_rows, order_rows
from polymine.data_contracts.settings import (
    AdaptedModel,
    LoraSettings,
    StepSettings,
    TrainingSettings,
)
from polymine.training.adapters import AdapterStack
from polymine.training.trainer import prepare

PRODUCTS = {torch.ops.aten.mm, torch.ops.aten.addmm}  # attention's are others


def measured(encoder, backward: bool) -> float:
    """FLOPs of matrix products per token as torch counts them, the pooler's one token left out."""
    features = encoder.preprocess(["one two three four"])
    tokens = features["input_ids"].numel()
    with FlopCounterMode(display=False) as counter:
        vector = encoder(features)["sentence_embedding"]
        if backward:
            vector.sum().backward()
    counts = counter.get_flop_counts()["Global"]
    pooler = 2 * 32 * 32
    return (sum(counts.get(product, 0) for product in PRODUCTS) - pooler) / tokens


@pytest.mark.parametrize("everything", [False, True])
def test_flops_are_those_that_torch_counts(base, everything):
    step = StepSettings(name="step", lora=LoraSettings(rank=4))
    encoder = prepare(step, TrainingSettings(base=base), AdapterStack(), "cpu")[0].train()
    if everything:
        encoder.requires_grad_(True)
    assert count_flops(encoder) == measured(encoder, backward=True)
    with torch.no_grad():
        assert count_flops(encoder, learning=False) == measured(encoder, backward=False)


def test_lora_spares_the_weight_gradients_of_what_is_frozen(base):
    # Two layers of 4 x 32 x 32 + 2 x 32 x 64 weights: 2n forward, 2n backward; the first layer's
    # queries, keys and values pass no gradient on. Each of the 2 x 6 updates A, B costs 6n, but
    # the first three A pass none on either.
    weights, first, rank = 2 * (4 * 32 * 32 + 2 * 32 * 64), 3 * 32 * 32, 4
    update = 2 * (4 * (32 + 32) + 2 * (32 + 64)) * rank
    step = StepSettings(name="step", lora=LoraSettings(rank=rank))
    encoder = prepare(step, TrainingSettings(base=base), AdapterStack(), "cpu")[0].train()
    expected = 4 * weights - 2 * first + 6 * update - 2 * 3 * 32 * rank
    assert count_flops(encoder) == expected


@pytest.mark.parametrize(
    ("name", "peak"),
    [
        ("NVIDIA H200", 989.4),
        ("NVIDIA H100 80GB HBM3", 989.4),
        ("NVIDIA H100 PCIe", 756.5),
        ("NVIDIA A100-SXM4-80GB", 312.0),
        ("NVIDIA A10", 125.0),
        ("NVIDIA L4", 121.0),
        ("NVIDIA GeForce RTX 4090", 165.2),
        ("Tesla T4", None),
        ("", None),
    ],
)
def test_a_device_is_found_by_whole_words(name, peak):
    assert find_peak(name) == peak


def write_collection(folder) -> None:
    """12 documents of two questions each."""
    ids = [f"d{number:02}" for number in range(12)]
    pl.DataFrame(
        {"doc_id": ids, "text": [f"it is {each}" for each in ids], "language": ["en"] * 12}
    ).write_parquet(folder / "corpus.parquet")
    asked = [f"q{number:02}" for number in range(24)]
    pl.DataFrame(
        {"query_id": asked, "text": [f"what of {each}?" for each in asked], "language": ["en"] * 24}
    ).write_parquet(folder / "queries.parquet")
    pl.DataFrame({"query_id": asked, "doc_id": ids * 2}).write_parquet(folder / "qrels.parquet")


def test_the_baseline_is_handed_the_batches_that_polymine_trains_on(base, tmp_path, monkeypatch):
    from polymine.data_contracts.settings import LossSettings, ScheduleSettings
    from polymine.training import trainer
    from polymine.training.contrastive import WeightedRankingLoss

    write_collection(tmp_path)
    rows = make_rows(tmp_path)
    positives = rows["positive"].to_list()
    for positive, negatives in zip(positives, rows["negatives"].to_list(), strict=True):
        assert len({positive, *negatives}) == 3
    step = StepSettings(
        name="order", loss=LossSettings(negatives=2), lora=LoraSettings(rank=2),
        schedule=ScheduleSettings(steps=3, batch=3, mini_batch=3),
    )  # fmt: skip
    seen, forward = [], WeightedRankingLoss.forward

    def spy(self, features, labels):
        features = list(features)
        tokenizer = self.model.tokenizer
        seen.extend(tokenizer.batch_decode(features[0]["input_ids"], skip_special_tokens=True))
        return forward(self, features, labels)

    monkeypatch.setattr(WeightedRankingLoss, "forward", spy)
    training = TrainingSettings(base=AdaptedModel(model=base, dtype="float32"))
    trainer.train_step(step, rows, training, checkpoints=tmp_path / "c", fingerprint="s")
    ordered = order_rows(rows, step, steps=3, batch=3)
    assert ordered.columns == ["anchor", "positive", "negative_1", "negative_2"]
    assert [text.replace(" ", "") for text in seen] == [
        text.replace(" ", "") for text in ordered["anchor"]
    ]
