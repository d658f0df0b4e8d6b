"""Schemas of every table that enters, leaves or travels between the stages.

A schema says what a row must be; `polymine` takes and returns frames of these shapes and
`tasks` check them at every border. Scores: higher is better, everywhere.
"""

from functools import cache
from typing import Any, Literal, get_args

import dataframely as dy
import polars as pl

Verdict = Literal["negative", "excluded", "promoted"]
VERDICTS: tuple[Verdict, ...] = ("negative", "excluded", "promoted")


# Blanks, control characters, what has no width, and letters of Unicode that are blank.
INVISIBLE = r"\p{Cc}\p{Cf}\p{Z}\p{Default_Ignorable_Code_Point}\x{2800}"


def has_text(column: str) -> pl.Expr:
    """Whether there is anything in a text that people can see."""
    return pl.col(column).str.contains(f"[^{INVISIBLE}]")


class Documents(dy.Schema):
    """The corpus. `group_id` is shared by translations and copies of one text."""

    doc_id = dy.String(primary_key=True, min_length=1)
    text = dy.String(nullable=False)
    title = dy.String(nullable=True)
    language = dy.String(nullable=False, min_length=2)
    group_id = dy.String(nullable=True)

    @dy.rule()
    def text_is_not_empty(cls) -> pl.Expr:
        return has_text("text")


class Queries(dy.Schema):
    """The queries (anchors). Queries of one `group_id` ask the same thing."""

    query_id = dy.String(primary_key=True, min_length=1)
    text = dy.String(nullable=False)
    language = dy.String(nullable=False, min_length=2)
    group_id = dy.String(nullable=True)

    @dy.rule()
    def text_is_not_empty(cls) -> pl.Expr:
        return has_text("text")


class Judgments(dy.Schema):
    """Known relevance: above 0 relevant, 0 judged not relevant."""

    query_id = dy.String(primary_key=True, min_length=1)
    doc_id = dy.String(primary_key=True, min_length=1)
    relevance = dy.Int8(nullable=False, min=0)


class Labels(dy.Schema):
    """What is known of pairs beside their positives: the risk is fitted on it and obeys it.

    `relevance` 0: judged not relevant; above 0: relevant by a labelled file, and not trained on as
    a known positive is. `source` says who said so.
    """

    query_id = dy.String(primary_key=True)
    doc_id = dy.String(primary_key=True)
    relevance = dy.Int8(nullable=False, min=0)
    source = dy.Enum(["judgments", "labels"], nullable=False)


class Given(dy.Schema):
    """Candidates that files give: their own negatives, and rankings of other systems.

    They are judged like all others, wherever a teacher ranks them.
    """

    query_id = dy.String(primary_key=True, min_length=1)
    doc_id = dy.String(primary_key=True, min_length=1)


class Closure(dy.Schema):
    """What may never be a negative of a query, and why: the known-positive closure.

    `positive`: judged relevant; `copy`: same normalised text as a positive; `near_copy`: close
    to the wording of one; `same_group`: a translation or copy by `group_id`; `equals_query`:
    the text of the query itself; `judged_query_group`: relevant to a query of the same group;
    `labelled`: relevant by a labelled file; `promoted`, in a run's own table only: promoted to a
    positive, or a copy, near-copy or version of what is.
    """

    query_id = dy.String(primary_key=True)
    doc_id = dy.String(primary_key=True)
    reason = dy.Enum(
        [
            "positive",
            "labelled",
            "copy",
            "near_copy",
            "same_group",
            "equals_query",
            "judged_query_group",
            "promoted",
        ],
        nullable=False,
    )


class Versions(dy.Schema):
    """What stands for what: copies, near-copies and versions of a document; queries that ask alike.

    `version` is the lowest id of those that hang together; what stands alone is not listed.
    """

    side = dy.Enum(["document", "query"], primary_key=True)
    id = dy.String(primary_key=True)
    version = dy.String(nullable=False)


class Rankings(dy.Schema):
    """Candidates of one teacher; rank 1 is its best."""

    query_id = dy.String(primary_key=True)
    doc_id = dy.String(primary_key=True)
    teacher = dy.String(nullable=False)
    rank = dy.UInt32(nullable=False, min=1)
    score = dy.Float32(nullable=False, allow_inf=False, allow_nan=False)


class PairScores(dy.Schema):
    """Logits a validator gave to (query, document) texts, by content hash."""

    query_hash = dy.UInt64(primary_key=True)
    text_hash = dy.UInt64(primary_key=True)
    logit = dy.Float32(nullable=False, allow_inf=False, allow_nan=False)


