"""Embeddings: those of sentence-transformers, with the same bits in whatever company."""

import copy
import pickle

import numpy as np
import pytest

from polymine import models
from polymine.data_contracts.errors import ModelError
from polymine.mining.embedding import TextEncoder, encode_all
from tests.small import ANIMALS, FACTS, MINILM

TEXTS = [
    statement.format(name=name, home=home, food=food, body=body) * (1 + number % 3)
    for number, (name, (home, food, body)) in enumerate(ANIMALS.items())
    for _, statement, _ in FACTS[number % 4 : number % 4 + 3]
] + ["one", "où?", "東京タワーは赤い", "الجمل يعيش في الصحراء", "word " * 400]


class Counter:
    def __init__(self):
        self.events = []

    def start(self, stage, total, unit):
        self.events.append(("start", stage, total, unit))

    def advance(self, stage, amount, note=""):
        self.events.append(("advance", stage, amount))

    def finish(self, stage):
        self.events.append(("finish", stage))


@pytest.fixture(scope="module")
def vectors(encoder):
    return encode_all(encoder, TEXTS)


@pytest.fixture(scope="module")
def bfloat16_model():
    return models.load_encoder(str(MINILM.model), device="cpu", dtype="bfloat16")


@pytest.fixture(scope="module")
def bfloat16_vectors(bfloat16_model):
    return encode_all(TextEncoder([bfloat16_model], 2, 2048), TEXTS)


def test_vectors_are_those_of_sentence_transformers(minilm, vectors):
    expected = minilm.encode(TEXTS, normalize_embeddings=True)
    assert vectors.dtype == np.float32
    np.testing.assert_allclose(vectors, expected, atol=2e-6)


def test_vectors_have_unit_length(vectors, bfloat16_vectors):
    for matrix in (vectors, bfloat16_vectors):
        np.testing.assert_allclose(np.linalg.norm(matrix.astype("f8"), axis=1), 1, atol=1e-6)


def test_bfloat16_stays_close_to_float32(vectors, bfloat16_vectors):
    cosine = (vectors.astype("f8") * bfloat16_vectors).sum(axis=1)
    assert cosine.min() >= 0.9995
    assert (vectors != bfloat16_vectors).any()  # or it was float32 after all


def expect_other_bits(request, dtype: str) -> None:
    """AMX units multiply bfloat16 in another order for another number of rows (docs/LOG.md)."""
    import torch

    if dtype == "bfloat16" and torch.cpu.get_capabilities().get("amx_bf16"):
        reason = "bfloat16 on AMX: a vector's last bits depend on its batch"
        request.applymarker(pytest.mark.xfail(reason=reason, strict=False))


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize(("threads", "budget"), [(1, 2048), (2, 64), (3, 300), (3, 100_000)])
def test_same_bits_on_other_threads_and_budgets(request, dtype, threads, budget):
    expect_other_bits(request, dtype)
    model = request.getfixturevalue("minilm" if dtype == "float32" else "bfloat16_model")
    expected = request.getfixturevalue("vectors" if dtype == "float32" else "bfloat16_vectors")
    found = encode_all(TextEncoder([model], threads, budget), TEXTS)
    assert np.array_equal(found, expected)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_same_bits_in_other_company(request, dtype):
    expect_other_bits(request, dtype)
    model = request.getfixturevalue("minilm" if dtype == "float32" else "bfloat16_model")
    expected = request.getfixturevalue("vectors" if dtype == "float32" else "bfloat16_vectors")
    encoder = TextEncoder([model], 2, 2048)
    alone = [encode_all(encoder, [text])[0] for text in TEXTS]  # some of them three tokens long
    assert np.array_equal(alone, expected)
    rows = np.random.default_rng(0).permutation(len(TEXTS))[: len(TEXTS) // 2]
    assert np.array_equal(encode_all(encoder, [TEXTS[row] for row in rows]), expected[rows])


def test_a_batch_invariant_model_can_be_pickled(minilm, vectors):
    TextEncoder([minilm], 1, 2048)
    again = pickle.loads(pickle.dumps(minilm))
    assert np.array_equal(encode_all(TextEncoder([again], 1, 2048), TEXTS[:4]), vectors[:4])


def test_prompt_stands_before_every_text(encoder):
    prompted = encode_all(encoder, TEXTS[:4], prompt="query: ")
    assert np.array_equal(prompted, encode_all(encoder, ["query: " + t for t in TEXTS[:4]]))
    assert not np.array_equal(prompted, encode_all(encoder, TEXTS[:4]))
    tokens = encoder.count_tokens(TEXTS[:4], "query: ") - encoder.count_tokens(TEXTS[:4], "")
    assert tokens.tolist() == [2, 2, 2, 2]  # "query" and ":"


def test_texts_are_cut_at_the_length_that_was_set():
    teacher = MINILM.model_copy(update={"max_length": 16})
    encoder = TextEncoder.load(teacher, threads=1, batch_tokens=2048)
    long = "word " * 400
    assert encoder.count_tokens([long, "one"], "").tolist() == [16, 3]
    # [CLS] and [SEP] leave room for 14 words
    assert np.array_equal(encode_all(encoder, [long]), encode_all(encoder, ["word " * 14]))


def test_batches_come_longest_first_and_are_counted(encoder):
    counter = Counter()
    parts = list(encoder.encode(TEXTS, encoder.plan(TEXTS, ""), progress=counter))
    lengths = encoder.count_tokens(TEXTS, "")
    longest = [lengths[part.rows].max() for part in parts]
    assert longest == sorted(longest, reverse=True)
    assert [part.tokens for part in parts] == [lengths[part.rows].sum() for part in parts]
    assert counter.events[0] == ("start", "embed", lengths.sum(), "tokens")
    assert counter.events[1:-1] == [("advance", "embed", part.tokens) for part in parts]
    assert counter.events[-1] == ("finish", "embed")


def test_parts_of_a_plan_are_encoded_as_the_whole(encoder, vectors):
    batches = encoder.plan(TEXTS, "")
    for part in encoder.encode(TEXTS, batches[1::2]):
        assert np.array_equal(part.values, vectors[part.rows])


@pytest.mark.parametrize(("value", "kind"), [(float("nan"), "NaN or infinite"), (0.0, "all zeros")])
def test_broken_model_is_named_by_a_text_it_failed_on(minilm, value, kind):
    broken = copy.deepcopy(minilm)
    for parameter in broken.parameters():
        parameter.data.fill_(value)
    with pytest.raises(ModelError, match=f"{kind} for 1 of 1 texts of one batch, such as 'one'"):
        encode_all(TextEncoder([broken], 1, 2048), ["one"])


def test_no_texts_no_vectors(encoder):
    assert encode_all(encoder, []).shape[0] == 0
