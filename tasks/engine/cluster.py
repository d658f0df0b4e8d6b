"""The Ray cluster of a run: joined when the run begins, looked over, and left when it ends.

Every node that may get work is asked what it runs and what it sees, before hours of work end at a
machine without the store or give vectors of another version.
"""

import importlib.metadata
import os
import platform
import socket
import uuid
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from functools import lru_cache
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from polymine.data_contracts.errors import ClusterError, SettingsError, StoreError
from polymine.data_contracts.settings import EngineSettings
from polymine.models.failures import first_line
from polymine.tasks.engine.context import Context
from polymine.tasks.engine.source_version import source_version
from polymine.tasks.engine.threads import limited_threads
from polymine.tasks.engine.work import device_kind
from polymine.tasks.store.backends import open_backend
from polymine.tasks.store.datasets import Store
from polymine.tasks.store.manifests import MANIFEST
from polymine.tasks.store.usage import recorded_use

if TYPE_CHECKING:
    from prefect_ray import RayTaskRunner

# What decides bytes, and what both sides of the wire have to agree on.
PACKAGES = (
    "torch", "transformers", "tokenizers", "sentence-transformers", "numpy", "faiss-cpu", "bm25s",
    "polars", "pyarrow", "pydantic", "prefect", "prefect-ray", "ray",
)  # fmt: skip
LOOK_TIMEOUT = 180.0  # seconds for a node to start a process, import torch and answer
REACH_TIMEOUT = 10.0  # seconds for a node to reach the Prefect API


@dataclass(frozen=True)
class Sight:
    """What a node runs and sees.

    Args:
        versions: of what decides a result, by name.
        processor: instructions that torch uses; another set may change a vector's last bits.
        store: why it does not see what this run just wrote there; empty if it does.
        api: why it cannot reach the Prefect API; empty if it can.
    """

    versions: dict[str, str] = field(default_factory=dict)
    processor: str = ""
    store: str = ""
    api: str = ""


@contextmanager
def working(engine: EngineSettings) -> Iterator[Context]:
    """Give the stages of a run what they share: its store, its threads and its cluster."""
    with limited_threads(engine), cluster(engine), recorded_use():
        yield Context.of(engine)


@contextmanager
def cluster(engine: EngineSettings) -> Iterator[None]:
    """Belong to the cluster of `[engine]` while a run lasts; without one do nothing.

    Raises ClusterError when there is none, or when a node differs or lacks what its work needs.
    """
    if engine.kind == "local":
        yield
        return
    with joined(engine) as is_new:
        if is_new:
            check_nodes(engine)
        yield


@contextmanager
def joined(engine: EngineSettings) -> Iterator[bool]:
    """Connect this process to the cluster, and say whether it was not connected before."""
    runner = task_runner(engine)
    import ray

    with ExitStack() as stack:
        is_new = not ray.is_initialized()
        try:
            stack.enter_context(runner)
        except (ConnectionError, RuntimeError, ValueError, TimeoutError) as error:
            raise ClusterError(
                f"engine.address: no Ray cluster answers at {engine.address or 'this machine'} "
                f"({first_line(error)}). Start one with `ray start --head` "
                "and `ray start --address=HEAD:6379` on the other nodes, or correct the address"
            ) from error
        yield is_new


def task_runner(engine: EngineSettings) -> "RayTaskRunner[Any]":
    """Make the task runner of the cluster; it joins when entered, unless this process has.

    Raises SettingsError when prefect-ray is not installed.
    """
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    try:
        from prefect_ray import RayTaskRunner
    except ImportError as error:
        raise SettingsError(
            'engine.kind = "ray" needs Ray: install it with `pip install "polymine[ray]"`, on '
            "every node"
        ) from error
    # Log lines of the nodes come through the Prefect API, each with its task run.
    return RayTaskRunner(address=engine.address, init_kwargs={"log_to_driver": False})


def check_nodes(engine: EngineSettings) -> None:
    """Ask every node what it runs and sees; raise ClusterError for the first that will not do."""
    import ray
    from prefect.settings import PREFECT_API_URL

    listed: Any = ray.nodes  # has no types
    nodes = [node for node in listed() if node["Alive"] and node["Resources"].get("CPU")]
    _check_room(nodes, engine)
    url = PREFECT_API_URL.value()
    if url is None:
        raise ClusterError(
            "PREFECT_API_URL is not set: the nodes of a Ray cluster report their tasks to a "
            "standing Prefect server; start one that all of them reach and set its address"
        )
    store = Store(engine.store)
    with written_probe(store) as probe:
        question = (probe, url)
        asked = [(_name(node), _ask(node["NodeID"], *question)) for node in nodes]
        expected = look_around(*question)
        for name, answer in asked:
            _compare(name, _answer(name, answer), expected, store.root, url)


