"""What `polymine gc` takes for garbage, and that a run at work never loses what it uses."""

import fcntl
import json
import os
import shutil
import time
from pathlib import Path

import polars as pl
import pytest
from typer.testing import CliRunner

from commands.main import app
from data_contracts.errors import StoreError
from data_contracts.references import fingerprint
from data_contracts.settings import EngineSettings, OutputSettings
from data_contracts.tables import QueryHashes
from tasks import removal
from tasks.output import publish_folder
from tasks.removal import carry_out
from tasks.retention import Plan, make_plan
from tasks.store import RUN, Store
from tasks.usage import noted_use, read_notes

ROWS = pl.DataFrame(
    {"query_id": ["q"], "text_hash": [1]}, {"query_id": pl.String, "text_hash": pl.UInt64}
)


def make(store: Path | str, name: str, **where) -> Path:
    """Find or make a dataset, as every stage does."""
    dataset = Store(str(store)).dataset("looks", fingerprint(name=name), **where)
    if dataset.find() is None:
        dataset.write_single(ROWS, QueryHashes)
    return dataset.folder


def run(store: Path, output: Path, *names: str) -> None:
    with noted_use(EngineSettings(store=str(store))):
        for name in names:
            make(store, name)
        settings = OutputSettings(path=str(output), overwrite=True)
        publish_folder(settings, {"page": "."}, {}, kind=RUN, run=fingerprint(of=names))


def kill_run(store: Path, name: str) -> None:
    """A run that dies after it has looked for a dataset."""
    try:
        with noted_use(EngineSettings(store=str(store))):
            Store(str(store)).dataset("looks", fingerprint(name=name)).find()
            raise KeyboardInterrupt
    except KeyboardInterrupt:
        pass


def going(plan: Plan) -> set[str]:
    return {item.name for item in plan.going}


def name_of(name: str) -> str:
    return f"looks/{fingerprint(name=name)}"


@pytest.fixture
def store(tmp_path) -> Path:
    """Two runs that share `a`, and the second one's folder is gone."""
    run(tmp_path / "store", tmp_path / "one", "a", "b")
    run(tmp_path / "store", tmp_path / "two", "a", "c")
    shutil.rmtree(tmp_path / "two")
    return tmp_path / "store"


def test_what_only_a_removed_run_used_goes(store, tmp_path):
    plan = make_plan(Store(str(store)), [], keep_days=0)
    [note] = (n for n in read_notes(Store(str(store))) if n.use.folder == str(tmp_path / "two"))
    assert going(plan) == {name_of("c"), note.name}
    assert plan.runs == (tmp_path / "one",)
    carry_out(plan)
    assert going(make_plan(Store(str(store)), [], keep_days=0)) == set()
    assert sorted(p.name for p in (store / "looks").iterdir()) == sorted(
        fingerprint(name=name) for name in "ab"
    )


def test_what_is_young_stays(store):
    assert {item.kind for item in make_plan(Store(str(store)), [], keep_days=1).going} == {"note"}


def test_a_run_that_was_moved_is_named(store, tmp_path):
    (tmp_path / "one").rename(tmp_path / "moved")
    assert name_of("a") in going(make_plan(Store(str(store)), [], keep_days=0))
    plan = make_plan(Store(str(store)), [tmp_path], keep_days=0)
    assert not {name_of("a"), name_of("b")} & going(plan)
    manifest = json.loads((tmp_path / "moved" / "manifest.json").read_text())
    del manifest["info"]["datasets"], manifest["seal"]
    (tmp_path / "moved" / "manifest.json").write_text(json.dumps(manifest))
    assert make_plan(Store(str(store)), [tmp_path], keep_days=0).silent == (tmp_path / "moved",)


def test_another_run_at_its_place_is_another_run(store, tmp_path):
    run(store, tmp_path / "one", "d")
    assert {name_of("a"), name_of("b")} <= going(make_plan(Store(str(store)), [], keep_days=0))


def test_a_run_that_goes_on_or_was_killed_keeps_what_it_has(store):
    with noted_use(EngineSettings(store=str(store))):
        make(store, "c")
        assert name_of("c") not in going(make_plan(Store(str(store)), [], keep_days=0))
    assert name_of("c") in going(make_plan(Store(str(store)), [], keep_days=0))
    kill_run(store, "c")
    [killed] = (n for n in read_notes(Store(str(store))) if n.use.folder is None)
    assert name_of("c") not in going(make_plan(Store(str(store)), [], keep_days=0))
    age(store / killed.name, days=2)
    age(store / name_of("c"), days=2)
    assert name_of("c") in going(make_plan(Store(str(store)), [], keep_days=1))
    assert name_of("c") not in going(make_plan(Store(str(store)), [], keep_days=3))


