"""Ways to choose negatives, each with the one value that trades hardness against cleanliness.

A method sees a `Case` and one value and says what it would choose; it never sees what is hidden.
The values of a method are the same for every collection: nothing is tuned on what is reported.
"""

import contextlib
import io
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Protocol

import numpy as np
import polars as pl
from numpy.typing import NDArray

from benchmarks.negatives.cases import DENSE, LEXICAL, Case, threads
from polymine.data_contracts.settings import (
    EngineSettings,
    MiningSettings,
    RiskSettings,
    SelectionSettings,
    ValidationSettings,
)
from polymine.mining.budget import Choice, apply_choice
from polymine.mining.embedding import Matrix
from polymine.mining.pipeline import languages_of
from polymine.mining.ranking import rank_below
from polymine.mining.risk import assess
from polymine.mining.risk_fit import fit
from polymine.mining.risk_weights import load_prior
from polymine.mining.selection import (
    apply_rule,
    compare_with_ceilings,
    compute_ceilings,
    find_choice,
    find_short,
    order_survivors,
)
from polymine.mining.validation import PairScorer, score_all
from polymine.mining.validator_evidence import look, plan_pairs, with_looks

Value = float | None  # None: the method has nothing to set


def steps(first: float, last: float, step: float) -> tuple[Value, ...]:
    """Values from `first` to `last`, both included."""
    return tuple(np.round(np.arange(first, last + step / 2, step), 6).tolist())


SHIFTS: tuple[Value, ...] = (
    0, 1, 2, 3, 5, 7, 10, 15, 20, 25, 30, 40, 50, 60, 80, 120, 160, 240, 320, 480,
)  # fmt: skip
ABSOLUTES = steps(0.15, 0.9, 0.025)
MARGINS = (*steps(0, 0.2, 0.0125), 0.25, 0.3, 0.35, 0.4)
PERCENTS = (*steps(0.4, 0.75, 0.05), *steps(0.8, 1.1, 0.025))
SUMS = (*steps(0, 10, 0.25), *steps(10.5, 24, 0.5), *steps(26, 60, 2))
PRICES = (0.0, *np.round(np.geomspace(0.02, 200, 49), 4).tolist())
# What the peer calls a relative margin m is percent 1 - m; None is its default, no margin.
PEER_MARGINS = (None, *steps(0, 0.2, 0.025), *steps(0.25, 0.6, 0.05))


class Method(Protocol):
    """Chooses negatives; `values` are tried one after the other."""

    @property
    def name(self) -> str:
        """What tables and pictures call it."""
        ...

    @property
    def values(self) -> Sequence[Value]:
        """The sweep, the same for every collection."""
        ...

    def choose(self, case: Case, value: Value, wanted: int) -> pl.DataFrame:
        """Choose at most `wanted` negatives per query: query_id, doc_id, score of the dense
        teacher."""
        ...


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
class Peer:
    """sentence-transformers' `mine_hard_negatives` on the same vectors, swept by relative margin.

    It works on texts; equal questions share their negatives, as they do there.
    """

    name: str = "sentence-transformers"
    values: Sequence[Value] = PEER_MARGINS

    def choose(self, case: Case, value: Value, wanted: int) -> pl.DataFrame:
        """Call the peer as its documentation shows it, with vectors instead of a model."""
        from datasets import Dataset
        from sentence_transformers.util import mine_hard_negatives

        texts = case.documents.select("doc_id", "text")
        pairs = case.positives.join(
            case.queries.select("query_id", anchor="text"), on="query_id"
        ).join(texts.rename({"text": "positive"}), on="doc_id")
        with contextlib.redirect_stderr(io.StringIO()):  # a progress bar for every value
            mined = mine_hard_negatives(
                Dataset.from_dict(pairs.select("anchor", "positive").to_dict(as_series=False)),
                ReadyVectors(case),  # type: ignore[arg-type]
                corpus=texts["text"].to_list(),
                num_negatives=wanted,
                relative_margin=value,
                verbose=False,
            )
        found = pl.DataFrame(
            {name: pl.Series(list(mined[name]), dtype=pl.String) for name in ("anchor", "negative")}
        )
        chosen = (
            found.unique()
            .join(case.queries.select("query_id", anchor="text"), on="anchor")
            .join(texts.rename({"text": "negative"}), on="negative")
            .select("query_id", "doc_id")
        )
        return chosen.with_columns(score=pl.Series(case.dense.score(*case.rows_of(chosen))))


