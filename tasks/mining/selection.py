"""Applies the rule to stored evidence and risk: no model, seconds."""

from collections.abc import Iterator
from dataclasses import asdict

import polars as pl

from polymine.data_contracts.references import CollectionRef, DatasetRef, fingerprint
from polymine.data_contracts.settings import MiningSettings
from polymine.data_contracts.tables import Decisions
from polymine.mining.budget import Choice, Pool, describe, search, trade_off
from polymine.mining.selection import (
    apply_rule,
    count_needed,
    count_priced,
    order_survivors,
    order_within_budget,
    pool_decided,
    promote,
)
from polymine.mining.validator_evidence import with_looks
from polymine.tasks.engine.progress import track
from polymine.tasks.engine.stages import stage
from polymine.tasks.mining.evidence import load_ceilings, scan_evidence
from polymine.tasks.store.datasets import Store, load, scan, shard_name, shard_paths

VERSION = 2


@stage("select")
def select(
    collection: CollectionRef,
    base: DatasetRef,
    deep: DatasetRef,
    positives: DatasetRef,
    risks: DatasetRef,
    mining: MiningSettings,
    root: str,
    looks: DatasetRef | None = None,
) -> DatasetRef:
    """Decide of every candidate whether it may be a negative, and in which order.

    `looks` is what the validator made of the risks, once it was asked (rule `risk`).
    """
    reach = count_needed(mining)
    version = fingerprint(
        version=VERSION,
        risks=risks.fingerprint,
        labels=collection.labels.fingerprint,
        looks=looks.fingerprint if looks else None,
        rule=mining.selection,
        promote=mining.risk.promote,
        teacher=mining.primary_teacher,
        seed=mining.seed,
        reach=reach,
    )
    dataset = Store(root).dataset("decisions", version)
    if found := dataset.find():
        return found
    parts = Decided(collection, base, deep, positives, risks, mining, looks)
    info: dict[str, object] = {"reach": reach}
    if mining.selection.rule == "risk":
        info |= parts.search()
    candidates = 0
    for number, decided in enumerate(track(parts, "select", risks.rows, "candidates")):
        candidates += len(decided)
        ordered = parts.order(decided)
        taken = pl.col("reason").is_null() & (pl.col("order") <= reach)
        frame = ordered.with_columns(order=pl.when(taken).then("order"))
        frame = frame.filter(taken | pl.col("reason").is_not_null())
        frame = frame.sort("query_id", "order", "doc_id", nulls_last=True)
        dataset.write(shard_name(number), frame.select(Decisions.column_names()), Decisions)
    return dataset.commit(info={**info, "candidates": candidates})


class Decided:
    """What the rule says of every candidate, block by block of queries, as from `apply_rule`."""

    def __init__(
        self,
        collection: CollectionRef,
        base: DatasetRef,
        deep: DatasetRef,
        positives: DatasetRef,
        risks: DatasetRef,
        mining: MiningSettings,
        looks: DatasetRef | None = None,
    ) -> None:
        self._evidence, self._risks = scan_evidence(base, deep), shard_paths(risks)
        self._ceilings, self._mining = load_ceilings(positives, mining), mining
        self._looks = load(looks) if looks else None
        relevant = scan(collection.labels).filter(pl.col("relevance") > 0)
        self._relevant = relevant.select("query_id", "doc_id").collect()
        self.choice = Choice(0.0, mining.selection.max_risk)

    def __iter__(self) -> Iterator[pl.DataFrame]:
        columns = ["query_id", "doc_id", "closed", f"score_{self._mining.primary_teacher}"]
        for lazy, path in zip(self._evidence, self._risks, strict=True):
            risk = pl.read_parquet(path, columns=["risk"], glob=False)
            gathered = lazy.select(columns).collect().hstack(risk)  # in the same order
            yield self._decide(gathered)

    def _decide(self, gathered: pl.DataFrame) -> pl.DataFrame:
        mining = self._mining
        decided = apply_rule(gathered, self._ceilings, mining.primary_teacher, mining.selection)
        if self._looks is not None:
            decided = with_looks(decided, self._looks)
        return promote(decided, self._relevant, mining.risk.promote)

    def pool(self) -> Pool:
        """The candidates of all queries that some price may choose."""
        return pool_decided(self, count_priced(self._mining.selection, self._mining.negatives))

    def search(self) -> dict[str, object]:
        """Find the price that keeps within the budget, and describe what there was to choose."""
        selection, pool = self._mining.selection, self.pool()
        count = count_priced(selection, self._mining.negatives)
        self.choice = search(pool, count, selection.max_false_negative_rate, selection.max_risk)
        curve = trade_off(pool, count, selection.max_risk)
        return {
            "choice": asdict(self.choice),
            "chosen": asdict(describe(pool, self.choice, count)),
            "curve": [asdict(point) for point in curve],
        }

    def order(self, decided: pl.DataFrame) -> pl.DataFrame:
        """Put the candidates that pass into the order in which they are taken."""
        mining = self._mining
        if mining.selection.rule == "risk":
            return order_within_budget(
                decided, self.choice, mining.selection, mining.negatives, mining.seed
            )
        survivors = order_survivors(decided, mining.selection, mining.seed)
        refused = decided.filter(pl.col("reason").is_not_null())
        return pl.concat([survivors, refused], how="diagonal")
