"""Files and folders that are whole or not there at all."""

import os
import shutil
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tasks.storage_errors import explained


def write_whole(path: Path, write: Callable[[Path], Any]) -> None:
    """Let `write` fill a file beside `path`, then move it there in one step."""
    beside = path.with_name(f".{path.name}.{uuid.uuid4().hex[:8]}")
    with explained(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            write(beside)
            os.replace(beside, path)
        finally:
            beside.unlink(missing_ok=True)


@contextmanager
def staged(place: Path) -> Iterator[Path]:
    """Give a folder beside `place` that becomes `place` if all goes well, and vanishes if not."""
    token = uuid.uuid4().hex[:8]
    beside = place.with_name(f".{place.name}.{token}")
    with explained(place):
        try:
            beside.mkdir(parents=True)
            yield beside
            if place.exists():
                old = place.with_name(f".{place.name}.old-{token}")
                os.replace(place, old)
                os.replace(beside, place)
                shutil.rmtree(old, ignore_errors=True)
            else:
                os.replace(beside, place)
        finally:
            shutil.rmtree(beside, ignore_errors=True)
