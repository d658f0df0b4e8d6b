"""One night after the other on one store: what is new costs what it is, what changed is explained,
and what no run needs any more goes."""

import json
import shutil
from pathlib import Path

import polars as pl
import pytest
from typer.testing import CliRunner

import polymine
from polymine.commands.main import app
from polymine.data_contracts.errors import InputError, StoreError
from polymine.data_contracts.notes import RankingNote
from polymine.data_contracts.references import CollectionRef
from polymine.data_contracts.settings import (
    DatasetSettings,
    EngineSettings,
    MiningSettings,
    OutputSettings,
    SelectionSettings,
)
from polymine.data_contracts.tables import Changes
from polymine.flows import mining as flow
from polymine.tasks.mining import incremental_ranking
from polymine.tasks.reporting import mining as reporting
from polymine.tasks.runs.diff import diff_runs
from polymine.tasks.store.datasets import Store
from polymine.tasks.store.retention import make_plan, remove
from tests.small import BM25, MINILM, animal_tables

RULE = SelectionSettings(rule="percent", percent=0.98)
MINING = MiningSettings(teachers=(MINILM, BM25), negatives=3, depth=6, selection=RULE)
NEW, GONE, EDITED = "owl-care", "camel-food", "otter-care"


def write_night(folder: Path, corpus: pl.DataFrame, queries: pl.DataFrame, judged: pl.DataFrame):
    """The tables of one night as files, without what refers to documents that are not there."""
    folder.mkdir()
    judged = judged.join(corpus, on="doc_id", how="semi").join(queries, on="query_id", how="semi")
    tables = {"corpus": corpus, "queries": queries, "judgments": judged}
    for name, table in tables.items():
        table.write_parquet(folder / f"{name}.parquet")
    return DatasetSettings(**{name: str(folder / f"{name}.parquet") for name in tables})


@pytest.fixture(scope="module", autouse=True)
def plain():
    """The flow with its stages as plain functions: what they do counts, not who runs them."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(reporting, "publish", lambda *_: None)
        yield


@pytest.fixture(scope="module")
def nights(tmp_path_factory, plain) -> Path:
    """Two nights on one store, and the second one on an empty store.

    In the second a document and a question are new, a document is gone, and one is edited.
    """
    place = tmp_path_factory.mktemp("nights")
    corpus, queries, judged = animal_tables()
    edited = pl.when(pl.col("doc_id") == EDITED).then(pl.lit("Nothing is known."))
    first = write_night(
        place / "first", corpus.filter(pl.col("doc_id") != NEW),
        queries.filter(pl.col("query_id") != "yak-food?"), judged,
    )  # fmt: skip
    second = write_night(
        place / "second", corpus.filter(pl.col("doc_id") != GONE).with_columns(
            text=edited.otherwise("text")
        ), queries.filter(pl.col("query_id") != "camel-food?"), judged,
    )  # fmt: skip
    run(place, "one", first, "store")
    run(place, "two", second, "store")
    run(place, "alone", second, "other")
    return place


def run(place: Path, name: str, dataset: DatasetSettings, store: str, **how) -> dict:
    output = OutputSettings(path=str(place / name), **how)
    return flow.mine.fn(
        dataset, output, MINING, EngineSettings(store=str(place / store), threads=1)
    )


def contents(folder: Path) -> dict[str, bytes]:
    tables = ("triplets", "negatives", "evidence", "risks", "positives", "document_hashes")
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for table in tables
        for path in sorted((folder / table).iterdir())
    }


def test_a_night_that_builds_on_another_gives_the_same_bytes(nights):
    assert contents(nights / "two") == contents(nights / "alone")


def test_only_what_is_new_was_searched(nights, monkeypatch):
    """The second night is ranked once more: its ranking is gone, the first one's is not."""
    searched = []
    whole = incremental_ranking.merge_rankings

    def watched(teacher, further, *rest):
        searched.append(len(further._candidates))
        return whole(teacher, further, *rest)

    monkeypatch.setattr(incremental_ranking, "merge_rankings", watched)
    store = nights / "copy"
    shutil.copytree(nights / "store", store)
    used = {
        name: json.loads((nights / name / "manifest.json").read_text())["info"]["datasets"]
        for name in ("one", "two")
    }
    for name in set(used["two"]) - set(used["one"]):
        if name.startswith("rankings/"):
            shutil.rmtree(store / name)
    second = DatasetSettings(
        **{n: str(nights / "second" / f"{n}.parquet") for n in ("corpus", "queries", "judgments")}
    )
    run(nights, "three", second, "copy")
    assert searched == [2]  # the new one and the edited one, of 71
    assert contents(nights / "three") == contents(nights / "alone")


def test_a_ranking_of_another_version_is_not_built_on(nights):
    store = Store(str(nights / "store"))
    documents, queries = (store.finished(name, "")[0] for name in ("documents", "queries"))
    collection = CollectionRef(documents, queries, *[documents] * 7, fingerprint="")
    inputs = {f"{MINILM.name}/{side}": documents for side in ("queries", "documents")}
    held, other = (
        incremental_ranking.note_ranking(version, MINILM, collection, MINING, inputs)
        for version in (1, 2)
    )
    assert held.series != other.series
    assert held == other.model_copy(update={"series": held.series})


