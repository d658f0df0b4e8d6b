"""Lists: what stands in them, in which order, and drawn from the whole range."""

import numpy as np
import polars as pl

from polymine.data_contracts.tables import Logits, lists_schema
from polymine.mining.lists import BINS, build_lists, draw_further

QUERIES, CANDIDATES = 5, 40


def candidates() -> pl.DataFrame:
    """Scores and risks that crowd at the low end, as they do."""
    rng = np.random.default_rng(0)
    count = QUERIES * CANDIDATES
    return pl.DataFrame(
        {
            "query_id": [f"q{n % QUERIES}" for n in range(count)],
            "doc_id": [f"d{n}" for n in range(count)],
            "fused": rng.exponential(1.0, count).astype(np.float32),
            "risk": rng.beta(0.3, 3, count).astype(np.float32),
        }
    )


def bins(values: np.ndarray) -> np.ndarray:
    low, high = values.min(), values.max()
    return np.minimum(np.floor((values - low) / (high - low) * BINS), BINS - 1)


def test_every_part_of_the_range_gives_one_before_any_gives_a_second():
    drawn = draw_further(candidates(), 9, seed=3)
    for query, there in candidates().partition_by("query_id", as_dict=True).items():
        risk = np.clip(there["risk"].to_numpy().astype(np.float64), 1e-6, 1 - 1e-6)
        strata = list(
            zip(
                bins(there["fused"].to_numpy().astype(np.float64)),
                bins(np.log(risk / (1 - risk))),
                strict=True,
            )
        )
        stratum = dict(zip(there["doc_id"], strata, strict=True))
        taken = [stratum[name] for name in drawn.filter(query_id=query[0])["doc_id"]]
        assert len(taken) == 9
        apart = len(set(strata))
        first = taken[: min(apart, 9)]
        assert len(set(first)) == len(first)  # no stratum twice while another has given none


def test_the_draw_depends_on_seed_and_ids_alone():
    whole = draw_further(candidates(), 6, seed=1).select("query_id", "doc_id", "order")
    shuffled = draw_further(candidates().sample(fraction=1, shuffle=True, seed=9), 6, seed=1)
    assert shuffled.select(whole.columns).equals(whole)
    one = draw_further(candidates().filter(query_id="q2"), 6, seed=1).select(whole.columns)
    assert one.equals(whole.filter(query_id="q2"))
    assert not draw_further(candidates(), 6, seed=2).select(whole.columns).equals(whole)


def evidence() -> pl.DataFrame:
    """Seven documents of a query: what each is called is what it is."""
    names = ["known", "copy", "labelled", "precise", "kept", "risky", "spare"]
    closed = ["positive", "copy", "labelled", None, None, None, None]
    return pl.DataFrame(
        {
            "query_id": ["q"] * 7,
            "doc_id": names,
            "closed": closed,
            "risk": [1.0, 0.9, 1.0, 0.8, 0.1, 0.6, 0.2],
            "score_a": [0.9, 0.9, 0.7, 0.8, 0.6, 0.7, 0.5],
            "score_b": [9.0, 9.0, 7.0, 8.0, 6.0, 7.0, 5.0],
            "z_a": [4.0, 4.0, 2.0, 3.0, 1.0, 2.0, 0.0],
            "z_b": [2.0, 4.0, 2.0, 3.0, 3.0, 4.0, 2.0],
        },
        schema_overrides={"risk": pl.Float32, "score_a": pl.Float32, "score_b": pl.Float32},
    )


NEGATIVES = pl.DataFrame(
    {
        "query_id": ["q"] * 6,
        "doc_id": ["kept", "known", "copy", "labelled", "precise", "risky"],
        "position": [1, None, None, None, None, None],
        "verdict": ["negative", "excluded", "excluded", "promoted", "promoted", "excluded"],
        "reason": ["passed the rule", "known positive: positive", "known positive: copy",
                   "promoted: relevant by a label", "promoted: precise", "risk: too high"],
    }
)  # fmt: skip
PROMOTED = pl.DataFrame(
    {"query_id": ["q", "q"], "doc_id": ["precise", "labelled"], "weight": [0.7, 1.0]}
)
POSITIVES = pl.DataFrame(
    {"query_id": ["q", "q"], "doc_id": ["known", "unranked"], "weight": [1.0, 0.5],
     "score_a": [0.9, 0.1], "score_b": [9.0, 1.0]},
    schema_overrides={"score_a": pl.Float32, "score_b": pl.Float32},
)  # fmt: skip
LOGITS = pl.DataFrame(
    {"query_id": ["q", "q"], "doc_id": ["known", "risky"], "validator_score": [3.0, -1.0]}
)


def build(weighted: bool = True, further: int = 9) -> pl.DataFrame:
    made = build_lists(
        evidence(), NEGATIVES, PROMOTED, POSITIVES, LOGITS, weighted=weighted, further=further,
        seed=0,
    )  # fmt: skip
    return lists_schema(("a", "b")).validate(made, cast=True)


def test_a_list_holds_what_is_known_of_every_document_that_is_not_closed():
    made = build()
    assert made["doc_id"].to_list()[:5] == ["known", "unranked", "labelled", "precise", "kept"]
    assert set(made["doc_id"][5:]) == {"risky", "spare"}
    assert made["place"].to_list() == list(range(1, 8))
    rows = {row["doc_id"]: row for row in made.to_dicts()}
    verdicts = {name: row["verdict"] for name, row in rows.items()}
    assert verdicts == {
        "known": "known", "unranked": "known", "labelled": "promoted", "precise": "promoted",
        "kept": "negative", "risky": "excluded", "spare": "unused",
    }  # fmt: skip
    weights = {name: round(row["weight"], 3) for name, row in rows.items()}
    assert weights == {
        "known": 1.0, "unranked": 0.5, "labelled": 1.0, "precise": 0.7, "kept": 0.9, "risky": 0.4,
        "spare": 0.8,
    }  # fmt: skip
    assert rows["risky"]["reason"] == "risk: too high"
    assert rows["risky"]["validator_score"] == -1.0
    assert rows["spare"]["validator_score"] is None
    assert (rows["risky"]["fused"], rows["unranked"]["fused"]) == (3.0, None)
    assert (rows["unranked"]["risk"], rows["unranked"]["score_b"]) == (1.0, 1.0)


def test_under_the_other_rules_a_negative_counts_in_full_and_what_is_left_by_its_risk():
    weights = dict(build(weighted=False).select("doc_id", "weight").iter_rows())
    assert weights["kept"] == 1.0
    assert round(weights["risky"], 3) == 0.4


def test_without_further_candidates_positives_and_negatives_are_left():
    assert build(further=0)["verdict"].cast(pl.String).unique().sort().to_list() == [
        "known", "negative", "promoted",
    ]  # fmt: skip


def test_a_query_without_a_positive_has_no_list():
    made = build_lists(
        evidence(), NEGATIVES, PROMOTED.clear(), POSITIVES.clear(), Logits.create_empty(),
        weighted=True, further=3, seed=0,
    )  # fmt: skip
    assert made.is_empty()
