"""What lies in a store, thing by thing: datasets, unfinished ones, checkpoints and leftovers."""

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from polymine.data_contracts.errors import StoreError
from polymine.tasks.store.backends import Folder, locate
from polymine.tasks.store.datasets import MANIFEST, Store
from polymine.tasks.store.references import RUNS

CHECKPOINTS = "checkpoints"
_FINGERPRINT = re.compile(r"[0-9a-f]{32}")
_LEFTOVER = re.compile(r"\..+\.(old-)?[0-9a-f]{8}")
Kind = Literal["dataset", "unfinished", "leftover", "checkpoint", "lock", "note"]
_Key = tuple[Kind, str, str]  # kind, family, and what the names of its files begin with


@dataclass(frozen=True)
class Item:
    """Something in a store, or beside an output folder.

    Args:
        family: the contract of a dataset; of other things, what they are.
        root: the store, or the folder that the output folder is in; `name` is its place there.
        size: bytes of its files.
        touched: when the newest of them was written, in seconds since 1970.
        why: why it goes or stays.
    """

    kind: Kind
    family: str
    root: str
    name: str
    size: int
    touched: float
    why: str = ""

    @property
    def place(self) -> str:
        """Its whole name."""
        return f"{self.root}/{self.name}"


def scan_store(store: Store) -> Iterator[Item]:
    """List all that a store holds; of one in the cloud also what this machine has for itself.

    Raises StoreError for a folder that holds files and nothing of a store.
    """
    files = locate(store.root).listing()
    found = list(_gather(store.root, files))
    if files and not found:
        raise StoreError(
            f"{store.root}: holds files, such as {min(files)}, and nothing of a store; name the "
            "folder that runs have as `engine.store`"
        )
    yield from found
    if str(store.folder) != store.root:
        own = Folder(str(store.folder)).listing()
        kept = {name: held for name, held in own.items() if name.startswith(f"{CHECKPOINTS}/")}
        yield from _gather(str(store.folder), kept)


def scan_beside(outputs: Iterable[Path]) -> Iterator[Item]:
    """Find what a killed process left beside the output folders that it was about to write."""
    for folder in outputs:
        if not folder.parent.is_dir():
            continue
        for path in sorted(folder.parent.iterdir()):
            if path.name.startswith(f".{folder.name}.") and _LEFTOVER.fullmatch(path.name):
                held = Folder(str(path)).listing() if path.is_dir() else {}
                touched = max([path.stat().st_mtime, *(when for _, when in held.values())])
                size = sum(size for size, _ in held.values())
                family = "leftovers beside outputs"
                yield Item("leftover", family, str(folder.parent), path.name, size, touched)


def _gather(root: str, files: Mapping[str, tuple[int, float]]) -> Iterator[Item]:
    """Put files together to the things that they are part of."""
    things: dict[_Key, list[tuple[int, float]]] = {}
    for name, held in files.items():
        if key := _part_of(name.split("/"), files):
            things.setdefault(key, []).append(held)
    for (kind, family, name), parts in sorted(things.items(), key=lambda thing: thing[0][2]):
        size, touched = sum(size for size, _ in parts), max(when for _, when in parts)
        yield Item(kind, family, root, name, size, touched)


def _part_of(parts: list[str], files: Mapping[str, object]) -> _Key | None:
    """Say what a file is part of, or None for what is not Polymine's."""
    hidden = next((at for at, part in enumerate(parts) if _LEFTOVER.fullmatch(part)), None)
    if hidden is not None:
        return "leftover", "leftovers", "/".join(parts[: hidden + 1])
    if parts[0] == RUNS and len(parts) == 2 and parts[1].endswith(".json"):
        return "note", "notes on runs", "/".join(parts)
    if parts[0] == CHECKPOINTS and len(parts) > 1:
        lock = parts[1].endswith(".lock")
        return ("lock", "locks of training", "/".join(parts)) if lock else (
            "checkpoint", CHECKPOINTS, "/".join(parts[:2])
        )  # fmt: skip
    if len(parts) < 3 or not _FINGERPRINT.fullmatch(parts[1]):
        return None
    # Those of one model share a folder.
    within = len(parts) > 3 and _FINGERPRINT.fullmatch(parts[2]) is not None
    name = "/".join(parts[: 3 if within else 2])
    return ("dataset" if f"{name}/{MANIFEST}" in files else "unfinished"), parts[0], name
