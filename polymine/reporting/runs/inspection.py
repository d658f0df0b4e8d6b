"""Puts one query together: every candidate with its evidence, and where its risk comes from.

A risk is taken apart into what each feature adds to the log-odds, so that a false negative can be
followed back to the evidence that misled the model.
"""

import math
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Literal

import polars as pl

from polymine.data_contracts.risk import PAIRS, Pair, RiskModel
from polymine.mining.risk import Teachers, design, features_of, sigmoid
from polymine.reporting.runs.inspected import (
    OPINIONS,
    ROLES,
    Candidate,
    Contribution,
    Inspection,
    Opinion,
    QueryTables,
    Risk,
)


def inspect(tables: QueryTables, limit: int | None = None) -> Inspection:
    """Put together what a run knows of one query.

    Args:
        tables: rows of this query.
        limit: candidates of each role that are shown; all if None.

    Returns:
        The query with its candidates by role; `counts` are of all, also of those not shown.
    """
    mining, choice = tables.mining, tables.choice
    found = _candidates(tables)
    counts: dict[str, int] = {"candidates": len(tables.evidence)}
    counts |= {role: sum(c.role == role for c in found) for role in ROLES}
    decided = sum(c.is_candidate and c.role != "unused" for c in found)
    counts["not_needed"] = len(tables.evidence) - decided
    counts["positive_candidates"] = sum(c.role == "positive" and c.is_candidate for c in found)
    taken = [c.utility for c in found if c.role == "negative" and c.utility is not None]
    return Inspection(
        query_id=tables.query_id,
        text=tables.text,
        language=tables.language,
        rule=mining.selection.rule,
        teacher=mining.primary_teacher,
        wanted=mining.negatives,
        shortfall=tables.shortfall,
        price=choice.price if choice else None,
        highest_risk=choice.ceiling if choice else None,
        lowest_utility=min(taken, default=None),
        positive_score=_number(tables.positives[f"score_{mining.primary_teacher}"].min()),
        sources=tables.model.sources,
        notes=tables.model.notes,
        note=tables.note,
        counts=counts,
        candidates=tuple(c for role in ROLES for c in [c for c in found if c.role == role][:limit]),
    )


def explain_risks(
    model: RiskModel, evidence: pl.DataFrame, teachers: Teachers, language: str | None
) -> list[tuple[Contribution, ...]]:
    """Take the log-odds of each candidate apart.

    Args:
        model: that gave the risks.
        evidence: rows of the contract Evidence of one query.
        teachers: name and kind of each teacher.
        language: the query's.

    Returns:
        Contributions per row, in natural log-odds, which add up to the row's.
    """
    if not len(evidence):
        return []
    features = features_of(evidence, teachers)
    explained = {pair: _explain_pair(model, pair, features) for pair in PAIRS}
    offset = model.offsets.get(language or "")
    of_language = () if offset is None else (Contribution("language", offset),)
    return [
        (*explained["same"][row], *of_language) if same else explained["foreign"][row]
        for row, same in enumerate(evidence["same_language"])
    ]


def _explain_pair(
    model: RiskModel, pair: Pair, features: dict[str, Any]
) -> list[tuple[Contribution, ...]]:
    linear = model.full[pair]
    added = design(features, linear.features, linear.centres) * linear.weights
    start = Contribution("intercept", linear.intercept)
    named = list(zip(linear.features, linear.centres, linear.weights, strict=True))
    return [
        (
            start,
            *(
                Contribution(name, float(part), _number(features[name][row]), centre, weight)
                for (name, centre, weight), part in zip(named, parts, strict=True)
            ),
        )
        for row, parts in enumerate(added)
    ]


def _candidates(tables: QueryTables) -> list[Candidate]:
    """List everything that has a role, in the order of importance."""
    mining, evidence = tables.mining, tables.evidence
    why = explain_risks(tables.model, evidence, mining.teacher_kinds, tables.language)
    explained = dict(zip(evidence["doc_id"], why, strict=True))
    score = pl.col(f"score_{mining.primary_teacher}")
    rows: dict[str, dict[str, Any]] = {}
    for frame in (  # what comes later decides
        tables.texts,
        evidence.rename({"risk": "estimated"}),
        tables.promoted.select("doc_id", "weight"),
        tables.given.with_columns(pl.col("verdict").cast(pl.String), given=True),
        tables.negatives,
        tables.positives.with_columns(
            score=score, position=None, verdict=pl.lit("positive"), reason=pl.lit("known positive")
        ),
    ):
        for row in frame.iter_rows(named=True):
            rows.setdefault(row["doc_id"], {}).update(row)
    found = [
        _candidate(tables, row, explained.get(doc_id))
        for doc_id, row in rows.items()
        if "verdict" in row
    ]
    return sorted(found, key=_importance)


def _importance(found: Candidate) -> tuple[int, float, float, str]:
    score = -math.inf if found.score is None else found.score
    return ROLES.index(found.role), found.position or 0, -score, found.doc_id


def _candidate(
    tables: QueryTables, row: Mapping[str, Any], why: tuple[Contribution, ...] | None
) -> Candidate:
    teachers = [teacher.name for teacher in tables.mining.teachers]
    names = [name for name in Candidate.__dataclass_fields__ if name in row]
    found = Candidate(
        **{
            **dict.fromkeys(Candidate.__dataclass_fields__),
            **{name: _number(row[name]) for name in names},
            "role": row["verdict"],
            "risk": None if why is None else _risk(row, why),
            "is_candidate": why is not None,
            "deep": why is not None and row["rank"] is None and not row.get("given"),
            "given": bool(row.get("given")),
            "opinions": tuple(
                Opinion(name, {o: _number(row.get(f"{o}_{name}")) for o in OPINIONS})
                for name in teachers
            ),
        }
    )
    decided = found.role in ("negative", "excluded") and found.closed is None
    if tables.choice is None or found.risk is None or found.score is None or not decided:
        return found
    return replace(found, utility=found.score - tables.choice.price * found.risk.final)


def _risk(row: Mapping[str, Any], why: tuple[Contribution, ...]) -> Risk:
    """Tell the model's estimate from what was decided by; a label or a validator comes between."""
    log_odds = sum(part.log_odds for part in why)
    decided = row.get("risk")
    final = row["estimated"] if decided is None else decided
    updated_by: Literal["label", "validator"] | None = None
    if row["label"] is not None:
        updated_by = "label"
    elif final != row["estimated"]:
        updated_by = "validator"
    return Risk(float(final), float(sigmoid(log_odds)), updated_by, log_odds, why)  # type: ignore[arg-type]


def _number(value: Any) -> Any:
    """Nothing instead of NaN, plain numbers instead of NumPy's; what is no number as it is."""
    if value is None or isinstance(value, (int, str)):
        return value
    return None if math.isnan(value) else float(value)
