"""Arms of a comparison: what their negatives are stored under, and what they come to."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from polymine.data_contracts.errors import SettingsError
from polymine.data_contracts.learning import Arms, Comparisons, Differences, QueryScores
from polymine.data_contracts.references import DatasetRef
from polymine.data_contracts.settings import (
    ArmSettings,
    ComparisonRunSettings,
    DatasetSettings,
    EngineSettings,
    EvaluationSettings,
    LossSettings,
    MiningSettings,
    OutputSettings,
    TrainingData,
    TrainingSettings,
    load_as,
)
from polymine.data_contracts.tables import Triplets
from polymine.evaluation.arms import compare_pairs
from polymine.tasks.engine.context import Context
from polymine.tasks.evaluation import comparison
from polymine.tasks.evaluation.comparison import (
    check_arms,
    compare_arms,
    mine_otherwise,
    trained_by,
)
from polymine.tasks.mining.ingestion import ingest
from polymine.tasks.reporting.comparison import report_comparison
from polymine.tasks.store.datasets import load
from polymine.tasks.training.data import read_part
from polymine.training.recipes import expand
from polymine.training.relations import own_relations
from tests.small import MINILM
from tests.tasks.evaluation.small_sets import read, run_in, write

ROOT = Path(__file__).parents[3]
LIBRARY = ArmSettings(name="library", miner="sentence-transformers", set=("relative_margin=0.05",))


@pytest.fixture
def mined(animals, tmp_path, monkeypatch):
    """Mine with a teacher, the library being played; returns the folder of its negatives."""
    run = Context.of(EngineSettings(store=str(tmp_path)))
    collection = ingest(run, DatasetSettings(**animals))
    triplets = Triplets.create_empty()
    monkeypatch.setattr(comparison, "library_triplets", lambda *_, **__: triplets)

    def mine(arm: ArmSettings = LIBRARY, **changed: object) -> str:
        mining = MiningSettings(teachers=(MINILM.model_copy(update=changed),), negatives=2)
        return str(mine_otherwise(run, arm, collection, mining, 0).path)

    return mine


@pytest.mark.parametrize(
    "change",
    [{"query_prompt": "q: "}, {"document_prompt": "d: "}, {"max_length": 64},
     {"dtype": "bfloat16"}, {"trust_remote_code": True}],
)  # fmt: skip
def test_what_changes_the_teachers_vectors_is_mined_anew(mined, change):
    assert mined(**change) != mined()


def test_what_changes_none_is_not(mined):
    assert mined(name="other") == mined()
    chance = ArmSettings(name="random", miner="random")
    assert mined(chance, query_prompt="q: ") == mined(chance)


def test_other_miners_rows_know_the_closure_as_ours_do(animals, tmp_path):
    """Else only our arms would be spared known positives in a batch, whatever their negatives."""
    run = Context.of(EngineSettings(store=str(tmp_path)))
    collection = ingest(run, DatasetSettings(**animals))
    mining = MiningSettings(teachers=(MINILM,), negatives=2)
    made = mine_otherwise(run, ArmSettings(name="r", miner="random"), collection, mining, 0)
    part = read_part(TrainingData(triplets=made.path), "data", LossSettings(negatives=2))
    own = own_relations(part.made.rows)
    assert part.relations.height > own.height
    assert set(part.relations["weight"]) == {0.0}  # it has judged nothing


def test_arms_of_the_shipped_file_train_what_they_say():
    settings = load_as(ComparisonRunSettings, ROOT / "configs" / "lusifer.toml")
    check_arms(settings.comparison.arms, settings.mining, settings.training)
    trained = {arm.name: trained_by(arm, settings.training) for arm in settings.comparison.arms}
    steps = {name: [s.name for s in expand(training)] for name, training in trained.items()}
    assert steps == {
        "encoder": ["mono"], "target": ["mono"], "full": ["align-1", "align-2", "finetune"],
    }  # fmt: skip
    total = {n: sum(s.schedule.steps for s in expand(t)) for n, t in trained.items()}
    assert set(total.values()) == {120}
    assert trained["target"].base.query_prompt == ""
    with pytest.raises(SettingsError, match=r"goes by epochs"):
        check_arms(
            [ArmSettings(name="a", training=('target="x"', 'recipe.name="lusifer"'))],
            settings.mining, settings.training,
        )  # fmt: skip
    with pytest.raises(SettingsError, match=r"arm a: training\.rounds: 2 rounds mine again"):
        check_arms(
            [ArmSettings(name="a", training=("rounds=2",))], settings.mining, settings.training
        )


# nDCG of queries 0 to 11 by arm and seed; one Russian query is too few to count in a mean
BASE = [0.25 + 0.02 * n for n in range(12)]
Gain = float | Sequence[float]  # of every query, or of each
Gains = Mapping[str, Mapping[int, Gain]]
Sets = dict[str, DatasetRef]
GAINS = {"even": {0: 0.1, 1: 0.3}, "same": {0: 0.1, 1: 0.3}, "last": {0: 0.0, 1: 0.1}}


def measures(run: Context, version: str, gain: Gain, russian: float) -> DatasetRef:
    each = [gain] * len(BASE) if isinstance(gain, float) else gain
    values = [*(value + more for value, more in zip(BASE, each, strict=True)), russian]
    rows = [
        ("own", "en", "ru" if n == 12 else "en", f"q{n}", value, 0.5, 0.5, 0.5)
        for n, value in enumerate(values)
    ]
    frame = pl.DataFrame(rows, QueryScores.column_names(), orient="row")
    return run.store.dataset("measures", version).write_single(frame, QueryScores)


@pytest.fixture
def made(tmp_path) -> Callable[[Gains], tuple[DatasetRef, Sets]]:
    """Compare arms of these gains; the single Russian query would turn every mean around."""
    queries = pl.DataFrame([(f"q{n}", f"{n}?", "ru" if n == 12 else "en") for n in range(13)],
                           ["query_id", "text", "language"], orient="row")  # fmt: skip
    tables = {
        "corpus": queries.select(
            doc_id=pl.col("query_id").str.replace("q", "d"),
            text=pl.format("it is {}", "text"),
            language=pl.lit("en"),
        ),
        "queries": queries,
        "qrels": queries.select("query_id", doc_id=pl.col("query_id").str.replace("q", "d")),
    }
    write(tmp_path / "set", tables)
    run = run_in(tmp_path)
    sets, base = {"own": read(tmp_path)}, {"own": measures(run, "base", 0.0, 1.0)}

    def make(gains: Gains) -> tuple[DatasetRef, Sets]:
        arms = {
            arm: {seed: {"own": measures(run, f"{arm}{seed}", gain, 0.0)}
                  for seed, gain in of.items()}
            for arm, of in gains.items()
        }  # fmt: skip
        return compare_arms(run, sets, base, arms, EvaluationSettings(resamples=200)), sets

    return make


def table(made: DatasetRef, name: str) -> pl.DataFrame:
    return pl.read_parquet(f"{made.path}/{name}.parquet").filter(metric="ndcg")


def summarise(compared: DatasetRef, sets: Sets, folder: Path) -> dict[str, Any]:
    output = OutputSettings(path=str(folder / "out"))
    settings = (TrainingSettings(), EvaluationSettings(), output)
    return report_comparison(run_in(folder), compared, sets, *settings, {})


def test_each_seed_and_all_together_stand_against_the_base(made):
    arms = Arms.validate(table(made(GAINS)[0], "arms"))
    gains = {row[:2]: round(row[2], 9) for row in arms.select("arm", "seed", "gain").rows()}
    assert gains == {
        (arm, seed): gain
        for arm, of in GAINS.items()
        for seed, gain in {**of, None: round(sum(of.values()) / 2, 9)}.items()
    }


def test_every_pair_stands_once_and_alike_arms_are_not_told_apart(made):
    found = Differences.validate(table(made(GAINS)[0], "differences"))
    pairs = {row[:2]: row[2:] for row in found.select("arm", "reference", "gain", "p").rows()}
    assert set(pairs) == {("even", "same"), ("even", "last"), ("same", "last")}
    gain, p = pairs["even", "same"]
    assert gain == pytest.approx(0.0)
    assert p > 0.5  # what a seed makes of the other arm counts here, too
    # paired by seed: .1 and .2 for every query, so that the seeds alone are left to chance
    assert pairs["even", "last"][0] == pytest.approx(0.15)
    even = found.filter(arm="even", reference="last").row(0, named=True)
    assert even["low"] < 0.1 < even["gain"] < 0.2 < even["high"]
    assert (found["adjusted"] >= found["p"]).all()


@pytest.mark.parametrize(
    ("gains", "said"),
    [
        ({"low": 0.05, "high": 0.2}, "high is best: nDCG@10 on own 0.360 → 0.560, +0.200 "
         "[+0.200, +0.200]"),
        # both surely gain over the base, and as much as each other
        ({"one": 0.2, "other": 0.2, "low": 0.05},
         "one and other are not told apart; the highest is one: nDCG@10 on own "
         "0.360 → 0.560, +0.200 [+0.200, +0.200]"),
        ({"worst": -0.2, "least": -0.1}, "least is best: nDCG@10 on own 0.360 → 0.260, "
         "−0.100 [−0.100, −0.100], "
         "which is not surely above the base"),
    ],
)  # fmt: skip
def test_the_headline_is_decided_between_arms(made, tmp_path, gains, said):
    compared, sets = made({arm: {0: gain} for arm, gain in gains.items()})
    assert summarise(compared, sets, tmp_path)["headline"] == said


def test_what_holds_for_one_pair_alone_names_no_winner_among_six(made, tmp_path):
    """First is above each of the others with p < .05, which Holm corrects for six pairs."""
    uneven = [0.1 if n % 2 else -0.02 for n in range(12)]
    compared, sets = made({"first": {0: uneven}, **{arm: {0: 0.0} for arm in ("b", "c", "d")}})
    found = table(compared, "differences").filter(arm="first")
    assert found["p"].max() < 0.05 < found["adjusted"].min()
    said = summarise(compared, sets, tmp_path)["headline"]
    assert said.startswith("first, b, c and d are not told apart; the highest is first: ")


def test_a_lone_arm_is_best_of_nothing(made, tmp_path):
    compared, sets = made({"even": GAINS["even"]})[:2]
    headline = summarise(compared, sets, tmp_path)["headline"]
    assert headline.startswith("nDCG@10 on ")
    assert "best" not in headline
    page = (tmp_path / "out/report.html").read_text()
    assert "How models were called" in page


def test_arms_are_shown_by_pair_of_languages(made, tmp_path):
    compared, sets = made(GAINS)[:2]
    rows = Comparisons.validate(table(compared, "comparisons")).filter(metric="ndcg")
    pairs = {row[:2] for row in rows.filter(group="direction").select(
        "document_language", "query_language").rows()}  # fmt: skip
    assert pairs == {("en", "en"), ("en", "ru")}
    even = rows.filter(model="even", group="direction", query_language="en")
    assert even["gain"].item() == pytest.approx(0.2)
    summarise(compared, sets, tmp_path)
    page = (tmp_path / "out/report.html").read_text()
    assert page.count("<svg") > 2


def test_questions_on_one_passage_are_one_proof_between_arms(tmp_path):
    """What `clusters` says reaches the comparison: five questions on each of eight passages."""
    names = [f"q{n:02}" for n in range(40)]
    tables = {
        "corpus": pl.DataFrame({"doc_id": [f"d{n}" for n in range(8)], "language": "en"}),
        "queries": pl.DataFrame({"query_id": names, "text": names, "language": "en"}),
        "qrels": pl.DataFrame({"query_id": names, "doc_id": [f"d{n // 5}" for n in range(40)]}),
    }
    tables["corpus"] = tables["corpus"].with_columns(text=pl.format("passage {}", "doc_id"))
    write(tmp_path / "set", tables)
    run, sets = run_in(tmp_path), {"own": read(tmp_path)}

    def scores(version: str, values: list[float]) -> DatasetRef:
        each = zip(names, values, strict=True)
        rows = [("own", "en", "en", name, value, 0.5, 0.5, 0.5) for name, value in each]
        frame = pl.DataFrame(rows, QueryScores.column_names(), orient="row")
        return run.store.dataset("measures", version).write_single(frame, QueryScores)

    effects = (0.3, -0.1, 0.2, 0.0, 0.25, -0.2, 0.1, 0.05)
    base = scores("base", [0.4] * 40)
    arms = {"a": {0: {"own": scores("a", [0.4 + effects[n // 5] for n in range(40)])}},
            "b": {0: {"own": scores("b", [0.4] * 40)}}}  # fmt: skip
    compared = compare_arms(run, sets, {"own": base}, arms, EvaluationSettings())
    row = table(compared, "differences").filter(metric="ndcg")
    width = row.select(pl.col("high") - pl.col("low")).item()
    alone = compare_pairs({"a": [load(arms["a"][0]["own"])], "b": [load(arms["b"][0]["own"])]})
    single = alone.filter(metric="ndcg").select(pl.col("high") - pl.col("low")).item()
    assert width > 2 * single
