"""The pair-score cache: every logit of a validator is stored under the hashes of its two texts."""

from functools import cached_property, partial

import numpy as np
import polars as pl
from numpy.typing import NDArray

from polymine import models
from polymine.data_contracts.references import CollectionRef, fingerprint
from polymine.data_contracts.settings import ValidationSettings
from polymine.data_contracts.tables import PairScores
from polymine.mining.hashing import hash_texts
from polymine.mining.validation import PairScorer
from polymine.progress import Progress
from polymine.tasks.engine.context import Context
from polymine.tasks.engine.execution import carry_out
from polymine.tasks.engine.plan import Maker, Order, Plan, cut
from polymine.tasks.engine.threads import count_threads
from polymine.tasks.engine.work import check_model, device_kind
from polymine.tasks.store.datasets import Store, load, scan

VERSION = 3
PAIR = ("query_hash", "text_hash", "query", "document")


class PairScoreCache:
    """Logits by content of query and document: looked up first, computed where missing.

    Args:
        collection: holds the texts of the ids that are asked for.
        settings: of the validator.
    """

    def __init__(
        self, run: Context, collection: CollectionRef, settings: ValidationSettings
    ) -> None:
        self._run, self._collection, self._settings = run, collection, settings
        self._family = name_scores(settings)
        self._scorer: PairScorer | None = None
        self.asked = self.scored = 0

    @property
    def rate(self) -> str:
        """Name under which a store notes how fast pairs are scored."""
        return f"pair_scores/{self._family}"

    @cached_property
    def _texts(self) -> tuple[pl.DataFrame, pl.DataFrame]:
        queries, documents = load(self._collection.queries), load(self._collection.documents)
        return _by_id(queries, "query_id", "query"), _by_id(documents, "doc_id", "document")

    @cached_property
    def _known(self) -> pl.DataFrame:
        return load_scores(self._run.store, self._family)

    def score(self, pairs: pl.DataFrame, purpose: str) -> NDArray[np.float32]:
        """Give the logits of query_id, doc_id rows, in order."""
        queries, documents = self._texts
        texts = pairs.join(queries, on="query_id", how="left", maintain_order="left").join(
            documents, on="doc_id", how="left", maintain_order="left"
        )
        keys = ["query_hash", "text_hash"]
        missing = texts.unique(keys, maintain_order=True).join(self._known, on=keys, how="anti")
        self.asked += len(pairs)
        if len(missing):
            self.scored += len(missing)
            made = carry_out(self._run, self._plan(missing, purpose))
            self._known = pl.concat([self._known, load(made)])
        scored = texts.select(keys).join(self._known, on=keys, how="left", maintain_order="left")
        return scored["logit"].to_numpy()

    def _plan(self, missing: pl.DataFrame, purpose: str) -> Plan:
        """Plan the logits of pairs, block by block, so that a killed run resumes."""
        size, device = self._run.engine.shard_pairs, device_kind()
        # By length, so that a block's batches are as full as those of the whole.
        length = pl.col("query").str.len_bytes() + pl.col("document").str.len_bytes()
        ordered = missing.sort(length, "query_hash", "text_hash", descending=[True, False, False])
        # Resolved here: what is fastest on another machine may be another dtype.
        resolved = {"dtype": models.dtype_of(self._settings, device)}
        settings = self._settings.model_copy(update=resolved)
        return Plan(
            contract="pair_scores",
            within=self._family,
            depends={
                "family": self._family,
                "shard": size,
                "pairs": missing["query_hash"].to_list() + missing["text_hash"].to_list(),
            },
            blocks=cut(len(ordered), size),
            unit="pairs",
            label="validate",
            order=lambda number: ordered.slice(number * size, size).select(PAIR),
            opened=lambda: _scoring(self._load(settings), purpose),
            open=partial(_open, settings, models.fingerprint(settings.model), device, purpose),
            opened_as=f"validator/{self._family}",
            spread=True,
            uses_model=True,
        )

    def _load(self, settings: ValidationSettings) -> PairScorer:
        """Load the validator once for all waves."""
        self._scorer = self._scorer or _load(settings, self._run)
        return self._scorer


def _load(settings: ValidationSettings, run: Context) -> PairScorer:
    return PairScorer.load(settings, count_threads(run.engine), run.engine.batch_tokens)


def _open(
    settings: ValidationSettings, model: str, device: str, purpose: str, run: Context
) -> Maker:
    """Load the validator, if it is the one that the run began with."""
    check_model(settings.model, model, device)
    return _scoring(_load(settings, run), purpose)


def _scoring(scorer: PairScorer, purpose: str) -> Maker:
    """Score the pairs of an order (query_hash, text_hash, query, document)."""

    def make(number: int, order: Order, progress: Progress) -> pl.DataFrame:
        assert order is not None
        pairs = list(zip(order["query"], order["document"], strict=True))
        logits = pl.Series(scorer.score(pairs, progress, purpose))
        return order.select("query_hash", "text_hash", logit=logits)

    return Maker(make, PairScores)


def name_scores(settings: ValidationSettings) -> str:
    """Name what logits depend on besides the pair: they are stored under it."""
    device = device_kind()
    code = {"remote_code": True} if settings.trust_remote_code else {}
    return fingerprint(
        **code,
        version=VERSION,
        model=models.fingerprint(settings.model),
        max_length=settings.max_length,
        dtype=models.dtype_of(settings, device),
        device=device,
    )


def load_scores(store: Store, family: str) -> pl.DataFrame:
    """Read every stored logit of one validator (contract PairScores)."""
    held = [load(reference) for reference in store.find_all("pair_scores", family)]
    known = pl.concat([PairScores.create_empty(), *held])
    return known.unique(["query_hash", "text_hash"], keep="first", maintain_order=True)


def look_up(
    store: Store, settings: ValidationSettings, collection: CollectionRef, pairs: pl.DataFrame
) -> pl.DataFrame:
    """Look up stored logits of pairs: query_id, doc_id, validator_score, where there is one."""
    sides = (
        ("query_id", "query_hash", collection.queries),
        ("doc_id", "text_hash", collection.documents),
    )
    found = pairs.select("query_id", "doc_id")
    for key, name, table in sides:
        wanted = found.lazy().select(key).unique()
        texts = scan(table).select(key, "text").join(wanted, on=key, how="semi").collect()
        hashed = texts.select(key, pl.Series(name, hash_texts(texts["text"])))
        found = found.join(hashed, on=key)
    scores = load_scores(store, name_scores(settings))
    found = found.join(scores, on=["query_hash", "text_hash"])
    return found.select("query_id", "doc_id", validator_score="logit")


def _by_id(table: pl.DataFrame, key: str, text: str) -> pl.DataFrame:
    name = "query_hash" if key == "query_id" else "text_hash"
    hashes = pl.Series(name, hash_texts(table["text"]))
    return table.select(key, pl.col("text").alias(text)).with_columns(hashes)
