"""The rules of the library and a plain sum of z-scores as ways to choose negatives."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from benchmarks.negatives.baseline import Baseline
from benchmarks.negatives.cases import DENSE, LEXICAL, Case, threads
from benchmarks.negatives.sweeps import (
    ABSOLUTES,
    MARGINS,
    PERCENTS,
    PRICES,
    SHIFTS,
    SUMS,
    Method,
    Value,
)
from polymine.data_contracts.notes import Choice
from polymine.data_contracts.settings import (
    EngineSettings,
    MiningSettings,
    SelectionSettings,
    ValidationSettings,
)
from polymine.mining.budget import apply_choice, search
from polymine.mining.ranking import rank_below
from polymine.mining.risk import predict_risk
from polymine.mining.risk_estimate import languages_of
from polymine.mining.risk_fit import fit
from polymine.mining.risk_weights import load_prior
from polymine.mining.selection import (
    apply_rule,
    compare_with_ceilings,
    compute_ceilings,
    find_short,
    order_survivors,
    pool_decided,
)
from polymine.mining.validation import PairScorer
from polymine.mining.validator_evidence import gather_validator_evidence, plan_pairs, with_validator


@dataclass(frozen=True)
class Rule:
    """One of the library's rules below a ceiling, deepening where a query is short.

    `setting` is the key of SelectionSettings that `values` stand for.
    """

    name: Any  # Literal of SelectionSettings.rule
    setting: str | None
    values: Sequence[Value]

    def choose(self, case: Case, value: Value, wanted: int) -> pl.DataFrame:
        """Apply the rule to the evidence and to what lies deeper."""
        settings = SelectionSettings(rule=self.name)
        if self.setting:
            settings = SelectionSettings.model_validate({"rule": self.name, self.setting: value})
        scores = case.positives.select("query_id", "doc_id", score=f"score_{DENSE.name}")
        ceilings = compute_ceilings(scores, settings)
        searched = wanted + (settings.shift if self.name == "shifted" else 0)
        candidates = deepen(case, ceilings, settings, searched)
        decided = apply_rule(candidates, ceilings, DENSE.name, settings)
        ordered = order_survivors(decided, settings, seed=0).filter(pl.col("order") <= wanted)
        return ordered.select("query_id", "doc_id", "score")


@dataclass(frozen=True)
class SumOfThree:
    """The hardest candidates whose three z-scores add up to less than a ceiling.

    Query to candidate, known positive to candidate, BM25; unweighted, nothing fitted. A query with
    too few candidates below the ceiling is filled up with its lowest sums.
    """

    name: str = "sum of three z"
    values: Sequence[Value] = SUMS

    def choose(self, case: Case, value: Value, wanted: int) -> pl.DataFrame:
        """Take the candidates with the highest cosine below the ceiling, then the safest."""
        total = pl.sum_horizontal(
            f"z_{DENSE.name}", f"z_{LEXICAL.name}", f"positive_z_{DENSE.name}"
        )
        score = pl.col(f"score_{DENSE.name}")
        open_ones = (
            case.evidence.select("query_id", "doc_id", "closed", score=score, total=total)
            .filter(pl.col("closed").is_null())
            .with_columns(above=pl.col("total") >= value)
            .with_columns(order=pl.when("above").then("total").otherwise(-pl.col("score")))
            .sort("query_id", "above", "order", "doc_id")
        )
        return take_first(open_ones, wanted).select("query_id", "doc_id", "score")


@dataclass(frozen=True)
class Risk:
    """The rule `risk`, swept by the price of a false negative.

    The weights it starts from were fitted without the collection at hand; it then fits to the one
    positive that is known of each query, as in any run.
    """

    name: str = "risk"
    values: Sequence[Value] = PRICES

    def choose(self, case: Case, value: Value, wanted: int) -> pl.DataFrame:
        """Take the candidates with the highest score - price x risk."""
        assert value is not None
        return at_price(self.predict_risk(case, wanted), value, wanted)

    def predict_risk(self, case: Case, wanted: int) -> pl.DataFrame:
        """Estimate the risk of every open candidate: query_id, doc_id, score, risk."""
        return _assess(case)


@dataclass(frozen=True)
class RiskWithValidator(Risk):
    """The same with a cross-encoder, asked about what is nearest the decision."""

    name: str = "risk, validator"
    model: str = ""

    def predict_risk(self, case: Case, wanted: int) -> pl.DataFrame:
        """Update the risk of the candidates it looks at."""
        return _ask_validator(case, self.model, wanted)


@lru_cache(maxsize=2)  # a case is asked for once per price
def _assess(case: Case) -> pl.DataFrame:
    teachers = [(teacher.name, teacher.kind) for teacher in (DENSE, LEXICAL)]
    languages = languages_of(case.evidence, case.queries)
    prior = load_prior(teachers, without=case.name)
    model = fit(case.evidence, teachers, languages, prior)
    risk = pl.Series(predict_risk(model, case.evidence, teachers, languages).astype(np.float32))
    candidates = case.evidence.with_columns(risk=risk).filter(pl.col("closed").is_null())
    return candidates.select("query_id", "doc_id", "risk", score=f"score_{DENSE.name}")


@lru_cache(maxsize=2)
def _ask_validator(case: Case, model: str, wanted: int) -> pl.DataFrame:
    settings = MiningSettings(
        negatives=wanted,
        validation=ValidationSettings(model=model, max_length=160),
    )
    assert settings.validation is not None
    decided = _assess(case).with_columns(
        reason=pl.lit(None, pl.String), validator_score=pl.lit(None, pl.Float32)
    )
    selection = settings.selection
    budget, pairs = selection.max_false_negative_rate, settings.validation.pairs_per_query
    choice = search(pool_decided([decided], wanted), wanted, budget, selection.max_risk)
    planned = plan_pairs(decided, choice, wanted, pairs, budget)
    scorer = PairScorer.load(settings.validation, threads(), EngineSettings().batch_tokens)
    texts = dict(case.documents.select("doc_id", "text").rows())
    asked = dict(case.queries.select("query_id", "text").rows())

    def score(rows: pl.DataFrame, purpose: str) -> NDArray[np.float32]:
        named = rows.select("query_id", "doc_id").rows()
        return scorer.score([(asked[query], texts[document]) for query, document in named])

    looks = gather_validator_evidence(planned, decided, case.positives, settings, score)
    return with_validator(decided, looks).select("query_id", "doc_id", "score", "risk")


def at_price(candidates: pl.DataFrame, price: float, wanted: int) -> pl.DataFrame:
    """What the library takes at a price: query_id, doc_id, score, risk."""
    open_ = candidates.with_columns(reason=pl.lit(None, pl.String))
    ordered = apply_choice(open_, Choice(price, 1.0), wanted)
    return ordered.filter(pl.col("order") <= wanted).select("query_id", "doc_id", "score", "risk")


REFERENCE = Rule("percent", "percent", PERCENTS)
REFERENCE_VALUE = 0.95  # NV-Retriever's choice: everything is compared at its hardness
CANDIDATE = "risk"  # whose curve no other should lie below
METHODS: tuple[Method, ...] = (
    Rule("naive", None, (None,)),
    Rule("shifted", "shift", SHIFTS),
    Rule("absolute", "absolute", ABSOLUTES),
    Rule("margin", "margin", MARGINS),
    REFERENCE,
    Baseline(),
    SumOfThree(),
    Risk(),
)


def deepen(
    case: Case, ceilings: pl.DataFrame, settings: SelectionSettings, needed: int
) -> pl.DataFrame:
    """Add to the evidence what lies below the ceiling of queries that are short, as a run does."""
    columns = ["query_id", "doc_id", "closed", f"score_{DENSE.name}"]
    evidence = case.evidence.select(*columns, risk=pl.lit(None, pl.Float32))
    compared = compare_with_ceilings(evidence, ceilings, DENSE.name, settings)
    short = find_short(compared, ceilings, case.ids.queries, needed)
    if not len(short):
        return evidence
    rows = case.ids.queries.search_sorted(short["query_id"]).to_numpy().astype(np.int64)
    limits = short["ceiling"].to_numpy()
    found = rank_below(case.dense, rows, limits, needed, case.known.of(rows).closed)
    deep = pl.DataFrame(
        {
            "query_id": case.ids.queries.gather(found.queries),
            "doc_id": case.ids.documents.gather(found.documents),
            "closed": pl.Series([None] * len(found.queries), dtype=pl.String),
            f"score_{DENSE.name}": found.scores,
        }
    ).with_columns(risk=pl.lit(None, pl.Float32))
    return pl.concat([evidence, deep.join(evidence, on=["query_id", "doc_id"], how="anti")])


def take_first(ordered: pl.DataFrame, wanted: int) -> pl.DataFrame:
    """Keep the first `wanted` rows of each query."""
    return ordered.filter(pl.int_range(pl.len()).over("query_id") < wanted)
