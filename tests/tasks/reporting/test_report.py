"""The report of a real run, from input files to an output folder that `datasets` opens."""

import json
import re
from pathlib import Path
from typing import Any

import polars as pl
import pytest

import polymine
from polymine.data_contracts.settings import (
    DatasetSettings,
    EngineSettings,
    MiningSettings,
    OutputSettings,
    SelectionSettings,
    TeacherSettings,
)
from polymine.flows.mining import mine_collection
from polymine.mining import precision
from polymine.tasks.engine.context import Context
from polymine.tasks.mining.ingestion import ingest
from polymine.tasks.monitoring.artifacts import LARGEST, make_artifacts
from polymine.tasks.reporting.mining import compose, report, versions
from polymine.tasks.reporting.risk import count_unmarked
from polymine.tasks.runs.exporting import FORMATS
from polymine.tasks.store.manifests import checksum

THINGS = ["river", "bridge", "castle", "forest", "market", "harbour", "tower", "garden"]
LANGUAGES = ["en", "fr"]
FIRST = {"mined": "triplets", "empty": "negatives"}  # table opened without a name
WEIRD = "<script>alert(1)</script>"


def write_dataset(folder: Path) -> DatasetSettings:
    """Two passages and one query per thing and language; words overlap between things."""
    documents, queries, judgments = [], [], []
    for n, thing in enumerate(THINGS):
        other = THINGS[(n + 1) % len(THINGS)]
        for language in LANGUAGES:
            name = f"{thing}-{language}"
            text = f"{thing} {language} {thing} history of the {other} {WEIRD}"
            documents.append({"doc_id": name, "text": text, "language": language})
            text = f"{other} {language} near {thing} and its {other} number {n}"
            documents.append({"doc_id": f"{name}-2", "text": text, "language": language})
            text = f"where is the {thing} {language}"
            queries.append({"query_id": f"q-{name}", "text": text, "language": language})
            judgments.append({"query_id": f"q-{name}", "doc_id": name, "relevance": 1})
    paths = {}
    for table, rows in (("corpus", documents), ("queries", queries), ("judgments", judgments)):
        paths[table] = str(folder / f"{table}.parquet")
        pl.DataFrame(rows).write_parquet(paths[table])
    return DatasetSettings.model_validate(paths)


def mine(folder: Path, selection: SelectionSettings) -> dict[str, Any]:
    """Run the stages without Prefect; lexical teachers need no model."""
    dataset = write_dataset(folder)
    mining = MiningSettings(
        teachers=(
            TeacherSettings(name="bm25", kind="lexical"),
            TeacherSettings(name="flat", kind="lexical", k1=0.1),
        ),
        depth=10,
        negatives=3,
        selection=selection,
    )
    engine = EngineSettings(store=str(folder / "store"))
    output = OutputSettings(
        path=str(folder / "out"), views=("triplet", "n-tuple"), formats=("tevatron", "nemo")
    )
    run = Context.of(engine)
    mined = mine_collection(run, ingest(run, dataset), output, mining)
    sources, exported, stages = mined.sources, mined.exported, mined.stages
    shown = report(run, sources, exported, stages, dataset, mining, output)
    settings = {
        "engine": engine.model_dump(),
        "mining": mining.model_dump(mode="json"),
        "output": {"path": "out"},
    }
    made = compose(sources, exported, stages, mining, settings, "out")
    return {**shown, "made": made, "sources": sources, "folder": folder / "out"}


