"""Applies the rule to stored evidence and risk: no model, seconds."""

from collections.abc import Iterator
from copy import copy
from functools import cache

import polars as pl

from polymine.data_contracts.notes import Choice, DecisionsNote
from polymine.data_contracts.references import DatasetRef
from polymine.data_contracts.settings import MiningSettings
from polymine.data_contracts.tables import Decisions
from polymine.mining import hubs
from polymine.mining.budget import describe, search, trade_off
from polymine.mining.selection import (
    apply_rule,
    count_handed,
    count_needed,
    count_priced,
    order_survivors,
    order_within_budget,
    pool_decided,
    promote,
)
from polymine.mining.validator_evidence import PROMOTING_WEIGHT, with_validator
from polymine.progress import Progress
from polymine.tasks.engine.context import Context
from polymine.tasks.engine.plan import Maker, Order, Plan
from polymine.tasks.engine.stage import stage
from polymine.tasks.mining.evidence import load_ceilings
from polymine.tasks.mining.risk import Assessed
from polymine.tasks.mining.teachers import blocks_of
from polymine.tasks.store.datasets import load, scan

VERSION = 6


@stage("select")
def select(
    run: Context,
    assessed: Assessed,
    promotions: DatasetRef | None,
    mining: MiningSettings,
    validator: DatasetRef | None = None,
) -> Plan:
    """Decide of every candidate whether it may be a negative, and in which order.

    Under the rule `risk`, `promotions` is what is precise enough to be a positive, if any may be,
    and `validator` what the cross-encoder made of the risks, once it was asked.
    """
    reach = count_needed(mining)

    @cache
    def settled() -> tuple[Decided, DecisionsNote]:
        decided = Decided(assessed, promotions, mining, validator)
        return decided.settle(DecisionsNote(reach=reach, candidates=assessed.risks.rows))

    def make(number: int, order: Order, progress: Progress) -> pl.DataFrame:
        final, note = settled()
        ordered = final.order(final.block(number), note.choice)
        taken = pl.col("reason").is_null() & (pl.col("order") <= reach)
        frame = ordered.with_columns(order=pl.when(taken).then("order"))
        frame = frame.filter(taken | pl.col("reason").is_not_null())
        frame = frame.sort("query_id", "order", "doc_id", nulls_last=True)
        return frame.select(Decisions.column_names())

    return Plan(
        contract="decisions",
        depends={
            "version": VERSION,
            "risks": assessed.risks,
            "labels": assessed.collection.labels,
            "validator": validator,
            "rule": mining.selection,
            "promotions": promotions,
            "listens": validator is not None and mining.risk.validator_weight >= PROMOTING_WEIGHT,
            "teacher": mining.primary_teacher,
            "seed": mining.seed,
            "reach": reach,
            "takes": (mining.negatives, count_handed(mining)),  # a pool reaches as deep for any
        },
        blocks=blocks_of(assessed.collection, run.engine),
        unit="queries",
        open=lambda _: Maker(make, Decisions),
        note=lambda _: settled()[1],
    )


class Decided:
    """What the rule says of every candidate, block by block of queries, as from `apply_rule`."""

    def __init__(
        self,
        assessed: Assessed,
        promotions: DatasetRef | None,
        mining: MiningSettings,
        validator: DatasetRef | None = None,
    ) -> None:
        self._blocks, self._mining = assessed.scan(), mining
        self._ceilings = load_ceilings(assessed.positives, mining)
        self._validator = load(validator) if validator else None
        relevant = scan(assessed.collection.labels).filter(pl.col("relevance") > 0)
        self._relevant = relevant.select("query_id", "doc_id").collect()
        self._collection, self._bars = assessed.collection, hubs.no_bars()
        self._promotions = load(promotions) if promotions else None

    def __iter__(self) -> Iterator[pl.DataFrame]:
        return map(self.block, range(len(self._blocks)))

    def block(self, number: int) -> pl.DataFrame:
        """Decide on one block of queries."""
        mining = self._mining
        columns = ["query_id", "doc_id", "closed", f"score_{mining.primary_teacher}", "risk"]
        gathered = self._blocks[number].select(columns).collect()
        decided = apply_rule(gathered, self._ceilings, mining.primary_teacher, mining.selection)
        if self._validator is not None:
            decided = with_validator(decided, self._validator)
            if mining.risk.validator_weight < PROMOTING_WEIGHT:
                decided = decided.drop("agrees")  # nothing hangs on what counts so little
        return hubs.close_below(promote(decided, self._relevant, self._promotions), self._bars)

    def settle(self, note: DecisionsNote) -> tuple["Decided", DecisionsNote]:
        """Find what keeps within the budget and limits hubs, and note what there was to choose.

        A bar changes what the budget pays for, and a price what stands above a bar, so they are
        found in turn. Bars only rise: that ends.
        """
        limit = hubs.limit_of(
            self._collection.queries.rows, self._collection.documents.rows,
            self._mining.negatives, self._mining.selection.hub_share,
        )  # fmt: skip
        settled, priced = self, self._price(note)
        while limit < self._collection.queries.rows:
            bars = hubs.raise_bars(settled._taken(priced.choice), limit, settled._bars)
            if bars is None:
                break
            settled = copy(settled)
            settled._bars = bars
            priced = settled._price(note)
        found = {"hub_limit": limit, "hubs": len(settled._bars)}
        return settled, priced.model_copy(update=found)

    def _taken(self, choice: Choice | None) -> pl.DataFrame:
        """Put together what all queries take as it stands."""
        within = pl.col("order") <= count_handed(self._mining)
        return pl.concat(
            self.order(block, choice)
            .filter(within & pl.col("reason").is_null())
            .select("query_id", "doc_id", "score")
            for block in self
        )

    def _price(self, note: DecisionsNote) -> DecisionsNote:
        selection = self._mining.selection
        if selection.rule != "risk":
            return note
        count = count_priced(selection, self._mining.negatives)
        pool = pool_decided(self, count)
        choice = search(pool, count, selection.max_false_negative_rate, selection.max_risk)
        found = {
            "choice": choice,
            "chosen": describe(pool, choice, count),
            "curve": tuple(trade_off(pool, count, selection.max_risk)),
        }
        return note.model_copy(update=found)

    def order(self, decided: pl.DataFrame, choice: Choice | None) -> pl.DataFrame:
        """Put the candidates that pass into the order in which they are taken."""
        mining = self._mining
        if choice is not None:
            ordered = order_within_budget(
                decided, choice, mining.selection, mining.negatives, mining.seed
            )
        else:
            survivors = order_survivors(decided, mining.selection, mining.seed)
            refused = decided.filter(pl.col("reason").is_not_null())
            ordered = pl.concat([survivors, refused], how="diagonal")
        return hubs.forget_needless(ordered, count_handed(mining))
