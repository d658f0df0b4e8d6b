"""The kinds of teachers: what each needs before it ranks, and how it is opened over that.

A further kind is a class here and a line in `KINDS`; its name stands in `TeacherSettings.kind`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from functools import lru_cache, partial
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import polars as pl

from polymine import models
from polymine.data_contracts.errors import InputError
from polymine.data_contracts.references import CollectionRef, DatasetRef
from polymine.data_contracts.settings import EngineSettings, MiningSettings, TeacherSettings
from polymine.mining.bm25 import LexicalTeacher
from polymine.mining.dense import DenseTeacher, longest
from polymine.mining.hashing import hash_texts
from polymine.mining.known import Ids, Known
from polymine.mining.lexical import build_index
from polymine.mining.teachers import Rows, Teacher
from polymine.tasks.engine.context import Context
from polymine.tasks.engine.plan import Maker, Plan, cut
from polymine.tasks.engine.stage import stage
from polymine.tasks.mining.embedding import embed
from polymine.tasks.store.datasets import Dataset, load, open_folder, scan
from polymine.tasks.store.vectors import open_vectors

VERSION = 3
Inputs = Mapping[str, DatasetRef]  # "<teacher>/queries", "<teacher>/documents", "<teacher>/index"


@stage("index", "index-{teacher.name}")
def index(run: Context, teacher: TeacherSettings, documents: DatasetRef) -> Plan:
    """Build the BM25 index of the corpus."""

    def make(*_: object) -> Callable[[Dataset], None]:
        built = build_index(load(documents)["text"].to_list(), teacher.k1, teacher.b)
        return partial(_save, built)

    return Plan(
        contract="index",
        depends={"version": VERSION, "documents": documents, "k1": teacher.k1, "b": teacher.b},
        open=lambda _: Maker(make),
        resumable=False,
    )


def _save(built: Any, dataset: Dataset) -> None:
    with dataset.staging() as folder:
        built.save(folder, show_progress=False)


def inputs_of(inputs: Inputs, teacher: TeacherSettings) -> Inputs:
    """Take what belongs to one teacher."""
    return {key: ref for key, ref in inputs.items() if key.startswith(f"{teacher.name}/")}


def blocks_of(collection: CollectionRef, engine: EngineSettings) -> dict[int, int]:
    """Cut the queries into the blocks that stages work on."""
    return cut(collection.queries.rows, engine.shard_queries)


def check_models(mining: MiningSettings) -> None:
    """Find every model of a run, before hours of work end at the validator's misspelt name.

    Raises ModelError for one that is not there, or cannot be called as the settings say.
    """
    for call in (*mining.teachers, mining.validation):
        if call is not None:
            models.check_call(call)


def check_languages(collection: CollectionRef, mining: MiningSettings) -> None:
    """Refuse a language that no document is in: there would be nothing to choose from.

    Raises InputError, which names the languages of the corpus.
    """
    counts = scan(collection.documents).group_by("language").len().collect()
    held = dict(counts.sort("len", "language", descending=[True, False]).rows())
    if unknown := [language for language in mining.languages or () if language not in held]:
        known = ", ".join(f"{language} ({count:,})" for language, count in list(held.items())[:10])
        raise InputError(
            f"mining.languages: no document is in {', '.join(unknown)}; the corpus holds {known}. "
            "Correct the code, or name the documents' language in a column or `dataset.language`"
        )


class Opened:
    """Row numbers, known pairs and teachers of one data set, opened for a stage's work."""

    def __init__(
        self,
        collection: CollectionRef,
        mining: MiningSettings,
        inputs: Inputs,
        engine: EngineSettings,
    ) -> None:
        self.documents = load(collection.documents)
        self.queries = load(collection.queries)
        self.ids = Ids.from_tables(self.queries, self.documents)
        self._mining, self.inputs, self.engine = mining, inputs, engine
        self.known = Known.from_tables(
            load(collection.closure), self.ids, load(collection.labels), self._given(collection)
        )

    def teacher(self, settings: TeacherSettings) -> Teacher:
        """Open one teacher."""
        return KINDS[settings.kind].open(self, settings.name)

    def teachers(self) -> list[Teacher]:
        """Open all teachers of the run."""
        return [self.teacher(settings) for settings in self._mining.teachers]

    def blocks(self) -> list[Rows]:
        """List the rows of each block of queries."""
        size, rows = self.engine.shard_queries, np.arange(len(self.queries))
        return [rows[start : start + size] for start in range(0, len(rows), size)]

    def same_documents(self, others: pl.DataFrame) -> pl.DataFrame:
        """Ids of the documents that `others` holds with the same text and language."""
        on = ["doc_id", "text", "language"]
        return self.documents.join(others, on=on, how="semi").select("doc_id")

    def same_queries(self, others: pl.DataFrame) -> pl.DataFrame:
        """Ids of the queries that `others` holds with the same text."""
        return self.queries.join(others, on=["query_id", "text"], how="semi").select("query_id")

    def rows_of(self, documents: pl.Series) -> Rows:
        """Rows of documents by their ids."""
        return self.ids.documents.search_sorted(documents).to_numpy().astype(np.int64)

    def candidates(self) -> Rows:
        """Rows of the documents that may be ranked."""
        rows = self.rows()
        return np.arange(len(self.documents)) if rows is None else rows

    def _given(self, collection: CollectionRef) -> pl.DataFrame:
        """Pairs that files give, of the languages that negatives may come from."""
        given = load(collection.given)
        if self._mining.languages is None:
            return given
        allowed = pl.col("language").is_in(self._mining.languages)
        return given.join(self.documents.filter(allowed), on="doc_id", how="semi")

    def rows(self) -> Rows | None:
        """Rows of the documents that may be ranked, or None if those are all."""
        if self._mining.languages is None:
            return None
        allowed = self.documents["language"].is_in(pl.Series(self._mining.languages).implode())
        return np.flatnonzero(allowed.to_numpy())


