"""A query of a real run under the lens: what was kept, excluded and promoted, and why."""

import io
import json
import math
import shutil
from dataclasses import dataclass
from pathlib import Path

import polars as pl
import pytest
from rich.console import Console
from typer.testing import CliRunner

import polymine
from polymine.commands.main import app
from polymine.data_contracts.errors import InputError, StoreError
from polymine.data_contracts.settings import (
    DatasetSettings,
    EngineSettings,
    MiningSettings,
    OutputSettings,
    RiskSettings,
    SelectionSettings,
)
from polymine.flows.mining import mine
from polymine.reporting.runs.inspected import Candidate, Inspection
from polymine.reporting.runs.inspection_view import draw
from tests.small import BM25, MINILM, animal_tables, small_validator

MINING = MiningSettings(
    teachers=(MINILM, BM25), negatives=3, depth=10, validation=small_validator(),
    selection=SelectionSettings(max_false_negative_rate=0.0005),  # tight, as animals differ
    risk=RiskSettings(validator_weight=1.0),
)  # fmt: skip
QUERY, LONELY = "owl-food?", "unanswered?"
MARKED = "[bold]The owl[/bold] eats [/] mice\x1b[31m and voles."


@dataclass(frozen=True)
class Finished:
    """A finished run and the store it was made from."""

    folder: Path
    store: Path


@pytest.fixture(scope="module")
def run(tmp_path_factory) -> Finished:
    """The animals, one with markup in its text, one pair labelled relevant, one question alone."""
    place = tmp_path_factory.mktemp("inspection")
    corpus, queries, judgments = animal_tables()
    marked = pl.when(pl.col("doc_id") == "owl-care").then(pl.lit(MARKED)).otherwise("text")
    lonely = pl.DataFrame({"query_id": [LONELY], "text": ["Who asks?"], "language": ["en"]})
    labels = {"query_id": [QUERY, QUERY], "doc_id": ["owl-care", "owl-myth"], "relevance": [1, 0]}
    tables = {
        "corpus": corpus.with_columns(text=marked),
        "queries": pl.concat([queries, lonely]),
        "judgments": judgments,
        "labels": pl.DataFrame(labels),
    }
    for name, table in tables.items():
        table.write_parquet(place / f"{name}.parquet")
    dataset = DatasetSettings(**{name: str(place / f"{name}.parquet") for name in tables})
    output = OutputSettings(path=str(place / "run"))
    engine = EngineSettings(store=str(place / "store"), threads=2)
    mine.fn(dataset, output, MINING, engine)
    return Finished(place / "run", place / "store")


def look(run: Finished, query_id: str = QUERY, limit: int | None = None) -> Inspection:
    return polymine.open(run.folder).why(query_id, limit)


def shown(found: Inspection, width: int = 100, **how: bool) -> str:
    console = Console(file=io.StringIO(), width=width, highlight=False)
    console.print(draw(found, **how))
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def table(run: Finished, name: str, query_id: str = QUERY) -> pl.DataFrame:
    return pl.read_parquet(run.folder / name / "*.parquet").filter(query_id=query_id)


def by_id(found: Inspection) -> dict[str, Candidate]:
    return {candidate.doc_id: candidate for candidate in found.candidates}


def test_everything_decided_is_shown_in_order_of_importance(run):
    found = look(run)
    negatives = table(run, "negatives")
    kept = negatives.filter(verdict="negative").sort("position")["doc_id"].to_list()
    assert [c.doc_id for c in found.of("positive")] == ["owl-food"]
    assert [c.doc_id for c in found.of("negative")] == kept
    assert [c.doc_id for c in found.of("promoted")] == ["owl-care"]
    refused = negatives.filter(pl.col("doc_id") != "owl-food", verdict="excluded")
    assert [c.doc_id for c in found.of("excluded")] == (
        refused.sort("score", "doc_id", descending=[True, False])["doc_id"].to_list()
    )
    assert len(refused) > 0
    roles = [candidate.role for candidate in found.candidates]
    assert roles == sorted(roles, key=("positive", "negative", "promoted", "excluded").index)
    reasons = dict(negatives.select("doc_id", "reason").rows())
    for candidate in found.candidates[1:]:
        assert candidate.reason == reasons[candidate.doc_id]
    assert found.candidates[0].reason == "known positive"


