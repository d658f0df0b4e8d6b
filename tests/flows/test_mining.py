"""The real flow on a real Prefect server: task runs, what is reused, outputs and artifacts."""

import json
import time
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from uuid import UUID

import polars as pl
import pytest
from prefect.client.orchestration import get_client
from prefect.client.schemas.filters import (
    ArtifactFilter,
    ArtifactFilterFlowRunId,
    FlowRunFilter,
    FlowRunFilterId,
)

from polymine.data_contracts.errors import StoreError
from polymine.data_contracts.settings import (
    DatasetSettings,
    EngineSettings,
    MiningSettings,
    OutputSettings,
    SelectionSettings,
)
from polymine.flows.mining import mine
from tests.small import BM25, MINILM, plan_mining, small_validator

pytestmark = pytest.mark.flow

MINING = MiningSettings(
    teachers=(MINILM, BM25), negatives=3, depth=10, selection=SelectionSettings(rule="percent"),
    validation=small_validator(),
)  # fmt: skip
RANKED = {
    "ingest", "embed-minilm-documents", "embed-minilm-queries", "index-bm25", "rank-minilm",
    "rank-bm25", "score-positives", "evidence", "fit-risk", "first-look",
}  # fmt: skip
SLOW = {"embed-minilm-documents", "embed-minilm-queries"}
CHOSEN = {"choose-teacher"}  # not under a rule in the units of one teacher
DECIDED = {"deepen", "predict-risk", "select", "validate", "export"}


@dataclass(frozen=True)
class Run:
    """A finished flow run, as the server knows it."""

    id: UUID
    summary: dict
    states: dict[str, str]  # task run name: name of its final state
    edges: dict[str, set[str]]  # task run name: names of the task runs that it was made from
    artifacts: list
    began: dict[str, datetime]

    @property
    def place(self) -> Path:
        return Path(self.summary["output"])


def start(
    store: Path, dataset: dict, mining: MiningSettings, output: OutputSettings, **how: int
) -> Run:
    engine = EngineSettings(store=str(store), memory=16 / 1024, threads=2, **how)
    state = mine(DatasetSettings(**dataset), output, mining, engine, return_state=True)
    flow_run, summary = state.state_details.flow_run_id, state.result()
    this_run = FlowRunFilter(id=FlowRunFilterId(any_=[flow_run]))
    with get_client(sync_client=True) as client:
        tasks = client.read_task_runs(flow_run_filter=this_run)
        deadline = time.monotonic() + 60  # the server hears of task runs by events, a bit later
        while not _all_ended(tasks) and time.monotonic() < deadline:
            time.sleep(0.2)
            tasks = client.read_task_runs(flow_run_filter=this_run)
        artifacts = client.read_artifacts(
            artifact_filter=ArtifactFilter(flow_run_id=ArtifactFilterFlowRunId(any_=[flow_run]))
        )
    states = {task.name: task.state_name for task in tasks}
    names = {task.id: task.name for task in tasks}
    edges = {
        task.name: {names[each.id] for each in task.task_inputs.get("wait_for", ())}
        for task in tasks
    }
    began = {task.name: task.start_time for task in tasks}
    return Run(flow_run, summary, states, edges, artifacts, began)


def _all_ended(tasks: list) -> bool:
    """Whether the last stage is among the task runs and none is under way."""
    under_way = any(task.end_time is None for task in tasks)
    return not under_way and "report" in {task.name for task in tasks}


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("flow")


@pytest.fixture(scope="module")
def first(prefect_server, folder, animals) -> Run:
    output = OutputSettings(path=str(folder / "first"), views=("triplet", "labeled-list"))
    return start(folder / "store", animals, MINING, output)


@pytest.fixture(scope="module")
def second(first, folder, animals) -> Run:
    """The same once more, into another folder."""
    output = OutputSettings(path=str(folder / "second"), views=("triplet", "labeled-list"))
    return start(folder / "store", animals, MINING, output)


def other_rule() -> MiningSettings:
    rule = SelectionSettings(rule="margin", margin=0.1, sampling="softmax")
    return MINING.model_copy(update={"selection": rule})


def test_every_stage_is_a_task_run_that_completed(first):
    assert first.states == dict.fromkeys(RANKED | CHOSEN | DECIDED | {"report"}, "Completed")
    assert first.summary["reused"] == []


def test_the_graph_has_an_edge_for_each_dependency_and_plan_prints_the_same(first, folder, animals):
    assert first.edges["ingest"] == set()
    assert first.edges["embed-minilm-queries"] == first.edges["index-bm25"] == {"ingest"}
    assert first.edges["rank-bm25"] == {"ingest", "index-bm25"}
    assert first.edges["choose-teacher"] == {"evidence", "score-positives"}
    assert first.edges["deepen"] >= first.edges["choose-teacher"] | CHOSEN
    assert first.edges["select"] == {
        "ingest", "evidence", "deepen", "score-positives", "predict-risk"
    }  # fmt: skip
    assert first.edges["report"] >= {"export", "validate", "fit-risk"}
    engine = EngineSettings(store=str(folder / "store"), memory=16 / 1024, threads=2)
    output = OutputSettings(path=str(folder / "new"), views=("triplet", "labeled-list"))
    before = sorted(folder.rglob("*"))
    graph = plan_mining(DatasetSettings(**animals), output, MINING, engine)
    assert {node.name: set(node.needs) for node in graph.nodes} == {
        name: needs for name, needs in first.edges.items() if name != "report"
    }
    assert all(node.reused for node in graph.nodes)
    other = plan_mining(DatasetSettings(**animals), output, other_rule(), engine)
    assert {node.name for node in other.nodes if node.reused} == RANKED
    assert sorted(folder.rglob("*")) == before


