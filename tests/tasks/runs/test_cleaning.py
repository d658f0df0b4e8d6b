"""Files of triplets come out in the format they had: bad negatives replaced, the rest untouched."""

import json
from pathlib import Path

import polars as pl
import pyarrow as pa
import pytest
from pyarrow import parquet

import polymine
from polymine.data_contracts.errors import InputError, StoreError
from tests.small import animal_tables

RULE = {"teachers": ["bm25"], "rule": "naive"}
BAD = 3  # the row whose negative is its own positive


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch):
    monkeypatch.setenv("POLYMINE_HOME", str(tmp_path / "home"))


@pytest.fixture(scope="module")
def triplets() -> list[dict[str, str]]:
    documents, queries, judgments = animal_tables()
    texts = dict(documents.select("doc_id", "text").rows())
    rows = []
    for query, document in queries.select("query_id", "text").rows():
        known = judgments.filter(query_id=query)["doc_id"][0]
        other = texts[f"{known.partition('-')[0]}-care"]
        rows.append({"anchor": document, "positive": texts[known], "negative": other, "note": "ü"})
    rows[BAD]["negative"] = rows[BAD]["positive"]
    return rows[:12]


def read_back(path: Path) -> list[dict[str, str]]:
    if path.suffix == ".parquet":
        return pl.read_parquet(path).to_dicts()
    if path.suffix == ".jsonl":
        return [json.loads(line) for line in path.read_text().splitlines()]
    if path.suffix == ".json":
        return json.loads(path.read_text())
    separator = "\t" if path.suffix == ".tsv" else ","
    return pl.read_csv(path, separator=separator).to_dicts()


def write(path: Path, rows: list[dict[str, str]]) -> Path:
    frame = pl.DataFrame(rows)
    if path.suffix == ".parquet":
        table = frame.to_arrow().replace_schema_metadata({"huggingface": "{}"})
        parquet.write_table(table, path)
    elif path.suffix == ".jsonl":
        path.write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    elif path.suffix == ".json":
        path.write_text(json.dumps(rows))
    else:
        frame.write_csv(path, separator="\t" if path.suffix == ".tsv" else ",")
    return path


@pytest.mark.parametrize("suffix", ["parquet", "jsonl", "json", "csv", "tsv"])
def test_one_bad_negative_is_replaced_and_all_else_stays(tmp_path, triplets, suffix):
    path = write(tmp_path / f"triplets.{suffix}", triplets)
    cleaned = polymine.clean(path, **RULE)
    assert cleaned.path == tmp_path / f"triplets-clean.{suffix}"
    rows = read_back(cleaned.path)
    others = [at for at in range(len(rows)) if at != BAD]
    assert [rows[at] for at in others] == [triplets[at] for at in others]
    assert rows[BAD] | {"negative": ""} == triplets[BAD] | {"negative": ""}
    assert rows[BAD]["negative"] not in ("", triplets[BAD]["negative"])
    told = cleaned.changes.filter(pl.col("action") != "kept").row(0, named=True)
    assert (told["row"], told["reason"]) == (BAD + 1, "known positive: positive")
    assert told["replacement"] == rows[BAD]["negative"]
    assert cleaned.rates[0] > cleaned.rates[1]
    assert "known positive: positive" in str(cleaned)
    if suffix == "jsonl":
        before, after = path.read_text().splitlines(), cleaned.path.read_text().splitlines()
        assert [after[at] for at in others] == [before[at] for at in others]
    if suffix == "parquet":
        assert parquet.read_schema(cleaned.path) == parquet.read_schema(path)
        assert parquet.read_schema(cleaned.path).metadata == {b"huggingface": b"{}"}


def test_a_query_whose_only_pair_is_left_out_has_its_negatives_replaced(tmp_path, triplets):
    rows = [dict(row) for row in triplets]
    rows[BAD] |= {"positive": "Nothing of the kind.", "negative": "Nothing of the kind."}
    doubted = {"doubtful": "drop", "within": 1}
    cleaned = polymine.clean(write(tmp_path / "t.csv", rows), **RULE, positives=doubted)
    told = cleaned.changes.filter(row=BAD + 1).row(0, named=True)
    assert told["action"] == "replaced"
    assert "all its known pairs are doubtful and left out" in cleaned.run.shortfalls["reason"]


