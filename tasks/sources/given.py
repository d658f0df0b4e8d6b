"""Tables that are given in Python, written to files: then they are read as any other file is.

So the same names of columns are understood, the same rows refused, and the same content reused.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import polars as pl

from polymine.data_contracts.errors import InputError

Given = Any  # a frame of polars or pandas, Arrow, a datasets.Dataset, a list of dicts, or a source


def as_sources(tables: Mapping[str, Given], folder: Path) -> dict[str, str | list[str]]:
    """Name a source for each table that is given; what is none yet becomes a file in `folder`."""
    sources: dict[str, str | list[str]] = {}
    for name, table in tables.items():
        if isinstance(table, (str, Path)):
            sources[name] = str(table)
        elif isinstance(table, (list, tuple)) and table and isinstance(table[0], (str, Path)):
            sources[name] = [str(each) for each in table]
        elif table is not None:
            folder.mkdir(parents=True, exist_ok=True)
            path = folder / f"{name}.parquet"
            as_frame(table, name).write_parquet(path)
            sources[name] = str(path)
    return sources


def as_frame(table: Given, name: str) -> pl.DataFrame:
    """Bring a table into a polars frame; InputError for what is none."""
    try:
        if isinstance(table, pl.LazyFrame):
            return table.collect()
        if hasattr(table, "to_polars"):  # datasets.Dataset
            table = table.to_polars()
        elif isinstance(table, (list, tuple)):
            return pl.DataFrame(table, infer_schema_length=None)
        return table if isinstance(table, pl.DataFrame) else pl.DataFrame(table)
    except (TypeError, ValueError, pl.exceptions.PolarsError) as error:
        raise InputError(
            f"{name}: expected a table: a frame of polars or pandas, Arrow, a datasets.Dataset, a "
            f"list of dicts or the name of a file; got {type(table).__name__} ({error})"
        ) from error
