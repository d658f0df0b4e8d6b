"""Prefect flows: the order of the stages, one flow per file."""

import importlib
from typing import Any

MODULES = {
    "mine": "polymine.flows.mining",
    "train": "polymine.flows.training",
    "evaluate": "polymine.flows.evaluation",
    "pipeline": "polymine.flows.pipeline",
    "compare": "polymine.flows.comparison",
    "language_gap": "polymine.flows.gap",
}


def find_flow(name: str) -> Any:
    """Import a flow, and Prefect with it, by its name."""
    return getattr(importlib.import_module(MODULES[name]), name)
