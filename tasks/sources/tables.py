"""Reads the files of one role into one table, noting on the way what is wrong with them."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import polars as pl

from polymine.data_contracts.errors import InputError
from polymine.data_contracts.notes import Understood
from polymine.data_contracts.settings import DatasetSettings, Reading
from polymine.data_contracts.tables import has_text
from polymine.mining.broken_rows import BROKEN, SOURCE_COLUMN, input_error
from polymine.mining.input_checks import shape_problems
from polymine.reading.columns import Taken, take_columns
from polymine.reading.files import read_file
from polymine.reading.pairs import (
    LISTS,
    from_lists,
    pair_rows,
    split_broken,
    tables_of_pairs,
    text_problems,
    with_texts,
)
from polymine.reading.roles import CORPUS, JUDGMENTS, LABELS, PAIRS, PARALLEL, SENTENCES, Role
from polymine.reading.understood import describe, with_values
from polymine.tasks.sources.files import SPLITS, SourceFile, side_table

_REGIONS = (
    "zh-cn",
    "zh-tw",
    "zh-hk",
    "pt-br",
    "pt-pt",
    "en-us",
    "en-gb",
    "en-au",
    "es-mx",
    "es-es",
    "fr-fr",
    "de-de",
    "de-at",
    "de-ch",
)  # and no second language
_SAID = 20  # files that the log describes; a manifest lists all
logger = logging.getLogger("polymine.sources")


@dataclass
class Findings:
    """What was found while reading: what files are, what is wrong with them and with their rows."""

    problems: list[str] = field(default_factory=list)
    broken: list[pl.DataFrame] = field(default_factory=lambda: [pl.DataFrame(schema=BROKEN)])
    understood: list[Understood] = field(default_factory=list)

    def check(self, hints: Reading) -> pl.DataFrame:
        """Say what was understood; raise InputError for all that is wrong, or return broken rows.

        Broken rows are wrong with `on_invalid = "fail"`; so is a column that no file has, always.
        """
        for each in self.understood[:_SAID]:
            logger.log(logging.WARNING if each.by_position else logging.INFO, "%s", describe(each))
        if len(self.understood) > _SAID:
            logger.info("and %s more files", f"{len(self.understood) - _SAID:,}")
        used = {column for each in self.understood for _, column in each.columns}
        there = {column for each in self.understood for column in each.ignored}
        problems = self.problems + [
            f"columns.{key}: "
            + (
                f"`{column}` is there, and files of this kind have no `{key}`"
                if column in there
                else f"no file has a column `{column}`"
            )
            for key, column in hints.columns.items()
            if column and column not in used and not self.problems
        ]
        broken = pl.concat(self.broken)
        if problems or (broken.height and hints.on_invalid == "fail"):
            raise input_error(problems, broken)
        return broken


def read_table(
    file: SourceFile,
    role: Role,
    hints: Reading,
    found: Findings,
    documents: pl.DataFrame | None = None,
) -> Taken | None:
    """Read one file under its role's names; None, and its problems noted, where it is none."""
    table = read_file(file.path, file.name, role, hints)
    listed: list[str] = []
    found.broken.append(table.broken)
    if role.is_pairs:
        parted = from_lists(table.rows, file.name, hints.grades)
        listed = [name for name in table.rows.columns if name not in parted.columns]
        rows = with_texts(parted, documents, file.name)
        table = replace(table, rows=rows)
    taken = take_columns(table, role, hints)
    if listed:
        named = [each for each in taken.understood.columns if each[0] == "anchor"]
        texts, labels = sorted(listed, key=lambda name: name.lower() in LISTS[1])
        meant = (("positive", texts), ("negative", texts), ("relevance", labels))
        about = replace(taken.understood, columns=(*named, *meant))
        taken = replace(taken, understood=about)
    found.problems += taken.problems
    return None if taken.problems else taken


def read_role(
    files: Sequence[SourceFile], role: Role, settings: DatasetSettings, found: Findings
) -> pl.DataFrame:
    """Concatenate the files of a role under the contract's names, with a column `source_file`."""
    assert role.contract is not None
    frames = []
    for file in files:
        taken = read_table(file, role, settings, found)
        if taken is None:
            continue
        frame = _filled(taken.rows, settings, role)
        problems = shape_problems(frame, role.contract, file.name)
        found.problems += problems
        if not problems:
            frame = _with_groups(_as_strings(frame, role), file, role)
            found.understood.append(with_values(taken.understood, frame))
            frames.append(_within(frame, file).with_columns(pl.lit(file.name).alias(SOURCE_COLUMN)))
    if not frames:
        names = [*role.contract.column_names(), SOURCE_COLUMN]
        return pl.DataFrame(schema=dict.fromkeys(names, pl.String))
    table = pl.concat(frames, how="diagonal_relaxed")
    return prepend_titles(table) if role is CORPUS and settings.title == "prepend" else table


