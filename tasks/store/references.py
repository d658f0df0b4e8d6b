"""Which datasets runs use, noted in the store itself: what no note names may be removed.

`runs/<name>.json`: one note per output folder, and one per run that is going on or was killed. A
dataset is noted before it is looked for, and `retention` takes it away before it looks at the notes
again: so either the run finds it gone and makes it anew, or it is put back.
"""

import logging
import socket
import threading
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from pathlib import Path

from pydantic import ValidationError

from polymine.data_contracts.errors import StoreError
from polymine.data_contracts.references import Use, fingerprint
from polymine.data_contracts.settings import EngineSettings
from polymine.tasks.store.backends import locate
from polymine.tasks.store.datasets import Store, listener, write_bytes

logger = logging.getLogger("polymine.store")
RUNS = "runs"  # the folder of a store that holds the notes
Held = tuple[int, float]
BEAT = 600.0  # seconds between two signs of life of a run


@dataclass(frozen=True)
class Note:
    """A note by its name in the store, with its bytes and when it was written (seconds, 1970)."""

    name: str
    use: Use
    held: Held


class _Uses:
    """What one run has used so far."""

    def __init__(self, store: Store) -> None:
        self._root, self._files = store.root, locate(store.family(RUNS, ""))
        self._name = f"{uuid.uuid4().hex}.json"
        self._datasets: set[str] = set()
        self._lock, self._done = threading.Lock(), threading.Event()
        self._beat = threading.Thread(target=self._keep_fresh, daemon=True, name="polymine-uses")

    def open(self) -> None:
        """Write the note of a run that is going on."""
        self._write(self._name, Use())
        self._beat.start()

    def add(self, path: str) -> None:
        """Note a dataset; what lies elsewhere is of no concern to this store."""
        if not path.startswith(f"{self._root}/"):
            return
        name = path.removeprefix(f"{self._root}/")
        with self._lock:
            if name not in self._datasets:
                self._write(self._name, Use(datasets=tuple(sorted({*self._datasets, name}))))
                self._datasets.add(name)  # last: where it could not be written, a retry tries again

    def names(self) -> tuple[str, ...]:
        """The datasets by their paths within the store, sorted."""
        return tuple(sorted(self._datasets))

    def keep_for(self, folder: Path, run: str) -> None:
        """Note what an output folder is made of while it holds this run."""
        place = {"folder": str(folder), "host": socket.gethostname(), "run": run}
        use = Use(**place, datasets=self.names())
        self._write(f"{fingerprint(**place)}.json", use)

    def stop(self) -> None:
        """End the signs of life."""
        self._done.set()
        self._beat.join()

    def close(self) -> None:
        """Remove the note of a run that ended well: its output folders have theirs."""
        try:
            self._files.remove([self._name])
        except (OSError, StoreError) as error:  # the run has its results; a clean-up takes the note
            logger.warning("%s/%s could not be removed: %s", self._files.name, self._name, error)

    def _write(self, name: str, use: Use) -> None:
        write_bytes(self._files.folder / name, use.model_dump_json(indent=1).encode())
        self._files.push([name])

    def _keep_fresh(self) -> None:
        while not self._done.wait(BEAT):
            try:
                with self._lock:
                    self._write(self._name, Use(datasets=self.names()))
            except (OSError, StoreError) as error:  # the next one may get through
                logger.warning("a sign of life could not be written: %s", error)


_current: ContextVar[_Uses | None] = ContextVar("uses", default=None)


@contextmanager
def noted_use(engine: EngineSettings) -> Iterator[None]:
    """Note every dataset that is used while a run lasts.

    The note of a run that fails stays for as long as `polymine gc` is told to keep what is young,
    so that the next try finds what this one has made.
    """
    uses = _Uses(Store(engine.store))
    uses.open()
    heard, current = listener.set(uses.add), _current.set(uses)
    try:
        try:
            yield
        finally:
            uses.stop()
        uses.close()  # after its last sign of life, which would write it again
    finally:
        listener.reset(heard)
        _current.reset(current)


def used_datasets() -> list[str]:
    """List what this run has used so far, as an output folder's manifest names it."""
    uses = _current.get()
    return list(uses.names()) if uses else []


@contextmanager
def noted_output(folder: Path, run: str) -> Iterator[None]:
    """Note what an output folder is made of, while it is put into its place.

    Before that, so that a run that is killed right after it leaves no folder without a note; and
    once more afterwards, so that a clean-up that has just seen the one without the other leaves it.
    """
    uses = _current.get()
    if uses:
        uses.keep_for(folder, run)
    yield
    if uses:
        uses.keep_for(folder, run)


def read_notes(store: Store, seen: Mapping[str, Held] | None = None) -> list[Note]:
    """Read the notes of a store, apart from those that are as they were `seen`, by name.

    Raises StoreError for one that cannot be read: what its run needs is not known.
    """
    files = locate(store.family(RUNS, ""))
    notes = []
    for file, held in sorted(files.listing().items()):
        name = f"{RUNS}/{file}"
        if file.startswith(".") or not file.endswith(".json") or (seen or {}).get(name) == held:
            continue
        if "/" in file:  # no note, but of another folder of this name, as one of outputs
            continue
        try:
            notes.append(Note(name, Use.model_validate_json(files.read(file)), held))
        except FileNotFoundError:  # removed a moment ago
            continue
        except (OSError, ValidationError) as error:
            raise StoreError(
                f"{files.name}/{file}: this note on what a run needs cannot be read "
                f"({str(error).partition(chr(10))[0]}), so nothing is removed. Remove the note if "
                "nothing goes on, and name the folders that hold runs with --runs: their own "
                "manifests say what they need, too"
            ) from error
    return notes
