"""Settings for a run on another machine's worker, and whether there is one to take it."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from prefect.client.orchestration import get_client
from prefect.exceptions import ObjectNotFound
from pydantic import BaseModel

from data_contracts.errors import SettingsError
from data_contracts.settings import EngineSettings
from tasks.store import Store

NEEDED = (("train", "flows/training.py:train"), ("evaluate", "flows/evaluation.py:evaluate"))
_PATHS = {
    "path", "base", "model", "triplets", "parallel", "collection", "corpus", "queries",
    "judgments", "on", "guide",
}  # fmt: skip


def check_deployments(pool: str) -> None:
    """Refuse, before any work, a work pool without the deployments that are to run on it."""
    for name, entry in NEEDED:
        try:
            with get_client(sync_client=True) as client:
                client.read_deployment_by_name(f"{name}/{pool}")
        except ObjectNotFound as error:
            raise SettingsError(
                f"engine.gpu_pool: there is no deployment `{name}/{pool}`; make it from a checkout "
                f"with `prefect deploy {entry} --name {pool} --pool {pool}` against the same server"
            ) from error


def for_elsewhere(engine: EngineSettings, settings: Mapping[str, BaseModel]) -> dict[str, Any]:
    """Dump settings as a deployment's parameters, local paths from the root.

    The worker has another current folder; the folders themselves have to be shared.
    """
    # The pool's machine does the work itself: a cluster is for the machine that joined it.
    here = {"store": str(Store(engine.store).root), "gpu_pool": None}
    away = engine.model_copy(update={**here, "kind": "local", "address": None})
    dumped = {name: part.model_dump(mode="json") for name, part in settings.items()}
    for name, part in dumped.items():
        dumped[name] = _absolute(part, is_output=name == "output")
    return {**dumped, "engine": away.model_dump(mode="json")}


def _absolute(value: Any, key: str = "", is_output: bool = False) -> Any:
    if isinstance(value, dict):
        return {name: _absolute(each, name, is_output) for name, each in value.items()}
    if isinstance(value, list):
        return [_absolute(each, key, is_output) for each in value]
    if isinstance(value, str) and key in _PATHS and "://" not in value:
        path = Path(value).expanduser()
        if path.exists() or (is_output and key == "path"):
            return str(path.absolute())
    return value