def test_counts_add_up_and_a_limit_holds_for_each_role(run):
    counts = look(run).counts
    parts = ("positive_candidates", "negative", "promoted", "excluded", "not_needed")
    assert counts["candidates"] == len(table(run, "evidence")) == sum(counts[p] for p in parts)
    limited = look(run, limit=1)
    assert limited.counts == counts
    assert [c.role for c in limited.candidates] == ["positive", "negative", "promoted", "excluded"]
    assert f"excluded: {counts['excluded']}, the first 1 of them" in shown(limited)


def test_texts_and_evidence_are_those_of_the_tables(run):
    texts = {row[0]: row[1] for row in animal_tables()[0].rows()} | {"owl-care": MARKED}
    evidence = {row["doc_id"]: row for row in table(run, "evidence").to_dicts()}
    found = look(run)
    assert found.text == "What does the owl eat?"
    for candidate in found.candidates:
        row = evidence[candidate.doc_id]
        assert (candidate.text, candidate.language) == (texts[candidate.doc_id], "en")
        for opinion in candidate.opinions:
            for name in ("score", "rank", "z", "positive_z"):
                assert opinion.evidence[name] == row[f"{name}_{opinion.teacher}"]
        minilm, bm25 = candidate.opinions
        for name in ("document_z", "feedback_z"):
            assert minilm.evidence[name] == row[f"{name}_minilm"]
            assert bm25.evidence[name] is None


def test_contributions_add_up_to_the_risk_of_the_model(run):
    ids = [row[0] for row in animal_tables()[1].select("query_id").rows()]
    for query_id in ids:
        estimated = dict(table(run, "risks", query_id).select("doc_id", "risk").rows())
        for candidate in look(run, query_id).candidates:
            risk = candidate.risk
            assert risk is not None
            total = sum(part.log_odds for part in risk.contributions)
            if risk.updated_by != "label":
                expected = estimated[candidate.doc_id]
                logit = math.log(expected / (1 - expected))
                assert total == pytest.approx(logit, abs=1e-4)
                assert risk.estimated == pytest.approx(expected, rel=1e-5)
            for part in risk.contributions[1:]:
                by_hand = 0 if part.value is None else part.weight * (part.value - part.centre)
                assert part.log_odds == pytest.approx(by_hand)


def test_labels_and_the_validator_are_named_as_what_changed_a_risk(run):
    changed: dict[str | None, list[Candidate]] = {}
    for query_id in animal_tables()[1]["query_id"]:
        decided = dict(table(run, "negatives", query_id).select("doc_id", "risk").rows())
        for candidate in look(run, query_id).candidates:
            assert candidate.risk.final == decided[candidate.doc_id]
            changed.setdefault(candidate.risk.updated_by, []).append(candidate)
    assert all(c.risk.final in (0, 1) for c in changed["label"])
    assert all(c.validator_score is not None for c in changed["validator"])
    assert all(c.risk.final != pytest.approx(c.risk.estimated) for c in changed["validator"])
    found = by_id(look(run))
    text = shown(look(run), width=200)
    assert found["owl-care"].risk.final == 1
    assert "→ relevant: it is known" in text
    assert found["owl-myth"].risk.final == 0
    assert "→ not relevant: it is known" in text
    looked_at = found["beaver-food"]
    assert looked_at.risk.updated_by == "validator"
    assert f"by the validator, logit {looked_at.validator_score:.1f}" in text


@pytest.mark.parametrize("full", [True, False])
def test_markup_is_shown_as_text_and_what_a_terminal_obeys_is_not(run, full):
    text = shown(look(run), full=full)
    assert "[bold]The owl[/bold] eats [/] mice\N{REPLACEMENT CHARACTER}[31m and voles." in text
    assert "\x1b" not in text


@pytest.mark.parametrize("width", [80, 120])
def test_no_line_is_wider_than_the_terminal(run, width):
    text = shown(look(run), width=width)
    assert max(map(len, text.splitlines())) <= width
    for expected in (QUERY, "3 of 3 negatives", "negative 1", "passed the rule", "log-odds"):
        assert expected in text
    assert "feedback z" in text


