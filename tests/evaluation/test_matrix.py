"""Comparisons: means a reader can add up, and frames that do not fit together."""

import numpy as np
import polars as pl
import pytest
from scipy.stats import t

from polymine.data_contracts.errors import InputError
from polymine.data_contracts.learning import QueryScores
from polymine.evaluation.collection import EvaluationCollection
from polymine.evaluation.matrix import compare, overall
from polymine.evaluation.significance import Resampling

QUICK = Resampling(resamples=200)
# gain of nDCG per direction; document language first
GAINS = {("en", "en"): 0.0, ("en", "ru"): 0.1, ("en", "ar"): 0.2, ("ru", "en"): 0.3,
         ("ru", "ru"): 0.4, ("ar", "ru"): 0.5, ("*", "en"): 0.6, ("*", "ru"): 0.2}  # fmt: skip


def scores(gains: dict[tuple[str, str], float], share: float, questions: int = 4) -> pl.DataFrame:
    """Every query of a direction has nDCG 0.1 + share times the direction's gain."""
    rows = [
        ("set", document, query, f"q{n}-{query}", 0.1 + share * gain, 0.5, 0.5, 0.5)
        for (document, query), gain in gains.items()
        for n in range(questions)
    ]
    return QueryScores.validate(
        pl.DataFrame(rows, QueryScores.column_names(), orient="row"), cast=True
    )


def ndcg(found: pl.DataFrame) -> dict[tuple[str, str, str], float]:
    chosen = found.filter(pl.col("metric") == "ndcg")
    return {row[:3]: round(row[3], 9) for row in chosen.select(
        "group", "document_language", "query_language", "gain").rows()}  # fmt: skip


def test_every_mean_by_hand():
    found = compare(scores(GAINS, 0), scores(GAINS, 1), name="model", resampling=QUICK)
    expected = {("pool" if document == "*" else "direction", document, query): gain
                for (document, query), gain in GAINS.items()}  # fmt: skip
    assert ndcg(found) == expected | {
        ("pool", "*", "*"): 0.4,
        ("document", "en", "*"): 0.1,
        ("document", "ru", "*"): 0.35,
        ("document", "ar", "*"): 0.5,
        ("same", "*", "*"): 0.2,
        ("cross", "*", "*"): 0.275,
        ("pivot", "*", "*"): 0.2,
        ("non-pivot", "*", "*"): 0.5,
        ("all", "*", "*"): 0.25,
    }
    others = found.filter(pl.col("metric") != "ndcg")
    assert others["metric"].n_unique() == 3
    assert (others.select("gain", "low", "high") == 0).to_numpy().all()
    means = others.filter(pl.col("metric") == "map", pl.col("query_language") == "*")
    means = means.filter(pl.col("document_language") == "*")
    counts = dict(means.select("group", "queries").rows())
    assert counts == {"pool": 8, "all": 12, "same": 8, "cross": 12, "pivot": 12, "non-pivot": 4}


def test_the_widest_mean_sums_up():
    found = compare(scores(GAINS, 0), scores(GAINS, 1), name="model", resampling=QUICK)
    assert set(overall(found)["group"]) == {"all"}
    assert overall(found)["metric"].n_unique() == overall(found).height == 4
    pool = found.filter(pl.col("group").is_in(["pool", "direction"]))
    assert ndcg(overall(pool)) == {("pool", "*", "*"): 0.4}
    several = found.filter(group="direction")
    assert overall(several).is_empty()
    alone = several.filter(document_language="en", query_language="ru")
    assert ndcg(overall(alone)) == {("direction", "en", "ru"): 0.1}


def test_models_and_sets_are_summed_up_each_by_itself():
    whole = compare(scores(GAINS, 0), scores(GAINS, 1), name="model", resampling=QUICK)
    one = {("en", "en"): 0.25}
    thin = compare(scores(one, 0, 2), scores(one, 1, 2), name="other", fewest=5, resampling=QUICK)
    both = overall(pl.concat([whole, thin]))
    assert both.filter(model="model").equals(overall(whole))
    assert ndcg(both.filter(model="other")) == {("direction", "en", "en"): 0.25}
    assert overall(whole.clear()).is_empty()


def test_without_a_pivot_and_with_other_pivots():
    base, model = scores(GAINS, 0), scores(GAINS, 1)
    groups = set(compare(base, model, name="m", pivot=None, resampling=QUICK)["group"])
    assert groups == {"direction", "pool", "document", "same", "cross", "all"}
    found = ndcg(compare(base, model, name="m", pivot="ru", resampling=QUICK))
    assert found["pivot", "*", "*"] == 0.3
    assert found["non-pivot", "*", "*"] == 0.2


def test_directions_of_few_queries_are_shown_but_count_in_no_mean():
    few = {("en", "ru"): 0.8}
    base = pl.concat([scores(few, 0, 1), scores({("en", "en"): 0.2}, 0, 5)])
    model = pl.concat([scores(few, 1, 1), scores({("en", "en"): 0.2}, 1, 5)])
    found = ndcg(compare(base, model, name="m", fewest=2, resampling=QUICK))
    assert found["direction", "en", "ru"] == 0.8
    assert found["all", "*", "*"] == found["document", "en", "*"] == 0.2
    assert ("cross", "*", "*") not in found


