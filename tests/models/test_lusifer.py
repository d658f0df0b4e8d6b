"""The chain of encoder, connector and target: what it reads, and what it refuses."""

from string import printable

import numpy as np
import pytest
import torch
from sentence_transformers import SentenceTransformer
from sentence_transformers.base.modules import Transformer
from sentence_transformers.sentence_transformer.modules import Pooling
from transformers import (
    AutoModel,
    BertGenerationConfig,
    Gemma3TextConfig,
    Lfm2Config,
    Lfm2ForCausalLM,
    MistralConfig,
    Qwen3Config,
)

from polymine import models
from polymine.data_contracts.errors import ModelError
from polymine.data_contracts.settings import TeacherSettings
from polymine.mining.embedding import TextEncoder, encode_all
from polymine.models import lusifer
from tests.small import list_tokenizer, save_small_decoder, save_small_encoder

SHAPE = {
    "vocab_size": 100, "hidden_size": 24, "num_hidden_layers": 2, "num_attention_heads": 4,
    "num_key_value_heads": 2, "intermediate_size": 48, "max_position_embeddings": 64, "head_dim": 8,
}  # fmt: skip
TEXTS = ["a red fox", "the ocean is made of milk and honey", "two plus two", "fox"]


@pytest.fixture(scope="module")
def folders(tmp_path_factory) -> dict[str, str]:
    folder = tmp_path_factory.mktemp("parts")
    return {
        "encoder": save_small_encoder(folder / "encoder"),
        "decoder": save_small_decoder(folder / "decoder"),
        "target": save_small_encoder(
            folder / "target", seed=1, width=48, tokenizer=list_tokenizer(printable, ".")
        ),
    }


class Bare:
    """What the switch needs of a transformer: the model, with random weights, and its config."""

    def __init__(self, config, implementation="sdpa"):
        torch.manual_seed(0)
        self.model = AutoModel.from_config(config, attn_implementation=implementation).eval()
        self.config = self.model.config


def load(name: str) -> SentenceTransformer:
    return models.load_encoder(name, device="cpu", dtype="float32")


def chain(folders, target="decoder", **options) -> SentenceTransformer:
    return lusifer.build(load(folders["encoder"]), load(folders[target]), **options)


def states(connector, lengths, left=False, seed=0):
    """Features of texts of these lengths, with noise for padding, which nobody may see."""
    torch.manual_seed(seed)
    longest = max(lengths)
    rows = [torch.randn(n, connector.in_features) for n in lengths]
    embeddings = torch.randn(len(lengths), longest, connector.in_features) * 100
    mask = torch.zeros(len(lengths), longest, dtype=torch.long)
    for row, (n, text) in enumerate(zip(lengths, rows, strict=True)):
        place = slice(longest - n, longest) if left else slice(0, n)
        embeddings[row, place], mask[row, place] = text, 1
    return {"token_embeddings": embeddings, "attention_mask": mask}


def rest_of(model, features) -> torch.Tensor:
    for module in list(model.children())[1:]:
        features = module(features)
    return features["sentence_embedding"]


class TestConnector:
    def test_added_tokens_follow_the_text_and_not_the_padding(self):
        connector = lusifer.Connector(4, 6, tokens=2)
        made = connector(states(connector, [1, 3]))
        assert made["attention_mask"].tolist() == [[1, 1, 1, 0, 0], [1, 1, 1, 1, 1]]
        embeds = made["inputs_embeds"]
        assert torch.equal(embeds[0, 1:3], connector.added)
        assert torch.equal(embeds[1, 3:5], connector.added)
        alone = connector(states(connector, [1, 3]))["inputs_embeds"]
        assert torch.equal(alone, embeds)

    def test_it_is_two_layers_of_torch(self):
        connector = lusifer.Connector(4, 6, tokens=0)
        features = states(connector, [3, 3])
        by_hand = torch.nn.functional.linear(
            features["token_embeddings"], connector.inner.weight, connector.inner.bias
        ).clamp(min=0)
        by_hand = by_hand @ connector.outer.weight.T + connector.outer.bias
        torch.testing.assert_close(connector(features)["inputs_embeds"], by_hand)

    @pytest.mark.parametrize("target", ["decoder", "target"])
    def test_left_and_right_padding_and_none_agree(self, folders, target):
        model = chain(folders, target)
        connector, lengths = model[1], [2, 5, 3]
        right, left = (states(connector, lengths, left=side) for side in (False, True))
        with torch.no_grad():
            expected = rest_of(model, dict(right))
            torch.testing.assert_close(rest_of(model, left), expected, rtol=1e-5, atol=1e-6)
            for row, length in enumerate(lengths):
                mask = right["attention_mask"][row].bool()
                alone = {
                    "token_embeddings": right["token_embeddings"][row, mask][None],
                    "attention_mask": torch.ones(1, length, dtype=torch.long),
                }
                torch.testing.assert_close(
                    rest_of(model, alone)[0], expected[row], rtol=1e-5, atol=1e-6
                )

    def test_the_callers_features_stay_as_they_were(self, folders):
        connector = lusifer.Connector(4, 6)
        features = states(connector, [2, 3])
        before = {name: value.clone() for name, value in features.items()}
        connector(features)
        assert all(torch.equal(features[name], value) for name, value in before.items())


