"""Measures of a model on a set: what is said of them beside the numbers."""

import json
import logging
from pathlib import Path

import pytest

from polymine.data_contracts.learning import SetScores
from polymine.data_contracts.settings import (
    EncoderSettings,
    EvaluationSet,
    EvaluationSettings,
)
from polymine.reporting.templates import say
from polymine.tasks.evaluation import measuring as measuring
from polymine.tasks.evaluation.encoding import Measured, open_measured
from polymine.tasks.evaluation.measuring import measure, untouched_languages
from polymine.tasks.evaluation.reading import read_set
from tests.small import save_small_encoder
from tests.tasks.evaluation.small_sets import run_in, small, write


@pytest.fixture
def trained(tmp_path) -> Measured:
    """Only German has an adapter, which no test here ever asks for."""
    folder = tmp_path / "trained"
    (folder / "adapters" / "de").mkdir(parents=True)
    base = save_small_encoder(tmp_path / "base")
    for file in Path(base).iterdir():
        if file.is_file():
            (folder / "adapters" / "de" / file.name).write_bytes(file.read_bytes())
    said = {"base": base, "routes": {"*": "base", "de": "de"}, "fingerprint": "f"}
    (folder / "polymine.json").write_text(json.dumps(said))
    return open_measured("new", EncoderSettings(model=str(folder)))


@pytest.mark.parametrize("untouched", [True, False])
def test_a_set_that_no_adapter_sees_is_warned_of(tmp_path, trained, caplog, untouched):
    chosen = EvaluationSet(name="own", path=write(tmp_path / "set", small()))
    run, settings = run_in(tmp_path), EvaluationSettings()
    tables = read_set(run, chosen, 0)
    plain = open_measured("plain", EncoderSettings(model=trained.call.model))
    measured = trained if untouched else plain
    with caplog.at_level(logging.WARNING, "polymine.evaluation"):
        found = measure(run, measured, chosen, tables, settings)
    assert untouched_languages(found) == (("en", "ru") if untouched else ())
    assert ("no text of own (en, ru) passes through an adapter" in caplog.text) == untouched


def test_an_adapters_language_is_enough(trained):
    assert trained.leaves_untouched({"en", "ru"})
    assert not trained.leaves_untouched({"en", "de"})
    assert not trained.leaves_untouched(())


def test_the_page_says_why_the_gains_are_zero():
    said = say("learning", "untouched", "new", "own", ("und",))
    assert "every gain there is exactly 0" in said


def test_another_mteb_measures_anew(tmp_path, trained, monkeypatch):
    chosen = EvaluationSet(name="own", benchmark="STS17")
    run, settings = run_in(tmp_path), EvaluationSettings()
    tables = read_set(run, chosen, 0)
    plain = open_measured("plain", EncoderSettings(model=trained.call.model))
    frame = SetScores.create_empty()
    monkeypatch.setattr(measuring, "mteb_scores", lambda *_: frame)
    found = {}
    for version in ("2.0", "2.1"):
        monkeypatch.setattr(measuring, "mteb_version", lambda version=version: version)
        found[version] = measure(run, plain, chosen, tables, settings).path
    assert found["2.0"] != found["2.1"]
