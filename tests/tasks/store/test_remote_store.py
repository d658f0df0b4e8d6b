"""A store in the cloud, against a real S3 server: whole or not there, from whichever machine.

Another machine is another `POLYMINE_HOME`: nothing else of a machine is kept.
"""

import json
import logging
import multiprocessing
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import fsspec
import numpy as np
import polars as pl
import pytest
from moto.server import ThreadedMotoServer

from polymine.data_contracts.errors import StoreError
from polymine.data_contracts.settings import EngineSettings, MiningSettings, OutputSettings
from polymine.data_contracts.tables import embeddings_schema
from polymine.tasks.engine.work_pool import for_elsewhere
from polymine.tasks.sources.files import fetch
from polymine.tasks.store.backends import CachedRemote
from polymine.tasks.store.datasets import (
    Store,
    info_of,
    load,
    open_folder,
    scan,
    shard_name,
    shard_paths,
)
from polymine.tasks.store.manifests import MANIFEST
from polymine.tasks.store.vectors import open_vectors
from robustness.faults.work import Forks, Job, Kill, make_world, results
from tests.robustness.test_kills import PERCENT, SMALL, run_stages, tables
from tests.tasks.store.test_datasets import Numbers, begin, numbers

KEYS = {
    "AWS_ACCESS_KEY_ID": "someone",
    "AWS_SECRET_ACCESS_KEY": "do-not-show-this",
    "AWS_DEFAULT_REGION": "us-east-1",
    "AWS_MAX_ATTEMPTS": "1",
    "AWS_EC2_METADATA_DISABLED": "true",
}


def free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


