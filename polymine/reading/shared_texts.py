"""Tables in which texts repeat, with each text in memory once.

A string of polars is a view of 16 bytes on a buffer. Rows that are filtered, sorted, joined or
gathered share the buffers of the texts that they are taken from; what reads a file, joins columns
to lists or strips blanks writes every text anew. So a table is read a piece at a time, its texts
are numbered, and it is put together from the distinct ones. Numbers also take the place of texts
where several columns are sorted, grouped or compared at once: polars would write out whole rows.
"""

from collections.abc import Iterable, Iterator, Sequence
from functools import partial
from itertools import chain
from pathlib import Path

import polars as pl
import polars.selectors as cs
from pyarrow import parquet

PIECE = 262_144  # rows read at a time, at most: a row group as polars writes it
_NUMBERED = pl.UInt32


def read_parquet(paths: Path | Sequence[Path]) -> pl.DataFrame:
    """Read Parquet files of one schema as one table, each of its texts once.

    Args:
        paths: of the files, in order.

    Returns:
        What `polars.read_parquet` does.
    """
    files = [paths] if isinstance(paths, Path) else paths
    return share_texts(chain.from_iterable(map(_pieces, files)))


def share_texts(tables: Iterable[pl.DataFrame]) -> pl.DataFrame:
    """Concatenate tables, each of their texts once.

    Args:
        tables: of one schema, one at least; each is let go before the next is asked for.

    Returns:
        Equal rows in their order. Strings and lists of them are shared, deeper ones are not.
    """
    kind = pl.Categorical(pl.Categories.random("texts"))
    # What is gathered from a column of several chunks would be written anew.
    coded = pl.concat(map(partial(_categories, kind), tables), rechunk=True)
    names = [name for name in coded.columns if coded.schema[name] in (kind, pl.List(kind))]
    return put_texts(*_numbers(coded, names, kind), names)


def number_texts(table: pl.DataFrame, names: Sequence[str]) -> tuple[pl.DataFrame, pl.Series]:
    """Put numbers in the place of texts.

    Args:
        table: with columns `names` of strings or lists of strings.
        names: of the columns that are numbered, all from the same texts.

    Returns:
        The table, and the texts by their number: distinct, in ascending order.
    """
    kind = pl.Categorical(pl.Categories.random("texts"))
    coded = table.with_columns(_categories(kind, table.select(names)))
    numbers, texts = _numbers(coded, names, kind)
    order = texts.arg_sort()
    place = order.arg_sort().cast(_NUMBERED)
    return put_texts(numbers, place, names), texts.gather(order)


def put_texts(table: pl.DataFrame, texts: pl.Series, names: Sequence[str]) -> pl.DataFrame:
    """Put texts in the place of their numbers.

    Args:
        table: with columns `names` of numbers or lists of numbers, null where there is no text.
        texts: by their number.
        names: of the columns.

    Returns:
        The table with strings or lists of strings.
    """

    def gathered(numbers: pl.Series) -> pl.Series:
        return texts.gather(numbers)

    def put(name: str) -> pl.Expr:
        if table.schema[name].is_nested():
            each = pl.element().map_batches(gathered, return_dtype=texts.dtype, is_elementwise=True)
            return pl.col(name).list.eval(each)
        return pl.col(name).map_batches(gathered, return_dtype=texts.dtype, is_elementwise=True)

    return table.with_columns(put(name) for name in names)


def join_lists(table: pl.DataFrame, names: Sequence[str]) -> pl.Series:
    """Join the texts of several columns row by row.

    Args:
        table: with columns `names` of strings or lists of strings.
        names: of the columns, in order.

    Returns:
        Lists of strings; a null text stays, a null list counts as empty.
    """
    numbers, texts = number_texts(table.select(names), names)
    listed = [
        pl.col(name).fill_null([]) if table.schema[name].is_nested() else pl.concat_list(name)
        for name in names
    ]
    return put_texts(numbers.select(joined=pl.concat_list(listed)), texts, ["joined"])["joined"]


def _pieces(path: Path) -> Iterator[pl.DataFrame]:
    """Read a Parquet file by its row groups, large ones in parts."""
    table = pl.scan_parquet(path, glob=False, hive_partitioning=False)
    yield pl.DataFrame(schema=table.collect_schema())
    held, start = parquet.read_metadata(path), 0
    for group in range(held.num_row_groups):
        rows = held.row_group(group).num_rows
        size = -(-rows // max(1, -(-rows // PIECE)))
        for first in range(0, rows, max(1, size)):
            yield table.slice(start + first, min(size, rows - first)).collect()
        start += rows


def _categories(kind: pl.Categorical, table: pl.DataFrame) -> pl.DataFrame:
    return table.with_columns(
        cs.string().cast(kind), cs.list(cs.string()).list.eval(pl.element().cast(kind))
    )


def _numbers(
    coded: pl.DataFrame, names: Sequence[str], kind: pl.Categorical
) -> tuple[pl.DataFrame, pl.Series]:
    """The numbers of categories, and their texts; polars forgets them with the last column."""
    numbers = coded.with_columns(
        pl.col(name).list.eval(pl.element().to_physical())
        if coded.schema[name].is_nested()
        else pl.col(name).to_physical()
        for name in names
    )
    each = [numbers[n].explode() if numbers.schema[n].is_nested() else numbers[n] for n in names]
    highest = pl.concat([pl.Series([-1], dtype=pl.Int64), *(one.cast(pl.Int64) for one in each)])
    every = pl.int_range(pl.lit(highest.max()) + 1, dtype=_NUMBERED)
    return numbers, pl.select(every.cat.to(kind).cast(pl.String)).to_series()
