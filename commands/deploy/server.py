"""Brings a Prefect server to what is wanted: reads what is there and writes only what differs."""

import importlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from prefect.client.orchestration import PrefectClient
from prefect.client.schemas.actions import (
    DeploymentScheduleCreate,
    DeploymentUpdate,
    WorkPoolCreate,
    WorkPoolUpdate,
)
from prefect.client.schemas.objects import StateType
from prefect.client.schemas.responses import DeploymentResponse
from prefect.client.schemas.schedules import CronSchedule, RRuleSchedule
from prefect.events.actions import ChangeFlowRunState
from prefect.events.schemas.automations import AutomationCore, EventTrigger, Posture
from prefect.exceptions import ObjectNotFound
from prefect.utilities.callables import parameter_schema
from prefect.workers.utilities import get_default_base_job_template_for_infrastructure_type

from polymine.commands.deploy.plan import Wanted, WantedSchedule
from polymine.commands.running import MODULES
from polymine.data_contracts.errors import SettingsError
from polymine.data_contracts.settings.deploying import (
    DeploymentPlan,
    OperationSettings,
    PoolSettings,
)

PREFIX = "polymine: "
SILENT, UNBEGUN = f"{PREFIX}runs without a sign of life", f"{PREFIX}runs that never began"
ENDS = ("Completed", "Failed", "Crashed", "Cancelled", "Cancelling", "Paused", "Suspended")
# What follows Pending when all is well: the run begins, or is put back to wait for another worker.
BEGINNINGS = ("Running", "Retrying", "Rerunning", "heartbeat")
WAITS = ("Scheduled", "Late", "AwaitingRetry", "AwaitingConcurrencySlot")


@dataclass(frozen=True)
class Outcome:
    """What became of one thing."""

    verb: Literal["created", "changed", "unchanged"]
    what: str
    detail: str = ""


async def set_up(
    client: PrefectClient,
    plan: DeploymentPlan,
    wanted: Sequence[Wanted],
    folder: Path,
    dry: bool = False,
) -> list[Outcome]:
    """Set up pools, queues, alarms and deployments; with `dry` only say what would be done.

    Args:
        folder: where runs start, so where relative paths of their settings begin.
    """
    done = [await _pool(client, name, asked, dry) for name, asked in plan.polymine.pools.items()]
    limit = plan.polymine.runs_per_data_set
    queues = dict.fromkeys((each.asked.work_pool.name, each.queue) for each in wanted if each.queue)
    done += [await _queue(client, pool, str(queue), limit, dry) for pool, queue in queues]
    done += [await _automation(client, alarm, dry) for alarm in alarms(plan.polymine)]
    return done + [await _deployment(client, each, folder, dry) for each in wanted]


async def _pool(client: PrefectClient, name: str, asked: PoolSettings, dry: bool) -> Outcome:
    limit = asked.concurrency_limit
    what = f"work pool {name}"
    detail = f"runs at once: {limit or 'any number'}"
    try:
        there = await client.read_work_pool(name)
    except ObjectNotFound:
        template = await get_default_base_job_template_for_infrastructure_type(asked.type)
        if template is None:
            raise SettingsError(
                f"polymine.pools.{name}: `{asked.type}` is no kind of pool"
            ) from None
        if not dry:
            pool = WorkPoolCreate(
                name=name, type=asked.type, concurrency_limit=limit, base_job_template=template
            )
            await client.create_work_pool(pool)
        return Outcome("created", what, detail)
    # A limit that the file does not name is the operators' own.
    if "concurrency_limit" not in asked.model_fields_set or there.concurrency_limit == limit:
        return Outcome("unchanged", what)
    if not dry:
        await client.update_work_pool(name, WorkPoolUpdate(concurrency_limit=limit))
    return Outcome("changed", what, detail)


async def _queue(client: PrefectClient, pool: str, name: str, limit: int, dry: bool) -> Outcome:
    what, detail = f"work queue {pool}/{name}", f"runs at once: {limit}; others wait in line"
    try:
        there = await client.read_work_queue_by_name(name, work_pool_name=pool)
    except ObjectNotFound:
        if not dry:
            await client.create_work_queue(name, concurrency_limit=limit, work_pool_name=pool)
        return Outcome("created", what, detail)
    if there.concurrency_limit == limit:
        return Outcome("unchanged", what)
    if not dry:
        await client.update_work_queue(there.id, concurrency_limit=limit)
    return Outcome("changed", what, detail)


def alarms(asked: OperationSettings) -> tuple[AutomationCore, AutomationCore]:
    """Return the automations that end runs whose process is gone.

    Such a run would be Running or Pending for ever and hold its place in the queue. The first waits
    for a heartbeat after a heartbeat; before that a run is Pending, and the second waits.
    Nothing watches the moment between its begin and its first heartbeat, a fraction of a second:
    runs started on the command line have no heartbeats, so their silence says nothing.
    """
    return (
        _crash(
            SILENT,
            after=["heartbeat"],
            expect=["heartbeat", *ENDS],
            within=asked.silence,
            message=f"No heartbeat for {asked.silence:.0f} s: the run's process, or its machine, "
            "is gone (killed, out of memory, restarted)",
        ),
        _crash(
            UNBEGUN,
            after=["Pending"],
            expect=["Pending", *BEGINNINGS, *WAITS, *ENDS],  # a second Pending begins it anew
            within=asked.start,
            message=f"A worker took this run and it has not begun for {asked.start:.0f} s: worker "
            "and run were killed before its first sign of life, or its start takes longer than "
            "`start` in prefect.yaml",
        ),
    )


