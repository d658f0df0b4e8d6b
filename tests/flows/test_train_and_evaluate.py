"""Training, evaluation, pipeline and comparison as real flows, on the animals and a tiny model."""

import json
import time
from pathlib import Path
from uuid import UUID

import numpy as np
import polars as pl
import pytest
from peft import PeftModel
from prefect.client.orchestration import get_client
from prefect.client.schemas.filters import (
    ArtifactFilter,
    ArtifactFilterFlowRunId,
    FlowRunFilter,
    FlowRunFilterParentFlowRunId,
)
from sentence_transformers import SentenceTransformer

import polymine
from polymine.data_contracts.errors import InputError, ModelError, SettingsError, StoreError
from polymine.data_contracts.settings import (
    AdaptedModel,
    ArmSettings,
    ComparisonSettings,
    DatasetSettings,
    DevelopmentSettings,
    EngineSettings,
    EvaluatedModel,
    EvaluationSet,
    EvaluationSettings,
    LoraSettings,
    LossSettings,
    MiningSettings,
    OutputSettings,
    RecipeSettings,
    ScheduleSettings,
    StepSettings,
    TrainingData,
    TrainingSettings,
)
from polymine.flows.comparison import compare
from polymine.flows.evaluation import evaluate
from polymine.flows.pipeline import pipeline
from polymine.flows.training import train
from polymine.models import load_encoder
from polymine.tasks.store.datasets import Store
from tests.small import BM25, MINILM, save_small_decoder

pytestmark = pytest.mark.flow
PARALLEL = Path(__file__).parents[2] / "examples" / "parallel"
SCHEDULE = ScheduleSettings(steps=3, batch=8, mini_batch=8)


@pytest.fixture(scope="module")
def engine(tmp_path_factory) -> EngineSettings:
    return EngineSettings(store=str(tmp_path_factory.mktemp("store")), threads=2)


def in_float32(base: str, **call: object) -> AdaptedModel:
    return AdaptedModel(model=base, dtype="float32", **call)


def recipe_settings(base: str, name: str, **others) -> TrainingSettings:
    """A recipe over the project's parallel corpus, in Russian and French."""
    collection = TrainingData(collection=str(PARALLEL))
    recipe = RecipeSettings(
        name=name, languages=("ru", "fr"), mono=collection,
        cross=None if name == "mono" else collection, **others,
    )  # fmt: skip
    return TrainingSettings(
        base=in_float32(base), recipe=recipe, schedule=SCHEDULE, lora=LoraSettings(rank=4),
        loss=LossSettings(negatives=0),
    )  # fmt: skip


def artifact_keys(run: UUID) -> dict[str, set[str]]:
    """Keys of the artifacts of a run and of its parts, by flow."""
    of = FlowRunFilter(parent_flow_run_id=FlowRunFilterParentFlowRunId(any_=[run]))
    keys = {}
    with get_client(sync_client=True) as client:
        for each in (client.read_flow_run(run), *client.read_flow_runs(flow_run_filter=of)):
            own = ArtifactFilter(flow_run_id=ArtifactFilterFlowRunId(any_=[each.id]))
            found = {artifact.key for artifact in client.read_artifacts(artifact_filter=own)}
            keys[client.read_flow(each.flow_id).name] = found
    return keys


def edges_of(run: UUID, last: str) -> dict[str, set[str]]:
    """What each node of a run's graph comes after, as the UI draws it; `last` is its last one."""
    with get_client(sync_client=True) as client:
        for _ in range(300):  # the server hears of task runs by events, a bit later
            graph = client.request("GET", f"/flow_runs/{run}/graph-v2").json()
            labels = {name: node["label"].split(" / ")[0] for name, node in graph["nodes"]}
            if last in labels.values():
                break
            time.sleep(0.2)
    edges: dict[str, set[str]] = {}
    for _, node in graph["nodes"]:
        found = edges.setdefault(node["label"].split(" / ")[0], set())
        found |= {labels[parent["id"]] for parent in node["parents"]}
    return edges


def read_manifest(folder: Path) -> dict:
    return json.loads((folder / "manifest.json").read_text())["info"]


