"""Brings a Prefect server to what is wanted, by Prefect's own deployments, automations and pools.

`flow.to_deployment(...).apply()` writes whatever it is given: it switches schedules back on that an
operator switched off, throws the runs away that wait, and cannot say beforehand what would change.
So each thing is compared first, and only what differs is written.
"""

from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar
from uuid import UUID

from prefect.client.orchestration import PrefectClient
from prefect.client.schemas.actions import WorkPoolCreate, WorkPoolUpdate
from prefect.events import Automation, AutomationCore
from prefect.exceptions import ObjectNotFound
from prefect.workers.utilities import get_default_base_job_template_for_infrastructure_type

from polymine.commands.deploy.alarms import PREFIX, alarms, notification
from polymine.commands.deploy.deployments import (
    BY_EVENT,
    build,
    describe_held,
    describe_made,
    schedules_of,
    triggers_of,
)
from polymine.commands.deploy.plan import Outcome, Verb, merge
from polymine.data_contracts.errors import SettingsError
from polymine.data_contracts.settings.deploying import (
    DeploymentPlan,
    DeploymentSettings,
    PoolSettings,
)

Values = dict[str, Any]
Write = Callable[[], Awaitable[Any]]
Found = TypeVar("Found")


class SetUp:
    """Sets things up on a server; with `dry` it only says what it would do."""

    def __init__(self, client: PrefectClient, dry: bool) -> None:
        self.client, self.dry = client, dry
        self.done: list[Outcome] = []

    async def run(
        self, plan: DeploymentPlan, wanted: Sequence[DeploymentSettings], folder: Path
    ) -> None:
        """Set up pools, queues, alarms and deployments.

        Args:
            plan: pools, limits and alarms.
            wanted: the deployments, with all their parameters.
            folder: where runs start, so where relative paths of their settings begin.
        """
        for each in wanted:  # a wrong time is found before anything is written
            schedules_of(each, {})
            triggers_of(each, {})
        asked_pools = [each.work_pool for each in wanted]
        for name in dict.fromkeys(pool.name for pool in asked_pools):
            await self._pool(name, plan.polymine.pools[name])
        for pool, queue in dict.fromkeys((it.name, it.work_queue_name) for it in asked_pools):
            if queue is not None:
                await self._queue(pool, queue, plan.polymine.runs_per_data_set)
        for alarm in alarms(plan.polymine):
            await self._automation(alarm, "marks runs as crashed, to be retried")
        if plan.polymine.notify is not None:
            message = notification(await self._block(plan.polymine.notify))
            await self._automation(message, f"tells {plan.polymine.notify}")
        for each in wanted:
            await self._deployment(each, folder)

    async def _bring(
        self, what: str, held: Values | None, wanted: Values, create: Write, update: Write,
        detail: str = "",
    ) -> None:  # fmt: skip
        """Write what is missing or other than wanted; without a detail, say what differs."""
        before = held or {}
        changed = [key for key in before | wanted if before.get(key, ...) != wanted.get(key, ...)]
        verb: Verb = "created" if held is None else "changed" if changed else "unchanged"
        if verb != "unchanged" and not self.dry:
            await (create if held is None else update)()
        said = "" if verb == "unchanged" else detail or ", ".join(changed)
        self.done.append(Outcome(verb, what, said))

    async def _pool(self, name: str, asked: PoolSettings) -> None:
        template = await get_default_base_job_template_for_infrastructure_type(asked.type)
        if template is None:
            raise SettingsError(f"polymine.pools.{name}: `{asked.type}` is no kind of pool")
        limit, template = asked.concurrency_limit, merge(template, asked.base_job_template)
        pool = WorkPoolCreate(
            name=name, type=asked.type, concurrency_limit=limit, base_job_template=template
        )
        there = await _found(self.client.read_work_pool(name))
        # A limit that the file does not name is the operators' own.
        named = "concurrency_limit" in asked.model_fields_set
        held = {
            "limit": there.concurrency_limit if named else limit,
            "template": there.base_job_template if asked.base_job_template else template,
        } if there else None  # fmt: skip
        changed = WorkPoolUpdate(concurrency_limit=limit) if not asked.base_job_template else (
            WorkPoolUpdate(concurrency_limit=limit, base_job_template=template)
        )  # fmt: skip
        await self._bring(
            f"work pool {name}",
            held,
            {"limit": limit, "template": template},
            lambda: self.client.create_work_pool(pool),
            lambda: self.client.update_work_pool(name, changed),
            f"runs at once: {limit or 'any number'}",
        )

    async def _queue(self, pool: str, name: str, limit: int) -> None:
        client = self.client
        there: Any = await _found(client.read_work_queue_by_name(name, work_pool_name=pool))
        await self._bring(
            f"work queue {pool}/{name}",
            {"limit": there.concurrency_limit} if there else None,
            {"limit": limit},
            lambda: client.create_work_queue(name, concurrency_limit=limit, work_pool_name=pool),
            lambda: client.update_work_queue(there.id, concurrency_limit=limit),
            f"runs at once: {limit}; others wait in line",
        )

    async def _block(self, name: str) -> UUID:
        kind, _, own = name.partition("/")
        try:
            block = await self.client.read_block_document_by_name(own, kind)
        except ObjectNotFound as error:
            raise SettingsError(
                f"polymine.notify: there is no block `{name}` on this server; make one in the UI "
                "under Blocks (Slack Webhook, Email, ...) and name it TYPE/NAME, as "
                "`slack-webhook/team`"
            ) from error
        return block.id

    async def _automation(self, wanted: AutomationCore, about: str) -> None:
        there: Any = next(iter(await self.client.read_automations_by_name(wanted.name)), None)
        fields = ("description", "trigger", "actions")
        kept = wanted.model_copy(update={"enabled": there.enabled}) if there else wanted
        await self._bring(
            f"automation {wanted.name.removeprefix(PREFIX)}",
            {field: getattr(there, field) for field in fields} if there else None,
            {field: getattr(wanted, field) for field in fields},
            lambda: self.client.create_automation(wanted),
            lambda: self.client.update_automation(there.id, kept),  # on or off as it was
            about,
        )

    async def _deployment(self, wanted: DeploymentSettings, folder: Path) -> None:
        there: Any = await _found(self.client.read_deployment_by_name(wanted.full_name))
        old = {schedule.slug: schedule for schedule in there.schedules} if there else {}
        triggers = await self._triggers(wanted, there.id) if there else []
        made = await build(
            wanted, folder, {slug: each.active for slug, each in old.items()},
            {each.name: each.enabled for each in triggers},
        )  # fmt: skip

        async def update() -> None:
            await made.aapply()
            ours = {slug for slug in old if slug}  # one made in the UI has none, and stays
            for slug in ours - {schedule.slug for schedule in wanted.schedules}:
                await self.client.delete_deployment_schedule(there.id, old[slug].id)

        times = "; ".join(
            [f"{each.slug}: {each.when}" for each in wanted.schedules]
            + [f"after {', '.join(sorted(each.get('expect', ())))}" for each in wanted.triggers]
        )
        await self._bring(
            f"deployment {wanted.full_name}",
            describe_held(there, triggers) if there else None,
            describe_made(made, there.id if there else None),
            made.aapply,
            update,
            "" if there else times or "on demand",
        )

    async def _triggers(self, wanted: DeploymentSettings, held: UUID) -> list[Automation]:
        """Read the automations that were made of a deployment's triggers."""
        own = f"prefect.deployment.{held}"
        related = await self.client.read_resource_related_automations(own)
        return [each for each in related if each.name.startswith(wanted.full_name + BY_EVENT)]


async def _found(question: Awaitable[Found]) -> Found | None:
    try:
        return await question
    except ObjectNotFound:
        return None
