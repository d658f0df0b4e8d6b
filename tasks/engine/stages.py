"""A stage as a Prefect task: what was reused says so, and how long it took travels along."""

import logging
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import replace
from functools import wraps
from typing import Any, ParamSpec, TypeVar, cast

from prefect import task
from prefect.cache_policies import NO_CACHE
from prefect.client.schemas.objects import State
from prefect.context import TagsContext
from prefect.states import Completed

from polymine.data_contracts.references import CollectionRef, DatasetRef

Parameters = ParamSpec("Parameters")
Reference = TypeVar("Reference", DatasetRef, CollectionRef)
Writer = TypeVar("Writer", bound=Callable[..., dict[str, Any]])

logger = logging.getLogger("polymine.stages")
_work: ContextVar[str] = ContextVar("work", default="")


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
) -> Callable[[Callable[Parameters, Reference]], Callable[Parameters, Reference]]:
    """Make a task of a function that finds or makes a dataset.

    The task run ends in the state `Reused` or `Completed` with the number of rows in its message.
    Prefect's own caching stays off: it knows neither files nor models, fingerprints do. The plain
    function stays reachable as `.fn`.
    """

    def decorate(function: Callable[Parameters, Reference]) -> Callable[Parameters, Reference]:
        @task(
            name=name,
            task_run_name=_naming(run_name or name),
            cache_policy=NO_CACHE,
            persist_result=False,
            description=(function.__doc__ or "").strip().partition("\n")[0],
        )
        @wraps(function)
        def run(*args: Parameters.args, **kwargs: Parameters.kwargs) -> State[Reference]:
            began = time.monotonic()
            made = function(*args, **kwargs)
            made = replace(made, seconds=time.monotonic() - began)
            message = _describe(made.rows, made.seconds, made.reused)
            logger.info("%s: %s", name, message)
            return Completed(
                name="Reused" if made.reused else "Completed", message=message, data=made
            )

        @wraps(function)
        def call(*args: Parameters.args, **kwargs: Parameters.kwargs) -> Reference:
            with _untagged():
                result: Reference = run(*args, **kwargs).result()
            return result

        call.fn = function  # type: ignore[attr-defined]
        return call

    return decorate


def report_task(name: str) -> Callable[[Writer], Writer]:
    """Make a task that writes an output folder; the plain function stays reachable as `.fn`."""

    def decorate(function: Writer) -> Writer:
        run = task(
            name=name,
            task_run_name=name,
            cache_policy=NO_CACHE,
            persist_result=False,
            description=(function.__doc__ or "").strip().partition("\n")[0],
        )(function)

        @wraps(function)
        def call(*args: Any, **kwargs: Any) -> Any:
            with _untagged():
                return run(*args, **kwargs)

        call.fn = function  # type: ignore[attr-defined]
        return cast(Writer, call)

    return decorate


@contextmanager
def _untagged() -> Iterator[None]:
    """Let tasks inherit no tags of their run: they ask the server for a slot of each.

    That takes up to two seconds, and the tag of a run on the command line is none of its tasks'
    business.
    """
    with TagsContext(current_tags=set()):
        yield


def _describe(rows: int, seconds: float, reused: bool) -> str:
    """Say what came out; an index or a model has no rows."""
    what = f"{rows:,} rows " if rows else ""
    if reused:
        return f"reused: {what}{'were' if rows else 'it was'} there already"
    return f"{what or 'done '}in {seconds:.1f} s"


def _naming(template: str) -> Callable[..., str]:
    """Make the function by which Prefect names a task run."""

    def name_task(parameters: dict[str, Any]) -> str:
        name, work = template.format(**parameters), _current_work()
        return f"{name}-{work}" if work and work not in name else name

    return name_task


def _current_work() -> str:
    """The name of the work; a function, since what names it is sent to Ray's nodes by value."""
    return _work.get()
