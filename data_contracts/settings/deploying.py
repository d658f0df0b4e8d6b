"""What `prefect.yaml` may say: pools, limits, alarms, and deployments with their schedules.

The file is Prefect's own and is read by Prefect's models, too. Two keys are added, which Prefect
passes over: `polymine` at the top, and `settings` in a deployment.
"""

from typing import Any

from pydantic import Field, model_validator

from polymine.data_contracts.settings.base import Settings

Name = str


class PoolSettings(Settings):
    """One work pool."""

    type: str = Field("process", description="Kind of its workers; a pool that is there keeps its.")
    concurrency_limit: int | None = Field(
        None, ge=1, description="Runs at once over all its workers; any number if not set."
    )


class OperationSettings(Settings):
    """What deployments share: pools, how many runs a data set takes, when a run counts as dead."""

    pools: dict[Name, PoolSettings] = Field(min_length=1, description="Work pools by name.")
    runs_per_data_set: int = Field(
        1, ge=1, description="Runs at once in a work queue of a data set; others wait in line."
    )
    silence: float = Field(
        90.0,
        gt=0,
        description="Seconds without a heartbeat after which a run counts as crashed; runs send "
        "one every 30.",
    )
    start: float = Field(
        600.0,
        ge=10,
        description="Seconds after a worker has taken a run, within which it has to begin, or else "
        "counts as crashed.",
    )
    files: tuple[str, ...] = Field(
        (),
        description="Folders beside this file that its own settings files name; copied to where "
        "runs start, if they are not there.",
    )


class WorkPoolReference(Settings):
    """Where a deployment's runs go."""

    name: Name = Field(description="A work pool of `polymine.pools`.")
    work_queue_name: str | None = Field(
        None, description="The data set's queue; runs of one queue never overlap."
    )
    job_variables: dict[str, Any] = Field({}, description="For the worker, as `env`.")


class TimetableSettings(Settings):
    """When runs start, and what is different about them."""

    slug: str = Field(min_length=1, description="Its name, by which it is found again.")
    cron: str | None = None
    rrule: str | None = None
    timezone: str = "UTC"
    active: bool = Field(True, description="Counts when it is made; later it is the operators'.")
    parameters: dict[str, dict[str, Any]] = Field(
        {}, description="Settings that differ, by section; merged key by key."
    )

    @model_validator(mode="after")
    def _says_when(self) -> "TimetableSettings":
        if (self.cron is None) == (self.rrule is None):
            raise ValueError(f"schedule `{self.slug}`: name one of `cron` and `rrule`")
        return self


class DeploymentSettings(Settings):
    """One deployment."""

    name: Name = Field(min_length=1, description="Its name behind the flow's, as `mine/demo`.")
    entrypoint: str = Field(description="Module and flow, as `polymine.flows.mining.mine`.")
    description: str | None = None
    settings: str | None = Field(
        None, description="TOML file its parameters start out with; relative to this file."
    )
    parameters: dict[str, dict[str, Any]] = Field(
        {}, description="What is other than in `settings`, by section; merged key by key."
    )
    folder_per_run: bool = Field(
        True, description="Whether each run writes to a folder of its own; else to `output.path`."
    )
    work_pool: WorkPoolReference
    tags: tuple[str, ...] = ()
    schedules: tuple[TimetableSettings, ...] = ()

    @model_validator(mode="after")
    def _tells_schedules_apart(self) -> "DeploymentSettings":
        slugs = [schedule.slug for schedule in self.schedules]
        if len(set(slugs)) < len(slugs):
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
        for deployment in self.deployments:
            if (pool := deployment.work_pool.name) not in self.polymine.pools:
                raise ValueError(
                    f"deployment `{deployment.name}`: there is no work pool `{pool}` in "
                    f"`polymine.pools`; there are {', '.join(self.polymine.pools)}"
                )
        return self