@lru_cache(maxsize=4)
def _load_index(folder: Path) -> Any:
    import bm25s

    return bm25s.BM25.load(folder, mmap=True)


class Kind(Protocol):
    """A kind of teacher.

    `incremental` says that a score depends on its query and document alone, so that an earlier
    ranking still holds; `sided`, that it scores from the document's and the centroid's side too;
    `quick`, that it asks no model and is ready long before those that do.
    """

    incremental: bool
    sided: bool
    quick: bool

    def prepare(
        self, run: Context, teacher: TeacherSettings, collection: CollectionRef
    ) -> dict[str, Callable[[], DatasetRef]]:
        """Name the stages that make what it is opened over."""

    def open(self, opened: Opened, name: str) -> Teacher:
        """Open it over what these stages made."""


class _Dense:
    incremental = sided = True
    quick = False

    def prepare(
        self, run: Context, teacher: TeacherSettings, collection: CollectionRef
    ) -> dict[str, Callable[[], DatasetRef]]:
        tables = {"documents": collection.documents, "queries": collection.queries}
        return {side: partial(embed, run, teacher, side, tables[side]) for side in tables}

    def open(self, opened: Opened, name: str) -> Teacher:
        sides = {"queries": opened.queries, "documents": opened.documents}
        queries, documents = (
            open_vectors(opened.inputs[f"{name}/{side}"], hash_texts(table["text"]))
            for side, table in sides.items()
        )
        return DenseTeacher(
            name,
            queries,
            documents,
            opened.rows(),
            opened.engine.tile_documents,
            opened.ids.query_languages,
            opened.ids.languages,
            longest(queries) * longest(documents),
        )


class _Lexical:
    incremental = sided = False  # BM25 weighs words by the whole corpus
    quick = True

    def prepare(
        self, run: Context, teacher: TeacherSettings, collection: CollectionRef
    ) -> dict[str, Callable[[], DatasetRef]]:
        return {"index": partial(index, run, teacher, collection.documents)}

    def open(self, opened: Opened, name: str) -> Teacher:
        return LexicalTeacher(
            name,
            _load_index(open_folder(opened.inputs[f"{name}/index"].path)),
            opened.queries["text"].to_list(),
            opened.documents["text"].to_list(),
            opened.rows(),
            opened.ids.languages,
        )


KINDS: dict[str, Kind] = {"dense": _Dense(), "lexical": _Lexical()}


def quickest(mining: MiningSettings) -> TeacherSettings:
    """Say which teacher can rank first: one that asks no model, or the first that is named."""
    return min(mining.teachers, key=lambda teacher: not KINDS[teacher.kind].quick)


def prepare_teachers(
    run: Context, collection: CollectionRef, teachers: Iterable[TeacherSettings]
) -> dict[str, DatasetRef]:
    """Make what the teachers are opened over; they do not depend on each other."""
    calls = {
        f"{teacher.name}/{what}": call
        for teacher in teachers
        for what, call in KINDS[teacher.kind].prepare(run, teacher, collection).items()
    }
    return dict(zip(calls, run.together(list(calls.values())), strict=True))
