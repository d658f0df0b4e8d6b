"""One of several processes that train a step: `python -m polymine.training.worker RANK SIZE`.

It reads its job from standard input and tells progress, the log and what came of it as pickles on
standard output, which nothing else may write to. See `polymine.training.processes`.
"""

import logging
import logging.handlers
import os
import pickle
import signal
import sys
import threading
import time
import traceback
from typing import IO, Any

from polymine.data_contracts.errors import PolymineError
from polymine.progress import Silent
from polymine.training.processes import WAITS
from polymine.training.team import Team


class Teller:
    """Tells the process that started this one; implements `polymine.progress.Progress`."""

    def __init__(self, out: IO[bytes]) -> None:
        self._out, self._lock = out, threading.Lock()

    def tell(self, kind: str, what: Any) -> None:
        """Say something: `progress`, `log`, `done` or `failed`."""
        content = pickle.dumps((kind, what))
        with self._lock:
            self._out.write(content)
            self._out.flush()

    def start(self, stage: str, total: int, unit: str) -> None:
        """Begin a stage."""
        self.tell("progress", ("start", stage, total, unit))

    def advance(self, stage: str, amount: int, note: str = "") -> None:
        """Count more as done."""
        self.tell("progress", ("advance", stage, amount, note))

    def finish(self, stage: str) -> None:
        """End a stage."""
        self.tell("progress", ("finish", stage))


class _LogTeller(logging.handlers.QueueHandler):
    """Passes on the log; it makes records plain, so that they can be pickled."""

    def enqueue(self, record: logging.LogRecord) -> None:
        self.queue.tell("log", record)  # type: ignore[attr-defined]


def main(rank: int, size: int) -> None:
    """Do a job as one of several processes."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the starter hears Ctrl-C, and ends this one
    teller = Teller(os.fdopen(os.dup(1), "wb"))
    os.dup2(2, 1)
    try:
        work, level, meeting, on_gpus = pickle.load(sys.stdin.buffer)
        threading.Thread(target=_end_with_starter, daemon=True).start()
        team = Team(rank, size)
        heard = _LogTeller(teller) if team.leads else logging.NullHandler()  # type: ignore[arg-type]
        logging.getLogger("polymine").addHandler(heard)
        logging.getLogger("polymine").setLevel(level)
        _join(team, meeting, on_gpus)
        teller.tell("done", work(team, teller if team.leads else Silent()))
    except Exception as error:
        teller.tell("failed", _portable(error))
        time.sleep(WAITS.total_seconds())  # the others would only say that this one is gone


def _join(team: Team, meeting: str, on_gpus: bool) -> None:
    from torch.distributed import FileStore, init_process_group  # type: ignore[attr-defined]

    store = FileStore(meeting, team.size)
    # What is exchanged in memory never waits for a GPU.
    backend = "cpu:gloo,cuda:nccl" if on_gpus else "gloo"
    init_process_group(backend, store=store, rank=team.rank, world_size=team.size, timeout=WAITS)


def _end_with_starter() -> None:
    """End where nobody holds the other end of standard input any more."""
    os.read(sys.stdin.fileno(), 1)  # unbuffered: its lock would be in the way at the end
    os._exit(1)


def _portable(error: Exception) -> Exception:
    """An error that can be pickled; where it was raised is of use if it is not made for people."""
    if isinstance(error, PolymineError):
        return error
    error.add_note("".join(traceback.format_exception(error)))
    try:
        pickle.loads(pickle.dumps(error))
    except Exception:
        return RuntimeError(f"{type(error).__name__}: {error}")
    return error


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]))
