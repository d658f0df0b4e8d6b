"""Embeds the texts a teacher has not seen yet, shard by shard."""

from dataclasses import replace
from functools import partial

import numpy as np
import polars as pl
from numpy.typing import NDArray

from polymine import models
from polymine.data_contracts.references import DatasetRef, fingerprint
from polymine.data_contracts.settings import EncoderSettings, TeacherSettings
from polymine.data_contracts.tables import embeddings_schema
from polymine.mining.batching import count_tokens
from polymine.mining.embedding import TextEncoder
from polymine.mining.hashing import hash_texts
from polymine.progress import Progress
from polymine.tasks.engine.context import Context
from polymine.tasks.engine.load import Load
from polymine.tasks.engine.plan import Maker, Order, Plan
from polymine.tasks.engine.stage import stage
from polymine.tasks.engine.threads import count_threads
from polymine.tasks.engine.work import check_model, device_kind
from polymine.tasks.store.datasets import load
from polymine.tasks.store.vectors import CONTRACT, stored_hashes

VERSION = 3
SAMPLE = 1000  # texts whose tokens are counted for a plan


@stage("embed", "embed-{teacher.name}-{side}")
def embed(
    run: Context, teacher: TeacherSettings, side: str, table: DatasetRef
) -> Plan | DatasetRef:
    """Encode the texts of one table that this teacher has no vector for."""
    teacher = models.settled(teacher)
    prompt = teacher.prompt_for(side)
    planned = plan_vectors(run, teacher, prompt, load(table)["text"], f"{teacher.name} {side}")

    def vectors_of_table(family: DatasetRef) -> DatasetRef:
        version = fingerprint(family=family.fingerprint, table=table)
        return replace(family, rows=table.rows, fingerprint=version)

    if isinstance(planned, DatasetRef):
        return vectors_of_table(planned)
    return replace(planned, gives=lambda made: vectors_of_table(planned.result(made)))


def plan_vectors(
    run: Context, teacher: EncoderSettings, prompt: str, texts: pl.Series, label: str
) -> Plan | DatasetRef:
    """Plan the vectors of those of `texts` that have none yet, or name them if all are there.

    Vectors are a family of datasets: one per teacher and prompt, in it one dataset for each run
    that had something to add, so new documents cost what they are. The result is the family.
    """
    teacher = models.settled(teacher)
    name = name_family(teacher, prompt)
    family = DatasetRef(run.store.family(CONTRACT, name), CONTRACT, len(texts), name)
    hashes, first = np.unique(hash_texts(texts), return_index=True)
    missing = ~np.isin(hashes, _held(run, name, hashes))
    if not missing.any():
        return replace(family, reused=True)
    todo, device = texts.gather(first[missing]).to_list(), device_kind()
    # Resolved here: what is fastest on another machine may be another dtype.
    resolved = {"dtype": models.dtype_of(teacher, device)}
    teacher = teacher.model_copy(update=resolved)
    return Plan(
        contract=CONTRACT,
        within=name,
        # All that decides which text lies in which shard, so that those of a killed run fit.
        depends={
            "family": name,
            "todo": todo,
            "shard": run.engine.shard_texts,
            "budget": run.engine.batch_tokens,
        },
        unit="tokens",
        label=f"embed {label}",
        form="arrow",
        prepare=partial(_cut_into_batches, run, teacher, prompt, todo),
        open=partial(_open, teacher, prompt, models.fingerprint(str(teacher.model)), device),
        opened_as=f"encoder/{name}",
        gives=lambda _: family,
        estimate=partial(_estimate, teacher, prompt, todo, f"{CONTRACT}/{name}"),
        spread=True,
        uses_model=True,
    )


