"""A run small enough to be counted by hand, as the tables a report is made from."""

import math
from collections.abc import Mapping
from typing import Any

import polars as pl

from polymine.data_contracts.risk import Bin, Linear, Proof, RiskModel, Source
from polymine.data_contracts.settings import MiningSettings, SelectionSettings, TeacherSettings
from polymine.data_contracts.tables import (
    Negatives,
    Risks,
    Shortfalls,
    evidence_schema,
    positives_schema,
)
from polymine.reporting.mining.tables import Tables

MINING = MiningSettings(
    teachers=(
        TeacherSettings(name="one", kind="lexical"),
        TeacherSettings(name="two", kind="lexical"),
    ),
    negatives=2,
    selection=SelectionSettings(rule="percent"),
)
SCRIPT = '<script>alert(1)</script> & "quoted" [link](javascript:x)'

# query, document, score, verdict, reason, position, rank by one, rank by two
ROWS = [
    ("q1", "d1", 0.9, "excluded", "known positive: positive", None, 1, 1),
    ("q1", "d2", 0.5, "negative", "passed the rule", 1, 2, None),
    ("q1", "d3", 0.4, "negative", "passed the rule", 2, 3, 2),
    ("q1", "d4", 0.88, "excluded", "percent: at or above the ceiling", None, 4, 3),
    ("q2", "d1", 0.3, "negative", "passed the rule", 1, 1, 2),
    ("q2", "d5", 0.79, "excluded", "known positive: near_copy", None, 2, None),
    ("q2", "d6", 0.85, "excluded", "percent: at or above the ceiling", None, 12, 1),
]
RISKS = {"d1": 0.01, "d2": 0.02, "d3": 0.06, "d4": 0.3, "d5": 0.5, "d6": 0.0}  # by document
POSITIVES = [("q1", "d1", 0.9), ("q2", "d4", 0.8)]
GIVEN = [("q1", "d2"), ("q1", "d4")]
QUERIES = [("q1", "first question", "en"), ("q2", SCRIPT, "fr"), ("q3", "no answer", "en")]
DOCUMENTS = [(f"d{n}", f"passage {n} {SCRIPT}", "en" if n < 4 else "fr") for n in range(1, 7)]
SHORTFALLS = [
    ("q2", 2, 1, "only 1 documents of the corpus pass the rule"),
    ("q3", 2, 0, "no known positive"),
]


def make_model(**changed: Any) -> RiskModel:
    """A model whose one weight doubles the odds per deviation; `changed` replaces some fields."""
    linear = Linear(
        features=("words", "positive_words"), centres=(0.0, 0.0), weights=(math.log(2), 0.0),
        spreads=(0.1, 0.2), intercept=math.log(1 / 99), intercept_spread=1.0,
    )  # fmt: skip
    bins = (Bin(expected=0.01, true=0.02, count=400), Bin(expected=0.5, true=0.0, count=10))
    fields: dict[str, Any] = {
        "kinds": ("lexical",), "full": {"same": linear, "foreign": linear}, "query_side": linear,
        "rate_spread": math.log(2) / 1.96,
        "sources": (Source(name="known positives", pairs=12),),
        "proofs": (Proof(collection="cranfield", expected=4.5, true=5.8, bins=bins),),
    }  # fmt: skip
    return RiskModel(**{**fields, **changed})


def make_tables(rows: list[tuple[Any, ...]] = ROWS, **changed: Any) -> Tables:
    """Build the tables; `changed` replaces some of the fields."""
    positive = {query: score for query, _, score in POSITIVES}
    fields: dict[str, Any] = {
        "queries": _texts(QUERIES, "query_id"),
        "documents": _texts(DOCUMENTS, "doc_id"),
        "closure": _frame(
            {"query_id": ["q1", "q2", "q2"], "reason": ["positive"] * 2 + ["near_copy"]}
        ),
        "rejected": pl.LazyFrame(
            {"source": ["corpus"] * 2, "rule": ["text_is_not_empty"] * 2, "row": ["{}"] * 2}
        ),
        "positives": pl.LazyFrame(
            [(q, d, s, s, None, None) for q, d, s in POSITIVES],
            schema=positives_schema(("one", "two")).create_empty().schema,
            orient="row",
        ),
        "evidence": _evidence(rows, positive),
        "risks": pl.LazyFrame(
            [(query, doc, RISKS[doc]) for query, doc, *_ in rows],
            schema=Risks.create_empty().schema,
            orient="row",
        ),
        "negatives": _negatives(rows, positive),
        "given": pl.LazyFrame(GIVEN, schema=["query_id", "doc_id"], orient="row"),
        "triplets": _triplets(rows, positive),
        "shortfalls": Shortfalls.cast(
            pl.DataFrame(SHORTFALLS, schema=Shortfalls.columns().keys(), orient="row")
        ).lazy(),
        "logits": None,
        "teachers": ("one", "two"),
        "primary": "one",
    }
    return Tables(**{**fields, **changed})


def _frame(columns: Mapping[str, list[Any]]) -> pl.LazyFrame:
    return pl.LazyFrame(columns)


def _texts(rows: list[tuple[str, str, str]], key: str) -> pl.LazyFrame:
    return pl.LazyFrame(rows, schema=[key, "text", "language"], orient="row")


def _evidence(rows: list[tuple[Any, ...]], positive: dict[str, float]) -> pl.LazyFrame:
    schema = evidence_schema(("one", "two"))
    table = [
        {
            "query_id": query, "doc_id": doc, "rank": min(r for r in (one, two) if r),
            "score_one": score, "z_one": score * 10, "rank_one": one, "score_two": score,
            "z_two": 0.0, "rank_two": two, "positive_score": positive.get(query),
            "positive_z_one": 1.0, "positive_z_two": None, "same_group": False,
            "near_copy": False, "equals_query": False,
        }
        for query, doc, score, _, _, _, one, two in rows
    ]  # fmt: skip
    empty = schema.create_empty()
    return pl.DataFrame(table, schema=empty.schema).lazy()


def _negatives(rows: list[tuple[Any, ...]], positive: dict[str, float]) -> pl.LazyFrame:
    table = [
        {
            "query_id": query, "doc_id": doc, "position": position, "score": score,
            "positive_score": positive.get(query), "verdict": verdict, "reason": reason,
            "risk": RISKS[doc],
        }
        for query, doc, score, verdict, reason, position, _, _ in rows
    ]  # fmt: skip
    return pl.DataFrame(table, schema=Negatives.create_empty().schema).lazy()


def _triplets(rows: list[tuple[Any, ...]], positive: dict[str, float]) -> pl.LazyFrame:
    kept = [(positive[row[0]], row[2], 1 - RISKS[row[1]]) for row in rows if row[3] == "negative"]
    scores = dict.fromkeys(("positive_score", "negative_score", "weight"), pl.Float32)
    return pl.DataFrame(kept, schema=scores, orient="row").lazy()
