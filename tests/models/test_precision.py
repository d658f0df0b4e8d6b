"""`auto` measures both precisions once for a machine and a model, and keeps the answer."""

import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch

from polymine import models
from polymine.data_contracts.errors import ModelError
from polymine.data_contracts.settings import (
    AdaptedModel,
    EncoderSettings,
    LoraSettings,
    ValidationSettings,
)
from polymine.models import precision
from polymine.training import adapters
from polymine.training.precision import learning_dtype
from tests.small import MINILM, small_teacher, small_validator

AUTO = EncoderSettings(model=small_teacher().model)  # a wait is long beside what it computes


@pytest.fixture(autouse=True)
def shelf(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Keep answers here, on a processor that multiplies bfloat16."""
    monkeypatch.setattr(precision, "_shelf", lambda: tmp_path / "kept")
    monkeypatch.setattr(precision, "has_bfloat16", lambda _: True)
    monkeypatch.setattr(precision, "LONGEST", 0.0)  # two turns
    return tmp_path / "kept"


@pytest.fixture
def slow(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[torch.dtype], None]]:
    """Make every model wait where it computes in one precision."""
    hooks = []

    def wait_in(dtype: torch.dtype) -> None:
        def wait(module: torch.nn.Module, inputs: tuple[torch.Tensor, ...]) -> None:
            if isinstance(module, torch.nn.Embedding) and module.weight.dtype == dtype:
                time.sleep(0.3)

        hooks.append(torch.nn.modules.module.register_module_forward_pre_hook(wait))

    yield wait_in
    for hook in hooks:
        hook.remove()


@pytest.mark.parametrize(
    ("held_up", "expected"), [(torch.bfloat16, "float32"), (torch.float32, "bfloat16")]
)
def test_the_faster_one_is_taken_whatever_the_processor_can_do(slow, shelf, held_up, expected):
    slow(held_up)
    assert models.dtype_of(AUTO, "cpu") == expected
    (kept,) = shelf.iterdir()
    said = json.loads(kept.read_text())
    assert said["dtype"] == expected == min(said["seconds"], key=said["seconds"].get)


def test_a_real_model_answers_as_its_batches_did(shelf, caplog):
    call = EncoderSettings(model=MINILM.model)
    with caplog.at_level("INFO"):
        dtype = models.dtype_of(call, "cpu")
    (kept,) = shelf.iterdir()
    seconds = json.loads(kept.read_text())["seconds"]
    assert dtype == precision.choose(seconds)
    assert f"to encode, `auto` takes {dtype} on this machine" in caplog.text


def test_a_tie_is_float32s():
    assert precision.choose({"float32": 1.0, "bfloat16": 0.95}) == "float32"
    assert precision.choose({"float32": 1.0, "bfloat16": 0.89}) == "bfloat16"


def test_what_was_answered_once_stays_however_the_machine_feels(slow, shelf, monkeypatch):
    slow(torch.bfloat16)
    assert models.dtype_of(AUTO, "cpu") == "float32"
    monkeypatch.setattr(precision, "_known", {})  # another process
    monkeypatch.setattr(precision, "_measure", lambda *_: pytest.fail("measured twice"))
    assert models.dtype_of(AUTO, "cpu") == "float32"


def test_the_first_of_two_processes_decides_for_both(shelf, monkeypatch):
    def measured(*_: object) -> dict[str, float]:
        (other,) = [precision._keep(file, {**about, "dtype": "bfloat16"})]
        assert other == "bfloat16"
        return {"float32": 1.0, "bfloat16": 2.0}

    about = {"name": "m", "work": "encode", "seconds": {"float32": 2.0, "bfloat16": 1.0}}
    file = shelf / f"encode-{precision.hash_of(**_about())}.json"
    monkeypatch.setattr(precision, "_measure", measured)
    assert models.dtype_of(AUTO, "cpu") == "bfloat16"


def _about() -> dict[str, object]:
    return {
        "cpu": precision._processor(),
        "work": "encode",
        "model": models.fingerprint(str(AUTO.model)),
        "edition": precision.EDITION,
    }


def test_encoding_scoring_and_training_have_answers_of_their_own(slow, shelf):
    slow(torch.bfloat16)
    assert models.dtype_of(AUTO, "cpu") == "float32"
    assert models.dtype_of(ValidationSettings(model=small_validator().model), "cpu") == "float32"
    state = torch.get_rng_state()
    assert learning_dtype(AdaptedModel(model=AUTO.model), "cpu") in ("float32", "bfloat16")
    assert torch.equal(state, torch.get_rng_state())  # training draws as if nothing had been
    works = sorted(file.name.partition("-")[0] for file in shelf.iterdir())
    assert works == ["encode", "score", "train"]


def test_what_does_not_compute_in_bfloat16_computes_in_float32(monkeypatch, slow):
    def refuse(module: torch.nn.Module, inputs: tuple[torch.Tensor, ...]) -> None:
        if isinstance(module, torch.nn.Embedding) and module.weight.dtype == torch.bfloat16:
            raise RuntimeError('"some_kernel" not implemented for BFloat16')

    hook = torch.nn.modules.module.register_module_forward_pre_hook(refuse)
    slow(torch.float32)
    try:
        assert models.dtype_of(AUTO, "cpu") == "float32"
    finally:
        hook.remove()


def test_only_auto_on_a_processor_with_bfloat16_is_measured(monkeypatch):
    monkeypatch.setattr(precision, "_measure", lambda *_: pytest.fail("measured"))
    named = EncoderSettings(model=AUTO.model, dtype="bfloat16")
    assert models.dtype_of(named, "cpu") == "bfloat16"
    assert models.dtype_of(AUTO, "cuda:0") == "bfloat16"
    monkeypatch.setattr(precision, "ROOM", 0.0)
    monkeypatch.setattr(precision, "has_bfloat16", lambda _: False)
    assert models.dtype_of(AUTO, "cpu") == "float32"


def test_a_model_that_memory_hardly_holds_is_not_held_twice(monkeypatch):
    monkeypatch.setattr(precision, "ROOM", 0.0)
    monkeypatch.setattr(precision, "_open", lambda *_: pytest.fail("loaded"))
    assert models.dtype_of(AUTO, "cpu") == "bfloat16"


def test_an_adapter_computes_as_its_base(slow, tmp_path):
    slow(torch.float32)
    base = adapters.load_base(str(AUTO.model), device="cpu")
    adapters.add_fresh(base, "new", LoraSettings(), seed=0)
    adapters.write_adapter(base, "new", tmp_path / "adapter", str(AUTO.model))
    assert models.dtype_of(AUTO, "cpu") == "bfloat16"
    with models.unmeasured() as unknown:
        adapter = EncoderSettings(model=str(tmp_path / "adapter"))
        assert models.dtype_of(adapter, "cpu") == "bfloat16"
    assert not unknown


def test_a_plan_measures_nothing_and_names_what_is_open(slow, shelf):
    slow(torch.float32)
    with models.unmeasured() as unknown:
        assert models.dtype_of(AUTO, "cpu") == "float32"
    assert list(unknown) == [AUTO.model]
    assert not shelf.exists()
    assert models.dtype_of(AUTO, "cpu") == "bfloat16"
    with models.unmeasured() as unknown:
        assert models.dtype_of(AUTO, "cpu") == "bfloat16"  # as it was answered
    assert not unknown


def test_an_answer_that_cannot_be_read_or_kept_is_told(shelf, slow, caplog):
    slow(torch.float32)
    shelf.write_text("a file where a folder should be")
    assert models.dtype_of(AUTO, "cpu") == "bfloat16"
    assert "could not be kept" in caplog.text
    shelf.unlink()
    precision._known.clear()
    shelf.mkdir()
    (shelf / f"encode-{precision.hash_of(**_about())}.json").write_text("{")
    with pytest.raises(ModelError, match="Delete it"):
        models.dtype_of(AUTO, "cpu")
