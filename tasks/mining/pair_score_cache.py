"""Logits of a validator by content of the pair: every score is stored and used again."""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import polars as pl
from numpy.typing import NDArray

from polymine import models
from polymine.data_contracts.references import CollectionRef, fingerprint
from polymine.data_contracts.settings import EngineSettings, ValidationSettings
from polymine.data_contracts.tables import PairScores
from polymine.mining.hashing import hash_texts
from polymine.mining.validation import PairScorer
from polymine.progress import Progress
from polymine.tasks.engine.shards import (
    Content,
    Make,
    Order,
    ShardWork,
    check_model,
    cut,
    device_kind,
    run_shards,
)
from polymine.tasks.engine.threads import count_threads
from polymine.tasks.store.datasets import Store, load, read_each, tell_used

VERSION = 3
PAIR = ("query_hash", "text_hash", "query", "document")


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
        shard = self._engine.shard_pairs
        increment = fingerprint(
            family=self._family,
            shard=shard,
            pairs=missing["query_hash"].to_list() + missing["text_hash"].to_list(),
        )
        # By length, so that a shard's batches are as full as those of the whole.
        size = pl.col("query").str.len_bytes() + pl.col("document").str.len_bytes()
        ordered = missing.sort(size, "query_hash", "text_hash", descending=[True, False, False])
        work = self._work(increment, purpose)
        shards = run_shards(
            work,
            cut(len(ordered), shard),
            lambda number: ordered.slice(number * shard, shard).select(PAIR),
            opened=lambda: work.making(self._open(work)),
        )
        made = work.dataset().commit(expected=shards)
        self._known = pl.concat([self._known, load(made)])

    def _open(self, work: "ScoreWork") -> PairScorer:
        """Load the validator once for all waves."""
        self._scorer = self._scorer or work.load()
        return self._scorer

    def _work(self, increment: str, purpose: str) -> "ScoreWork":
        settings, device = self._settings, device_kind()
        # Resolved here: what is fastest on a node may be another dtype.
        dtype = models.resolve_dtype(settings.dtype, device)
        return ScoreWork(
            stage="validate",
            unit="pairs",
            root=self._store.root,
            contract="pair_scores",
            fingerprint=increment,
            within=self._family,
            engine=self._engine,
            settings=settings.model_copy(update={"dtype": dtype}),
            purpose=purpose,
            model=models.fingerprint(settings.model),
            device=device,
        )


@dataclass(frozen=True, kw_only=True)
class ScoreWork(ShardWork):
    """What logits are made from: pairs of texts (query_hash, text_hash, query, document).

    Args:
        purpose: why they are asked for, shown beside the progress.
        model: fingerprint of the validator, which a node has to have, too.
        device: kind of device to compute on.
    """

    uses_model: ClassVar[bool] = True

    settings: ValidationSettings
    purpose: str
    model: str
    device: str

    @property
    def opened_as(self) -> str:
        """Name of the validator, whatever pairs it is to score."""
        return f"validator/{self.within}"

    def load(self) -> PairScorer:
        """Load the validator."""
        threads, tokens = count_threads(self.engine), self.engine.batch_tokens
        return PairScorer.load(self.settings, threads, tokens)

    def open(self) -> Make:
        """Load the validator, if it is the one that is wanted."""
        check_model(self.settings.model, self.model, self.device)
        return self.making(self.load())

    def making(self, scorer: PairScorer) -> Make:
        """Make shards with a validator that is loaded."""

        def make(number: int, order: Order, progress: Progress) -> Content:
            assert order is not None
            pairs = list(zip(order["query"], order["document"], strict=True))
            logits = np.empty(len(pairs), dtype=np.float32)
            for rows, values in scorer.score(pairs, progress, self.purpose):
                logits[rows] = values
            frame = order.select("query_hash", "text_hash", logit=pl.Series(logits))
            return frame, PairScores

        return make


def score_family(settings: ValidationSettings) -> str:
    """Name what logits depend on besides the pair: they are stored under it."""
    device = device_kind()
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
    parts = read_each(held, load)
    known = pl.concat([PairScores.create_empty(), *parts])
    return known.unique(["query_hash", "text_hash"], keep="first", maintain_order=True)


def _by_id(table: pl.DataFrame, key: str, text: str) -> pl.DataFrame:
    name = "query_hash" if key == "query_id" else "text_hash"
    hashes = pl.Series(name, hash_texts(table["text"]))
    return table.select(key, pl.col("text").alias(text)).with_columns(hashes)
