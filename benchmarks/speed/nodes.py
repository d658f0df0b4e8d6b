"""Ray nodes of one core each on this machine, each in a network namespace of its own.

A namespace has its own interfaces, addresses and ports, so the nodes reach each other and the
Prefect server over a network and nothing else; the disk is what they share, as they would a mounted
folder. Where namespaces are not allowed (they need root), the nodes are plain processes.
"""

import os
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import psutil

NAMES = ("polymine-1", "polymine-2")
ADDRESSES = ("10.83.0.1", "10.83.0.2")
RAY_PORT, CLIENT_PORT, API_PORT = 6397, 10001, 4297
MEMORY = 200 << 20  # bytes of each node's object store; orders are small
START = 120.0  # seconds


@dataclass(frozen=True)
class Place:
    """Where a command runs: its prefix, and how others reach it."""

    prefix: tuple[str, ...]
    address: str


@contextmanager
def places() -> Iterator[tuple[bool, list[Place]]]:
    """Give two places and whether they are namespaces."""
    try:
        _make_namespaces()
    except (OSError, subprocess.CalledProcessError):
        _drop_namespaces()
        yield False, [Place((), "127.0.0.1")] * 2
        return
    try:
        pairs = zip(NAMES, ADDRESSES, strict=True)
        yield True, [Place(("ip", "netns", "exec", name), address) for name, address in pairs]
    finally:
        _drop_namespaces()


@contextmanager
def prefect_server(place: Place) -> Iterator[str]:
    """Run a Prefect server with a database of its own and give its API's address."""
    url = f"http://{place.address}:{API_PORT}/api"
    with tempfile.TemporaryDirectory() as home:
        environment = {
            "PREFECT_HOME": home, "PREFECT_API_URL": url, "PREFECT_SERVER_API_PORT": f"{API_PORT}",
            "DO_NOT_TRACK": "1", "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
        }  # fmt: skip
        address = place.address if place.prefix else "127.0.0.1"
        command = [sys.executable, "-m", "prefect", "server", "start", "--host", address,
                   "--port", f"{API_PORT}"]  # fmt: skip
        with _running([*place.prefix, *command], environment):
            ask = "import urllib.request, sys; urllib.request.urlopen(sys.argv[1], timeout=5)"
            _await([*place.prefix, sys.executable, "-c", ask, f"{url}/health"], "Prefect server")
            yield url


@dataclass(frozen=True)
class Nodes:
    """A running cluster: its address for a node, that for anybody else, and a process per node."""

    address: str
    client: str
    pids: list[int]


@contextmanager
def ray_nodes(where: list[Place], environment: dict[str, str]) -> Iterator[Nodes]:
    """Start one node a place, each on a core of its own."""
    ray, head = str(Path(sys.executable).with_name("ray")), where[0]
    scratch = tempfile.mkdtemp(prefix="pm-ray-")  # short: a path of a socket has 107 bytes
    common = ["--num-cpus=1", f"--object-store-memory={MEMORY}", "--disable-usage-stats", "--block"]
    with ExitStack() as stack:
        stack.callback(shutil.rmtree, scratch, ignore_errors=True)
        pids = []
        for core, place in enumerate(where):
            role = ["--head", f"--port={RAY_PORT}", f"--ray-client-server-port={CLIENT_PORT}",
                    f"--temp-dir={scratch}", "--include-dashboard=false"]  # fmt: skip
            if core:
                role = [f"--address={head.address}:{RAY_PORT}"]
            command = [ray, "start", *role, f"--node-ip-address={place.address}", *common]
            pinned = ["taskset", "-c", f"{core}", *command]
            pids.append(stack.enter_context(_running([*place.prefix, *pinned], environment)))
            _await_nodes(head, ray, core + 1)
        yield Nodes(f"{head.address}:{RAY_PORT}", f"ray://{head.address}:{CLIENT_PORT}", pids)


@contextmanager
def lost_amid(pid: int, store: Path) -> Iterator[dict[str, float]]:
    """Kill a node with all its processes as soon as a store gets its first shard of a ranking.

    Gives a dictionary that says after how many seconds, as `after`; it stays empty if none came.
    """
    began, stop = time.time(), threading.Event()
    told: dict[str, float] = {}

    def watch() -> None:
        while not stop.wait(0.1):
            parts = (store / "rankings").rglob("part-*")
            with suppress(OSError):  # what is moved meanwhile
                if any(part.stat().st_mtime > began for part in parts):
                    told["after"] = time.time() - began
                    for each in _family(pid):
                        with suppress(psutil.Error):
                            each.kill()
                    return

    thread = threading.Thread(target=watch, daemon=True)
    thread.start()
    try:
        yield told
    finally:
        stop.set()
        thread.join()


