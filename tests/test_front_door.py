"""What a notebook meets: every example of the front door, tables of any kind, and plain errors."""

import doctest
import gc
import shutil

import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
from datasets import Dataset
from typer.testing import CliRunner

import polymine
from polymine import front_door
from polymine.commands.main import app
from polymine.data_contracts.errors import InputError, SettingsError, StoreError
from polymine.tasks.runs import run as runs
from tests.evaluation.gap import small_gap
from tests.small import save_small_encoder

FACTS = {
    "Owls": ("mice and voles", "old barns"),
    "Otters": ("crayfish and trout", "cold rivers"),
    "Camels": ("thorny shrubs", "dry deserts"),
    "Storks": ("frogs and locusts", "wet meadows"),
}
UNSEEN = {"Geckos": ("moths", "humid forests"), "Yaks": ("short grass", "high plateaus")}


def make_rows(facts: dict[str, tuple[str, str]]) -> dict[str, list[dict[str, str | int]]]:
    """Two documents on each animal, and a question that each answers: q17 asks what owls eat."""
    rows: dict[str, list[dict[str, str | int]]] = {"corpus": [], "queries": [], "judgments": []}
    for name, (food, home) in facts.items():
        for verb, asked, said in (("eat", "What", food), ("live", "Where", f"in {home}")):
            doc_id, query_id = f"{name.lower()}-{verb}", f"q{17 + len(rows['queries'])}"
            question = f"{asked} do {name.lower()} {verb}?"
            rows["corpus"].append({"doc_id": doc_id, "text": f"{name} {verb} {said}."})
            rows["queries"].append({"query_id": query_id, "text": question})
            rows["judgments"].append({"query_id": query_id, "doc_id": doc_id, "relevance": 1})
    return rows


ROWS = make_rows(FACTS)
OWLS, OTTERS, CAMELS = (row["text"] for row in ROWS["corpus"][1:6:2])
TRIPLETS = [
    ("What do owls eat?", ROWS["corpus"][0]["text"], ROWS["corpus"][2]["text"]),
    ("Where do owls live?", OWLS, OWLS),
    ("Where do otters live?", OTTERS, CAMELS),
]
RULE = {"teachers": ["bm25"], "negatives": 1, "rule": "naive"}
MINE = """
[dataset]
corpus = "corpus.parquet"
queries = "queries.parquet"
judgments = "judgments.parquet"
[mining]
negatives = 1
teachers = [{ name = "bm25", kind = "lexical" }]
[mining.selection]
rule = "naive"
[output]
path = "runs/mine-01"
"""
LEARN = """
[training]
base = { model = "base", dtype = "float32" }
schedule = { steps = 2, batch = 2, mini_batch = 2 }
[evaluation]
base = { model = "base", dtype = "float32" }
sets = [{ name = "own", path = "set" }]
contaminated = "report"
"""
TRAIN = """
[training]
base = { model = "base", dtype = "float32" }
recipe = { name = "mono", mono = { triplets = "runs/mine-01" } }
schedule = { steps = 2, batch = 2, mini_batch = 2 }
[output]
path = "runs/train-01"
"""
EVALUATE = """
[evaluation]
base = { model = "base", dtype = "float32" }
sets = [{ name = "own", path = "set" }]
models = [{ name = "itself", model = "base" }]
contaminated = "report"
[output]
path = "runs/evaluate-01"
"""
GAP = """
[gap]
models = [{ name = "base", model = "base" }]
sets = [{ name = "own", path = "versions" }]
[output]
path = "runs/gap-01"
"""
COMPARE = """
[comparison]
seeds = [0]
arms = [{ name = "mined" }, { name = "random", miner = "random" }]
"""