def test_no_bound_lies_outside_of_what_a_mean_can_be():
    """Three questions, one of them right: Student's t alone would reach 2.13."""
    base = scores({("en", "en"): 0.0}, 0, questions=3).with_columns(ndcg=pl.lit(0.0))
    model = base.with_columns(ndcg=pl.Series([1.0, 0.0, 0.0]))
    found = compare(base, model, name="model").filter(group="direction", metric="ndcg")
    low = 1 / 3 - np.sqrt(3 / 2) * t.ppf(0.975, 2) / 1.96 / 3  # of a resample without the right one
    assert found.select("low", "high").row(0) == pytest.approx((low, 1.0), abs=1e-4)


def test_questions_are_drawn_with_their_translations():
    rng = np.random.default_rng(0)
    gains = rng.normal(0.1, 0.1, size=60).clip(-0.4, 0.4)
    base = scores(dict.fromkeys([("en", "en"), ("en", "ru"), ("en", "ar")], 0.0), 0, 60)
    base = base.with_columns(ndcg=pl.lit(0.5))
    own = pl.col("query_id").str.extract(r"q(\d+)").cast(pl.Int64)
    model = base.with_columns(ndcg=0.5 + own.replace_strict(dict(enumerate(gains))))
    questions = base.select("set", "query_id", question=own.cast(pl.String)).unique()

    def width(**given) -> float:
        found = compare(base, model, name="m", **given).row(
            by_predicate=(pl.col("group") == "all") & (pl.col("metric") == "ndcg"), named=True
        )
        assert found["gain"] == pytest.approx(gains.mean())
        assert found["low"] < found["gain"] < found["high"]
        return found["high"] - found["low"]

    normal = 2 * 1.96 * gains.std() / np.sqrt(60)
    assert width(questions=questions) == pytest.approx(normal, rel=0.1)
    assert width() == pytest.approx(normal / np.sqrt(3), rel=0.1)  # too narrow by far


def test_two_sets_are_compared_apart_and_the_order_of_rows_plays_no_part():
    base = pl.concat([scores(GAINS, 0), scores(GAINS, 0).with_columns(set=pl.lit("other"))])
    model = pl.concat([scores(GAINS, 1), scores(GAINS, 0.5).with_columns(set=pl.lit("other"))])
    found = compare(base, model, name="m", resampling=QUICK)
    turned = compare(base.reverse(), model, name="m", resampling=QUICK)
    assert found.equals(turned)
    assert ndcg(found.filter(pl.col("set") == "other"))["all", "*", "*"] == 0.125


def test_other_queries_are_an_error_that_names_one():
    base = scores(GAINS, 0)
    with pytest.raises(InputError) as caught:
        compare(base, base.filter(pl.col("query_id") != "q3-ar"), name="m")
    assert "1 of 32 rows are only the base's, as q3-ar in set set, en-ar" in str(caught.value)
    with pytest.raises(InputError, match="are only the model's, as q0-en"):
        compare(base.filter(pl.col("query_id") != "q0-en"), base, name="m")
    known = base.select("set", "query_id", question="query_id").unique()
    with pytest.raises(InputError, match="`questions` lacks 1 queries, as q1-ru of set set"):
        compare(base, base, name="m", questions=known.filter(pl.col("query_id") != "q1-ru"))


def test_five_questions_on_a_passage_are_one_proof():
    """The interval is that of the passages' means, by Student's t; not of 200 questions."""
    rng = np.random.default_rng(0)
    gains = np.repeat(rng.normal(0.04, 0.1, 40), 5) + rng.normal(0, 0.02, 200)
    ids = [f"q{n:03}" for n in range(200)]
    rows = [("set", "en", "en", name, 0.4, 0.4, 0.4, 0.4) for name in ids]
    base = pl.DataFrame(rows, QueryScores.column_names(), orient="row")
    passages = pl.DataFrame({"doc_id": [f"d{n}" for n in range(40)]})
    collection = EvaluationCollection(
        passages.with_columns(text=pl.lit("text"), language=pl.lit("en")),
        base.select("query_id", text="query_id", language=pl.lit("en")),
        pl.DataFrame({"query_id": ids, "doc_id": [f"d{n // 5}" for n in range(200)],
                      "relevance": [1] * 200}),
    )  # fmt: skip
    found = compare(
        base, base.with_columns(ndcg=0.4 + pl.Series(gains)), name="new",
        questions=collection.clusters.with_columns(set=pl.lit("set")),
        resampling=Resampling(resamples=20_000),
    )  # fmt: skip
    row = found.filter(metric="ndcg").row(0, named=True)
    means = gains.reshape(40, 5).mean(1)
    wanted = t.interval(0.95, 39, means.mean(), means.std(ddof=1) / np.sqrt(40))
    assert (row["low"], row["high"]) == pytest.approx(wanted, abs=0.003)
    narrow = 2 * 1.96 * gains.std() / np.sqrt(200)  # as if each question were a proof
    assert row["high"] - row["low"] > 1.9 * narrow
