"""Faults of the machinery: the server lost and back, workers stopped, killed and restarted.

A real server, a real work pool and real workers, in a home of their own. A run that nobody works
on any more is called crashed and scheduled again, as an automation on its heartbeats does.
"""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import psutil

from polymine.commands.server.client import ask, client_environment
from polymine.commands.server.record import status
from robustness.faults.kills import Reference
from robustness.faults.storage import Outcome, compare
from robustness.faults.work import Job, settings

ROOT = Path(__file__).resolve().parents[2]
POOL = "faults"
LIMIT = 300.0  # seconds for anything to come true
AWAY = 15.0  # seconds for which a server is gone
ENDED = ("COMPLETED", "FAILED", "CRASHED", "CANCELLED")


def break_prefect(job: Job, expected: Reference) -> list[Outcome]:
    """Break one part after the other."""
    place = Path(job.root)
    home = place / "home"
    own = replace(job, root=str(place / "lost"))
    outcomes = [lose_server_of_command(own, expected, home)]
    with standing(home) as url:
        deploy(url)
        for name, fault in (
            ("worker stopped (SIGTERM) and restarted", stop_worker),
            ("worker killed (-9) and restarted", kill_worker),
            ("worker and its run killed (-9)", kill_machine),
            ("server killed (-9), back after a while", lose_server),
        ):
            own = replace(job, root=str(place / fault.__name__))
            outcomes.append(_with_worker(name, fault, own, expected, home, url))
    return outcomes


def lose_server_of_command(job: Job, expected: Reference, home: Path) -> Outcome:
    """Kill the server that a command started while the command works."""
    outcome = Outcome("server of a command killed (-9) mid-run", times=1)
    sections = {name: part.model_dump(mode="json") for name, part in settings(job).items()}
    command = [sys.executable, "-m", "robustness.faults.command", json.dumps(sections)]
    log = Path(job.root) / "command.log"
    log.parent.mkdir(parents=True)
    with log.open("wb") as file:
        run = subprocess.Popen(
            command, env=environment(home), cwd=ROOT, stdout=file, stderr=subprocess.STDOUT
        )
        until(lambda: is_amid_stages(job) or run.poll() is not None, "the command works")
        if record := status(home / "server"):
            os.kill(record.pid, signal.SIGKILL)
        code = run.wait(LIMIT)
    said = log.read_text(errors="replace")
    outcome.named = int("The Prefect server ended and was started again" in said)
    if code or not outcome.named:
        outcome.wrong.append(f"ended with {code}: {said[-600:]}")
        return outcome
    compare(Path(job.root), job, expected, outcome)
    with standing(home) as url:
        states = {run["name"]: run["state_type"] for run in ask(url, "flow_runs/filter", {})}
    if set(states.values()) != {"COMPLETED"}:
        outcome.wrong.append(f"the server knows the runs as {states}")
    return outcome


Fault = Callable[[subprocess.Popen[bytes], str, Path, str], subprocess.Popen[bytes]]


def _with_worker(
    name: str, fault: Fault, job: Job, expected: Reference, home: Path, url: str
) -> Outcome:
    """Start a run on a worker, do the fault amid it, and see the run to its end."""
    outcome = Outcome(name, times=1)
    worker = start_worker(home)
    try:
        run = trigger(url, job)
        until(lambda: is_amid_stages(job), "the worker's run works")
        worker = fault(worker, run, home, url)
        outcome.note, outcome.named = see_to_the_end(url, run)
        state = state_of(url, run)
        if state["state_type"] != "COMPLETED":
            outcome.wrong.append(f"the run ended as {state['state_name']}")
        compare(Path(job.root), job, expected, outcome)
    finally:
        _end(worker)
    return outcome


def stop_worker(
    worker: subprocess.Popen[bytes], run: str, home: Path, url: str
) -> subprocess.Popen[bytes]:
    """SIGTERM, as systemd and docker stop a worker."""
    worker.terminate()
    try:
        worker.wait(60)
    except subprocess.TimeoutExpired:
        _end(worker)
    return start_worker(home)


def kill_worker(
    worker: subprocess.Popen[bytes], run: str, home: Path, url: str
) -> subprocess.Popen[bytes]:
    """Kill -9 of the worker alone; the process of its run is left without a parent."""
    worker.kill()
    worker.wait()
    return start_worker(home)


def kill_machine(
    worker: subprocess.Popen[bytes], run: str, home: Path, url: str
) -> subprocess.Popen[bytes]:
    """Kill -9 of the worker and of all it started, as when the machine is lost."""
    for process in [*processes_of(run), psutil.Process(worker.pid)]:
        process.kill()
    worker.wait()
    return start_worker(home)


def lose_server(
    worker: subprocess.Popen[bytes], run: str, home: Path, url: str
) -> subprocess.Popen[bytes]:
    """Kill -9 of the server, which somebody starts again after a while."""
    record = status(home / "server")
    assert record is not None
    os.kill(record.pid, signal.SIGKILL)
    time.sleep(AWAY)
    _start_server(home)
    return worker


