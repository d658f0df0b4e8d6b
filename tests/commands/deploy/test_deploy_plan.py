"""`prefect.yaml` and settings files become deployments; nothing here talks to a server."""

import fcntl
import textwrap
import tomllib
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import yaml

from polymine.commands.deploy.command import copy_folder, deploy
from polymine.commands.deploy.plan import read_plan, want
from polymine.commands.server.client import ServerError
from polymine.commands.server.record import Record, write_record
from polymine.commands.starters import PLAN as OWN_PLAN
from polymine.data_contracts.errors import SettingsError
from polymine.data_contracts.settings import OutputSettings, RunSettings, check_as, load_as
from polymine.data_contracts.settings.deploying import DeploymentSettings
from polymine.data_contracts.settings.locations import locations_in
from polymine.data_contracts.settings.run import SETTINGS
from polymine.tasks.sources.allowed_roots import check_roots

ROOT = Path(__file__).parents[3]
PLAN = ROOT / "prefect.yaml"


def wanted(*files: Path, **asked: Any) -> dict[str, DeploymentSettings]:
    return {each.full_name: each for each in want(read_plan(PLAN), ROOT, files, **asked)}


def own_file(folder: Path, text: str = "") -> Path:
    file = folder / "products.toml"
    file.write_text(
        '[dataset]\npairs = "pairs.csv"\n[mining]\nnegatives = 3\n[mining.validation]\n'
        f'model = "some/validator"\n{text}\n[output]\npath = "runs/products"\n'
    )
    return file