@pytest.fixture(scope="module")
def mined(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    return mine(tmp_path_factory.mktemp("mined"), SelectionSettings())


@pytest.fixture(scope="module")
def empty(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    nothing = SelectionSettings(rule="absolute", absolute=-1.0)
    return mine(tmp_path_factory.mktemp("empty"), nothing)


def test_the_page_says_what_the_files_hold(mined: dict[str, Any]) -> None:
    triplets = pl.read_parquet(mined["folder"] / "triplets")
    shortfalls = pl.read_parquet(mined["folder"] / "shortfalls")
    page = Path(mined["report"]).read_text()
    assert f"{len(triplets):,} triplets from 16 queries" in page
    counts = {row["step"]: row["count"] for row in mined["funnel"] if row["step"] != "excluded"}
    assert counts["triplets"] == len(triplets) > 0
    assert counts["shortfalls"] == len(shortfalls)
    evidence = pl.read_parquet(mined["folder"] / "evidence")
    assert counts["candidates"] == len(evidence)
    assert WEIRD not in page
    assert "&lt;script&gt;alert(1)" in page
    for language in LANGUAGES:
        kept = triplets.filter(anchor_language=language).unique(["query_id", "negative_id"])
        row = re.search(
            rf"<tr><td>[A-Z]\w+ \({language}\)</td><td class=\"n\">8</td>(.*?)</tr>", page
        )
        assert row
        assert f'<td class="n">{len(kept)}</td>' in row[1]


def test_likely_candidates_of_other_languages_are_counted(
    mined: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    evidence, risks = (pl.read_parquet(mined["folder"] / name) for name in ("evidence", "risks"))
    foreign = {
        (row["query_id"], row["doc_id"])
        for row in evidence.iter_rows(named=True)
        if row["closed"] is None and row["query_id"][-2:] != row["doc_id"].removesuffix("-2")[-2:]
    }
    of_foreign = [row for row in risks.iter_rows(named=True)
                  if (row["query_id"], row["doc_id"]) in foreign]  # fmt: skip
    least = sorted(row["risk"] for row in of_foreign)[len(of_foreign) // 2]
    monkeypatch.setattr(precision, "LEAST_PRECISION", least)  # so that some lie on either side
    likely = [row["query_id"] for row in of_foreign if row["risk"] >= least]
    assert count_unmarked(mined["sources"]) == (len(likely), len(set(likely)))
    assert 0 < len(likely) < len(of_foreign)


def test_the_command_line_gets_its_triplet(mined: dict[str, Any]) -> None:
    triplet = mined["triplet"]
    assert triplet["anchor_language"] in LANGUAGES
    assert triplet["positive_score"] > triplet["negative_score"]


def test_the_manifest_holds_what_repeats_the_run(mined: dict[str, Any]) -> None:
    info = json.loads((mined["folder"] / "manifest.json").read_text())["info"]
    assert info["seed"] == 0
    assert info["versions"] == versions()
    assert info["settings"]["mining"]["negatives"] == 3
    assert {"ingest", "evidence", "export", "rank bm25"} <= set(info["fingerprints"])
    assert info["funnel"] == mined["funnel"]


def test_the_expected_rate_is_the_mean_risk_of_what_was_kept(mined: dict[str, Any]) -> None:
    kept = pl.read_parquet(mined["folder"] / "negatives").filter(verdict="negative")
    told = json.loads((mined["folder"] / "manifest.json").read_text())["info"]["risk"]
    assert told["expected_rate"] == pytest.approx(kept["risk"].cast(pl.Float64).mean())
    assert told["hardness"] == pytest.approx(kept["score"].cast(pl.Float64).mean())
    assert told["yield"] == len(kept) / (16 * 3)
    assert told["interval"][0] < told["expected_rate"] < told["interval"][1]
    assert told["expected_rate"] <= told["budget"] == 0.02
    assert len(told["curve"]) > 1
    assert told["fitted_on"]["known positives"] > 0
    assert "What each budget buys" in Path(mined["report"]).read_text()


@pytest.mark.parametrize("run", ["mined", "empty"])
def test_datasets_opens_the_output_folder(
    run: str, request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    datasets = pytest.importorskip("datasets")
    folder = request.getfixturevalue(run)["folder"]
    for name in ("triplets", "negatives", "evidence", "positives", "shortfalls", "n-tuple"):
        if not len(pl.read_parquet(folder / name)):
            continue  # `datasets` refuses what has no rows, so the card leaves it out
        opened = datasets.load_dataset(str(folder), name, split="train", cache_dir=str(tmp_path))
        assert len(opened) == len(pl.read_parquet(folder / name))
        assert opened.column_names == pl.read_parquet(folder / name).columns
    first = datasets.load_dataset(str(folder), split="train", cache_dir=str(tmp_path))
    assert first.column_names == pl.read_parquet(folder / FIRST[run]).columns


def test_files_for_other_trainers_are_part_of_the_run(
    mined: dict[str, Any], empty: dict[str, Any], tmp_path: Path
) -> None:
    folder = mined["folder"]
    shards = json.loads((folder / "manifest.json").read_text())["shards"]
    held = {shard["name"]: shard["checksum"] for shard in shards}
    for form in FORMATS:
        polymine.open(folder).export(form, tmp_path / form)
        for path in (path for path in (tmp_path / form).rglob("*") if path.is_file()):
            name = path.relative_to(tmp_path).as_posix()
            assert held.get(name) == (checksum(path) if form in ("tevatron", "nemo") else None)
    queries = pl.read_parquet(folder / "triplets")["query_id"].unique()
    found = (folder / "tevatron" / "part-00000.jsonl").read_text().splitlines()
    assert {json.loads(line)["query_id"] for line in found} == set(queries)
    card = (folder / "README.md").read_text()
    assert "This folder already holds `tevatron/` and `nemo/`" in card
    assert not (empty["folder"] / "nemo").exists()


def test_a_run_without_any_triplet_still_has_its_report(empty: dict[str, Any]) -> None:
    assert empty["triplet"] == {}
    assert "0 triplets from 16 queries; 16 queries are short" in Path(empty["report"]).read_text()


@pytest.mark.parametrize("run", ["mined", "empty"])
def test_artifacts_are_small_and_show_texts_as_text(
    run: str, request: pytest.FixtureRequest
) -> None:
    from polymine.reporting.mining.page import draw_figures

    made = request.getfixturevalue(run)["made"]
    artifacts = make_artifacts(made, draw_figures(made.summary, made.mining), "/out")
    assert [a["key"] for a in artifacts] == [
        "mine-summary", "mine-risk", "mine-charts", "mine-funnel", "mine-shortfalls",
    ]  # fmt: skip
    assert all(len(artifact["data"]) < 2 * LARGEST for artifact in artifacts)
    assert WEIRD not in artifacts[0]["data"]
    for artifact in artifacts[3:]:
        rows = json.loads(artifact["data"])
        assert all(row.keys() == rows[0].keys() for row in rows)