class Negatives(dy.Schema):
    """The master: one row per candidate a rule or the validator decided on, by ids.

    `position` counts a query's kept negatives from 1 and is null for the others. `score` and
    `positive_score` are the primary teacher's; `validator_score` is a raw logit.
    """

    query_id = dy.String(primary_key=True)
    doc_id = dy.String(primary_key=True)
    position = dy.UInt32(nullable=True, min=1)
    score = dy.Float32(nullable=False, allow_inf=False, allow_nan=False)
    positive_score = dy.Float32(nullable=False, allow_inf=False, allow_nan=False)
    risk = dy.Float32(nullable=True, min=0.0, max=1.0)
    validator_score = dy.Float32(nullable=True, allow_inf=False, allow_nan=False)
    verdict = dy.Enum(list(VERDICTS), nullable=False)
    reason = dy.String(nullable=False, min_length=1)

    @dy.rule()
    def kept_has_position(cls) -> pl.Expr:
        return (pl.col("verdict") == "negative") == pl.col("position").is_not_null()


class Triplets(dy.Schema):
    """The product: one row per (query, positive, negative), texts included.

    `weight` is how likely the negative is one, `positive_weight` how likely the positive is right.
    """

    query_id = dy.String(primary_key=True)
    positive_id = dy.String(primary_key=True)
    negative_id = dy.String(primary_key=True)
    position = dy.UInt32(nullable=False, min=1)
    anchor = dy.String(nullable=False, min_length=1)
    positive = dy.String(nullable=False, min_length=1)
    negative = dy.String(nullable=False, min_length=1)
    anchor_language = dy.String(nullable=False)
    positive_language = dy.String(nullable=False)
    negative_language = dy.String(nullable=False)
    positive_score = dy.Float32(nullable=False, allow_inf=False, allow_nan=False)
    negative_score = dy.Float32(nullable=False, allow_inf=False, allow_nan=False)
    weight = dy.Float32(nullable=False, min_exclusive=0.0, max=1.0)
    positive_weight = dy.Float32(nullable=False, min_exclusive=0.0, max=1.0)


class Shortfalls(dy.Schema):
    """Queries with fewer negatives in the triplets than wanted, and why."""

    query_id = dy.String(primary_key=True)
    wanted = dy.UInt32(nullable=False, min=1)
    found = dy.UInt32(nullable=False)
    reason = dy.String(nullable=False, min_length=1)

    @dy.rule()
    def found_is_short(cls) -> pl.Expr:
        return pl.col("found") < pl.col("wanted")


class Decisions(dy.Schema):
    """What the rule said of a candidate: `order` in which it may be taken, or why it may not."""

    query_id = dy.String(primary_key=True)
    doc_id = dy.String(primary_key=True)
    score = dy.Float32(nullable=False, allow_inf=False, allow_nan=False)
    positive_score = dy.Float32(nullable=False, allow_inf=False, allow_nan=False)
    risk = dy.Float32(nullable=False, min=0.0, max=1.0)
    validator_score = dy.Float32(nullable=True, allow_inf=False, allow_nan=False)
    order = dy.UInt32(nullable=True, min=1)
    reason = dy.String(nullable=True, min_length=1)

    @dy.rule()
    def ordered_or_refused(cls) -> pl.Expr:
        return pl.col("order").is_null() != pl.col("reason").is_null()


class Risks(dy.Schema):
    """Probability that a candidate is relevant to its query: what a false negative costs."""

    query_id = dy.String(primary_key=True)
    doc_id = dy.String(primary_key=True)
    risk = dy.Float32(nullable=False, min=0.0, max=1.0)


class Verdicts(dy.Schema):
    """What the validator said of the candidates it looked at; `validator_score` is a logit."""

    query_id = dy.String(primary_key=True)
    doc_id = dy.String(primary_key=True)
    validator_score = dy.Float32(nullable=False, allow_inf=False, allow_nan=False)
    verdict = dy.Enum(list(VERDICTS), nullable=False)
    reason = dy.String(nullable=False, min_length=1)


class ValidatorEvidence(dy.Schema):
    """What the validator's logit makes of a candidate's risk (rule `risk`).

    `agrees` says that the logit reaches the known positives', and that such a validator is worth
    listening to.
    """

    query_id = dy.String(primary_key=True)
    doc_id = dy.String(primary_key=True)
    validator_score = dy.Float32(nullable=False, allow_inf=False, allow_nan=False)
    risk = dy.Float32(nullable=False, min=0.0, max=1.0)
    agrees = dy.Bool(nullable=False)


