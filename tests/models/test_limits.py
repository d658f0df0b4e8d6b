"""Models whose folders leave something open, as T5, RoBERTa and Llama do; drawn at random, tiny."""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from polymine import models
from polymine.data_contracts.errors import ModelError
from polymine.mining.embedding import TextEncoder, encode_all
from polymine.mining.validation import PairScorer
from tests.small import save_small_decoder

WORDS = [f"w{number}" for number in range(20)]
LONG = " ".join(WORDS[number % 20] for number in range(700))
SIZES: dict[str, Any] = {
    "vocab_size": 30, "hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 1,
    "num_attention_heads": 2,
}  # fmt: skip


def tokenizer(**special: str) -> Any:
    from tokenizers import Tokenizer, pre_tokenizers
    from tokenizers import models as kinds
    from transformers import PreTrainedTokenizerFast

    names = ["<s>", "<pad>", "</s>", "<unk>", *WORDS]
    words = Tokenizer(kinds.WordLevel({w: i for i, w in enumerate(names)}, unk_token="<unk>"))
    words.pre_tokenizer = pre_tokenizers.Whitespace()
    return PreTrainedTokenizerFast(tokenizer_object=words, unk_token="<unk>", **special)


def saved(folder: Path, model: Any, **special: str) -> str:
    model.save_pretrained(folder)
    tokenizer(**special).save_pretrained(folder)
    config = folder / "tokenizer_config.json"
    named = json.loads(config.read_text())
    named.pop("model_max_length", None)  # transformers writes 10^30 for none
    config.write_text(json.dumps(named))
    return str(folder)


@pytest.fixture(scope="module")
def t5(tmp_path_factory: pytest.TempPathFactory) -> str:
    from transformers import T5Config, T5EncoderModel

    config = T5Config(
        vocab_size=30, d_model=16, d_ff=32, num_layers=1, num_heads=2, d_kv=8, pad_token_id=1
    )
    return saved(tmp_path_factory.mktemp("t5"), T5EncoderModel(config), pad_token="<pad>")


@pytest.fixture(scope="module")
def roberta(tmp_path_factory: pytest.TempPathFactory) -> str:
    from transformers import RobertaConfig, RobertaModel

    config = RobertaConfig(**SIZES, max_position_embeddings=514, pad_token_id=1)
    return saved(tmp_path_factory.mktemp("roberta"), RobertaModel(config), pad_token="<pad>")


def llama(folder: Path, **special: str) -> str:
    from transformers import LlamaConfig, LlamaModel

    config = LlamaConfig(**SIZES, max_position_embeddings=600, pad_token_id=None)
    return saved(folder, LlamaModel(config), **special)


def opened(name: str, **options: Any) -> Any:
    return models.load_encoder(name, device="cpu", dtype="float32", **options)


def vectors(name: str, texts: list[str]) -> Any:
    return encode_all(TextEncoder([opened(name)], 2, 2048, name), texts)


def test_a_model_that_names_no_length_reads_512_tokens(
    t5: str, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO, "polymine.models"):
        assert opened(t5).max_seq_length == 512
    assert "it names no maximum length; at most 512 tokens" in caplog.text
    cut = " ".join(LONG.split()[:512])
    np.testing.assert_array_equal(*vectors(t5, [LONG, cut]))


def test_a_tokenizer_that_is_not_there_is_not_made_up(tmp_path: Path) -> None:
    """Of a folder without one, transformers makes one that knows next to no word."""
    from transformers import BertConfig, BertModel

    BertModel(BertConfig(**SIZES)).save_pretrained(tmp_path)
    with pytest.raises(ModelError, match=r"knows \d tokens of 30.*put the tokenizer's files"):
        opened(str(tmp_path))


def test_pooling_that_no_folder_names_is_said(t5: str, caplog: pytest.LogCaptureFixture) -> None:
    opened(t5)
    assert "their mean is taken" in caplog.text


