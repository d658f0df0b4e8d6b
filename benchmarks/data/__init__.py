"""The public collections that benchmarks, recipes and tests measure on: `collection("squad-dev")`.

A collection is a folder of Parquet tables. Retrieval sets have `corpus` (doc_id, text, title,
language), `queries` (query_id, text, language) and `qrels` (query_id, doc_id, relevance; above 0 is
relevant), sets of pairs have `pairs` (id, text_a, lang_a, text_b, lang_b, score); side tables stand
beside them. `python -m benchmarks.data NAME` puts one into the cache.
"""

import os
from pathlib import Path

NEARBY = Path(__file__).parents[3] / "shared" / "data"  # beside the checkout


class MissingData(RuntimeError):
    """A collection is not on this machine; the message says how to get it."""


def cache() -> Path:
    """Folder that `python -m benchmarks.data` fills: `$XDG_CACHE_HOME/polymine/data`."""
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base) / "polymine" / "data"


def folders() -> list[Path]:
    """Where collections are looked for, the first that has one wins."""
    named = os.environ.get("POLYMINE_DATA")
    return [Path(named)] if named else [cache(), NEARBY]


def find(name: str) -> Path | None:
    """Folder of a collection, or None where it is not on this machine."""
    found = [Path(name)] if os.sep in name else [folder / name for folder in folders()]
    return next((folder for folder in found if any(folder.glob("*.parquet"))), None)


def collection(name: str) -> Path:
    """Folder of a collection.

    Args:
        name: as `python -m benchmarks.data --list` shows it, for example `squad-dev`; or the path
            of a folder laid out like one.

    Raises:
        MissingData: where it is not on this machine.
    """
    found = find(name)
    if found is None and os.sep in name:
        raise MissingData(f"{name} is no folder with Parquet tables")
    if found is None:
        looked = ", ".join(map(str, folders()))
        raise MissingData(f"no {name} in {looked}; get it by `python -m benchmarks.data {name}`")
    return found
