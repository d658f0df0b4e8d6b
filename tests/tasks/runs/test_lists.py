"""Lists of a real run: equal to what its tables say, with what its validator said."""

import json
import shutil

import polars as pl
import pytest
import torch
from datasets import load_dataset
from sentence_transformers import SentenceTransformer
from sentence_transformers.sentence_transformer.losses import MarginMSELoss
from sentence_transformers.util import resolve_ids

import polymine
from polymine.data_contracts.errors import SettingsError, StoreError
from polymine.mining.lists import KEYS
from polymine.tasks.runs import lists as lists_of_runs
from tests.small import small_teacher
from tests.tasks.runs.small_lists import mine_animals, texts_of


@pytest.fixture(scope="module")
def run(tmp_path_factory) -> polymine.Run:
    return mine_animals(tmp_path_factory.mktemp("lists"))


def test_lists_say_what_the_tables_of_the_run_say(run):
    lists = run.lists(4)
    by_verdict = {
        str(verdict): rows.select(KEYS).sort(KEYS)
        for (verdict,), rows in lists.partition_by("verdict", as_dict=True).items()
    }
    negatives = run.negatives.filter(verdict="negative")
    assert by_verdict["known"].equals(run.read("positives").select(KEYS).sort(KEYS))
    assert by_verdict["negative"].equals(negatives.select(KEYS).sort(KEYS))
    assert by_verdict["promoted"].equals(run.promoted.select(KEYS).sort(KEYS))
    assert {"excluded", "unused"} <= set(by_verdict)
    ordered = lists.filter(verdict="negative").sort("query_id", "place")
    assert ordered["doc_id"].equals(negatives.sort("query_id", "position")["doc_id"])
    told = lists.join(run.evidence, on=KEYS, how="inner", suffix="_told")
    assert told["score_small"].equals(told["score_small_told"])
    assert told["risk"].equals(told["risk_told"])


def test_the_validators_logits_are_kept_for_positives_too(run):
    logits, known = run.read("logits"), run.read("positives")
    asked = run.negatives.drop_nulls("validator_score").select(*KEYS, "validator_score")
    both = asked.join(logits, on=KEYS, how="left", suffix="_kept")
    assert both["validator_score"].equals(both["validator_score_kept"].rename("validator_score"))
    read = known.join(logits, on="query_id", how="semi")
    assert read.height
    assert read.join(logits, on=KEYS, how="anti").is_empty()
    told = run.lists().filter(verdict="known").join(logits, on="query_id", how="semi")
    assert told["validator_score"].null_count() == 0


def test_blocks_of_queries_change_nothing(run, monkeypatch):
    whole = run.lists(5)
    monkeypatch.setattr(lists_of_runs, "QUERIES_PER_FILE", 7)
    assert run.lists(5).equals(whole)


def test_a_run_without_the_tables_is_named(run, tmp_path):
    shutil.copytree(run.folder, tmp_path / "old")
    shutil.rmtree(tmp_path / "old" / "risks")
    with pytest.raises(StoreError, match="risks: missing or not as the run wrote it"):
        polymine.open(tmp_path / "old").lists()


@pytest.mark.parametrize("form", ["sentence-transformers", "pylate"])
def test_lists_by_ids_are_what_sentence_transformers_trains_on(run, tmp_path, form):
    """By the real library: `load_dataset`, `resolve_ids`, and its own loss on what they give."""
    folder = run.export(form, tmp_path / "out", scores="small").folder
    train, queries, documents = (
        load_dataset(str(folder), name, split="train", cache_dir=str(tmp_path / "cache"))
        for name in ("train", "queries", "documents")
    )
    lists = run.lists()
    told = {(row["query_id"], row["doc_id"]): row for row in lists.to_dicts()}
    for row in train:
        pairs = [told[row["query_id"], name] for name in row["document_ids"]]
        assert row["scores"] == [pair["score_small"] for pair in pairs]
        assert pairs[0]["verdict"] == "known"
    assert sorted(documents["document_id"]) == sorted(set(lists["doc_id"]))
    resolve = resolve_ids({"query_id": queries, "document_ids": documents}, max_list_length=6)
    texts = texts_of(run, lists)
    rows = train.with_transform(resolve)[:4]
    assert rows["document_1"] == [texts[ids[0]] for ids in train[:4]["document_ids"]]
    model = SentenceTransformer(str(small_teacher().model), device="cpu")
    columns = ["query", *(f"document_{place}" for place in range(1, 7))]
    loss = MarginMSELoss(model)
    value = loss([model.preprocess(rows[name]) for name in columns], torch.tensor(rows["scores"]))
    assert value.isfinite()


@pytest.mark.parametrize("form", ["flagembedding-kd", "tevatron-kd"])
def test_records_have_every_document_with_its_score(run, tmp_path, form):
    folder = run.export(form, tmp_path / "out", scores="risk").folder
    records = [json.loads(line) for path in folder.iterdir() for line in path.open()]
    lists = run.lists().with_columns(pl.col("verdict").cast(pl.String))
    assert len(records) == lists["query_id"].n_unique()
    sides = {"pos": ["known", "promoted"], "neg": ["negative", "excluded", "unused"]}
    texts = texts_of(run, lists)
    asked = run.collection("queries", "query_id", lists["query_id"])
    query_of = dict(asked["query_id", "text"].rows())
    for side, verdicts in sides.items():
        expected, found = set(), set()
        for row in lists.filter(pl.col("verdict").is_in(verdicts)).to_dicts():
            score = row["weight"] if side == "pos" else row["risk"]
            expected.add((query_of[row["query_id"]], texts[row["doc_id"]], round(score, 6)))
        for record in records:
            if form == "tevatron-kd":
                name = "positive_passages" if side == "pos" else "negative_passages"
                pairs = [(each["text"], each["score"]) for each in record[name]]
            else:
                pairs = zip(record[side], record[f"{side}_scores"], strict=True)
            found |= {(record["query"], text, round(score, 6)) for text, score in pairs}
        assert found == expected


def test_only_what_the_validator_has_read_has_its_scores(run, tmp_path, caplog):
    with caplog.at_level("INFO", logger="polymine.runs"):
        folder = run.export("pylate", tmp_path / "out", scores="validator").folder
    train = pl.read_parquet(folder / "train" / "*.parquet")
    logits = run.read("logits")
    named = train.select("query_id", doc_id="document_ids").explode("doc_id")
    assert named.join(logits, on=KEYS, how="anti").is_empty()
    left = run.lists(1000)["validator_score"].null_count()
    assert f"{left} documents have no score of `validator`" in caplog.text


def test_scores_that_a_run_has_not_are_refused(run, tmp_path):
    with pytest.raises(
        SettingsError, match=r"e5: .* has no such scores; it has risk, fused, small"
    ):
        run.export("pylate", tmp_path / "out", scores="e5")
    with pytest.raises(SettingsError, match="`scores` are for lists"):
        run.export("flagembedding", tmp_path / "out", scores="risk")
    shutil.copytree(run.folder, tmp_path / "emptied")
    manifest = json.loads((tmp_path / "emptied" / "manifest.json").read_text())
    manifest["info"]["settings"]["engine"]["store"] = str(tmp_path / "elsewhere")
    manifest.pop("seal", None)
    (tmp_path / "emptied" / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(StoreError, match="lists name texts that only the store has"):
        polymine.open(tmp_path / "emptied").export("pylate", tmp_path / "out")
    assert not (tmp_path / "out").exists()
