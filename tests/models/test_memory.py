"""Memory that does not hold a batch: halved, said once, the same result; or a clear error."""

import logging

import numpy as np
import pytest
import torch

from polymine import models
from polymine.data_contracts.errors import ModelError
from polymine.mining.embedding import TextEncoder, encode_all
from polymine.mining.validation import PairScorer
from polymine.models.memory import AdaptiveBatcher, is_out_of_memory
from robustness.faults.inside import limit_memory
from tests.small import MINILM, animal_tables, small_validator

LONG = "a text of many words " * 20


def doubled(items: list[int]) -> np.ndarray:
    if sum(items) > 10:
        raise torch.OutOfMemoryError("CUDA out of memory.")
    return np.array(items, np.float32) * 2


def test_a_batch_is_halved_until_it_fits_and_later_ones_beforehand(caplog):
    batcher, asked = AdaptiveBatcher("doubling", "Do less"), []

    def forward(items: list[int]) -> np.ndarray:
        asked.append(len(items))
        return doubled(items)

    with caplog.at_level(logging.WARNING, "polymine.models.memory"):
        for _ in range(2):
            assert batcher.compute(forward, [3] * 8, 24).tolist() == [6.0] * 8
    assert asked == [8, 4, *[2] * 8]
    assert [record.message.split(";")[0] for record in caplog.records] == [
        "doubling: a batch of 24 tokens is more than memory holds",
        "doubling: a batch of 12 tokens is more than memory holds",
    ]


def test_an_item_that_does_not_fit_and_any_other_error_are_raised():
    batcher = AdaptiveBatcher("doubling", "Do less")
    with pytest.raises(ModelError, match=r"doubling: one text .* itself: 11\. Do less"):
        batcher.compute(doubled, [1, 11], 12)

    def broken(_: list[int]) -> np.ndarray:
        raise RuntimeError("shapes do not match")

    with pytest.raises(RuntimeError, match="shapes"):
        batcher.compute(broken, [1, 2], 3)


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB"), True),
        (RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: you"), True),
        (RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling"), True),
        (RuntimeError("CUDA error: device-side assert triggered"), False),
    ],
)
def test_what_means_that_memory_is_full(error, expected):
    assert is_out_of_memory(error) == expected


def test_vectors_and_logits_are_the_same_in_halves(encoder, scorer, caplog):
    documents, queries, _ = animal_tables()
    texts = documents["text"].to_list()
    pairs = list(zip(queries["text"], documents["text"], strict=False))
    expected = encode_all(encoder, texts), scorer.score(pairs)
    minilm = models.load_encoder(str(MINILM.model), device="cpu", dtype="float32")
    validator = models.load_cross_encoder(small_validator().model, device="cpu", dtype="float32")
    refused = limit_memory(minilm, 96), limit_memory(validator, 48)
    with caplog.at_level(logging.WARNING, "polymine.models.memory"):
        found = (
            encode_all(TextEncoder([minilm], 2, 2048), texts),
            PairScorer([validator], 2, 2048).score(pairs),
        )
    assert all(map(np.array_equal, found, expected))
    assert all(refused)
    assert {record.message.split(":")[0] for record in caplog.records} == {
        "embedding", "validation",
    }  # fmt: skip
    with pytest.raises(ModelError, match=r"embedding: one text .*'a text of many.*max_length"):
        encode_all(TextEncoder([minilm], 1, 2048), ["one", LONG])
    with pytest.raises(ModelError, match="validation: one text"):
        PairScorer([validator], 1, 2048).score([("one", "two"), ("one", LONG)])
