"""What a machine lets runs name: within its roots, whatever way a path takes."""

import os
from pathlib import Path

import pytest

from polymine.data_contracts.errors import SettingsError
from polymine.data_contracts.settings import (
    ArmSettings,
    ComparisonSettings,
    DatasetSettings,
    EngineSettings,
    EvaluatedModel,
    EvaluationSet,
    EvaluationSettings,
    GapSettings,
    MiningSettings,
    OutputSettings,
    TeacherSettings,
    TrainingSettings,
    ValidationSettings,
)
from polymine.flows import MODULES, find_flow
from polymine.tasks.sources.allowed_roots import Roots, check_roots


@pytest.fixture
def inside(tmp_path, monkeypatch) -> Path:
    folder = tmp_path / "allowed"
    (folder / "data").mkdir(parents=True)
    (tmp_path / "secret.csv").write_text("doc_id,text\n")
    roots = [str(folder), "s3://bucket/team/", "hf://datasets/org/", "http://host:9000/sets"]
    monkeypatch.setenv("POLYMINE_ROOTS", os.pathsep.join(roots))
    monkeypatch.setenv("POLYMINE_HOME", str(tmp_path / "home"))
    monkeypatch.chdir(folder)
    return folder


def refused(**parts: object) -> str:
    with pytest.raises(SettingsError, match=r"lies outside|link to a place outside") as caught:
        check_roots(**parts)  # type: ignore[arg-type]
    return str(caught.value)


def corpus(value: str) -> DatasetSettings:
    return DatasetSettings(corpus=value)


@pytest.mark.parametrize("value", [
    "/etc/passwd", "../secret.csv", "data/../../secret.csv", "~/x.csv", "/", "..",
    "s3://bucket/other/x", "s3://bucket/team/../other/x", "s3://bucket/team/%2e%2e/x",
    "s3://bucket/team/%252e%252e/x", "s3://bucket/teams/x", "s3://buckets/team/x", "s3://bucket",
    "file:///etc/passwd", "local:///etc/passwd", "simplecache::file:///etc/passwd",
    "hf://datasets/other/x", "hf://datasets/organisation/x", "hf://datasets/org/../x",
    "https://host:9000/sets/x", "http://host:9000/sets/..\\x", "memory://x", "zip://x::/etc/a.zip",
])  # fmt: skip
def test_what_lies_outside_is_refused(inside, value):
    assert "dataset.corpus" in refused(dataset=corpus(value))


@pytest.mark.parametrize("value", [
    "data/x.csv", "./data/../x.csv", "S3://bucket/team/x.parquet", "s3://bucket/team",
    "hf://datasets/org/name@main/part", "http://host:9000/sets/x", "demo:docstrings",
])  # fmt: skip
def test_what_lies_inside_may_be_named(inside, value):
    check_roots(dataset=corpus(value))


def test_links_are_followed(inside, tmp_path):
    (inside / "away").symlink_to(tmp_path)
    assert "dataset.corpus" in refused(dataset=corpus("away/secret.csv"))
    (inside / "data" / "corpus.csv").symlink_to(tmp_path / "secret.csv")
    assert "corpus.csv" in refused(dataset=corpus("data"))
    (inside / "round").symlink_to("round")
    refused(dataset=corpus("round/x"))


@pytest.mark.parametrize("role", ["translations", "query_translations", "splits"])
def test_a_side_table_beside_a_file_leads_nowhere_else(inside, tmp_path, role):
    (inside / "data" / "corpus.csv").write_text("doc_id,text\n")
    (inside / "data" / "unread.csv").symlink_to(tmp_path / "secret.csv")
    (inside / "own.csv").write_text("id,split\n")
    side = inside / "data" / f"{role}.csv"
    side.symlink_to(inside / "own.csv")
    check_roots(dataset=corpus("data/corpus.csv"))
    side.unlink()
    side.symlink_to(tmp_path / "secret.csv")
    assert f"{role}.csv" in refused(dataset=corpus("data/corpus.csv"))


def test_every_kind_of_setting_is_looked_at(inside):
    out = "/outside"
    sets = (EvaluationSet(name="a", corpus="x", queries=["y", out], judgments="z"),)
    teacher = TeacherSettings(name="a", model=out)
    for part in (
        {"dataset": DatasetSettings(pairs=out)},
        {"dataset": DatasetSettings(corpus="x", queries="y", judgments="z", labels=out)},
        {"output": OutputSettings(path=out), "engine": EngineSettings()},
        {"engine": EngineSettings(store=out)},
        {"mining": MiningSettings(teachers=(teacher,))},
        {"mining": MiningSettings(validation=ValidationSettings(model="../x"))},
        {"training": TrainingSettings(base=out)},
        {"training": TrainingSettings.model_validate(
            {"steps": [{"name": "a", "adapter": "stack", "on": out}]})},
        {"training": TrainingSettings.model_validate(
            {"recipe": {"mono": {"parallel": [out]}}})},
        {"evaluation": EvaluationSettings(sets=sets)},
        {"evaluation": EvaluationSettings(base=out)},
    ):  # fmt: skip
        refused(**part)


