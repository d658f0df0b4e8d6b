"""Which pairs a person should look at, and what the answers are taken for.

Two questions are asked of labels: how precise a high risk is, for promotion (`draw_pairs`), and how
high the risk is near the decision, for negatives (`draw_nearest`). Within a stratum chance decides
alone, so that the pairs drawn stand for those that were not.
"""

from collections.abc import Sequence

import polars as pl

from polymine.data_contracts.errors import InputError
from polymine.mining import precision
from polymine.mining.broken_rows import BROKEN, as_json, input_error
from polymine.mining.hashing import hash_texts, uniform
from polymine.mining.input_checks import check_tables

KEYS = ["query_id", "doc_id"]
DRAWN = 200  # pairs to label where it is not known how precise the risk is
STRATA = (0.35, 0.5, 0.65, 0.8, 0.9)  # of the risk, by which they are drawn
NEAREST = 50  # pairs whose labels would tell most of the negatives
PARTS = 3  # of each side of the decision, of equal uncertainty


def draw_pairs(candidates: pl.DataFrame, count: int, seed: int) -> pl.DataFrame:
    """Draw pairs whose labels would say how precise each risk is.

    Every stratum of the risk gets its share, within each kind of language pair.

    Args:
        candidates: query_id, doc_id, kind, risk of open candidates.
        count: pairs altogether.
        seed: of the draw, which depends on it and the ids alone.

    Returns:
        query_id, doc_id, by both; fewer than `count` where there are not as many.
    """
    likely = candidates.filter(pl.col("risk") >= precision.LEAST_RISK)
    stratum = pl.sum_horizontal(*(pl.col("risk") >= lower for lower in STRATA))
    return _draw(likely.with_columns(stratum=stratum), ["kind", "stratum"], count, seed)


def draw_nearest(candidates: pl.DataFrame, count: int, seed: int) -> pl.DataFrame:
    """Draw pairs whose labels would say most of the negatives: those near the decision.

    What was kept and what was refused get equal shares, within each pair of languages. Either side
    is cut by the risk into parts of equal uncertainty, sums of r (1 - r), which is what labels can
    take away; and each part into pairs the teachers agree on and pairs they do not.

    Args:
        candidates: query_id, doc_id, languages, kept, risk, disagreement of what was decided on.
        count, seed: as of `draw_pairs`.

    Returns:
        As of `draw_pairs`.
    """
    unsure = pl.col("risk") * (1 - pl.col("risk"))
    share = unsure.cum_sum().over("kept") / unsure.sum().over("kept")
    part = (share.fill_nan(0) * PARTS).floor().clip(0, PARTS - 1)
    strata = ["languages", "kept", "part"]
    table = candidates.sort("risk", *KEYS).with_columns(part=part)
    middle = pl.col("disagreement").median().over(strata)
    table = table.with_columns(disputed=pl.col("disagreement") > middle)
    return _draw(table, [*strata, "disputed"], count, seed)


def _draw(table: pl.DataFrame, strata: Sequence[str], count: int, seed: int) -> pl.DataFrame:
    """Take the first of every stratum by a random key, then the second, and so on."""
    keys = uniform(seed, hash_texts(table["query_id"]), hash_texts(table["doc_id"]))
    drawn = (
        table.with_columns(key=pl.Series(keys))
        .sort("key")
        .with_columns(nth=pl.int_range(pl.len()).over(strata))
        .sort("nth", "key")
        .head(count)
    )
    return drawn.select(KEYS).sort(KEYS)


def check_labels(
    labels: pl.DataFrame,
    documents: pl.DataFrame,
    queries: pl.DataFrame,
    judgments: pl.DataFrame,
    names: Sequence[str],
) -> pl.DataFrame:
    """Check labels of pairs of a collection.

    Args:
        labels: query_id, doc_id, relevance as they were read; no row without a relevance.
        documents, queries, judgments: of the collection, those that labels may name at least.
        names: what errors call these three and the labels.

    Returns:
        query_id, doc_id, relevance, each pair once. Raises InputError for ids that the collection
        does not have, relevances that are no whole numbers, and answers that contradict each other.
    """
    source = names[3]
    if labels.is_empty():
        raise InputError(
            f"{source}: nothing is filled in; write 0 (not relevant) or 1 (relevant) into the "
            "column `relevance` of the pairs that you have looked at"
        )
    unlike = labels.unique(["query_id", "doc_id", "relevance"])
    tables = (documents, queries, judgments, unlike)
    rejected = check_tables(*tables, on_invalid="quarantine", names=[*names, ""])
    broken = rejected.rejected.filter(pl.col("source") == source)
    if broken.height:
        rows = broken.select("source", pl.col("rule").str.split("; ").alias("rules"), "row")
        advice = f"{source}: {broken.height} of {labels.height} labels are wrong; correct them"
        raise input_error([advice], rows)
    return rejected.labels


def add_labels(
    known: pl.DataFrame, labels: pl.DataFrame, judged: pl.DataFrame, source: str
) -> pl.DataFrame:
    """Put further labels to those of a collection.

    Args:
        known: contract Labels.
        labels: query_id, doc_id, relevance, as from `check_labels`.
        judged: query_id, doc_id that the judgments decide.
        source: what errors call the labels.

    Returns:
        Contract Labels. Raises InputError where labels contradict those known, or add nothing.
    """
    said = known.filter(pl.col("source").cast(pl.String) == "labels")
    both = labels.join(said.select(*KEYS, before="relevance"), on=KEYS)
    unlike = both.filter((pl.col("relevance") > 0) != (pl.col("before") > 0))
    if unlike.height:
        rows = [as_json(row) for row in unlike.iter_rows(named=True)]
        rule = ["the run's labels say otherwise"]
        broken = pl.DataFrame([(source, rule, row) for row in rows], schema=BROKEN, orient="row")
        raise input_error([f"{source}: labels contradict what the run was mined with"], broken)
    new = labels.join(pl.concat([said.select(KEYS), judged.select(KEYS)]), on=KEYS, how="anti")
    if new.is_empty():
        raise InputError(
            f"{source}: the run knows all of these {len(labels):,} pairs already, by its labels or "
            "judgments; `polymine label RUN` writes pairs that it does not know"
        )
    further = new.with_columns(source=pl.lit("labels").cast(known.schema["source"]))
    return pl.concat([known, further.select(known.columns).cast(known.schema)]).sort(KEYS)
