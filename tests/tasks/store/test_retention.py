"""What `polymine gc` takes for garbage, and that a run at work never loses what it uses."""

import dataclasses
import errno
import fcntl
import json
import os
import shutil
import socket
import threading
import time
from contextlib import suppress
from pathlib import Path

import polars as pl
import pytest
from typer.testing import CliRunner

from polymine.commands.main import app
from polymine.data_contracts.errors import StoreError
from polymine.data_contracts.references import fingerprint
from polymine.data_contracts.settings import EngineSettings, OutputSettings
from polymine.data_contracts.tables import QueryHashes
from polymine.tasks.store import references as usage
from polymine.tasks.store import removal
from polymine.tasks.store.backends import Mirror
from polymine.tasks.store.datasets import RUN, Store, write_bytes
from polymine.tasks.store.items import scan_store
from polymine.tasks.store.output import publish_folder
from polymine.tasks.store.references import noted_use, read_notes
from polymine.tasks.store.removal import carry_out
from polymine.tasks.store.retention import Plan, make_plan

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


def test_runs_of_other_machines_are_kept_until_a_machine_is_forgotten(store, tmp_path, monkeypatch):
    monkeypatch.setattr(socket, "gethostname", lambda: "other")
    run(store, tmp_path / "three", "d")
    run(store, tmp_path / "four", "e")
    shutil.rmtree(tmp_path / "four")
    monkeypatch.undo()
    plan = make_plan(Store(str(store)), [], keep_days=0)
    assert (plan.elsewhere, plan.runs) == ({"other": 2}, (tmp_path / "one",))
    assert {item.name for item in plan.going if item.kind == "dataset"} == {name_of("c")}
    carry_out(plan)
    asked = ["gc", "--store", str(store), "--keep-days", "0"]
    assert "2 runs of other machines" in CliRunner().invoke(app, asked).stdout
    asked += ["--forget-host", "other"]
    assert "Nothing was removed" in CliRunner().invoke(app, asked).stdout
    CliRunner().invoke(app, [*asked, "--delete"], catch_exceptions=False)
    kept = {fingerprint(name=name) for name in "abd"}  # the folder of `d` is seen here, too
    assert {path.name for path in (store / "looks").iterdir()} == kept
    with pytest.raises(StoreError, match=r"--forget-host othr: .* it has runs of"):
        make_plan(Store(str(store)), [], keep_days=0, forgotten=["othr"])


def test_a_note_that_names_no_machine_may_be_of_any(store, tmp_path):
    [note] = (n for n in read_notes(Store(str(store))) if n.use.folder == str(tmp_path / "two"))
    earlier = note.use.model_dump(mode="json", exclude={"host"})
    (store / note.name).write_text(json.dumps(earlier))
    plan = make_plan(Store(str(store)), [], keep_days=0)
    assert (plan.elsewhere, plan.going) == ({"unknown": 1}, ())
    plan = make_plan(Store(str(store)), [], keep_days=0, forgotten=["unknown"])
    assert going(plan) == {name_of("c"), note.name}


def test_one_place_on_two_machines_is_two_places(store, tmp_path, monkeypatch):
    before = len(read_notes(Store(str(store))))
    monkeypatch.setattr(socket, "gethostname", lambda: "other")
    run(store, tmp_path / "one", "a", "b")
    assert len(read_notes(Store(str(store)))) == before + 1


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


def test_a_folder_of_something_else_is_no_store(tmp_path):
    """As the folder that the store and the outputs lie in."""
    run_at = tmp_path / "work" / "runs" / "deployed" / "one"
    run_at.mkdir(parents=True)
    (run_at / "manifest.json").write_text('{"contract": "run"}')
    with pytest.raises(StoreError, match="nothing of a store"):
        make_plan(Store(str(tmp_path / "work")), [], keep_days=1)
    assert (run_at / "manifest.json").exists()


