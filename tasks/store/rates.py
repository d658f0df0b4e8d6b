"""How fast work went, noted in a store so that `polymine plan` knows what to expect there."""

from contextlib import suppress
from pathlib import Path

from pydantic import BaseModel, ValidationError

from polymine.data_contracts.errors import StoreError
from polymine.tasks.store.atomic import write_bytes
from polymine.tasks.store.backends import open_backend

FILE = "rates.json"


class _Noted(BaseModel):
    per_second: dict[str, float] = {}


def read_rates(root: str) -> dict[str, float]:
    """Read what a store's work took: units per second by the name of the work."""
    files = open_backend(root)
    with suppress(OSError, StoreError, ValidationError):
        if files.holds(FILE):
            return _Noted.model_validate_json((Path(files.folder) / FILE).read_bytes()).per_second
    return {}


def note_rate(root: str, name: str, amount: int, seconds: float) -> None:
    """Note how fast some work went; of two runs at once the later word stays.

    A store that may only be read is no reason to fail.
    """
    files = open_backend(root)
    with suppress(OSError, StoreError):
        files.pull([FILE])
        noted = _Noted(per_second={**read_rates(root), name: amount / max(seconds, 1e-3)})
        write_bytes(files.folder / FILE, noted.model_dump_json(indent=1).encode())
        files.push([FILE])