def _crash(
    name: str, after: Sequence[str], expect: Sequence[str], within: float, message: str
) -> AutomationCore:
    """Mark a run as crashed when, after one event, none of those expected comes in time."""
    trigger = EventTrigger.model_validate(
        {
            "after": {f"prefect.flow-run.{event}" for event in after},
            "expect": {f"prefect.flow-run.{event}" for event in expect},
            "match": {"prefect.resource.id": "prefect.flow-run.*"},
            "for_each": {"prefect.resource.id"},
            "posture": Posture.Proactive,
            "threshold": 1,
            "within": within,
        }
    )
    crash = ChangeFlowRunState(
        state=StateType.CRASHED,
        name="Crashed",
        message=f"{message}. See that a worker is up, then press Retry or call "
        "`prefect flow-run retry` with this run's id: what was finished is reused.",
    )
    return AutomationCore(
        name=name,
        description="Marks a run as crashed that says nothing any more; it would hold its place in "
        "the queue for ever.",
        trigger=trigger,
        actions=[crash],
    )


async def _automation(client: PrefectClient, wanted: AutomationCore, dry: bool) -> Outcome:
    assert isinstance(wanted.trigger, EventTrigger)
    what = f"automation {wanted.name.removeprefix(PREFIX)}"
    detail = f"after {wanted.trigger.within.total_seconds():.0f} s: Crashed, to be retried"
    found = await client.read_automations_by_name(wanted.name)
    if not found:
        if not dry:
            await client.create_automation(wanted)
        return Outcome("created", what, detail)
    fields = ("description", "trigger", "actions")
    if all(getattr(found[0], field) == getattr(wanted, field) for field in fields):
        return Outcome("unchanged", what)
    if not dry:  # switched on or off as it was
        kept = wanted.model_copy(update={"enabled": found[0].enabled})
        await client.update_automation(found[0].id, kept)
    return Outcome("changed", what, detail)


async def _deployment(client: PrefectClient, wanted: Wanted, folder: Path, dry: bool) -> Outcome:
    what, fields = f"deployment {wanted.full_name}", _fields(wanted, folder)
    try:
        there = await client.read_deployment_by_name(wanted.full_name)
    except ObjectNotFound:
        if not dry:
            flow = await client.create_flow_from_name(wanted.flow)
            schedules = [_new(schedule) for schedule in wanted.schedules]
            await client.create_deployment(flow, wanted.name, schedules=schedules, **fields)
        return Outcome("created", what, _times(wanted))
    held = there.model_dump(mode="json")
    changed = {key: value for key, value in fields.items() if held[key] != value}
    if changed and not dry:
        await client.update_deployment(there.id, DeploymentUpdate.model_validate(changed))
    moved = await _schedules(client, there, wanted.schedules, dry)
    names = [key.replace("_", " ").replace("parameter openapi schema", "form") for key in changed]
    said = [*names, *(f"schedule {slug}" for slug in moved)]
    return Outcome("changed" if said else "unchanged", what, ", ".join(said))


def _fields(wanted: Wanted, folder: Path) -> dict[str, Any]:
    flow = getattr(importlib.import_module(MODULES[wanted.flow]), wanted.flow)  # type: ignore[index]
    start = {"prefect.deployments.steps.set_working_directory": {"directory": str(folder)}}
    return {
        "description": wanted.asked.description,
        "entrypoint": wanted.asked.entrypoint,
        "parameters": wanted.parameters,
        "parameter_openapi_schema": parameter_schema(flow).model_dump_for_openapi(),
        "enforce_parameter_schema": True,
        "pull_steps": [start],
        "tags": list(wanted.asked.tags),
        "work_pool_name": wanted.asked.work_pool.name,
        "work_queue_name": wanted.queue or "default",
        "job_variables": wanted.asked.work_pool.job_variables,
    }


async def _schedules(
    client: PrefectClient,
    there: DeploymentResponse,
    wanted: Sequence[WantedSchedule],
    dry: bool,
) -> list[str]:
    """Bring schedules to what is wanted, found by their slugs; whether they are active stays."""
    held = {schedule.slug or str(schedule.id): schedule for schedule in there.schedules}
    moved = []
    for schedule in wanted:
        new, old = _new(schedule), held.pop(schedule.asked.slug, None)
        if old is None:
            moved.append(schedule.asked.slug)
            if not dry:
                await client.create_deployment_schedules(there.id, [new])
        elif old.schedule != new.schedule or old.parameters != new.parameters:
            moved.append(schedule.asked.slug)
            if not dry:
                await client.update_deployment_schedule(
                    there.id, old.id, schedule=new.schedule, parameters=new.parameters
                )
    for slug, old in held.items():
        moved.append(f"{slug} (gone)")
        if not dry:
            await client.delete_deployment_schedule(there.id, old.id)
    return moved


def _new(wanted: WantedSchedule) -> DeploymentScheduleCreate:
    asked = wanted.asked
    when = (
        CronSchedule(cron=asked.cron, timezone=asked.timezone)
        if asked.cron
        else RRuleSchedule(rrule=str(asked.rrule), timezone=asked.timezone)
    )
    return DeploymentScheduleCreate(
        schedule=when, active=asked.active, parameters=wanted.parameters, slug=asked.slug
    )


def _times(wanted: Wanted) -> str:
    times = [
        f"{each.asked.slug}: {each.asked.cron or each.asked.rrule}" for each in wanted.schedules
    ]
    return "; ".join(times) or "on demand"


async def idle_pools(client: PrefectClient, plan: DeploymentPlan) -> list[str]:
    """Return the pools without a worker that is online: their runs would wait."""
    idle = []
    for name in plan.polymine.pools:
        workers = await client.read_workers_for_work_pool(name)
        if not any(worker.status == "ONLINE" for worker in workers):
            idle.append(name)
    return idle
