"""What lies in a store, thing by thing: datasets, unfinished ones, checkpoints and leftovers."""

import os
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from tasks.store import MANIFEST
from tasks.usage import RUNS

CHECKPOINTS = "checkpoints"
_FINGERPRINT = re.compile(r"[0-9a-f]{32}")
_LEFTOVER = re.compile(r"\..+\.(old-)?[0-9a-f]{8}")
Kind = Literal["dataset", "unfinished", "leftover", "checkpoint", "lock", "note"]


@dataclass(frozen=True)
class Item:
    """Something in a store, or beside an output folder.

    Args:
        family: the contract of a dataset; of other things, what they are.
        size: bytes of its files.
        touched: when the newest of them was written, in seconds since 1970.
        why: why it goes or stays.
    """

    kind: Kind
    family: str
    path: Path
    size: int
    touched: float
    why: str = ""


def scan_store(root: Path) -> Iterator[Item]:
    """List all that a store holds, apart from its notes."""
    for place in sorted(root.iterdir()):
        if place.is_dir() and place.name not in (RUNS, CHECKPOINTS) and place.name[0] != ".":
            yield from _datasets(place, place.name)
    for place in sorted((root / CHECKPOINTS).glob("*")):
        if place.suffix == ".lock":
            yield describe("lock", "locks of training", place)
        elif _FINGERPRINT.fullmatch(place.name):
            yield describe("checkpoint", CHECKPOINTS, place)
    for path in _leftovers(root):
        yield describe("leftover", "leftovers", path)


def scan_beside(outputs: Iterable[Path]) -> Iterator[Item]:
    """Find what a killed process left beside the output folders that it was about to write."""
    for folder in outputs:
        if not folder.parent.is_dir():
            continue
        for path in sorted(folder.parent.iterdir()):
            if path.name.startswith(f".{folder.name}.") and _LEFTOVER.fullmatch(path.name):
                yield describe("leftover", "leftovers beside outputs", path)


def describe(kind: Kind, family: str, path: Path) -> Item:
    """Measure something; what a run is removing meanwhile is left out."""
    size, touched = 0, 0.0
    for each in [path, *path.rglob("*")] if path.is_dir() else [path]:
        try:
            found = each.lstat()
        except FileNotFoundError:
            continue
        touched = max(touched, found.st_mtime)
        size += 0 if each.is_dir() else found.st_size
    return Item(kind, family, path, size, touched)


def _datasets(place: Path, family: str) -> Iterator[Item]:
    """List datasets and what was to become one; those of one model share a folder."""
    for folder in sorted(place.iterdir()):
        if not folder.is_dir() or not _FINGERPRINT.fullmatch(folder.name):
            continue
        names = [path for path in folder.iterdir() if path.name[0] != "."]
        if (folder / MANIFEST).exists():
            yield describe("dataset", family, folder)
        elif names and all(path.is_dir() and _FINGERPRINT.fullmatch(path.name) for path in names):
            yield from _datasets(folder, family)
        else:
            yield describe("unfinished", family, folder)


def _leftovers(root: Path) -> Iterator[Path]:
    """Find files and folders that were to be moved to their place, the outermost only."""
    for parent, folders, files in os.walk(root):
        for name in [*folders, *files]:
            if _LEFTOVER.fullmatch(name):
                yield Path(parent, name)
        folders[:] = [name for name in folders if not _LEFTOVER.fullmatch(name)]