@pytest.mark.parametrize("name", ["mono", "cross", "mixed", "sequential", "stacked"])
def test_every_shipped_recipe_trains_and_its_model_is_measured(
    prefect_server, base, engine, tmp_path, name
):
    training = recipe_settings(base, name, per_language=True)
    train(training, OutputSettings(path=str(tmp_path / "train")), engine=engine)
    about = json.loads((tmp_path / "train" / "model" / "polymine.json").read_text())
    last = {"mono": "mono", "mixed": "mixed"}.get(name, "cross")
    assert about["routes"] == {"*": "base", "ru": f"{last}-ru", "fr": f"{last}-fr"}
    steps = read_manifest(tmp_path / "train")["steps"]
    rows = {step["settings"]["name"]: step["counts"] for step in steps}
    for step, counts in rows.items():
        language = step[-2:]
        pairs = {(count["document_language"], count["query_language"]) for count in counts}
        mono, cross = {(language, language)}, {(language, "en"), ("en", language)}
        wanted = {"mono": mono, "cross": cross, "mixed": mono | cross}[step[:-3]]
        assert pairs == wanted
    if name != "stacked":
        return
    evaluation = EvaluationSettings(
        sets=(EvaluationSet(name="own", path=str(PARALLEL), languages=("en", "fr", "ru")),),
        models=(EvaluatedModel(name="stacked", model=str(tmp_path / "train")),),
        resamples=200,
        contaminated="report",  # it was trained on these very texts
    )
    evaluate(evaluation, OutputSettings(path=str(tmp_path / "eval")), engine=engine)
    found = pl.read_parquet(tmp_path / "eval" / "comparisons.parquet")
    directions = found.filter(group="direction", metric="ndcg")
    assert len(directions) == 9
    english = directions.filter(document_language="en", query_language="en")
    assert english["gain"].item() == 0  # the pivot's texts pass through the untouched base
    assert directions.filter(pl.col("gain") != 0).height > 0
    assert set(found["group"]) == {
        "direction", "pool", "document", "same", "cross", "pivot", "non-pivot", "all",
    }  # fmt: skip
    assert "<svg" in (tmp_path / "eval" / "report.html").read_text()


def test_a_stored_stack_is_its_two_adapters_and_loads_without_polymine(
    prefect_server, base, engine, tmp_path
):
    training = recipe_settings(base, "stacked")
    train(training, OutputSettings(path=str(tmp_path / "out")), engine=engine)
    folder = tmp_path / "out" / "model" / "adapters" / "cross"
    assert json.loads((folder / "adapter_config.json").read_text())["r"] == 8
    plain = SentenceTransformer(base, device="cpu")
    plain.load_adapter(str(folder))
    peft = SentenceTransformer(base, device="cpu")
    peft[0].model = PeftModel.from_pretrained(peft[0].model, str(folder))
    texts = ["un renard", "two foxes"]
    np.testing.assert_allclose(plain.encode(texts), peft.encode(texts), atol=1e-6)

    from polymine.commands.merge import merge

    assert "merged into" in merge(tmp_path / "out", None, None)
    merged = SentenceTransformer(str(tmp_path / "out-merged"), device="cpu")
    np.testing.assert_allclose(merged.encode(texts), plain.encode(texts), atol=1e-5)
    with pytest.raises(StoreError, match="already there"):
        merge(tmp_path / "out", None, None)
    with pytest.raises(ModelError, match="no adapter 'mono'"):
        merge(tmp_path / "out", "mono", tmp_path / "other")


