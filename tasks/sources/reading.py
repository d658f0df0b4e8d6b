"""Reads what `[dataset]` names into three raw tables with Polymine's column names.

| a source | is read as |
|---|---|
| `corpus.parquet`, `.arrow`, `.csv`, `.tsv`, `.jsonl`, `.json`; `.txt`, `.qrels` and `.trec` for \
TREC's judgments and rankings (text also with `.gz`) | one file |
| a folder | its files named for the role (`corpus.*`, `queries.*`, `qrels.*` or `qrels/*`), \
or else all of its files |
| `hf://datasets/ORG/NAME[@REVISION][/PATH]`, `s3://...`, any fsspec URL | as a file or folder |
| a folder as `corpus` alone | all three roles (BEIR's layout), with all splits of the judgments; \
of several such folders in one (CQADupStack) all, with the folder's name before each id |
| `demo:docstrings` as `corpus` alone | docstrings of the installed libraries |

To take one split of a BEIR folder, name the three files. In the folder of a corpus or queries file,
`translations.*` (doc_id, group_id) and `query_translations.*` (query_id, group_id) say what
translates what; they are used where a table has no `group_id` of its own.

Only what belongs to reading is decided here: names, kinds, fillers. Whether the rows are any good
is for `polymine.mining.ingestion`.
"""

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace

import dataframely as dy
import polars as pl

from polymine.data_contracts.errors import InputError
from polymine.data_contracts.notes import Understood
from polymine.data_contracts.references import fingerprint
from polymine.data_contracts.settings import DatasetSettings, Reading, Source
from polymine.data_contracts.tables import Rejected
from polymine.mining.broken_rows import input_error, rejected_rows
from polymine.mining.input_checks import Checked, OnInvalid, check_tables
from polymine.reading.files import suffix_of
from polymine.reading.languages import DETECT, detect_languages, detector
from polymine.reading.pairs import GIVEN
from polymine.reading.roles import CANDIDATES, CORPUS, LABELS, QUERIES, TABLES, Role
from polymine.tasks.sources.demo_data import demo_versions, docstring_tables
from polymine.tasks.sources.files import SourceFile, digest, fetch, side_table
from polymine.tasks.sources.tables import Findings, of_split, read_pairs, read_role

VERSION = 6  # of the reading; raise it when the same files come to give other tables
DEMO = "demo:docstrings"


@dataclass(frozen=True)
class RawTables:
    """Tables as they were read: names and id types put right, nothing else checked.

    Args:
        documents: doc_id, text, title?, language, group_id?, and `source_file` for errors.
        queries: query_id, text, language, group_id?, likewise.
        judgments: query_id, doc_id, relevance, likewise.
        labels: the same, or None where the settings name none.
        fingerprint: of everything that was read; equal to `fingerprint_sources(settings)`.
        names: what errors call the five tables.
        rows_rejected: lines that could not even be read; empty unless in quarantine.
        given: query_id, doc_id of the candidates that files give: negatives of pair files, and
            rankings; None where there are none.
        understood: what each file was taken for.
        splits: of the judgments that were read, where names of their files say so.
        detected: of documents and queries, how many texts were found to be in which language.
    """

    documents: pl.DataFrame
    queries: pl.DataFrame
    judgments: pl.DataFrame
    labels: pl.DataFrame | None
    fingerprint: str
    names: tuple[str, ...]
    rows_rejected: dy.DataFrame[Rejected]
    given: pl.DataFrame | None = None
    understood: tuple[Understood, ...] = ()
    splits: tuple[str, ...] = ()
    detected: dict[str, dict[str, int]] = field(default_factory=dict)


def read_sources(settings: DatasetSettings) -> RawTables:
    """Read all tables of a data set.

    Raises InputError for a source that is not there or unreadable, for missing columns, and, with
    `on_invalid = "fail"`, for lines that cannot be read; all of them at once, with file names.
    """
    if settings.corpus == DEMO:
        documents, queries, judgments = docstring_tables()
        names: tuple[str, ...] = (DEMO,) * 5
        for name in ("labels", "candidates"):
            if getattr(settings, name) is not None:
                raise InputError(f"dataset.{name}: `{DEMO}` brings no ids to name")
        nothing = Rejected.create_empty()
        version = fingerprint_sources(settings)
        return RawTables(documents, queries, judgments, None, version, names, nothing)
    found = Findings()
    with _located(settings) as files:
        tables = [read_role(files[role.name], role, settings, found) for role in TABLES]
        pairs = read_pairs(files["pairs"], settings, tables[0], found)
        labels, given = (
            read_role(files[role.name], role, settings, found) if files[role.name] else None
            for role in (LABELS, CANDIDATES)
        )
        version = _fingerprint(settings, files)
        named = _names(files)
        splits = sorted({file.split for file in files["judgments"]} - {""})
    rejected = rejected_rows(found.check(settings))
    if pairs is not None:
        *added, negatives = pairs
        given = negatives if given is None else pl.concat([negatives, given], how="diagonal")
        tables = [
            pl.concat([table, more], how="diagonal_relaxed") if table.height else more
            for table, more in zip(tables, added, strict=True)
        ]
    documents, queries, judgments = tables
    documents, of_documents = detect_languages(documents)
    queries, of_queries = detect_languages(queries)
    counts = {"documents": of_documents, "queries": of_queries}
    if given is not None:
        given = given.select(GIVEN).unique(maintain_order=True)  # several systems may find the same
    return RawTables(
        documents, queries, judgments, labels, version, named, rejected, given,
        tuple(found.understood), tuple(splits),
        {role: counted for role, counted in counts.items() if counted},
    )  # fmt: skip


