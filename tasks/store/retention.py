"""What of a store no kept run refers to.

Kept are the datasets that a finished output folder was made of, as the store's notes or its own
manifest say, those of runs that are going on, and whatever was touched lately. A folder of another
machine cannot be looked at, so it counts as there. `removal` takes the rest away.
"""

import socket
import time
import uuid
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from pydantic_core import from_json

from polymine.data_contracts.errors import StoreError
from polymine.data_contracts.references import Manifest, Use
from polymine.tasks.store.backends import locate
from polymine.tasks.store.datasets import MANIFEST, RUN, Store, write_bytes
from polymine.tasks.store.items import Item, Kind, scan_beside, scan_store
from polymine.tasks.store.output import COMPARISON, EVALUATION, PIPELINE, TRAINING
from polymine.tasks.store.references import BEAT, RUNS, Held, Note, read_notes

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
        notes: the notes that this is based on.
        hosts: the machines whose folders are looked for on this one.
        elsewhere: how many kept runs there are on each other machine.
    """

    store: Store
    going: tuple[Item, ...]
    staying: tuple[Item, ...]
    runs: tuple[Path, ...]
    silent: tuple[Path, ...]
    notes: Mapping[str, Held]
    hosts: frozenset[str]
    elsewhere: Mapping[str, int]


def make_plan(
    store: Store, runs: Sequence[Path], keep_days: float, forgotten: Collection[str] = ()
) -> Plan:
    """Say of everything in a store whether it is needed.

    Args:
        runs: output folders, or folders that hold some, beside those that the store has notes of.
        keep_days: what was touched within so many days stays in any case.
        forgotten: machines that are gone; of their runs those stay whose folders this one sees.

    Raises StoreError when there is no store, one of `runs` is not there, or the store has no run of
    one of the `forgotten`.
    """
    if str(store.folder) == store.root and not store.folder.is_dir():
        raise StoreError(f"{store.root}: there is no store; name its folder with --store")
    needs = _Needs(store, runs, keep_days, frozenset({socket.gethostname(), *forgotten}))
    if strange := sorted(set(forgotten) - needs.named):
        raise StoreError(
            f"--forget-host {strange[0]}: the store has no run of it; it has runs of "
            f"{', '.join(sorted(needs.named)) or 'none'}"
        )
    going, staying = [], []
    for item in [*scan_store(store), *scan_beside(needs.outputs)]:
        if why := needs.reason(item):
            staying.append(replace(item, why=why))
        else:
            going.append(replace(item, why=_GOES[item.kind]))
    return Plan(
        store, tuple(going), tuple(staying), tuple(needs.kept), tuple(needs.silent), needs.notes,
        needs.hosts, needs.elsewhere,
    )  # fmt: skip


def is_kept(note: Note, alive_since: float, hosts: Collection[str]) -> bool:
    """Whether a note is of a run that goes on, or of an output folder that still holds its run.

    Folders are looked for on this machine only if they are of one of the `hosts`.
    """
    if note.use.folder is None:
        return note.held[1] >= alive_since
    if note.use.host not in hosts:
        return True
    manifest = _read_run(Path(note.use.folder))
    return manifest is not None and manifest.fingerprint == note.use.run


def _read_run(folder: Path) -> Manifest | None:
    """Read the manifest of an output folder, or return None where there is none of Polymine.

    Raises StoreError for one that cannot be read: what its run needs is not known.
    """
    path = folder / MANIFEST
    try:
        content = path.read_bytes()
        return None if _is_foreign(content) else Manifest.unsealed(content)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (OSError, ValueError) as error:
        raise StoreError(
            f"{path}: cannot be read ({str(error).partition(chr(10))[0]}), so it is not known what "
            "the run there needs, and nothing is removed. Put the file right, or remove it if the "
            "run is not to be kept"
        ) from error


def _is_foreign(content: bytes) -> bool:
    """Whether another program has written a manifest: JSON as it should be, of other things."""
    held = from_json(content)
    return not isinstance(held, dict) or not {"contract", "fingerprint", "seal"} & held.keys()


def store_time(store: Store) -> float:
    """Return the time by the clock that the store's files are dated with: a server's, often."""
    name = f".now.{uuid.uuid4().hex[:8]}"
    files = locate(store.family(RUNS, ""))
    try:
        write_bytes(files.folder / name, b"now")
        files.push([name])
        return files.listing()[name][1]
    except StoreError:  # a store that may only be read
        return time.time()
    finally:
        files.remove([name])


class _Needs:
    """What is needed, and by whom."""

    def __init__(
        self, store: Store, runs: Sequence[Path], keep_days: float, hosts: frozenset[str]
    ) -> None:
        now, self.hosts = store_time(store), hosts
        self._root, self._since = store.root, now - keep_days * DAY
        self._alive_since = min(self._since, now - ALIVE)
        self._known = read_notes(store)
        self.notes = {note.name: note.held for note in self._known}
        self.named = {note.use.host for note in self._known if note.use.folder}
        self.outputs = sorted({Path(n.use.folder) for n in self._known if n.use.folder})
        self.kept: list[Path] = []
        self.silent: list[Path] = []
        self.elsewhere: Counter[str] = Counter()
        self._needed: dict[str, str] = {}
        self._stale = {
            note.name for note in self._known if not is_kept(note, self._alive_since, hosts)
        }
        for note in self._known:
            if note.name not in self._stale:
                self._add_note(note.use)
        for folder in _outputs_below(runs):
            if folder not in self.kept:
                self._ask(folder)

    def _add_note(self, use: Use) -> None:
        if use.folder is None:
            self._needed |= dict.fromkeys(use.datasets, "used by a run that has not ended")
        elif use.host in self.hosts:
            self._add(Path(use.folder), use.datasets)
        else:
            self.elsewhere[use.host] += 1
            self._needed |= dict.fromkeys(use.datasets, "used by a run on another machine")

    def _add(self, folder: Path, datasets: Iterable[str]) -> None:
        if folder not in self.kept:
            self.kept.append(folder)
        self._needed |= dict.fromkeys(datasets, "used by a kept run")

    def _ask(self, folder: Path) -> None:
        """Take over what an output folder itself says that it was made of."""
        manifest = _read_run(folder)
        datasets = manifest.info.get("datasets") if manifest else None
        if datasets is None:
            self.silent.append(folder)
        self._add(folder, datasets or ())

    def reason(self, item: Item) -> str | None:
        """Say why something stays, or nothing."""
        if item.kind == "note":
            return None if item.name in self._stale else "used by a kept run"
        if item.root == self._root and (found := self._needed.get(item.name)):
            return found
        # No note names what is being written beside its place: its age alone says that it is not.
        since = self._alive_since if item.kind == "leftover" else self._since
        return "touched lately" if item.touched >= since else None


def _outputs_below(roots: Iterable[Path]) -> Iterator[Path]:
    """Find the output folders in these folders, themselves included."""
    for root in roots:
        if not root.is_dir():
            raise StoreError(f"{root}: there is no such folder; name one that holds runs")
        for path in sorted(root.absolute().rglob(MANIFEST)):
            manifest = _read_run(path.parent)
            if manifest is not None and manifest.contract in _OUTPUTS:
                yield path.parent
