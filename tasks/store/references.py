"""Names of earlier, for who still imports them."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from polymine.data_contracts.settings import EngineSettings
from polymine.tasks.store.usage import recorded_use, used_datasets

__all__ = ["noted_output", "noted_use", "used_datasets"]


@contextmanager
def noted_use(engine: EngineSettings) -> Iterator[None]:
    """Do what `recorded_use` does."""
    with recorded_use():
        yield


@contextmanager
def noted_output(folder: Path, run: str) -> Iterator[None]:
    """Do nothing."""
    yield
