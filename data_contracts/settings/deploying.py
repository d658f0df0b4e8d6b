"""What `prefect.yaml` may say: pools, limits, alarms, and deployments with their schedules.

The file is Prefect's own, and Prefect's models read it, too. Three keys are added, which Prefect
passes over: `polymine` at the top, and `settings` and `folder_per_run` in a deployment.
"""

from datetime import timedelta
from typing import Annotated, Any

from annotated_types import Ge
from pydantic import Field, field_validator, model_validator

from polymine.data_contracts.settings.base import Settings

SERVED = "served"  # what `polymine serve` calls its deployment
Sections = dict[str, dict[str, Any]]


class PoolSettings(Settings):
    """One work pool."""

    type: str = "process"  # kind of its workers; a pool that is there keeps its own
    concurrency_limit: int | None = Field(None, ge=1)  # runs at once over all its workers
    base_job_template: dict[str, Any] = {}  # laid over Prefect's own for the kind, key by key


class OperationSettings(Settings):
    """What deployments share: pools, how many runs a data set takes, when a run counts as dead."""

    pools: dict[str, PoolSettings] = Field(min_length=1)
    runs_per_data_set: int = Field(1, ge=1)  # at once in its work queue; others wait in line
    silence: float = Field(90.0, gt=0)  # seconds without a heartbeat: the run crashed
    start: float = Field(600.0, ge=10)  # seconds for a run to begin that a worker has taken
    files: tuple[str, ...] = ()  # folders beside this file, copied to where runs start
    notify: str | None = None  # a notification block, `TYPE/NAME`, that is told what happened


class WorkPoolReference(Settings):
    """Where a deployment's runs go."""

    name: str
    work_queue_name: str | None = None  # runs of one queue never overlap
    job_variables: dict[str, Any] = {}  # for the worker, as `env`


class TimetableSettings(Settings):
    """When runs start, and what is different about them."""

    slug: str = Field(min_length=1)  # its name, by which it is found again
    cron: str | None = None
    rrule: str | None = None
    interval: Annotated[timedelta, Ge(timedelta(seconds=60))] | None = None  # seconds, or "6:00:00"
    timezone: str = "UTC"
    active: bool = True  # counts when it is made; later it is the operators'
    parameters: Sections = {}  # settings that differ, merged key by key

    @field_validator("interval", mode="before")
    @classmethod
    def _counts_seconds(cls, interval: Any) -> Any:
        return int(interval) if isinstance(interval, str) and interval.isdecimal() else interval

    @model_validator(mode="after")
    def _says_when(self) -> "TimetableSettings":
        if sum(each is not None for each in (self.cron, self.rrule, self.interval)) != 1:
            raise ValueError(f"schedule `{self.slug}`: name one of `cron`, `rrule` and `interval`")
        return self

    @property
    def when(self) -> str:
        """The time it says, in its own words."""
        return self.cron or self.rrule or f"every {self.interval}"


class DeploymentSettings(Settings):
    """One deployment."""

    name: str = Field(min_length=1)  # behind the flow's, as `mine/demo`
    entrypoint: str  # module and flow, as `polymine.flows.mining.mine`
    description: str | None = None
    settings: str | None = None  # TOML file its parameters start out with, beside this file
    parameters: Sections = {}  # what differs from it, merged key by key
    folder_per_run: bool = True  # whether each run writes to a folder of its own
    work_pool: WorkPoolReference
    tags: tuple[str, ...] = ()
    schedules: tuple[TimetableSettings, ...] = ()
    triggers: tuple[dict[str, Any], ...] = ()  # events that start a run, as Prefect writes them

    @property
    def flow(self) -> str:
        """The flow's name."""
        return self.entrypoint.rpartition(".")[2]

    @property
    def full_name(self) -> str:
        """Flow and name, as Prefect writes them."""
        return f"{self.flow.replace('_', '-')}/{self.name}"

    @model_validator(mode="after")
    def _tells_schedules_apart(self) -> "DeploymentSettings":
        if len({schedule.slug for schedule in self.schedules}) < len(self.schedules):
            raise ValueError(f"deployment `{self.name}`: two schedules have the same `slug`")
        return self


class DeploymentPlan(Settings):
    """The whole file."""

    prefect_version: str | None = Field(None, alias="prefect-version")
    name: str | None = None
    definitions: dict[str, Any] = {}  # YAML anchors
    polymine: OperationSettings
    deployments: tuple[DeploymentSettings, ...] = Field(min_length=1)

    @model_validator(mode="after")
    def _knows_its_pools(self) -> "DeploymentPlan":
        pools = self.polymine.pools
        if unknown := {each.work_pool.name for each in self.deployments} - pools.keys():
            raise ValueError(f"no work pools {unknown} in `polymine.pools`; it has {list(pools)}")
        return self
