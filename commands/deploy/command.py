"""`polymine deploy`: what `prefect.yaml` says becomes so on a Prefect server, said line by line."""

import asyncio
import os
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console

from polymine.commands.deploy.plan import Outcome, read_plan, want
from polymine.commands.server.client import ServerError
from polymine.commands.starters import PLAN
from polymine.data_contracts.errors import SettingsError

if TYPE_CHECKING:
    from polymine.data_contracts.settings.deploying import DeploymentPlan, DeploymentSettings

STYLES = {"created": "green", "changed": "yellow", "unchanged": "dim"}


def deploy(
    files: Sequence[Path],
    *,
    name: str | None = None,
    plan_file: Path | None = None,
    dry_run: bool = False,
    command: str | None = None,
    schedule: Mapping[str, Any] | None = None,
) -> None:
    """Set up pools, queues, alarms and deployments; what is so already stays untouched.

    Goes to `PREFECT_API_URL` if that is set, else to the server of Polymine's home. Raises
    SettingsError for a wrong plan or settings file, ServerError if the server refuses or is away.
    """
    from polymine.commands.server.record import status
    from polymine.commands.server.shared import find_server

    plan_file = plan_file or (found if (found := Path("prefect.yaml")).exists() else PLAN)
    plan = read_plan(plan_file)
    base, folder = plan_file.absolute().parent, Path.cwd()
    wanted = want(plan, base, files, name, command, schedule)
    # First, since it needs no server and may fail.
    needed = () if files else plan.polymine.files
    copied = [copy_folder(each, base, folder, dry_run) for each in needed]
    own = status()
    if not (own and own.standing) and not os.environ.get("PREFECT_API_URL"):
        raise ServerError(
            "there is no Prefect server that stays, to deploy to: `polymine server start` runs one "
            "on this machine, or set PREFECT_API_URL (and PREFECT_API_AUTH_STRING) to one elsewhere"
        )
    server = find_server()
    try:
        server.enter()
        server.wait()
        outcomes = asyncio.run(_set_up(plan, wanted, folder, dry_run))
    finally:
        server.release()
    _show([*outcomes, *copied], dry_run)
    if not dry_run:
        for pool in dict.fromkeys(each.work_pool.name for each in wanted):
            print(f"A worker: PREFECT_API_URL={server.url} prefect worker start --pool {pool}")
        print(f"A run by its form: {server.ui_url}/v2/deployments")


def copy_folder(name: str, base: Path, folder: Path, dry: bool = False) -> Outcome:
    """Copy what the plan's own settings files name to where runs start; what is there stays.

    Workers may see no more than the folder where runs start, as those in containers.
    """
    from polymine.tasks.store.atomic import staged

    source, target = base / name, folder / name
    if target.exists():
        return Outcome("unchanged", f"folder {name}")
    if not source.is_dir():
        raise SettingsError(
            f"{source}: there is no such folder, and the plan's `polymine.files` name it; put it "
            "there, or take it out of the plan"
        )
    if not dry:
        with staged(target) as beside:
            shutil.copytree(source, beside, dirs_exist_ok=True)
    return Outcome("created", f"folder {name}", "data of the demo")


async def _set_up(
    plan: "DeploymentPlan", wanted: "Sequence[DeploymentSettings]", folder: Path, dry_run: bool
) -> list[Outcome]:
    from prefect.client.orchestration import get_client
    from prefect.deployments.runner import DeploymentApplyError
    from prefect.exceptions import PrefectHTTPStatusError

    from polymine.commands.deploy.server import SetUp

    try:
        async with get_client() as client:
            work = SetUp(client, dry_run)
            await work.run(plan, wanted, folder)
            return work.done
    except (PrefectHTTPStatusError, DeploymentApplyError) as refused:
        raise ServerError(f"the Prefect server refuses: {refused}") from refused


def _show(outcomes: Sequence[Outcome], dry_run: bool) -> None:
    console = Console(highlight=False, soft_wrap=True)
    console.print(f"Runs start in {Path.cwd()}", style="dim", markup=False)
    for outcome in outcomes:
        line = f"{outcome.verb:9}  {outcome.what}" + (f": {outcome.detail}" * bool(outcome.detail))
        console.print(line, style=STYLES[outcome.verb], markup=False)
    if dry_run:
        console.print("Nothing was changed (--dry-run).")
