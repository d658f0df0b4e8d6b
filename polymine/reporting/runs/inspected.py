"""What is shown of one query of a run, and the tables that it is put together from."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, ClassVar, Literal

import polars as pl

from polymine.data_contracts.notes import Choice
from polymine.data_contracts.risk import RiskModel, Source
from polymine.data_contracts.settings import MiningSettings
from polymine.mining.risk import FEATURES
from polymine.reporting.shown import Shown, plain

Role = Literal["positive", "negative", "promoted", "excluded", "unused"]
ROLES: tuple[Role, ...] = ("positive", "negative", "promoted", "excluded", "unused")
# What the evidence has per teacher: besides score and rank all that the risk is made of.
OPINIONS = tuple(dict.fromkeys(["score", "rank", *(p.rstrip("_") for p, _ in FEATURES.values())]))


@dataclass(frozen=True)
class QueryTables:
    """A query's rows of a run's tables; contracts as in `polymine.data_contracts.tables`.

    Args:
        text, language: of the query; None where they are not known any more.
        evidence: all its candidates, with `risk` as the model estimated it, before a validator.
        given: contract GivenVerdicts; empty where no file gave candidates.
        texts: doc_id, text, language of the documents that are at hand.
        shortfall: why it has too few negatives, if so.
        choice: what decided under the rule `risk`.
        note: which texts are missing, and why.
    """

    query_id: str
    text: str | None
    language: str | None
    evidence: pl.DataFrame
    negatives: pl.DataFrame
    positives: pl.DataFrame
    promoted: pl.DataFrame
    given: pl.DataFrame
    texts: pl.DataFrame
    shortfall: str | None
    model: RiskModel
    mining: MiningSettings
    choice: Choice | None
    note: str | None = None


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

    `score` is the primary teacher's. `utility` is score - price x risk, by which the rule `risk`
    takes candidates, and None for what it has no say in. `deep` says that no teacher ranked it and
    it was found further down, `given` that a file gave it. A known positive that is no candidate
    has no evidence but its teachers' scores.
    """

    role: Role
    doc_id: str
    text: str | None
    language: str | None
    reason: str
    position: int | None
    score: float | None
    utility: float | None
    validator_score: float | None
    weight: float | None
    risk: Risk | None
    is_candidate: bool
    deep: bool
    given: bool
    closed: str | None
    label: int | None
    same_language: bool | None
    positive_similarity: float | None
    length_ratio: float | None
    opinions: tuple[Opinion, ...]


@dataclass(frozen=True, repr=False)
class Inspection(Shown):
    """A query with its candidates, the most important first, at most `limit` of each role.

    `counts` has all of them, those that passed but were not needed, and the known positives that
    are candidates. `positive_score` is the lowest of the known positives, by the primary
    `teacher`. `price`, `highest_risk` and `lowest_utility`, of the last negative taken, are of
    the rule `risk`, None where they are not known. `sources` and `notes` are the risk model's.
    `note` says which texts are missing, and why.
    """

    drawn_by: ClassVar[str] = "polymine.reporting.runs.inspection_view"

    query_id: str
    text: str | None
    language: str | None
    rule: str
    teacher: str
    wanted: int
    shortfall: str | None
    price: float | None
    highest_risk: float | None
    lowest_utility: float | None
    positive_score: float | None
    sources: tuple[Source, ...]
    notes: tuple[str, ...]
    note: str | None
    counts: Mapping[str, int]
    candidates: tuple[Candidate, ...]

    def of(self, role: Role) -> tuple[Candidate, ...]:
        """The candidates of one role, in order."""
        return tuple(found for found in self.candidates if found.role == role)

    def to_dict(self) -> dict[str, Any]:
        """All that is shown, by role, in plain values for JSON."""
        content = asdict(self)
        shown = content.pop("candidates")
        for role in ROLES:
            key = f"{role}s" if role in ("positive", "negative") else role
            content[key] = [candidate for candidate in shown if candidate["role"] == role]
        content["sources"] = [source.model_dump() for source in self.sources]
        plainly: dict[str, Any] = plain(content)
        return plainly
