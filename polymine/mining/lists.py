"""Every query's list: its positives, its negatives, and candidates of every risk and score.

Triplets hold what is surely right and surely wrong. A model that is to learn an order needs what
lies between as well, drawn from the whole range of scores and not from its top: that keeps what a
teacher's scores say (stratified sampling, arXiv 2604.04734). Lists name texts by their ids.
"""

import polars as pl

from polymine.data_contracts.errors import InputError
from polymine.mining.export import LOWEST_WEIGHT
from polymine.mining.hashing import hash_texts, uniform
from polymine.mining.validator_evidence import HIGHEST, LOWEST

KEYS = ["query_id", "doc_id"]
BINS = 4  # of the range of scores, and of risks, of a query's candidates: strata are their pairs
UNUSED = "passed, and its query had its negatives already"


def build_lists(
    evidence: pl.DataFrame,
    negatives: pl.DataFrame,
    promoted: pl.DataFrame,
    positives: pl.DataFrame,
    logits: pl.DataFrame,
    *,
    weighted: bool,
    further: int,
    seed: int,
) -> pl.DataFrame:
    """List the documents of every query that has a known positive.

    What is closed without being a known or promoted positive (copies, versions, the query itself)
    is in no list.

    Args:
        evidence: contract Evidence of some queries, with `risk`.
        negatives: contract Negatives, with all verdicts.
        promoted: contract Promoted.
        positives: query_id, doc_id, `weight` of the known ones to train on, and every teacher's
            score.
        logits: contract Logits.
        weighted: whether a negative counts by its risk, as under the rule `risk`.
        further: candidates beside positives and negatives, per query at most.
        seed: of their draw, which depends on it and the ids alone.

    Returns:
        Contract Lists (`lists_schema`), by query_id and place.
    """
    scores = [name for name in evidence.columns if name.startswith("score_")]
    teachers = [name.removeprefix("score_") for name in scores]
    fused = pl.mean_horizontal(f"z_{teacher}" for teacher in teachers).cast(pl.Float32)
    assessed = evidence.select(*KEYS, "closed", "risk", *scores, fused=fused)
    known = _known(positives.select(*KEYS, "weight", *scores), assessed)
    open_ = _open(assessed, negatives, promoted, weighted).join(known, on=KEYS, how="anti")
    open_ = open_.join(known.select("query_id").unique(), on="query_id", how="semi")
    chosen = pl.col("verdict").is_in(["promoted", "negative"])
    drawn = draw_further(open_.filter(~chosen), further, seed)
    listed = pl.concat([known, open_.filter(chosen), drawn], how="diagonal")
    rank = pl.col("verdict").replace_strict(
        {"known": 0, "promoted": 1, "negative": 2}, default=3, return_dtype=pl.UInt8
    )
    listed = listed.sort("query_id", rank, "order", "doc_id").join(
        logits, on=KEYS, how="left", maintain_order="left"
    )
    place = pl.int_range(1, pl.len() + 1).over("query_id").cast(pl.UInt32)
    return listed.select(
        *KEYS, place.alias("place"), "verdict", "reason", "weight", "risk", "fused",
        "validator_score", *scores,
    )  # fmt: skip


def draw_further(candidates: pl.DataFrame, count: int, seed: int) -> pl.DataFrame:
    """Draw candidates of every query, evenly over the ranges of their scores and risks.

    Both ranges are cut into parts of equal width, the risk's by its log-odds. Of every pair of
    parts comes first one candidate by chance, then a second, and so on.

    Args:
        candidates: query_id, doc_id, risk, fused and more.
        count: of each query, at most.
        seed: of the draw, which depends on it and the ids alone.

    Returns:
        Those drawn, with the `order` in which they were, from 0.
    """
    odds = pl.col("risk").cast(pl.Float64).clip(LOWEST, HIGHEST)
    binned = candidates.with_columns(
        score_bin=_bin(pl.col("fused").cast(pl.Float64)),
        risk_bin=_bin((odds / (1 - odds)).log()),
        key=pl.Series(uniform(seed, *(hash_texts(candidates[name]) for name in KEYS))),
    )
    stratum = ["query_id", "score_bin", "risk_bin"]
    nth = pl.int_range(pl.len()).over(stratum)
    ordered = binned.sort("key", *KEYS).with_columns(nth=nth).sort("query_id", "nth", "key")
    ordered = ordered.with_columns(order=pl.int_range(pl.len()).over("query_id").cast(pl.Float64))
    return ordered.filter(pl.col("order") < count).drop("score_bin", "risk_bin", "key", "nth")


