"""One run at a time trains an adapter; another one waits, and then finds the result."""

import fcntl
import logging
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

logger = logging.getLogger("polymine.training")


@contextmanager
def alone(folder: Path) -> Iterator[None]:
    """Hold the lock of a folder of checkpoints."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    lock = folder.parent / f"{folder.name}.lock"
    while True:
        with lock.open("a+") as file:
            try:
                _take(file, folder)
            except OSError as error:  # some network folders have no locks
                logger.warning(
                    "%s cannot be locked (%s); see that no other run trains the same", folder, error
                )
            if lock.exists() and lock.stat().st_ino == os.fstat(file.fileno()).st_ino:
                yield  # else `polymine gc` removed it while this run waited
                file.truncate(0)  # whoever meets it next is not told of this run
                return


def _take(lock: IO[str], folder: Path) -> None:
    """Take a lock; if another run has it, say which one, and wait: its training may take hours."""
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        lock.seek(0)
        logger.warning(
            "%s trains the same (%s); this run waits until that ends, and takes over the result",
            lock.read() or "another process", folder.name,
        )  # fmt: skip
        fcntl.flock(lock, fcntl.LOCK_EX)
    lock.truncate(0)
    lock.write(f"process {os.getpid()} on {socket.gethostname()}")
    lock.flush()