@pytest.mark.parametrize("address", [
    "auto", "head:6379", "localhost:10001", "demo:6379", "ray://head:10002", "ray://head:10001/x",
    "ray://head:100011", "ray://head:10001?x=/..", "http://host:9000/sets/x",
])  # fmt: skip
def test_a_cluster_is_used_only_where_the_machine_names_it(inside, monkeypatch, address):
    roots = [str(inside), "ray://head:10001", "ray://192.168.0.7:6379"]
    monkeypatch.setenv("POLYMINE_ROOTS", os.pathsep.join(roots))
    for listed in ("ray://head:10001", "head:10001", "192.168.0.7:6379", None):
        check_roots(engine=EngineSettings(kind="ray", address=listed))
    assert "engine.address" in refused(engine=EngineSettings(kind="ray", address=address))


def test_a_name_that_begins_like_a_demo_or_a_model_is_looked_at_all_the_same(inside):
    for sly in ("demo:/../../x", "package:/../../x"):
        refused(output=OutputSettings(path=sly), engine=EngineSettings())
        refused(engine=EngineSettings(store=sly))
        refused(dataset=corpus(sly))


def test_names_of_models_and_steps_are_no_places(inside):
    check_roots(
        mining=MiningSettings(teachers=(TeacherSettings(name="a", model="org/name@main"),)),
        training=TrainingSettings.model_validate(
            {"steps": [{"name": "a"}, {"name": "b", "adapter": "stack", "on": "a"}]}
        ),
        engine=EngineSettings(),
        output=OutputSettings(path=str(inside / "out")),
    )


def test_code_of_models_runs_only_where_the_machine_names_them(inside, monkeypatch):
    teacher = TeacherSettings(name="a", model="org/name", trust_remote_code=True)
    mining = MiningSettings(teachers=(teacher,))
    with pytest.raises(SettingsError, match="runs the code that comes with `org/name`"):
        check_roots(mining=mining)
    monkeypatch.setenv("POLYMINE_TRUSTED_CODE", "other/one, org/name")
    check_roots(mining=mining)


def test_a_folder_is_trusted_however_it_is_written(inside, monkeypatch):
    (inside / "models").mkdir()
    base = TrainingSettings(base={"model": str(inside / "models"), "trust_remote_code": True})
    for listed, trusted in (("models", True), ("./data/../models", True), ("data", False)):
        monkeypatch.setenv("POLYMINE_TRUSTED_CODE", listed)
        if trusted:
            check_roots(training=base)
        else:
            with pytest.raises(SettingsError, match="runs the code"):
                check_roots(training=base)
    monkeypatch.delenv("POLYMINE_TRUSTED_CODE")
    with pytest.raises(SettingsError, match="runs the code"):  # nothing listed is not `here`
        check_roots(
            training=TrainingSettings(base={"model": str(inside), "trust_remote_code": True})
        )


def test_without_roots_everything_may_be_named_but_passwords(monkeypatch):
    monkeypatch.delenv("POLYMINE_ROOTS", raising=False)
    check_roots(dataset=corpus("/etc"), mining=MiningSettings())
    with pytest.raises(SettingsError, match="holds a user"):
        check_roots(dataset=corpus("s3://a:b@c/d"))


def test_an_output_and_the_store_stay_apart(monkeypatch, tmp_path):
    monkeypatch.delenv("POLYMINE_ROOTS", raising=False)
    for output, store in (("s/run", "s"), ("s", "s"), ("s", "s/in"), ("a/../s/x", "s")):
        with pytest.raises(SettingsError, match=r"output\.path: .* lie in one another"):
            check_roots(
                output=OutputSettings(path=str(tmp_path / output)),
                engine=EngineSettings(store=str(tmp_path / store)),
            )


def test_a_root_has_to_be_whole(monkeypatch):
    with pytest.raises(SettingsError, match="`data` is neither a whole path"):
        Roots.read("data")
    roots = Roots.read("/a:s3://b:9000/c:hf://datasets/d:~")
    assert (len(roots.folders), len(roots.addresses)) == (2, 2)


@pytest.mark.parametrize("name", list(MODULES))
def test_every_flow_looks_before_it_opens_anything(inside, name):
    flow = find_flow(name)
    outside = {
        "dataset": corpus("/outside/in"), "training": TrainingSettings(base="/outside/base"),
        "evaluation": EvaluationSettings(base="/outside/base"),
        "gap": GapSettings(
            models=(EvaluatedModel(name="m", model="/outside/m"),),
            sets=(EvaluationSet(name="s", path="/outside/s"),),
        ),
    }  # fmt: skip
    taken = {part: value for part, value in outside.items() if part in flow.parameters.properties}
    with pytest.raises(SettingsError, match="lies outside of what this machine lets runs use"):
        flow.fn(**taken, output=OutputSettings(path="/outside/out"))


def test_an_arm_of_a_comparison_cannot_slip_a_place_in(inside):
    from polymine.flows.comparison import compare

    arm = ArmSettings(name="sly", set=("teachers.0.model=/outside/model",))
    mining = MiningSettings(teachers=(TeacherSettings(name="a", model="org/name"),))
    with pytest.raises(SettingsError, match=r"comparison\.arms\.sly\.teachers\.0\.model"):
        compare.fn(
            corpus("data"), OutputSettings(path=str(inside / "o")), mining=mining,
            comparison=ComparisonSettings(arms=(arm,)),
        )  # fmt: skip
