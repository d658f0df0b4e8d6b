"""The automations that end runs whose process is gone, and the one that tells what happened.

A run whose process is gone would be Running or Pending for ever and hold its place in the queue.
The first automation waits for a heartbeat after a heartbeat; before that a run is Pending, and the
second waits. Nothing watches the moment between its begin and its first heartbeat, a fraction of a
second.
"""

from collections.abc import Sequence
from uuid import UUID

from prefect.client.schemas.objects import StateType
from prefect.events.actions import ChangeFlowRunState, SendNotification
from prefect.events.schemas.automations import AutomationCore, EventTrigger, Posture

from polymine.data_contracts.settings.deploying import OperationSettings

PREFIX = "polymine: "
SILENT, UNBEGUN = f"{PREFIX}runs without a sign of life", f"{PREFIX}runs that never began"
TELLS = f"{PREFIX}what happened"
TOLD = (
    "prefect.flow-run.Failed", "prefect.flow-run.Crashed",
    "polymine.triplets.finished", "polymine.model.finished", "polymine.quality.dropped",
)  # fmt: skip
ENDS = ("Completed", "Failed", "Crashed", "Cancelled", "Cancelling", "Paused", "Suspended")
# What follows Pending when all is well: the run begins, or is put back to wait for another worker.
BEGINNINGS = ("Running", "Retrying", "Rerunning", "heartbeat")
WAITS = ("Scheduled", "Late", "AwaitingRetry", "AwaitingConcurrencySlot")


def alarms(asked: OperationSettings) -> tuple[AutomationCore, AutomationCore]:
    """Return the automations, with the times that `prefect.yaml` gives."""
    return (
        _crash(
            SILENT,
            after="heartbeat",
            expect=["heartbeat", *ENDS],
            within=asked.silence,
            message=f"No heartbeat for {asked.silence:.0f} s: the run's process, or its machine, "
            "is gone (killed, out of memory, restarted)",
        ),
        _crash(
            UNBEGUN,
            after="Pending",
            expect=["Pending", *BEGINNINGS, *WAITS, *ENDS],  # a second Pending begins it again
            within=asked.start,
            message=f"A worker took this run and it has not begun for {asked.start:.0f} s: worker "
            "and run were killed before its first sign of life, or its start takes longer than "
            "`start` in prefect.yaml",
        ),
    )


def _crash(
    name: str, after: str, expect: Sequence[str], within: float, message: str
) -> AutomationCore:
    """Mark a run as crashed when, after one event, none of those expected comes in time."""
    trigger = EventTrigger.model_validate({
        "after": {f"prefect.flow-run.{after}"},
        "expect": {f"prefect.flow-run.{event}" for event in expect},
        "match": {"prefect.resource.id": "prefect.flow-run.*"},
        "for_each": {"prefect.resource.id"},
        "posture": Posture.Proactive,
        "threshold": 1,
        "within": within,
    })  # fmt: skip
    crash = ChangeFlowRunState(
        state=StateType.CRASHED,
        name="Crashed",
        message=f"{message}. See that a worker is up, then press Retry or call "
        "`prefect flow-run retry` with this run's id: what was finished is reused.",
    )
    description = "Marks a run as crashed that would hold its place in the queue for ever."
    return AutomationCore(name=name, description=description, trigger=trigger, actions=[crash])


def notification(block: UUID) -> AutomationCore:
    """Return the automation that sends a message on what became of deployed runs.

    Args:
        block: of Prefect's notification block that the message goes to.
    """
    trigger = EventTrigger.model_validate({
        "expect": set(TOLD),
        "match": {"prefect.resource.id": ["prefect.flow-run.*", "polymine.output.*"]},
        "match_related": {"prefect.resource.id": "prefect.tag.polymine"},
        "posture": Posture.Reactive,
        "threshold": 1,
        "within": 0,
    })  # fmt: skip
    send = SendNotification(
        block_document_id=block,
        subject="{{ event.event }}: {{ event.resource['prefect.resource.name'] }}",
        body="{{ event.payload.headline or event.payload.validated_state.message }}\n"
        "{{ flow_run|ui_url or '' }}",
    )
    description = "Tells of finished triplets and models, of lost quality, and of failed runs."
    return AutomationCore(name=TELLS, description=description, trigger=trigger, actions=[send])