def one_split(raw: RawTables, source: str) -> None:
    """Refuse judgments of several splits, where one of them is meant."""
    if len(raw.splits) > 1:
        raise InputError(
            f"{source}: its judgments are of {' and '.join(raw.splits)}; say which are meant, as "
            f'`split = "{raw.splits[-1]}"`'
        )


def read_labels(settings: DatasetSettings) -> pl.DataFrame:
    """Read the labels of a data set alone: query_id, doc_id, relevance, as a file gives them."""
    found = Findings()
    with ExitStack() as stack:
        files = [
            file
            for named in _sources(settings.labels)
            for file in stack.enter_context(fetch(named))
        ]
        labels = read_role(files, LABELS, settings, found)
    found.check(settings)
    return labels


def check_raw(raw: RawTables, on_invalid: OnInvalid) -> Checked:
    """Check the rows of tables as mining does, without merging or closing anything.

    Raises InputError for rows that break a contract, unless they are to be set aside.
    """
    tables = (raw.documents, raw.queries, raw.judgments, raw.labels, raw.given)
    checked = check_tables(*tables, on_invalid=on_invalid, names=raw.names)
    rejected = pl.concat([raw.rows_rejected, checked.rejected])
    return replace(checked, rejected=Rejected.validate(rejected))


def fingerprint_sources(settings: DatasetSettings) -> str:
    """Hash what `read_sources` would read, without reading it into tables.

    Covers the bytes of all files (of remote ones after fetching them) and the settings that
    decide how they are read; of their names only the format.
    """
    if settings.corpus == DEMO:
        return fingerprint(version=VERSION, demo=demo_versions())
    with _located(settings) as files:
        return _fingerprint(settings, files)


@contextmanager
def _located(settings: DatasetSettings) -> Iterator[dict[str, list[SourceFile]]]:
    """Files of each key of `[dataset]` that names some, on this machine."""
    together = settings.pairs is None and settings.queries is None
    with ExitStack() as stack:
        listed: dict[str, list[SourceFile]] = {}
        files: dict[str, list[SourceFile]] = {}
        for role in TABLES:
            named = settings.corpus if together else getattr(settings, role.name)
            files[role.name] = []
            for source in _sources(named):
                if source not in listed:
                    listed[source] = stack.enter_context(fetch(source))
                files[role.name] += _for_role(listed[source], source, role, together)
        found = Findings()
        files["judgments"] = of_split(files["judgments"], settings.split, found, ask=False)
        if found.problems:  # columns are looked for once there are tables
            raise input_error(found.problems, pl.concat(found.broken))
        for name in ("pairs", "labels", "candidates"):
            files[name] = []
            for source in _sources(getattr(settings, name)):
                files[name] += stack.enter_context(fetch(source))
        yield files


def _sources(named: Source | None) -> list[str]:
    sources = [named] if isinstance(named, str) else named or []
    if not sources and named is not None:
        raise InputError("an empty list of files; name at least one")
    for source in sources:
        if source.startswith("demo:"):
            raise InputError(f"{source}: the only demo is `{DEMO}`, given as `corpus` alone")
    return sources


def _for_role(files: list[SourceFile], source: str, role: Role, together: bool) -> list[SourceFile]:
    """Of a source's files those for one role; of a folder without any roles, all files."""
    if len(files) == 1 and files[0].name == source and not together:
        return files
    wanted = [file for file in files if file.role in role.files]
    roles = {name for each in TABLES for name in each.files}
    if not wanted and (together or any(file.role in roles for file in files)):
        found = ", ".join(file.name for file in files[:5])
        raise InputError(
            f"{source}: no {role.name} in it, expected {' or '.join(role.files)} (found: {found})"
        )
    return wanted or files


def _fingerprint(settings: DatasetSettings, files: dict[str, list[SourceFile]]) -> str:
    parts: dict[str, list[str]] = {}
    for name, listed in files.items():
        parts[name] = [digest(file.path) + suffix_of(file.path) for file in listed]
    for role in (CORPUS, QUERIES):
        sides = [side_table(file, role.translations or "") for file in files[role.name]]
        parts[f"{role.name}_groups"] = [digest(path) if path else "" for path in sides]
    said = settings.model_dump(mode="json", include=set(Reading.model_fields) - {"on_invalid"})
    language = detector() if settings.language == DETECT else settings.language
    folders = {name: [file.part for file in listed] for name, listed in files.items()}
    return fingerprint(
        version=VERSION, title=settings.title, language=language, files=parts, said=said,
        folders=folders,
    )  # fmt: skip


def _names(files: dict[str, list[SourceFile]]) -> tuple[str, ...]:
    corpus, queries, judgments = (
        [file.name for file in files[role.name]] + [file.name for file in files["pairs"]]
        for role in TABLES
    )
    labels = [file.name for file in files["labels"]]
    given = [file.name for name in ("pairs", "candidates") for file in files[name]]
    return tuple(map(_summary, (corpus, queries, judgments, labels, given)))


def _summary(names: Sequence[str]) -> str:
    if len(names) < 3:
        return " and ".join(names)
    return f"{names[0]} and {len(names) - 1} more"
