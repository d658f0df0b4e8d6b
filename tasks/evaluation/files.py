"""Reads the files of an evaluation set that is no retrieval: pairs, sentences, side tables."""

from collections.abc import Sequence

import polars as pl

from polymine.data_contracts.errors import SettingsError
from polymine.data_contracts.notes import Understood
from polymine.data_contracts.settings import EvaluationSet
from polymine.mining.broken_rows import rejected_rows
from polymine.reading.languages import DETECT
from polymine.reading.roles import PARALLEL, SENTENCES, SPLITS, Role
from polymine.tasks.sources.files import SPLITS as SPLIT_NAMES
from polymine.tasks.sources.files import SourceFile, fetch
from polymine.tasks.sources.tables import Findings, read_side, read_texts

UNKNOWN = "und"  # the language of rows of which nobody says it
_LANGUAGES = {"pairs": ("lang_a", "lang_b"), "sentences": ("language",)}


def names_retrieval(path: str) -> bool:
    """Whether a source is documents and queries; what is elsewhere is fetched to look."""
    with fetch(path) as files:
        return not {"corpus", "queries"}.isdisjoint(file.role for file in files)


def tables_of(chosen: EvaluationSet) -> tuple[dict[str, pl.DataFrame], tuple[Understood, ...]]:
    """Read the pairs or sentences of a folder, or one file of pairs, and `rejected` rows.

    Also says what each file was taken for.

    Where a table lacks a column of languages, all of its rows are in the set's language, if that
    is known; where it lacks ids, rows are numbered.
    """
    assert chosen.path is not None
    found = Findings()
    with fetch(chosen.path) as files:
        roles: dict[str, list[SourceFile]] = {}
        for file in files:
            single = len(files) == 1 and file.role != "sentences"
            parts = all(each.role in SPLIT_NAMES for each in files)  # test-00000-of-00001 ...
            roles.setdefault("pairs" if single or parts else file.role, []).append(file)
        tables = {
            name: _whole(roles[name], role, chosen, found)
            for name, role in (("pairs", PARALLEL), ("sentences", SENTENCES))
            if name in roles
        }
        for file in roles.get("splits", []):
            tables["splits"] = read_side(file.path, file.name, SPLITS)
    tables |= {name: pl.DataFrame() for name in roles.keys() - tables.keys()}
    tables["rejected"] = rejected_rows(found.check(chosen))
    return tables, tuple(found.understood)


def _whole(
    files: Sequence[SourceFile], role: Role, chosen: EvaluationSet, found: Findings
) -> pl.DataFrame:
    if chosen.grades is not None:
        raise SettingsError(
            f"evaluation.sets.{chosen.name}: `grades` say which judgments are relevant, and these "
            f"are {role.name}: leave them out"
        )
    if chosen.language == DETECT:
        raise SettingsError(
            f"evaluation.sets.{chosen.name}: languages are detected of documents and queries, and "
            f"these are {role.name}: name their `language`, or a column of it"
        )
    frames = [
        frame
        for _, frame in read_texts(files, role, chosen, found, numbers=("score",), scored=True)
    ]
    table = pl.concat(frames, how="diagonal_relaxed") if frames else pl.DataFrame()
    if chosen.split in {file.split for file in files} and "split" not in table.columns:
        table = table.with_columns(split=pl.lit(chosen.split))  # only these were read
    if "id" in table.columns and not table.schema["id"].is_nested():
        table = table.with_columns(pl.col("id").cast(pl.String))
    if "id" not in table.columns:
        table = table.with_columns(id=pl.int_range(1, pl.len() + 1).cast(pl.String))
    if "label" in table.columns and table["label"].null_count() == table.height:
        table = table.drop("label")
    sides, language = _LANGUAGES[role.name], pl.lit(chosen.language)
    there = [name for name in sides if name in table.columns]
    table = table.with_columns(pl.col(name).cast(pl.String).fill_null(language) for name in there)
    if chosen.language != UNKNOWN:
        table = table.with_columns(language.alias(name) for name in sides if name not in there)
    return table
