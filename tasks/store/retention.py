"""What of a store may go: what nothing has touched for some days and no kept run names.

A dataset is touched whenever a run finds it or writes to it, so what is in use is young. uv and
ccache clean up in the same way. Notes on which run uses what were the alternative: they have to be
kept right through crashes, moved folders and other machines.
"""

import re
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from pydantic_core import from_json

from polymine.data_contracts.errors import StoreError
from polymine.data_contracts.references import Manifest
from polymine.tasks.store.backends import DAY, Listing, open_backend
from polymine.tasks.store.datasets import Store
from polymine.tasks.store.manifests import MANIFEST, RUN
from polymine.tasks.store.output import COMPARISON, EVALUATION, PIPELINE, TRAINING

CHECKPOINTS = "checkpoints"
_OUTPUTS = (RUN, TRAINING, EVALUATION, PIPELINE, COMPARISON)
_FINGERPRINT = re.compile(r"[0-9a-f]{32}")
_LEFTOVER = re.compile(r"\..+\.(old-)?[0-9a-f]{8}")
Kind = Literal["dataset", "unfinished", "checkpoint", "leftover"]


@dataclass(frozen=True)
class Item:
    """Something in a store, or beside an output folder.

    Args:
        family: the contract of a dataset; of other things, what they are.
        path: its whole name.
        size: bytes of its files.
        touched: when the newest of them was written or used, in seconds since 1970.
    """

    kind: Kind
    family: str
    path: str
    size: int
    touched: float


@dataclass(frozen=True)
class Plan:
    """What goes and what stays.

    Args:
        named: those that a kept run was made of.
        young: those that were touched lately.
        runs: the output folders that are kept.
    """

    going: tuple[Item, ...]
    named: tuple[Item, ...]
    young: tuple[Item, ...]
    runs: tuple[Path, ...]


def make_plan(store: Store, runs: Iterable[Path], keep_days: float) -> Plan:
    """Say of everything in a store whether it goes.

    Args:
        runs: output folders, or folders with some below.
        keep_days: what was touched within so many days stays in any case.

    Raises StoreError when there is no store, one of `runs` is not there, or a run's manifest cannot
    be read, so that what it needs is not known.
    """
    if str(store.folder) == store.root and not store.folder.is_dir():
        raise StoreError(f"{store.root}: there is no store; name its folder with --store")
    outputs = dict(_outputs_below(runs))
    named = {name.rpartition("/")[2] for names in outputs.values() for name in names}
    since = time.time() - keep_days * DAY
    going: list[Item] = []
    kept: list[Item] = []
    young: list[Item] = []
    for item in [*_scan_store(store), *_scan_beside(outputs)]:
        is_named = item.kind == "dataset" and item.path.rpartition("/")[2] in named
        (kept if is_named else young if item.touched >= since else going).append(item)
    return Plan(tuple(going), tuple(kept), tuple(young), tuple(outputs))


def remove(items: Iterable[Item]) -> tuple[list[Item], list[Item]]:
    """Remove things; return what went, and what a run has touched since the plan was made."""
    gone: list[Item] = []
    spared: list[Item] = []
    for item in items:
        files = open_backend(item.path)
        if any(touched > item.touched for _, touched in files.listing().values()):
            spared.append(item)
        else:
            files.clear(MANIFEST)
            gone.append(item)
    return gone, spared


def _outputs_below(roots: Iterable[Path]) -> Iterator[tuple[Path, Sequence[str]]]:
    """Find the output folders in these folders, themselves included, and what they are made of."""
    for root in roots:
        if not root.is_dir():
            raise StoreError(f"{root}: there is no such folder; name one that holds runs")
        for path in sorted(root.absolute().rglob(MANIFEST)):
            manifest = _read_run(path)
            if manifest is not None and manifest.contract in _OUTPUTS:
                yield path.parent, manifest.info.get("datasets", ())


def _read_run(path: Path) -> Manifest | None:
    """Read the manifest of an output folder, or return None for one of another program."""
    try:
        content = path.read_bytes()
        held = from_json(content)
        if not isinstance(held, dict) or not {"contract", "fingerprint", "seal"} & held.keys():
            return None
        return Manifest.unsealed(content)
    except (OSError, ValueError) as error:
        raise StoreError(
            f"{path}: cannot be read ({str(error).partition(chr(10))[0]}), so it is not known what "
            "the run there needs, and nothing is removed. Repair the file, or remove it if the "
            "run is not to be kept"
        ) from error


def _scan_store(store: Store) -> Iterator[Item]:
    """List all that a store holds; of one in the cloud also this machine's checkpoints.

    Raises StoreError for a folder that holds files and nothing of a store.
    """
    files = open_backend(store.root).listing()
    found = list(_gather(store.root, files))
    if files and not found:
        raise StoreError(
            f"{store.root}: holds files, such as {min(files)}, and nothing of a store; name the "
            "folder that runs have as `engine.store`"
        )
    yield from found
    if str(store.folder) != store.root:
        own = open_backend(str(store.folder / CHECKPOINTS)).listing()
        yield from _gather(str(store.folder), {f"{CHECKPOINTS}/{n}": own[n] for n in own})


def _scan_beside(outputs: Iterable[Path]) -> Iterator[Item]:
    """Find what a killed process left beside the output folders that it was about to write."""
    for folder in outputs:
        for path in sorted(folder.parent.glob(".*")):
            if path.name.startswith(f".{folder.name}.") and _LEFTOVER.fullmatch(path.name):
                held = [*open_backend(str(path)).listing().values(), (0, path.stat().st_mtime)]
                yield _item("leftover", "leftovers beside outputs", str(path), held)


def _gather(root: str, files: Listing) -> Iterator[Item]:
    """Put files together to the things that they are part of."""
    things: dict[tuple[Kind, str, str], list[tuple[int, float]]] = {}
    for name, held in files.items():
        if part := _part_of(name.split("/"), files):
            things.setdefault(part, []).append(held)
    for (kind, family, name), held_by in sorted(things.items(), key=lambda thing: thing[0][2]):
        found = _item(kind, family, f"{root}/{name}", held_by)
        # A lock is written when training begins: it is as young as the checkpoints that it guards.
        guarded = things.get((kind, family, name.removesuffix(".lock")), held_by)
        yield replace(found, touched=max(found.touched, *(when for _, when in guarded)))


def _item(kind: Kind, family: str, path: str, held: Sequence[tuple[int, float]]) -> Item:
    size, touched = sum(size for size, _ in held), max(when for _, when in held)
    return Item(kind, family, path, size, touched)


def _part_of(parts: list[str], files: Mapping[str, object]) -> tuple[Kind, str, str] | None:
    """Say what a file is part of (kind, family, name), or None for what is not Polymine's."""
    hidden = next((at for at, part in enumerate(parts) if _LEFTOVER.fullmatch(part)), None)
    if hidden is not None:
        return "leftover", "leftovers", "/".join(parts[: hidden + 1])
    if parts[0] == CHECKPOINTS and len(parts) > 1:  # a step's folder, or its lock
        return "checkpoint", CHECKPOINTS, "/".join(parts[:2])
    if len(parts) < 3 or not _FINGERPRINT.fullmatch(parts[1]):
        return None
    within = len(parts) > 3 and _FINGERPRINT.fullmatch(parts[2]) is not None  # those of one model
    name = "/".join(parts[: 3 if within else 2])
    return ("dataset" if f"{name}/{MANIFEST}" in files else "unfinished"), parts[0], name
