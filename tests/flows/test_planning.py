"""A plan of every kind of file reads its input, says what would be done, and writes nothing."""

import json
from pathlib import Path

import pytest

import polymine
from polymine import models
from polymine.data_contracts.errors import InputError, SettingsError
from polymine.data_contracts.settings import EncoderSettings
from polymine.data_contracts.settings.run import flow_of
from polymine.models import precision
from polymine.tasks.engine.graph import Graph
from polymine.tasks.reporting.parts import read_info
from tests.small import save_small_encoder, write_animals

LEARNING = """
[mining]
negatives = 2
depth = 20
[[mining.teachers]]
name = "words"
kind = "lexical"
[training.base]
model = "model/model"
dtype = "float32"
[training.schedule]
steps = 2
batch = 8
[training.development]
fewest = 2
[evaluation]
held_out = 0.3
development = 0.3
[[evaluation.sets]]
name = "pairs"
path = "sts.jsonl"
"""
ARMS = """
[comparison]
seeds = [3]
[[comparison.arms]]
name = "random"
miner = "random"
[[comparison.arms]]
name = "own"
"""
EVALUATION = """
[evaluation]
models = [{ name = "again", model = "model/model", dtype = "float32" }]
[evaluation.base]
model = "model/model"
dtype = "float32"
"""
ALIKE = (("otter", "owl", 1), ("yak", "yak", 4), ("owl", "owl", 5), ("gecko", "stork", 2))
STS = [
    {"sentence1": f"the {a} sleeps", "sentence2": f"the {b} rests", "score": score, "lang1": "en",
     "lang2": "en"} for a, b, score in ALIKE
]  # fmt: skip


