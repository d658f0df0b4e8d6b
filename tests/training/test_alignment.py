"""LUSIFER's first stage: what is hidden, what is asked, and who learns from the answer."""

from string import printable

import polars as pl
import pytest
import torch
from transformers import (
    AutoModelForCausalLM,
    BertForMaskedLM,
    BertGenerationConfig,
    BertGenerationDecoder,
    ElectraConfig,
    ElectraModel,
    LlamaModel,
    T5Config,
    T5EncoderModel,
)

from polymine.data_contracts.errors import ModelError
from polymine.data_contracts.settings import AdaptedModel, AlignSettings, TrainingSettings
from polymine.models import lusifer
from polymine.training import alignment
from polymine.training.alignment import UNSAID, AlignmentLoss, hide_tokens
from polymine.training.chain import load_chain
from tests.small import list_tokenizer, save_small_decoder, save_small_encoder

TEXTS = ["the fox eats bread", "milk", "an old violin of copper"]


@pytest.fixture(scope="module")
def folders(tmp_path_factory) -> dict[str, str]:
    folder = tmp_path_factory.mktemp("parts")
    letters = list_tokenizer(printable, ".")
    return {
        "base": save_small_encoder(folder / "base"),
        "decoder": save_small_decoder(folder / "decoder"),
        "encoder": save_small_encoder(folder / "encoder", 1, width=48, tokenizer=letters),
    }


def chained(folders, target="decoder", max_length=31, **settings):
    base = AdaptedModel(model=folders["base"], dtype="float32", max_length=max_length)
    training = TrainingSettings(base=base, target={"model": folders[target], **settings})
    return load_chain(training, "cpu")


def read(chain, texts=TEXTS, prompt=None, task="passage"):
    return {**chain.preprocess(texts, prompt=prompt), "task": task}


def labels_of(chain, texts=TEXTS):
    return torch.tensor(alignment.tokenize(texts, chain))


class TestHiding:
    def test_nothing_is_hidden_at_0_and_all_but_what_is_special_at_1(self, folders):
        chain = chained(folders)
        features = read(chain)
        assert torch.equal(hide_tokens(features, chain[0], 0.0), features["input_ids"])
        hidden = hide_tokens(features, chain[0], 1.0)
        assert chain.tokenizer.batch_decode(hidden[:2]) == [
            "[CLS] [MASK] [MASK] [MASK] [MASK] [SEP] [PAD]",
            "[CLS] [MASK] [SEP] [PAD] [PAD] [PAD] [PAD]",
        ]

    def test_a_half_is_about_half_and_the_instruction_stays(self, folders):
        chain = chained(folders)
        features = read(chain, ["fox " * 20] * 50, prompt="please say it again: ")
        torch.manual_seed(0)
        hidden = hide_tokens(features, chain[0], 0.5) != features["input_ids"]
        assert not hidden[:, : int(features["prompt_length"])].any()
        assert 0.45 < hidden.sum().item() / (50 * 20) < 0.55


