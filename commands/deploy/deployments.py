"""Prefect's own deployment of a flow, made from what is wanted and compared with what is held."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import UUID

from prefect.client.schemas.actions import DeploymentScheduleCreate
from prefect.client.schemas.responses import DeploymentResponse
from prefect.client.schemas.schedules import CronSchedule, IntervalSchedule, RRuleSchedule
from prefect.deployments.runner import RunnerDeployment
from prefect.events import Automation, AutomationCore, DeploymentTriggerTypes
from prefect.runner.storage import LocalStorage
from prefect.types.entrypoint import EntrypointType
from pydantic import TypeAdapter, ValidationError

from polymine.data_contracts.errors import SettingsError
from polymine.data_contracts.settings.deploying import DeploymentSettings, TimetableSettings
from polymine.flows import find_flow

COMPARED = {
    "description", "entrypoint", "parameters", "tags", "enforce_parameter_schema",
    "work_pool_name", "work_queue_name", "job_variables",
}  # fmt: skip
BY_EVENT = " by event "  # between a deployment's name and its trigger's
_TRIGGER: TypeAdapter[DeploymentTriggerTypes] = TypeAdapter(DeploymentTriggerTypes)
ANCHOR = datetime(2020, 1, 1, tzinfo=UTC)  # what intervals are counted from


async def build(
    wanted: DeploymentSettings,
    folder: Path,
    active: Mapping[str | None, bool],
    enabled: Mapping[str, bool],
) -> RunnerDeployment:
    """Make Prefect's deployment of a flow.

    Args:
        wanted: what it shall be, with all its parameters.
        folder: where its runs start.
        active: which schedules are held already, by slug, and whether they are switched on.
        enabled: likewise of triggers, by name.
    """
    made: RunnerDeployment = await find_flow(wanted.flow).ato_deployment(
        wanted.name,
        description=wanted.description,
        parameters=wanted.parameters,
        schedules=schedules_of(wanted, active),
        triggers=triggers_of(wanted, enabled),
        tags=list(wanted.tags),
        work_pool_name=wanted.work_pool.name,
        work_queue_name=wanted.work_pool.work_queue_name or "default",
        job_variables=wanted.work_pool.job_variables,
        entrypoint_type=EntrypointType.MODULE_PATH,
    )
    made.storage = LocalStorage(str(folder))
    return made


def schedules_of(
    wanted: DeploymentSettings, active: Mapping[str | None, bool]
) -> list[DeploymentScheduleCreate]:
    """Make Prefect's own schedules; SettingsError for times that are none."""
    return [
        DeploymentScheduleCreate(
            schedule=_time_of(asked, wanted.full_name),
            active=active.get(asked.slug, asked.active),
            parameters=asked.parameters,
            slug=asked.slug,
        )
        for asked in wanted.schedules
    ]


def triggers_of(
    wanted: DeploymentSettings, enabled: Mapping[str, bool]
) -> list[DeploymentTriggerTypes]:
    """Make Prefect's own triggers; SettingsError for what is none.

    Their names say whose they are: a server does not.
    """
    made = []
    for number, asked in enumerate(wanted.triggers, 1):
        named = {**asked, "name": f"{wanted.full_name}{BY_EVENT}{asked.get('name', number)}"}
        named["enabled"] = enabled.get(named["name"], asked.get("enabled", True))
        if not asked.get("expect") and asked.get("type", "event") == "event":
            raise SettingsError(
                f"deployment `{wanted.full_name}`, trigger {number}: it expects no event; name "
                'some, as `expect = ["polymine.triplets.finished"]`'
            )
        try:
            made.append(_TRIGGER.validate_python(named))
        except ValidationError as error:
            found = error.errors()[0]
            where = ".".join(str(part) for part in found["loc"][1:])
            raise SettingsError(
                f"deployment `{wanted.full_name}`, trigger {number}: {where}: {found['msg']}"
            ) from error
    return made


def _time_of(asked: TimetableSettings, of: str) -> CronSchedule | RRuleSchedule | IntervalSchedule:
    try:
        if asked.cron is not None:
            return CronSchedule(cron=asked.cron, timezone=asked.timezone)
        if asked.rrule is not None:
            return RRuleSchedule(rrule=asked.rrule, timezone=asked.timezone)
        assert asked.interval is not None
        # Counted from one moment for ever, so that deploying again changes nothing.
        return IntervalSchedule(
            interval=asked.interval, anchor_date=ANCHOR, timezone=asked.timezone
        )
    except ValidationError as error:
        said = error.errors()[0]["msg"].removeprefix("Value error, ")
        raise SettingsError(
            f"deployment `{of}`, schedule `{asked.slug}` ({asked.when}, {asked.timezone}): {said}"
        ) from error


def describe_made(made: RunnerDeployment, id_: UUID | None) -> dict[str, Any]:
    """Return all that is compared, by the names that are shown; `id_` of the one that is held."""
    form = made._parameter_openapi_schema.model_dump(exclude_unset=True)
    steps = [made.storage.to_pull_step()] if made.storage else []
    triggers = []
    if id_ is not None:
        for trigger in made.triggers:
            trigger.set_deployment_id(id_)
            triggers.append(trigger.as_automation())
    return _describe(made, form, steps, triggers)


def describe_held(held: DeploymentResponse, triggers: Sequence[Automation]) -> dict[str, Any]:
    """Return the same of a deployment that the server holds, and of what starts its runs."""
    return _describe(held, held.parameter_openapi_schema, held.pull_steps, triggers)


def _describe(
    deployment: RunnerDeployment | DeploymentResponse,
    form: Any,
    steps: Any,
    triggers: Sequence[AutomationCore],
) -> dict[str, Any]:
    plain = deployment.model_dump(mode="json", include=COMPARED)
    times = {f"schedule {s.slug}": (s.schedule, s.parameters) for s in deployment.schedules or []}
    events = {f"trigger {it.name}": (it.trigger, it.actions) for it in triggers}
    return plain | times | events | {"form": form, "folder": steps}
