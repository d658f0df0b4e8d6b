"""Shards on a Ray cluster of two nodes: the same bytes, made by both, and what failures leave."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import polars as pl
import pytest
from prefect import flow
from prefect.client.orchestration import get_client
from prefect.client.schemas.filters import FlowRunFilter, FlowRunFilterId
from prefect.settings import PREFECT_API_URL

from polymine.data_contracts.errors import ClusterError, StoreError
from polymine.data_contracts.references import fingerprint
from polymine.data_contracts.settings import (
    DatasetSettings,
    EngineSettings,
    MiningSettings,
    OutputSettings,
    RunSettings,
    SelectionSettings,
)
from polymine.data_contracts.tables import Judgments
from polymine.flows.mining import mine
from polymine.progress import Progress
from polymine.tasks.engine import cluster
from polymine.tasks.engine.context import Context
from polymine.tasks.engine.execution import carry_out
from polymine.tasks.engine.plan import Maker, Order, Plan
from polymine.tasks.store.datasets import Dataset, Store, load, shard_name
from tests.small import BM25, MINILM, small_validator

pytest.importorskip("ray", reason='needs Ray: pip install "polymine[ray]"')
pytest.importorskip("prefect_ray", reason='needs prefect-ray: pip install "polymine[ray]"')

pytestmark = [pytest.mark.flow, pytest.mark.proof]

MINING = MiningSettings(
    teachers=(MINILM, BM25), negatives=3, depth=6, selection=SelectionSettings(rule="percent"),
    validation=small_validator(),
)  # fmt: skip
CUT = {"threads": 1, "memory": 12 / 1024}
SHARDS = {  # 36 queries, 72 documents
    *(f"embed-minilm-documents-shard-{number:03d}" for number in range(3)),
    *(
        f"{stage}-shard-{number:03d}"
        for stage in ("rank-minilm", "rank-bm25", "evidence", "deepen")
        for number in range(3)
    ),
    "validate-shard-000",
}  # fmt: skip


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    """Two nodes of one CPU each."""
    import ray
    from ray.cluster_utils import Cluster

    node = {"num_cpus": 1, "object_store_memory": 100 << 20, "include_dashboard": False}
    nodes = Cluster(initialize_head=True, head_node_args=node)
    nodes.add_node(**node)
    ray.cloudpickle.register_pickle_by_value(sys.modules[__name__])  # nodes cannot import tests
    yield nodes.address
    nodes.shutdown()


def engine_of(store: Path, address: str | None = None) -> EngineSettings:
    where = {"kind": "ray", "address": address} if address else {}
    return EngineSettings(store=str(store), **where, **CUT)


def run(root: Path, animals: dict[str, str], address: str | None = None) -> bytes:
    output = OutputSettings(path=str(root / "out"))
    mine(DatasetSettings(**animals), output, MINING, engine_of(root / "store", address))
    return triplets(root)


def triplets(root: Path) -> bytes:
    (path,) = (root / "out" / "triplets").glob("*.parquet")
    return path.read_bytes()


@pytest.fixture(scope="module")
def local(prefect_server, animals, tmp_path_factory) -> Path:
    root = tmp_path_factory.mktemp("local")
    run(root, animals)
    return root


def task_messages(flow_run) -> dict[str, str]:
    """What the shards' task runs ended with, by name, once the server has heard of all."""
    chosen = FlowRunFilter(id=FlowRunFilterId(any_=[flow_run]))
    deadline, found = time.monotonic() + 30, {}
    with get_client(sync_client=True) as client:
        while not found.keys() >= SHARDS and time.monotonic() < deadline:
            tasks = client.read_task_runs(flow_run_filter=chosen)
            found = {
                each.name: each.state.message
                for each in tasks
                if "-shard-" in each.name and each.state.is_completed()
            }
            time.sleep(0.2)
    return found


def test_two_nodes_make_the_same_bytes(local, address, animals, tmp_path):
    output = OutputSettings(path=str(tmp_path / "out"))
    engine = engine_of(tmp_path / "store", address)
    state = mine(DatasetSettings(**animals), output, MINING, engine, return_state=True)
    state.result()
    assert triplets(tmp_path) == triplets(local)
    assert shards(tmp_path) == shards(local)
    messages = task_messages(state.state_details.flow_run_id)
    assert messages.keys() >= SHARDS
    nodes = {message.partition("on node ")[2][:8] for message in messages.values()}
    assert len(nodes) == 2
    assert not list((tmp_path / "store" / "probes").iterdir())