class Logits(dy.Schema):
    """What the validator said of a run's pairs: candidates that it read, and their positives."""

    query_id = dy.String(primary_key=True)
    doc_id = dy.String(primary_key=True)
    validator_score = dy.Float32(nullable=False, allow_inf=False, allow_nan=False)


class Promoted(dy.Schema):
    """Candidates that became positives, by a label or within the budget of wrong ones.

    They stand in further triplets of their query, whose `positive_weight` is `weight`, the
    probability that they are right: 1 by a label, else as calibrated.
    """

    query_id = dy.String(primary_key=True)
    doc_id = dy.String(primary_key=True)
    score = dy.Float32(nullable=False, allow_inf=False, allow_nan=False)
    risk = dy.Float32(nullable=False, min=0.0, max=1.0)
    validator_score = dy.Float32(nullable=True, allow_inf=False, allow_nan=False)
    weight = dy.Float32(nullable=False, min_exclusive=0.0, max=1.0)
    reason = dy.String(nullable=False, min_length=1)


class Promotions(dy.Schema):
    """Candidates that are precise enough to be positives, and what closes with them.

    `precision` is the probability that one is right, as calibrated; null for a copy, near-copy or
    version of one, which is closed for the query and not trained on.
    """

    query_id = dy.String(primary_key=True)
    doc_id = dy.String(primary_key=True)
    precision = dy.Float32(nullable=True, min=0.0, max=1.0)


class GivenVerdicts(dy.Schema):
    """What became of each candidate that a file gave.

    `unused`: nothing speaks against it, and it is not needed or cannot be judged; `reason` says so.
    """

    query_id = dy.String(primary_key=True)
    doc_id = dy.String(primary_key=True)
    verdict = dy.Enum([*VERDICTS, "unused"], nullable=False)
    reason = dy.String(nullable=False, min_length=1)
    position = dy.UInt32(nullable=True, min=1)
    risk = dy.Float32(nullable=True, min=0.0, max=1.0)


class Cleaned(dy.Schema):
    """What became of each negative of a cleaned file.

    `row` counts the file's rows from 1, `place` the texts of a cell from 0. `action`: kept,
    replaced by `replacement`, removed, or the whole row removed with it.
    """

    row = dy.Int64(primary_key=True, min=1)
    column = dy.String(primary_key=True)
    place = dy.Int64(primary_key=True, min=0)
    query = dy.String(nullable=False)
    negative = dy.String(nullable=False)
    action = dy.Enum(["kept", "replaced", "removed", "row removed"], nullable=False)
    verdict = dy.Enum([*VERDICTS, "unused"], nullable=False)
    reason = dy.String(nullable=False)
    risk = dy.Float32(nullable=True, min=0.0, max=1.0)
    replacement = dy.String(nullable=True)
    replacement_risk = dy.Float32(nullable=True, min=0.0, max=1.0)


class Doubtful(dy.Schema):
    """Known pairs that the evidence doubts, taken out of the triplets for a person to review.

    `reason` names the setting that they fail: `least_validity`, `within` or `least_logit`.
    """

    query_id = dy.String(primary_key=True)
    doc_id = dy.String(primary_key=True)
    validity = dy.Float32(nullable=True, min=0.0, max=1.0)
    reason = dy.String(nullable=False, min_length=1)
    anchor = dy.String(nullable=False, min_length=1)
    positive = dy.String(nullable=False, min_length=1)


class Copies(dy.Schema):
    """Documents that were merged into an equal one."""

    doc_id = dy.String(primary_key=True)
    kept_id = dy.String(nullable=False)


class Rejected(dy.Schema):
    """Input rows that broke a contract and were set aside (`on_invalid = "quarantine"`)."""

    source = dy.String(nullable=False)
    rule = dy.String(nullable=False)
    row = dy.String(nullable=False)


class DocumentHashes(dy.Schema):
    """Which documents a run had: a hash of each text, or the document a copy was merged into."""

    doc_id = dy.String(primary_key=True)
    text_hash = dy.UInt64(nullable=True)
    kept_id = dy.String(nullable=True)

    @dy.rule()
    def hashed_or_merged(cls) -> pl.Expr:
        return pl.col("text_hash").is_null() != pl.col("kept_id").is_null()


