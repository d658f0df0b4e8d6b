"""Starts the processes that train a step together, and tells what they tell.

They are programs of their own (`polymine.training.worker`): a forked one inherits threads and a
GPU's context that do not survive it, one that multiprocessing spawns runs the caller's script once
more, and torchrun wants the main thread and writes what went wrong into a log. Here a notebook, a
Prefect task and a Ray worker look alike. The process that starts them trains nothing; it keeps the
locks and the store. Its end of their standard input is their lifeline: where it closes, they end.
"""

from __future__ import annotations

import logging
import os
import pickle
import queue
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import timedelta
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from polymine.data_contracts.errors import ModelError
from polymine.models.memory import release_memory
from polymine.progress import Progress
from polymine.training.team import Team

WAITS = timedelta(days=30)  # for each other: one may write a checkpoint; whoever dies ends all
LOOK = 1.0  # seconds between looks for a cancellation while nothing is told
LAST_WORDS = 10.0  # seconds to end in order
SEEN = 2.0  # seconds in which the system shows that a process was killed
# What launchers tell processes: here libraries would take it for theirs and wait for others.
LAUNCHED = (
    "RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE", "PMI_SIZE", "OMPI_COMM_WORLD_SIZE",
    "MV2_COMM_WORLD_SIZE",
)  # fmt: skip
Inbox = queue.Queue[tuple[int, tuple[str, Any]]]


def together(
    work: Callable[[Team, Progress], Any], size: int, progress: Progress, *, on_gpus: bool
) -> Any:
    """Do work in several processes of this machine.

    Args:
        work: done by each; can be pickled, as what it returns.
        size: how many processes.
        progress: is told what the first one tells.
        on_gpus: each gets a visible GPU of its own, else all share the CPU's threads.

    Returns:
        What the first process returns.

    Raises:
        PolymineError: of the process that raised it first; so does any other error.
        ModelError: a process was ended from outside.
    """
    release_memory()  # of a GPU that this process has used, and one of them will
    level = logging.getLogger("polymine").getEffectiveLevel()
    result = None
    with _started(size, (work, level), on_gpus=on_gpus) as (processes, inbox):
        running = set(range(size))
        while running:
            try:
                rank, (kind, told) = inbox.get(timeout=LOOK)
            except queue.Empty:
                continue
            if kind == "progress":
                getattr(progress, told[0])(*told[1:])
            elif kind == "log":
                logging.getLogger(told.name).handle(told)
            elif kind == "done":
                running.discard(rank)
                result = told if rank == 0 else result
            elif kind == "failed" or rank in running:
                raise _failure(told, processes)
    return result


@contextmanager
def _started(
    size: int, job: tuple[Any, ...], *, on_gpus: bool
) -> Iterator[tuple[list[subprocess.Popen[bytes]], Inbox]]:
    """Start processes, and end what is left of them."""
    command = [sys.executable, "-P", "-m", "polymine.training.worker"]
    inbox: Inbox = queue.Queue()
    processes: list[subprocess.Popen[bytes]] = []
    folder = TemporaryDirectory(prefix="polymine-")  # where they meet: no port, and nobody else's
    content = pickle.dumps((*job, str(Path(folder.name, "meet")), on_gpus))
    try:
        for rank in range(size):
            process = subprocess.Popen(
                [*command, str(rank), str(size)], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                env=_environment(rank, size, on_gpus=on_gpus),
            )  # fmt: skip
            processes.append(process)
            threading.Thread(
                target=_listen, args=(rank, process, content, inbox), daemon=True
            ).start()
        yield processes, inbox
        for process in processes:
            with suppress(subprocess.TimeoutExpired):
                process.wait(LAST_WORDS)
    finally:
        for process in processes:
            process.kill()
        for process in processes:
            process.wait()
        folder.cleanup()


def _environment(rank: int, size: int, *, on_gpus: bool) -> dict[str, str]:
    import torch

    told = {name: value for name, value in os.environ.items() if name not in LAUNCHED}
    told["PYTHONPATH"] = os.pathsep.join(path or os.getcwd() for path in sys.path)
    told["OMP_NUM_THREADS"] = str(max(1, torch.get_num_threads() // size))
    for library in ("GLOO", "NCCL"):  # they talk within this machine: nobody else need hear it
        told.setdefault(f"{library}_SOCKET_IFNAME", "lo0" if sys.platform == "darwin" else "lo")
    if on_gpus:
        named = os.environ.get("CUDA_VISIBLE_DEVICES")
        told["CUDA_VISIBLE_DEVICES"] = named.split(",")[rank].strip() if named else str(rank)
    return told


def _listen(rank: int, process: subprocess.Popen[bytes], job: bytes, inbox: Inbox) -> None:
    """Hand a process its job, and pass on what it tells until its end."""
    assert process.stdin is not None
    assert process.stdout is not None
    with suppress(BrokenPipeError):  # its end says more
        process.stdin.write(job)
        process.stdin.flush()
    with suppress(EOFError, pickle.UnpicklingError):
        while True:
            inbox.put((rank, pickle.load(process.stdout)))
    inbox.put((rank, ("ended", None)))
    process.stdout.close()
    with suppress(BrokenPipeError):
        process.stdin.close()


def _failure(told: Exception | None, processes: list[subprocess.Popen[bytes]]) -> Exception:
    """Say what went wrong: where a process was killed, the others only lose sight of it."""
    end = time.monotonic() + SEEN
    while time.monotonic() < end:  # its connections close a moment before it is gone
        for number, process in enumerate(processes, start=1):
            if process.poll():
                return ModelError(
                    f"training: process {number} of {len(processes)} was ended by "
                    f"{_cause(process.returncode)}; where memory is short the system does that: "
                    "set fewer `engine.training_processes`, a lower `schedule.mini_batch` or "
                    "`training.base.max_length`. Run again to go on from the last checkpoint"
                )
        time.sleep(SEEN / 20)
    return told or ModelError("training: a process said nothing more, and did not end")


def _cause(code: int) -> str:
    return f"signal {signal.Signals(-code).name}" if code < 0 else f"itself, with status {code}"
