"""From `prefect.yaml` and settings files to the deployments that are wanted, without a server.

Prefect's own `prefect deploy` knows no settings files, and a schedule's parameters replace whole
sections there. Here they are laid over the file's key by key and checked as they will be at night.
"""

import copy
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from polymine.data_contracts.errors import SettingsError
from polymine.data_contracts.settings import check_as
from polymine.data_contracts.settings.deploying import (
    SERVED,
    DeploymentPlan,
    DeploymentSettings,
    TimetableSettings,
)
from polymine.data_contracts.settings.loading import SCHEDULES, TRIGGERS, read_toml, with_output
from polymine.data_contracts.settings.run import SETTINGS, flow_of
from polymine.flows import MODULES

FLOWS = [f"{module}.{flow}" for flow, module in MODULES.items()]
Verb = Literal["created", "changed", "unchanged"]


@dataclass(frozen=True)
class Outcome:
    """What became of one thing."""

    verb: Verb
    what: str
    detail: str = ""


def read_plan(file: Path) -> DeploymentPlan:
    """Read `prefect.yaml`, or raise SettingsError naming every bad key."""
    import yaml

    try:
        values = yaml.safe_load(file.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise SettingsError(f"{file}: there is no such file; name one with --plan") from error
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise SettingsError(f"{file}: cannot be read as YAML: {error}") from error
    plan = check_as(DeploymentPlan, values or {}, where=str(file))
    for deployment in plan.deployments:
        if deployment.entrypoint not in FLOWS:
            raise SettingsError(
                f"{file}: deployment `{deployment.name}`: `{deployment.entrypoint}` is no flow; "
                f"there are {', '.join(FLOWS)}"
            )
    return plan


def want(
    plan: DeploymentPlan,
    base: Path,
    files: Sequence[Path] = (),
    name: str | None = None,
    command: str | None = None,
    schedule: Mapping[str, Any] | None = None,
) -> list[DeploymentSettings]:
    """Return the plan's deployments with all their parameters, checked.

    Args:
        plan: what `prefect.yaml` says.
        base: folder of the plan, from which its own settings files are named.
        files: settings files; each is deployed under its name without the ending, instead of the
            plan's own files, with its own settings and schedules and none of the plan's.
        name: another name for the only file.
        command: that the files are for, as `run`; if None, what their sections say.
        schedule: keys of TimetableSettings, instead of the files' `[[schedules]]`; what their
            `[[triggers]]` say stays.
    """
    if name is not None and len(files) != 1:
        raise SettingsError("--name is for one settings file; several get their own names")
    if not files and (command or schedule):
        raise SettingsError(
            "--for, --cron, --rrule, --interval and --timezone are for a settings file of your "
            "own, as `polymine deploy mine.toml --cron '0 2 * * *'`; prefect.yaml says when the "
            "demo runs"
        )
    wanted = [each for file in files for each in _own(plan, file, name, command, schedule)]
    for entry in [] if files else plan.deployments:
        file = base / str(entry.settings)
        whole = entry.settings is not None
        wanted.append(_fill(entry, entry.name, file, read_toml(file)) if whole else entry)
    names = [each.full_name for each in wanted]
    if twice := sorted({each for each in names if names.count(each) > 1}):
        raise SettingsError(f"there would be two deployments `{twice[0]}`; give one another name")
    return wanted


def _own(
    plan: DeploymentPlan,
    file: Path,
    name: str | None,
    command: str | None,
    schedule: Mapping[str, Any] | None,
) -> list[DeploymentSettings]:
    """Deploy a settings file as the plan deploys its flow, and what it hands work over to."""
    name = name or file.stem
    if not re.fullmatch(r"[\w.-]+", name) or name == SERVED:
        raise SettingsError(
            f"{file}: `{name}` is no name for a deployment, or that of `polymine serve`; give it "
            "one by --name"
        )
    flow, values = flow_of(command, file), read_toml(file)
    own = [each for each in plan.deployments if each.flow == flow and each.settings is not None]
    if not own:
        raise SettingsError(f"{file}: the plan says of no deployment how `{flow}` is deployed")
    asked = _timetables([schedule] if schedule else values.pop(SCHEDULES, []), file)
    triggers = tuple(_tables(values.pop(TRIGGERS, []), TRIGGERS, file))
    entry = own[0].model_copy(update={"schedules": asked, "triggers": triggers})
    made = _fill(entry, name, file, values)
    pool = made.parameters.get("engine", {}).get("gpu_pool")
    helpers = [each for each in plan.deployments if each.settings is None and each.name == pool]
    return [made, *helpers]


def _timetables(schedules: Any, file: Path) -> tuple[TimetableSettings, ...]:
    """Check schedules; those without a `slug` are numbered."""
    return tuple(
        check_as(TimetableSettings, {"slug": f"schedule-{number}", **each}, f"{file}: {SCHEDULES}")
        for number, each in enumerate(_tables(schedules, SCHEDULES, file), 1)
    )


def _tables(values: Any, name: str, file: Path) -> list[dict[str, Any]]:
    """Check that a file's list of tables is one."""
    if not isinstance(values, list) or not all(isinstance(each, Mapping) for each in values):
        one = name.removesuffix("s")
        raise SettingsError(f"{file}: each {one} is a table of its own, as `[[{name}]]`")
    return [dict(each) for each in values]


def _fill(
    entry: DeploymentSettings, name: str, file: Path, values: Mapping[str, Any]
) -> DeploymentSettings:
    """Make the file's sections the parameters, of a schedule those that differ, each whole."""
    known = {section for kind in SETTINGS.values() for section in kind.model_fields}
    foreign = known - SETTINGS[entry.flow].model_fields.keys()
    own: Any = {section: value for section, value in values.items() if section not in foreign}
    for key in (SCHEDULES, TRIGGERS):
        own.pop(key, None)  # those of a deployment are its entry's
    own = with_output(own, file)
    if entry.folder_per_run:
        own = _with_own_folder(own, f"{name}/{entry.flow}")
    own = merge(own, entry.parameters)
    where = f"{file} for {entry.flow}/{name}"
    parameters = _checked(entry.flow, own, where)
    schedules = []
    for asked in entry.schedules:
        merged = merge(own, asked.parameters)
        full = _checked(entry.flow, merged, f"{where} on schedule `{asked.slug}`")
        differs = {key: value for key, value in full.items() if value != parameters.get(key)}
        schedules.append(asked.model_copy(update={"parameters": differs}))
    queue = entry.work_pool.work_queue_name
    queue = name if queue == entry.name else queue
    return entry.model_copy(update={
        "name": name, "parameters": parameters, "schedules": tuple(schedules),
        "work_pool": entry.work_pool.model_copy(update={"work_queue_name": queue}),
    })  # fmt: skip


def _with_own_folder(values: dict[str, Any], own: str) -> dict[str, Any]:
    """Give every run a folder of its own, so that last night's result is still there to compare.

    Beside the file's `output.path`, never in it: a folder with a run in it belongs to that run.
    """
    output = values.get("output")
    path = output.get("path") if isinstance(output, dict) else None
    if not isinstance(output, dict) or not isinstance(path, str) or "{" in path:
        return values
    before, slash, _ = path.rstrip("/").rpartition("/")
    return {
        **values,
        "output": {**output, "path": f"{before}{slash}deployed/{own}/{{date}}-{{run}}"},
    }


def _checked(flow: str, values: Any, where: str) -> dict[str, Any]:
    settings = check_as(SETTINGS[flow], copy.deepcopy(values), where)
    dumped: dict[str, Any] = settings.model_dump(mode="json", exclude_unset=True)
    return dumped


def merge(below: Any, above: Any) -> Any:
    """Lay one table over another, key by key."""
    if not isinstance(below, Mapping) or not isinstance(above, Mapping):
        return above
    return {**below, **{k: merge(below[k], v) if k in below else v for k, v in above.items()}}
