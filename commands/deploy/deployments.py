"""Prefect's own deployment of a flow, made from what is wanted and compared with what is held."""

import importlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from prefect.client.schemas.responses import DeploymentResponse
from prefect.deployments.runner import RunnerDeployment
from prefect.runner.storage import LocalStorage
from prefect.schedules import Schedule
from prefect.types.entrypoint import EntrypointType

from polymine.data_contracts.settings.deploying import DeploymentSettings

COMPARED = {
    "description", "entrypoint", "parameters", "tags", "enforce_parameter_schema",
    "work_pool_name", "work_queue_name", "job_variables",
}  # fmt: skip


async def build(
    wanted: DeploymentSettings, folder: Path, active: Mapping[str | None, bool]
) -> RunnerDeployment:
    """Make Prefect's deployment of a flow.

    Args:
        wanted: what it shall be, with all its parameters.
        folder: where its runs start.
        active: which schedules are held already, by slug, and whether they are switched on.
    """
    flow = getattr(importlib.import_module(wanted.entrypoint.rpartition(".")[0]), wanted.flow)
    made: RunnerDeployment = await flow.ato_deployment(
        wanted.name,
        description=wanted.description,
        parameters=wanted.parameters,
        schedules=[
            Schedule(
                cron=asked.cron,
                rrule=asked.rrule,
                timezone=asked.timezone,
                active=active.get(asked.slug, asked.active),
                parameters=asked.parameters,
                slug=asked.slug,
            )
            for asked in wanted.schedules
        ],
        tags=list(wanted.tags),
        work_pool_name=wanted.work_pool.name,
        work_queue_name=wanted.work_pool.work_queue_name or "default",
        job_variables=wanted.work_pool.job_variables,
        entrypoint_type=EntrypointType.MODULE_PATH,
    )
    made.storage = LocalStorage(str(folder))
    return made


def describe_made(made: RunnerDeployment) -> dict[str, Any]:
    """Return all that is compared, by the names that are shown."""
    form = made._parameter_openapi_schema.model_dump(exclude_unset=True)
    return _describe(made, form, [made.storage.to_pull_step()] if made.storage else [])


def describe_held(held: DeploymentResponse) -> dict[str, Any]:
    """Return the same of a deployment that the server holds."""
    return _describe(held, held.parameter_openapi_schema, held.pull_steps)


def _describe(
    deployment: RunnerDeployment | DeploymentResponse, form: Any, steps: Any
) -> dict[str, Any]:
    plain = deployment.model_dump(mode="json", include=COMPARED)
    times = {f"schedule {s.slug}": (s.schedule, s.parameters) for s in deployment.schedules or []}
    return plain | times | {"form": form, "folder": steps}
