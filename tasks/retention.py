"""What of a store no kept run refers to.

Kept are the datasets that a finished output folder was made of, as the store's notes or its own
manifest say, those of runs that are going on, and whatever was touched lately. `removal` takes the
rest away.
"""

import time
import uuid
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from data_contracts.errors import StoreError
from tasks.output import COMPARISON, EVALUATION, PIPELINE, TRAINING
from tasks.store import MANIFEST, RUN, read_manifest
from tasks.store_items import Item, Kind, describe, scan_beside, scan_store
from tasks.usage import BEAT, Note, read_notes

ALIVE = 6 * BEAT  # seconds since its last sign of life after which a run is taken for dead
DAY = 86_400.0
_OUTPUTS = (RUN, TRAINING, EVALUATION, PIPELINE, COMPARISON)
_GOES: dict[Kind, str] = {
    "dataset": "no kept run refers to it",
    "unfinished": "a run was stopped while writing it",
    "leftover": "left by a killed process",
    "checkpoint": "of training that was stopped",
    "lock": "of training that has ended",
    "note": "of a run whose folder is gone or that was killed",
}


@dataclass(frozen=True)
class Plan:
    """What goes and what stays.

    Args:
        runs: the output folders that are kept.
        silent: those among them that do not say what they were made of.
    """

    root: Path
    going: tuple[Item, ...]
    staying: tuple[Item, ...]
    runs: tuple[Path, ...]
    silent: tuple[Path, ...]


def make_plan(root: Path, runs: Sequence[Path], keep_days: float) -> Plan:
    """Say of everything in a store whether it is needed.

    Args:
        runs: output folders, or folders that hold some, beside those that the store has notes of.
        keep_days: what was touched within so many days stays in any case.

    Raises StoreError when there is no store, or one of `runs` is not there.
    """
    if not root.is_dir():
        raise StoreError(f"{root}: there is no store; name its folder with --store")
    needs = _Needs(root, runs, keep_days)
    going, staying = [], []
    for item in [*scan_store(root), *needs.notes(), *scan_beside(needs.outputs)]:
        if why := needs.reason(item):
            staying.append(replace(item, why=why))
        else:
            going.append(replace(item, why=_GOES[item.kind]))
    return Plan(root, tuple(going), tuple(staying), tuple(needs.kept), tuple(needs.silent))


def is_kept(note: Note, alive_since: float) -> bool:
    """Whether a note is of a run that goes on, or of an output folder that still holds its run."""
    if note.use.folder is None:
        return note.touched >= alive_since
    manifest = read_manifest(Path(note.use.folder))
    return manifest is not None and manifest.fingerprint == note.use.run


def store_time(root: Path) -> float:
    """Return the time by the clock that the store's files are dated with: on NFS, the server's."""
    probe = root / f".now.{uuid.uuid4().hex[:8]}"
    try:
        probe.touch()
        return probe.stat().st_mtime
    except OSError:  # a store that may only be read
        return time.time()
    finally:
        probe.unlink(missing_ok=True)


class _Needs:
    """What is needed, and by whom."""

    def __init__(self, root: Path, runs: Sequence[Path], keep_days: float) -> None:
        now = store_time(root)
        self._root, self._since = root, now - keep_days * DAY
        self._known = read_notes(root)
        self.outputs = sorted({Path(n.use.folder) for n in self._known if n.use.folder})
        self.kept: list[Path] = []
        self.silent: list[Path] = []
        self._needed: dict[str, str] = {}
        alive_since = min(self._since, now - ALIVE)
        self._stale = {note.path for note in self._known if not is_kept(note, alive_since)}
        for note in self._known:
            if note.path not in self._stale:
                self._add(note.use.folder, note.use.datasets)
        for folder in _outputs_below(runs):
            if folder not in self.kept:
                self._ask(folder)

    def _add(self, folder: str | None, datasets: Iterable[str]) -> None:
        if folder is None:
            self._needed |= dict.fromkeys(datasets, "used by a run that has not ended")
            return
        self.kept.append(Path(folder))
        self._needed |= dict.fromkeys(datasets, "used by a kept run")

    def _ask(self, folder: Path) -> None:
        """Take over what an output folder itself says that it was made of."""
        manifest = read_manifest(folder)
        datasets = manifest.info.get("datasets") if manifest else None
        if datasets is None:
            self.silent.append(folder)
        self._add(str(folder), datasets or ())

    def notes(self) -> Iterator[Item]:
        """List the notes, as things that may go."""
        return (describe("note", "notes on runs", note.path) for note in self._known)

    def reason(self, item: Item) -> str | None:
        """Say why something stays, or nothing."""
        if item.kind == "note":
            return None if item.path in self._stale else "used by a kept run"
        if item.path.is_relative_to(self._root):
            name = item.path.relative_to(self._root).as_posix()
            if found := self._needed.get(name):
                return found
        return "touched lately" if item.touched >= self._since else None


def _outputs_below(roots: Iterable[Path]) -> Iterator[Path]:
    """Find the output folders in these folders, themselves included."""
    for root in roots:
        if not root.is_dir():
            raise StoreError(f"{root}: there is no such folder; name one that holds runs")
        for path in sorted(root.absolute().rglob(MANIFEST)):
            manifest = read_manifest(path.parent)
            if manifest is not None and manifest.contract in _OUTPUTS:
                yield path.parent
