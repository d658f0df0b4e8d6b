"""Embeds the texts a teacher has not seen yet, shard by shard."""

import numpy as np
import polars as pl
from numpy.typing import NDArray

from data_contracts.references import DatasetRef, fingerprint
from data_contracts.settings import EngineSettings, TeacherSettings
from data_contracts.tables import embeddings_schema
from polymine import models
from polymine.mining.embedding import TextEncoder
from polymine.mining.hashing import hash_texts
from tasks.progress import TaskProgress
from tasks.stages import stage
from tasks.store import Dataset, Store, load, shard_name, tell_used
from tasks.threads import count_threads
from tasks.vectors import CONTRACT, stored_hashes

VERSION = 1
Hashes = NDArray[np.uint64]


@stage("embed", "embed-{teacher.name}-{side}")
def embed(
    teacher: TeacherSettings, side: str, table: DatasetRef, engine: EngineSettings, root: str
) -> DatasetRef:
    """Encode the texts of one table that this teacher has no vector for.

    The dataset is a family: one place per teacher and prompt, one dataset in it per run that had
    something to add, so new documents cost what they are.
    """
    prompt = teacher.query_prompt if side == "queries" else teacher.document_prompt
    label = f"{teacher.name} {side}"
    texts = load(table)["text"]
    family, reused = store_vectors(teacher, prompt, texts, engine, root, label, table.fingerprint)
    version = fingerprint(family=family.rpartition("/")[2], table=table.fingerprint)
    return DatasetRef(family, CONTRACT, table.rows, version, reused=reused)


def store_vectors(
    teacher: TeacherSettings,
    prompt: str,
    texts: pl.Series,
    engine: EngineSettings,
    root: str,
    label: str,
    source: str,
) -> tuple[str, bool]:
    """Encode those of `texts` that have no vector yet.

    Returns the family's place and whether there was nothing to do. `source` is the fingerprint of
    what the texts are from.
    """
    store = Store(root)
    family = _family(teacher, prompt)
    place = store.family(CONTRACT, family)
    hashes, first = np.unique(hash_texts(texts), return_index=True)
    missing = ~np.isin(hashes, held_hashes(store, family, hashes))
    if not missing.any():
        return place, True
    todo = texts.gather(first[missing])
    # All that decides which text lies in which shard, so that shards of an interrupted run fit.
    increment = fingerprint(
        family=family,
        todo=todo.to_list(),
        shard=engine.shard_texts,
        budget=engine.batch_tokens,
    )
    dataset = store.dataset(CONTRACT, increment, within=family)
    _encode(teacher, prompt, todo.to_list(), engine, dataset, label)
    dataset.commit({"table": source}, {"teacher": teacher.model, "prompt": prompt})
    return place, False


def held_hashes(store: Store, family: str, wanted: Hashes) -> Hashes:
    """List the hashes of texts that have a vector, and let it be known which datasets are used."""
    while True:
        held = {ref.path: stored_hashes([ref]) for ref in store.finished(CONTRACT, family)}
        used = [path for path, hashes in held.items() if np.isin(wanted, hashes).any()]
        tell_used(*used)
        if used == [path for path in used if store.has(path)]:  # else removed before it was known
            return np.concatenate([np.empty(0, dtype=np.uint64), *held.values()])


def _family(teacher: TeacherSettings, prompt: str) -> str:
    device = models.visible_devices()[0].partition(":")[0]
    # The model's own code may compute something else than the architecture transformers knows;
    # named only where it is asked for, so that all other vectors keep their place.
    code = {"remote_code": True} if teacher.trust_remote_code else {}
    return fingerprint(
        **code,
        version=VERSION,
        model=models.fingerprint(str(teacher.model)),
        prompt=prompt,
        max_length=teacher.max_length,
        dtype=models.resolve_dtype(teacher.dtype, device),
        device=device,
    )


def _encode(
    teacher: TeacherSettings,
    prompt: str,
    texts: list[str],
    engine: EngineSettings,
    dataset: Dataset,
    label: str,
) -> None:
    encoder = TextEncoder.load(teacher, count_threads(engine), engine.batch_tokens)
    batches = encoder.plan(texts, prompt)
    sizes = np.cumsum([len(rows) for rows, _ in batches])
    shard_of = (sizes - 1) // engine.shard_texts
    stage_name = f"embed {label}"
    for number in np.unique(shard_of):
        name = shard_name(int(number), "arrow")
        if dataset.has(name):
            continue
        chosen = [batches[at] for at in np.flatnonzero(shard_of == number)]
        parts = list(encoder.encode_planned(texts, chosen, prompt, TaskProgress(), stage_name))
        rows = np.concatenate([part.rows for part in parts])
        vectors = np.concatenate([part.vectors for part in parts])
        frame = pl.DataFrame(
            {"text_hash": hash_texts(texts[row] for row in rows), "vector": vectors}
        )
        dataset.write(name, frame, embeddings_schema(vectors.shape[1]))