def test_a_chain_trains_is_measured_merged_and_compared_with_its_encoder(
    prefect_server, base, engine, tmp_path
):
    english = TrainingData(collection=str(PARALLEL), languages=("en-en",))
    training = TrainingSettings(
        base=in_float32(base, max_length=48), target=save_small_decoder(tmp_path / "target"),
        recipe={"name": "lusifer", "mono": english,
                "phases": [{"schedule": SCHEDULE.model_dump()}]},
        schedule=SCHEDULE, lora={"rank": 4}, loss={"negatives": 0},
    )  # fmt: skip
    train(training, OutputSettings(path=str(tmp_path / "out")), engine=engine)
    folder = tmp_path / "out" / "model"
    card = (folder / "README.md").read_text()
    assert "trust_remote_code=True" in card
    assert "load_adapter" not in card
    assert "encoder, connector learned" in card
    texts = ["un renard", "two foxes"]
    chain = load_encoder(str(folder / "adapters" / "finetune"), device="cpu", dtype="float32")

    from polymine.commands.merge import merge

    said = merge(tmp_path / "out", None, None)
    assert "merged into the chain of " in said
    assert "trust_remote_code=True" in said
    merged = SentenceTransformer(str(tmp_path / "out-merged"), trust_remote_code=True)
    np.testing.assert_allclose(merged.encode(texts), chain.encode(texts), atol=1e-6)
    evaluation = EvaluationSettings(
        sets=(EvaluationSet(name="own", path=str(PARALLEL), languages=("en", "ru")),),
        models=(EvaluatedModel(name="chain", model=str(tmp_path / "out")),),
        resamples=200, contaminated="report",
    )  # fmt: skip
    evaluate(evaluation, OutputSettings(path=str(tmp_path / "eval")), engine=engine)
    found = pl.read_parquet(tmp_path / "eval" / "comparisons.parquet")
    assert found.filter(group="direction", metric="ndcg").height == 4


def test_arms_may_differ_in_their_training(prefect_server, base, engine, animals, tmp_path, caplog):
    phases = "recipe.phases=[{schedule={steps=2, batch=8}}]"
    order = ("loss.kind=list", "loss.target=fused")
    target = save_small_decoder(tmp_path / "target")
    chain = (f'target="{target}"', 'recipe.name="lusifer"', phases)
    arms = (
        ArmSettings(name="chain", training=chain),
        ArmSettings(name="connector", training=(*chain, 'recipe.learns=["connector"]')),
        ArmSettings(name="encoder"),
        ArmSettings(name="lists", training=("recipe.mono.lists=mined", *order)),
    )
    training = TrainingSettings(
        base=in_float32(base, max_length=48), schedule=SCHEDULE, loss={"negatives": 2}
    )
    mining = MiningSettings(teachers=(BM25,), negatives=2, selection={"rule": "naive"})
    output = OutputSettings(path=str(tmp_path / "out"))
    compare(
        DatasetSettings(**animals), output, mining, training,
        EvaluationSettings(held_out=0.3, resamples=200),
        ComparisonSettings(arms=arms, seeds=(0,)), engine,
    )  # fmt: skip
    found = pl.read_parquet(tmp_path / "out" / "arms.parquet").filter(metric="ndcg", seed=0)
    assert found["arm"].to_list() == ["chain", "connector", "encoder", "lists"]
    chained, _, encoder, _ = found["value"]
    assert chained != encoder
    assert "lists-0-mono: the teacher's temperature is" in caplog.text  # only lists have one
    theirs = ArmSettings(name="b", miner="random", training=("recipe.mono.lists=mined",))
    with pytest.raises(SettingsError, match=r"arm b: `random` finds triplets, and `lists`"):
        compare(DatasetSettings(**animals), OutputSettings(path=str(tmp_path / "b")), mining,
                training, comparison=ComparisonSettings(arms=(theirs,)), engine=engine)  # fmt: skip
    wrong = ComparisonSettings(arms=(ArmSettings(name="a", training=("recipe.nam=cross",)),))
    with pytest.raises(SettingsError, match=r"(?s)comparison arm a.*nam.*name"):
        compare(DatasetSettings(**animals), output, mining, training, comparison=wrong,
                engine=engine)  # fmt: skip


def test_the_same_training_again_is_reused(prefect_server, base, engine, tmp_path):
    training = recipe_settings(base, "sequential")
    first = train(training, OutputSettings(path=str(tmp_path / "a")), engine=engine)
    again = train(training, OutputSettings(path=str(tmp_path / "b")), engine=engine)
    assert {"train mono", "train cross"} <= set(again["reused"])
    assert first["headline"] == again["headline"]
    weights = [tmp_path / d / "model/adapters/cross/adapter_model.safetensors" for d in "ab"]
    assert weights[0].read_bytes() == weights[1].read_bytes()


