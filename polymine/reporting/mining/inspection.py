"""One query of a run under the lens: every candidate with its evidence, and where its risk is from.

What the report sums up is here one by one. A risk is taken apart into what each feature adds to
the log-odds, so that a false negative can be followed back to the evidence that misled the model.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import polars as pl

from polymine.data_contracts.risk import PAIRS, Pair, RiskModel, Source
from polymine.data_contracts.settings import MiningSettings
from polymine.mining.budget import Choice
from polymine.mining.risk import FEATURES, Teachers, design, features_of, sigmoid

Role = Literal["positive", "negative", "promoted", "excluded"]
ROLES: tuple[Role, ...] = ("positive", "negative", "promoted", "excluded")
KNOWN = "known positive"
# What the evidence has per teacher: besides score and rank all that the risk is made of.
OPINIONS = tuple(dict.fromkeys(["score", "rank", *(p.rstrip("_") for p, _ in FEATURES.values())]))


@dataclass(frozen=True)
class QueryTables:
    """A query's rows of a run's tables; contracts as in `polymine.data_contracts.tables`.

    Args:
        text, language: of the query; None where they are not known any more.
        evidence: all its candidates, with `risk` as the model estimated it, before a validator.
        texts: doc_id, text, language of the documents that are at hand.
        shortfall: why it has too few negatives, if so.
        choice: what decided under the rule `risk`, if it is known.
    """

    query_id: str
    text: str | None
    language: str | None
    evidence: pl.DataFrame
    negatives: pl.DataFrame
    positives: pl.DataFrame
    promoted: pl.DataFrame
    texts: pl.DataFrame
    shortfall: str | None
    model: RiskModel
    mining: MiningSettings
    choice: Choice | None


@dataclass(frozen=True)
class Opinion:
    """What a teacher says of a candidate, by the names in OPINIONS; None for what it has not."""

    teacher: str
    evidence: Mapping[str, float | None]


@dataclass(frozen=True)
class Contribution:
    """What a feature adds to the log-odds: weight x (value - centre), 0 for a missing value.

    `intercept` and `language`, the offset of the query's language, have no value.
    """

    feature: str
    log_odds: float
    value: float | None = None
    centre: float | None = None
    weight: float | None = None


@dataclass(frozen=True)
class Risk:
    """How likely a candidate is to be relevant, and why.

    `estimated` is the model's, the sum of `contributions` as a probability; `final` is what the
    verdict was made by, which `updated_by` has changed.
    """

    final: float
    estimated: float
    updated_by: Literal["label", "validator"] | None
    log_odds: float
    contributions: tuple[Contribution, ...]


@dataclass(frozen=True)
class Candidate:
    """A document of a query, with all that is known of the pair.

    `score` is the primary teacher's. `worth` is score - price x risk, by which the rule `risk`
    takes candidates, and None for what it has no say in. `deep` says that no teacher ranked it and
    it was found further down. A known positive that is no candidate has no evidence but its
    teachers' scores.
    """

    role: Role
    doc_id: str
    text: str | None
    language: str | None
    reason: str
    position: int | None
    score: float | None
    worth: float | None
    validator_score: float | None
    weight: float | None
    risk: Risk | None
    is_candidate: bool
    deep: bool
    closed: str | None
    label: int | None
    same_language: bool | None
    positive_similarity: float | None
    length_ratio: float | None
    opinions: tuple[Opinion, ...]


@dataclass(frozen=True)
class Inspection:
    """A query with its candidates, the most important first, at most `limit` of each role.

    `counts` has all of them, those that passed but were not needed, and the known positives that
    are candidates. `positive_score` is the lowest of the known positives, by the deciding
    `teacher`. `price`, `highest_risk` and `last_worth`, of the negative worth least, are of the
    rule `risk`, None where they are not known. `sources` and `notes` are the risk model's.
    """

    query_id: str
    text: str | None
    language: str | None
    rule: str
    teacher: str
    wanted: int
    shortfall: str | None
    price: float | None
    highest_risk: float | None
    last_worth: float | None
    positive_score: float | None
    sources: tuple[Source, ...]
    notes: tuple[str, ...]
    counts: Mapping[str, int]
    candidates: tuple[Candidate, ...]

    def of(self, role: Role) -> tuple[Candidate, ...]:
        """The candidates of one role, in order."""
        return tuple(found for found in self.candidates if found.role == role)


def inspect(tables: QueryTables, limit: int | None = None) -> Inspection:
    """Put together what a run knows of one query.

    Args:
        limit: candidates of each role that are shown; all if None.
    """
    mining, choice = tables.mining, tables.choice
    found = _candidates(tables)
    shown = [row for role in ROLES for row in [c for c in found if c.role == role][:limit]]
    counts: dict[str, int] = {"candidates": len(tables.evidence)}
    counts |= {role: sum(c.role == role for c in found) for role in ROLES}
    taken = [c.worth for c in found if c.role == "negative" and c.worth is not None]
    decided = sum(candidate.is_candidate for candidate in found)
    counts["not_needed"] = len(tables.evidence) - decided
    counts["positive_candidates"] = sum(c.role == "positive" and c.is_candidate for c in found)
    score = tables.positives[f"score_{mining.primary_teacher}"].min()
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
        last_worth=min(taken, default=None),
        positive_score=_number(score),
        sources=tables.model.sources,
        notes=tables.model.notes,
        counts=counts,
        candidates=tuple(shown),
    )


def explain_risks(
    model: RiskModel, evidence: pl.DataFrame, teachers: Teachers, language: str | None
) -> list[tuple[Contribution, ...]]:
    """Take the log-odds of each candidate apart; a row's contributions add up to them.

    Args:
        evidence: rows of the contract Evidence of one query.
        teachers: name and kind of each teacher.
        language: the query's.
    """
    if not len(evidence):
        return []
    features = features_of(evidence, teachers)
    offset = model.offsets.get(language or "")
    explained = {pair: _explain_pair(model, pair, features) for pair in PAIRS}
    out = []
    for row, same in enumerate(evidence["same_language"]):
        parts = explained["same" if same else "foreign"][row]
        if same and offset is not None:
            parts = (*parts, Contribution("language", offset))
        out.append(parts)
    return out


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
    teachers = tables.mining.teacher_kinds
    explained = explain_risks(tables.model, tables.evidence, teachers, tables.language)
    rows = tables.evidence.to_dicts()
    evidence = {row["doc_id"]: (row, why) for row, why in zip(rows, explained, strict=True)}
    texts = {row["doc_id"]: row for row in tables.texts.to_dicts()}
    weights = (
        dict(tables.promoted.select("doc_id", "weight").rows()) if len(tables.promoted) else {}
    )
    decided = {row["doc_id"]: row for row in tables.negatives.to_dicts()}
    found = []
    for row in tables.positives.to_dicts():
        verdict = {"verdict": "positive", "reason": KNOWN}
        score = row[f"score_{tables.mining.primary_teacher}"]
        known = {**decided.pop(row["doc_id"], {}), **row, **verdict, "score": score}
        found.append(_candidate(tables, known, evidence, texts, weights))
    found += [_candidate(tables, row, evidence, texts, weights) for row in decided.values()]
    return sorted(found, key=_importance)


def _importance(found: Candidate) -> tuple[int, float, float, str]:
    score = -math.inf if found.score is None else found.score
    return ROLES.index(found.role), found.position or 0, -score, found.doc_id


def _candidate(
    tables: QueryTables,
    row: Mapping[str, Any],
    evidence: Mapping[str, tuple[dict[str, Any], tuple[Contribution, ...]]],
    texts: Mapping[str, Mapping[str, Any]],
    weights: Mapping[str, float],
) -> Candidate:
    doc_id, written = row["doc_id"], texts.get(row["doc_id"], {})
    known, why = evidence.get(doc_id, ({}, ()))
    risk = _risk(row, known, why) if known else None
    names = [teacher.name for teacher in tables.mining.teachers]
    candidate = Candidate(
        role=row["verdict"],
        doc_id=doc_id,
        text=written.get("text"),
        language=written.get("language"),
        reason=row["reason"],
        position=row.get("position"),
        score=_number(row["score"]),
        worth=None,
        validator_score=_number(row.get("validator_score")),
        weight=_number(weights.get(doc_id)),
        risk=risk,
        is_candidate=bool(known),
        deep=bool(known) and known["rank"] is None,
        closed=known.get("closed"),
        label=known.get("label"),
        same_language=known.get("same_language"),
        positive_similarity=_number(known.get("positive_similarity")),
        length_ratio=_number(known.get("length_ratio")),
        opinions=tuple(_opinion(name, {**row, **known}) for name in names),
    )
    return _with_worth(candidate, tables.choice)


def _with_worth(found: Candidate, choice: Choice | None) -> Candidate:
    open_ = found.role in ("negative", "excluded") and found.closed is None
    if choice is None or found.risk is None or found.score is None or not open_:
        return found
    return replace(found, worth=found.score - choice.price * found.risk.final)


def _risk(row: Mapping[str, Any], known: Mapping[str, Any], why: Sequence[Contribution]) -> Risk:
    """Tell the model's estimate from what was decided by; a label or a validator comes between."""
    log_odds = sum(part.log_odds for part in why)
    final = row.get("risk")
    final = known["risk"] if final is None else final
    updated_by: Literal["label", "validator"] | None = None
    if known["label"] is not None:
        updated_by = "label"
    elif final != known["risk"]:
        updated_by = "validator"
    estimated = float(sigmoid(log_odds))  # type: ignore[arg-type]
    return Risk(float(final), estimated, updated_by, log_odds, tuple(why))


def _opinion(teacher: str, known: Mapping[str, Any]) -> Opinion:
    return Opinion(teacher, {name: _number(known.get(f"{name}_{teacher}")) for name in OPINIONS})


def _number(value: Any) -> Any:
    """Nothing instead of NaN, plain numbers instead of NumPy's."""
    if value is None or isinstance(value, int):
        return value
    return None if math.isnan(value) else float(value)
