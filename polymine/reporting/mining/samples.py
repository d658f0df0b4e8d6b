"""Draws the examples the page shows: a fixed, random-looking few, and only their texts."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import polars as pl

from polymine.data_contracts.settings import MiningSettings
from polymine.mining.risk import Teachers, columns_of, features_of

SHOWN = 5  # examples per kind: enough to see a pattern, few enough to be read
SPARE = 8  # drawn per shown one, so that they can come from different queries
LONGEST = 20_000  # characters of a text that go into the page at all


@dataclass(frozen=True)
class Sample:
    """One candidate beside its query and its known positive of the lowest score.

    `positive_logit` is the validator's lowest logit of the query's known positives. `evidence`
    holds the z-scores the risk is made of, by name.
    """

    query_id: str
    query: str
    query_language: str
    positive_id: str
    positive: str
    more_positives: int
    positive_score: float
    positive_logit: float | None
    candidate_id: str
    candidate: str
    candidate_language: str
    score: float
    validator_score: float | None
    risk: float | None
    evidence: tuple[tuple[str, float], ...]
    reason: str


@dataclass(frozen=True)
class SampleKind:
    """What a group of samples has in common.

    `role` is what one of them is called, `kind` its colour.
    """

    name: str
    title: str
    role: str
    kind: str
    about: str


KINDS = (
    SampleKind(
        "kept", "Kept as hard negatives", "hard negative", "negative",
        "Similar to the query, but not its answer: what the training set is made of.",
    ),
    SampleKind(
        "rule", "Excluded by the rule", "excluded", "excluded",
        "Scored so close to the known positive that they may be right answers nobody marked.",
    ),
    SampleKind(
        "grey", "Excluded in the grey zone", "excluded as unsure", "excluded",
        "The validator, a slower model that reads query and passage together, was not sure.",
    ),
    SampleKind(
        "promoted", "Promoted to positive", "promoted", "promoted",
        "The validator finds them at least as relevant as the known positive: right answers "
        "that were not marked. They are in no triplet.",
    ),
    SampleKind(
        "closed", "Too near to a known positive", "closed", "positive",
        "Copies, near-copies and translations of a known positive: never used as negatives.",
    ),
)  # fmt: skip


BY_RISK = {
    "rule": "Too likely to be relevant, at all or for how hard they are.",
    "promoted": "Very likely relevant, and the validator or a label agrees: right answers that "
    "were not marked. Each is a further positive of its query, in triplets of its own.",
}


def name_kinds(mining: MiningSettings) -> tuple[SampleKind, ...]:
    """The kinds, with what they mean under the rule of the run."""
    if mining.selection.rule != "risk":
        return KINDS
    return tuple(replace(kind, about=BY_RISK.get(kind.name, kind.about)) for kind in KINDS)


def plan_evidence(
    evidence: pl.LazyFrame, drawn: Mapping[str, pl.DataFrame], teachers: Teachers
) -> pl.LazyFrame:
    """Plan to read the z-scores of the drawn rows."""
    keys = ["query_id", "doc_id"]
    rows = pl.concat([frame.select(keys) for frame in drawn.values()]).unique()
    columns = [name for names in columns_of(teachers).values() for name in names]
    return evidence.select(*keys, *columns).join(rows.lazy(), on=keys, how="semi")


def read_evidence(
    rows: pl.DataFrame, teachers: Teachers
) -> dict[tuple[str, str], tuple[tuple[str, float], ...]]:
    """Sum the z-scores up as the risk does, by query_id and doc_id; missing ones are left out."""
    features = features_of(rows, teachers)
    names = [name.replace("_", " ") for name in features]
    values = zip(*(column.tolist() for column in features.values()), strict=True)
    return {
        key: tuple((name, z) for name, z in zip(names, found, strict=True) if z == z)
        for key, found in zip(rows.select("query_id", "doc_id").rows(), values, strict=True)
    }


def draw_samples(negatives: pl.LazyFrame) -> dict[str, pl.LazyFrame]:
    """Plan the draw: per kind a few rows of the master table, the same in every run.

    A hash of the ids is the lot, so memory holds the drawn rows and not the table.
    """
    reason, verdict = pl.col("reason"), pl.col("verdict").cast(pl.String)
    closed = reason.str.starts_with("known positive: ")
    choose = {
        "kept": verdict == "negative",
        "rule": (verdict == "excluded") & ~closed & ~reason.str.starts_with("validator"),
        "grey": (verdict == "excluded") & reason.str.starts_with("validator"),
        "promoted": verdict == "promoted",
        "closed": closed & (reason != "known positive: positive"),
    }
    return {name: _draw(negatives.filter(rows)) for name, rows in choose.items()}


def _draw(rows: pl.LazyFrame) -> pl.LazyFrame:
    lot = pl.struct("query_id", "doc_id").hash(seed=0)
    drawn = rows.with_columns(lot=lot).bottom_k(SHOWN * SPARE, by=["lot", "query_id", "doc_id"])
    # Row order after `bottom_k` is open, so sort; then one of every query before a second one.
    ordered = drawn.sort("lot", "query_id", "doc_id").with_columns(
        turn=pl.int_range(pl.len()).over("query_id")
    )
    return ordered.sort("turn", "lot").head(SHOWN).drop("lot", "turn")


def write_out(
    drawn: dict[str, pl.DataFrame],
    positives: pl.DataFrame,
    logits: dict[str, float],
    evidence: Mapping[tuple[str, str], tuple[tuple[str, float], ...]],
    queries: pl.DataFrame,
    documents: pl.DataFrame,
    kinds: Sequence[SampleKind] = KINDS,
) -> tuple[tuple[SampleKind, tuple[Sample, ...]], ...]:
    """Put texts to drawn rows.

    Args:
        positives: query_id, doc_id, score of at least the queries drawn.
        logits: the validator's lowest logit of a known positive, by query_id.
        evidence: as from `read_evidence`.
        queries, documents: id, text and language of at least the rows drawn.
    """
    known = dict(
        positives.sort("score", "doc_id")
        .group_by("query_id")
        .agg(pl.struct("doc_id", "score"))
        .rows()
    )
    asked = {row[0]: row[1:] for row in queries.select("query_id", "text", "language").rows()}
    texts = {row[0]: row[1:] for row in documents.select("doc_id", "text", "language").rows()}
    return tuple(
        (
            kind,
            tuple(
                _write(row, known, logits, evidence, asked, texts)
                for row in drawn[kind.name].to_dicts()
            ),
        )
        for kind in kinds
        if len(drawn.get(kind.name, ()))
    )


def _write(
    row: dict[str, Any],
    known: dict[str, list[dict[str, Any]]],
    logits: dict[str, float],
    evidence: Mapping[tuple[str, str], tuple[tuple[str, float], ...]],
    queries: dict[str, tuple[str, str]],
    documents: dict[str, tuple[str, str]],
) -> Sample:
    query, doc, positives = row["query_id"], row["doc_id"], known[row["query_id"]]
    positive = positives[0]["doc_id"]
    return Sample(
        query_id=query,
        query=cut(queries[query][0]),
        query_language=queries[query][1],
        positive_id=positive,
        positive=cut(documents[positive][0]),
        more_positives=len(positives) - 1,
        positive_score=positives[0]["score"],
        positive_logit=logits.get(query),
        candidate_id=doc,
        candidate=cut(documents[doc][0]),
        candidate_language=documents[doc][1],
        score=row["score"],
        validator_score=row["validator_score"],
        risk=row["risk"],
        evidence=evidence.get((query, doc), ()),
        reason=row["reason"],
    )


def ids_of(frames: Sequence[pl.DataFrame], column: str) -> pl.Series:
    """Collect the ids of one kind that several frames name."""
    parts = [frame[column] for frame in frames if column in frame.columns]
    return pl.concat(parts).unique().sort() if parts else pl.Series(column, [], pl.String)


def cut(text: str, longest: int = LONGEST) -> str:
    """Shorten a text that is too long to be read in a page."""
    return text if len(text) <= longest else f"{text[:longest]} … [{len(text):,} characters]"