class ReadyVectors:
    """Stands where the peer wants a SentenceTransformer and hands out what was computed before."""

    def __init__(self, case: Case) -> None:
        import torch

        self.device = torch.device("cpu")
        self._queries = dict(zip(case.queries["text"], case.query_vectors, strict=True))
        self._documents = dict(zip(case.documents["text"], case.document_vectors, strict=True))

    def encode_query(self, sentences: Sequence[str], **_: Any) -> Matrix:
        """Look queries up."""
        return np.stack([self._queries[text] for text in sentences])

    def encode_document(self, sentences: Sequence[str], **_: Any) -> Matrix:
        """Look documents up."""
        return np.stack([self._documents[text] for text in sentences])

    def similarity(self, left: Any, right: Any) -> Any:
        """Cosines of all with all, as the model's own setting is."""
        from sentence_transformers.util import cos_sim

        return cos_sim(left, right)

    def similarity_pairwise(self, left: Any, right: Any) -> Any:
        """Cosines row by row."""
        from sentence_transformers.util import pairwise_cos_sim

        return pairwise_cos_sim(left, right)


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
        return at_price(self.assess(case, wanted), value, wanted)

    def assess(self, case: Case, wanted: int) -> pl.DataFrame:
        """Estimate the risk of every open candidate: query_id, doc_id, score, risk."""
        return _assess(case)


@dataclass(frozen=True)
class RiskWithValidator(Risk):
    """The same with the embedded validator, asked about what is nearest the decision."""

    name: str = "risk, validator"

    def assess(self, case: Case, wanted: int) -> pl.DataFrame:
        """Update the risk of the candidates it looks at."""
        return _look(case, wanted)


@lru_cache(maxsize=2)  # a case is asked for once per price
def _assess(case: Case) -> pl.DataFrame:
    teachers = [(teacher.name, teacher.kind) for teacher in (DENSE, LEXICAL)]
    languages = languages_of(case.evidence, case.queries)
    prior = load_prior(teachers, without=case.name)
    model = fit(case.evidence, teachers, languages, prior)
    risk = pl.Series(assess(model, case.evidence, teachers, languages).astype(np.float32))
    candidates = case.evidence.with_columns(risk=risk).filter(pl.col("closed").is_null())
    return candidates.select("query_id", "doc_id", "risk", score=f"score_{DENSE.name}")


@lru_cache(maxsize=2)
def _look(case: Case, wanted: int) -> pl.DataFrame:
    settings = MiningSettings(
        negatives=wanted,
        validation=ValidationSettings(model="embedded:validator", max_length=160),
        risk=RiskSettings(
            validator_trust=load_prior(
                [(DENSE.name, DENSE.kind), (LEXICAL.name, LEXICAL.kind)], without=case.name
            ).validator
        ),
    )
    assert settings.validation is not None
    decided = _assess(case).with_columns(
        reason=pl.lit(None, pl.String), validator_score=pl.lit(None, pl.Float32)
    )
    selection = settings.selection
    choice = find_choice([decided], selection, wanted)
    budget, pairs = selection.max_false_negative_rate, settings.validation.pairs_per_query
    planned = plan_pairs(decided, choice, wanted, pairs, budget, settings.risk.promote)
    scorer = PairScorer.load(settings.validation, threads(), EngineSettings().batch_tokens)
    texts = dict(case.documents.select("doc_id", "text").rows())
    asked = dict(case.queries.select("query_id", "text").rows())

    def score(rows: pl.DataFrame, purpose: str) -> NDArray[np.float32]:
        named = rows.select("query_id", "doc_id").rows()
        return score_all(scorer, [(asked[query], texts[document]) for query, document in named])

    looks = look(planned, decided, case.positives, settings, score)
    return with_looks(decided, looks).select("query_id", "doc_id", "score", "risk")


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
    Peer(),
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