class TestChain:
    @pytest.mark.parametrize("target", ["decoder", "target"])
    @pytest.mark.parametrize("projection", [False, True])
    def test_saved_and_loaded_equals_in_memory(self, folders, tmp_path, target, projection):
        model = chain(folders, target, tokens=2, projection=projection)
        model.save_pretrained(str(tmp_path))
        vectors = model.encode(TEXTS)
        assert vectors.shape == (4, {"decoder": 24, "target": 48}[target])
        plain = SentenceTransformer(str(tmp_path), device="cpu", trust_remote_code=True)
        assert (plain.encode(TEXTS) == vectors).all()
        assert (load(str(tmp_path)).encode(TEXTS) == vectors).all()
        assert (tmp_path / "README.md").read_text().count("sentence-transformers")

    def test_a_text_has_one_vector_whatever_its_company(self, folders):
        model = chain(folders)
        together = model.encode(TEXTS)
        alone = np.stack([model.encode(text) for text in TEXTS])
        np.testing.assert_allclose(together, alone, atol=1e-6)

    @pytest.mark.parametrize("bidirectional", [True, False])
    def test_attention_is_switched_with_and_without_padding(self, folders, tmp_path, bidirectional):
        chain(folders, bidirectional=bidirectional).save_pretrained(str(tmp_path))
        target = load(str(tmp_path))[2]
        assert set(lusifer.sees_ahead(target)) == {bidirectional}
        rows = torch.randn(2, 4, 24)
        rows[1] = rows[0]
        rows[1, 2] += 1  # the third of four
        mask = torch.tensor([[1, 1, 1, 0]] * 2)
        with torch.no_grad():
            first = target.model(inputs_embeds=rows, attention_mask=mask).last_hidden_state[:, 0]
        assert torch.allclose(first[0], first[1]) != bidirectional
        with lusifer.attention(target, causal=True):
            assert not any(lusifer.sees_ahead(target))
        assert set(lusifer.sees_ahead(target)) == {bidirectional}

    @pytest.mark.parametrize("implementation", ["sdpa", "eager"])
    @pytest.mark.parametrize(
        ("kind", "shape"),
        [
            (Qwen3Config, {}),
            (
                Qwen3Config,
                {"use_sliding_window": True, "sliding_window": 4, "max_window_layers": 1},
            ),
            (MistralConfig, {"sliding_window": 4}),
            (Gemma3TextConfig, {"sliding_window": 4, "sliding_window_pattern": 2}),
        ],
    )
    def test_decoders_that_people_name_obey_in_every_layer(self, kind, shape, implementation):
        target = Bare(kind(**SHAPE, **shape), implementation)
        for causal in (False, True, False):
            lusifer.set_attention(target, causal)
            assert lusifer.sees_ahead(target) == [not causal] * 4

    def test_a_layer_that_does_not_obey_is_found(self):
        hybrid = Bare(Lfm2Config(**SHAPE, layer_types=["conv", "full_attention"]))
        lusifer.set_attention(hybrid, causal=False)
        assert lusifer.sees_ahead(hybrid) == [False, True] * 2
        with pytest.raises(ModelError, match=r"a lfm2 cannot .* bidirectional .*\(2 of 4 trials"):
            lusifer.check_attention(hybrid, True, "`bidirectional = false`")
        lusifer.set_attention(hybrid, causal=True)
        lusifer.check_attention(hybrid, False, "`bidirectional = true`")

    def test_attention_that_obeys_only_without_padding_is_found(self):
        target = Bare(BertGenerationConfig(**SHAPE))
        lusifer.set_attention(target, causal=True)
        assert lusifer.sees_ahead(target) == [False, False, True, True]

    def test_the_connector_depends_on_the_seed_alone(self, folders):
        drawn = []
        for seed in (0, 0, 1):
            torch.manual_seed(len(drawn))
            drawn.append(chain(folders, seed=seed)[1].state_dict())
        assert all(torch.equal(drawn[0][key], drawn[1][key]) for key in drawn[0])
        assert not torch.equal(drawn[0]["added"], drawn[2]["added"])

    def test_it_is_a_teacher_as_any_other(self, folders, tmp_path):
        model = chain(folders)
        model.save_pretrained(str(tmp_path))
        teacher = TeacherSettings(name="chain", model=str(tmp_path), dtype="float32")
        vectors = encode_all(TextEncoder.load(teacher, threads=1, batch_tokens=64), TEXTS)
        expected = model.encode(TEXTS, normalize_embeddings=True)
        np.testing.assert_allclose(vectors, expected, atol=1e-5)

    def test_half_precision_reaches_every_part(self, folders, tmp_path):
        chain(folders, projection=True).save_pretrained(str(tmp_path))
        half = models.load_encoder(str(tmp_path), device="cpu", dtype="bfloat16")
        assert {parameter.dtype for parameter in half.parameters()} == {torch.bfloat16}
        assert np.isfinite(half.encode(TEXTS)).all()


