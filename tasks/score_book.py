"""Logits of a validator by content of the pair: every score is stored and used again."""

import numpy as np
import polars as pl
from numpy.typing import NDArray

from data_contracts.references import CollectionRef, fingerprint
from data_contracts.settings import EngineSettings, ValidationSettings
from data_contracts.tables import PairScores
from polymine import models
from polymine.mining.hashing import hash_texts
from polymine.mining.validation import PairScorer
from tasks.progress import TaskProgress
from tasks.store import Dataset, Store, load, shard_name, tell_used
from tasks.threads import count_threads

VERSION = 1
SHARD_PAIRS = 4096  # pairs scored between two commits to disk: what a kill can lose


class ScoreBook:
    """Logits by content of query and document: looked up first, computed where missing."""

    def __init__(
        self,
        store: Store,
        family: str,
        collection: CollectionRef,
        settings: ValidationSettings,
        engine: EngineSettings,
    ) -> None:
        self._store, self._family = store, family
        self._settings, self._engine = settings, engine
        self._queries = _by_id(load(collection.queries), "query_id", "query")
        self._documents = _by_id(load(collection.documents), "doc_id", "document")
        self._known = load_scores(store, family)
        self._scorer: PairScorer | None = None
        self.asked = self.scored = 0

    def score(self, pairs: pl.DataFrame, purpose: str) -> NDArray[np.float32]:
        """Give the logits of query_id, doc_id rows, in order."""
        texts = pairs.join(self._queries, on="query_id", how="left", maintain_order="left").join(
            self._documents, on="doc_id", how="left", maintain_order="left"
        )
        keys = ["query_hash", "text_hash"]
        missing = texts.unique(keys, maintain_order=True).join(self._known, on=keys, how="anti")
        self.asked += len(pairs)
        if len(missing):
            self.scored += len(missing)
            self._compute(missing, purpose)
        scored = texts.select(keys).join(self._known, on=keys, how="left", maintain_order="left")
        return scored["logit"].to_numpy()

    def _compute(self, missing: pl.DataFrame, purpose: str) -> None:
        """Score pairs and store them shard by shard, so that a killed run goes on."""
        increment = fingerprint(
            family=self._family,
            pairs=missing["query_hash"].to_list() + missing["text_hash"].to_list(),
        )
        dataset = self._store.dataset("pair_scores", increment, within=self._family)
        progress = TaskProgress()
        progress.start("validate", len(missing), "pairs")
        # By length, so that a shard's batches are as full as those of the whole.
        size = pl.col("query").str.len_bytes() + pl.col("document").str.len_bytes()
        ordered = missing.sort(size, "query_hash", "text_hash", descending=[True, False, False])
        for number, part in enumerate(ordered.iter_slices(SHARD_PAIRS)):
            if dataset.has(shard_name(number)):
                progress.advance("validate", len(part), purpose)
                continue
            self._write(dataset, shard_name(number), part, progress, purpose)
        progress.finish("validate")
        self._known = pl.concat([self._known, load(dataset.commit())])

    def _write(
        self, dataset: Dataset, name: str, part: pl.DataFrame, progress: TaskProgress, purpose: str
    ) -> None:
        pairs = list(zip(part["query"], part["document"], strict=True))
        logits = np.empty(len(pairs), dtype=np.float32)
        for rows, values in self._open().score(pairs, progress, purpose):
            logits[rows] = values
        frame = part.select("query_hash", "text_hash", logit=pl.Series(logits))
        dataset.write(name, frame, PairScores)

    def _open(self) -> PairScorer:
        if self._scorer is None:
            threads, tokens = count_threads(self._engine), self._engine.batch_tokens
            self._scorer = PairScorer.load(self._settings, threads, tokens)
        return self._scorer


def score_family(settings: ValidationSettings) -> str:
    """Name what logits depend on besides the pair: they are stored under it."""
    device = models.visible_devices()[0].partition(":")[0]
    code = {"remote_code": True} if settings.trust_remote_code else {}
    return fingerprint(
        **code,
        version=VERSION,
        model=models.fingerprint(settings.model),
        max_length=settings.max_length,
        dtype=models.resolve_dtype(settings.dtype, device),
        device=device,
    )


def load_scores(store: Store, family: str) -> pl.DataFrame:
    """Read every stored logit of one validator (contract PairScores)."""
    held = store.finished("pair_scores", family)
    tell_used(*(reference.path for reference in held))
    parts = [load(reference) for reference in held]
    known = pl.concat([PairScores.create_empty(), *parts])
    return known.unique(["query_hash", "text_hash"], keep="first", maintain_order=True)


def _by_id(table: pl.DataFrame, key: str, text: str) -> pl.DataFrame:
    name = "query_hash" if key == "query_id" else "text_hash"
    hashes = pl.Series(name, hash_texts(table["text"]))
    return table.select(key, pl.col("text").alias(text)).with_columns(hashes)