@pytest.fixture(scope="module")
def server():
    """Address of an S3 server, a process of its own."""
    port = free_port()
    command = [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    for _ in range(600):
        with socket.socket() as asked:
            if asked.connect_ex(("127.0.0.1", port)) == 0:
                break
        time.sleep(0.1)
    yield f"http://127.0.0.1:{port}"
    process.terminate()
    process.wait()


@pytest.fixture(scope="module", autouse=True)
def keys(server):
    """Points all of these tests to the server."""
    with pytest.MonkeyPatch.context() as patch:
        for name, value in {**KEYS, "AWS_ENDPOINT_URL": server}.items():
            patch.setenv(name, value)
        yield


@pytest.fixture
def environment(monkeypatch):
    """Changes what a connection depends on; fsspec keeps file systems that know what was before."""
    forget = fsspec.get_filesystem_class("s3").clear_instance_cache

    def change(**values: str) -> None:
        for name, value in values.items():
            monkeypatch.setenv(name, value)
        forget()

    yield change
    forget()


@pytest.fixture
def bucket(request):
    """URI of a store in a bucket of its own."""
    name = f"b{abs(hash(request.node.nodeid)):x}"
    open_s3().mkdir(name)
    return f"s3://{name}/some/store"


def open_s3():
    """The file system as the store opens it."""
    return fsspec.filesystem("s3", use_listings_cache=False)


@pytest.fixture
def machine(monkeypatch, tmp_path):
    """Moves to the machine of this name, with a home of its own."""

    def move(name: str) -> Path:
        monkeypatch.setenv("POLYMINE_HOME", str(tmp_path / name))
        return tmp_path / name

    move("one")
    return move


def objects(uri: str) -> dict[str, tuple[str, object]]:
    """Name of each object below a URI, with what changes when it is written again."""
    filesystem, root = fsspec.url_to_fs(uri, use_listings_cache=False)
    found = filesystem.find(root, detail=True)
    return {
        path.removeprefix(f"{root}/"): (info["ETag"], info["LastModified"])
        for path, info in found.items()
    }


def spoil(uri: str, how: str) -> None:
    """Damage an object where it lies."""
    filesystem, path = fsspec.url_to_fs(uri, use_listings_cache=False)
    content = bytearray(filesystem.cat_file(path))
    if how == "cut short":
        content = content[:-20]
    content[len(content) // 2] ^= how == "one bit flipped"
    filesystem.pipe_file(path, bytes(content))


class TestDataset:
    def test_is_read_on_another_machine_by_its_reference(self, bucket, machine):
        dataset = begin(Store(bucket))
        assert dataset.find() is None
        assert Store(bucket).finished("numbers", "") == []
        made = dataset.commit({"of": "input"}, {"note": 7})
        assert made.path == f"{bucket}/numbers/f00d"
        assert sorted(objects(bucket)) == [
            "numbers/f00d/manifest.json",
            "numbers/f00d/part-00000.parquet",
            "numbers/f00d/part-00001.parquet",
        ]

        home = machine("two")
        assert info_of(made) == {"note": 7}
        assert not list(home.rglob("*.parquet"))
        assert load(made)["number"].to_list() == list(range(10))
        assert scan(made).collect().equals(load(made))
        assert all(path.is_relative_to(home / "cache") for path in shard_paths(made))

        machine("three")
        (found,) = Store(bucket).finished("numbers", "")
        assert (found.path, found.rows, found.reused) == (made.path, 10, True)
        assert Store(bucket).dataset("numbers", "f00d").find() == found

    def test_interrupted_one_goes_on_on_another_machine(self, bucket, machine):
        begin(Store(bucket))  # killed before its manifest
        before = objects(bucket)
        machine("two")
        dataset = Store(bucket).dataset("numbers", "f00d")
        assert dataset.find() is None
        held = [dataset.has(shard_name(number)) for number in range(3)]
        assert held == [True, True, False]
        dataset.write(shard_name(2), numbers(10, 15), Numbers)
        assert load(dataset.commit())["number"].to_list() == list(range(15))
        after = objects(bucket)
        shards = {name: held for name, held in before.items() if name.endswith(".parquet")}
        assert {name: after[name] for name in shards} == shards
        assert not [name for name in after if name.endswith(".sum")]

    def test_shard_that_was_never_uploaded_is_uploaded_before_the_manifest(self, bucket, machine):
        dataset = begin(Store(bucket))
        open_s3().rm_file(f"{dataset.path}/part-00001.parquet")
        made = Store(bucket).dataset("numbers", "f00d")
        assert made.has(shard_name(1))
        reference = made.commit()
        machine("two")
        assert load(reference)["number"].to_list() == list(range(10))

    def test_dataset_that_is_gone_is_gone_on_every_machine(self, bucket, machine):
        made = begin(Store(bucket)).commit()
        open_s3().rm(made.path, recursive=True)
        assert Store(bucket).dataset("numbers", "f00d").find() is None
        machine("two")
        with pytest.raises(StoreError, match=r"^s3://.*f00d: the dataset is gone; run again"):
            load(made)

    @pytest.mark.parametrize("fetched", [0, 1])
    def test_dataset_that_is_removed_while_it_is_fetched(
        self, bucket, machine, monkeypatch, fetched
    ):
        """Before its manifest, or between that and its shards."""
        made = begin(Store(bucket)).commit()
        machine("two")
        get, asked = CachedRemote._get, []

        def remove_then_get(self, names):
            if len(asked) == fetched:
                open_s3().rm(made.path, recursive=True)
            asked.append(names)
            get(self, names)

        monkeypatch.setattr(CachedRemote, "_get", remove_then_get)
        assert Store(bucket).find_all("numbers", "") == []
        assert len([names for names in asked if names]) == fetched + 1

    def test_vectors_of_a_family_are_found_on_another_machine(self, bucket, machine):
        for number in range(2):
            frame = pl.DataFrame(
                {
                    "text_hash": np.array([2 * number, 2 * number + 1], np.uint64),
                    "vector": np.eye(4, dtype=np.float32)[2 * number : 2 * number + 2],
                }
            )
            added = Store(bucket).dataset("embeddings", f"added{number}", within="family")
            added.write(shard_name(0, "arrow"), frame, embeddings_schema(4))
            made = added.commit()
        machine("two")
        family = type(made)(made.path.rpartition("/")[0], "embeddings", 4, "family")
        vectors = open_vectors(family, np.array([3, 0], np.uint64))
        assert vectors.take(np.arange(2)).tolist() == [[0, 0, 0, 1], [1, 0, 0, 0]]

    def test_its_folder_is_a_source_like_any_other(self, bucket, machine):
        made = Store(bucket).dataset("held-out", "0" * 32).write_single(numbers(0, 3), Numbers)
        machine("two")
        with fetch(made.path) as files:
            assert [file.name for file in files if file.role == "part"] == [
                f"{made.path}/part-00000.parquet"
            ]
            assert files[-1].path.is_relative_to(open_folder(made.path))


class TestDamage:
    @pytest.mark.parametrize("how", ["one bit flipped", "cut short"])
    def test_damaged_object_is_named_and_only_it_is_made_again(self, how, bucket, machine, caplog):
        made = begin(Store(bucket)).commit()
        before = objects(bucket)
        spoil(f"{made.path}/part-00001.parquet", how)
        machine("two")
        dataset = Store(bucket).dataset("numbers", "f00d")
        with caplog.at_level(logging.WARNING, "polymine.store"):
            assert dataset.find() is None
        assert f"{made.path}: part-00001.parquet differs from its checksum" in caplog.text
        assert [dataset.has(shard_name(number)) for number in (0, 1)] == [True, False]
        assert Store(bucket).finished("numbers", "") == []
        dataset.write(shard_name(1), numbers(5, 10), Numbers)
        dataset.commit()
        machine("three")
        assert load(made)["number"].to_list() == list(range(10))
        sound = "numbers/f00d/part-00000.parquet"
        assert objects(bucket)[sound] == before[sound]

    def test_damaged_object_is_refused_where_it_cannot_be_made_again(self, bucket, machine):
        made = begin(Store(bucket)).commit()
        spoil(f"{made.path}/part-00001.parquet", "one bit flipped")
        machine("two")
        with pytest.raises(StoreError, match=r"part-00001.parquet is missing or damaged; run aga"):
            load(made)

    def test_damaged_copy_is_fetched_again(self, bucket, machine, caplog):
        made = begin(Store(bucket)).commit()
        before = objects(bucket)
        broken = shard_paths(made)[1]
        broken.write_bytes(broken.read_bytes()[:-20])
        with caplog.at_level(logging.WARNING, "polymine.store"):
            assert Store(bucket).dataset("numbers", "f00d").find() is not None
        assert "copy of part-00001.parquet is fetched again" in caplog.text
        assert load(made)["number"].to_list() == list(range(10))
        assert objects(bucket) == before


class TestErrors:
    def find(self, uri: str) -> None:
        Store(uri).dataset("numbers", "f00d").find()

    def test_unreachable_endpoint(self, environment, machine):
        environment(AWS_ENDPOINT_URL=f"http://127.0.0.1:{free_port()}")
        with pytest.raises(StoreError, match=r"^s3://b/x/numbers/f00d: cannot be reached .*AWS_EN"):
            self.find("s3://b/x")

    def test_missing_bucket_is_found_before_any_work(self, machine):
        with pytest.raises(StoreError, match=r"^s3://no-such/x/.*: not there .*create the bucket"):
            self.find("s3://no-such/x")

    def test_no_credentials(self, bucket, machine, monkeypatch, environment, tmp_path):
        for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
            monkeypatch.delenv(name)
        environment(AWS_SHARED_CREDENTIALS_FILE=str(tmp_path / "none"))
        with pytest.raises(StoreError, match=r"access denied .*Credentials come from the environm"):
            self.find(bucket)

    def test_access_denied(self, bucket, machine, server):
        def enforce(after: str) -> None:
            kind = {"Content-Type": "text/plain"}
            asked = urllib.request.Request(f"{server}/moto-api/reset-auth", after.encode(), kind)
            urllib.request.urlopen(asked).close()

        enforce("0")
        try:
            with pytest.raises(StoreError, match=r"access denied .*allow listing") as caught:
                self.find(bucket)
        finally:
            enforce("inf")
        assert KEYS["AWS_SECRET_ACCESS_KEY"] not in str(caught.value)

    def test_server_lost_and_back(self, environment, machine):
        port = free_port()
        server = ThreadedMotoServer("127.0.0.1", port, verbose=False)
        server.start()
        environment(AWS_ENDPOINT_URL=f"http://127.0.0.1:{port}")
        open_s3().mkdir("lost")
        dataset = Store("s3://lost/store").dataset("numbers", "f00d")
        dataset.write(shard_name(0), numbers(0, 5), Numbers)
        server.stop()
        with pytest.raises(StoreError, match=r"f00d: cannot be reached .*run again: finished"):
            dataset.write(shard_name(1), numbers(5, 10), Numbers)
        server = ThreadedMotoServer("127.0.0.1", port, verbose=False)  # what it held it still has
        server.start()
        try:
            again = Store("s3://lost/store").dataset("numbers", "f00d")
            assert [again.has(shard_name(number)) for number in (0, 1, 2)] == [True, True, False]
            made = again.commit()
            machine("two")
            assert load(made)["number"].to_list() == list(range(10))
        finally:
            server.stop()

    @pytest.mark.parametrize(
        ("uri", "said"),
        [
            ("s3://", "no store can be there; write it as"),
            ("s3://b/../c", "no store can be there; write it as"),
            ("simplecache::s3://b/c", "no store can be there; write it as"),
            ("nosuch://b/c", "no store can be there .*nosuch"),
            ("s3://me:secret@b/c", "a user or password does not belong"),
        ],
    )
    def test_uri_that_is_no_place(self, uri, said, machine):
        with pytest.raises(StoreError, match=said) as caught:
            self.find(uri)
        assert "secret@" not in str(caught.value)

    def test_output_is_a_folder(self):
        with pytest.raises(ValueError, match=r"must be a folder.*`engine.store` may be a URI"):
            OutputSettings(path="s3://bucket/run")


class TestNames:
    def test_same_place_has_one_name(self, machine, tmp_path, monkeypatch):
        monkeypatch.chdir(tmp_path)
        assert Store("s3://b/c/").root == Store("s3://b/c").root == "s3://b/c"
        assert Store("store").root == str(tmp_path / "store")
        assert Store(f"file://{tmp_path}/store").root == str(tmp_path / "store")
        home = machine("two")
        assert Store().root == str(home / "store")

    def test_worker_elsewhere_gets_the_uri(self):
        engine = EngineSettings(store="s3://b/c")
        assert for_elsewhere(engine, {})["engine"]["store"] == "s3://b/c"

    def test_other_file_systems_than_s3(self, machine):
        made = begin(Store("memory://shelf/store")).commit()
        machine("two")
        assert load(made)["number"].to_list() == list(range(10))
        spoil(f"{made.path}/part-00000.parquet", "cut short")
        machine("three")
        assert Store("memory://shelf/store").find_all("numbers", "") == []
        assert not Store("memory://shelf/store").dataset("numbers", "f00d").has(shard_name(0))


def mine_on(
    home: str, store: str, endpoint: str, dataset: dict, root: str, kill: tuple[str, int] | None,
    mining: MiningSettings,
) -> None:  # fmt: skip
    """Run the mining flow's body as another machine (in a process of its own).

    The settings are handed over: each process that imports the tests writes a teacher of its own.
    """
    os.environ.update({**KEYS, "AWS_ENDPOINT_URL": endpoint, "POLYMINE_HOME": home})
    run_stages(dataset, root, SMALL, kill, mining, store)


@pytest.mark.proof
def test_flow_on_s3_killed_and_gone_on_elsewhere_gives_what_it_gives_on_disk(
    bucket, server, animals, tmp_path
):
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(
        ["polymine.flows.mining", "sentence_transformers", "faiss", "peft"]
    )

    def run(name: str, store: str, kill: tuple[str, int] | None = None) -> int | None:
        home, root = tmp_path / f"home-{name}", tmp_path / name
        root.mkdir()
        arguments = (str(home), store, server, animals, str(root), kill, PERCENT)
        process = context.Process(target=mine_on, args=arguments)
        process.start()
        process.join(300)
        return process.exitcode

    assert run("disk", str(tmp_path / "store")) == 0
    # Five shards of a ranking are there, and its manifest is about to be.
    assert run("killed", bucket, ("/rankings/", 6)) == -signal.SIGKILL
    before = objects(bucket)
    noted = (".sum", "rates.json")  # what a run may write again
    before = {name: held for name, held in before.items() if not name.endswith(noted)}
    ranked = [name for name in before if name.startswith("rankings/")]
    assert [Path(name).name for name in ranked] == [shard_name(number) for number in range(5)]

    assert run("resumed", bucket) == 0
    after = objects(bucket)
    assert {name: after[name] for name in before} == before
    assert run("reused", bucket) == 0
    again = objects(bucket)
    kept = [name for name in after if not name.startswith("runs/") and name != "rates.json"]
    assert {name: again[name] for name in kept} == {name: after[name] for name in kept}
    stages = json.loads((tmp_path / "reused" / "reused.json").read_text())
    assert (len(stages), stages[0], stages[-1]) == (15, "ingest", "export")
    for name in ("resumed", "reused"):
        for parts in ((), ("evidence", "n-tuple", "risks", "promoted")):
            assert tables(tmp_path / name, *parts) == tables(tmp_path / "disk", *parts)


@pytest.mark.proof
def test_pipeline_on_s3_killed_amid_training_goes_on_elsewhere(bucket, server, tmp_path):
    """Checkpoints stay on the machine that is lost; what is finished is in the bucket."""
    (tmp_path / "world").mkdir()
    world, forks = make_world(tmp_path / "world"), Forks()
    disk = Job(str(tmp_path / "disk"), world)
    assert forks.wait(disk) == 0
    stages = json.loads((tmp_path / "disk" / "stages.json").read_text())
    second = [n for n, stage in enumerate(stages) if stage["stage"] == "train_adapter"][1]

    def job(name: str, kill: Kill | None = None) -> Job:
        machine = {**KEYS, "AWS_ENDPOINT_URL": server, "POLYMINE_HOME": str(tmp_path / f"h-{name}")}
        before = ("other_machine", (machine,))
        return Job(str(tmp_path / name), world, kill=kill, store=bucket, before=before)

    middle = stages[second]["operations"] // 2
    assert forks.wait(job("killed", Kill(second, operation=middle))) == -signal.SIGKILL
    before = {name: held for name, held in objects(bucket).items() if name.endswith(MANIFEST)}
    assert any(name.startswith("adapters/") for name in before), "the first step is there"
    assert not any(name.startswith("measures/") for name in before)
    assert forks.wait(job("resumed")) == 0
    after = objects(bucket)
    assert {name: after[name] for name in before} == before
    assert results(tmp_path / "resumed" / "out") == results(tmp_path / "disk" / "out")