@dataclass
class Memory:
    """Peak memory of processes with all their descendants, by name, sampled twice a second.

    Counted is what they hold for themselves (RssAnon); pages of mapped vectors are the kernel's
    cache, which it drops when it needs the room.
    """

    roots: dict[str, int] = field(default_factory=dict)
    peaks: dict[str, float] = field(default_factory=dict)

    @contextmanager
    def watched(self) -> Iterator["Memory"]:
        """Sample in a thread meanwhile."""
        stop = threading.Event()

        def sample() -> None:
            while not stop.wait(0.5):
                for name, pid in list(self.roots.items()):
                    held = sum(map(_anonymous, _workers(pid)))
                    self.peaks[name] = max(self.peaks.get(name, 0.0), held / 1024)

        thread = threading.Thread(target=sample, daemon=True)
        thread.start()
        try:
            yield self
        finally:
            stop.set()
            thread.join()


def _workers(pid: int) -> list[psutil.Process]:
    """List the processes of a root that work: of a Ray node its workers, not Ray itself."""
    family = _family(pid)
    titles = {each: _title(each) for each in family}
    if not any("raylet" in title for title in titles.values()):
        return family
    ours = (each for each, title in titles.items() if title.startswith("ray::"))
    return [each for each in ours if not titles[each].endswith("Agent")]


def _title(process: psutil.Process) -> str:
    try:
        return " ".join(process.cmdline())
    except psutil.Error:
        return ""


def _anonymous(process: psutil.Process) -> int:
    """Kilobytes that are a process's own."""
    try:
        status = Path(f"/proc/{process.pid}/status").read_text()
    except OSError:
        return 0
    lines = [line for line in status.splitlines() if line.startswith("RssAnon:")]
    return int(lines[0].split()[1]) if lines else 0


def _make_namespaces() -> None:
    _drop_namespaces()
    for name in NAMES:
        _ip("netns", "add", name)
    _ip("-n", NAMES[0], "link", "add", "to-2", "type", "veth", "peer", "name", "to-1", "netns",
        NAMES[1])  # fmt: skip
    for name, address, link in zip(NAMES, ADDRESSES, ("to-2", "to-1"), strict=True):
        _ip("-n", name, "addr", "add", f"{address}/24", "dev", link)
        _ip("-n", name, "link", "set", "lo", "up")
        _ip("-n", name, "link", "set", link, "up")


def _drop_namespaces() -> None:
    for name in NAMES:
        if Path(f"/run/netns/{name}").exists():
            _ip("netns", "del", name)


def _ip(*arguments: str) -> None:
    subprocess.run(["ip", *arguments], check=True, capture_output=True)


@contextmanager
def _running(command: list[str], environment: dict[str, str]) -> Iterator[int]:
    """Run a command apart from this one and end all it started."""
    with tempfile.TemporaryFile() as log:
        process = subprocess.Popen(
            command, stdout=log, stderr=log, env={**os.environ, **environment},
            start_new_session=True,
        )  # fmt: skip
        try:
            yield process.pid
        finally:
            family = _family(process.pid)
            process.terminate()
            try:
                process.wait(15)
            except subprocess.TimeoutExpired:
                process.kill()
            for each in family:
                with suppress(psutil.Error):
                    each.kill()


def _family(pid: int) -> list[psutil.Process]:
    """List a process and all its descendants."""
    try:
        root = psutil.Process(pid)
        return [root, *root.children(recursive=True)]
    except psutil.Error:
        return []


def _await(command: list[str], what: str) -> None:
    deadline = time.monotonic() + START
    while subprocess.run(command, capture_output=True).returncode:
        if time.monotonic() > deadline:
            raise SystemExit(f"{what} does not answer after {START:.0f} s: {' '.join(command)}")
        time.sleep(1)


def _await_nodes(head: Place, ray: str, count: int) -> None:
    """Wait until so many nodes belong to the cluster."""
    code = (
        "import ray, sys; ray.init(sys.argv[1], log_to_driver=False, logging_level='ERROR');"
        "sys.exit(sum(node['Alive'] for node in ray.nodes()) < int(sys.argv[2]))"
    )
    address = f"{head.address}:{RAY_PORT}"
    _await([*head.prefix, sys.executable, "-c", code, address, f"{count}"], "Ray")
