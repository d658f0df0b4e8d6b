"""Reads the files of an evaluation set that is no retrieval: pairs, sentences, side tables."""

from pathlib import Path

import polars as pl

from polymine.data_contracts.errors import InputError
from polymine.tasks.sources.files import SourceFile, fetch
from polymine.tasks.sources.formats import read_file

UNKNOWN = "und"  # the language of rows of which nobody says it
_LANGUAGES = {"pairs": ("lang_a", "lang_b"), "sentences": ("language",)}


def names_retrieval(path: str) -> bool:
    """Whether a source is documents and queries; what is elsewhere is fetched to look."""
    with fetch(path) as files:
        return not {"corpus", "queries"}.isdisjoint(file.role for file in files)


def tables_of(path: str, language: str) -> dict[str, pl.DataFrame]:
    """Read the pairs or sentences of a folder, or one file of pairs.

    Where a table lacks a column of languages, all of its rows are in `language`, if that is known.
    """
    with fetch(path) as files:
        tables = {}
        for file in files:
            role = _role(file, len(files))
            table = whole(file.path, file.name)
            if role == "pairs":
                table = _with_scores(table, file.name)
            if language != UNKNOWN:
                lacking = set(_LANGUAGES.get(role, ())) - set(table.columns)
                table = table.with_columns(pl.lit(language).alias(name) for name in sorted(lacking))
            tables[role] = table
    return tables


def _role(file: SourceFile, files: int) -> str:
    return "pairs" if files == 1 and file.role != "sentences" else file.role


def whole(path: Path, name: str) -> pl.DataFrame:
    """Read a file that must not have a line that cannot be read."""
    known = frozenset(("id", "text_a", "lang_a", "text_b", "lang_b", "score", "text", "label"))
    frame, broken = read_file(path, name, known)
    if broken.height:
        raise InputError(
            f"{name}: {broken.height} lines cannot be read, the first: {broken.row(0)!r:.200}"
        )
    return frame


def _with_scores(pairs: pl.DataFrame, name: str) -> pl.DataFrame:
    """Read scores as numbers; empty ones are none, and anything else is refused."""
    if "score" not in pairs.columns:
        return pairs
    if pairs.schema["score"] != pl.String and not pairs.schema["score"].is_numeric():
        raise InputError(f"{name}: `score` holds {pairs.schema['score']}; numbers are expected")
    written = pairs["score"].cast(pl.String).str.strip_chars().replace("", None)
    scores = written.cast(pl.Float64, strict=False)
    wrong = written.filter(written.is_not_null() & ~scores.is_finite().fill_null(False))
    if len(wrong):
        raise InputError(
            f"{name}: {len(wrong)} of {len(written)} scores are no numbers, such as {wrong[0]!r}; "
            "give every pair a number, or leave the column out"
        )
    return pairs.with_columns(scores.alias("score"))
