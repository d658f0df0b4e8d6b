"""Runs of commands that were killed: no hook of theirs ran, so whoever comes next ends them."""

import time
from datetime import datetime

from polymine.commands.server.client import ask
from polymine.tasks.monitoring.advice import COMMAND_LINE, KEY, advise_stop, write_advice

HERE = "this-home"  # tag of runs whose process holds the lock of the home's server
RUN_TAGS = (COMMAND_LINE, HERE)
LATE = 1.5  # seconds; states of tasks are written in batches, and the last may be on its way


def mark_crashed(url: str, before: datetime) -> None:
    """Mark runs of commands that were killed as crashed; they would be Running for ever.

    Args:
        url: of the home's server.
        before: when no command used it, so that no run begun before is alive.
    """
    unfinished = {"state": {"type": {"any_": ["RUNNING", "PENDING", "CANCELLING"]}}}
    tagged = unfinished | {
        "tags": {"all_": list(RUN_TAGS)},
        "expected_start_time": {"before_": before.isoformat()},
    }
    advice = advise_stop("")
    crashed = ask(url, "flow_runs/filter", {"flow_runs": tagged})
    if crashed:
        time.sleep(LATE)
    for run in crashed:
        found = {"flow_runs": {"id": {"any_": [run["id"]]}}, "task_runs": unfinished}
        tasks = [f"task_runs/{task['id']}" for task in ask(url, "task_runs/filter", found)]
        state = {"type": "CRASHED", "name": "Crashed", "message": advice.message}
        for name in [*tasks, f"flow_runs/{run['id']}"]:
            ask(url, f"{name}/set_state", {"state": state, "force": True})
        # The page that a run which ends by itself gets from its hooks.
        page = write_advice(advice, "", "Then run the same command again.")
        artifact = {"type": "markdown", "key": KEY, "description": advice.kind, "data": page}
        ask(url, "artifacts/", {**artifact, "flow_run_id": run["id"]})