def test_training_texts_in_an_evaluation_set_fail_the_run_or_are_left_out(
    prefect_server, base, engine, tmp_path
):
    training = recipe_settings(base, "mono")
    sets = (EvaluationSet(name="own", path=str(PARALLEL), languages=("ru",)),)
    output = OutputSettings(path=str(tmp_path / "out"))
    with pytest.raises(InputError, match=r"(?s)own: \d+ training texts in 210 rows.*alhambra-1-ru"):
        train(training, output, EvaluationSettings(sets=sets), engine)
    excluding = training.model_copy(update={"contaminated": "exclude"})
    train(excluding, output, EvaluationSettings(sets=sets), engine)
    (count,) = read_manifest(tmp_path / "out")["steps"][0]["counts"]
    assert (count["document_language"], count["query_language"]) == ("fr", "fr")
    assert read_manifest(tmp_path / "out")["contamination"]["removed"] == 210


def step(**given) -> StepSettings:
    data = (TrainingData(collection=str(PARALLEL), languages=("ru-ru",)),)
    shared = {"name": "one", "data": data, "schedule": SCHEDULE, "loss": LossSettings(negatives=0)}
    return StepSettings.model_validate({**shared, **given})


@pytest.mark.parametrize(
    ("steps", "error", "words"),
    [
        ((step(adapter="stack", on="nowhere"),), SettingsError, "nowhere"),
        (
            (step(data=(TrainingData(collection=str(PARALLEL), languages=("de-de",)),)),),
            InputError,
            "de-de",
        ),
        ((step(data=(TrainingData(triplets="mined"),)),), SettingsError, "nothing is mined here"),
        ((step(data=(TrainingData(triplets="no/such"),)),), InputError, "no/such"),
    ],
)
def test_what_cannot_be_trained_is_refused_before_any_training(
    prefect_server, base, engine, tmp_path, steps, error, words
):
    training = TrainingSettings(base=in_float32(base), steps=steps)
    with pytest.raises(error, match=words):
        train(training, OutputSettings(path=str(tmp_path / "out")), engine=engine)
    assert not (tmp_path / "out").exists()


def test_a_tracker_that_is_not_there_is_refused(prefect_server, base, engine, tmp_path):
    training = recipe_settings(base, "mono").model_copy(update={"report_to": ("nonesuch",)})
    with pytest.raises(SettingsError, match="nonesuch is not installed"):
        train(training, OutputSettings(path=str(tmp_path / "out")), engine=engine)


@pytest.fixture(scope="module")
def animal_settings(animals, base) -> dict:
    return {
        "dataset": DatasetSettings(**animals),
        "mining": MiningSettings(teachers=(MINILM, BM25), negatives=2, depth=10),
        "training": TrainingSettings(
            base=in_float32(base), schedule=SCHEDULE, loss=LossSettings(negatives=2),
            lora=LoraSettings(rank=4), development=DevelopmentSettings(fewest=2, every=1),
        ),
        "evaluation": EvaluationSettings(held_out=0.25, development=0.25, resamples=200),
    }  # fmt: skip


