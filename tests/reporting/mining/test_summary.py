"""The numbers of a report are those that plain Python counts in the same rows."""

import math
from statistics import mean, median

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from polymine.data_contracts.settings import SelectionSettings
from polymine.mining.hubs import REASON
from polymine.reporting.mining.histograms import (
    BINS,
    LOWEST_RISK,
    Histograms,
    Ranges,
    choose_edges,
)
from polymine.reporting.mining.notes import find_notes
from polymine.reporting.mining.summary import summarise
from polymine.reporting.mining.tables import collect
from polymine.reporting.templates import say
from tests.reporting.mining.small_run import MINING, POSITIVES, ROWS, SCRIPT, make_tables

KEPT = [row for row in ROWS if row[3] == "negative"]
numbers = st.floats(-1e6, 1e6, width=32)


def test_counts() -> None:
    found = summarise(make_tables(), MINING)
    assert (found.queries, found.triplets, found.negatives, found.pairs) == (3, 3, len(KEPT), 2)
    assert (found.short, found.unanswered, found.unanswered_candidates) == (2, 1, 0)
    assert found.closure == {"near_copy": 1, "positive": 2}
    assert found.rejected == {("corpus", "text_is_not_empty"): 2}


def test_the_95_percent_rule_takes_the_hardest_below_its_ceiling() -> None:
    """d4 lies above 95 % of q1's positive, d6 above q2's; d2 and d3 are what the run kept, too."""
    risk = MINING.model_copy(update={"selection": SelectionSettings(rule="risk")})
    found = summarise(make_tables(), risk).by_percent
    assert found is not None
    assert (found.count, found.shared) == (3, 3)
    assert found.hardness == pytest.approx(mean([0.5, 0.4, 0.3]))
    assert found.rate == pytest.approx(mean([0.02, 0.06, 0.01]))
    one = risk.model_copy(update={"negatives": 1})
    assert summarise(make_tables(), one).by_percent.count == 2
    assert summarise(make_tables(), MINING).by_percent is None  # it is that rule


def test_histograms_hold_every_value_once() -> None:
    histograms = summarise(make_tables(), MINING).histograms
    groups = {group.label: group for group in histograms["scores"].groups}
    assert groups["known positives"].total == len(POSITIVES)
    assert groups["kept negatives"].total == len(KEPT)
    assert groups["kept negatives"].median == pytest.approx(median(row[2] for row in KEPT))
    others = [row for row in ROWS if row[3] == "excluded" and row[4] != "known positive: positive"]
    assert groups["excluded candidates"].total == len(others)
    margins = histograms["margins"].groups[0]
    ceiling = {query: score for query, _, score in POSITIVES}
    assert margins.median == pytest.approx(median(ceiling[row[0]] - row[2] for row in KEPT))


def test_languages_and_their_pairs() -> None:
    found = summarise(make_tables(), MINING)
    english, french = found.languages.rows(named=True)
    shown = ("query_language", "queries", "negatives", "short")
    assert [english[name] for name in shown] == ["en", 2, 2, 1]
    assert [french[name] for name in shown] == ["fr", 1, 1, 1]
    assert english["negative_score"] == pytest.approx(mean([0.5, 0.4]))
    assert french["positive_score"] == pytest.approx(0.8)
    assert (english["rate"], french["rate"]) == pytest.approx((0.04, 0.01))
    pairs = {
        (row["query_language"], row["document_language"]): row
        for row in found.language_pairs.to_dicts()
    }
    assert list(pairs) == [("en", "en"), ("fr", "en"), ("fr", "fr")]
    assert (pairs["fr", "en"]["positives"], pairs["fr", "en"]["negatives"]) == (0, 1)
    assert pairs["fr", "en"]["share"] == 1.0
    assert pairs["fr", "fr"]["negative_score"] is None


def test_teachers() -> None:
    found = summarise(make_tables(), MINING).teachers
    assert list(found.found) == [("one", 3, 1), ("two", 2, 0)]
    # q1: both of four; q2: one has d1 and d5, two has d1 and d6 (rank 12 is not among the ten best)
    assert found.agreement[0].overlap == pytest.approx(mean([3 / 4, 1 / 3]), abs=1e-6)
    assert found.ranks == (("1", 1), ("2", 2))


def test_samples_name_what_they_show() -> None:
    samples = summarise(make_tables(), MINING).samples
    assert {s["doc_id"] for s in samples["kept"]} == {"d1", "d2", "d3"}
    assert {s["doc_id"] for s in samples["rule"]} == {"d4", "d6"}
    (closed,) = samples["closed"]
    assert (closed["query_id"], closed["doc_id"], closed["positive_id"]) == ("q2", "d5", "d4")
    assert closed["positive_score"] == pytest.approx(0.8)
    assert closed["query"] == SCRIPT
    assert closed["candidate"].startswith("passage 5")
    assert closed["positive"].startswith("passage 4")
    assert closed["risk"] == pytest.approx(0.5)
    # the mean of z_one = 10 x 0.79 and z_two = 0; positive_z_two is missing
    assert dict(closed["evidence"]) == pytest.approx({"words": 3.95, "positive words": 1.0})
    assert summarise(make_tables(), MINING).samples == samples


def test_the_riskiest_kept_and_the_least_risky_refused_come_first() -> None:
    samples = summarise(make_tables(), MINING).samples
    assert [(s["query_id"], s["doc_id"]) for s in samples["kept"]] == [
        ("q1", "d3"), ("q2", "d1"), ("q1", "d2"),
    ]  # fmt: skip
    assert [s["doc_id"] for s in samples["rule"]] == ["d6", "d4"]


