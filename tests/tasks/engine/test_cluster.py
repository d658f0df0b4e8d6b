"""What a node of a cluster sees of the store, and when; without a cluster."""

from pathlib import Path

import pytest

from polymine.data_contracts.errors import ClusterError, StoreError
from polymine.data_contracts.settings import EngineSettings
from polymine.tasks.engine import cluster, cluster_blocks
from polymine.tasks.engine.context import Context
from polymine.tasks.engine.plan import Maker
from polymine.tasks.engine.work import Work
from polymine.tasks.store.datasets import Store

NOBODY = "http://127.0.0.1:9/api"


@pytest.mark.parametrize("place", ["store", "memory://probed/store"])
def test_a_node_sees_what_was_written_wherever_the_store_lies(tmp_path, monkeypatch, place):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("POLYMINE_HOME", str(tmp_path / "driver"))
    store = Store(place)
    with cluster.written_probe(store) as probe:
        monkeypatch.setenv("POLYMINE_HOME", str(tmp_path / "node"))
        sight = cluster.look_around(probe, NOBODY)
        assert (sight.store, bool(sight.api)) == ("", True)
        assert not list((tmp_path / "node").rglob("manifest.json"))
        monkeypatch.setenv("POLYMINE_HOME", str(tmp_path / "driver"))
    assert store.finished("probes", "") == []
    assert not list(tmp_path.rglob("manifest.json"))
    gone = cluster.look_around(probe, NOBODY)
    assert Path(probe).name in gone.store
    with pytest.raises(ClusterError, match=r"node 1 does not see what .* store /s \("):
        cluster._compare("node 1", gone, cluster.Sight(gone.versions), "/s", NOBODY)


def late(root: Path, name: str, looks: list[str]) -> Work:
    """Work on something that is seen only at the third look."""

    def open_it(run: Context) -> Maker:
        looks.append("again")
        if len(looks) < 3:
            raise StoreError("the dataset is gone")
        return Maker(lambda *_: pytest.fail("nothing is to be made"))

    return Work(
        label="late", root=str(root), contract="judgments", fingerprint=name, within="",
        form="parquet", engine=EngineSettings(threads=1), open=open_it, opened_as=name,
        uses_model=False,
    )  # fmt: skip


def test_a_node_waits_for_what_it_does_not_see_yet(tmp_path, monkeypatch):
    monkeypatch.setattr(cluster_blocks, "LOOK_AGAIN", 0.01)
    looks = []
    cluster_blocks._open_here(late(tmp_path, "seen", looks))
    assert len(looks) == 3
    monkeypatch.setattr(cluster_blocks, "VISIBLE_TIMEOUT", -1.0)
    with pytest.raises(StoreError, match="is gone"):
        cluster_blocks._open_here(late(tmp_path, "lost", []))


WANTS = {"CPU": 2, "GPU": 1}
HEAD = {"Alive": True, "Resources": {"memory": 1.0}}
SMALL = {"Alive": True, "Resources": {"CPU": 4.0}}
LOST = {"Alive": False, "Resources": {"CPU": 4.0, "GPU": 1.0}}
LARGE = {**LOST, "Alive": True}


@pytest.fixture
def hours(monkeypatch):
    """What Ray says at each look, a minute apart: whether the task has ended, and the nodes."""
    ray, looks, now = pytest.importorskip("ray"), [], [0.0]

    def wait(references, num_returns, timeout):
        now[0] += 60
        return (references, []) if looks[0] == "ended" else ([], references)

    monkeypatch.setattr(ray, "wait", wait)
    monkeypatch.setattr(ray, "nodes", lambda: looks.pop(0))
    monkeypatch.setattr(cluster_blocks.time, "monotonic", lambda: now[0])
    return looks


def test_a_run_ends_when_the_nodes_that_could_do_its_work_stay_away(hours):
    hours += [[HEAD, LARGE], *[[HEAD, SMALL, LOST]] * 11]
    said = r"for 600 s no node of the cluster has had the 2 CPU and 1 GPU that a task takes"
    with pytest.raises(ClusterError, match=said):
        cluster_blocks._wait({"reference": "task"}, WANTS)
    assert hours == []
    hours += [[HEAD]] * 11
    with pytest.raises(StoreError, match="came first"):
        cluster_blocks._wait({"reference": "task"}, WANTS, StoreError("came first"))


def test_a_run_waits_for_a_new_node_and_for_a_long_task(hours):
    hours += [*[[HEAD, LOST]] * 9, *[[HEAD, LARGE]] * 30, *[[HEAD, LOST]] * 9, "ended"]
    assert cluster_blocks._wait({"reference": "task"}, WANTS) == ["task"]
