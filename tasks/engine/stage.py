"""A stage as a Prefect task: its edges to the stages before it, what was reused, how long it took.

Outside a Prefect flow, in a notebook or a test, the same stage is a plain call.
"""

import logging
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import replace
from functools import wraps
from inspect import signature
from typing import Any, Concatenate, ParamSpec, TypeVar, cast

from polymine.data_contracts.references import CollectionRef, DatasetRef
from polymine.tasks.engine.context import Context
from polymine.tasks.engine.execution import carry_out
from polymine.tasks.engine.graph import Node
from polymine.tasks.engine.plan import Plan

Parameters = ParamSpec("Parameters")
Result = TypeVar("Result")

logger = logging.getLogger("polymine.stages")
_work: ContextVar[str] = ContextVar("work", default="")
_body: ContextVar[Callable[[], Any]] = ContextVar("body")


@contextmanager
def named_work(name: str) -> Iterator[None]:
    """Add a name to those of the task runs within, where a flow does the same work several times.

    So `select` becomes `select-naive-0`; a task run whose own name tells it stays as it is. A name
    within a name is added to it.
    """
    token = _work.set("-".join(filter(None, (_work.get(), name))))
    try:
        yield
    finally:
        _work.reset(token)


def stage(
    name: str, run_name: str | None = None
) -> Callable[
    [Callable[Concatenate[Context, Parameters], Plan | DatasetRef]],
    Callable[Concatenate[Context, Parameters], DatasetRef],
]:
    """Make a stage of a function that plans a dataset.

    The task run ends in the state `Reused` or `Completed` with the number of rows in its message.
    Prefect's own caching stays off: it knows neither files nor models, fingerprints do. `.plan` is
    the function itself.
    """

    def decorate(
        plan: Callable[Concatenate[Context, Parameters], Plan | DatasetRef],
    ) -> Callable[Concatenate[Context, Parameters], DatasetRef]:
        @wraps(plan)
        def make(run: Context, *args: Parameters.args, **kwargs: Parameters.kwargs) -> DatasetRef:
            return carry_out(run, plan(run, *args, **kwargs), name)

        call = step(name, run_name)(
            cast(Callable[Concatenate[Context, Parameters], DatasetRef], make)
        )
        call.plan = plan  # type: ignore[attr-defined]
        return call

    return decorate


def step(
    name: str, run_name: str | None = None
) -> Callable[
    [Callable[Concatenate[Context, Parameters], Result]],
    Callable[Concatenate[Context, Parameters], Result],
]:
    """Make a stage of a function that does its work itself: it reads files, or writes a folder."""

    def decorate(
        function: Callable[Concatenate[Context, Parameters], Result],
    ) -> Callable[Concatenate[Context, Parameters], Result]:
        bound = signature(function)
        description = (function.__doc__ or "").strip().partition("\n")[0]

        @wraps(function)
        def call(run: Context, *args: Parameters.args, **kwargs: Parameters.kwargs) -> Result:
            named = bound.bind(run, *args, **kwargs).arguments
            title = name_run((run_name or name).format(**named))
            needs = run.graph.needs((args, kwargs))

            def work() -> Result:
                began = time.monotonic()
                made = function(run, *args, **kwargs)
                if not isinstance(made, (DatasetRef, CollectionRef)):
                    return made
                timed = replace(made, seconds=time.monotonic() - began)
                logger.info("%s: %s", title, describe(timed))
                return cast(Result, timed)

            state = None
            if in_flow() and not run.dry:
                state = run_task(work, name, title, description, list(needs.values()))
                made = cast(Result, state.result())
                # Without what was made: Prefect takes equal texts in two results for an edge.
                state = state.model_copy(update={"data": True})
            else:
                made = work()
            reused = bool(getattr(made, "reused", False))
            run.graph.add(Node(title, tuple(needs), reused), made, state)
            return made

        call.fn = function  # type: ignore[attr-defined]
        return cast(Callable[Concatenate[Context, Parameters], Result], call)

    return decorate


def in_flow() -> bool:
    """Whether this is part of a Prefect flow run; asked without importing Prefect."""
    context = sys.modules.get("prefect.context")
    return context is not None and context.FlowRunContext.get() is not None


def run_task(
    work: Callable[[], Any], name: str, title: str, description: str, needs: list[Any]
) -> Any:
    """Run work as a Prefect task that comes after others; return its final state.

    It inherits no tags of its run: they would make the server look for a slot of each, which takes
    up to two seconds, and the tag of a run on the command line is none of its tasks' business.
    """
    from prefect import task
    from prefect.cache_policies import NO_CACHE
    from prefect.context import TagsContext

    token = _body.set(work)
    try:
        with TagsContext(current_tags=set()):
            run = task(
                name=name,
                task_run_name=title,
                cache_policy=NO_CACHE,
                persist_result=False,
                description=description,
            )(_finish)
            return run(wait_for=needs, return_state=True)
    finally:
        _body.reset(token)


def _finish() -> Any:
    """Do the work of the current task.

    A function of the module and no closure: a task that hands shards to Ray travels with them.
    """
    from prefect.states import Completed

    made = _body.get()()
    if not isinstance(made, (DatasetRef, CollectionRef)):
        return made
    state = "Reused" if made.reused else "Completed"
    return Completed(name=state, message=describe(made), data=made)


def describe(made: DatasetRef | CollectionRef) -> str:
    """Say what came out; an index or a model has no rows."""
    what = f"{made.rows:,} rows " if made.rows else ""
    if made.reused:
        return f"reused: {what}{'were' if made.rows else 'it was'} there already"
    return f"{what or 'done '}in {made.seconds:.1f} s"


def name_run(name: str) -> str:
    """Add the name of the work that this is part of: see `named_work`."""
    work = _work.get()
    return f"{name}-{work}" if work and work not in name else name