@pytest.fixture(scope="module")
def desk(tmp_path_factory):
    """A folder to work in: tables, settings, two runs and a small model."""
    place = tmp_path_factory.mktemp("desk")
    for name, rows in ROWS.items():
        pl.DataFrame(rows).write_parquet(place / f"{name}.parquet")
    pl.DataFrame(TRIPLETS, ["anchor", "positive", "negative"], orient="row").write_csv(
        place / "triplets.csv"
    )
    (place / "set").mkdir()
    for name, rows in make_rows(UNSEEN).items():
        pl.DataFrame(rows).write_parquet(place / "set" / f"{name}.parquet")
    shutil.copytree(save_small_encoder(place / "encoder"), place / "base")
    (place / "versions").mkdir()
    small_gap.sentences().write_parquet(place / "versions" / "sentences.parquet")
    learn = MINE.replace("mine-01", "pipeline-01") + LEARN
    texts = {
        "mine": MINE, "train": TRAIN, "evaluate": EVALUATE, "pipeline": learn, "gap": GAP,
        "compare": learn.replace("pipeline-01", "compare-01") + COMPARE,
    }  # fmt: skip
    for name, text in texts.items():
        (place / f"{name}.toml").write_text(text)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(place)
        patch.setenv("POLYMINE_HOME", str(place / "home"))
        polymine.mine("mine.toml")
        polymine.mine("mine.toml", output="runs/mine-02", negatives=2)
        yield place


EXAMPLES = [
    example
    for module in (front_door, runs)
    for example in doctest.DocTestFinder().find(module, globs={"polymine": polymine})
    if example.examples
]


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda example: example.name)
def test_the_examples_of_the_front_door(desk, example):
    said: list[str] = []
    runner = doctest.DocTestRunner(optionflags=doctest.ELLIPSIS)
    assert runner.run(example, out=said.append).failed == 0, "".join(said)


def test_everything_offered_has_an_example():
    shown = {example.name.rpartition(".")[2] for example in EXAMPLES}
    offered = {*front_door.__all__, *vars(runs.FinishedRun)} - {"Run"}
    inner = {"scan", "read", "paths", "ids", "settings_of", "choice", "mining", "risk"}
    assert {name for name in offered if not name.startswith("_")} - inner <= shown


@pytest.mark.parametrize(
    "kind", [pl.DataFrame, pd.DataFrame, pa.Table.from_pylist, Dataset.from_list, list]
)
def test_tables_of_any_kind_give_the_same(desk, kind):
    run = polymine.mine(**{name: kind(rows) for name, rows in ROWS.items()}, **RULE)
    assert run.triplets.equals(polymine.open("runs/mine-01").triplets)


def test_a_run_of_tables_is_gone_with_its_result(desk):
    run = polymine.mine(**ROWS, **RULE)
    folder = run.folder
    assert run.why("q17").text == "What do owls eat?"
    del run
    gc.collect()
    assert not folder.exists()


@pytest.mark.parametrize(
    ("asked", "error", "said"),
    [
        ({"corpus": 3}, InputError, "corpus: expected a table"),
        ({}, SettingsError, "name `corpus`, `queries` and `judgments`"),
        (ROWS | {"negativs": 3}, SettingsError, "negativs: .* did you mean `negatives`"),
        (ROWS | {"max_risk": 3}, SettingsError, "selection.max_risk"),
        (ROWS | {"teacher": "e5"}, SettingsError, "`e5` is none of minilm, bm25"),
        (
            ROWS | {"teacher": "minilm", "dataset": {"language": "fr"}},
            SettingsError,
            "`minilm` is none of e5, bm25",
        ),
        (ROWS | {"corpus": []}, InputError, "corpus.parquet: column `doc_id` is missing"),
    ],
)
def test_what_cannot_be_mined_is_named(desk, asked, error, said):
    with pytest.raises(error, match=said):
        polymine.mine(**asked)
    with pytest.raises(SettingsError, match=r"mine\.toml says what is mined"):
        polymine.mine("mine.toml", corpus=ROWS["corpus"])


