"""What the stages of a run share: where datasets lie, how work is done, and who is watching."""

import tempfile
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from contextlib import contextmanager
from contextvars import copy_context
from threading import RLock
from typing import TypeVar

from polymine.data_contracts.settings import EngineSettings
from polymine.tasks.engine.graph import Graph
from polymine.tasks.engine.threads import limited_threads
from polymine.tasks.store.datasets import Store

Result = TypeVar("Result")


class Context:
    """The first argument of every stage.

    Args:
        store: where datasets are kept by fingerprint.
        engine: how work is cut and who does it; never part of a fingerprint.
        dry: whether stages are only planned: `polymine plan`.
        aside: where a dry run reads its input; a store that is gone afterwards.
    """

    def __init__(
        self,
        store: Store,
        engine: EngineSettings,
        *,
        dry: bool = False,
        aside: "Context | None" = None,
    ) -> None:
        self.store, self.engine, self.dry, self.aside = store, engine, dry, aside
        self.graph = Graph()
        self.model_lock = RLock()  # one model at a time computes in a process

    @classmethod
    def of(cls, engine: EngineSettings) -> "Context":
        """Work in the store that the settings name."""
        return cls(Store(engine.store), engine)

    def together(self, calls: Sequence[Callable[[], Result]]) -> list[Result]:
        """Make calls that do not depend on each other, side by side where `engine` lets them.

        Results come in the order of the calls, and are the same bytes either way. The first error
        is raised once the calls that had begun are done.
        """
        at_once = self.engine.stages_at_once
        if at_once == 1 or len(calls) < 2:
            return [call() for call in calls]
        with ThreadPoolExecutor(at_once, thread_name_prefix="stage") as pool:
            futures = [pool.submit(copy_context().run, self._limited, call) for call in calls]
            wait(futures, return_when=FIRST_EXCEPTION)
            for future in futures:
                future.cancel()  # those that have not begun, after an error
            failed = [each for each in futures if not each.cancelled() and each.exception()]
            return [future.result() for future in failed or futures]

    def _limited(self, call: Callable[[], Result]) -> Result:
        """Hold a thread to the run's threads: the libraries' limits are each thread's own."""
        with limited_threads(self.engine):
            return call()


@contextmanager
def planning(engine: EngineSettings) -> Iterator[Context]:
    """Plan stages over a store: those that read the input are carried out aside, none else."""
    with temporary(engine) as aside:
        yield Context(Store(engine.store, made=False), engine, dry=True, aside=aside)


@contextmanager
def temporary(engine: EngineSettings | None = None) -> Iterator[Context]:
    """Work without a lasting store: its datasets live as long as this block."""
    with tempfile.TemporaryDirectory(prefix="polymine-") as folder:
        settings = (engine or EngineSettings()).model_copy(update={"store": folder})
        yield Context(Store(folder), settings)
