"""Shared texts: the same tables, with each text in memory once."""

import polars as pl
import pytest
from polars.testing import assert_frame_equal

from polymine.reading import shared_texts
from polymine.reading.shared_texts import (
    join_lists,
    number_texts,
    put_texts,
    read_parquet,
    share_texts,
)

LONG = "a text that is too long to stand in a view "
TABLE = pl.DataFrame(
    {
        "id": [1, 2, 3, 4],
        "text": [LONG + "b", None, "", LONG + "a"],
        "texts": [[LONG + "a", None, ""], [], None, [LONG + "b"]],
        "scores": [[1.0], [], None, [2.0, 3.0]],
    }
)


def buffers(texts: pl.Series) -> int:
    """Bytes that the texts of a column lie in, each buffer once."""
    chunk = texts.rechunk().to_arrow(compat_level=pl.CompatLevel.newest())
    return sum(buffer.size for buffer in chunk.buffers()[2:] if buffer)


@pytest.mark.parametrize("piece", [1, 3, 100])
def test_equal_tables(piece, tmp_path, monkeypatch):
    monkeypatch.setattr(shared_texts, "PIECE", piece)
    assert_frame_equal(share_texts([TABLE.head(1), TABLE.tail(3)]), TABLE)
    TABLE.write_parquet(tmp_path / "a[1].parquet")
    assert_frame_equal(read_parquet(tmp_path / "a[1].parquet"), TABLE)
    assert_frame_equal(read_parquet([tmp_path / "a[1].parquet"] * 2), pl.concat([TABLE, TABLE]))


@pytest.mark.parametrize("rows", [TABLE.clear(), TABLE.select("id"), TABLE[2:3]])
def test_tables_without_texts(rows, tmp_path):
    assert_frame_equal(share_texts([rows]), rows)
    rows.write_parquet(tmp_path / "t.parquet")
    assert_frame_equal(read_parquet(tmp_path / "t.parquet"), rows)


def test_numbers_stand_in_the_order_of_the_texts():
    table = pl.DataFrame(
        {"a": ["é", "b", None, "a\0", "a"], "b": [["c"], [None, "Z"], [], None, []]}
    )
    numbers, texts = number_texts(table, ["a", "b"])
    assert texts.to_list() == sorted(["é", "b", "a\0", "a", "c", "Z"], key=str.encode)
    assert numbers["a"].to_list() == [5, 3, None, 2, 1]
    assert numbers["b"].to_list() == [[4], [None, 0], [], None, []]
    assert_frame_equal(put_texts(numbers, texts, ["a", "b"]), table)


def test_lists_are_joined_in_the_order_of_the_columns():
    joined = join_lists(TABLE, ["texts", "text"])
    assert joined.to_list() == [
        [LONG + "a", None, "", LONG + "b"], [None], [""], [LONG + "b", LONG + "a"],
    ]  # fmt: skip


def test_a_text_that_repeats_is_in_memory_once():
    texts = [f"{LONG} {n % 10}" * 100 for n in range(1000)]
    once = sum(len(text) for text in texts[:10])
    pieces = [
        pl.DataFrame({"a": texts[i : i + 100], "b": texts[i : i + 100]})
        for i in range(0, 1000, 100)
    ]
    shared = share_texts(pieces)
    assert buffers(shared["a"]) < 2 * once
    assert buffers(shared.sort("b", descending=True).filter(pl.col("b") > "")["b"]) < 2 * once
    assert buffers(join_lists(shared, ["a", "b"]).explode()) < 2 * once
