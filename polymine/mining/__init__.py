"""Mining, stage by stage: `ingest` the tables, then `mine` them."""

from typing import Any

__all__ = ["Ingested", "Mined", "ingest", "mine"]

_HOMES = {"ingest": "ingestion", "Ingested": "ingestion", "mine": "pipeline", "Mined": "pipeline"}


def __getattr__(name: str) -> Any:
    """Import on first use: `import polymine.mining` itself costs nothing."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