def test_a_notebook_shows_the_funnel_a_query_and_what_changed(desk):
    run, other = polymine.open("runs/mine-01"), polymine.open("runs/mine-02")
    for shown, words in (
        (run, ("Funnel", "candidates", "triplets")),
        (run.why("q17"), ("What do owls eat?", "negative 1")),
        (polymine.diff(run, other), ("mining.negatives", "more negatives are wanted")),
    ):
        assert all(word in str(shown) for word in words)
        assert all(word in shown._repr_html_().replace("&#x27;", "'") for word in words)
    assert "<iframe" in run.report()._repr_html_()


def test_labels_are_drawn_taken_back_and_told(desk):
    """By the command line as by hand; nothing that ranks is made again."""
    run = polymine.open("runs/mine-01")
    asked = CliRunner().invoke(app, ["label", "runs/mine-01"], catch_exceptions=False)
    file = desk / "runs" / "mine-01-labels.csv"
    assert "polymine label runs/mine-01 --from" in asked.stdout
    drawn = pl.read_csv(file)
    assert set(drawn["query_id"]) == {f"q{number}" for number in range(17, 25)}
    assert drawn.join(run.read("closure"), on=["query_id", "doc_id"], how="semi").is_empty()
    assert dict(drawn.select("doc_id", "document").rows()).items() <= {
        (row["doc_id"], row["text"]) for row in ROWS["corpus"]
    }
    with pytest.raises(StoreError, match="already there"):
        CliRunner().invoke(app, ["label", "runs/mine-01"], catch_exceptions=False)
    with pytest.raises(InputError, match=r"labels\.csv: nothing is filled in; write 0 .*or 1"):
        run.with_labels(file)
    first, *_ = drawn.rows(named=True)
    pair = {"query_id": first["query_id"], "doc_id": first["doc_id"]}
    drawn[:2].with_columns(relevance=pl.Series([1, None])).write_csv(file)
    told = CliRunner().invoke(app, ["label", "runs/mine-01", "--from", str(file)])
    assert told.exit_code == 0, told.exception
    said = " ".join(told.stdout.split())
    assert "promoted 0 1" in said
    assert "was promoted" in said or "is promoted to a positive" in said
    labelled = polymine.open("runs/mine-01-labelled")
    assert labelled.promoted.select("query_id", "doc_id").row(0, named=True) == pair
    assert {"rank bm25", "index bm25"} <= set(labelled.info["reused"])
    again = run.with_labels([pair | {"relevance": 1}])  # a table gives what the file gave
    assert again.triplets.equals(labelled.triplets)
    assert again.info["sources"] == run.info["sources"] != []  # what its files were taken for
    assert again.select(negatives=2).promoted.equals(labelled.promoted)
    for wrong, said in (
        (pair | {"relevance": "maybe"}, r"`relevance` is not a whole number .*1 row"),
        (pair | {"relevance": -1}, "`relevance` is below 0"),
        (pair | {"relevance": 1, "doc_id": "owl"}, r"`doc_id` is not in documents of .*mine-01"),
        (pair | {"relevance": 1, "query_id": "q1"}, r"`query_id` is not in queries of .*mine-01"),
    ):
        with pytest.raises(InputError, match=f"(?s)1 of 2 labels are wrong.*{said}"):
            run.with_labels([pair | {"relevance": 0, "query_id": "q20"}, wrong])
    with pytest.raises(InputError, match="is not unique"):
        run.with_labels([pair | {"relevance": 1}, pair | {"relevance": 0}])
    with pytest.raises(InputError, match=r"(?s)contradict.*the run's labels say otherwise"):
        labelled.with_labels([pair | {"relevance": 0}])
    with pytest.raises(InputError, match="knows all of these 1 pairs already"):
        labelled.with_labels([pair | {"relevance": 1}])
    with pytest.raises(InputError, match="column `doc_id` is missing"):
        run.with_labels([{"query_id": "q17", "relevance": 1}])
