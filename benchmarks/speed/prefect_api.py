"""Prefect's API with an auth string, as far as a benchmark needs it."""

import time
from collections.abc import Callable, Set
from typing import Any

import httpx

ENDED = {"COMPLETED", "FAILED", "CRASHED", "CANCELLED"}
STARTED = {"PENDING", "RUNNING", *ENDED}


class StepError(Exception):
    """A step did not do what it says."""


class Api:
    """The API at an address ending in `/api`, asked with basic auth."""

    def __init__(self, address: str, auth: str) -> None:
        user, password = auth.split(":", 1)
        self.address = address
        self.client = httpx.Client(base_url=address, auth=(user, password), timeout=180)

    def post(self, path: str, body: Any) -> Any:
        """Ask; raise with the answer if it is a refusal."""
        answer = self.client.post(path, json=body)
        expect(answer.is_success, f"{path}: {answer.status_code} {answer.text[:300]}")
        return answer.json()

    def deployment(self, name: str) -> str:
        """Return the id of the deployment `FLOW/NAME`."""
        answer = self.client.get(f"deployments/name/{name}")
        expect(answer.is_success, f"{name}: {answer.status_code}")
        return str(answer.json()["id"])

    def inventory(self) -> dict[str, list[str]]:
        """Name what a set-up made, with the ids, so that something rebuilt would differ."""
        kinds = ("deployments", "work_pools", "work_queues", "automations")
        return {
            kind: sorted(
                f"{found['name']} {found['id']}" for found in self.post(f"{kind}/filter", {})
            )
            for kind in kinds
        }

    def tasks(self, run: str) -> list[dict[str, Any]]:
        """Return a run's task runs, waiting a little for the recorder to have written them."""
        wanted = {"flow_runs": {"id": {"any_": [run]}}}
        for _ in range(30):
            found: list[dict[str, Any]] = self.post("task_runs/filter", wanted)
            if found and all(task["state_type"] in ENDED for task in found):
                break
            time.sleep(1)
        return found

    def log(self, run: str) -> list[str]:
        """Return a run's log."""
        wanted = {"logs": {"flow_run_id": {"any_": [run]}}, "sort": "TIMESTAMP_ASC"}
        return [line["message"] for line in self.post("logs/filter", wanted)]

    def await_run(
        self, is_it: Callable[[dict[str, Any]], bool], limit: float, until: Set[str] = ENDED
    ) -> dict[str, Any]:
        """Wait until a run of which `is_it` holds has started or ended; raise if it failed."""
        deadline = time.monotonic() + limit
        while time.monotonic() < deadline:
            for run in self.post("flow_runs/filter", {"sort": "EXPECTED_START_TIME_DESC"}):
                if is_it(run) and run["state_type"] in until:
                    said = f"{run['state_name']}: {self.log(run['id'])[-8:]}"
                    expect(run["state_type"] not in ENDED - {"COMPLETED"}, said)
                    return dict(run)
            time.sleep(1)
        raise StepError(f"no such run ended within {limit:.0f} s")


def expect(holds: bool, otherwise: str) -> None:
    """Raise if a step's claim does not hold."""
    if not holds:
        raise StepError(otherwise)


def states(tasks: list[dict[str, Any]]) -> dict[str, int]:
    """Count task runs by the name of their state."""
    names = [task["state_name"] for task in tasks]
    return {name: names.count(name) for name in sorted(set(names))}
