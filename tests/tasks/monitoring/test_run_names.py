"""Names of runs: what a person gave stays, what Prefect made up says what the run works on."""

import pytest
from prefect.utilities.names import generate_slug

from polymine.data_contracts.settings import (
    DatasetSettings,
    EvaluatedModel,
    EvaluationSet,
    EvaluationSettings,
    OutputSettings,
    RecipeSettings,
    TrainingData,
    TrainingSettings,
)
from polymine.tasks.monitoring.run_names import LONGEST, describe_run, is_made_up, name_data


def test_names_that_prefect_makes_up_are_known() -> None:
    assert all(is_made_up(generate_slug(2)) for _ in range(500))
    assert is_made_up("Rustic-Widget")  # the form in the UI


@pytest.mark.parametrize("name", ["nightly", "second-try", "before-new-rule", "demo: docstrings"])
def test_names_that_people_give_are_kept(name: str) -> None:
    assert not is_made_up(name)


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
    part = OutputSettings(path="runs/tuesday/training")
    data = TrainingData(triplets="mined")
    recipe = RecipeSettings(name="mono", mono=data, languages=("en",))
    training = TrainingSettings(base="package:x", recipe=recipe)
    assert describe_run({"training": training, "output": part}) == "tuesday/training: mono"
    evaluation = EvaluationSettings(
        sets=tuple(EvaluationSet(name=f"set-{n}", path="x") for n in range(5)),
        models=(EvaluatedModel(name="trained", model="m"),),
    )
    named = describe_run({"evaluation": evaluation, "output": output})
    assert named == "tuesday: trained on set-0, set-1, set-2 +2"
    long = OutputSettings(path="runs/" + "x" * 200)
    assert len(describe_run({"dataset": dataset, "output": long})) == LONGEST
