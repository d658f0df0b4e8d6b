"""The folder where Polymine keeps what outlives a run: the server's database and stored stages."""

import os
from pathlib import Path

from polymine.data_contracts.errors import StoreError


def home_path() -> Path:
    """Return `$POLYMINE_HOME` or `~/.polymine`, which need not be there."""
    return Path(os.environ.get("POLYMINE_HOME") or "~/.polymine").expanduser().absolute()


def home() -> Path:
    """Return the same, created with its folders `server` and `store`."""
    folder = home_path()
    try:
        for part in ("server", "store"):
            (folder / part).mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise StoreError(
            f"{folder}: cannot be created ({error.strerror}); "
            "set POLYMINE_HOME to a folder you may write to"
        ) from error
    return folder
