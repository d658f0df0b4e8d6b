"""What the server holds of runs that do not finish: state, page, log; and names given by people."""

import time
from uuid import UUID

import polars as pl
import pytest
from prefect import flow
from prefect.client.orchestration import get_client
from prefect.client.schemas.filters import (
    ArtifactFilter,
    ArtifactFilterFlowRunId,
    FlowRunFilter,
    FlowRunFilterParentFlowRunId,
    LogFilter,
    LogFilterFlowRunId,
)
from prefect.flow_engine import run_flow
from prefect.logging.handlers import APILogWorker

from polymine.data_contracts.errors import InputError
from polymine.data_contracts.references import DatasetRef
from polymine.data_contracts.settings import (
    DatasetSettings,
    EngineSettings,
    MiningSettings,
    OutputSettings,
)
from polymine.flows.mining import mine
from polymine.tasks.engine.context import Context
from polymine.tasks.engine.stage import step
from polymine.tasks.monitoring.failures import SHOWN, explains_failures

pytestmark = pytest.mark.flow
MESSAGE = "corpus.parquet: 2 rows share doc_id 'd1'; give each its own"


@step("work")
def work(run: Context, kind: str) -> DatasetRef:
    if kind == "user":
        raise InputError(MESSAGE)
    if kind == "stop":
        raise KeyboardInterrupt
    raise ZeroDivisionError("by nothing")


@flow(name="inner", persist_result=False, **SHOWN)
@explains_failures
def inner(output: OutputSettings, kind: str) -> None:
    work(Context.of(EngineSettings()), kind)


@flow(name="outer", persist_result=False, **SHOWN)
@explains_failures
def outer(output: OutputSettings, kind: str) -> None:
    inner(OutputSettings(path=f"{output.path}/training"), kind)


def page_of(run: UUID) -> str:
    """The one page of what to do that a run has."""
    of = ArtifactFilter(flow_run_id=ArtifactFilterFlowRunId(any_=[run]))
    with get_client(sync_client=True) as client:
        found = [a for a in client.read_artifacts(artifact_filter=of) if a.key == "what-to-do"]
    assert len(found) == 1
    return str(found[0].data)


def log_of(run: UUID) -> list[str]:
    APILogWorker.drain_all(timeout=30)
    of = LogFilter(flow_run_id=LogFilterFlowRunId(any_=[run]))
    with get_client(sync_client=True) as client:
        deadline = time.monotonic() + 20
        while not (found := client.read_logs(of)) and time.monotonic() < deadline:
            time.sleep(0.1)
    return [entry.message for entry in found]


def parts_of(run: UUID) -> list:
    of = FlowRunFilter(parent_flow_run_id=FlowRunFilterParentFlowRunId(any_=[run]))
    with get_client(sync_client=True) as client:
        return client.read_flow_runs(flow_run_filter=of)


def test_a_users_error_is_said_once_and_on_every_page(prefect_server):
    state = outer(OutputSettings(path="runs/demo"), "user", return_state=True)
    run = state.state_details.flow_run_id
    assert (state.type.value, state.message) == ("FAILED", MESSAGE)
    (part,) = parts_of(run)
    assert part.name == "demo/training"
    assert part.state.message == MESSAGE
    assert "In stage `work`." in page_of(part.id)
    assert "the run that this one is part of" in page_of(part.id)
    page = page_of(run)
    assert MESSAGE in page
    assert f"[demo/training](/v2/runs/flow-run/{part.id})" in page
    assert "call the flow again" in page
    log = [*log_of(run), *log_of(part.id)]
    assert sum(MESSAGE in line for line in log) == 1
    assert not any("Traceback" in line or "hook" in line for line in log)
    with pytest.raises(InputError, match="2 rows share"):
        outer(OutputSettings(path="runs/demo"), "user")


def test_a_defect_is_called_one_and_its_traceback_is_in_the_log_once(prefect_server):
    state = outer(OutputSettings(path="runs/demo"), "defect", return_state=True)
    run = state.state_details.flow_run_id
    assert state.message.startswith("A defect, or a failure of the machine: ZeroDivisionError: by")
    (part,) = parts_of(run)
    log = [*log_of(run), *log_of(part.id)]
    assert sum("Traceback" in line for line in log) == 1
    assert "the traceback" in page_of(part.id)


def test_a_run_that_is_stopped_says_how_to_go_on(prefect_server):
    with pytest.raises(KeyboardInterrupt):
        inner(OutputSettings(path="runs/stopped"), "stop")
    with get_client(sync_client=True) as client:
        run = next(r for r in client.read_flow_runs() if r.name == "stopped")
    assert run.state.is_crashed()
    page = page_of(run.id)
    assert "# The run was stopped" in page
    assert "is kept" in page


def test_bad_input_fails_a_run_that_keeps_the_name_it_was_given(prefect_server, tmp_path):
    table = pl.DataFrame({"doc_id": ["a", "a"], "text": ["x", "y"], "query_id": ["q", "q"]})
    table.write_parquet(tmp_path / "twice.parquet")
    file = str(tmp_path / "twice.parquet")
    parameters = {
        "dataset": DatasetSettings(corpus=file, queries=file, judgments=file),
        "output": OutputSettings(path=str(tmp_path / "out")),
        "mining": MiningSettings(),
        "engine": EngineSettings(store=str(tmp_path / "store")),
    }
    with get_client(sync_client=True) as client:
        by_hand = client.create_deployment(client.create_flow(mine), "by-hand")
        typed = mine.serialize_parameters(parameters)
        given = client.create_flow_run_from_deployment(by_hand, name="second-try", parameters=typed)
        state = run_flow(mine, flow_run=given, parameters=parameters, return_type="state")
        run = client.read_flow_run(given.id)
    assert run.name == "second-try"
    assert f"data:{tmp_path.name}" in run.tags or "data:twice" in run.tags
    assert state.is_failed()
    assert "twice.parquet" in state.message
    assert not state.message.startswith(("Flow run encountered", "InputError"))
    assert state.message in page_of(given.id)


def test_a_credential_that_was_typed_into_the_form_is_shown_nowhere(prefect_server, tmp_path):
    dataset = DatasetSettings(corpus="https://AKIAX:pa'@:swordfish@host/corpus.parquet",
                              queries="https://h/x?token=hunter", judgments="j")  # fmt: skip
    output = OutputSettings(path=str(tmp_path / "typed"))
    state = mine(dataset, output, return_state=True)
    run_id = state.state_details.flow_run_id
    with get_client(sync_client=True) as client:
        run = client.read_flow_run(run_id)
    assert state.message.startswith("dataset.corpus: this address holds a user or password")
    assert (run.name, "data:data" in run.tags) == ("typed: data", True)
    shown = "\n".join([state.message, run.name, *run.tags, *log_of(run_id), page_of(run_id)])
    assert not any(secret in shown for secret in ("AKIAX", "pa'", "swordfish", "hunter"))