def read_texts(
    files: Sequence[SourceFile],
    role: Role,
    hints: Reading,
    found: Findings,
    numbers: Sequence[str] = ("relevance",),
    documents: pl.DataFrame | None = None,
    scored: bool = False,
) -> list[tuple[str, pl.DataFrame]]:
    """Read files of texts without ids: pairs, triplets, parallel texts, labelled sentences.

    Returns each file's name and whole rows; columns named in `numbers` hold numbers. What is wrong
    is noted. `documents` are what pairs by ids name. Rows are of the split that `hints` name, if a
    file or column says which they are of; `scored` is of sets to measure by, in which a row without
    a score is broken, and which may be taken whole.
    """
    tables = []
    if role.is_pairs or role in (PARALLEL, SENTENCES):
        files = of_split(files, hints.split, found)
    for file in files:
        taken = read_table(file, role, hints, found, documents)
        if taken is None:
            continue
        problems = text_problems(taken.rows, role, file.name, numbers)
        found.problems += problems
        if not problems:
            found.problems += [] if role is SENTENCES else _two_languages(taken.rows, file.name)
            rows = _with_sides(taken.rows, role)
            rows = _of_column(rows, file, hints.split, found, ask=not scored)
            whole, broken = split_broken(rows, role, file.name, numbers, scored=scored)
            found.broken.append(broken)
            found.understood.append(with_values(taken.understood, whole))
            tables.append((file.name, whole))
    split = hints.split
    told = any(file.split for file in files) or any("split" in t.columns for _, t in tables)
    if split is not None and tables and not told and not scored:
        found.problems.append(
            f"split: no folder and no column `split` says which rows are of {split!r}"
        )
    return tables


def of_split(
    files: Sequence[SourceFile], split: str | None, found: Findings, ask: bool = True
) -> list[SourceFile]:
    """Files of one split, where their names tell; what is for testing is asked about, not read."""
    first: dict[str, str] = {}
    for file in files:
        first.setdefault(file.split, file.name)
    first.pop("", None)
    if split in first:
        return [file for file in files if file.split in (split, "")]
    shown = ", ".join(f"`{name}`" for name in first.values())
    if split is not None and first:
        found.problems.append(f"split: there is no {split!r} among {shown}")
    elif len(first) > 1 and ask:
        found.problems.append(
            f"a folder holds {' and '.join(sorted(first))} ({shown}); say which is meant, as "
            '`split = "train"`, or list them all if they are'
        )
    return list(files)


def _of_column(
    rows: pl.DataFrame, file: SourceFile, split: str | None, found: Findings, ask: bool
) -> pl.DataFrame:
    """Rows of one split, where a column says which each is of; a set may be measured whole."""
    if "split" not in rows.columns:
        return rows
    named = pl.col("split").cast(pl.String).str.strip_chars()
    there = rows.select(named).to_series().unique().drop_nulls()
    if split is not None:
        same = there.filter(there.str.to_lowercase() == split.lower())
        split = same[0] if split not in there and len(same) == 1 else split
        if split not in there:
            shown = ", ".join(there.sort()[:5])
            found.problems.append(f"{file.name}: `split` has no {split!r}; it has {shown}")
        return rows.filter(named == split)
    if ask and len(there) > 1 and set(there.str.to_lowercase()) <= SPLITS:
        found.problems.append(
            f"{file.name}: column `split` holds {', '.join(there.sort())}; say which is meant, as "
            '`split = "train"`, or that it means nothing: `[dataset.columns] split = ""`'
        )
    return rows


def _two_languages(rows: pl.DataFrame, name: str) -> list[str]:
    """A column that names both languages of a pair, as `en-fr`, is no code of either."""
    if "language" not in rows.columns or rows.schema["language"] != pl.String:
        return []
    written = rows["language"].drop_nulls()
    written = written.filter(~written.is_in(_REGIONS))
    both = written.filter(
        written.str.contains(r"^([a-z]{2}[-_>]+[a-z]{2}|[a-z]{3}[-_>]+[a-z]{3})$")
    )
    if both.is_empty():
        return []
    return [
        f"{name}: `language` holds {both[0]}, which may be two languages, or a region; name each "
        "side's in a column of its own (`query_language` and `document_language`, or `lang_a` and "
        '`lang_b`), write regions in capitals, or leave it out: `[dataset.columns] language = ""`'
    ]