def age(path: Path, days: float) -> None:
    then = time.time() - days * 86_400
    for each in (path, *path.rglob("*")):
        os.utime(each, (then, then))


def test_a_dataset_that_a_run_takes_up_meanwhile_is_put_back(store, monkeypatch):
    plan, noted = make_plan(Store(str(store)), [], keep_days=0), []
    before = {p: p.read_bytes() for p in (store / name_of("c")).iterdir()}
    seen = removal._is_used

    def take_up_then_look(place, name):
        if noted and name == name_of("c"):  # moved aside by now
            assert not (store / name).exists()
            kill_run(store, "c")
        noted.append(name)
        return seen(place, name)

    monkeypatch.setattr(removal, "_is_used", take_up_then_look)
    _, spared = carry_out(plan)
    assert [item.name for item in spared] == [name_of("c")]
    assert {p: p.read_bytes() for p in (store / name_of("c")).iterdir()} == before


def test_leftovers_checkpoints_and_unfinished_datasets_go_when_they_are_old(store, tmp_path):
    unfinished = store / "evidence" / fingerprint(x=1) / "part-00000.parquet"
    inner = store / "embeddings" / fingerprint(x=2) / fingerprint(x=3) / "part-00000.arrow"
    checkpoint = store / "checkpoints" / fingerprint(x=4) / "checkpoint-1" / "step.json"
    leftovers = [store / "looks" / ".x.0123abcd" / "half", tmp_path / ".one.0123abcd" / "half"]
    foreign = [store / "notes" / "mine.txt", tmp_path / ".three.0123abcd" / "half"]
    for path in (unfinished, inner, checkpoint, *leftovers, *foreign):
        path.parent.mkdir(parents=True)
        path.write_text("x")
    lock = store / "checkpoints" / f"{fingerprint(x=4)}.lock"
    lock.touch()
    expected = {unfinished.parent, inner.parent, checkpoint.parents[1], lock}
    expected |= {path.parent for path in leftovers}
    assert not expected & {
        Path(item.place) for item in make_plan(Store(str(store)), [], keep_days=1).going
    }
    age(tmp_path, days=2)
    plan = make_plan(Store(str(store)), [], keep_days=1)
    assert expected == {Path(i.place) for i in plan.going if i.kind not in ("dataset", "note")}
    with lock.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        _, spared = carry_out(plan)
    assert {Path(item.place) for item in spared} == {lock, checkpoint.parents[1]}
    assert not any(path.exists() for path in (unfinished, inner, *leftovers))
    assert all(path.exists() for path in (checkpoint, *foreign))


def test_a_store_of_objects_is_cleared_alike(tmp_path, monkeypatch):
    monkeypatch.setenv("POLYMINE_HOME", str(tmp_path / "home"))
    place = "memory://retention/store"
    for output, names in (("one", ("a", "b")), ("two", ("a", "c"))):
        with noted_use(EngineSettings(store=place)):
            for name in names:
                make(place, name)
            settings = OutputSettings(path=str(tmp_path / output))
            publish_folder(settings, {"page": "."}, {}, kind=RUN, run=fingerprint(of=names))
    shutil.rmtree(tmp_path / "two")
    plan = make_plan(Store(place), [], keep_days=0)
    assert {i.name for i in plan.going if i.kind == "dataset"} == {name_of("c")}
    assert {i.kind for i in make_plan(Store(place), [], keep_days=1).going} == {"note"}
    gone, spared = carry_out(plan)
    assert (len(gone), spared) == (2, [])
    assert not make_plan(Store(place), [], keep_days=0).going
    looks = Store(place)
    held = {name: looks.dataset("looks", fingerprint(name=name)).find() for name in "abc"}
    assert {name for name, found in held.items() if found} == {"a", "b"}


def test_the_command_removes_only_when_told(store):
    asked = ["gc", "--store", str(store), "--keep-days", "0"]
    shown = CliRunner().invoke(app, asked, catch_exceptions=False)
    assert "Nothing was removed" in shown.stdout
    assert "no kept run refers to it" in shown.stdout
    assert (store / name_of("c")).exists()
    CliRunner().invoke(app, [*asked, "--delete"], catch_exceptions=False)
    assert not (store / name_of("c")).exists()
    assert (store / name_of("a")).exists()


def test_a_place_without_a_store_is_refused(tmp_path):
    with pytest.raises(StoreError, match="there is no store"):
        make_plan(Store(str(tmp_path / "none")), [], keep_days=1)
