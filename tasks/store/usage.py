"""Which datasets a run has used: its output folder names them, and `polymine gc` keeps them."""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

_used: ContextVar[set[str] | None] = ContextVar("used", default=None)


@contextmanager
def recorded_use() -> Iterator[None]:
    """Record every dataset that is found or made while a run lasts, in all of its threads."""
    token = _used.set(set())
    try:
        yield
    finally:
        _used.reset(token)


def record_use(path: str) -> None:
    """Record that the run that goes on, if there is one, uses a dataset."""
    if (used := _used.get()) is not None:
        used.add(path)


def used_datasets() -> list[str]:
    """List the datasets that this run has used so far, for the manifest of its output folder."""
    return sorted(_used.get() or ())
