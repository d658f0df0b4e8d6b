"""Rows from the lists of a real run: what they hold, what a batch knows, what is refused."""

import json
import shutil

import numpy as np
import polars as pl
import pytest
from pydantic import ValidationError

import polymine
from polymine.data_contracts.errors import InputError, SettingsError, StoreError
from polymine.data_contracts.settings import (
    ArmSettings,
    LossSettings,
    MiningSettings,
    ScheduleSettings,
    StepSettings,
    TrainingData,
    TrainingSettings,
)
from polymine.mining.lists import interleave, score_by
from polymine.tasks.evaluation.comparison import check_arms
from polymine.tasks.store.datasets import info_of, load
from polymine.tasks.training.checks import check_training
from polymine.tasks.training.model import describe_model
from polymine.tasks.training.rows import check_rows, gather_rows
from polymine.training import batches
from polymine.training.labels import RowFacts
from tests.small import small_teacher
from tests.tasks.evaluation.small_sets import run_in
from tests.tasks.runs.small_lists import QUERY, mine_animals, texts_of


@pytest.fixture(scope="module")
def run(tmp_path_factory) -> polymine.Run:
    return mine_animals(tmp_path_factory.mktemp("lists"))


def step_on(folder, **loss) -> StepSettings:
    return StepSettings(
        name="a", data=(TrainingData(lists=str(folder)),), loss=LossSettings(**loss)
    )


def test_where_a_run_lies_is_no_part_of_what_was_trained(tmp_path):
    """A comparison reads lists from a folder that is another one every time."""
    base = small_teacher().model
    one, other = (
        describe_model(TrainingSettings(base=base, steps=(step,)), (step,), {}, {})
        for step in (step_on(tmp_path / name, negatives=2) for name in "ab")
    )
    assert one == other


def gather(run, tmp_path, **loss):
    made = gather_rows(run_in(tmp_path), step_on(run.folder, **loss))
    return load(made), info_of(made)["counts"][0]


def row_of(run, rows) -> dict:
    question = run.collection("queries", "query_id", pl.Series([QUERY]))["text"][0]
    return rows.filter(anchor=question).row(0, named=True)


def test_infonce_has_a_row_per_query_with_all_its_positives_and_its_negatives(run, tmp_path):
    rows, _ = gather(run, tmp_path, negatives=10)
    assert rows.height == 36
    row, read = row_of(run, rows), texts_of(run, run.lists())
    listed = run.lists(0).filter(query_id=QUERY)
    assert [row["positive"], *row["negatives"]] == [read[name] for name in listed["doc_id"]]
    assert listed["verdict"].cast(pl.String).to_list()[:2] == ["known", "promoted"]
    assert row["positive_weights"] == [1.0, *[0.0] * (len(listed) - 2)]
    assert row["weights"] == [1.0, *listed["weight"][2:]]
    assert row["scores"] == []


@pytest.mark.parametrize("target", ["risk", "fused"])
def test_a_short_list_has_negatives_and_further_candidates_with_their_scores(run, tmp_path, target):
    rows, counts = gather(run, tmp_path, kind="list", target=target, negatives=5)
    read = texts_of(run, run.lists())
    expected = interleave(score_by(run.lists(5).filter(query_id=QUERY), target)).head(6)
    row = row_of(run, rows)
    assert [row["positive"], *row["negatives"]] == [read[name] for name in expected["doc_id"]]
    assert row["scores"] == pytest.approx(expected["score"].to_list())
    verdicts = set(expected["verdict"].cast(pl.String))
    assert {"known", "promoted", "negative"} < verdicts
    assert counts["rows"] == rows.height == 36


def test_the_validators_order_holds_what_it_has_read(run, tmp_path):
    rows, counts = gather(run, tmp_path, kind="list", target="validator", negatives=20)
    lists = run.lists(1000)
    bare = lists.filter(pl.col("verdict").is_in(["excluded", "unused"]))
    assert counts["dropped"]["candidates without a score"] == bare["validator_score"].null_count()
    row, read = row_of(run, rows), texts_of(run, lists)
    told = lists.filter(query_id=QUERY).drop_nulls("validator_score")
    logits = {read[name]: logit for name, logit in told["doc_id", "validator_score"].rows()}
    texts = [row["positive"], *row["negatives"]]
    assert row["scores"] == [logits.get(text) for text in texts]
    assert set(logits) <= set(texts)


