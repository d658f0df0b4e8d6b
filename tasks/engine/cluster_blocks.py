"""Shards as tasks of a Ray cluster: one task a shard, as many at once as the cluster has room for.

A task takes the work, numbers, and a reference to each shard's order, which lies in Ray's memory
until the task has it. What a node writes lies in the shared store; back comes who made it.
"""

import logging
import os
import socket
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import polars as pl
from prefect import task
from prefect.cache_policies import NO_CACHE
from prefect.client.schemas.objects import State
from prefect.states import Completed

from polymine.data_contracts.errors import ClusterError, PolymineError, StoreError
from polymine.models.failures import first_line
from polymine.progress import Progress, Silent
from polymine.reporting.formatting import as_key, count_of, format_seconds
from polymine.tasks.engine.cluster import compare_versions, joined, task_runner, threads_per_task
from polymine.tasks.engine.cluster import versions as installed
from polymine.tasks.engine.work import Work, device_kind, kept_open, make_block

logger = logging.getLogger("polymine.cluster")
RETRIES = 3  # of a task whose node was lost (on another one), or that failed for no known reason
RETRY_DELAY = 10  # seconds
TASKS = 200  # per stage at most, more are bundled: a server and its pages bear some hundred
AHEAD = 2  # tasks handed to the cluster per place it has, so that no node waits for the next one
VISIBLE_TIMEOUT = 120.0  # seconds; an NFS client may believe for 60 that a new file is not there
LOOK_AGAIN = 5.0  # seconds between two tries to open what may not be seen yet
LOOK_ROUND = 15.0  # seconds between two looks at the nodes, while no task ends
REPLACEMENT = 600.0  # seconds for a node to come, after the last one that could do the work is lost


@dataclass(frozen=True)
class Made:
    """Who made some shards, and how long that took."""

    numbers: tuple[int, ...]
    rows: int
    seconds: float
    node: str


def make_on_cluster(
    work: Work,
    sizes: Mapping[int, int],
    order: Callable[[int], pl.DataFrame] | None,
    progress: Progress,
) -> None:
    """Make shards on the cluster, side by side.

    After a failure nothing new is started; what is under way is finished and stays. Then the first
    error is raised: the shard's own, or ClusterError if its nodes were lost again and again, or all
    of them for longer than a new one takes to come.
    """
    travelling = _for_nodes(work)
    with _submitting(work) as submit:
        waiting: dict[Any, _Task] = {}
        left, failure = _bundles(list(sizes)), None
        while True:
            while failure is None and len(waiting) < _room(work):
                if (numbers := next(left, None)) is None:
                    break
                begun = submit(travelling, numbers, order)
                waiting[begun.reference] = begun
            if not waiting:
                break
            for done in _wait(waiting, _wants(work), failure):
                failure = _settle(done, failure)
                if failure is None:
                    amount = sum(sizes[number] for number in done.numbers)
                    progress.advance(work.label, amount, f"{len(waiting)} tasks under way")
    if failure is not None:
        raise failure
    _await_files(work, sizes)


@dataclass(frozen=True)
class _Task:
    """A task under way."""

    name: str
    numbers: tuple[int, ...]
    future: Any

    @property
    def reference(self) -> Any:
        """What Ray waits for."""
        return self.future.wrapped_future


def may_pass(task: Any, task_run: Any, state: State[Any]) -> bool:
    """Whether doing a failed task again may help: not if the error is for the user to act on."""
    return not isinstance(state.data, PolymineError) and not isinstance(
        getattr(state.data, "result", None), PolymineError
    )


@task(
    name="make-shards",
    cache_policy=NO_CACHE,
    persist_result=False,
    retries=RETRIES,
    retry_delay_seconds=RETRY_DELAY,
    retry_condition_fn=may_pass,
)
def make_shards(
    work: Work, numbers: tuple[int, ...], orders: list[Any], versions: dict[str, str]
) -> State[Made]:
    """Make some shards of a stage on this node, those that are not there yet."""
    return make_here(work, numbers, orders, versions)


def make_here(
    work: Work, numbers: tuple[int, ...], orders: list[Any], versions: dict[str, str]
) -> State[Made]:
    """Make shards in this process, a worker of the cluster.

    Apart from the task, because Ray ships a task's body by value and this module's by name: what a
    process keeps open would otherwise be a copy per task.
    """
    began, rows, dataset, node = time.monotonic(), 0, work.dataset(), _where()
    compare_versions(node, installed(), versions)  # a node may have come since the run began
    _open_here(work)
    with kept_open(work) as maker:
        for number, order in zip(numbers, orders or [None] * len(numbers), strict=True):
            if not dataset.has(work.block(number)):
                rows += make_block(dataset, work.block(number), maker, number, order, Silent())
    made = Made(numbers, rows, time.monotonic() - began, node)
    message = f"{rows:,} rows in {format_seconds(made.seconds)} on {node}"
    return Completed(message=message, data=made)


def _open_here(work: Work) -> None:
    """Open what the shards share; wait for what this machine does not see yet.

    All of it was finished before the task began, but an NFS client may believe otherwise.
    """
    deadline = time.monotonic() + VISIBLE_TIMEOUT
    while True:
        try:
            with kept_open(work):
                return
        except (FileNotFoundError, StoreError) as error:
            if time.monotonic() > deadline:
                raise
            logger.info("%s: not seen here yet, looked for again: %s", work.label, error)
            time.sleep(LOOK_AGAIN)


