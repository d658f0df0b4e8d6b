"""The primary teacher of real runs: found by recall, obeyed where named, kept in the store."""

from pathlib import Path

import polars as pl
import pytest

import polymine
from polymine.data_contracts.errors import SettingsError
from polymine.data_contracts.settings import EngineSettings, TrainingSettings
from polymine.flows.mining import mine as mine_flow
from polymine.tasks.training.checks import check_training
from tests.small import BM25, MINILM, animal_tables, list_tokenizer, save_small_encoder

CIPHER = {ord("a") + n: chr(0x3500 + n) for n in range(26)}  # signs that MiniLM has no token for


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The animals in a language that one encoder reads and MiniLM does not, and that encoder."""
    folder = tmp_path_factory.mktemp("foreign")
    for name, table in zip(("corpus", "queries", "judgments"), animal_tables(), strict=True):
        if "text" in table.columns:
            words = [text.lower().translate(CIPHER) for text in table["text"]]
            table = table.with_columns(text=pl.Series(words))
        table.write_parquet(folder / f"{name}.parquet")
    signs = list_tokenizer(sorted(CIPHER.values()), "[㐀-䶿]")
    save_small_encoder(folder, tokenizer=signs)
    return folder


def mine(place: Path, *teachers: object, store: str = "store", **changes: object) -> polymine.Run:
    files = {name: str(place / f"{name}.parquet") for name in ("corpus", "queries", "judgments")}
    engine = EngineSettings(store=str(place / store))
    named = [each if isinstance(each, dict) else each.model_dump() for each in teachers]
    output = place / f"run-{len(list(place.glob('run-*')))}"
    changes = {"negatives": 3, **changes}
    return polymine.mine(**files, output=output, engine=engine, teachers=named, **changes)


@pytest.fixture(scope="module")
def chosen(place: Path) -> polymine.Run:
    return mine(place, MINILM, BM25)


def test_a_first_teacher_that_cannot_read_the_language_does_not_decide(chosen) -> None:
    assert chosen.info["primary"] == {"teacher": "bm25", "why": "chosen"}
    assert chosen.mining.primary_teacher == "bm25"
    scores = chosen.triplets.select("query_id", "negative_score", doc_id="negative_id")
    both = scores.join(chosen.evidence, on=["query_id", "doc_id"])
    assert len(both) == len(chosen.triplets)
    assert (both["negative_score"] == both["score_bm25"]).all()
    assert "bm25 is primary, chosen by that" in (chosen.folder / "report.html").read_text()
    assert chosen.info["settings"]["mining"]["selection"]["teacher"] is None  # as it was asked


def test_naming_the_chosen_one_is_the_same_and_naming_another_wins(place, chosen) -> None:
    same = mine(place, MINILM, BM25, teacher="bm25")
    assert same.triplets.equals(chosen.triplets)
    assert set(same.info["reused"]) >= {"deepen", "predict risk", "select", "export"}
    other = mine(place, MINILM, BM25, teacher="minilm")
    assert other.info["primary"] == {"teacher": "minilm", "why": "named"}
    assert not other.triplets.equals(chosen.triplets)
    assert ("primary teacher", "bm25", "minilm") in polymine.diff(chosen, other).figures


def test_a_better_dense_teacher_is_chosen_and_a_copy_is_not(place) -> None:
    own = {"name": "own", "model": str(place / "model"), "dtype": "float32"}
    assert mine(place, MINILM, own).info["primary"]["teacher"] == "own"
    tie = mine(place, own, {**own, "name": "again"})
    assert tie.info["primary"] == {"teacher": "own", "why": "kept"}
    first = mine(place, own, {**own, "name": "again"}, teacher="own")
    assert first.triplets.equals(tie.triplets)


def test_a_rule_in_the_units_of_a_teacher_keeps_the_first(place) -> None:
    run = mine(place, MINILM, BM25, rule="absolute", absolute=0.9)
    assert run.info["primary"] == {"teacher": "minilm", "why": "units"}


def test_a_plan_says_that_it_cannot_know_and_then_that_it_does(place) -> None:
    settings = place / "mine.toml"
    lines = [f'{name} = "{place}/{name}.parquet"' for name in ("corpus", "queries", "judgments")]
    teachers = [each.model_dump_json(exclude_unset=True) for each in (MINILM, BM25)]
    tables = ", ".join(each.replace('":', '"=') for each in teachers)
    settings.write_text(
        "\n".join(["[dataset]", *lines, "[mining]", "negatives = 3", f"teachers = [{tables}]"])
        + f'\n[output]\npath = "{place}/planned"\n[engine]\nstore = "{place}/new store"\n'
    )
    (remark,) = [line for line in polymine.plan(settings).remarks if "primary" in line]
    assert "minilm and bm25" in remark
    polymine.mine(settings)
    plan = polymine.plan(settings)
    assert all(node.reused for node in plan.nodes)
    assert not [line for line in plan.remarks if "primary" in line]
    # Evidence without a choice, as an interrupted run leaves it: the plan makes the choice aside.
    for folder in (place / "new store" / "choices").iterdir():
        (folder / "manifest.json").unlink()
    plan = polymine.plan(settings)
    assert [node.name for node in plan.nodes if not node.reused] == ["choose-teacher"]


def test_another_teacher_is_added_and_the_store_keeps_the_choice(place) -> None:
    alone = mine(place, MINILM, store="added")
    assert alone.info["primary"] == {"teacher": "minilm", "why": "only"}
    assert "choose teacher" not in alone.info["fingerprints"]
    added = mine(place, MINILM, BM25, store="added")
    assert added.info["primary"]["teacher"] == "bm25"
    assert set(added.info["reused"]) >= {"embed minilm documents", "rank minilm"}
    again = mine(place, MINILM, BM25, store="added")
    assert "choose teacher" in again.info["reused"]
    assert again.triplets.equals(added.triplets)


def test_a_run_decides_anew_and_is_inspected_by_the_chosen_teacher(chosen) -> None:
    fewer = chosen.select(negatives=1)
    assert fewer.info["primary"] == chosen.info["primary"]
    query = chosen.triplets["query_id"][0]
    assert "bm25" in str(chosen.why(query))
    moved = polymine.diff(chosen, fewer).changes.join(chosen.evidence, on=["query_id", "doc_id"])
    assert len(moved)
    assert (moved["score_before"] == moved["score_bm25"]).all()


@pytest.mark.flow
def test_flow_and_notebook_choose_the_same(prefect_server, place, chosen) -> None:
    from polymine.data_contracts.settings import DatasetSettings, OutputSettings

    made = mine_flow(
        DatasetSettings(**chosen.info["settings"]["dataset"]),
        OutputSettings(path=str(place / "flow")),
        chosen.settings_of("mining", type(chosen.mining)),
        EngineSettings(store=str(place / "flow store")),
    )
    flow = polymine.open(made["output"])
    for table in ("triplets", "negatives", "evidence"):
        same = zip(flow.paths(table), chosen.paths(table), strict=True)
        assert all(one.read_bytes() == other.read_bytes() for one, other in same)


def test_learning_the_scores_of_what_may_be_the_base_is_refused_before_anything_is_mined(
    chosen,
) -> None:
    base = str(MINILM.model)
    training = TrainingSettings.model_validate(
        {"base": base, "recipe": {"mono": {"triplets": "mined"}}, "loss": {"kind": "margin"}}
    )
    asked = chosen.settings_of("mining", type(chosen.mining))
    with pytest.raises(SettingsError, match="teacher `minilm`, which is the base itself"):
        check_training(training, asked)
    check_training(training, asked.with_primary("bm25"))