def test_lists_and_numbered_negatives_lose_what_cannot_be_replaced(tmp_path, triplets):
    wide = [
        {"query": row["anchor"], "pos": [row["positive"]], "neg_scores": [0.1, 0.2],
         "teacher_score": 0.3, "neg": [row["negative"], row["positive"]]} for row in triplets
    ]  # fmt: skip
    path = tmp_path / "flag.jsonl"
    path.write_text("".join(f"{json.dumps(row)}\n" for row in wide))
    cleaned = polymine.clean(path, tmp_path / "out.jsonl", depth=2, **RULE)
    rows = read_back(cleaned.path)
    for before, after in zip(wide, rows, strict=False):
        assert before["pos"][0] not in after["neg"]
        assert len(after.get("neg_scores", after["neg"])) == len(after["neg"])
    assert cleaned.stale == ("teacher_score",)  # lists of scores follow their texts
    assert "teacher_score: may speak of what was replaced" in str(cleaned)
    actions = dict(cleaned.changes.group_by("action").len().rows())
    assert sum(actions.values()) == 2 * len(wide)
    assert actions["kept"] + actions["replaced"] == sum(len(row["neg"]) for row in rows)


def test_records_of_a_trainer_come_out_as_they_were(tmp_path, triplets):
    records = [
        {"question": row["anchor"], "positive_ctxs": [{"title": "", "text": row["positive"]}],
         "hard_negative_ctxs": [{"title": "", "text": row["negative"], "score": 1}],
         "negative_ctxs": [{"title": "", "text": triplets[at - 2]["positive"]}]}
        for at, row in enumerate(triplets)
    ]  # fmt: skip
    path = tmp_path / "dpr.jsonl"
    path.write_text("".join(f"{json.dumps(row)}\n" for row in records))
    cleaned = polymine.clean(path, **RULE)
    before, after = (each.read_text().splitlines() for each in (path, cleaned.path))
    assert [n for n, line in enumerate(after) if line != before[n]] == [BAD]
    (told,) = cleaned.changes.filter(pl.col("action") != "kept").to_dicts()
    assert (told["row"], told["column"], told["action"]) == (
        BAD + 1, "hard_negative_ctxs", "replaced"
    )  # fmt: skip
    new = [{"title": "", "text": told["replacement"]}]
    assert json.loads(after[BAD]) == records[BAD] | {"hard_negative_ctxs": new}


def test_a_schema_with_an_index_and_a_stream_of_arrow_stay_what_they_are(tmp_path, triplets):
    table = pa.Table.from_pylist([row | {"__index_level_0__": 7} for row in triplets])
    path = tmp_path / "saved.arrow"
    with pa.OSFile(str(path), "wb") as sink, pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    cleaned = polymine.clean(path, **RULE)
    with pa.memory_map(str(cleaned.path)) as source:
        after = pa.ipc.open_stream(source).read_all()
    assert after.schema == table.schema
    assert after.drop(["negative"]) == table.drop(["negative"])


def test_what_cannot_be_cleaned_is_named(tmp_path, triplets):
    pairs = [{name: row[name] for name in ("anchor", "positive")} for row in triplets]
    with pytest.raises(InputError, match="no column of negatives"):
        polymine.clean(write(tmp_path / "pairs.jsonl", pairs))
    with pytest.raises(InputError, match=r"nowhere\.csv: expected one file"):
        polymine.clean(tmp_path / "nowhere.csv")
    by_ids = {"question": "a?", "pos_doc": [{"id": "x"}], "neg_doc": [{"id": "y"}]}
    (tmp_path / "nemo.jsonl").write_text(json.dumps(by_ids))
    with pytest.raises(InputError, match="names documents by their ids, and has no place"):
        polymine.clean(tmp_path / "nemo.jsonl")
    path = write(tmp_path / "triplets.csv", triplets)
    path.with_name("triplets-clean.csv").touch()
    with pytest.raises(StoreError, match="already there"):
        polymine.clean(path, **RULE)
