"""What `polymine gc` takes for garbage: what is old and no kept run names."""

import os
import shutil
import time
from pathlib import Path

import polars as pl
import pytest
from typer.testing import CliRunner

from polymine.commands.main import app
from polymine.data_contracts.errors import StoreError
from polymine.data_contracts.references import fingerprint
from polymine.data_contracts.settings import OutputSettings
from polymine.data_contracts.tables import QueryHashes
from polymine.tasks.store.backends import open_backend
from polymine.tasks.store.datasets import Dataset, Store, shard_name
from polymine.tasks.store.manifests import RUN
from polymine.tasks.store.output import publish_folder
from polymine.tasks.store.retention import Item, make_plan, remove
from polymine.tasks.store.usage import recorded_use

ROWS = pl.DataFrame(
    {"query_id": ["q"], "text_hash": [1]}, {"query_id": pl.String, "text_hash": pl.UInt64}
)


def dataset(store: Path | str, name: str) -> Dataset:
    return Store(str(store)).dataset("looks", fingerprint(name=name))


def run(store: Path | str, output: Path, *names: str) -> None:
    """Find or make datasets, as every stage does, and write an output folder."""
    with recorded_use():
        for name in names:
            if dataset(store, name).find() is None:
                dataset(store, name).write_single(ROWS, QueryHashes)
        publish_folder(
            OutputSettings(path=str(output)), {"page": "."}, {}, kind=RUN, run=fingerprint(of=names)
        )


def age(path: Path, days: float) -> None:
    then = time.time() - days * 86_400
    for each in (path, *path.rglob("*")):
        os.utime(each, (then, then))


def held(store: Path | str) -> set[str]:
    return {name for name in "abcd" if dataset(store, name).manifest()}


def names(items: tuple[Item, ...], of: str = "abcd") -> set[str]:
    found = {Path(item.path).name for item in items}
    return {name for name in of if fingerprint(name=name) in found}


@pytest.fixture
def store(tmp_path) -> Path:
    """Two runs of a month ago that share `a`."""
    run(tmp_path / "store", tmp_path / "runs" / "one", "a", "b")
    run(tmp_path / "store", tmp_path / "two", "a", "c")
    age(tmp_path, days=30)
    return tmp_path / "store"


def test_what_is_old_and_no_kept_run_names_goes(store, tmp_path):
    plan = make_plan(Store(str(store)), [tmp_path / "runs"], keep_days=14)
    assert (names(plan.going), names(plan.named)) == ({"c"}, {"a", "b"})
    assert plan.runs == (tmp_path / "runs" / "one",)
    gone, spared = remove(plan.going)
    assert (names(gone), spared) == ({"c"}, [])
    assert held(store) == {"a", "b"}
    assert not make_plan(Store(str(store)), [tmp_path / "runs"], keep_days=14).going


def test_a_run_is_kept_wherever_its_folder_and_its_store_were_moved(store, tmp_path):
    (tmp_path / "runs").rename(tmp_path / "moved")
    store.rename(tmp_path / "elsewhere")
    plan = make_plan(Store(str(tmp_path / "elsewhere")), [tmp_path / "moved"], keep_days=14)
    assert (names(plan.going), names(plan.named)) == ({"c"}, {"a", "b"})


def test_what_a_run_finds_or_goes_on_with_is_young(store):
    assert dataset(store, "a").find()
    unfinished = dataset(store, "d")
    unfinished.write(shard_name(0), ROWS, QueryHashes)
    age(unfinished.folder, days=30)
    plan = make_plan(Store(str(store)), [], keep_days=14)
    assert (names(plan.going), names(plan.young)) == ({"b", "c", "d"}, {"a"})
    assert unfinished.has(shard_name(0))
    assert dataset(store, "b").find()
    gone, spared = remove(plan.going)
    assert (names(gone), names(spared)) == ({"c"}, {"b", "d"})
    assert held(store) == {"a", "b"}


