"""Runs of commands that were killed: no hook of theirs ran, so whoever comes next ends them."""

from polymine.commands.server.client import ask
from polymine.tasks.monitoring.advice import COMMAND_LINE, KEY, advise_stop, write_advice

RUN_TAG = COMMAND_LINE  # on runs whose process holds the lock; see `bury_dead_runs`
DIED = "The process ended without a word, as after kill -9. Run the command again."


def bury_dead_runs(url: str) -> None:
    """Mark runs of commands that were killed as crashed; they would be Running for ever.

    Called when this command is the only user: no other command's run can be alive.
    """
    open_states = {"state": {"type": {"any_": ["RUNNING", "PENDING", "CANCELLING"]}}}
    tagged = open_states | {"tags": {"all_": [RUN_TAG]}}
    for run in ask(url, "flow_runs/filter", {"flow_runs": tagged}):
        found = {"flow_runs": {"id": {"any_": [run["id"]]}}, "task_runs": open_states}
        for task in ask(url, "task_runs/filter", found):
            _crash(url, f"task_runs/{task['id']}")
        _crash(url, f"flow_runs/{run['id']}")
        _tell_what_to_do(url, run["id"])


def _crash(url: str, run: str) -> None:
    state = {"type": "CRASHED", "name": "Crashed", "message": DIED}
    ask(url, f"{run}/set_state", {"state": state, "force": True})


def _tell_what_to_do(url: str, run: str) -> None:
    """Put onto a dead run's page what a run that ends by itself puts there."""
    advice = advise_stop("")
    text = write_advice(advice, "", "Then run the same command again.")
    about = f"{advice.kind}, and how to go on"
    artifact = {"type": "markdown", "key": KEY, "description": about, "data": text}
    ask(url, "artifacts/", {**artifact, "flow_run_id": run})
