"""A built language: a chain trained on English alone reads a cipher that its target never saw.

Every word of the cipher is an English word with its letters moved on and turned round, so that it
can be undone. The encoder knows both languages: a word and its cipher have nearly the same
embedding. The target's tokenizer knows English words only.
"""

from pathlib import Path

import numpy as np
import polars as pl
import pytest
import torch
from sentence_transformers import SentenceTransformer
from sentence_transformers.base.modules import Transformer
from sentence_transformers.sentence_transformer.modules import Pooling
from transformers import AutoModelForCausalLM, AutoTokenizer

from polymine import models
from polymine.data_contracts.settings import AdaptedModel, ScheduleSettings, TrainingSettings
from polymine.training.adapters import AdapterStack
from polymine.training.recipes import expand
from polymine.training.relations import own_relations, relate
from polymine.training.trainer import train_step
from tests.small import list_tokenizer, save_small_decoder, save_small_encoder

BEASTS = (
    "otter", "camel", "owl", "penguin", "beaver", "giraffe", "hedgehog", "dolphin", "yak", "gecko",
    "badger", "stork",
)  # fmt: skip
PLACES = (
    "river", "desert", "barn", "coast", "stream", "savanna", "garden", "sea", "plateau", "forest",
)  # fmt: skip
FOODS = ("trout", "thorns", "mice", "krill", "bark", "leaves", "slugs", "squid", "grass", "moths")
GLUE = ("what", "does", "the", "of", "find", "in", "a", "eats", "beside")
ENGLISH = (*BEASTS, *PLACES, *FOODS, *GLUE)
LETTERS = "abcdefghijklmnopqrstuvwxyz"
FACTS = [
    (beast, place, FOODS[(i + j) % 10], (i + 2 * j) % 4 > 0)  # the last: seen in training
    for i, beast in enumerate(BEASTS)
    for j, place in enumerate(PLACES)
]


def cipher(text: str) -> str:
    moved = str.maketrans(LETTERS, LETTERS[13:] + LETTERS[:13])
    return " ".join(word.translate(moved)[::-1] for word in text.split())


def pairs(seen: bool) -> tuple[list[str], list[str]]:
    facts = [(beast, place, food) for beast, place, food, known in FACTS if known == seen]
    queries = [f"what does the {beast} of the {place} find" for beast, place, _ in facts]
    return queries, [f"in the {b} a {a} eats {c} beside the {b}" for a, b, c in facts]


def rows() -> pl.DataFrame:
    queries, documents = pairs(seen=True)
    count = len(queries)
    numbers = pl.Series([[]] * count, dtype=pl.List(pl.Float32))
    frame = pl.DataFrame(
        {
            "source": ["data-0"] * count, "row": range(count), "anchor_language": ["en"] * count,
            "positive_language": ["en"] * count, "anchor": queries, "positive": documents,
            "negatives": pl.Series([[]] * count, dtype=pl.List(pl.String)),
            "weights": numbers, "scores": numbers, "positive_weight": [1.0] * count,
        },
        schema_overrides={"row": pl.UInt32, "positive_weight": pl.Float32},
    )  # fmt: skip
    return relate(frame, own_relations(frame))


@pytest.fixture(scope="module")
def folders(tmp_path_factory) -> tuple[str, str]:
    folder = tmp_path_factory.mktemp("built")
    both = list_tokenizer([*ENGLISH, *map(cipher, ENGLISH)], r"\w+")
    base = save_small_encoder(folder / "base", tokenizer=both)
    encoder = models.load_encoder(base, device="cpu", dtype="float32")
    table = encoder[0].model.embeddings.word_embeddings.weight
    torch.manual_seed(0)
    with torch.no_grad():
        for word in ENGLISH:
            one, other = both.convert_tokens_to_ids([word, cipher(word)])
            table[one].normal_(std=0.5)
            table[other] = table[one] + torch.randn(table.shape[1]) * 0.1
    encoder.save_pretrained(base)
    target = save_small_decoder(folder / "target", tokenizer=list_tokenizer(ENGLISH, r"\w+"))
    teach_english(target, [text for side in pairs(seen=True) for text in side])
    return base, target


def teach_english(folder: str, texts: list[str]) -> None:
    """Let the small decoder learn to say what comes next in these sentences."""
    model, tokenizer = (
        kind.from_pretrained(folder) for kind in (AutoModelForCausalLM, AutoTokenizer)
    )
    ids = tokenizer([f"{text} <eos>" for text in texts], return_tensors="pt", padding=True)
    labels = ids["input_ids"].masked_fill(ids["attention_mask"] == 0, -100)
    learn = torch.optim.AdamW(model.parameters(), lr=1e-2)
    torch.manual_seed(0)
    for _ in range(60):
        some = torch.randperm(len(texts))[:64]
        loss = model(ids["input_ids"][some], ids["attention_mask"][some], labels=labels[some]).loss
        learn.zero_grad()
        loss.backward()
        learn.step()
    assert loss.item() < 1.5
    model.save_pretrained(folder)


def found(encoder, ask, answer) -> float:
    """Share of unseen questions whose own document is the nearest of all unseen ones."""
    queries, documents = (
        encoder.encode([change(text) for text in side], normalize_embeddings=True)
        for side, change in zip(pairs(seen=False), (ask, answer), strict=True)
    )
    nearest = (queries @ documents.T).argmax(axis=1)
    return float((nearest == np.arange(len(queries))).mean())


def train(folders, folder: Path, **given):
    training = TrainingSettings(
        base=AdaptedModel(model=folders[0], dtype="float32", max_length=32),
        loss={"negatives": 0}, lora={"rank": 8},
        schedule=ScheduleSettings(steps=60, batch=32, learning_rate=3e-3),
        **given,
    )  # fmt: skip
    before = AdapterStack()
    for step in expand(training):
        trained = train_step(
            step, rows(), training, stack=before, checkpoints=folder / step.name,
            fingerprint=step.name,
        )  # fmt: skip
        trained.write(folder / f"{step.name}-made", folders[0])
        before = AdapterStack(initial=folder / f"{step.name}-made")
    return trained.encoder


def averaged(target: str, folder: Path) -> str:
    """Write the target as an encoder that averages its states, as the chain does."""
    modules = [Transformer(target), Pooling(24, "mean")]
    SentenceTransformer(modules=modules, device="cpu").save_pretrained(str(folder))
    return str(folder)


def same(text: str) -> str:
    return text


def test_the_cipher_can_be_undone():
    text = " ".join(ENGLISH)
    assert cipher(cipher(text)) == text
    assert not set(cipher(text).split()) & set(ENGLISH)


def test_english_alone_teaches_a_chain_the_cipher(folders, tmp_path):
    phase = {
        "reconstruct": 0.5, "passage": 0.25, "question": 0.25,
        "schedule": {"steps": 60, "batch": 32, "learning_rate": 3e-3},
    }  # fmt: skip
    chain = train(
        folders, tmp_path / "chain", target=folders[1],
        recipe={"name": "lusifer", "phases": [phase]},
    )  # fmt: skip
    alone = train((averaged(folders[1], tmp_path / "target"), ""), tmp_path / "alone")
    english = found(chain, same, same)
    across = [found(chain, cipher, same), found(chain, same, cipher), found(chain, cipher, cipher)]
    assert english > 0.9
    assert min(across) > 0.8
    # By chance .03. The target alone learns English, worse; all words of the cipher are one to it.
    assert 0.2 < found(alone, same, same) < english
    assert found(alone, cipher, same) < 0.1