class TestRefused:
    def test_texts_longer_than_the_targets_positions(self, folders):
        model = chain(folders, "target")  # both have 64 positions, and one is the added token's
        assert model.max_seq_length == 63
        long = "fox " * 100
        model.encode(long)
        model.max_seq_length = 64
        with pytest.raises(ModelError, match=r"texts of 64 tokens and 1 added .* to 63 at most"):
            model.encode(long)

    def test_sizes_that_do_not_fit(self, folders):
        reader, writer = load(folders["encoder"])[0], load(folders["decoder"])[0]
        with pytest.raises(ModelError, match=r"maps 32 components to 48.*of 32 and a target of 24"):
            SentenceTransformer(modules=[reader, lusifer.Connector(32, 48), writer, Pooling(24)])
        with pytest.raises(ModelError, match="not at an end"):
            SentenceTransformer(modules=[reader, lusifer.Connector(32, 24)])

    def test_a_target_without_input_embeddings(self, folders):
        class Deaf(torch.nn.Module):
            def forward(self, input_ids):
                return input_ids

        target = load(folders["decoder"])
        target[0].model = Deaf()
        with pytest.raises(ModelError, match="a Deaf takes no `inputs_embeds`"):
            lusifer.build(load(folders["encoder"]), target)

    def test_encoder_and_target_of_one_family(self, folders):
        with pytest.raises(ModelError, match=r"of one family: 30,522 pieces"):
            lusifer.build(load(folders["encoder"]), load(folders["encoder"]))

    def test_an_encoder_as_causal_target(self, folders):
        with pytest.raises(ModelError, match="a bert reads both ways"):
            chain(folders, "target", bidirectional=False)

    def test_a_target_whose_attention_does_not_obey(self, folders, tmp_path):
        letters = list_tokenizer(printable, ".")
        config = Lfm2Config(**SHAPE | {"vocab_size": len(letters)}, layer_types=["conv"] * 2)
        Lfm2ForCausalLM(config).save_pretrained(tmp_path)
        letters.save_pretrained(tmp_path)
        with pytest.raises(ModelError, match=r"a lfm2 cannot .* set `bidirectional = false`"):
            lusifer.build(load(folders["encoder"]), load(str(tmp_path)))
        made = lusifer.build(load(folders["encoder"]), load(str(tmp_path)), bidirectional=False)
        assert np.isfinite(made.encode(TEXTS)).all()

    def test_a_chain_within_a_chain(self, folders):
        with pytest.raises(ModelError, match="one of these is such a chain already"):
            lusifer.build(load(folders["target"]), chain(folders))

    def test_a_few_pieces_more_make_no_other_family(self, folders):
        target = load(folders["encoder"])
        target[0].tokenizer.add_tokens(["[A]", "[B]"])
        with pytest.raises(ModelError, match=r"30,522 pieces .* same \(30,522 and 30,524\)"):
            lusifer.build(load(folders["encoder"]), target)

    def test_no_transformer(self, folders):
        from sentence_transformers.sentence_transformer.modules import StaticEmbedding

        static = SentenceTransformer(
            modules=[StaticEmbedding(load(folders["encoder"]).tokenizer, embedding_dim=8)]
        )
        with pytest.raises(ModelError, match="one of these is a StaticEmbedding"):
            lusifer.build(static, load(folders["decoder"]))


def test_the_target_is_a_transformer_of_the_library(folders):
    assert isinstance(chain(folders)[2], Transformer)
