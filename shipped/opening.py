"""Opens teachers over tables in memory."""

import os

from polymine.data_contracts.settings import EngineSettings, TeacherSettings
from polymine.mining.bm25 import LexicalTeacher
from polymine.mining.dense import DenseTeacher
from polymine.mining.embedding import TextEncoder, encode_all
from polymine.mining.ingestion import Ingested
from polymine.mining.known import Ids
from polymine.mining.lexical import build_index
from polymine.mining.teachers import ArrayVectors, Rows, Teacher
from polymine.models import settled

BATCH_TOKENS = EngineSettings().batch_tokens


def open_teacher(
    settings: TeacherSettings, data: Ingested, candidates: Rows | None = None
) -> Teacher:
    """Embed or index a data set for one teacher, in memory.

    Args:
        candidates: rows of documents that may be ranked, ascending; every document if None.

    Returns:
        A teacher whose row numbers are those of the tables, which are sorted by id.

    Raises:
        ModelError: the model is not there or cannot be loaded.
        InputError: the teacher is lexical, and no document holds a word.
    """
    ids = Ids.from_tables(data.queries, data.documents)
    queries, documents = data.queries["text"].to_list(), data.documents["text"].to_list()
    if settings.kind == "lexical":
        index = build_index(documents, settings.k1, settings.b)
        return LexicalTeacher(settings.name, index, queries, documents, candidates, ids.languages)
    encoder = TextEncoder.load(settings, _threads(), BATCH_TOKENS)
    settings = settled(settings)
    return DenseTeacher(
        settings.name,
        ArrayVectors(encode_all(encoder, queries, settings.prompt_for("queries"))),
        ArrayVectors(encode_all(encoder, documents, settings.prompt_for("documents"))),
        candidates,
        query_languages=ids.query_languages,
        languages=ids.languages,
    )


def _threads() -> int:
    return len(os.sched_getaffinity(0))
