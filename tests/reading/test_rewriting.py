"""A file written again keeps its form, whatever was changed in it."""

import json
from pathlib import Path

import polars as pl
import pytest
from pyarrow import parquet

from polymine.data_contracts.errors import InputError
from polymine.data_contracts.settings import Reading
from polymine.reading.files import read_file
from polymine.reading.pairs import text_ids
from polymine.reading.rewriting import rewrite
from polymine.reading.roles import PAIRS

ROW = {"anchor": "a question", "positive": "an answer", "negative": "no answer"}


def rewritten(path: Path, edits: dict, **reading: str) -> Path:
    table = read_file(path, str(path), PAIRS, Reading(**reading))
    target = path.with_name("new" + path.suffix)
    rewrite(path, target, table, [0], edits)
    return target


def test_what_stands_around_the_records_of_a_json_file_stays(tmp_path):
    (tmp_path / "a.json").write_text(json.dumps({"version": 2, "data": [ROW, ROW]}))
    written = json.loads(rewritten(tmp_path / "a.json", {0: {"negative": {0: "new"}}}).read_text())
    assert written == {"version": 2, "data": [ROW | {"negative": "new"}]}


def said(text: str) -> list[dict[str, str]]:
    return [{"role": "user", "content": text}]


NEW = {"docid": text_ids("d", ["new"])[0], "title": "", "text": "new"}
PASSAGES = [{"docid": "7", "title": "T", "text": text, "score": 0.5} for text in "xyz"]


@pytest.mark.parametrize(
    ("record", "column", "after"),
    [
        (
            {"query_id": "1", "query": "q", "positive_passages": PASSAGES[:1],
             "negative_passages": PASSAGES},
            "negative_passages", [NEW, PASSAGES[2]],
        ),
        (
            {"messages": said("q"), "positive_messages": [said("p")],
             "negative_messages": [said("x"), said("y"), said("z")]},
            "negative_messages", [said("new"), said("z")],
        ),
        (
            {"question": "q", "pos_doc": "p", "neg_doc": ["x", "y", {"text": "z"}]},
            "neg_doc", ["new", {"text": "z"}],
        ),
        (
            {"question": "q", "answers": ["p"], "positive_ctxs": PASSAGES[:1],
             "negative_ctxs": PASSAGES[:1], "hard_negative_ctxs": PASSAGES},
            "hard_negative_ctxs", [NEW, PASSAGES[2]],
        ),
    ],
)  # fmt: skip
def test_a_trainers_record_keeps_its_shape(tmp_path, record, column, after):
    path = tmp_path / "a.jsonl"
    path.write_text(f"{json.dumps(record)}\n{json.dumps(record)}\n")
    written = rewritten(path, {0: {column: {0: "new", 1: None}}})
    assert json.loads(written.read_text()) == record | {column: after}
    assert rewritten(path, {}).read_text() == f"{json.dumps(record)}\n"


@pytest.mark.parametrize("suffix", [".jsonl", ".parquet"])
@pytest.mark.parametrize(("new", "scores"), [(None, [3.0, 1.0]), ("other", None)])
def test_scores_beside_a_list_go_with_its_texts(tmp_path, suffix, new, scores):
    """FlagEmbedding's, by place: that of a removed text goes, of a new one nobody knows any."""
    row = {"query": "q", "pos": ["p"], "neg": ["x", "y", "z"], "neg_scores": [3.0, 2.0, 1.0]}
    path = tmp_path / f"a{suffix}"
    frame = pl.DataFrame([row, row])
    frame.write_ndjson(path) if suffix == ".jsonl" else frame.write_parquet(path)
    written = rewritten(path, {0: {"neg": {1: new}}})
    read = pl.read_ndjson if suffix == ".jsonl" else pl.read_parquet
    (after,) = read(written).to_dicts()
    assert after["neg"] == (["x", "z"] if new is None else ["x", "other", "z"])
    assert after.get("neg_scores") == scores


def test_lists_of_a_fixed_length_may_become_shorter(tmp_path):
    table = pl.DataFrame({"query": ["q"], "pos": [["p"]], "neg": [["x", "y"]]})
    fixed = table.with_columns(pl.col("neg").cast(pl.Array(pl.String, 2)))
    parquet.write_table(fixed.to_arrow(), tmp_path / "a.parquet")
    target = rewritten(tmp_path / "a.parquet", {0: {"neg": {0: None}}})
    assert pl.read_parquet(target).rows() == [("q", ["p"], ["y"])]


def test_a_negative_that_the_encoding_has_no_place_for_is_named(tmp_path):
    (tmp_path / "a.csv").write_bytes("anchor,positive,negative\ncafé,é,à\n".encode("cp1252"))
    with pytest.raises(InputError, match="is in cp1252, which has no place for '→'"):
        rewritten(tmp_path / "a.csv", {0: {"negative": {0: "to → there"}}}, encoding="cp1252")