def test_a_note_that_a_run_has_written_again_meanwhile_stays(store, tmp_path):
    plan = make_plan(Store(str(store)), [], keep_days=0)
    run(store, tmp_path / "two", "a", "c")  # the same run at the same place, so the same note
    _, spared = carry_out(plan)
    assert {item.kind for item in spared} == {"note", "dataset"}
    assert not going(make_plan(Store(str(store)), [], keep_days=0))


def test_a_note_whose_folder_came_into_its_place_meanwhile_stays(store, tmp_path):
    (tmp_path / "one").rename(tmp_path / "on its way")
    plan = make_plan(Store(str(store)), [tmp_path / "on its way"], keep_days=0)
    (tmp_path / "on its way").rename(tmp_path / "one")
    _, spared = carry_out(plan)
    assert [item.kind for item in spared] == ["note"]
    assert make_plan(Store(str(store)), [], keep_days=0).runs == (tmp_path / "one",)


def test_a_run_killed_right_after_its_folder_was_moved_into_place(store, tmp_path, monkeypatch):
    keep, noted = usage._Uses.keep_for, []

    def keep_or_die(*arguments):
        noted.append(arguments)
        if len(noted) == 2:
            raise KeyboardInterrupt
        keep(*arguments)

    monkeypatch.setattr(usage._Uses, "keep_for", keep_or_die)
    with pytest.raises(KeyboardInterrupt):
        run(store, tmp_path / "three", "d")
    assert (tmp_path / "three" / "manifest.json").exists()
    age(store, days=2)
    plan = make_plan(Store(str(store)), [], keep_days=1)
    assert tmp_path / "three" in plan.runs
    assert name_of("d") not in going(plan)


def test_a_run_that_never_gets_to_its_place_leaves_the_note_of_the_one_before(store, tmp_path):
    settings = OutputSettings(path=str(tmp_path / "one"), overwrite=True)
    with pytest.raises(TypeError), noted_use(EngineSettings(store=str(store))):
        publish_folder(settings, {"page": None}, {}, kind=RUN, run="0" * 32)
    assert (tmp_path / "one") in make_plan(Store(str(store)), [], keep_days=0).runs


@pytest.mark.parametrize("content", [b"", b'{"folder": 1', b'{"place": "of another version"}'])
def test_a_note_that_cannot_be_read_stops_it(store, content):
    plan = make_plan(Store(str(store)), [], keep_days=0)
    before = sorted((store / "looks").rglob("*"))
    broken = store / "runs" / "broken.json"
    broken.write_bytes(content)
    for collect in (lambda: make_plan(Store(str(store)), [], keep_days=0), lambda: carry_out(plan)):
        with pytest.raises(StoreError, match=f"{broken}: this note .* cannot be read"):
            collect()
    assert sorted((store / "looks").rglob("*")) == before


def test_what_is_moved_aside_comes_back_where_notes_cannot_be_read(store, monkeypatch):
    plan, seen = make_plan(Store(str(store)), [], keep_days=0), removal._is_used

    def look_then_damage(place, name):
        used = seen(place, name)
        (store / "runs" / "broken.json").write_bytes(b"")
        return used

    monkeypatch.setattr(removal, "_is_used", look_then_damage)
    before = sorted((store / "looks").rglob("*"))
    with pytest.raises(StoreError, match="cannot be read"):
        carry_out(plan)
    assert sorted((store / "looks").rglob("*")) == before


@pytest.mark.parametrize("named", [True, False])
def test_a_manifest_of_a_run_that_cannot_be_read_stops_it(store, tmp_path, named):
    manifest = tmp_path / "one" / "manifest.json"
    manifest.write_bytes(manifest.read_bytes().replace(b'"rows": 0', b'"rows": 7'))
    if named:
        shutil.rmtree(store / "runs")
    with pytest.raises(StoreError, match=f"{manifest}: cannot be read .*differs from its checksum"):
        make_plan(Store(str(store)), [tmp_path / "one"] if named else [], keep_days=0)
    manifest.write_text('{"name": "of another program"}')
    assert not make_plan(Store(str(store)), [tmp_path / "one"], keep_days=0).runs