def test_the_pipeline_mines_trains_and_measures_on_what_it_held_out(
    prefect_server, engine, animal_settings, tmp_path
):
    output = OutputSettings(path=str(tmp_path / "out"))
    state = pipeline(**animal_settings, output=output, engine=engine, return_state=True)
    summary = state.result()
    assert summary["headline"].startswith("nDCG@10 on held-out")
    keys = artifact_keys(state.state_details.flow_run_id)
    assert keys["pipeline"] >= {"mine-summary", "pipeline-summary", "pipeline-gains"}
    assert keys["train"] >= {"train-summary", "train-curves", "train-rows", "train-speeds"}
    assert keys["evaluate"] >= {"evaluate-summary", "evaluate-gains"}
    assert set(summary["parts"]) == {"mining", "training", "evaluation"}
    edges = edges_of(state.state_details.flow_run_id, "report-pipeline")
    assert edges["read-set-held-out"] == {"hold-out"}
    assert edges["read-set-development"] == {"hold-out-development"}
    assert edges["train"] >= {"report", "hold-out"}
    assert edges["evaluate"] >= {"train", "hold-out"}
    assert edges["report-pipeline"] >= {"train", "evaluate", "report"}
    measured = pl.read_parquet(tmp_path / "out/evaluation/measures/base/held-out.parquet")
    triplets = pl.read_parquet(tmp_path / "out/mining/triplets/*.parquet")
    assert not set(measured["query_id"]) & set(triplets["query_id"])
    tested = {query.rstrip("?") for query in measured["query_id"]}
    assert not tested & set(triplets["positive_id"])
    assert not tested & set(triplets["negative_id"])
    card = (tmp_path / "out/training/model/README.md").read_text()
    assert "held-out" in card
    page = (tmp_path / "out/report.html").read_text()
    (chosen,) = read_manifest(tmp_path / "out/training")["chosen"].values()
    looks = pl.read_parquet(tmp_path / "out/training/development.parquet")
    assert looks.filter(language="*")["ndcg"].max() == chosen["ndcg"] >= chosen["base"]
    for text in (card, page):
        assert f"where the base has {chosen['base']:.3f}, by {chosen['questions']} quest" in text
    assert "mining/report.html" in page
    again = pipeline(**animal_settings, output=output, engine=engine)
    assert again["headline"] == summary["headline"]
    other = animal_settings["evaluation"].model_copy(update={"k": 5})
    with pytest.raises(StoreError, match="holds another pipeline"):
        pipeline(**{**animal_settings, "evaluation": other}, output=output, engine=engine)


def test_a_second_round_mines_with_what_the_first_has_trained_and_both_are_measured(
    prefect_server, engine, animal_settings, tmp_path
):
    """Stages of the first round are those of a pipeline of one round; only one teacher is new."""
    training = animal_settings["training"].model_copy(update={"rounds": 2})
    settings = animal_settings | {"training": training}
    output = OutputSettings(path=str(tmp_path / "out"))
    summary = pipeline(**settings, output=output, engine=engine)
    assert "round-1" in summary["headline"]
    teachers = [
        [t["name"] for t in read_manifest(tmp_path / part)["settings"]["mining"]["teachers"]]
        for part in ("out/round-1/mining", "out/mining")
    ]
    assert teachers == [["minilm", "bm25"], ["minilm", "bm25", "round_1"]]
    last = read_manifest(tmp_path / "out/mining")
    assert {"rank minilm", "rank bm25"} <= set(last["reused"])
    mined = Store(engine.store).ingested("closure", last["fingerprints"]["ingest"])
    assert f"closure/{mined.fingerprint}" in last["datasets"]  # so `gc` keeps its tables
    scores = pl.read_parquet(tmp_path / "out/mining/evidence/*.parquet")["score_round_1"]
    assert scores.len() > 0
    compared = pl.read_parquet(tmp_path / "out/evaluation/comparisons.parquet")
    assert set(compared["model"]) == {"trained", "round-1"}
    page = (tmp_path / "out/report.html").read_text()
    before, after = (
        polymine.open(tmp_path / part).negatives.filter(verdict="negative")
        for part in ("out/round-1/mining", "out/mining")
    )
    stayed = before.join(after, on=["query_id", "doc_id"], how="semi").height
    said = f"of {len(before)} negatives {stayed} stayed and {len(before) - stayed} went"
    assert f"Round 2 mined again, with the model of round 1 among the teachers: {said}" in page
    assert pipeline(**settings, output=output, engine=engine)["headline"] == summary["headline"]


def test_rounds_are_refused_where_they_cannot_be(prefect_server, engine, animal_settings, tmp_path):
    training = animal_settings["training"].model_copy(
        update={"rounds": 2, "recipe": RecipeSettings(languages=("en",), per_language=True)}
    )
    output = OutputSettings(path=str(tmp_path / "out"))
    with pytest.raises(SettingsError, match="is read by base"):
        pipeline(**animal_settings | {"training": training}, output=output, engine=engine)


