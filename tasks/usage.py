"""Which datasets runs use, noted in the store itself: what no note names may be removed.

`runs/<name>.json`: one note per output folder, and one per run that is going on or was killed. A
dataset is noted before it is looked for, and `retention` takes it away before it looks at the notes
again: so either the run finds it gone and makes it anew, or it is put back.
"""

import os
import threading
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from pathlib import Path

from pydantic import ValidationError

from data_contracts.references import Use, fingerprint
from data_contracts.settings import EngineSettings
from tasks.store import Store, listener, write_bytes

RUNS = "runs"  # the folder of a store that holds the notes
BEAT = 600.0  # seconds between two signs of life of a run


@dataclass(frozen=True)
class Note:
    """A note as it lies in the store; `touched` in seconds since 1970."""

    path: Path
    use: Use
    touched: float


class _Uses:
    """What one run has used so far."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self._path = root / RUNS / f"{uuid.uuid4().hex}.json"
        self._datasets: set[str] = set()
        self._lock, self._done = threading.Lock(), threading.Event()
        self._beat = threading.Thread(target=self._keep_fresh, daemon=True, name="polymine-uses")

    def open(self) -> None:
        """Write the note of a run that is going on."""
        self._write()
        self._beat.start()

    def add(self, folder: Path) -> None:
        """Note a dataset; what lies elsewhere is of no concern to this store."""
        if not folder.is_relative_to(self.root):
            return
        name = folder.relative_to(self.root).as_posix()
        with self._lock:
            if name not in self._datasets:
                self._datasets.add(name)
                self._write()

    def names(self) -> tuple[str, ...]:
        """The datasets by their paths within the store, sorted."""
        return tuple(sorted(self._datasets))

    def keep_for(self, folder: Path, run: str) -> None:
        """Note what an output folder is made of, in place of what was there before."""
        use = Use(folder=str(folder), run=run, datasets=self.names())
        path = self.root / RUNS / f"{fingerprint(folder=str(folder))}.json"
        write_bytes(path, use.model_dump_json(indent=1).encode())

    def stop(self) -> None:
        """End the signs of life."""
        self._done.set()
        self._beat.join()

    def close(self) -> None:
        """Remove the note of a run that ended well: its output folders have theirs."""
        self._path.unlink(missing_ok=True)

    def _write(self) -> None:
        write_bytes(self._path, Use(datasets=self.names()).model_dump_json(indent=1).encode())

    def _keep_fresh(self) -> None:
        while not self._done.wait(BEAT):
            with self._lock:
                self._write()


_current: ContextVar[_Uses | None] = ContextVar("uses", default=None)


@contextmanager
def noted_use(engine: EngineSettings) -> Iterator[None]:
    """Note every dataset that is used while a run lasts.

    The note of a run that fails stays for as long as `polymine gc` is told to keep what is young,
    so that the next try finds what this one has made.
    """
    uses = _Uses(Store(engine.store).root)
    uses.open()
    heard, current = listener.set(uses.add), _current.set(uses)
    try:
        yield
        uses.close()
    finally:
        uses.stop()
        listener.reset(heard)
        _current.reset(current)


def used_datasets() -> list[str]:
    """List what this run has used so far, as an output folder's manifest names it."""
    uses = _current.get()
    return list(uses.names()) if uses else []


def note_output(folder: Path, run: str) -> None:
    """Note what an output folder was made of, once it is in its place."""
    if uses := _current.get():
        uses.keep_for(folder, run)


def read_notes(root: Path) -> list[Note]:
    """Read all notes of a store; one that is being replaced or removed is left out."""
    notes = []
    for path in sorted((root / RUNS).glob("[!.]*.json")):
        try:
            use = Use.model_validate_json(path.read_bytes())
            notes.append(Note(path, use, os.stat(path).st_mtime))
        except (FileNotFoundError, ValidationError):
            continue
    return notes