def test_of_a_decoder_the_last_token_is_taken_and_that_is_said(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    decoder = opened(save_small_decoder(tmp_path))
    assert "the last one's is taken, as of any decoder" in caplog.text
    text = "fox"
    with torch.no_grad():
        states = decoder[0](decoder.preprocess([text]))["token_embeddings"][0]
    np.testing.assert_allclose(decoder.encode(text), states[-1], atol=1e-6)


def test_reserved_positions_are_taken_off(roberta: str, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, "polymine.models"):
        assert opened(roberta).max_seq_length == 512
    assert "at most 512 tokens of a text are read (of 514 positions 2 are reserved)" in caplog.text
    assert np.isfinite(vectors(roberta, [LONG, "w1"])).all()


@pytest.mark.parametrize("tokens", [513, 514])
def test_a_length_that_the_table_of_positions_lacks_is_refused(roberta: str, tokens: int) -> None:
    with pytest.raises(ModelError, match=rf"between 3 and 512 tokens, got {tokens} .*`max_length`"):
        opened(roberta, max_length=tokens)
    assert opened(roberta, max_length=512).max_seq_length == 512


def test_a_model_without_absolute_positions_takes_any_length(t5: str) -> None:
    assert opened(t5, max_length=900).max_seq_length == 900


def test_the_end_token_of_an_encoder_fills_up_without_changing_a_vector(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO, "polymine.models"):
        encoder = opened(llama(tmp_path, bos_token="<s>", eos_token="</s>"))

    assert encoder.tokenizer.pad_token == "</s>"
    assert encoder.max_seq_length == 600  # declared: rotary positions have no table
    assert "its end token '</s>' fills short texts up" in caplog.text
    alone = encoder.encode(["w1 w2"])[0]
    beside = encoder.encode(["w1 w2", "w3 w4 w5 w6 w7"])[0]
    np.testing.assert_allclose(alone, beside, atol=1e-5)


def test_without_an_end_token_the_folder_must_name_what_fills_up(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"`pad_token` in its tokenizer_config\.json"):
        opened(llama(tmp_path))


def test_a_cross_encoder_is_never_filled_up_with_its_end_token(tmp_path: Path) -> None:
    from transformers import LlamaConfig, LlamaForSequenceClassification

    config = LlamaConfig(**SIZES, num_labels=1, pad_token_id=None)
    name = saved(tmp_path, LlamaForSequenceClassification(config), eos_token="</s>")
    with pytest.raises(ModelError, match=r"no padding token.*`pad_token`"):
        models.load_cross_encoder(name, device="cpu", dtype="float32")


def test_a_cross_encoder_reads_a_pair_up_to_its_positions(tmp_path: Path) -> None:
    from transformers import RobertaConfig, RobertaForSequenceClassification

    config = RobertaConfig(**SIZES, max_position_embeddings=514, pad_token_id=1, num_labels=1)
    name = saved(tmp_path, RobertaForSequenceClassification(config), pad_token="<pad>")
    scorer = PairScorer([models.load_cross_encoder(name, device="cpu", dtype="float32")], 1, 2048)
    assert np.isfinite(scorer.score([(LONG, LONG), ("w1", "w2")])).all()


def test_static_embeddings_have_no_limit() -> None:
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.sentence_transformer.modules import StaticEmbedding

    words = tokenizer().backend_tokenizer
    encoder = SentenceTransformer(modules=[StaticEmbedding(words, embedding_dim=4)], device="cpu")
    models.limits.settle_length(encoder, None, "static")
    assert models.length_limit(encoder) > 10**6


def test_what_a_library_raises_at_use_names_the_model_and_the_setting(t5: str) -> None:
    encoder = opened(t5)
    tokens = encoder.tokenizer
    tokens.add_tokens(["foreign"])  # a piece beyond the model's vectors
    for number in range(10):
        tokens.add_tokens([f"foreign{number}"])
    with pytest.raises(ModelError, match=r"'five' failed on 'foreign9'.*IndexError.*tokenizer bel"):
        encode_all(TextEncoder([encoder], 1, 2048, "five"), ["w1", "foreign9"])