# --- the machinery ---------------------------------------------------------------------------


def environment(home: Path, url: str | None = None) -> dict[str, str]:
    """Give the environment of a process of this home."""
    folder = home / "server"
    kept = {name: text for name, text in os.environ.items() if not name.startswith("PREFECT_")}
    kept |= {"POLYMINE_HOME": str(home), "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    return kept | (client_environment(url, folder) if url else {})


@contextmanager
def standing(home: Path) -> Iterator[str]:
    """Run a server that stays, and stop it at the end."""
    url = _start_server(home)
    try:
        yield url
    finally:
        command = [sys.executable, "-m", "polymine.commands.main", "server", "stop"]
        subprocess.run(command, env=environment(home), cwd=ROOT, check=True, capture_output=True)


def _start_server(home: Path) -> str:
    command = [sys.executable, "-m", "polymine.commands.main", "server", "start"]
    subprocess.run(command, env=environment(home), cwd=ROOT, check=True, capture_output=True)
    record = status(home / "server")
    assert record is not None, "it was just started"
    return record.url


def deploy(url: str) -> None:
    """Make the work pool and the deployment of the pipeline."""
    ask(url, "work_pools/", {"name": POOL, "type": "process"})
    flow = ask(url, "flows/", {"name": "pipeline"})
    step = {"prefect.deployments.steps.set_working_directory": {"directory": str(ROOT)}}
    ask(url, "deployments/", {
        "name": POOL, "flow_id": flow["id"], "work_pool_name": POOL, "pull_steps": [step],
        "entrypoint": "flows/pipeline.py:pipeline", "path": str(ROOT),
    })  # fmt: skip


def trigger(url: str, job: Job) -> str:
    """Start a run of the deployment; return its id."""
    Path(job.root).mkdir(parents=True)
    filters = {"deployments": {"name": {"any_": [POOL]}}}
    deployment = ask(url, "deployments/filter", filters)[0]["id"]
    parameters = {name: part.model_dump(mode="json") for name, part in settings(job).items()}
    path = f"deployments/{deployment}/create_flow_run"
    return str(ask(url, path, {"parameters": parameters})["id"])


def start_worker(home: Path) -> subprocess.Popen[bytes]:
    """Start a worker of the pool."""
    record = status(home / "server")
    assert record is not None, "the server runs"
    command = [sys.executable, "-m", "prefect", "worker", "start", "--pool", POOL]
    with (home / "worker.log").open("ab") as log:
        return subprocess.Popen(
            command, env=environment(home, record.url), cwd=ROOT, stdout=log,
            stderr=subprocess.STDOUT, start_new_session=True,
        )  # fmt: skip


def see_to_the_end(url: str, run: str) -> tuple[str, int]:
    """Wait for a run; call it crashed and retry it when nobody works on it any more.

    Returns what happened, and how often it was scheduled again.
    """
    deadline, lonely, retried = time.monotonic() + LIMIT, 0, 0
    while time.monotonic() < deadline:
        state = state_of(url, run)
        if state["state_type"] == "COMPLETED":
            how = "scheduled again" if retried else "it went on by itself"
            return how, retried
        if state["state_type"] in ENDED:
            retried += 1
            _set_state(url, run, "SCHEDULED", "AwaitingRetry")
        alone = state["state_type"] == "RUNNING" and not processes_of(run)
        lonely = lonely + 1 if alone else 0
        if lonely > 10:
            _set_state(url, run, "CRASHED", "Crashed")
        time.sleep(0.5)
    return "it never ended", retried


def state_of(url: str, run: str) -> dict[str, Any]:
    """Read a run's state."""
    found = ask(url, "flow_runs/filter", {"flow_runs": {"id": {"any_": [run]}}})
    return dict(found[0])


def _set_state(url: str, run: str, kind: str, name: str) -> None:
    body = {"state": {"type": kind, "name": name}, "force": kind == "CRASHED"}
    ask(url, f"flow_runs/{run}/set_state", body)


def processes_of(run: str) -> list[psutil.Process]:
    """List the processes that execute a flow run."""
    found = []
    for process in psutil.process_iter():
        try:
            if process.environ().get("PREFECT__FLOW_RUN_ID") == run:
                found.append(process)
        except psutil.Error:
            continue
    return found


def is_amid_stages(job: Job) -> bool:
    """Whether a run is amid its stages."""
    return (Path(job.root) / "store" / "rankings").exists()


def until(true: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + LIMIT
    while not true():
        if time.monotonic() > deadline:
            raise SystemExit(f"not within {LIMIT:.0f} s: {what}")
        time.sleep(0.02)


def _end(worker: subprocess.Popen[bytes]) -> None:
    if worker.poll() is None:
        worker.terminate()
        try:
            worker.wait(30)
        except subprocess.TimeoutExpired:
            worker.kill()
            worker.wait()
