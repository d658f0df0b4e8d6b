"""A file written again keeps its form, whatever was changed in it."""

import json
from pathlib import Path

import polars as pl
import pytest
from pyarrow import parquet

from polymine.data_contracts.errors import InputError
from polymine.data_contracts.settings import Reading
from polymine.reading.files import read_file
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
    written = json.loads(rewritten(tmp_path / "a.json", {0: {"negative": "new"}}).read_text())
    assert written == {"version": 2, "data": [ROW | {"negative": "new"}]}


def test_lists_of_a_fixed_length_may_become_shorter(tmp_path):
    table = pl.DataFrame({"query": ["q"], "pos": [["p"]], "neg": [["x", "y"]]})
    fixed = table.with_columns(pl.col("neg").cast(pl.Array(pl.String, 2)))
    parquet.write_table(fixed.to_arrow(), tmp_path / "a.parquet")
    target = rewritten(tmp_path / "a.parquet", {0: {"neg": ["y"]}})
    assert pl.read_parquet(target).rows() == [("q", ["p"], ["y"])]


def test_a_negative_that_the_encoding_has_no_place_for_is_named(tmp_path):
    (tmp_path / "a.csv").write_bytes("anchor,positive,negative\ncafé,é,à\n".encode("cp1252"))
    with pytest.raises(InputError, match="is in cp1252, which has no place for '→'"):
        rewritten(tmp_path / "a.csv", {0: {"negative": "to → there"}}, encoding="cp1252")