@contextmanager
def written_probe(store: Store) -> Iterator[str]:
    """Name a finished dataset that nobody has seen before; it is gone afterwards."""
    probe = store.dataset("probes", uuid.uuid4().hex)
    probe.commit()
    try:
        yield probe.path
    finally:
        open_backend(probe.path).clear(MANIFEST)


def look_around(probe: str, url: str) -> Sight:
    """Say what this machine runs, and whether it sees a dataset and reaches the API."""
    import torch

    return Sight(
        versions(),
        torch.backends.cpu.get_cpu_capability(),
        _see(probe),
        _reach(url),
    )


@lru_cache(maxsize=1)
def versions() -> dict[str, str]:
    """List what runs here, by name: Python, packages, and Polymine by its very source."""
    found = {"python": platform.python_version(), "polymine": source_version()}
    for name in PACKAGES:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            found[name] = "not installed"
    return found


def compare_versions(name: str, theirs: dict[str, str], ours: dict[str, str]) -> None:
    """Raise ClusterError, naming both, unless a node runs what this process runs."""
    differs = [key for key in ours if theirs.get(key) != ours[key]]
    if differs:
        pairs = "; ".join(f"{key} {theirs.get(key)}, here {ours[key]}" for key in differs)
        raise ClusterError(
            f"{name} runs other versions than this process: {pairs}. Install the same on all "
            "nodes; one run, one set of versions"
        )


def threads_per_task(engine: EngineSettings) -> int:
    """CPUs that one shard's task takes: the setting, or one."""
    return engine.threads or 1


def _ask(node: str, probe: str, url: str) -> Any:
    import ray
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    there = NodeAffinitySchedulingStrategy(node_id=node, soft=False)
    look: Any = ray.remote(look_around)
    return look.options(num_cpus=0, scheduling_strategy=there, max_retries=0).remote(probe, url)


def _answer(name: str, reference: Any) -> Sight:
    import ray

    try:
        sight: Sight = ray.get(reference, timeout=LOOK_TIMEOUT)
    except Exception as error:
        said = str(error).strip().splitlines() or [type(error).__name__]
        raise ClusterError(
            f"{name} cannot be asked what it runs ({said[-1]}). Polymine has to be installed there "
            'with its extra "ray", as it is here'
        ) from error
    return sight


def _compare(name: str, sight: Sight, expected: Sight, store: str, url: str) -> None:
    compare_versions(name, sight.versions, expected.versions)
    if sight.store:
        raise ClusterError(
            f"{name} does not see what this process just wrote to the store {store} "
            f"({sight.store}). Set engine.store to a folder that all nodes share (NFS or the like) "
            "under one path, or to an address such as `s3://bucket/prefix` that all of them may use"
        )
    if sight.api:
        raise ClusterError(
            f"{name} cannot reach the Prefect API at {url} ({sight.api}). Set PREFECT_API_URL to "
            "an address that holds on all nodes"
        )
    if sight.processor != expected.processor:
        import logging

        logging.getLogger("polymine.cluster").warning(
            "%s computes with %s, this process with %s: the last bits of vectors may depend on "
            "where they were made",
            name, sight.processor, expected.processor,
        )  # fmt: skip


def _check_room(nodes: list[dict[str, Any]], engine: EngineSettings) -> None:
    needed = threads_per_task(engine)
    largest = max((int(node["Resources"]["CPU"]) for node in nodes), default=0)
    if largest < needed:
        raise ClusterError(
            f"no node of the cluster has the {needed} CPUs that a task takes, the largest has "
            f"{largest}; set engine.threads to {max(largest, 1)} or less, or add a node"
        )
    if device_kind() == "cuda" and not any(node["Resources"].get("GPU") for node in nodes):
        raise ClusterError(
            "this process has a GPU and no node of the cluster does; shards are computed on one "
            "kind of device. Hide this one (CUDA_VISIBLE_DEVICES=) or add a node with a GPU"
        )


def _name(node: dict[str, Any]) -> str:
    return f"node {node['NodeID'][:8]} ({node['NodeManagerAddress']})"


def _see(probe: str) -> str:
    """Say why a dataset cannot be seen from here; where it is remote, no copy is kept."""
    try:
        return "" if MANIFEST in open_backend(probe).listing() else f"{probe}: not there"
    except StoreError as error:
        return str(error)


def _reach(url: str) -> str:
    parts = urlsplit(url)
    port = parts.port or (443 if parts.scheme == "https" else 80)
    try:
        socket.create_connection((parts.hostname, port), timeout=REACH_TIMEOUT).close()
    except OSError as error:
        return str(error)
    return ""
