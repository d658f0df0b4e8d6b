"""Names of runs: what a person may have given stays, others say what the run works on."""

from typing import Any
from uuid import uuid4

import pytest
from prefect.client.schemas.objects import FlowRun

from polymine.data_contracts.settings import DatasetSettings, OutputSettings
from polymine.tasks.monitoring.run_names import LONGEST, describe_run, may_be_typed, name_data


@pytest.mark.parametrize(
    ("begun", "kept"),
    [
        ({"deployment_id": uuid4()}, True),  # in the form, by `prefect deployment run`
        ({"deployment_id": uuid4(), "auto_scheduled": True}, False),
        ({"deployment_id": uuid4(), "parent_task_run_id": uuid4()}, False),  # by a pipeline
        ({}, False),  # by a command
    ],
)
def test_a_name_that_a_person_may_have_given_is_kept(begun: dict[str, Any], kept: bool) -> None:
    assert may_be_typed(FlowRun(flow_id=uuid4(), name="second-try", **begun)) == kept


@pytest.mark.parametrize(
    ("source", "name"),
    [
        ("demo:docstrings", "docstrings"),
        ("/data/medquad/corpus.parquet", "medquad"),
        ("/data/medquad", "medquad"),
        ("s3://bucket/beir/nq/corpus.jsonl", "nq"),
        ("https://host/shop.csv?part=1", "shop"),
        ("https://host/shop#frag/ment", "shop"),
        ("shop#1.csv", "shop#1"),
        ("s3://AKIA:SECRET@bucket", "data"),
        ("https://u:pw@host/corpus.parquet", "data"),
        ("https://h/x?token=abc", "data"),
        (["s3://AKIA:SECRET@bucket/nq", "a"], "data +1"),
        ("hf://datasets/org/name", "name"),
        ("shop.csv", "shop"),
        ("corpus.parquet", "corpus"),
        (["a/2024.parquet", "a/2025.parquet", "a/2026.parquet"], "2024 +2"),
    ],
)
def test_a_data_set_is_named_by_what_tells_it_from_others(source: str, name: str) -> None:
    dataset = DatasetSettings(corpus=source, queries="q.parquet", judgments="j.parquet")
    assert name_data(dataset) == name


def test_a_run_says_where_it_writes_and_what_it_works_on() -> None:
    output = OutputSettings(path="runs/tuesday")
    dataset = DatasetSettings(corpus="demo:docstrings")
    assert describe_run({"dataset": dataset, "output": output}) == "tuesday: docstrings"
    assert describe_run({"output": OutputSettings(path="runs/tuesday/training")}) == (
        "tuesday/training"
    )
    assert describe_run({}) == "run"
    long = OutputSettings(path="runs/" + "x" * 200)
    assert len(describe_run({"dataset": dataset, "output": long})) == LONGEST