def test_json_holds_the_same_with_texts_in_full(run):
    asked = ["inspect", str(run.folder), QUERY, "--limit", "0", "--json"]
    content = json.loads(CliRunner().invoke(app, asked, catch_exceptions=False).stdout)
    found = look(run)
    assert content["counts"] == found.counts
    assert [row["doc_id"] for row in content["negatives"]] == [
        candidate.doc_id for candidate in found.of("negative")
    ]
    assert content["promoted"][0]["text"] == MARKED
    assert content["promoted"][0]["reason"] == "promoted: relevant by a label"
    risk = content["negatives"][0]["risk"]
    parts = sum(part["log_odds"] for part in risk["contributions"])
    assert parts == pytest.approx(risk["log_odds"], abs=1e-4)
    assert content["note"] is None


def test_a_short_query_says_why(run):
    found = look(run, LONELY)
    assert found.shortfall == "no known positive"
    assert found.text == "Who asks?"
    text = shown(found)
    assert "0 of 3 negatives" in text
    assert "short of negatives: no known positive" in text


def test_without_the_store_it_says_so_and_shows_what_texts_there_are(run):
    away = run.store.with_name("away")
    shutil.move(run.store, away)
    try:
        found, lonely = look(run), look(run, LONELY)
    finally:
        shutil.move(away, run.store)
    texts = {candidate.role: candidate.text for candidate in found.candidates}
    assert found.text == "What does the owl eat?"
    assert texts["positive"] is not None
    assert texts["negative"] is not None
    assert texts["promoted"] == MARKED
    assert texts["excluded"] is None
    assert found.note is not None
    assert str(run.store) in found.note
    text = shown(found, width=200)
    assert found.note in text
    assert "(its text is not at hand)" in text
    assert found.to_dict()["note"] == found.note
    assert lonely.text is None


def test_a_damaged_store_is_left_as_it_is(run):
    for path in (run.store / "documents").rglob("*.parquet"):
        whole = path.read_bytes()
        path.write_bytes(whole[:100])
        assert look(run).note is not None
        assert path.read_bytes() == whole[:100]
        path.write_bytes(whole)


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        ("owl-fod?", "did you mean `owl-food?`"),
        ("BEAVER", "did you mean `beaver-body?` or `beaver-food?` or `beaver-home?`?"),
        ("17", "none of the 37 queries of .*run, such as `badger-body?`"),
    ],
)
def test_an_unknown_query_is_answered_with_the_nearest(run, asked, said):
    with pytest.raises(InputError, match=said.replace("?", r"\?")):
        look(run, asked)


def test_a_run_without_some_kind_of_evidence_is_shown_without_it(run, tmp_path):
    copy = tmp_path / "copy"
    shutil.copytree(run.folder, copy)
    for path in (copy / "evidence").iterdir():
        pl.read_parquet(path).drop("feedback_z_minilm").write_parquet(path)
    found = polymine.open(copy).why(QUERY)
    [part] = [p for p in found.candidates[0].risk.contributions if p.feature == "feedback"]
    assert (part.value, part.log_odds) == (None, 0)


def test_what_is_no_run_or_a_damaged_one_is_refused(run, tmp_path):
    with pytest.raises(StoreError, match="there is no such folder"):
        polymine.open(tmp_path / "none")
    dataset = json.loads((run.folder / "manifest.json").read_text()) | {"contract": "exports"}
    del dataset["seal"]
    (tmp_path / "dataset").mkdir()
    (tmp_path / "dataset" / "manifest.json").write_text(json.dumps(dataset))
    for other in (tmp_path, tmp_path / "dataset"):
        with pytest.raises(StoreError, match="not the folder of a finished run"):
            polymine.open(other)
    copy = tmp_path / "copy"
    shutil.copytree(run.folder, copy)
    next((copy / "evidence").iterdir()).unlink()
    with pytest.raises(StoreError, match="evidence: missing or not as the run wrote it"):
        polymine.open(copy).why(QUERY)
    (copy / "risk.json").write_text("{}")
    shutil.copytree(run.folder / "evidence", copy / "evidence", dirs_exist_ok=True)
    with pytest.raises(StoreError, match=r"risk\.json is missing or was written by another"):
        polymine.open(copy).why(QUERY)
