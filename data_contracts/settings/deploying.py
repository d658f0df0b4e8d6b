"""What `prefect.yaml` may say: pools, limits, alarms, and deployments with their schedules.

The file is Prefect's own, and Prefect's models read it, too. Three keys are added, which Prefect
passes over: `polymine` at the top, and `settings` and `folder_per_run` in a deployment.
"""

from typing import Any

from pydantic import Field, model_validator

from polymine.data_contracts.settings.base import Settings

Sections = dict[str, dict[str, Any]]


class PoolSettings(Settings):
    """One work pool."""

    type: str = Field("process", description="Kind of its workers; a pool that is there keeps its.")
    concurrency_limit: int | None = Field(
        None, ge=1, description="Runs at once over all its workers; any number if not set."
    )


class OperationSettings(Settings):
    """What deployments share: pools, how many runs a data set takes, when a run counts as dead."""

    pools: dict[str, PoolSettings] = Field(min_length=1)
    runs_per_data_set: int = Field(
        1, ge=1, description="Runs at once in a data set's work queue; others wait in line."
    )
    silence: float = Field(
        90.0, gt=0, description="Seconds without a heartbeat after which a run counts as crashed."
    )
    start: float = Field(
        600.0, ge=10, description="Seconds within which a run has to begin that a worker has taken."
    )
    files: tuple[str, ...] = Field(
        (),
        description="Folders beside this file that its settings files name; copied to where runs "
        "start, if they are not there.",
    )


class WorkPoolReference(Settings):
    """Where a deployment's runs go."""

    name: str
    work_queue_name: str | None = Field(None, description="Runs of one queue never overlap.")
    job_variables: dict[str, Any] = Field({}, description="For the worker, as `env`.")


class TimetableSettings(Settings):
    """When runs start, and what is different about them."""

    slug: str = Field(min_length=1, description="Its name, by which it is found again.")
    cron: str | None = None
    rrule: str | None = None
    timezone: str = "UTC"
    active: bool = Field(True, description="Counts when it is made; later it is the operators'.")
    parameters: Sections = Field({}, description="Settings that differ, merged key by key.")

    @model_validator(mode="after")
    def _says_when(self) -> "TimetableSettings":
        if (self.cron is None) == (self.rrule is None):
            raise ValueError(f"schedule `{self.slug}`: name one of `cron` and `rrule`")
        return self


class DeploymentSettings(Settings):
    """One deployment."""

    name: str = Field(min_length=1, description="Its name behind the flow's, as `mine/demo`.")
    entrypoint: str = Field(description="Module and flow, as `polymine.flows.mining.mine`.")
    description: str | None = None
    settings: str | None = Field(
        None, description="TOML file its parameters start out with, beside this file."
    )
    parameters: Sections = Field({}, description="What differs from it, merged key by key.")
    folder_per_run: bool = Field(
        True, description="Whether each run writes to a folder of its own; else to `output.path`."
    )
    work_pool: WorkPoolReference
    tags: tuple[str, ...] = ()
    schedules: tuple[TimetableSettings, ...] = ()

    @property
    def flow(self) -> str:
        """The flow's name."""
        return self.entrypoint.rpartition(".")[2]

    @property
    def full_name(self) -> str:
        """Flow and name, as Prefect writes them."""
        return f"{self.flow}/{self.name}"

    @model_validator(mode="after")
    def _tells_schedules_apart(self) -> "DeploymentSettings":
        if len({schedule.slug for schedule in self.schedules}) < len(self.schedules):
            raise ValueError(f"deployment `{self.name}`: two schedules have the same `slug`")
        return self


class DeploymentPlan(Settings):
    """The whole file."""

    prefect_version: str | None = Field(None, alias="prefect-version")
    name: str | None = None
    definitions: dict[str, Any] = Field({}, description="YAML anchors.")
    polymine: OperationSettings
    deployments: tuple[DeploymentSettings, ...] = Field(min_length=1)

    @model_validator(mode="after")
    def _knows_its_pools(self) -> "DeploymentPlan":
        for pool in (deployment.work_pool.name for deployment in self.deployments):
            if pool not in self.polymine.pools:
                raise ValueError(
                    f"there is no work pool `{pool}` in `polymine.pools`; there are "
                    f"{', '.join(self.polymine.pools)}"
                )
        return self
