"""Checkpoints of a step, with metadata that say what they are of and what is in them.

Only whole ones count. The metadata are written last, and hold a checksum of every file: a
checkpoint that was damaged on disk is named in the log and passed over for the one before it.
"""

import hashlib
import json
import logging
from dataclasses import asdict, dataclass, field
from pathlib import Path

import xxhash

from polymine.data_contracts.errors import ModelError

METADATA = "checkpoint.json"  # written last: without it there is no checkpoint
logger = logging.getLogger("polymine.training")


@dataclass(frozen=True)
class Checkpoint:
    """What is known of a checkpoint beside the trainer's own files.

    Args:
        step: of the recipe.
        fingerprint: of all that the result depends on.
        tokens, closed, seconds: read, masked pairs and spent until then.
        mini_batch: texts in memory at once, None where the loss holds a whole batch.
        files: file name to its checksum (xxh3, 128 bit).
    """

    step: str
    fingerprint: str
    tokens: int
    closed: int
    seconds: float
    mini_batch: int | None
    files: dict[str, str] = field(default_factory=dict)

    def write(self, folder: Path) -> None:
        """Say that the checkpoint in `folder` is whole."""
        content = asdict(self) | {"files": _checksums(folder)}
        beside = folder / f".{METADATA}"
        beside.write_text(json.dumps(content | {"checksum": _checksum(content)}), encoding="utf-8")
        beside.replace(folder / METADATA)

    @classmethod
    def read(cls, folder: Path) -> "Checkpoint":
        """Read what `write` wrote, and check every file against its checksum.

        Args:
            folder: of one checkpoint.

        Returns:
            Its metadata.

        Raises:
            ValueError: something is damaged; it says what.
        """
        try:
            content = json.loads((folder / METADATA).read_text(encoding="utf-8"))
            checksum = content.pop("checksum")
            found = cls(**content)
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise ValueError(f"its {METADATA} cannot be read") from error
        if checksum != _checksum(content):
            raise ValueError(f"its {METADATA} differs from its checksum")
        held = _checksums(folder)
        for name, expected in found.files.items():
            if held.get(name) != expected:
                raise ValueError(f"{name} differs from its checksum")
        return found


def find_checkpoint(folder: Path, fingerprint: str) -> tuple[Path, Checkpoint] | None:
    """Find the newest whole checkpoint; damaged ones are named in the log.

    Args:
        folder: of a step's checkpoints.
        fingerprint: that its checkpoints must have.

    Returns:
        Its folder and metadata, None where there is none.

    Raises:
        ModelError: it is of another recipe, data or base.
    """
    folders = (path.parent for path in folder.glob(f"checkpoint-*/{METADATA}"))
    for each in sorted(folders, key=lambda path: -int(path.name.rpartition("-")[2])):
        try:
            found = Checkpoint.read(each)
        except ValueError as damage:
            logger.warning("%s: %s; the checkpoint before it is used", each, damage)
            continue
        if found.fingerprint != fingerprint:
            raise ModelError(
                f"{each}: a checkpoint of step {found.step!r} with other settings, data or base "
                f"({found.fingerprint[:8]}, this one is {fingerprint[:8]}); remove the folder to "
                "start from the beginning, or restore what it was made with"
            )
        return each, found
    return None


def _checksum(content: dict[str, object]) -> str:
    return xxhash.xxh3_128_hexdigest(json.dumps(content, sort_keys=True).encode())


def _checksums(folder: Path) -> dict[str, str]:
    checksums = {}
    for path in sorted(folder.iterdir()):
        if path.is_file() and path.name.lstrip(".") != METADATA:
            with path.open("rb") as file:
                checksums[path.name] = hashlib.file_digest(file, xxhash.xxh3_128).hexdigest()
    return checksums
