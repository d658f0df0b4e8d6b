"""Checkpoints of a step: stamped with what they are of and with what is in them.

Only whole ones count. A stamp is written last, and holds a checksum of every file: a checkpoint
that was damaged on disk is named in the log and passed over for the one before it.
"""

import hashlib
import json
import logging
from pathlib import Path
from typing import Any

import xxhash

from polymine.data_contracts.errors import ModelError
from polymine.training.trainer_state import PLAIN

STAMP = "step.json"  # written last into a checkpoint: without it there is none
logger = logging.getLogger("polymine.training")


def write_stamp(folder: Path, content: dict[str, Any]) -> None:
    """Say that this checkpoint is whole, of what, and what its files hold."""
    stamp = {**content, "files": _digests(folder)}
    beside = folder / f".{STAMP}"
    beside.write_text(json.dumps({**stamp, "seal": _seal(stamp)}), encoding="utf-8")
    beside.replace(folder / STAMP)


def read_stamp(folder: Path) -> dict[str, Any]:
    """Read what `write_stamp` wrote."""
    content: dict[str, Any] = json.loads((folder / STAMP).read_text(encoding="utf-8"))
    return content


def find_checkpoint(folder: Path, stamp: str) -> Path | None:
    """Return the newest whole checkpoint, or None; damaged ones are named in the log.

    Raises ModelError when it is one of another recipe, data or base.
    """
    stamped = (path.parent for path in folder.glob(f"checkpoint-*/{STAMP}"))
    # Those that an earlier version wrote are pickles, which are not read.
    found = sorted((path for path in stamped if (path / PLAIN).is_file()), key=_number)
    for each in reversed(found):
        if damage := _damage(each):
            logger.warning("%s: %s; the checkpoint before it is used", each, damage)
            continue
        _check_stamp(each, stamp)
        return each
    return None


def _check_stamp(folder: Path, stamp: str) -> None:
    held = read_stamp(folder)
    if held.get("stamp") != stamp:
        raise ModelError(
            f"{folder}: a checkpoint of step {held.get('step')!r} with other settings, data or "
            f"base ({str(held.get('stamp'))[:8]}, this one is {stamp[:8]}); remove the folder to "
            "start anew, or restore what it was made with"
        )


def _damage(folder: Path) -> str | None:
    """Say what is wrong with a checkpoint's files, None if nothing is."""
    try:
        stamp = read_stamp(folder)
        seal, files = stamp.pop("seal"), stamp["files"]
    except (ValueError, KeyError, TypeError, AttributeError):
        return f"its {STAMP} cannot be read"
    if seal != _seal(stamp):
        return f"its {STAMP} differs from its checksum"
    held = _digests(folder)
    differing = [name for name in files if held.get(name) != files[name]]
    return f"{differing[0]} differs from its checksum" if differing else None


def _seal(stamp: dict[str, Any]) -> str:
    """Hash a stamp's content."""
    return xxhash.xxh3_128_hexdigest(json.dumps(stamp, sort_keys=True).encode())


def _digests(folder: Path) -> dict[str, str]:
    """Hash every file of a checkpoint (xxh3, 128 bit)."""
    digests = {}
    for path in sorted(folder.iterdir()):
        if path.is_file() and path.name.lstrip(".") != STAMP:
            with path.open("rb") as file:
                digests[path.name] = hashlib.file_digest(file, xxhash.xxh3_128).hexdigest()
    return digests


def _number(folder: Path) -> int:
    return int(folder.name.rpartition("-")[2])
