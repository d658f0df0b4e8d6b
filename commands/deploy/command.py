"""`polymine deploy`: what `prefect.yaml` says becomes so on a Prefect server, said line by line."""

import asyncio
import os
import shutil
import time
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console

from polymine.commands.deploy.plan import read_plan, want
from polymine.commands.server.client import ServerError
from polymine.data_contracts.errors import SettingsError

if TYPE_CHECKING:
    import httpx

    from polymine.commands.deploy.plan import Wanted
    from polymine.commands.deploy.server import Outcome
    from polymine.data_contracts.settings.deploying import DeploymentPlan

OWN_PLAN = Path(__file__).resolve().parent.parent / "prefect.yaml"
PATIENCE = 60.0  # seconds; a set-up service may start together with the server
STYLES = {"created": "green", "changed": "yellow", "unchanged": "dim"}


def deploy(
    files: Sequence[Path],
    *,
    name: str | None = None,
    plan_file: Path | None = None,
    dry_run: bool = False,
) -> None:
    """Set up pools, queues, alarms and deployments; what is so already stays untouched.

    Goes to `PREFECT_API_URL` if that is set, else to the server of Polymine's home. Raises
    SettingsError for a wrong plan or settings file, ServerError if the server refuses or is away.
    """
    plan_file = plan_file or (found if (found := Path("prefect.yaml")).exists() else OWN_PLAN)
    plan = read_plan(plan_file)
    base, folder = plan_file.absolute().parent, Path.cwd()
    wanted = want(plan, base, files, name)
    # First, since it needs no server and may fail.
    needed = () if files else plan.polymine.files
    copied = [copy_folder(each, base, folder, dry_run) for each in needed]
    with _server() as url:
        outcomes, idle = asyncio.run(_set_up(plan, wanted, folder, dry_run))
    _show([*outcomes, *copied], idle, url, dry_run)


@contextmanager
def _server() -> Iterator[str]:
    """Yield the address of the API that the environment names, or that of the home's server."""
    from polymine.commands.server.shared import find_server, status

    if status() is None and not os.environ.get("PREFECT_API_URL"):
        raise ServerError(
            "there is no Prefect server to deploy to: `polymine server start` runs one on this "
            "machine, or set PREFECT_API_URL (and PREFECT_API_AUTH_STRING) to one elsewhere"
        )
    server = find_server()
    try:
        server.enter()
        server.wait()
        yield server.url
    finally:
        server.release()


def copy_folder(name: str, base: Path, folder: Path, dry: bool = False) -> "Outcome":
    """Copy what the plan's own settings files name to where runs start; what is there stays.

    Workers may see no more than the folder where runs start, as those in containers.
    """
    from polymine.commands.deploy.server import Outcome

    source, target = base / name, folder / name
    if target.exists():
        return Outcome("unchanged", f"folder {name}")
    if not source.is_dir():
        raise SettingsError(
            f"{source}: there is no such folder, and the plan's `polymine.files` name it; put it "
            "there, or take it out of the plan"
        )
    partial = target.with_name(f".{target.name}.{uuid.uuid4().hex[:8]}")
    try:
        if not dry:
            shutil.copytree(source, partial)
            partial.rename(target)
    except OSError as error:
        raise SettingsError(
            f"{source}: cannot be copied to {target} ({error.strerror}); call `polymine deploy` in "
            "the folder where runs shall start"
        ) from error
    return Outcome("created", f"folder {name}", "data of the demo")


async def _set_up(
    plan: "DeploymentPlan", wanted: "Sequence[Wanted]", folder: Path, dry_run: bool
) -> "tuple[list[Outcome], list[str]]":
    """Set everything up; return what was done and the pools that no worker looks after."""
    import httpx
    from prefect.client.orchestration import get_client

    from polymine.commands.deploy.server import idle_pools, set_up

    async with get_client() as client:
        deadline, said = time.monotonic() + PATIENCE, ""
        while error := await client.api_healthcheck():
            if isinstance(error, httpx.HTTPStatusError):
                raise ServerError(_explain(error))
            if time.monotonic() > deadline:
                raise ServerError(f"{client.api_url}: the Prefect server does not answer: {error}")
            if not said:
                said = f"{client.api_url} does not answer; asking again for {PATIENCE:.0f} s"
                Console(stderr=True).print(said, style="dim", soft_wrap=True, markup=False)
            await asyncio.sleep(1)
        try:
            outcomes = await set_up(client, plan, wanted, folder, dry_run)
            return outcomes, [] if dry_run else await idle_pools(client, plan)
        except httpx.HTTPStatusError as refused:
            raise ServerError(_explain(refused)) from refused


def _explain(refused: "httpx.HTTPStatusError") -> str:
    if refused.response.status_code in (401, 403):
        return (
            f"{refused.request.url}: the Prefect server refuses access; set "
            "PREFECT_API_AUTH_STRING to the server's"
        )
    return f"{refused.request.url}: the Prefect server refuses: {refused.response.text:.500}"


def _show(outcomes: "Sequence[Outcome]", idle: Sequence[str], url: str, dry_run: bool) -> None:
    console = Console(highlight=False)
    console.print(f"Runs start in {Path.cwd()}", style="dim", markup=False, soft_wrap=True)
    for outcome in outcomes:
        line = f"{outcome.verb:9}  {outcome.what}" + (f": {outcome.detail}" * bool(outcome.detail))
        console.print(line, style=STYLES[outcome.verb], markup=False, soft_wrap=True)
    if dry_run:
        console.print("Nothing was changed (--dry-run).")
        return
    for pool in idle:
        console.print(
            f"No worker looks after pool {pool}: PREFECT_API_URL={url} prefect worker start "
            f"--pool {pool}",
            markup=False, soft_wrap=True,
        )  # fmt: skip
    console.print(f"Start a run by its form: {url.removesuffix('/api')}/v2/deployments")
