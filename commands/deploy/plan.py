"""From `prefect.yaml` and settings files to the deployments that are wanted, without a server."""

import copy
import re
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from polymine.commands.running import MODULES
from polymine.data_contracts.errors import SettingsError
from polymine.data_contracts.settings import check_as
from polymine.data_contracts.settings.deploying import (
    DeploymentPlan,
    DeploymentSettings,
    TimetableSettings,
)
from polymine.data_contracts.settings.run import SETTINGS

FLOWS = {f"{module}.{flow}": flow for flow, module in MODULES.items()}
# Sections that make a file one for a flow, and those that make it another's.
NEEDED: dict[str, tuple[set[str], set[str]]] = {
    "mine": ({"dataset"}, set()),
    "pipeline": ({"dataset", "training"}, set()),
    "compare": ({"dataset", "comparison"}, set()),
    "train": ({"training"}, {"dataset"}),
    "evaluate": ({"evaluation"}, {"dataset", "training"}),
}


@dataclass(frozen=True)
class WantedSchedule:
    """A schedule with the sections that differ, each of them whole."""

    asked: TimetableSettings
    parameters: dict[str, Any]


@dataclass(frozen=True)
class Wanted:
    """A deployment as it has to be."""

    flow: str
    name: str
    asked: DeploymentSettings
    queue: str | None
    parameters: dict[str, Any]
    schedules: tuple[WantedSchedule, ...]

    @property
    def full_name(self) -> str:
        """Flow and name, as Prefect writes them."""
        return f"{self.flow}/{self.name}"


def read_plan(file: Path) -> DeploymentPlan:
    """Read `prefect.yaml`, or raise SettingsError naming every bad key."""
    import yaml

    try:
        values = yaml.safe_load(file.read_text(encoding="utf-8"))
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
    plan: DeploymentPlan, base: Path, files: Sequence[Path] = (), name: str | None = None
) -> list[Wanted]:
    """Return the plan's deployments; with `files`, those that have settings for each file instead.

    Args:
        base: folder of the plan, from which its own settings files are named.
        files: settings files, each deployed under its name without the ending.
        name: another name for the only file.
    """
    fixed = [entry for entry in plan.deployments if entry.settings is None]
    open_ones = [entry for entry in plan.deployments if entry.settings is not None]
    wanted = []
    if not files:
        if name is not None:
            raise SettingsError("--name is for a settings file; name the file, too")
        for entry in open_ones:
            file = base / str(entry.settings)
            wanted.append(_fill(entry, entry.name, file, _read(file)))
    for file, own in _named(files, name).items():
        wanted += _fit(open_ones, own, file)
    wanted += [_bare(entry) for entry in fixed]
    names = [each.full_name for each in wanted]
    if twice := sorted({each for each in names if names.count(each) > 1}):
        raise SettingsError(f"there would be two deployments `{twice[0]}`; give one another name")
    return wanted


def _named(files: Sequence[Path], name: str | None) -> dict[Path, str]:
    if name is not None and len(files) > 1:
        raise SettingsError("--name takes one settings file; several get their own names")
    names = {file: name or file.stem for file in files}
    for file, own in names.items():
        if not re.fullmatch(r"[\w.-]+", own):
            raise SettingsError(f"{file}: `{own}` is no name for a deployment; give one by --name")
    return names


def _fit(entries: Sequence[DeploymentSettings], name: str, file: Path) -> list[Wanted]:
    """Fill those deployments whose sections the file has."""
    values = _read(file)
    made = []
    for entry in entries:
        needed, foreign = NEEDED[FLOWS[entry.entrypoint]]
        if needed <= set(values) and not foreign & set(values):
            made.append(_fill(entry, name, file, values))
    if not made:
        raise SettingsError(
            f"{file}: has sections for none of the deployments; mining needs [dataset], the "
            "pipeline [training] as well, a comparison [comparison] as well"
        )
    return made


def _fill(entry: DeploymentSettings, name: str, file: Path, values: Mapping[str, Any]) -> Wanted:
    """Make the file's sections the parameters, and check them as they will be at night."""
    flow = FLOWS[entry.entrypoint]
    known = {section for kind in SETTINGS.values() for section in kind.model_fields}
    own = {
        section: value
        for section, value in values.items()
        if section in SETTINGS[flow].model_fields or section not in known
    }
    if entry.folder_per_run:
        own = _with_own_folder(own, name, flow)
    own = _merge(own, entry.parameters)
    parameters = _checked(flow, own, f"{file} for {flow}/{name}")
    schedules = []
    for asked in entry.schedules:
        where = f"{file} for {flow}/{name} on schedule `{asked.slug}`"
        other = _checked(flow, _merge(own, asked.parameters), where)
        differs = {key: value for key, value in other.items() if value != parameters.get(key)}
        schedules.append(WantedSchedule(asked, differs))
    queue = entry.work_pool.work_queue_name
    queue = name if queue == entry.name else queue
    return Wanted(flow, name, entry, queue, parameters, tuple(schedules))


def _bare(entry: DeploymentSettings) -> Wanted:
    """Take a deployment whose parameters come with each run."""
    schedules = tuple(WantedSchedule(asked, dict(asked.parameters)) for asked in entry.schedules)
    queue = entry.work_pool.work_queue_name
    flow = FLOWS[entry.entrypoint]
    return Wanted(flow, entry.name, entry, queue, dict(entry.parameters), schedules)


def _with_own_folder(values: Mapping[str, Any], name: str, flow: str) -> dict[str, Any]:
    """Give every run a folder of its own, so that last night's result is still there to compare.

    Beside the file's `output.path`, never in it: a folder with a run in it belongs to that run.
    """
    output = values.get("output")
    if not isinstance(output, dict):
        return dict(values)
    path = output.get("path")
    if not isinstance(path, str) or "{" in path:
        return dict(values)
    before, slash, _ = path.rstrip("/").rpartition("/")
    own = f"{before}{slash}deployed/{name}/{flow}/{{date}}-{{run}}"
    return {**values, "output": {**output, "path": own}}


def _checked(flow: str, values: Mapping[str, Any], where: str) -> dict[str, Any]:
    settings = check_as(SETTINGS[flow], copy.deepcopy(dict(values)), where)
    dumped: dict[str, Any] = settings.model_dump(mode="json", exclude_unset=True)
    return dumped


def _read(file: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise SettingsError(f"{file}: there is no such file") from error
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise SettingsError(f"{file}: cannot be read as TOML: {error}") from error


def _merge(below: Any, above: Any) -> Any:
    """Lay one table over another, key by key: Prefect itself replaces whole sections."""
    if not isinstance(below, Mapping) or not isinstance(above, Mapping):
        return above
    merged = {**below}
    for key, value in above.items():
        merged[key] = _merge(below[key], value) if key in below else value
    return merged