def test_leftovers_checkpoints_and_unfinished_datasets_go_when_they_are_old(store, tmp_path):
    unfinished = store / "evidence" / fingerprint(x=1) / "part-00000.parquet"
    inner = store / "embeddings" / fingerprint(x=2) / fingerprint(x=3) / "part-00000.arrow"
    checkpoint = store / "checkpoints" / fingerprint(x=4) / "checkpoint-1" / "step.json"
    beside = tmp_path / "runs" / ".one.0123abcd" / "half"
    inside = store / "looks" / fingerprint(name="a") / ".part-00001.parquet.0123abcd"
    foreign = [store / "notes" / "mine.txt", tmp_path / "runs" / ".three.0123abcd" / "half"]
    files = [unfinished, inner, checkpoint, beside, inside, *foreign]
    for path in files:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("x")
    lock = store / "checkpoints" / f"{fingerprint(x=4)}.lock"
    lock.touch()
    expected = {unfinished.parent, inner.parent, checkpoint.parents[1], lock, beside.parent, inside}

    def going() -> set[Path]:
        plan = make_plan(Store(str(store)), [tmp_path / "runs", tmp_path / "two"], keep_days=14)
        return {Path(item.path) for item in plan.going}

    assert going() == set()
    age(tmp_path, days=30)
    checkpoint.touch()  # training that began a month ago goes on, under its lock
    assert going() == expected - {checkpoint.parents[1], lock}
    age(checkpoint, days=30)
    assert going() == expected
    remove(make_plan(Store(str(store)), [tmp_path / "runs", tmp_path / "two"], 14).going)
    assert not any(path.exists() for path in expected)
    assert all(path.exists() for path in foreign)
    assert held(store) == {"a", "b", "c"}


def test_a_store_of_objects_is_cleared_alike(tmp_path, monkeypatch):
    monkeypatch.setenv("POLYMINE_HOME", str(tmp_path / "home"))
    root = "memory://retention/store"
    run(root, tmp_path / "one", "a", "b")
    run(root, tmp_path / "two", "a", "c")
    assert not make_plan(Store(root), [], keep_days=1).going
    plan = make_plan(Store(root), [tmp_path / "one"], keep_days=0)
    assert names(plan.going) == {"c"}
    gone, spared = remove(plan.going)
    assert (len(gone), spared) == (1, [])
    monkeypatch.setenv("POLYMINE_HOME", str(tmp_path / "another machine"))
    assert held(root) == {"a", "b"}


def test_objects_in_use_are_dated_once_a_day(tmp_path, monkeypatch):
    monkeypatch.setenv("POLYMINE_HOME", str(tmp_path / "home"))
    made = dataset("memory://dated/store", "a")
    made.write_single(ROWS, QueryHashes)

    def written() -> float:
        return open_backend(made.path).listing()["manifest.json"][1]

    first, now = written(), time.time()
    assert dataset("memory://dated/store", "a").find()
    assert written() == first
    monkeypatch.setattr(time, "time", lambda: now + 2 * 86_400)
    assert dataset("memory://dated/store", "a").find()
    assert written() > first


def test_the_command_removes_only_when_told(store, tmp_path):
    asked = ["gc", "--store", str(store), "--runs", str(tmp_path / "runs")]
    shown = CliRunner().invoke(app, asked, catch_exceptions=False).stdout
    assert "goes: 1 thing" in shown
    assert "stays, as a kept run names it: 2 things" in shown
    assert "Nothing was removed" in shown
    assert held(store) == {"a", "b", "c"}
    CliRunner().invoke(app, [*asked, "--delete"], catch_exceptions=False)
    assert held(store) == {"a", "b"}


def test_a_folder_without_a_store_is_refused(tmp_path):
    with pytest.raises(StoreError, match="there is no store"):
        make_plan(Store(str(tmp_path / "none")), [], keep_days=1)
    run_at = tmp_path / "work" / "runs" / "deployed" / "one"
    run_at.mkdir(parents=True)
    (run_at / "manifest.json").write_text('{"contract": "run"}')
    with pytest.raises(StoreError, match="nothing of a store"):
        make_plan(Store(str(tmp_path / "work")), [], keep_days=1)
    with pytest.raises(StoreError, match="no such folder"):
        make_plan(Store(str(tmp_path / "work")), [tmp_path / "none"], keep_days=1)


def test_a_manifest_of_a_run_that_cannot_be_read_stops_it(store, tmp_path):
    manifest = tmp_path / "two" / "manifest.json"
    manifest.write_bytes(manifest.read_bytes().replace(b'"rows": 0', b'"rows": 7'))
    with pytest.raises(StoreError, match=f"{manifest}: cannot be read .*differs from its checksum"):
        make_plan(Store(str(store)), [tmp_path], keep_days=14)
    manifest.write_text('{"name": "of another program"}')
    assert len(make_plan(Store(str(store)), [tmp_path], keep_days=14).runs) == 1


def test_a_run_whose_datasets_are_gone_is_no_error(store, tmp_path):
    shutil.rmtree(store / "looks" / fingerprint(name="a"))
    assert names(make_plan(Store(str(store)), [tmp_path / "runs"], keep_days=14).named) == {"b"}