def score_by(lists: pl.DataFrame, target: str) -> pl.DataFrame:
    """Put a `score` to every document: null where the target has none.

    Args:
        lists: contract Lists.
        target: `risk`, by which a positive has its weight; `fused`, `validator`, or a teacher.

    Raises:
        InputError: the target is none of these.
    """
    columns = {name.removeprefix("score_"): name for name in lists.columns}
    known = {"fused": "fused", "validator": "validator_score"}
    teachers = {name: column for name, column in columns.items() if name != column}
    if target == "risk":
        return lists.with_columns(score=pl.when(right()).then("weight").otherwise("risk"))
    if target not in (named := known | teachers):
        raise InputError(
            f"{target}: lists have no such scores; they have risk, {', '.join(sorted(named))}"
        )
    return lists.with_columns(score=named[target])


def right() -> pl.Expr:
    """Whether a document of a list is a positive."""
    return pl.col("verdict").cast(pl.String).is_in(["known", "promoted"])


def interleave(lists: pl.DataFrame) -> pl.DataFrame:
    """Let negatives and further candidates take turns behind the positives of their query.

    However short a list is cut, it then has both.

    Args:
        lists: contract Lists, and any other columns.
    """
    spare = pl.col("verdict").cast(pl.String).is_in(["excluded", "unused"])
    nth = pl.int_range(pl.len()).over("query_id", right(), spare)
    ordered = lists.sort("query_id", "place").with_columns(spare=spare, nth=nth)
    return ordered.sort("query_id", ~right(), "nth", "spare").drop("spare", "nth")


def _bin(value: pl.Expr) -> pl.Expr:
    """The part of its query's range that a value lies in, from 0; 0 where there is no range."""
    low, high = value.min().over("query_id"), value.max().over("query_id")
    share = pl.when(high > low).then((value - low) / (high - low)).otherwise(0.0)
    return (share * BINS).floor().clip(0, BINS - 1).fill_null(0).cast(pl.UInt8)


def _known(positives: pl.DataFrame, assessed: pl.DataFrame) -> pl.DataFrame:
    """Known positives, the surest first; the risk of one that no teacher ranks is 1 as well."""
    known = positives.join(
        assessed.select(*KEYS, "risk", "fused"), on=KEYS, how="left", maintain_order="left"
    )
    return known.with_columns(
        pl.col("risk").fill_null(1.0),
        pl.col("weight").cast(pl.Float32),
        verdict=pl.lit("known"),
        reason=pl.lit("known positive"),
        order=-pl.col("weight").cast(pl.Float64),
    )


def _open(
    assessed: pl.DataFrame, negatives: pl.DataFrame, promoted: pl.DataFrame, weighted: bool
) -> pl.DataFrame:
    """All other candidates with their verdict, reason, weight, and order within their verdict."""
    decided = negatives.select(*KEYS, "position", "verdict", "reason")
    precise = promoted.select(*KEYS, precision="weight")
    table = assessed
    for part in (decided, precise):
        table = table.join(part, on=KEYS, how="left", maintain_order="left")
    table = table.filter(pl.col("closed").is_null() | pl.col("precision").is_not_null())
    verdict = (
        pl.when(pl.col("precision").is_not_null()).then(pl.lit("promoted"))
        .when(pl.col("verdict") == "negative").then(pl.lit("negative"))
        .when(pl.col("verdict").is_null()).then(pl.lit("unused"))
        .otherwise(pl.lit("excluded"))
    )  # fmt: skip
    table = table.with_columns(verdict=verdict, reason=pl.col("reason").fill_null(UNUSED))
    sure = (pl.col("verdict") == "negative") & pl.lit(not weighted)
    none = pl.when(sure).then(1.0).otherwise(1 - pl.col("risk")).clip(LOWEST_WEIGHT, 1.0)
    return table.with_columns(
        weight=pl.coalesce("precision", none).cast(pl.Float32),
        order=pl.coalesce(-pl.col("precision"), "position").cast(pl.Float64),
    ).drop("closed", "precision", "position")
