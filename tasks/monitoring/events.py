"""Events that others may wait for: triplets, a model, and a model that lost quality.

A deployment's `triggers` start a run after one, an automation sends a message. Its resource is the
output folder, whose labels tell a good result from a doubtful one.
"""

import logging
from pathlib import Path
from typing import Any, Literal

from prefect.context import FlowRunContext
from prefect.events import emit_event

Event = Literal["polymine.triplets.finished", "polymine.model.finished", "polymine.quality.dropped"]
TRIPLETS: Event = "polymine.triplets.finished"
MODEL: Event = "polymine.model.finished"
DROPPED: Event = "polymine.quality.dropped"

logger = logging.getLogger("polymine.report")


def announce(event: Event, folder: Path | str, headline: str, *, doubtful: bool = False) -> None:
    """Tell the server that something is finished; outside of a flow run, nothing.

    Prefect itself adds the flow run, its deployment and its tags as related resources.

    Args:
        event: what is finished.
        folder: absolute path of the output folder, whose last two parts name the resource.
        headline: of its report.
        doubtful: whether the report warns of something; `polymine.quality` of the resource.
    """
    context = FlowRunContext.get()
    if context is None or context.flow_run is None:
        return
    path = Path(folder)
    name = "/".join(path.parts[-2:])
    resource: dict[str, Any] = {
        "prefect.resource.id": f"polymine.output.{name}",
        "prefect.resource.name": name,
        "polymine.folder": str(path),
        "polymine.quality": "doubtful" if doubtful else "good",
    }
    try:
        emit_event(event, resource=resource, payload={"headline": headline, "folder": str(path)})
    except Exception as error:  # the result is written: what only tells of it must not fail the run
        logger.warning("event %s cannot be sent: %s", event, error)
