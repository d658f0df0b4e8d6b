"""Takes away what a plan says may go, while runs may be at work on the same store.

A dataset is moved aside in one step, so that nobody ever finds half of one. Then the notes are read
again: a run notes a dataset before it looks for it, so it either finds it gone and makes it anew,
or is seen here and has it put back. The alternative, one lock over the store, would let a night of
mining wait for a clean-up, and there is none on objects.
"""

import fcntl
import math
import os
import shutil
import uuid
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from polymine.tasks.store.backends import locate
from polymine.tasks.store.datasets import MANIFEST, write_bytes
from polymine.tasks.store.items import Item
from polymine.tasks.store.references import read_notes
from polymine.tasks.store.retention import Plan, is_kept


def carry_out(plan: Plan) -> tuple[list[Item], list[Item]]:
    """Remove what goes; return what went, and what did not as a run has taken it up meanwhile."""
    gone: list[Item] = []
    spared: list[Item] = []
    for item in plan.going:
        (gone if _remove(plan, item) else spared).append(item)
    return gone, spared


def _remove(plan: Plan, item: Item) -> bool:
    if item.kind == "note":
        return _remove_note(plan, item.name)
    if "://" in item.root:
        return _remove_objects(plan, item)
    path = Path(item.place)
    if item.kind in ("dataset", "unfinished"):
        return _remove_dataset(plan, item.name, path)
    if item.kind in ("checkpoint", "lock"):
        with _locked(path.with_suffix(".lock")) as alone:
            return alone and _clear(path)
    return _clear(path)


def _remove_note(plan: Plan, name: str) -> bool:
    """Remove a note, unless its run has written it again or has its folder in place by now."""
    others = {other: held for other, held in plan.notes.items() if other != name}
    for note in read_notes(plan.store, others):
        if note.name != name:
            continue
        if note.held != plan.notes[name] or is_kept(note, math.inf, plan.hosts):
            return False
    locate(plan.store.root).remove([name])
    return True


def _remove_objects(plan: Plan, item: Item) -> bool:
    """Remove objects: they cannot be moved aside, so the manifest alone goes first."""
    if item.kind == "leftover":  # one object, or all below a name
        files = locate(item.root)
        below = f"{item.name}/"
        files.remove([n for n in files.listing() if n == item.name or n.startswith(below)])
        return True
    if _is_used(plan, item.name):
        return False
    files = locate(item.place)
    files.refresh(MANIFEST)
    held = files.folder / MANIFEST
    content = held.read_bytes() if held.exists() else None
    files.remove([MANIFEST])
    used = True
    try:
        used = _is_used(plan, item.name)
    finally:  # also where it cannot be said
        if used and content is not None:
            write_bytes(held, content)
            files.push([MANIFEST])
    if used:
        return False
    files.remove(list(files.listing()))
    return _clear(files.folder)


def _remove_dataset(plan: Plan, name: str, folder: Path) -> bool:
    if _is_used(plan, name):
        return False
    aside = folder.with_name(f".{folder.name}.{uuid.uuid4().hex[:8]}")
    try:
        os.rename(folder, aside)
    except FileNotFoundError:
        return True
    used = True
    try:
        used = _is_used(plan, name)
    finally:  # also where it cannot be said
        if used:
            _put_back(aside, folder)
    return not used and _clear(aside)


def _is_used(plan: Plan, name: str) -> bool:
    """Whether a run has noted a dataset since the plan was made."""
    return any(name in note.use.datasets for note in read_notes(plan.store, plan.notes))


def _put_back(aside: Path, folder: Path) -> None:
    """Move the files back, the manifest last; those that a run has made anew are the same."""
    files = [path for path in aside.rglob("*") if path.is_file()]
    for path in sorted(files, key=lambda path: (path.name == MANIFEST, path)):
        target = folder / path.relative_to(aside)
        target.parent.mkdir(parents=True, exist_ok=True)
        os.replace(path, target)
    _clear(aside)


def _clear(path: Path) -> bool:
    """Remove a file, or a folder with its manifest first."""
    if path.is_dir() and not path.is_symlink():
        (path / MANIFEST).unlink(missing_ok=True)
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)
    return not path.exists()


@contextmanager
def _locked(path: Path) -> Iterator[bool]:
    """Say whether nobody trains behind a lock, and hold it meanwhile."""
    with ExitStack() as held:
        alone = True
        try:
            file = held.enter_context(path.open("r+"))
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except FileNotFoundError:
            pass  # nobody ever trained here, or the lock is gone already
        except OSError:  # somebody trains, or nobody can tell: some network folders have no locks
            alone = False
        yield alone