def test_an_earlier_ranking_that_is_removed_meanwhile_is_done_without(nights, tmp_path):
    """It is there when the store is listed, and gone when it is opened."""
    place = tmp_path / "store"
    shutil.copytree(nights / "store" / "rankings", place / "rankings")
    store = Store(str(place))
    infos = [manifest.info for manifest in store.manifests("rankings").values()]
    noted = RankingNote.model_validate(next(info for info in infos if info["series"]))
    name = incremental_ranking._find_closest(store, noted)
    assert name is not None
    shutil.rmtree(place / "rankings" / name)
    assert incremental_ranking._open(store, name, None, None) is None


def test_changes_lead_from_one_run_to_the_other(nights):
    found = diff_runs(polymine.open(nights / "one"), polymine.open(nights / "two"))
    changes = Changes.validate(found.changes)
    assert kept(nights / "two") == apply(kept(nights / "one"), changes)
    reasons = set(changes.select("change", "reason", "doc_id").rows())
    assert ("came", "document", NEW) in reasons
    assert ("went", "document", GONE) in reasons
    assert {r for _, r, d in reasons if d == EDITED} <= {"text", "query"}
    assert ("came", "query") in {(c, r) for c, r, _ in reasons}
    assert {name for name, _, _ in found.settings} == {
        "dataset.corpus", "dataset.queries", "dataset.judgments"
    }  # fmt: skip
    assert "ingest" in found.stages["other"]
    assert (
        len(diff_runs(polymine.open(nights / "two"), polymine.open(nights / "alone")).changes) == 0
    )


def kept(folder: Path) -> dict[tuple[str, str], int]:
    rows = pl.read_parquet(folder / "negatives").filter(verdict="negative")
    return {(q, d): p for q, d, p in rows.select("query_id", "doc_id", "position").rows()}


def apply(negatives: dict[tuple[str, str], int], changes: pl.DataFrame):
    for row in changes.to_dicts():
        pair = (row["query_id"], row["doc_id"])
        assert negatives.pop(pair, None) == row["position_before"]
        if row["position_after"] is not None:
            negatives[pair] = row["position_after"]
    return negatives


def test_it_is_shown_with_texts(nights):
    found = diff_runs(polymine.open(nights / "one"), polymine.open(nights / "two"))
    said = str(found)
    assert "dataset.corpus" in said
    assert "the document is new" in said
    assert NEW in said
    assert "A zoo that keeps a owl must offer mice and voles" in said


def test_the_command_needs_no_store_and_writes_json_and_a_table(nights, tmp_path):
    for name in ("one", "two"):
        shutil.copytree(nights / name, tmp_path / name)
    asked = ["diff", str(tmp_path / "one"), str(tmp_path / "two"), "--json", "--to"]
    done = CliRunner().invoke(app, [*asked, str(tmp_path / "changes")], catch_exceptions=False)
    content = json.loads(done.stdout)
    assert done.exit_code == 0
    table = Changes.validate(pl.read_parquet(tmp_path / "changes" / "changes.parquet"))
    assert len(content["changes"]) == len(table) == sum(c["pairs"] for c in content["counts"])
    assert all(row["text"] and row["explanation"] for row in content["changes"])
    one = content["changes"][0]["query_id"]
    asked = ["diff", str(tmp_path / "one"), str(tmp_path / "two"), "--json", "--query", one]
    some = json.loads(CliRunner().invoke(app, asked, catch_exceptions=False).stdout)["changes"]
    assert some == [row for row in content["changes"] if row["query_id"] == one]


def test_what_cannot_be_compared_is_refused(nights, tmp_path):
    with pytest.raises(InputError, match=r"neither run; did you mean `owl-food\?`"):
        diff_runs(polymine.open(nights / "one"), polymine.open(nights / "two"), "owl-foot?")
    shutil.copytree(nights / "one", tmp_path / "old")
    manifest = json.loads((tmp_path / "old" / "manifest.json").read_text())
    del manifest["seal"]
    manifest["shards"] = [s for s in manifest["shards"] if "hashes" not in s["name"]]
    (tmp_path / "old" / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(StoreError, match=r"_hashes/ is missing or was written by another"):
        diff_runs(polymine.open(tmp_path / "old"), polymine.open(nights / "two"))


def test_a_kept_run_keeps_exactly_what_it_needs(nights, tmp_path):
    for name in ("store", "one", "two"):
        shutil.copytree(nights / name, tmp_path / name)
    store, datasets = tmp_path / "store", {}
    for name in ("one", "two"):
        manifest = json.loads((tmp_path / name / "manifest.json").read_text())
        datasets[name] = {Path(used).name for used in manifest["info"]["datasets"]}
    plan = make_plan(Store(str(store)), [tmp_path / "two"], keep_days=0)
    going = {Path(item.path).name for item in plan.going}
    assert going == datasets["one"] - datasets["two"] != set()
    gone, spared = remove(plan.going)
    assert (len(gone), spared) == (len(going), [])
    second = DatasetSettings(
        **{n: str(nights / "second" / f"{n}.parquet") for n in ("corpus", "queries", "judgments")}
    )
    summary = run(tmp_path, "two", second, "store", overwrite=True)
    made = {timing["stage"] for timing in summary["timings"]} - set(summary["reused"])
    assert made == {"report"}
