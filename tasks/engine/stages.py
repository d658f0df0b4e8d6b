"""Stages that find and make their datasets themselves, until they are plans, too."""

import time
from collections.abc import Callable
from dataclasses import replace
from functools import wraps
from inspect import signature
from typing import Any, ParamSpec, TypeVar, cast

from polymine.data_contracts.references import CollectionRef, DatasetRef
from polymine.tasks.engine.stage import in_flow, name_run, named_work, run_task

__all__ = ["named_work", "report_task", "stage"]
Parameters = ParamSpec("Parameters")
Result = TypeVar("Result")


def stage(
    name: str, run_name: str | None = None
) -> Callable[[Callable[Parameters, Result]], Callable[Parameters, Result]]:
    """Make a task of a function that finds or makes a dataset."""

    def decorate(function: Callable[Parameters, Result]) -> Callable[Parameters, Result]:
        bound = signature(function)
        description = (function.__doc__ or "").strip().partition("\n")[0]

        @wraps(function)
        def call(*args: Parameters.args, **kwargs: Parameters.kwargs) -> Result:
            named = bound.bind(*args, **kwargs).arguments
            title = name_run((run_name or name).format(**named))

            def work() -> Any:
                began = time.monotonic()
                made = function(*args, **kwargs)
                if isinstance(made, (DatasetRef, CollectionRef)):
                    return replace(made, seconds=time.monotonic() - began)
                return made

            if not in_flow():
                return cast(Result, work())
            return cast(Result, run_task(work, name, title, description, []).result())

        call.fn = function  # type: ignore[attr-defined]
        return call

    return decorate


report_task = stage