class TestLoss:
    def test_a_decoder_says_each_next_token_as_ten_lines_of_torch_have_it(self, folders):
        chain = chained(folders)
        head = alignment.load_language_model(chain, folders["decoder"])
        labels = labels_of(chain)
        loss = AlignmentLoss(chain, head, AlignSettings(), 8)([read(chain)], labels)
        whole = AutoModelForCausalLM.from_pretrained(folders["decoder"])
        total = []
        for text, row in zip(TEXTS, labels, strict=True):  # one by one: nothing is padded
            said = row[row != UNSAID]
            states = chain[0](chain.preprocess([text]))["token_embeddings"]
            mapped = chain[1].outer(torch.relu(chain[1].inner(states)))
            words = whole.model.embed_tokens(said)[None]
            embeds = torch.cat([mapped, chain[1].added[None], words], dim=1)
            logits = whole(inputs_embeds=embeds).logits[0, -len(said) - 1 : -1]
            total.append(torch.nn.functional.cross_entropy(logits, said, reduction="none"))
        assert loss.item() == pytest.approx(torch.cat(total).mean().item(), rel=1e-5)

    @pytest.mark.parametrize("target", ["decoder", "encoder"])
    def test_a_mini_batch_changes_neither_loss_nor_gradient(self, folders, target):
        found = []
        for size in (8, 2):
            chain = chained(folders, target)
            chain[1].requires_grad_(True)
            head = alignment.load_language_model(chain, folders[target])
            torch.manual_seed(0)
            loss = AlignmentLoss(chain, head, AlignSettings(), size)(
                [read(chain, task="reconstruct")], labels_of(chain)
            )
            loss.backward()
            found.append((loss.detach(), chain[1].inner.weight.grad))
        torch.testing.assert_close(found[0], found[1])

    def test_what_a_decoder_says_next_it_does_not_see_unless_it_may(self, folders):
        chain = chained(folders)
        head = alignment.load_language_model(chain, folders["decoder"])
        labels = labels_of(chain, ["milk"])
        other = labels.clone()
        other[0, 3] += 1  # the last letter
        for causal in (True, False):
            judge = AlignmentLoss(chain, head, AlignSettings(causal=causal), 8)
            first, second = (
                judge._judge(
                    {k: v for k, v in read(chain, ["milk"]).items() if torch.is_tensor(v)},
                    said, torch.where(torch.arange(5) < 3, labels, UNSAID), labels != UNSAID,
                )
                for said in (labels, other)
            )  # fmt: skip
            assert torch.equal(first, second) == causal
            assert all(lusifer.sees_ahead(chain[2]))  # as it was, afterwards

    def test_an_encoder_is_asked_for_what_it_does_not_see(self, folders):
        chain = chained(folders, "encoder")
        head = alignment.load_language_model(chain, folders["encoder"])
        assert isinstance(head, alignment._TiedHead)  # saved without one
        labels = labels_of(chain)
        settings = AlignSettings(mask=1.0)
        loss = AlignmentLoss(chain, head, settings, 8)([read(chain)], labels)
        mask = labels != UNSAID
        spoken = chain[1](chain[0](chain.preprocess(TEXTS)))
        letters = chain[2].tokenizer
        words = chain[2].model.embeddings.word_embeddings.weight
        total = []
        for row in range(3):
            text = spoken["inputs_embeds"][row, spoken["attention_mask"][row].bool()]
            said = labels[row, mask[row]]
            hidden = words[letters.mask_token_id].expand(len(said), -1)
            states = chain[2].model(inputs_embeds=torch.cat([text, hidden])[None])
            logits = states.last_hidden_state[0, len(text) :] @ words.T
            total.append(torch.nn.functional.cross_entropy(logits, said, reduction="none"))
        assert loss.item() == pytest.approx(torch.cat(total).mean().item(), rel=1e-4)

    def test_an_encoder_that_no_library_knows_a_head_of_is_compared_with_its_embeddings(
        self, folders, tmp_path
    ):
        letters = list_tokenizer(printable, ".")
        config = T5Config(
            vocab_size=len(letters), d_model=24, num_layers=1, num_heads=2, d_kv=12, d_ff=48
        )
        T5EncoderModel(config).save_pretrained(tmp_path)
        letters.save_pretrained(tmp_path)
        chain = chained({"base": folders["base"], "decoder": str(tmp_path)})
        head = alignment.load_language_model(chain, str(tmp_path))
        loss = AlignmentLoss(chain, head, AlignSettings(mask=1.0), 8)(
            [read(chain)], labels_of(chain)
        )
        assert 0 < loss.item() < 50

    def test_a_masked_token_head_of_its_own_is_used(self, folders, tmp_path):
        chain = chained(folders, "encoder")
        BertForMaskedLM(chain[2].config).save_pretrained(tmp_path)
        head = alignment.load_language_model(chain, str(tmp_path))
        assert isinstance(head, BertForMaskedLM)
        whole = BertForMaskedLM.from_pretrained(tmp_path)
        whole.bert = chain[2].model
        embeds = torch.randn(1, 5, 48)
        states = chain[2].model(inputs_embeds=embeds).last_hidden_state
        found = head(inputs_embeds=states[:, [3, 1]]).logits
        torch.testing.assert_close(found, whole(inputs_embeds=embeds).logits[:, [3, 1]])
        assert not any(parameter.requires_grad for parameter in head.parameters())