def test_a_batch_knows_the_positives_of_its_rows_and_what_is_closed(run, tmp_path):
    rows, _ = gather(run, tmp_path, negatives=4)
    question = row_of(run, rows)["anchor"]
    step = step_on(run.folder, negatives=4)
    parts = batches.split_rows(rows)
    facts, datasets = RowFacts(parts.values()), batches.build_datasets(parts, step)
    (dataset,) = (each for name, each in datasets.items() if not name.endswith("pairs"))
    columns = len(dataset.column_names) - 1
    place = dataset["anchor"].index(question)
    others = [number for number in range(len(dataset)) if number != place][:5]
    labels = facts.of(np.array([dataset[n]["label"] for n in (place, *others)]), columns)
    assert labels.positives[0].tolist() == [1.0, 1.0, *[0.0] * (columns - 3)]
    assert labels.weights.tolist() == [1.0] * 6
    assert labels.of_column(2)[0, 0] == -np.inf  # its own further positive is no negative
    assert (labels.of_column(2)[1:, 0] > -np.inf).all()  # but one of the other rows
    lengths = dict(rows.select("anchor", 1 + pl.col("negatives").list.len()).rows())
    asked = [dataset[number]["anchor"] for number in (place, *others)]
    assert labels.listed().sum(1).tolist() == [lengths[anchor] for anchor in asked]


def training(base: str, step: StepSettings) -> TrainingSettings:
    return TrainingSettings.model_validate({"base": {"model": base}, "steps": (step,)})


def altered(run, folder, change):
    """A copy of the run whose manifest says something else."""
    shutil.copytree(run.folder, folder)
    manifest = json.loads((folder / "manifest.json").read_text())
    manifest.pop("seal", None)
    change(manifest)
    (folder / "manifest.json").write_text(json.dumps(manifest))
    return folder


def test_a_target_that_no_validator_gave_is_refused_before_anything_is_read(run, tmp_path):
    base = str(small_teacher().model)
    loss = {"kind": "list", "target": "validator"}

    def without(manifest):
        manifest["info"]["settings"]["mining"]["validation"] = None

    bare = altered(run, tmp_path / "bare", without)
    with pytest.raises(SettingsError, match=r"bare is mined without a validator; name one as"):
        check_training(training(base, step_on(bare, **loss)))
    with pytest.raises(SettingsError, match="what is `mined` here is mined without a validator"):
        check_training(training(base, step_on("mined", **loss)), MiningSettings())
    check_training(training(base, step_on(run.folder, **loss)))


def test_a_run_of_an_older_layout_is_refused_before_anything_is_read(run, tmp_path):
    base = str(small_teacher().model)

    def forget(table):
        def change(manifest):
            kept = [s for s in manifest["shards"] if not s["name"].startswith(f"{table}/")]
            manifest["shards"] = kept

        return change

    old = altered(run, tmp_path / "old", forget("logits"))
    with pytest.raises(SettingsError, match=r"old has no table `logits`, as an older version"):
        check_training(training(base, step_on(old, kind="list", target="validator")))
    check_training(training(base, step_on(old, kind="list", target="fused")))
    older = altered(run, tmp_path / "older", forget("risks"))
    with pytest.raises(StoreError, match="risks/ is missing or was written by another version"):
        check_training(training(base, step_on(older)))
    with pytest.raises(StoreError, match="there is no such folder"):
        check_training(training(base, step_on(tmp_path / "none")))


def test_lists_and_losses_that_do_not_fit_each_other_are_refused(run, tmp_path):
    base = str(small_teacher().model)
    with pytest.raises(SettingsError, match="`lists` have several positives in a row"):
        check_training(training(base, step_on(run.folder, kind="clear")))
    plain = StepSettings(
        name="a", data=(TrainingData(triplets=str(run.folder)),),
        loss=LossSettings(kind="list", target="risk"),
    )  # fmt: skip
    with pytest.raises(SettingsError, match="loss `list` learns the order of a list, which only"):
        check_training(training(base, plain))
    timed = step_on("mined").model_copy(update={"schedule": ScheduleSettings(steps=2)})
    check_arms((ArmSettings(name="a"),), MiningSettings(), training(base, timed))
    with pytest.raises(SettingsError, match="arm b: `random` finds triplets, and `lists` are what"):
        check_arms(
            (ArmSettings(name="b", miner="random"),), MiningSettings(), training(base, timed)
        )
    with pytest.raises(ValidationError, match="loss `list` needs a `target`"):
        LossSettings(kind="list")
    with pytest.raises(ValidationError, match="`infonce_weight` is for the loss `list`"):
        LossSettings(infonce_weight=0.5)
    with pytest.raises(ValidationError, match="name one of `triplets`, `lists`"):
        TrainingData(lists="a", triplets="b")


def test_lists_without_an_order_are_refused_before_training(run, tmp_path):
    step = step_on(run.folder, kind="list", target="fused", negatives=3)
    made = gather_rows(run_in(tmp_path), step)
    check_rows(step, made)
    flat = load(made).with_columns(scores=pl.col("scores").list.eval(pl.lit(1.0, pl.Float32)))
    with pytest.raises(InputError, match="the same score, so that there is no order to learn"):
        batches.check_parts(batches.split_rows(flat), step)