def test_documents_that_many_queries_share_and_negatives_above_their_positive() -> None:
    rows = [(*row[:2], 0.95 if row[:2] == ("q2", "d1") else row[2], *row[3:]) for row in ROWS]
    rows.append(("q2", "d2", 0.2, "negative", "passed the rule", 2, 3, None))
    found = summarise(make_tables(rows), MINING)
    assert [(hub["doc_id"], hub["queries"]) for hub in found.hubs] == [("d2", 2)]
    assert found.hubs[0]["text"].startswith("passage 2")
    assert (found.documents, found.above) == (3, 0.25)
    assert (found.limited, found.limited_pairs) == (0, 0)


def test_what_the_limit_on_hubs_refused_is_counted_and_told() -> None:
    rows = [("q2", "d3", 0.2, "negative", "passed the rule", 2, 3, None),
            ("q3", "d3", 0.2, "excluded", REASON, None, 3, None),
            ("q4", "d3", 0.2, "excluded", REASON, None, 3, None)]  # fmt: skip
    found = summarise(make_tables([*ROWS, *rows]), MINING)
    assert (found.limited, found.limited_pairs) == (1, 2)
    assert "; 1 passage near everything limited to" in say("mining", "headline", found)
    told = [note for note in find_notes(found, (), (), MINING) if "2 pairs were" in note.text]
    assert [note.level for note in told] == ["warning"]  # two beside four that were kept


def test_risks_of_what_was_kept_and_the_weights_of_triplets() -> None:
    found = summarise(make_tables(), MINING)
    assert found.kept.rate == pytest.approx(mean([0.02, 0.06, 0.01]))
    assert found.kept.hardness == pytest.approx(mean([0.5, 0.4, 0.3]))
    assert found.kept.found == 3 / (3 * MINING.negatives)
    assert found.weights == pytest.approx((0.94, mean([0.98, 0.94, 0.99]), 0.99))
    groups = {group.kind: group for group in found.histograms["risks"].groups}
    assert groups["negative"].median == pytest.approx(math.log10(0.02))
    assert groups["excluded"].total == 3  # the known positive is not among them
    assert found.histograms["risks"].edges[0] <= math.log10(LOWEST_RISK) + 1e-9  # a risk of 0


def test_a_weak_known_pair_is_suspect() -> None:
    weak = make_tables().positives.with_columns(score_one=pl.lit(0.1, pl.Float32))
    found = summarise(make_tables(positives=weak), MINING)
    assert found.suspect_count == 2
    worst = found.suspects[0]
    scores = [row[2] for row in ROWS if row[0] == "q2"]
    assert worst["median"] == pytest.approx(median(scores))
    assert summarise(make_tables(), MINING).suspect_count == 0


def test_where_validity_is_known_it_decides_what_is_suspect() -> None:
    assessed = make_tables().positives.with_columns(
        score_one=pl.lit(0.1, pl.Float32),
        validity=pl.when(pl.col("query_id") == "q1").then(0.2).otherwise(0.9).cast(pl.Float32),
    )
    found = summarise(make_tables(positives=assessed), MINING)
    assert [each["query_id"] for each in found.suspects] == ["q1"] * found.suspect_count
    assert found.suspect_count > 0


def test_shortfalls_are_counted_by_cause() -> None:
    found = summarise(make_tables(), MINING).shortfalls
    assert [(row["reason"], row["count"]) for row in found] == [
        ("no known positive", 1),
        ("only N documents of the corpus pass the rule", 1),
    ]
    (example,) = found[0]["examples"]
    assert (example["text"], example["reason"]) == ("no answer", "no known positive")
    assert (example["found"], example["wanted"]) == (0, 2)


def test_validator_logits_are_relative_to_the_known_positive() -> None:
    tables = make_tables()
    judged = tables.negatives.with_columns(
        validator_score=pl.when(pl.col("verdict").cast(pl.String) == "negative").then(
            pl.lit(-2.0, pl.Float32)
        )
    )
    logits = pl.DataFrame({"query_id": ["q1", "q2"], "lowest": [1.0, 3.0]})
    found = summarise(make_tables(negatives=judged, logits=logits), MINING)
    (group,) = found.histograms["logits"].groups
    assert (group.total, group.median) == (3, -3.0)


@given(st.lists(numbers, min_size=1, max_size=60), st.lists(numbers, max_size=20))
def test_bins_hold_every_value_once(kept: list[float], refused: list[float]) -> None:
    rows = [("negative", value) for value in kept] + [("excluded", value) for value in refused]
    table = pl.LazyFrame(
        [(verdict, "r", value, None) for verdict, value in rows],
        schema={"verdict": pl.String, "reason": pl.String, "score": pl.Float32,
                "risk": pl.Float32}, orient="row",
    )  # fmt: skip
    none = make_tables().positives.head(0)
    tables = make_tables(negatives=table, positives=none, triplets=make_tables().triplets.head(0))
    ranges = Ranges(tables)
    collect(ranges)
    histograms = Histograms(tables, ranges.finish())
    collect(histograms)
    found = histograms.finish()["scores"]
    assert [group.total for group in found.groups] == [len(v) for v in (kept, refused) if v]
    near = (found.edges[1] - found.edges[0]) * 1e-6
    for group, held in zip(found.groups, (kept, refused), strict=False):
        for low, high, count in zip(found.edges, found.edges[1:], group.counts, strict=False):
            assert count <= sum(low - near <= value <= high + near for value in held)


@given(numbers, numbers)
def test_bins_cover_their_range_and_are_few(one: float, other: float) -> None:
    low, high = min(one, other), max(one, other)
    edges = choose_edges(low, high)
    near = (edges[1] - edges[0]) * 1e-6
    assert edges[0] <= low + near
    assert edges[-1] >= high - near
    assert 1 <= len(edges) - 1 <= BINS + 4