def shards(root: Path) -> dict[str, bytes]:
    """Every shard that may be made elsewhere, by its path in the store."""
    kinds = ("embeddings", "rankings", "evidence", "pair_scores")
    paths = [path for kind in kinds for path in (root / "store" / kind).rglob("part-*")]
    return {path.relative_to(root).as_posix(): path.read_bytes() for path in paths}


def test_run_killed_on_the_cluster_is_finished_here(local, address, animals, tmp_path):
    settings = RunSettings(
        dataset=DatasetSettings(**animals), mining=MINING,
        output=OutputSettings(path=str(tmp_path / "out")),
        engine=engine_of(tmp_path / "store", address),
    )  # fmt: skip
    code = (
        "import sys; from polymine.data_contracts.settings import RunSettings"
        "; from polymine.flows.mining import mine"
        "; s = RunSettings.model_validate_json(sys.argv[1])"
        "; mine(s.dataset, s.output, s.mining, s.engine)"
    )
    environment = {**os.environ, "PREFECT_API_URL": PREFECT_API_URL.value()}
    command = [sys.executable, "-c", code, settings.model_dump_json()]
    driver = subprocess.Popen(command, env=environment, stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 300
    while not list((tmp_path / "store").glob("rankings/*/part-*")):
        assert driver.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.02)
    driver.send_signal(signal.SIGKILL)
    driver.wait()
    made = set(shards(tmp_path))
    assert not (tmp_path / "out").exists()
    assert run(tmp_path, animals) == triplets(local)
    assert made <= shards(local).keys()


def test_run_broken_here_is_finished_on_the_cluster(local, address, animals, tmp_path, monkeypatch):
    write = Dataset.write

    def break_at_second_ranking(self, shard, *rest):
        if self.contract == "rankings" and shard == shard_name(1):
            raise KeyboardInterrupt
        write(self, shard, *rest)

    monkeypatch.setattr(Dataset, "write", break_at_second_ranking)
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path, animals)
    monkeypatch.undo()
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "store").rglob("part-*")}
    assert run(tmp_path, animals, address) == triplets(local)
    assert {path: path.stat().st_mtime_ns for path in before} == before


def open_trouble(root: str, killed: int | None, broken: int | None, run: Context) -> Maker:
    """Blocks of one row; one kills its process once, one cannot be made."""

    def make(number: int, order: Order, progress: Progress) -> pl.DataFrame:
        marker = Path(root) / f"begun-{number}"
        times = len(marker.read_text()) if marker.exists() else 0
        marker.write_text("x" * (times + 1))
        if number == killed and times == 0:
            os.kill(os.getpid(), signal.SIGKILL)
        if number == broken:
            raise StoreError(f"shard {number} cannot be made")
        return pl.DataFrame({"query_id": ["q"], "doc_id": [str(number)], "relevance": [1]})

    return Maker(make, Judgments)


@flow
def trouble(root: Path, address: str, killed: int | None = None, broken: int | None = None) -> None:
    run = Context.of(engine_of(root, address))
    plan = Plan(
        contract="judgments",
        depends={"name": "trouble"},
        blocks=dict.fromkeys(range(4), 1),
        unit="rows",
        open=partial(open_trouble, str(root), killed, broken),
        spread=True,
    )
    with cluster.joined(run.engine):
        carry_out(run, plan, "trouble")


def made(root: Path) -> Dataset:
    return Store(str(root)).dataset("judgments", fingerprint(name="trouble"))


def test_shard_of_a_lost_process_is_made_by_another(prefect_server, address, tmp_path):
    trouble(tmp_path, address, killed=1)
    assert load(made(tmp_path).find())["doc_id"].to_list() == list("0123")
    assert (tmp_path / "begun-1").read_text() == "xx"


def test_failed_shard_fails_the_run_with_its_own_error(prefect_server, address, tmp_path):
    with pytest.raises(StoreError, match="shard 0 cannot be made"):
        trouble(tmp_path, address, broken=0)
    assert (tmp_path / "begun-0").read_text() == "x"  # trying again would not help
    assert made(tmp_path).has(shard_name(1))


def test_node_that_differs_or_lacks_something_is_named(prefect_server, address, tmp_path):
    engine = engine_of(tmp_path, address)
    seen = cluster.Sight({"torch": "2.13", "polymine": "source a"}, "AVX2")
    other = cluster.Sight({"torch": "2.14", "polymine": "source a"}, "AVX2")
    with pytest.raises(ClusterError, match=r"node 1 .*torch 2\.14, here 2\.13"):
        cluster._compare("node 1", other, seen, "/store", "http://api")
    with (
        pytest.raises(ClusterError, match="no node of the cluster has the 64 CPUs"),
        cluster.cluster(engine.model_copy(update={"threads": 64})),
    ):
        pass