def test_a_pipeline_under_roots_needs_no_trust_but_in_its_base(
    prefect_server, base, engine, animal_settings, tmp_path, tmp_path_factory, monkeypatch
):
    """Code of the model it has trained is its base's; the folder it wrote stands in no list."""
    monkeypatch.setenv("POLYMINE_ROOTS", str(tmp_path_factory.getbasetemp()))
    monkeypatch.setenv("POLYMINE_TRUSTED_CODE", base)
    training = animal_settings["training"].model_copy(
        update={"base": in_float32(base, trust_remote_code=True)}
    )
    output = OutputSettings(path=str(tmp_path / "out"))
    summary = pipeline(**animal_settings | {"training": training}, output=output, engine=engine)
    assert summary["headline"].startswith("nDCG@10 on held-out")


def test_arms_differ_in_their_negatives_alone(prefect_server, engine, animal_settings, tmp_path):
    arms = (
        ArmSettings(name="random", miner="random"),
        ArmSettings(name="naive", set=("selection.rule=naive",)),
        ArmSettings(
            name="library", miner="sentence-transformers", set=("relative_margin=0.05",)
        ),
    )  # fmt: skip
    state = compare(
        **animal_settings, comparison=ComparisonSettings(arms=arms, seeds=(0, 1)),
        output=OutputSettings(path=str(tmp_path / "out")), engine=engine, return_state=True,
    )  # fmt: skip
    summary = state.result()
    keys = artifact_keys(state.state_details.flow_run_id)["compare"]
    assert keys >= {"compare-summary", "compare-arms", "compare-differences", "compare-chart"}
    edges = edges_of(state.state_details.flow_run_id, "report-comparison")
    assert [name for name, needs in edges.items() if not needs] == ["ingest"]
    for arm, mined in (("naive-1", "export-naive-1"), ("library-0", "mine-library-0")):
        assert edges[f"gather-{arm}-mono"] == {mined}
        needs = edges[f"measure-{arm}-held-out"]  # each arm reads the sets again
        assert f"assemble-{arm}" in needs
        assert any(name.startswith("read-set-held-out") for name in needs)
    # Arms whose development part put the base back measure the same, and the last of them made it.
    assert {"hold-out", "measure-base-held-out", "measure-library-0-held-out"} <= edges[
        "compare-arms"
    ]
    rows = pl.read_parquet(tmp_path / "out/arms.parquet").filter(metric="ndcg")
    assert sorted(rows["arm"].unique()) == ["library", "naive", "random"]
    assert rows["base"].n_unique() == 1
    each = rows.group_by("arm").agg(pl.col("seed").sort())
    assert all(seeds.to_list() == [None, 0, 1] for seeds in each["seed"])
    for arm in rows["arm"].unique():
        own = rows.filter(arm=arm)
        seeds = own.filter(pl.col("seed").is_not_null())["value"].mean()
        assert own.filter(pl.col("seed").is_null())["value"].item() == pytest.approx(seeds)
    assert len(summary["arms"]) == 3


def test_an_arm_that_cannot_be_mined_is_refused_at_once(
    prefect_server, engine, animal_settings, tmp_path
):
    for arm, words in (
        (ArmSettings(name="odd", set=("selection.rul=naive",)), "did you mean `rule`"),
        (ArmSettings(name="odd", miner="random", set=("x=1",)), "takes no settings"),
        (ArmSettings(name="odd", miner="sentence-transformers", set=("margn=1",)), "margn"),
    ):
        with pytest.raises(SettingsError, match=words):
            compare(
                **animal_settings, comparison=ComparisonSettings(arms=(arm,), seeds=(0,)),
                output=OutputSettings(path=str(tmp_path / "out")), engine=engine,
            )  # fmt: skip
    seen = animal_settings["training"].model_copy(update={"contaminated": "report"})
    with pytest.raises(SettingsError, match="refuses to measure on them afterwards"):
        compare(
            **{**animal_settings, "training": seen}, engine=engine,
            output=OutputSettings(path=str(tmp_path / "out")),
        )  # fmt: skip
