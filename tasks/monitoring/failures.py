"""What a run that does not finish shows: its state, its log and a page of what to do.

Left alone, Prefect puts an exception's class before its message, logs it with its traceback where
it was raised and again in every flow around it, and says nothing of how to continue. Here

- `explains_failures` ends a flow in the state `Failed` with the plain message;
- a filter writes each error into the log once, a user's error without its traceback;
- `tell`, a hook, puts the artifact `what-to-do` on the page of a run that failed, crashed or was
  cancelled. After kill -9 no hook runs: whoever finds such a run has to say it (see
  `polymine.commands.server.crashed_runs`).
"""

import contextlib
import functools
import logging
import shlex
import sys
from collections.abc import Callable
from typing import Any, ParamSpec, TypeVar, cast

from prefect.client.schemas.objects import FlowRun, State
from prefect.context import FlowRunContext
from prefect.logging import get_run_logger
from prefect.states import Failed

from polymine.data_contracts.credentials import credential_in, hide_credentials
from polymine.data_contracts.errors import PolymineError
from polymine.tasks.engine.source_version import source_version
from polymine.tasks.monitoring.advice import COMMAND_LINE, KEY, advise, advise_stop, write_advice
from polymine.tasks.monitoring.artifacts import create_for_run, markdown
from polymine.tasks.monitoring.run_names import name_run, tag_run

# Noted on an exception: the run and the task in which it arose, and that the log has it.
_RUN, _TASK, _TOLD = "_polymine_run", "_polymine_task", "_polymine_told"
Parameters = ParamSpec("Parameters")
Result = TypeVar("Result")


def explains_failures(function: Callable[Parameters, Result]) -> Callable[Parameters, Result]:
    """Let a flow's function end a failed run with a message made for people.

    The caller of the flow gets the exception as ever.
    """

    @functools.wraps(function)
    def run(*args: Parameters.args, **kwargs: Parameters.kwargs) -> Result:
        context = FlowRunContext.get()
        if context is None or context.flow_run is None:  # the plain function, without Prefect
            return function(*args, **kwargs)
        for name in ("prefect.flow_runs", "prefect.task_runs"):
            logging.getLogger(name).addFilter(_once)  # adding it again changes nothing
        tag_run(context.flow_run, context.parameters or {})
        try:
            return function(*args, **kwargs)
        except Exception as error:
            get_run_logger().error("%s", error, exc_info=error)
            if not hasattr(error, _RUN):  # for the runs around the one in which it arose
                _note(error, _RUN, context.flow_run)
            # Prefect takes a returned state as it is, and raises what it holds.
            return cast(Result, Failed(message=advise(error).line, data=error))

    return run


def tell(flow: Any, run: FlowRun, state: State[Any]) -> None:
    """Put the page of what to do onto a run that did not finish; a hook of every flow."""
    error = getattr(state.data, "result", state.data)
    stopped = state.is_crashed() or state.is_cancelled() or state.is_cancelling()
    if isinstance(error, Exception) and not stopped:
        advice = advise(error)
    else:
        advice = advise_stop(state.message or "")
    text = write_advice(advice, _where(error, run), describe_continuing(run))
    create_for_run(run.id, [markdown(KEY, text, f"{advice.kind}, and how to continue")])


# How every flow of Polymine is shown; given to `@flow`.
SHOWN: dict[str, Any] = {
    # By itself Prefect hashes the file of the function it is given, which is this one for all.
    "version": source_version(),
    "flow_run_name": name_run,
    "on_failure": [tell],
    "on_crashed": [tell],
    "on_cancellation": [tell],
}


def part_failed(name: str, pool: str, run: FlowRun) -> PolymineError:
    """Make the error of a flow whose part did not finish well on a work pool.

    Args:
        name, pool: of the part's flow and of the work pool it was given to.
        run: the part, as it ended.
    """
    state = run.state.name if run.state is not None else "lost"
    said = f":\n{run.state.message}\n" if run.state is not None and run.state.message else "; "
    error = PolymineError(
        f"{name} on work pool {pool} ended as {state}{said}see flow run {run.name} in the Prefect "
        "UI, fix what it says, and run this again: what is finished is reused"
    )
    _note(error, _RUN, run)
    return error


def describe_continuing(run: FlowRun) -> str:
    """Say how this very run is continued, by how it was started; a command without its secrets."""
    if run.parent_task_run_id is not None:
        return "Then continue from the run that this one is part of (*Parent Flow Run* above)."
    if COMMAND_LINE in run.tags:
        shown = ("***" if credential_in(argument) else argument for argument in sys.argv[1:])
        command = shlex.join(["polymine", *shown]).replace("`", "'")
        return f"Then run the same command again: `{command}`."
    if run.deployment_id is not None:
        return (
            f"Then press *Retry* on this page, or type `prefect flow-run retry {run.id}`. To "
            "change a setting, take *Copy to new run* from the menu there."
        )
    return "Then call the flow again with the same parameters."


def _where(error: object, run: FlowRun) -> str:
    """Link the stage and the run in which an error arose."""
    first: FlowRun | None = getattr(error, _RUN, None)
    task: str | None = getattr(error, _TASK, None)
    parts = [f"In stage `{task}`."] if task else []
    if first is not None and first.id != run.id:
        page = f"[{first.name}](/v2/runs/flow-run/{first.id})"
        parts.append(f"In its part {page}, whose log tells more.")
    elif not isinstance(error, PolymineError):
        parts.append("The tab *Logs* of this page has the traceback and what came before.")
    return " ".join(parts)


class _Once(logging.Filter):
    """Lets each error into the logs of runs once, and a user's error without its traceback."""

    def filter(self, record: logging.LogRecord) -> bool:
        text = str(record.msg)
        if text.startswith(("Finished in state Failed(", "Finished in state Crashed(")):
            record.msg = text.partition("(")[0]  # the line above it says why
            return True
        if "ook 'tell'" in text and record.levelno < logging.WARNING:
            return False
        error = record.exc_info[1] if record.exc_info else None
        if not isinstance(error, Exception):
            return True
        if hasattr(error, _TOLD):
            return False
        _note(error, _TOLD, True)
        _note(error, _TASK, getattr(record, "task_run_name", None))
        if isinstance(error, PolymineError):
            record.msg, record.args, record.exc_info = hide_credentials(str(error)), (), None
        return True


_once = _Once()


def _note(error: BaseException, name: str, value: object) -> None:
    with contextlib.suppress(AttributeError):  # exceptions written in Rust take no notes
        setattr(error, name, value)
