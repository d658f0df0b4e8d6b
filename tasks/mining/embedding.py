"""Embeds the texts a teacher has not seen yet, shard by shard."""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import polars as pl
from numpy.typing import NDArray

from polymine import models
from polymine.data_contracts.references import DatasetRef, fingerprint
from polymine.data_contracts.settings import EncoderSettings, EngineSettings, TeacherSettings
from polymine.data_contracts.tables import embeddings_schema
from polymine.mining.embedding import TextEncoder
from polymine.mining.hashing import hash_texts
from polymine.progress import Progress
from polymine.tasks.engine.shards import (
    Content,
    Make,
    Order,
    ShardWork,
    check_model,
    device_kind,
    run_shards,
)
from polymine.tasks.engine.stages import stage
from polymine.tasks.engine.threads import count_threads
from polymine.tasks.store.datasets import Format, Store, load, read_each, tell_used
from polymine.tasks.store.vectors import CONTRACT, stored_hashes

VERSION = 3
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
    teacher: EncoderSettings,
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
    work = _work(teacher, prompt, family, increment, engine, root, f"embed {label}")
    shards = _encode(work, todo.to_list())
    info = {"teacher": teacher.model, "prompt": prompt}
    work.dataset().commit({"table": source}, info, expected=shards)
    return place, False


def held_hashes(store: Store, family: str, wanted: Hashes) -> Hashes:
    """List the hashes of texts that have a vector, and let it be known which datasets are used."""

    def read(reference: DatasetRef) -> tuple[str, Hashes]:
        return reference.path, stored_hashes([reference])

    while True:
        held = dict(read_each(store.finished(CONTRACT, family), read))
        used = [path for path, hashes in held.items() if np.isin(wanted, hashes).any()]
        tell_used(*used)
        if used == [path for path in used if store.has(path)]:  # else removed before it was known
            return np.concatenate([np.empty(0, dtype=np.uint64), *held.values()])


def _family(teacher: EncoderSettings, prompt: str) -> str:
    device = device_kind()
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


def _work(
    teacher: EncoderSettings,
    prompt: str,
    family: str,
    increment: str,
    engine: EngineSettings,
    root: str,
    label: str,
) -> "EncodeWork":
    device = device_kind()
    # Resolved here: what is fastest on a node may be another dtype.
    dtype = models.resolve_dtype(teacher.dtype, device)
    return EncodeWork(
        stage=label,
        unit="tokens",
        root=root,
        contract=CONTRACT,
        fingerprint=increment,
        within=family,
        engine=engine,
        teacher=teacher.model_copy(update={"dtype": dtype}),
        prompt=prompt,
        model=models.fingerprint(str(teacher.model)),
        device=device,
    )


def _encode(work: "EncodeWork", texts: list[str]) -> list[str]:
    encoder = work.load()
    batches = encoder.plan(texts, work.prompt)
    sizes = np.cumsum([len(rows) for rows, _ in batches])
    shard_of = (sizes - 1) // work.engine.shard_texts
    tokens = np.array([tokens for _, tokens in batches])

    def order(number: int) -> pl.DataFrame:
        chosen = [batches[at] for at in np.flatnonzero(shard_of == number)]
        counts = [len(rows) for rows, _ in chosen]
        return pl.DataFrame(
            {
                "text": [texts[row] for rows, _ in chosen for row in rows],
                "batch": np.repeat(np.arange(len(chosen), dtype=np.uint32), counts),
                "tokens": np.repeat([tokens for _, tokens in chosen], counts),
            }
        )

    per_shard = {int(at): int(tokens[shard_of == at].sum()) for at in np.unique(shard_of)}
    return run_shards(work, per_shard, order, opened=lambda: work.making(encoder))


@dataclass(frozen=True, kw_only=True)
class EncodeWork(ShardWork):
    """What vectors are made from: texts in their batches (text, batch, tokens of the batch).

    Args:
        model: fingerprint of the teacher's model, which a node has to have, too.
        device: kind of device to compute on.
    """

    form: ClassVar[Format] = "arrow"
    uses_model: ClassVar[bool] = True

    teacher: EncoderSettings
    prompt: str
    model: str
    device: str

    @property
    def opened_as(self) -> str:
        """Name of the teacher's model, whatever texts it is to encode."""
        return f"encoder/{self.within}"

    def load(self) -> TextEncoder:
        """Load the teacher's model."""
        return TextEncoder.load(self.teacher, count_threads(self.engine), self.engine.batch_tokens)

    def open(self) -> Make:
        """Load the model, if it is the one that is wanted."""
        check_model(str(self.teacher.model), self.model, self.device)
        return self.making(self.load())

    def making(self, encoder: TextEncoder) -> Make:
        """Make shards with a model that is loaded."""

        def make(number: int, order: Order, progress: Progress) -> Content:
            assert order is not None
            texts, tokens = order["text"].to_list(), order["tokens"].to_numpy()
            starts = np.unique(order["batch"].to_numpy(), return_index=True)[1]
            rows = np.split(np.arange(len(texts)), starts[1:])
            batches = [(part, int(tokens[part[0]])) for part in rows]
            parts = list(encoder.encode_planned(texts, batches, self.prompt, progress, self.stage))
            ordered = np.concatenate([part.rows for part in parts])
            vectors = np.concatenate([part.vectors for part in parts])
            hashes = hash_texts(texts[row] for row in ordered)
            frame = pl.DataFrame({"text_hash": hashes, "vector": vectors})
            return frame, embeddings_schema(vectors.shape[1])

        return make