def _with_sides(rows: pl.DataFrame, role: Role) -> pl.DataFrame:
    """Parallel texts of one language, which one column names for both."""
    if role is not PARALLEL or "language" not in rows.columns:
        return rows
    lacking = [side for side in ("lang_a", "lang_b") if side not in rows.columns]
    return rows.with_columns(pl.col("language").alias(side) for side in lacking).drop("language")


def read_pairs(
    files: Sequence[SourceFile],
    settings: DatasetSettings,
    documents: pl.DataFrame,
    found: Findings,
) -> tuple[pl.DataFrame, ...] | None:
    """Read pair files as documents, queries, judgments and given negatives; None without any."""
    tables = read_texts(files, PAIRS, settings, found, documents=documents)
    known = documents.filter(pl.col("doc_id") != pl.col("text"))["doc_id"].implode()
    for name, whole in tables:
        texts = whole["positive"]
        texts = texts.explode() if texts.dtype == pl.List else texts
        if documents.height and whole.height and texts.is_in(known).all():
            found.problems.append(
                f"{name}: `positive` holds ids of the corpus, as {texts[0]}, and pairs are texts; "
                "name the file as `judgments`, with `query_id` and `doc_id`, beside `queries`"
            )
    rows = [pair_rows(whole, name, settings.language) for name, whole in tables]
    return tables_of_pairs(pl.concat(rows)) if rows else None


def prepend_titles(documents: pl.DataFrame) -> pl.DataFrame:
    """Start each text with its title, where there is one; of an empty text it is all there is."""
    if "title" not in documents.columns:
        return documents
    title, text = pl.col("title"), pl.col("text")
    titled = pl.when(has_text("text")).then(title + " " + text).when(text.is_not_null()).then(title)
    return documents.with_columns(
        text=pl.when(title.is_null()).then(text).otherwise(titled.str.strip_chars())
    )


def read_side(path: Path, name: str, role: Role) -> pl.DataFrame:
    """Read a table that stands beside others, under its role's names, without a broken row."""
    table = read_file(path, name, role, Reading())
    if table.broken.height:
        raise input_error([], table.broken)
    return take_columns(table, role, Reading()).rows


def _filled(frame: pl.DataFrame, settings: DatasetSettings, role: Role) -> pl.DataFrame:
    """Give rows without a language the data set's; where there is no relevance, it is 1."""
    if role is JUDGMENTS and "relevance" not in frame.columns:  # labels say what they are
        return frame.with_columns(relevance=pl.lit(1))
    if role is LABELS and "relevance" in frame.columns:  # a list may be filled in in part
        given = pl.col("relevance").cast(pl.String).str.strip_chars() != ""
        filled = frame.filter(given.fill_null(value=False))
        if len(filled) < len(frame):
            logger.info("labels: %s of %s rows are filled in", len(filled), len(frame))
        return filled
    if "language" in role.columns and "language" not in frame.columns:
        return frame.with_columns(language=pl.lit(settings.language))
    if "language" in role.columns and frame.schema["language"] in (pl.String, pl.Null):
        return frame.with_columns(pl.col("language").cast(pl.String).fill_null(settings.language))
    return frame


def _as_strings(frame: pl.DataFrame, role: Role) -> pl.DataFrame:
    assert role.contract is not None
    names = [name for name in role.contract.column_names() if name in frame.columns]
    return frame.select(
        pl.col(name) if name == "relevance" else pl.col(name).cast(pl.String) for name in names
    )


def _within(frame: pl.DataFrame, file: SourceFile) -> pl.DataFrame:
    """Tell the ids of one of several collections in a folder from those of the others."""
    if not file.part:
        return frame
    ids = [name for name in ("doc_id", "query_id") if name in frame.columns]
    return frame.with_columns(pl.format(f"{file.part}/{{}}", name).alias(name) for name in ids)


def _with_groups(frame: pl.DataFrame, file: SourceFile, role: Role) -> pl.DataFrame:
    """Take `group_id` from the side table of translations, unless the table has its own."""
    path = side_table(file, role.translations) if role.translations else None
    if path is None or "group_id" in frame.columns:
        return frame
    assert role.contract is not None
    side = read_side(path, f"{file.name} (group_id from {path.name})", role)
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