def _for_nodes(work: Work) -> Work:
    """Say what a node needs to know: its threads, and that it is to do the work itself."""
    here = {"kind": "local", "address": None, "threads": threads_per_task(work.engine)}
    return replace(work, engine=work.engine.model_copy(update=here))


@contextmanager
def _submitting(
    work: Work,
) -> Iterator[Callable[[Work, tuple[int, ...], Callable[[int], pl.DataFrame] | None], _Task]]:
    """Give what hands a task to the cluster."""
    with joined(work.engine):
        import ray
        from prefect_ray.context import remote_options

        wants = _wants(work)
        options: dict[str, Any] = {
            "num_cpus": wants["CPU"],
            "num_gpus": wants.get("GPU", 0),
            "max_retries": RETRIES,
            "scheduling_strategy": "SPREAD",
        }
        versions = installed()

        def submit(
            work: Work,
            numbers: tuple[int, ...],
            order: Callable[[int], pl.DataFrame] | None,
        ) -> _Task:
            name = _task_name(work.label, numbers)
            orders = [ray.put(order(number)) for number in numbers] if order else []
            parameters = {
                "work": work, "numbers": numbers, "orders": orders, "versions": versions,
            }  # fmt: skip
            named = make_shards.with_options(name=name, task_run_name=name)
            return _Task(name, numbers, runner.submit(named, parameters))

        with task_runner(work.engine) as runner, remote_options(**options):
            yield submit


def _wants(work: Work) -> dict[str, int]:
    """What a task takes of its node, in Ray's names."""
    wants = {"CPU": threads_per_task(work.engine)}
    return wants | {"GPU": 1} if work.uses_model and device_kind() == "cuda" else wants


def _wait(
    waiting: dict[Any, _Task], wants: Mapping[str, int], failure: Exception | None = None
) -> list[_Task]:
    """Take the tasks that have ended, one at least.

    Ray would wait for ever where no node is left that could do them. A lost one may be replaced; if
    none is for long, this raises the `failure` there was before, or ClusterError.
    """
    import ray

    last_seen = time.monotonic()
    while True:
        ready, _ = ray.wait(list(waiting), num_returns=1, timeout=LOOK_ROUND)
        if ready:
            return [waiting.pop(reference) for reference in ready]
        if _has_node(wants):
            last_seen = time.monotonic()
        elif time.monotonic() - last_seen > REPLACEMENT:
            asked = " and ".join(f"{amount} {name}" for name, amount in wants.items())
            raise failure or ClusterError(
                f"for {REPLACEMENT:.0f} s no node of the cluster has had the {asked} that a task "
                f"takes, and {count_of(len(waiting), 'task')} had to wait. Start a node, and run "
                "again: finished shards are reused"
            )


def _has_node(wants: Mapping[str, int]) -> bool:
    """Whether some living node is large enough for a task, busy or not."""
    import ray

    listed: Any = ray.nodes  # has no types
    return any(
        node["Alive"] and all(node["Resources"].get(key, 0) >= wants[key] for key in wants)
        for node in listed()
    )


def _settle(done: _Task, failure: Exception | None) -> Exception | None:
    """Give the first error there was."""
    import ray

    try:
        done.future.result()
    except ray.exceptions.RayError as error:
        lost = ClusterError(
            f"{done.name}: its process or node was lost {RETRIES + 1} times "
            f"({first_line(error)}). Look at the nodes' memory and at Ray's "
            "own log, and run again: finished shards are reused"
        )
        lost.__cause__ = error
        return failure or lost
    except Exception as error:
        return failure or error
    return failure


def _room(work: Work) -> int:
    """Count how many tasks to have under way."""
    import ray

    listed: Any = ray.cluster_resources  # has no types
    has = listed()
    places = min(int(has.get(name, 0)) // amount for name, amount in _wants(work).items())
    return max(AHEAD * places, 1)


def _bundles(numbers: list[int]) -> Iterator[tuple[int, ...]]:
    """Cut the shards into as many tasks as a server bears, neighbours together."""
    size = -(-len(numbers) // TASKS)
    return (tuple(numbers[start : start + size]) for start in range(0, len(numbers), size))


def _task_name(stage: str, numbers: tuple[int, ...]) -> str:
    words = as_key(stage)
    if len(numbers) == 1:
        return f"{words}-shard-{numbers[0]:03d}"
    return f"{words}-shards-{numbers[0]:03d}-{numbers[-1]:03d}"


def _where() -> str:
    import ray

    node = ray.get_runtime_context().get_node_id()[:8]
    return f"node {node} ({socket.gethostname()}, process {os.getpid()})"


def _await_files(work: Work, numbers: Mapping[int, int]) -> None:
    """Wait until this machine sees what the nodes wrote."""
    dataset, deadline = work.dataset(), time.monotonic() + VISIBLE_TIMEOUT
    for number in numbers:
        while not dataset.has(work.block(number)):
            if time.monotonic() > deadline:
                raise StoreError(
                    f"{dataset.folder / work.block(number)}: a node wrote it and this machine does "
                    f"not see it after {VISIBLE_TIMEOUT:.0f} s; all of them must share the store"
                )
            time.sleep(0.5)