def _held(run: Context, family: str, wanted: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """List the hashes of texts that have a vector; only datasets that hold wanted ones are used."""
    store, held = run.store, [np.empty(0, np.uint64)]
    of_family = (CONTRACT, family)
    for each in store.finished(*of_family) if run.dry else store.find_all(*of_family, use=False):
        hashes = stored_hashes([each])
        if np.isin(wanted, hashes).any():
            held.append(hashes)
            if not run.dry:
                store.dataset(CONTRACT, each.fingerprint, within=family).mark_used()
    return np.concatenate(held)


def name_family(teacher: EncoderSettings, prompt: str) -> str:
    """Name what vectors depend on besides their text: they are stored under it."""
    device = device_kind()
    # The model's own code may compute something else than the architecture transformers knows;
    # named only where it is asked for, so that all other vectors keep their names.
    code = {"remote_code": True} if teacher.trust_remote_code else {}
    length = {"similarity": "dot"} if teacher.similarity == "dot" else {}
    return fingerprint(
        **code,
        **length,
        version=VERSION,
        model=models.fingerprint(str(teacher.model)),
        prompt=prompt,
        max_length=teacher.max_length,
        dtype=models.dtype_of(teacher, device),
        device=device,
    )


def _estimate(teacher: EncoderSettings, prompt: str, texts: list[str], rate: str) -> Load | None:
    """Count the tokens of a sample by the model's tokenizer; None where it cannot be had alone."""
    from transformers import AutoTokenizer

    step = max(len(texts) // SAMPLE, 1)
    sample = [prompt + text for text in texts[::step]]
    try:
        tokenizer = AutoTokenizer.from_pretrained(models.resolve(str(teacher.model)).folder)
    except (OSError, ValueError, KeyError):
        return None
    own = models.own_length(str(teacher.model)) or tokenizer.model_max_length
    most = min(teacher.max_length or own, 1 << 30)  # 10^30 means none
    counted = np.minimum(count_tokens(tokenizer, sample), most)
    amount = round(float(counted.mean()) * len(texts))
    return Load(amount, "tokens", rate, estimated=step > 1)


def _cut_into_batches(
    run: Context, teacher: EncoderSettings, prompt: str, texts: list[str], plan: Plan
) -> Plan:
    """Let the teacher's tokenizer say how long each text is, and fill shards with whole batches."""
    encoder = _load(teacher, run)
    batches = encoder.plan(texts, prompt)
    sizes = np.cumsum([len(rows) for rows, _ in batches])
    shard_of = (sizes - 1) // run.engine.shard_texts
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

    blocks = {int(at): int(tokens[shard_of == at].sum()) for at in np.unique(shard_of)}
    return replace(plan, blocks=blocks, order=order, opened=lambda: _encoding(encoder, prompt))


def _load(teacher: EncoderSettings, run: Context) -> TextEncoder:
    return TextEncoder.load(teacher, count_threads(run.engine), run.engine.batch_tokens)


def _open(teacher: EncoderSettings, prompt: str, model: str, device: str, run: Context) -> Maker:
    """Load the model, if it is the one that the run began with."""
    check_model(str(teacher.model), model, device)
    return _encoding(_load(teacher, run), prompt)


def _encoding(encoder: TextEncoder, prompt: str) -> Maker:
    """Encode the texts of an order (text, batch, tokens of the batch)."""

    def make(number: int, order: Order, progress: Progress) -> pl.DataFrame:
        assert order is not None
        texts, tokens = order["text"].to_list(), order["tokens"].to_numpy()
        starts = np.unique(order["batch"].to_numpy(), return_index=True)[1]
        rows = np.split(np.arange(len(texts)), starts[1:])
        batches = [(part, int(tokens[part[0]])) for part in rows]
        parts = list(encoder.encode(texts, batches, prompt, progress))
        ordered = np.concatenate([part.rows for part in parts])
        vectors = np.concatenate([part.values for part in parts])
        return pl.DataFrame(
            {"text_hash": hash_texts(texts[row] for row in ordered), "vector": vectors}
        )

    return Maker(make, lambda rows: embeddings_schema(rows.schema["vector"].size))  # type: ignore[attr-defined]
