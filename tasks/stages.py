"""A stage as a Prefect task: what was reused says so, and how long it took travels along."""

import logging
import time
from collections.abc import Callable
from dataclasses import replace
from functools import wraps
from typing import ParamSpec, TypeVar

from prefect import task
from prefect.cache_policies import NO_CACHE
from prefect.client.schemas.objects import State
from prefect.states import Completed

from data_contracts.references import CollectionRef, DatasetRef

Parameters = ParamSpec("Parameters")
Reference = TypeVar("Reference", DatasetRef, CollectionRef)

logger = logging.getLogger("polymine.stages")


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
            task_run_name=run_name or name,
            cache_policy=NO_CACHE,
            persist_result=False,
            description=(function.__doc__ or "").strip().partition("\n")[0],
        )
        @wraps(function)
        def run(*args: Parameters.args, **kwargs: Parameters.kwargs) -> State[Reference]:
            began = time.monotonic()
            made = function(*args, **kwargs)
            made = replace(made, seconds=time.monotonic() - began)
            message = f"{made.rows:,} rows in {made.seconds:.1f} s"
            if made.reused:
                message = f"reused: {made.rows:,} rows were there already"
            logger.info("%s: %s", name, message)
            return Completed(
                name="Reused" if made.reused else "Completed", message=message, data=made
            )

        @wraps(function)
        def call(*args: Parameters.args, **kwargs: Parameters.kwargs) -> Reference:
            result: Reference = run(*args, **kwargs).result()
            return result

        call.fn = function  # type: ignore[attr-defined]
        return call

    return decorate
