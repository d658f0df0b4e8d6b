"""Checkpoints of a step: stamped with what they are of, and only whole ones count."""

import json
from pathlib import Path
from typing import Any

from data_contracts.errors import ModelError
from polymine.training.trainer_state import PLAIN

STAMP = "step.json"  # written last into a checkpoint: without it there is none


def write_stamp(folder: Path, content: dict[str, Any]) -> None:
    """Say that this checkpoint is whole, and of what."""
    beside = folder / f".{STAMP}"
    beside.write_text(json.dumps(content), encoding="utf-8")
    beside.replace(folder / STAMP)


def read_stamp(folder: Path) -> dict[str, Any]:
    """Read what `write_stamp` wrote."""
    content: dict[str, Any] = json.loads((folder / STAMP).read_text(encoding="utf-8"))
    return content


def find_checkpoint(folder: Path, stamp: str) -> Path | None:
    """Return the newest whole checkpoint, or None.

    Raises ModelError when it is one of another recipe, data or base.
    """
    stamped = (path.parent for path in folder.glob(f"checkpoint-*/{STAMP}"))
    # Those that an earlier version wrote are pickles, which are not read.
    found = sorted((path for path in stamped if (path / PLAIN).is_file()), key=_number)
    if not found:
        return None
    held = read_stamp(found[-1])
    if held.get("stamp") != stamp:
        raise ModelError(
            f"{found[-1]}: a checkpoint of step {held.get('step')!r} with other settings, data or "
            f"base ({str(held.get('stamp'))[:8]}, this one is {stamp[:8]}); remove the folder to "
            "start anew, or restore what it was made with"
        )
    return found[-1]


def _number(folder: Path) -> int:
    return int(folder.name.rpartition("-")[2])