def test_stages_side_by_side_give_the_same_bytes(first, folder, animals):
    output = OutputSettings(path=str(folder / "beside"), views=("triplet", "labeled-list"))
    run = start(folder / "other store", animals, MINING, output, stages_at_once=3)
    assert run.edges == first.edges
    assert contents(run.place, "triplets") == contents(first.place, "triplets")


def test_second_run_reuses_every_stage_and_says_so(first, second):
    stages = RANKED | CHOSEN | DECIDED
    assert second.states == {**dict.fromkeys(stages, "Reused"), "report": "Completed"}
    assert len(second.summary["reused"]) == len(stages) - 1  # without the first look
    assert second.id != first.id
    assert contents(second.place, "triplets") == contents(first.place, "triplets")
    assert contents(second.place, "labeled-list") == contents(first.place, "labeled-list")


def test_another_rule_reuses_all_up_to_the_risk_model_and_replaces_what_was_there(
    first, second, folder, animals
):
    output = OutputSettings(path=str(second.place), overwrite=True)
    run = start(folder / "store", animals, other_rule(), output)
    assert {name for name, state in run.states.items() if state == "Reused"} == RANKED
    assert {run.states[name] for name in DECIDED} == {"Completed"}
    assert run.place == second.place
    assert contents(run.place, "triplets") != contents(first.place, "triplets")
    assert not (run.place / "labeled-list").exists()
    assert not list(run.place.parent.glob(".second*"))


@pytest.fixture(scope="module", params=[True, False], ids=["validated", "alone"])
def risky(second, folder, animals, request) -> tuple[Run, bool]:
    """A run by the rule `risk`, with and without a validator."""
    rule = SelectionSettings(rule="risk", max_false_negative_rate=0.05)
    without = {} if request.param else {"validation": None}
    mining = MINING.model_copy(update={"selection": rule, **without})
    output = OutputSettings(path=str(folder / f"risk-{request.param}"))
    return start(folder / "store", animals, mining, output), request.param


def test_rule_risk_from_data_to_triplets(risky):
    run, validated = risky
    # The validator's look lies between two selections.
    looked = {"validate", "select-again"} if validated else set()
    assert run.states.keys() >= RANKED | {"deepen", "predict-risk", "select", "export"} | looked
    assert ("validate" in run.states) == validated
    assert {name for name, state in run.states.items() if state == "Reused"} >= RANKED | CHOSEN
    master = pl.read_parquet(run.place / "negatives" / "*.parquet")
    kept = master.filter(verdict="negative")
    assert len(kept) > 30
    assert kept["risk"].mean() <= 0.05 * (1 + 1e-6)
    assert (master["validator_score"].is_not_null().any()) == validated


def contents(place: Path, table: str) -> list[bytes]:
    paths = sorted((place / table).glob("*.parquet"))
    assert paths
    return [path.read_bytes() for path in paths]


def test_manifest_names_every_file(first):
    manifest = json.loads((first.place / "manifest.json").read_text())
    files = {
        path.relative_to(first.place).as_posix()
        for path in first.place.rglob("*")
        if path.is_file() and path.name != "manifest.json"
    }
    assert {shard["name"] for shard in manifest["shards"]} == files
    assert "report.html" in files
    assert manifest["rows"] == len(pl.read_parquet(first.place / "triplets" / "*.parquet")) > 60


def test_artifacts_show_the_run_under_the_same_keys_every_time(first, second):
    for run in (first, second):
        assert {artifact.key for artifact in run.artifacts} >= {
            "mine-summary", "mine-risk", "mine-charts", "mine-funnel", "mine-shortfalls",
        }  # fmt: skip
        assert {artifact.type for artifact in run.artifacts} >= {"markdown", "table"}
        assert all(artifact.data for artifact in run.artifacts)
    assert "mine-first-look" in {artifact.key for artifact in first.artifacts}
    assert first.began["first-look"] < min(first.began[name] for name in SLOW)


def test_a_run_says_what_it_works_on_by_name_and_tag(first, animals):
    with get_client(sync_client=True) as client:
        run = client.read_flow_run(first.id)
    data = Path(animals["corpus"]).parent.name
    assert run.name == f"first: {data}"
    assert f"data:{data}" in run.tags


def test_place_that_holds_another_run_is_refused_and_left_alone(first, folder, animals):
    before = contents(first.place, "triplets")
    output = OutputSettings(path=str(first.place))
    with pytest.raises(StoreError, match="holds another run"):
        start(folder / "store", animals, other_rule(), output)
    assert contents(first.place, "triplets") == before
    assert not list(first.place.parent.glob(".first*"))
