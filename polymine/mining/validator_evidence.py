"""The validator as one more piece of evidence, asked where it can change a decision.

Under the rule `risk` a cross-encoder's logit joins the other evidence instead of overruling it.
Logits are calibrated on the run's own pairs: known positives against the candidates that were
scored, the latter weighted with how likely they are to be negatives.
"""

from dataclasses import dataclass

import numpy as np
import polars as pl

from polymine.data_contracts.notes import Choice
from polymine.data_contracts.risk import Linear
from polymine.data_contracts.settings import MiningSettings
from polymine.mining.likelihoods import labelled_pairs, solve
from polymine.mining.risk import Array, sigmoid
from polymine.mining.validation import PairScore

CLEAR = 0.2  # of the budget: a candidate with less risk is clear without being asked about
PROMOTABLE = 4  # one in so many of a query's pairs is for what may be promoted
FEWEST_POSITIVES = 10  # from which logits can be calibrated
LOWEST, HIGHEST = 1e-6, 1 - 1e-6
PROMOTING_WEIGHT = 0.5  # below it a validator has no say in what is promoted
PRECISE = "promoted: precise enough by its risk"  # reason of what it may yet turn down


def plan_pairs(
    candidates: pl.DataFrame,
    choice: Choice,
    count: int,
    pairs: int,
    budget: float,
) -> pl.DataFrame:
    """Choose what the validator is to look at, for each query.

    Nearest the decision comes first: the candidates whose utility (score - price x risk) is closest
    to that of the last one taken. A quarter of the pairs, rounded up, is for what is to be
    promoted, the least likely first: it may turn that down.

    Args:
        candidates: query_id, doc_id, score, risk, `reason` (not null for closed and promoted ones).
        choice: of the price and the ceiling, so far.
        count: candidates a query takes.
        pairs: pairs per query.
        budget: the expected rate of false negatives allowed.

    Returns:
        query_id, doc_id, ordered.
    """
    open_ = candidates.filter(
        pl.col("reason").is_null() & (pl.col("risk") >= CLEAR * budget)
    ).with_columns(utility=_utility(choice))
    cuts = _cuts(candidates, choice, count)
    likely = (
        candidates.filter(pl.col("reason") == PRECISE)
        .sort("query_id", "risk", "doc_id")
        .filter(pl.int_range(pl.len()).over("query_id") < -(-pairs // PROMOTABLE))
    )
    near = (
        open_.join(cuts, on="query_id", how="left")
        # Where all are too risky, what is least so is nearest to being taken.
        .with_columns(cut=pl.coalesce("cut", pl.col("score") - choice.price * choice.ceiling))
        .with_columns(distance=(pl.col("utility") - pl.col("cut")).abs())
        .sort("query_id", "distance", "doc_id")
    )
    taken = likely.group_by("query_id").len("likely")
    near = near.join(taken, on="query_id", how="left", maintain_order="left").filter(
        pl.int_range(pl.len()).over("query_id") < pairs - pl.col("likely").fill_null(0)
    )
    columns = ["query_id", "doc_id"]
    return pl.concat([likely.select(columns), near.select(columns)]).sort(columns)


def _utility(choice: Choice) -> pl.Expr:
    return pl.col("score").cast(pl.Float64) - choice.price * pl.col("risk").cast(pl.Float64)


def _cuts(candidates: pl.DataFrame, choice: Choice, count: int) -> pl.DataFrame:
    """Utility of the last candidate taken, per query."""
    open_ = candidates.filter(pl.col("reason").is_null() & (pl.col("risk") <= choice.ceiling))
    utility = open_.select("query_id", cut=_utility(choice))
    return utility.group_by("query_id").agg(pl.col("cut").top_k(count).min())


@dataclass(frozen=True)
class Calibration:
    """What a logit says: log-odds of `intercept + slope x logit` for being relevant."""

    intercept: float
    slope: float


def calibrate_logits(positives: Array, logits: Array, risks: Array) -> Calibration:
    """Learn what a logit says from known positives and scored candidates (Platt scaling).

    Args:
        positives: logits of known positives.
        logits, risks: of the scored candidates, before the validator.

    Returns:
        A likelihood ratio: both sides weigh alike. Zero for fewer than ten positives.
    """
    if len(positives) < FEWEST_POSITIVES or not len(logits):
        return Calibration(0.0, 0.0)
    values = np.concatenate([positives, logits])
    centre, scale = float(values.mean()), max(float(values.std()), 1e-6)
    sure = 1 - risks
    shares = np.concatenate(
        [np.full(len(positives), 0.5 / len(positives)), 0.5 * sure / max(sure.sum(), 1e-9)]
    )
    labels = np.concatenate([np.ones(len(positives)), np.zeros(len(logits))])
    start = Linear(
        features=("logit",), centres=(0.0,), weights=(0.0,), spreads=(1.0,),
        intercept=0.0, intercept_spread=1.0,
    )  # fmt: skip
    matrix = ((values - centre) / scale)[:, None]
    found = solve(start, [labelled_pairs(matrix, labels, shares * len(values))])
    slope = found.weights[0] / scale
    return Calibration(found.intercept - slope * centre, slope)


def update_risks(risks: Array, logits: Array, calibration: Calibration, weight: float) -> Array:
    """Add the validator's log-odds, times its weight, to those of the other evidence.

    Args:
        risks, logits: (n,) each, before the validator.
        weight: of the validator beside the rest, from 0 to 2; 1 counts it in full.

    Returns:
        Updated risks, (n,); 0 and 1 stay, since a label said so.
    """
    before = np.clip(risks, LOWEST, HIGHEST)
    odds = np.log(before / (1 - before))
    moved = sigmoid(odds + weight * (calibration.intercept + calibration.slope * logits))
    settled = (risks <= 0) | (risks >= 1)  # a label said so
    return np.where(settled, risks, moved)


def gather_validator_evidence(
    pairs: pl.DataFrame,
    decided: pl.DataFrame,
    positives: pl.DataFrame,
    settings: MiningSettings,
    score: PairScore,
) -> pl.DataFrame:
    """Let the validator score pairs and their queries' positives.

    Args:
        pairs: query_id, doc_id, as from `plan_pairs`.
        decided: the candidates with their `risk`.
        positives: query_id, doc_id of known positives.
        score: gives the logits of query_id, doc_id rows; told what the pairs are for.

    Returns:
        Contract ValidatorEvidence, a row per pair, by query_id, doc_id.
    """
    assert settings.validation is not None
    known = positives.select("query_id", "doc_id").join(pairs, on="query_id", how="semi")
    known = known.with_columns(validator_score=pl.Series(score(known, "known positives")))
    risks = decided.select("query_id", "doc_id", "risk")
    looked = pairs.join(risks, on=["query_id", "doc_id"], how="left", maintain_order="left")
    looked = looked.with_columns(validator_score=pl.Series(score(pairs, "candidates")))
    return update_scored(looked, known, settings.risk.validator_weight, settings.validation.margin)


def with_validator(decided: pl.DataFrame, evidence: pl.DataFrame) -> pl.DataFrame:
    """Put the validator's logit, its agreement and the updated risk to the candidates.

    Args:
        decided: query_id, doc_id, risk, validator_score and more.
        evidence: contract ValidatorEvidence.

    Returns:
        `decided` in its order, with `agrees`; what the validator has not read keeps its risk.
    """
    seen = evidence.select(
        "query_id", "doc_id", "agrees", risk_seen="risk", logit="validator_score"
    )
    table = decided.join(seen, on=["query_id", "doc_id"], how="left", maintain_order="left")
    return table.with_columns(
        risk=pl.coalesce("risk_seen", "risk"),
        validator_score=pl.coalesce("logit", "validator_score"),
    ).drop("risk_seen", "logit")


def update_scored(
    pairs: pl.DataFrame,
    known: pl.DataFrame,
    weight: float,
    margin: float,
) -> pl.DataFrame:
    """Update the risk of scored candidates.

    Args:
        pairs: query_id, doc_id, risk, validator_score of the candidates that were read.
        known: query_id, validator_score of their known positives.
        weight: of the validator beside the rest; below 0.5 it agrees to nothing.
        margin: logits below the highest known positive's from which it still agrees.

    Returns:
        Contract ValidatorEvidence, by query_id, doc_id.
    """
    logits, risks = (
        pairs[name].cast(pl.Float64).to_numpy() for name in ("validator_score", "risk")
    )
    positives = known["validator_score"].cast(pl.Float64).to_numpy()
    calibration = calibrate_logits(positives, logits, risks)
    moved = update_risks(risks, logits, calibration, weight)
    highest = known.group_by("query_id").agg(highest=pl.max("validator_score"))
    return (
        pairs.with_columns(risk=pl.Series(moved.astype(np.float32)))
        .join(highest, on="query_id", how="left", maintain_order="left")
        .select(
            "query_id",
            "doc_id",
            "validator_score",
            "risk",
            agrees=pl.lit(weight >= PROMOTING_WEIGHT)
            & (pl.col("validator_score") >= pl.col("highest") - margin).fill_null(value=False),
        )
        .sort("query_id", "doc_id")
    )
