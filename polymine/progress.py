"""How the core tells what it is doing, without printing: a protocol the callers implement."""

from typing import Protocol


class Progress(Protocol):
    """Receives the progress of long work; amounts are counted in `unit`."""

    def start(self, stage: str, total: int, unit: str) -> None: ...

    def advance(self, stage: str, amount: int, note: str = "") -> None: ...

    def finish(self, stage: str) -> None: ...


class Silent:
    """Says nothing: for notebooks and tests."""

    def start(self, stage: str, total: int, unit: str) -> None:
        """Ignore the start."""

    def advance(self, stage: str, amount: int, note: str = "") -> None:
        """Ignore the step."""

    def finish(self, stage: str) -> None:
        """Ignore the end."""