class TestData:
    def test_tasks_share_a_parts_batches(self):
        settings = AlignSettings(reconstruct=0.5, passage=0.5, question=0)
        assert alignment.share_tasks({"data-0 | en | en": 1.0}, settings) == {
            "data-0 | en | en | reconstruct": 0.5, "data-0 | en | en | passage": 0.5,
        }  # fmt: skip

    def test_who_reads_and_who_says_what(self, folders):
        chain = chained(folders)
        part = pl.DataFrame({"anchor": ["fox?", "milk?"], "positive": ["a fox", "some milk"]})
        tasks = alignment.share_tasks({"p": 1.0}, AlignSettings())
        made = alignment.build_datasets({"p": part}, tasks, chain)
        letters = chain[2].tokenizer

        def pair(task):
            row = made[f"p | {task}"][1]
            said = [token for token in row["label"] if token != UNSAID]
            assert said.pop() == letters.eos_token_id
            return row["anchor"], "".join(letters.convert_ids_to_tokens(said))

        assert pair("reconstruct") == ("some milk", "some milk")
        assert pair("passage") == ("milk?", "some milk")
        assert pair("question") == ("some milk", "milk?")


class TestRefused:
    def test_a_text_and_its_echo_beyond_the_positions(self, folders):
        with pytest.raises(ModelError, match=r"63 tokens each and 1 added.*64 positions.* 31 at"):
            alignment.check_chain(chained(folders, "encoder", 63), AlignSettings())
        alignment.check_chain(chained(folders, "encoder", 31), AlignSettings())

    def test_texts_beyond_the_targets_positions(self, folders):
        with pytest.raises(ModelError, match=r"base.max_length: .* positions for 63 tokens beside"):
            chained(folders, "encoder", 64)

    def test_a_target_that_would_see_all(self, folders):
        with pytest.raises(ModelError, match="a bert, reads both ways"):
            alignment.check_chain(chained(folders, "encoder"), AlignSettings(mask=0))

    def test_a_decoder_without_a_head(self, folders, tmp_path):
        chain = chained(folders)
        config = chain[2].config
        config.tie_word_embeddings = False
        LlamaModel(config).save_pretrained(tmp_path)
        with pytest.raises(ModelError, match=r"has no language head \(lm_head.weight is missing"):
            alignment.load_language_model(chain, str(tmp_path))

    def test_an_instruction_that_leaves_no_room_for_the_text(self, folders):
        with pytest.raises(ModelError, match=r"takes 11 of the 11 tokens .*max_length above 11"):
            alignment.check_chain(chained(folders, max_length=11), AlignSettings())
        alignment.check_chain(chained(folders, max_length=12), AlignSettings())

    def test_attention_that_cannot_be_what_the_alignment_wants(self, folders, tmp_path):
        letters = list_tokenizer(printable, ".")
        config = BertGenerationConfig(
            vocab_size=len(letters), hidden_size=24, num_hidden_layers=2, num_attention_heads=2,
            intermediate_size=48, max_position_embeddings=256,
        )  # fmt: skip
        BertGenerationDecoder(config).save_pretrained(tmp_path)
        letters.save_pretrained(tmp_path)
        chain = chained({"base": folders["base"], "decoder": str(tmp_path)})
        with pytest.raises(ModelError, match=r"be switched to causal .* `align.causal = false`"):
            alignment.check_chain(chain, AlignSettings())
        alignment.check_chain(chain, AlignSettings(causal=False))

    def test_an_encoder_whose_states_its_embeddings_do_not_fit(self, folders, tmp_path):
        letters = list_tokenizer(printable, ".")
        config = ElectraConfig(
            vocab_size=len(letters), embedding_size=16, hidden_size=24, num_hidden_layers=1,
            num_attention_heads=2, intermediate_size=48, max_position_embeddings=64,
        )  # fmt: skip
        ElectraModel(config).save_pretrained(tmp_path)
        letters.save_pretrained(tmp_path)
        chain = chained({"base": folders["base"], "decoder": str(tmp_path)})
        with pytest.raises(ModelError, match="they have 16 components and its states 24"):
            alignment.load_language_model(chain, str(tmp_path))

    def test_a_tokenizer_with_nothing_to_hide_behind(self, folders):
        chain = chained(folders)
        chain.tokenizer.mask_token = chain.tokenizer.unk_token = None
        with pytest.raises(ModelError, match="the encoder's tokenizer has neither a mask"):
            alignment.check_chain(chain, AlignSettings())