def test_what_is_being_written_stays_for_an_hour(store, tmp_path):
    files = [store / "looks" / ".x.0123abcd" / "half", tmp_path / ".one.0123abcd" / "half"]
    for path in files:
        path.parent.mkdir()
        path.touch()

    def leftovers() -> set[str]:
        plan = make_plan(Store(str(store)), [], keep_days=0)
        return {item.place for item in plan.going if item.kind == "leftover"}

    assert leftovers() == set()
    for path in files:
        age(path.parent, days=0.1)
    assert leftovers() == {str(path.parent) for path in files}


def test_where_locks_do_not_work_training_may_go_on(store, monkeypatch):
    checkpoint = store / "checkpoints" / fingerprint(x=4) / "step.json"
    checkpoint.parent.mkdir(parents=True)
    for path in (checkpoint, checkpoint.parent.with_suffix(".lock")):
        path.touch()
    age(store, days=2)

    def refuse(*_):
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    monkeypatch.setattr(fcntl, "flock", refuse)
    _, spared = carry_out(make_plan(Store(str(store)), [], keep_days=1))
    assert {item.kind for item in spared} == {"checkpoint", "lock"}
    assert checkpoint.exists()


def test_one_sign_of_life_that_fails_is_not_the_last(tmp_path, monkeypatch, caplog):
    monkeypatch.setattr(usage, "BEAT", 0.01)
    write, tried = usage.write_bytes, threading.Event()

    def fail_once(path, content):
        if threading.current_thread().name == "polymine-uses" and not tried.is_set():
            tried.set()
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        write(path, content)

    monkeypatch.setattr(usage, "write_bytes", fail_once)
    with noted_use(EngineSettings(store=str(tmp_path))):
        assert tried.wait(10)
        [note] = (tmp_path / "runs").iterdir()
        age(note, days=2)
        for _ in range(1000):
            if read_notes(Store(str(tmp_path)))[0].held[1] > time.time() - 1000:
                break
            time.sleep(0.01)
        else:
            pytest.fail("there was no further sign of life")
    assert "a sign of life could not be written" in caplog.text
    assert not list((tmp_path / "runs").iterdir())


def test_a_published_run_does_not_fail_for_its_note(tmp_path, caplog):
    with noted_use(EngineSettings(store=str(tmp_path))):
        [note] = (tmp_path / "runs").iterdir()
        note.unlink()
        note.mkdir()  # so that it cannot be removed as a file
    assert f"{note} could not be removed" in caplog.text


def test_a_dataset_that_could_not_be_noted_is_noted_by_the_next_try(tmp_path, monkeypatch):
    write = usage.write_bytes
    with noted_use(EngineSettings(store=str(tmp_path))):
        for failing in (True, False):
            monkeypatch.setattr(usage, "write_bytes", Path.joinpath if failing else write)
            with suppress(TypeError):
                make(tmp_path, "a")
        assert [note.use.datasets for note in read_notes(Store(str(tmp_path)))] == [(name_of("a"),)]


def test_a_leftover_object_goes_and_no_other(tmp_path, monkeypatch):
    monkeypatch.setenv("POLYMINE_HOME", str(tmp_path / "home"))
    store = Store("memory://leftovers/store")
    make(store.root, "a")
    files = Mirror(store.root)
    names = ["runs/.now.0123abcd", "looks/.x.0123abcd/half", "looks/.x.0123abcde"]
    for name in names:
        write_bytes(files.folder / name, b"")
    files.push(names)
    plan = make_plan(store, [], keep_days=1)
    items = tuple(item for item in scan_store(store) if item.kind == "leftover")
    carry_out(dataclasses.replace(plan, going=items))
    assert sorted(files.listing()) == sorted(
        [*(f"{name_of('a')}/{n}" for n in ("manifest.json", "part-00000.parquet")), names[2]]
    )
