"""Reads the files of one role into one table, noting on the way what is wrong with them."""

from collections.abc import Sequence
from dataclasses import dataclass, field

import polars as pl

from polymine.data_contracts.errors import InputError
from polymine.data_contracts.settings import DatasetSettings
from polymine.mining.input_checks import BROKEN, SOURCE_COLUMN, shape_problems
from polymine.tasks.sources.columns import CORPUS, JUDGMENTS, QUERIES, Role, prepend_titles, rename
from polymine.tasks.sources.files import SourceFile, side_table
from polymine.tasks.sources.formats import read_file
from polymine.tasks.sources.pairs import (
    COLUMNS,
    name_pair_columns,
    pair_problems,
    pair_rows,
    split_broken_pairs,
    tables_of_pairs,
)

Tables = list[pl.DataFrame]  # documents, queries, judgments

_COLUMNS = [CORPUS.columns, QUERIES.columns, JUDGMENTS.columns, COLUMNS]
_READ = frozenset(name for each in _COLUMNS for names in each.values() for name in names)


@dataclass
class Findings:
    """What turned out to be wrong while reading: with whole files, and with lines of them."""

    problems: list[str] = field(default_factory=list)
    broken: list[pl.DataFrame] = field(default_factory=lambda: [pl.DataFrame(schema=BROKEN)])


def read_role(
    files: Sequence[SourceFile], role: Role, settings: DatasetSettings, found: Findings
) -> pl.DataFrame:
    """Concatenate the files of a role under the contract's names, with a column `source_file`."""
    frames = []
    for file in files:
        frame, broken = read_file(file.path, file.name, _READ)
        found.broken.append(broken)
        frame = _filled(rename(frame, role), settings, role)
        problems = shape_problems(frame, role.contract, file.name)
        found.problems += problems
        if not problems:
            frame = _with_groups(_as_strings(frame, role), file, role)
            frames.append(frame.with_columns(pl.lit(file.name).alias(SOURCE_COLUMN)))
    if not frames:
        names = [*role.contract.column_names(), SOURCE_COLUMN]
        return pl.DataFrame(schema=dict.fromkeys(names, pl.String))
    table = pl.concat(frames, how="diagonal_relaxed")
    return prepend_titles(table) if role is CORPUS and settings.title == "prepend" else table


def join_pairs(
    tables: Tables, files: Sequence[SourceFile], settings: DatasetSettings, found: Findings
) -> Tables:
    """Read pair files, and add what they hold to the tables."""
    pairs = []
    for file in files:
        frame, broken = read_file(file.path, file.name, _READ)
        found.broken.append(broken)
        frame = name_pair_columns(frame)
        problems = pair_problems(frame, file.name)
        found.problems += problems
        if not problems:
            whole, broken = split_broken_pairs(frame, file.name)
            found.broken.append(broken)
            pairs.append(pair_rows(whole, file.name, settings.language))
    if not pairs:
        return tables
    added = tables_of_pairs(pl.concat(pairs))
    return [
        pl.concat([table, more], how="diagonal_relaxed") if table.height else more
        for table, more in zip(tables, added, strict=True)
    ]


def _filled(frame: pl.DataFrame, settings: DatasetSettings, role: Role) -> pl.DataFrame:
    """Give rows without a language the data set's; where there is no relevance, it is 1."""
    if role is JUDGMENTS and "relevance" not in frame.columns:  # labels say what they are
        return frame.with_columns(relevance=pl.lit(1))
    if "language" in role.columns and "language" not in frame.columns:
        return frame.with_columns(language=pl.lit(settings.language))
    if "language" in role.columns and frame.schema["language"] in (pl.String, pl.Null):
        return frame.with_columns(pl.col("language").cast(pl.String).fill_null(settings.language))
    return frame


def _as_strings(frame: pl.DataFrame, role: Role) -> pl.DataFrame:
    names = [name for name in role.contract.column_names() if name in frame.columns]
    return frame.select(
        pl.col(name) if name == "relevance" else pl.col(name).cast(pl.String) for name in names
    )


def _with_groups(frame: pl.DataFrame, file: SourceFile, role: Role) -> pl.DataFrame:
    """Take `group_id` from the side table of translations, unless the table has its own."""
    path = side_table(file, role.translations) if role.translations else None
    if path is None or "group_id" in frame.columns:
        return frame
    name = f"{file.name} (group_id from {path.name})"
    side = rename(read_file(path, name, _READ)[0], role)
    key = role.contract.column_names()[0]
    if not {key, "group_id"} <= set(side.columns):
        raise InputError(
            f"{path}: a table of translations needs `{key}` and `group_id` "
            f"(found: {', '.join(side.columns)})"
        )
    side = side.select(pl.col(key, "group_id").cast(pl.String)).unique()
    if repeated := side.filter(pl.col(key).is_duplicated())[key].unique().sort().to_list():
        raise InputError(
            f"{path}: {len(repeated)} ids are in several groups, such as {', '.join(repeated[:3])}"
        )
    return frame.join(side, on=key, how="left", maintain_order="left")