class TeacherRecall(dy.Schema):
    """Which teacher was chosen as primary, and what each was compared by, in the settings' order.

    `recall` is the mean over queries of the share of their known positives among a teacher's ten
    best candidates (first, where fewer than ten are ranked); null without a known positive.
    """

    teacher = dy.String(primary_key=True)
    recall = dy.Float64(nullable=True, min=0.0, max=1.0)
    chosen = dy.Bool(nullable=False)


class QueryHashes(dy.Schema):
    """Which queries a run had, with a hash of each text."""

    query_id = dy.String(primary_key=True)
    text_hash = dy.UInt64(nullable=False)


Change = Literal["came", "went", "moved", "edited"]
CHANGES: tuple[Change, ...] = ("came", "went", "moved", "edited")
Cause = Literal[
    "query", "document", "copy", "positive", "closed", "promoted", "text", "candidate", "risk",
    "budget", "ceiling", "shifted", "validator", "refused", "order", "wanted", "position",
]  # fmt: skip
CAUSES: tuple[Cause, ...] = get_args(Cause)


class Changes(dy.Schema):
    """What became of the negatives from one run to another; `before` and `after` name the runs.

    `came` and `went`: a negative in one of the runs only, and `reason` says what the pair is in the
    other: its `query` or `document` is not there; the document is merged into another as a `copy`;
    the query has no known `positive`; the pair is `closed` as known to be relevant, or `promoted`;
    it is no `candidate`; refused for its `risk`, which is higher there, or by the `budget`, its
    risk being no higher; at or above the `ceiling`; `shifted` over; turned down by the
    `validator`; `refused` for what `refusal` says; passed, and others came first by the `order`; or
    passed, and fewer are `wanted`. `text` stands for the reasons from `candidate` to `order` where
    the text of query or document differs. `edited`: a negative in both, with another text; `moved`:
    with another position only.

    `refusal` is what the other run says of the pair. `score` is the primary teacher's, `rank` the
    best of any. `other_id`: the document that the copy was merged into; the best of those that took
    the place (`order`); or the best-ranked candidate of the query that is one in the run without
    this one only (`candidate`).
    """

    query_id = dy.String(primary_key=True)
    doc_id = dy.String(primary_key=True)
    change = dy.Enum(list(CHANGES), nullable=False)
    reason = dy.Enum(list(CAUSES), nullable=False)
    position_before = dy.UInt32(nullable=True, min=1)
    position_after = dy.UInt32(nullable=True, min=1)
    refusal = dy.String(nullable=True)
    score_before = dy.Float32(nullable=True)
    score_after = dy.Float32(nullable=True)
    ceiling_before = dy.Float64(nullable=True, allow_inf=True)
    ceiling_after = dy.Float64(nullable=True, allow_inf=True)
    risk_before = dy.Float32(nullable=True)
    risk_after = dy.Float32(nullable=True)
    validator_score_before = dy.Float32(nullable=True)
    validator_score_after = dy.Float32(nullable=True)
    rank_before = dy.UInt32(nullable=True, min=1)
    rank_after = dy.UInt32(nullable=True, min=1)
    other_id = dy.String(nullable=True)

    @dy.rule()
    def positions_fit_the_change(cls) -> pl.Expr:
        before, after = pl.col("position_before").is_null(), pl.col("position_after").is_null()
        kept = pl.col("change").is_in(["moved", "edited"])
        return (
            ((pl.col("change") == "came") == before)
            & ((pl.col("change") == "went") == after)
            & (kept == ~(before | after))
        )


def _real(nullable: bool = False) -> dy.Float32:
    return dy.Float32(nullable=nullable, allow_inf=False, allow_nan=False)


@cache
def positives_schema(teachers: tuple[str, ...]) -> type[dy.Schema]:
    """Schema of the known positives with every teacher's score; they set each query's ceiling.

    `validity` is how likely the pair is right, null where too few are known to tell;
    `validator_score` a logit, null where no settings ask for it.
    """
    columns: dict[str, Any] = {
        "query_id": dy.String(primary_key=True),
        "doc_id": dy.String(primary_key=True),
    }
    columns |= {f"score_{teacher}": _real() for teacher in teachers}
    columns["validity"] = dy.Float32(nullable=True, min=0.0, max=1.0)
    columns["validator_score"] = _real(nullable=True)
    return type("Positives", (dy.Schema,), columns)


