"""Applies the rule to stored evidence: no model, seconds."""

import polars as pl

from data_contracts.references import DatasetRef, fingerprint
from data_contracts.settings import MiningSettings
from data_contracts.tables import Decisions
from polymine.mining.selection import apply_rule, count_needed, order_survivors
from tasks.evidence import load_ceilings, scan_evidence
from tasks.stages import stage
from tasks.store import Store, shard_name

VERSION = 1


@stage("select")
def select(
    base: DatasetRef, deep: DatasetRef, positives: DatasetRef, mining: MiningSettings, root: str
) -> DatasetRef:
    """Decide of every candidate whether it may be a negative, and in which order."""
    reach = count_needed(mining)
    version = fingerprint(
        version=VERSION,
        evidence=[base.fingerprint, deep.fingerprint],
        rule=mining.selection,
        teacher=mining.deciding_teacher,
        seed=mining.seed,
        reach=reach,
    )
    dataset = Store(root).dataset("decisions", version)
    if found := dataset.find():
        return found
    ceilings, candidates = load_ceilings(positives, mining), 0
    columns = ["query_id", "doc_id", "closed", f"score_{mining.deciding_teacher}"]
    for number, lazy in enumerate(scan_evidence(base, deep)):
        gathered = lazy.select(columns).collect()
        candidates += len(gathered)
        decided = apply_rule(gathered, ceilings, mining.deciding_teacher, mining.selection)
        survivors = order_survivors(decided, mining.selection, mining.seed)
        refused = decided.filter(pl.col("reason").is_not_null())
        frame = pl.concat([survivors.filter(pl.col("order") <= reach), refused], how="diagonal")
        frame = frame.sort("query_id", "order", "doc_id", nulls_last=True)
        dataset.write(shard_name(number), frame, Decisions)
    return dataset.commit(info={"candidates": candidates, "reach": reach})
