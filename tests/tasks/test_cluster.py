"""What a node of a cluster sees of the store, and when; without a cluster."""

from dataclasses import dataclass
from pathlib import Path

import pytest

from data_contracts.errors import ClusterError, StoreError
from data_contracts.settings import EngineSettings
from tasks import cluster, cluster_shards
from tasks.shards import Make, ShardWork
from tasks.store import Store

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


@dataclass(frozen=True, kw_only=True)
class Late(ShardWork):
    """Work on something that is seen only at the third look."""

    looks: list[str]

    def open(self) -> Make:
        self.looks.append("again")
        if len(self.looks) < 3:
            raise StoreError("the dataset is gone")
        return lambda *_: pytest.fail("nothing is to be made")


def test_a_node_waits_for_what_it_does_not_see_yet(tmp_path, monkeypatch):
    def late(name: str) -> Late:
        return Late(
            stage="late", unit="rows", root=str(tmp_path), contract="judgments", fingerprint=name,
            engine=EngineSettings(threads=1), looks=[],
        )  # fmt: skip

    monkeypatch.setattr(cluster_shards, "LOOK_AGAIN", 0.01)
    work = late("seen")
    cluster_shards._open_here(work)
    assert len(work.looks) == 3
    monkeypatch.setattr(cluster_shards, "VISIBLE_TIMEOUT", -1.0)
    with pytest.raises(StoreError, match="is gone"):
        cluster_shards._open_here(late("lost"))
