"""Progress of a task, seen in three places: bars in a terminal, log lines, artifacts in the UI.

The core counts; this turns counts into throughput and time left. Artifacts and log lines are
throttled, since each costs the server a request, and work shorter than that throttle makes none.
Losing sight of progress must not fail the work: an artifact that cannot be written is given up.
"""

import contextvars
import logging
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sized
from dataclasses import dataclass
from typing import Any, TypeVar, cast
from uuid import UUID

from rich.console import Console
from rich.progress import (
    BarColumn,
    Progress,
    ProgressColumn,
    Task,
    TaskID,
    TextColumn,
    TimeRemainingColumn,
)
from rich.text import Text

from polymine.reporting.formatting import as_key, format_seconds

ARTIFACT_EVERY = 5.0  # seconds; each costs the task some 20 ms
FIRST_LOG = 10.0  # seconds; a stage that takes less says how it ended, and no more
LOG_EVERY = 60.0
RARER = 100  # in long work not more often than after each hundredth of the time it has taken
Part = TypeVar("Part", bound=Sized)


@dataclass
class _Stage:
    total: int
    unit: str
    began: float
    logged: float
    published: float
    done: int = 0
    note: str = ""
    bar: TaskID | None = None
    artifact: UUID | None = None

    def speed(self, now: float) -> float:
        return self.done / max(now - self.began, 1e-6)

    def describe(self, now: float) -> str:
        speed = self.speed(now)
        left = (self.total - self.done) / speed if speed > 0 else 0.0
        text = f"{self.done:,} of {self.total:,} {self.unit}, {format_speed(speed)} {self.unit}/s"
        text += f", {format_seconds(left)} left" if 0 < self.done < self.total else ""
        return text + (f" ({self.note})" if self.note else "")


class TaskProgress:
    """Implements the core's `Progress` protocol inside a Prefect task, or without one.

    Make it in the task itself: it keeps the task's logger and run context, so that threads the
    core starts may report too.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._logger = _task_logger()
        self._context = contextvars.copy_context()
        self._lock = threading.Lock()
        self._stages: dict[str, _Stage] = {}

    def start(self, stage: str, total: int, unit: str) -> None:
        """Begin a stage of `total` units, as `start("embed minilm", 1200, "texts")`."""
        with self._lock:
            now = self._clock()
            self._stages[stage] = _Stage(total, unit, began=now, logged=now, published=now)
            self._stages[stage].bar = _terminal.add(stage, total, unit)

    def advance(self, stage: str, amount: int, note: str = "") -> None:
        """Count `amount` more units as done."""
        with self._lock:
            state, now = self._stages[stage], self._clock()
            state.done += amount
            state.note = note
            _terminal.move(state.bar, state.done)
            rarer = (now - state.began) / RARER
            silent = LOG_EVERY if state.logged > state.began else FIRST_LOG
            if now - state.logged >= max(silent, rarer):
                state.logged = now
                self._logger.info("%s: %s", stage, state.describe(now))
            if now - state.published >= max(ARTIFACT_EVERY, rarer):
                state.published = now
                percent = min(100.0, 100.0 * state.done / max(state.total, 1))
                self._publish(stage, state, now, percent)

    def finish(self, stage: str) -> None:
        """End a stage and say how fast it was."""
        with self._lock:
            state, now = self._stages.pop(stage), self._clock()
            _terminal.remove(state.bar)
            if now - state.began >= LOG_EVERY:
                self._logger.info(
                    "%s: %s %s in %s, %s %s/s", stage, f"{state.done:,}", state.unit,
                    format_seconds(now - state.began), format_speed(state.speed(now)), state.unit,
                )  # fmt: skip
            if state.artifact is not None:  # full, also where an earlier run had done a part
                self._publish(stage, state, now, percent=100.0)

    def _publish(self, stage: str, state: _Stage, now: float, percent: float) -> None:
        key, text = as_key(stage, "progress"), state.describe(now)  # the key names the stage
        try:
            state.artifact = self._context.run(_write_artifact, state.artifact, key, percent, text)
        except Exception as error:
            state.published = float("inf")
            self._logger.warning("%s: its progress cannot be shown in the UI: %s", stage, error)


def track(parts: Iterable[Part], stage: str, total: int, unit: str) -> Iterator[Part]:
    """Yield parts and count each, by its length, once the caller is done with it."""
    progress = TaskProgress()
    progress.start(stage, total, unit)
    for part in parts:
        yield part
        progress.advance(stage, len(part))
    progress.finish(stage)


def stop_display() -> None:
    """Leave the terminal as it was, when work ended without finishing its stages."""
    _terminal.clear()


def format_speed(speed: float) -> str:
    """Write units per second with three significant digits at most."""
    return f"{speed:,.0f}" if speed >= 10 else f"{speed:.2g}"


def _task_logger() -> Any:
    from prefect.exceptions import MissingContextError
    from prefect.logging import get_run_logger

    core = logging.getLogger("polymine")
    if core.level == logging.NOTSET:
        core.setLevel(logging.INFO)  # Prefect adds its handler to extra loggers, but no level
    try:
        return get_run_logger()
    except MissingContextError:
        return logging.getLogger("polymine.progress")


def _write_artifact(known: UUID | None, key: str, percent: float, text: str) -> UUID | None:
    from prefect.artifacts import create_progress_artifact, update_progress_artifact
    from prefect.context import TaskRunContext

    if TaskRunContext.get() is None:
        return None
    # `_sync` because the core may call from a thread in which Prefect would return a coroutine
    create, update = cast(Any, create_progress_artifact), cast(Any, update_progress_artifact)
    if known is None:
        return cast(UUID, create(percent, key=key, description=text, _sync=True))
    return cast(UUID, update(known, percent, description=text, _sync=True))


class _SpeedColumn(ProgressColumn):
    def render(self, task: Task) -> Text:
        unit = task.fields["unit"]
        speed = task.finished_speed or task.speed
        return Text(f"{format_speed(speed)} {unit}/s" if speed else "", style="cyan")


class _Terminal:
    """The bars of all tasks of this process: a terminal has room for one live display."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._display: Progress | None = None
        self._open = 0

    def add(self, stage: str, total: int, unit: str) -> TaskID | None:
        if not sys.stderr.isatty():
            return None
        with self._lock:
            if self._display is None:
                self._display = _new_display()
                self._display.start()
            self._open += 1
            return self._display.add_task(stage, total=total, unit=unit)

    def move(self, bar: TaskID | None, done: int) -> None:
        with self._lock:
            if bar is not None and self._display is not None:
                self._display.update(bar, completed=done)

    def remove(self, bar: TaskID | None) -> None:
        with self._lock:
            if bar is None or self._display is None:
                return
            self._open -= 1
            if self._open == 0:
                self._stop()

    def clear(self) -> None:
        with self._lock:
            self._open = 0
            self._stop()

    def _stop(self) -> None:
        if self._display is not None:
            self._display.stop()
            self._display = None


def _new_display() -> Progress:
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.completed:,.0f}/{task.total:,.0f}"),
        _SpeedColumn(),
        TimeRemainingColumn(elapsed_when_finished=True),
        console=Console(stderr=True),
    )


_terminal = _Terminal()