@cache
def lists_schema(teachers: tuple[str, ...]) -> type[dy.Schema]:
    """Schema of the lists: each query's positives, negatives and further candidates, by ids.

    `verdict`: known, promoted, negative; of further candidates excluded (with the `reason`) or
    unused, which passed and were not needed. `place` counts from 1 in this order; positives stand
    by their weight, negatives by their position, further candidates as they were drawn.

    `weight` says how likely a positive is right, of all others how likely they are none. `risk` is
    the probability that the document is relevant, 1 for a known positive; `fused` the mean over the
    teachers of its z-score, null for a known positive that no teacher ranks; `validator_score` a
    logit, null for what no validator has read; `score_*` every teacher's score.
    """
    verdicts = ["known", "promoted", "negative", "excluded", "unused"]
    columns: dict[str, Any] = {
        "query_id": dy.String(primary_key=True),
        "doc_id": dy.String(primary_key=True),
        "place": dy.UInt32(nullable=False, min=1),
        "verdict": dy.Enum(verdicts, nullable=False),
        "reason": dy.String(nullable=False, min_length=1),
        "weight": dy.Float32(nullable=False, min_exclusive=0.0, max=1.0),
        "risk": dy.Float32(nullable=False, min=0.0, max=1.0),
        "fused": _real(nullable=True),
        "validator_score": _real(nullable=True),
    }
    columns |= {f"score_{teacher}": _real() for teacher in teachers}
    return type("Lists", (dy.Schema,), columns)


@cache
def embeddings_schema(dimension: int) -> type[dy.Schema]:
    """Schema of the vectors of one teacher: unit length, keyed by the hash of the text."""
    columns = {
        "text_hash": dy.UInt64(primary_key=True),
        "vector": dy.Array(dy.Float32(), dimension, nullable=False),
    }
    return type("Embeddings", (dy.Schema,), columns)


@cache
def evidence_schema(teachers: tuple[str, ...], dense: tuple[str, ...] = ()) -> type[dy.Schema]:
    """Schema of the evidence: every candidate, scored by every teacher.

    Per teacher: `score_*`; `rank_*`, null outside its ranking; `z_*`, the score's distance from the
    mean of the documents of the candidate's language, in deviations; `positive_z_*`, the same with
    a known positive in the query's place, highest of all positives. Per `dense` teacher:
    `document_z_*`, how the query stands among the queries of its language for this document;
    `gap_z_*`, how far `z_*` lies above that of the lowest known positive; `feedback_z_*`, the
    z-score of the centroid of query, positives and the five best candidates (`in_centroid`).

    `rank` is the best rank any teacher gave and null for a candidate found below a ceiling;
    `agreement` counts the teachers that ranked it. `positive_score` is the lowest of the first
    teacher's scores of the query's positives; `positive_similarity` the highest similarity of the
    candidate to one of them. `length_ratio` is ln(characters / those of the median document).
    `label` is 1 for what is known to be relevant, 0 for what was judged not to be. What compares
    with positives is null for a query without any and for its only one.
    """

    columns: dict[str, Any] = {
        "query_id": dy.String(primary_key=True),
        "doc_id": dy.String(primary_key=True),
        "rank": dy.UInt32(nullable=True, min=1),
    }
    for teacher in teachers:
        columns[f"rank_{teacher}"] = dy.UInt32(nullable=True, min=1)
    columns["agreement"] = dy.UInt8(nullable=False)
    for teacher in teachers:
        columns[f"score_{teacher}"] = _real()
        columns[f"z_{teacher}"] = _real(nullable=True)
    for teacher in dense:
        columns[f"document_z_{teacher}"] = _real(nullable=True)
    columns |= {
        "positive_similarity": _real(nullable=True),
        "positive_score": _real(nullable=True),
    }
    columns |= {f"positive_z_{teacher}": _real(nullable=True) for teacher in teachers}
    columns |= {f"gap_z_{teacher}": _real(nullable=True) for teacher in dense}
    columns |= {
        "same_language": dy.Bool(nullable=False),
        "length_ratio": _real(),
        "same_group": dy.Bool(nullable=False),
        "near_copy": dy.Bool(nullable=False),
        "equals_query": dy.Bool(nullable=False),
        "closed": dy.String(nullable=True),
        "label": dy.Int8(nullable=True, min=0, max=1),
        "in_centroid": dy.Bool(nullable=False),
    }
    columns |= {f"feedback_z_{teacher}": _real(nullable=True) for teacher in dense}
    return type("Evidence", (dy.Schema,), columns)