@pytest.fixture(scope="module")
def place(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("planned")
    write_animals(folder)
    save_small_encoder(folder / "model")
    (folder / "sts.jsonl").write_text("".join(f"{json.dumps(row)}\n" for row in STS))
    dataset = "".join(f'{key} = "{key}.parquet"\n' for key in ("corpus", "queries", "judgments"))
    sets = '[[evaluation.sets]]\nname = "own"\n' + dataset
    files = {
        "pipeline": f"[dataset]\n{dataset}{LEARNING}",
        "compare": f"[dataset]\n{dataset}{LEARNING}{ARMS}",
        "evaluate": f"{EVALUATION}{sets}",
        "train": '[training]\nbase = "model/model"\nschedule = { steps = 2, batch = 4 }\n'
        'recipe = { mono = { parallel = "sts.jsonl" } }\n'
        '[training.development]\nfewest = 2\n[training.development.set]\nname = "chooses"\n'
        + dataset,
        "gap": '[gap]\nmodels = [{ name = "own", model = "model/model" }]\n'
        '[[gap.sets]]\nname = "pairs"\npath = "sts.jsonl"\n',
    }
    for name, text in files.items():
        ending = f'[output]\npath = "out-{name}"\n[engine]\nstore = "store-{name}"\n'
        (folder / f"{name}.toml").write_text(text + ending)
    return folder


@pytest.fixture(autouse=True)
def there(place, tmp_path, monkeypatch):
    monkeypatch.chdir(place)
    monkeypatch.setenv("POLYMINE_HOME", str(tmp_path))


def states(plan: Graph) -> dict[str, bool]:
    return {node.name: node.reused for node in plan.nodes}


@pytest.mark.parametrize(
    "name",
    [pytest.param("pipeline", marks=pytest.mark.proof),
     pytest.param("compare", marks=pytest.mark.proof), "evaluate", "train", "gap"],
)  # fmt: skip
def test_a_file_is_planned_before_and_after_it_was_run(place, name):
    before = sorted(place.rglob("*"))
    plan = polymine.plan(f"{name}.toml")
    assert sorted(place.rglob("*")) == before  # nothing is written
    assert not any(states(plan).values())
    sources = " ".join(plan.sources)
    assert ("sts.jsonl: JSON lines; 4 rows" in sources) == (name != "evaluate")
    assert ("corpus.parquet: Parquet; 72 rows" in sources) == (name != "gap")
    assert any(node.load is not None for node in plan.nodes)
    cut = {"hold-out", "hold-out-development", "draw-development"} <= states(plan).keys()
    assert cut == (name in ("pipeline", "compare"))
    getattr(polymine, name)(f"{name}.toml")
    told = read_info(place / f"out-{name}")["sources"]
    assert sorted(line.partition(": ")[0] for line in plan.sources) == sorted(
        file["file"] for file in told
    )
    after = polymine.plan(f"{name}.toml")
    assert set(states(plan)) <= set(states(after))
    assert [stage for stage, reused in states(after).items() if not reused] == []
    assert after.sources == plan.sources


def test_a_plan_says_which_precision_no_run_has_measured(place, tmp_path, monkeypatch):
    monkeypatch.setattr(precision, "_shelf", lambda: tmp_path / "kept")
    monkeypatch.setattr(precision, "has_bfloat16", lambda _: True)
    call = EncoderSettings(model="model/model")
    plan = polymine.plan("gap.toml", ["engine.store=another"])
    assert [line.partition(": ")[0] for line in plan.remarks] == [call.model]
    assert not (tmp_path / "kept").exists()
    models.dtype_of(call, "cpu")
    assert polymine.plan("gap.toml", ["engine.store=another"]).remarks == []


def test_more_training_is_expected_to_take_what_was_noted(place):
    plan = polymine.plan("train.toml", ["training.schedule.steps=5"])
    (training,) = (node for node in plan.nodes if node.name.startswith("train-"))
    assert (training.load.amount, training.load.unit) == (20, "rows")
    assert plan.seconds(training) > 0


@pytest.mark.parametrize("name", ["pipeline", "compare"])
def test_the_files_of_a_development_part_are_named_by_the_plan(place, name):
    (place / "chooses.parquet").write_bytes((place / "queries.parquet").read_bytes())
    files = 'corpus="corpus.parquet",queries="chooses.parquet",judgments="judgments.parquet"'
    given = [f'training.development.set={{name="chooses",{files}}}', "evaluation.held_out=0"]
    plan = polymine.plan(f"{name}.toml", given)
    assert any(line.startswith("chooses.parquet: Parquet; ") for line in plan.sources)


def test_what_an_arm_alone_leaves_to_a_development_part_is_refused_before_it_is_mined(place):
    own = 'recipe.mono={ triplets = "mined", min_positive_weight = "development" }'
    given = [f"comparison.arms.1.training=[{own!r}]", "evaluation.development=0"]
    with pytest.raises(SettingsError, match=r"step mono: .* needs a development part with 2"):
        polymine.plan("compare.toml", given)


def test_bad_input_is_named_by_the_plan(place):
    broken = place / "broken.jsonl"
    broken.write_text('{"sentence1": "a", "sentence2": null}\n')
    with pytest.raises(InputError, match=r"broken\.jsonl: `text_b` is null"):
        polymine.plan("train.toml", ['training.recipe.mono.parallel="broken.jsonl"'])


def test_sections_say_which_command_a_file_is_for(place):
    names = {n: flow_of(None, Path(f"{n}.toml")) for n in ("pipeline", "compare", "train", "gap")}
    assert names == {"pipeline": "pipeline", "compare": "compare", "train": "train",
                     "gap": "language_gap"}  # fmt: skip
    assert flow_of("compare", Path("pipeline.toml")) == "compare"
    with pytest.raises(SettingsError, match="no command has settings"):
        flow_of("mine", Path("pipeline.toml"))


def test_a_plan_makes_no_home_either(place, tmp_path, monkeypatch):
    monkeypatch.chdir(place)
    monkeypatch.setenv("POLYMINE_HOME", str(tmp_path / "home"))
    lines = (place / "evaluate.toml").read_text().splitlines()
    told = "\n".join(line for line in lines if not line.startswith("store ="))
    (tmp_path / "evaluate.toml").write_text(told)
    assert "own" in str(polymine.plan(tmp_path / "evaluate.toml"))
    assert not (tmp_path / "home").exists()
