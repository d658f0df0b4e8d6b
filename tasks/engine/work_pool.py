"""Settings for a run on another machine's worker, and whether there is one to take it."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from prefect.client.orchestration import get_client
from prefect.exceptions import ObjectNotFound
from pydantic import BaseModel

from polymine.data_contracts.errors import SettingsError
from polymine.data_contracts.settings import EngineSettings
from polymine.data_contracts.settings.locations import Kind, with_locations
from polymine.tasks.store.datasets import Store

NEEDED = ("train", "evaluate")


def check_deployments(pool: str) -> None:
    """Refuse, before any work, a work pool without the deployments that are to run on it."""
    for name in NEEDED:
        try:
            with get_client(sync_client=True) as client:
                client.read_deployment_by_name(f"{name}/{pool}")
        except ObjectNotFound as error:
            raise SettingsError(
                f"engine.gpu_pool: there is no deployment `{name}/{pool}` on this server; "
                "`polymine deploy` makes those that `prefect.yaml` names, for the pool `gpu`"
            ) from error


def for_elsewhere(engine: EngineSettings, settings: Mapping[str, BaseModel]) -> dict[str, Any]:
    """Dump settings as a deployment's parameters, local paths from the root.

    The worker has another current folder; the folders themselves have to be shared.
    """
    # The pool's machine does the work itself: a cluster is for the machine that joined it.
    here = {"store": str(Store(engine.store).root), "gpu_pool": None}
    away = engine.model_copy(update={**here, "kind": "local", "address": None})
    dumped = {
        name: with_locations(part, _absolute).model_dump(mode="json")
        for name, part in settings.items()
    }
    return {**dumped, "engine": away.model_dump(mode="json")}


def _absolute(value: str, kind: Kind) -> str:
    if "://" not in value:
        path = Path(value).expanduser()
        if path.exists() or kind == "output":
            return str(path.absolute())
    return value