def test_a_server_that_ends_with_its_commands_is_none_to_deploy_to(tmp_path, monkeypatch) -> None:
    monkeypatch.setenv("POLYMINE_HOME", str(tmp_path))
    monkeypatch.delenv("PREFECT_API_URL", raising=False)
    folder = tmp_path / "server"
    folder.mkdir()
    write_record(folder, Record("127.0.0.1", 1, standing=False))
    with (folder / "server.lock").open("a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # as a run in another shell
        with pytest.raises(ServerError, match="no Prefect server that stays"):
            deploy([own_file(tmp_path)])


def changed_plan(folder: Path, **schedule: object) -> Path:
    values = yaml.safe_load(PLAN.read_text())
    values["deployments"][0]["schedules"][0].update(schedule)
    file = folder / "prefect.yaml"
    file.write_text(yaml.safe_dump(values))
    return file


def test_the_plan_is_prefects_own_file_and_says_every_deployment() -> None:
    from prefect.cli.deploy._models import PrefectYamlModel

    assert OWN_PLAN.samefile(PLAN)
    assert len(PrefectYamlModel.model_validate(yaml.safe_load(PLAN.read_text())).deployments) == 8
    made = wanted()
    assert list(made) == [
        "mine/demo", "pipeline/demo", "compare/demo", "train/demo", "evaluate/demo",
        "language-gap/demo",
        "train/gpu", "evaluate/gpu",
    ]  # fmt: skip
    assert made["train/gpu"].parameters == {}
    assert {name for name, each in made.items() if each.work_pool.work_queue_name == "demo"} == {
        "mine/demo", "pipeline/demo", "compare/demo",
    }  # fmt: skip


def test_the_demos_find_their_data_where_runs_start(tmp_path: Path, monkeypatch) -> None:
    """As in a container, where the checkout lies outside of what runs may name."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("POLYMINE_HOME", str(tmp_path))
    monkeypatch.setenv("POLYMINE_ROOTS", str(tmp_path))
    files = read_plan(PLAN).polymine.files
    assert copy_folder(files[0], ROOT, tmp_path, dry=True).verb == "created"
    assert not list(tmp_path.glob("exam*"))
    for verb in ("created", "unchanged"):
        assert {copy_folder(name, ROOT, tmp_path).verb for name in files} == {verb}
    tables = []
    for each in wanted().values():
        if each.parameters:
            settings = check_as(SETTINGS[each.flow], each.parameters, each.full_name)
            check_roots(**{name: getattr(settings, name) for name in each.parameters})
            tables += [named for named in locations_in(settings) if named.kind == "table"]
    paths = {named.value for named in tables} - {"demo:docstrings", "mined"}
    assert paths == {"examples/parallel"}
    assert (tmp_path / "examples/parallel/corpus.jsonl").is_file()
    with pytest.raises(SettingsError, match=r"none: there is no such folder"):
        copy_folder("none", ROOT, tmp_path)


def test_the_demos_evaluation_names_what_its_training_writes() -> None:
    made = wanted()
    output = made["train/demo"].parameters["output"]
    assert output["overwrite"]
    models = made["evaluate/demo"].parameters["evaluation"]["models"]
    assert [model["model"] for model in models] == [output["path"]]


def test_a_schedule_changes_single_settings_of_whole_sections() -> None:
    mine = wanted()["mine/demo"]
    weekdays, sundays = mine.schedules
    assert set(weekdays.parameters) == {"mining"}  # Prefect replaces sections as a whole
    assert weekdays.parameters["mining"]["teachers"] == mine.parameters["mining"]["teachers"]
    assert weekdays.parameters["mining"]["selection"]["max_false_negative_rate"] == 0.01
    assert sundays.parameters["mining"]["selection"]["rule"] == "percent"
    assert sundays.parameters["mining"]["negatives"] == mine.parameters["mining"]["negatives"]


def test_an_own_file_is_deployed_as_it_is(tmp_path: Path) -> None:
    """For what its sections are, with nothing of the demo's: no schedule, no other deployment."""
    file = own_file(tmp_path)
    [(name, mine)] = wanted(file).items()
    assert (name, mine.work_pool.work_queue_name) == ("mine/products", "products")
    assert mine.schedules == ()
    folder = {"path": "runs/deployed/products/mine/{date}-{run}"}  # a run's own, every night
    own = tomllib.loads(file.read_text())
    assert mine.parameters == own | {"output": folder}
    file.write_text('[dataset]\npairs = "pairs.csv"')
    assert wanted(file)["mine/products"].parameters["output"] == folder  # named by the file
    trained = own_file(tmp_path, "[training.base]\nmax_length = 64\n[engine]\ngpu_pool = 'gpu'")
    assert list(wanted(trained, name="shop")) == ["pipeline/shop", "train/gpu", "evaluate/gpu"]
    assert list(wanted(trained, command="run")) == ["mine/products", "train/gpu", "evaluate/gpu"]


def test_schedules_come_from_the_file_or_the_command_line(tmp_path: Path) -> None:
    file = own_file(tmp_path)
    table = """
    [[schedules]]
    cron = "0 2 * * *"
    timezone = "Europe/Berlin"
    [[schedules]]
    slug = "strict"
    interval = 21600
    parameters = { mining = { negatives = 2 } }
    """
    file.write_text(file.read_text() + textwrap.dedent(table))
    load_as(RunSettings, file)  # `polymine run` takes the same file
    nightly, strict = wanted(file)["mine/products"].schedules
    assert (nightly.slug, nightly.when, nightly.timezone) == (
        "schedule-1", "0 2 * * *", "Europe/Berlin",
    )  # fmt: skip
    assert nightly.parameters == {}
    assert strict.interval == timedelta(hours=6)
    assert strict.parameters["mining"]["negatives"] == 2
    for key, given, told in (
        ("cron", "5 4 * * 1", "5 4 * * 1"),
        ("rrule", "FREQ=WEEKLY;BYDAY=SA", "FREQ=WEEKLY;BYDAY=SA"),
        ("interval", "3600", "every 1:00:00"),
        ("interval", "6:00:00", "every 6:00:00"),
    ):
        [asked] = wanted(file, schedule={key: given})["mine/products"].schedules
        assert asked.when == told
    for wrong, said in (
        ({"cron": "0 2 * * *", "interval": "60"}, "name one of `cron`, `rrule` and `interval`"),
        ({"timezone": "UTC"}, "name one of `cron`, `rrule` and `interval`"),
        ({"interval": "59"}, r"schedules: 1 wrong setting\n.*greater than or equal to 1 minute"),
        ({"interval": "often"}, r"interval: Input should be a valid timedelta"),
    ):
        with pytest.raises(SettingsError, match=said):
            wanted(file, schedule=wrong)
    file.write_text('schedules = "nightly"\n' + own_file(tmp_path).read_text())
    with pytest.raises(SettingsError, match=r"as `\[\[schedules\]\]`"):
        wanted(file)
    with pytest.raises(SettingsError, match="are for a settings file of your own"):
        wanted(schedule={"cron": "0 2 * * *"})


def test_mistakes_are_named_before_anything_is_deployed(tmp_path: Path) -> None:
    misspelt = own_file(tmp_path)
    misspelt.write_text(misspelt.read_text().replace("negatives", "depht"))
    with pytest.raises(SettingsError, match=r"mine/products.*\n.*mining\.depht: unknown.*depth"):
        wanted(misspelt)
    empty = tmp_path / "nothing.toml"
    empty.write_text("[output]\npath = 'x'\n")
    with pytest.raises(SettingsError, match=r"(?s)nothing\.toml.*dataset: Field required"):
        wanted(empty)
    with pytest.raises(SettingsError, match=r"`served` is no name .*`polymine serve`; .*--name"):
        wanted(own_file(tmp_path), name="served")
    wrong = {"mining": {"selection": {"max_false_negative_rate": 2}}}
    plan = read_plan(changed_plan(tmp_path, parameters=wrong))
    with pytest.raises(SettingsError, match=r"schedule `weekdays`.*\n.*max_false_negative_rate"):
        want(plan, ROOT)
    with pytest.raises(SettingsError, match="name one of `cron`, `rrule` and `interval`"):
        read_plan(changed_plan(tmp_path, cron=None))
    with pytest.raises(SettingsError, match=r"crn: unknown key; did you mean `cron`"):
        read_plan(changed_plan(tmp_path, crn="0 2 * * *"))
    other = tmp_path / "demo.toml"
    other.write_text((ROOT / "configs/demo.toml").read_text())
    with pytest.raises(SettingsError, match="two deployments `mine/demo`"):
        want(read_plan(PLAN), ROOT, [ROOT / "configs/demo.toml", other])


def test_only_the_known_placeholders_may_stand_in_a_path() -> None:
    assert OutputSettings(path="runs/{date}-{run}").path == "runs/{date}-{run}"
    with pytest.raises(ValueError, match="should match pattern"):
        OutputSettings(path="runs/{day}")
