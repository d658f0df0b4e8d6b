"""No document is a negative of too many queries: against choices made one query at a time."""

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

import polymine
from polymine.data_contracts.settings import EngineSettings, SelectionSettings
from polymine.mining.hubs import (
    EVEN,
    FEWEST,
    REASON,
    close_below,
    forget_needless,
    limit_of,
    no_bars,
    raise_bars,
)

TYPES = {"query_id": pl.String, "doc_id": pl.String, "score": pl.Float32, "reason": pl.String}
scored = st.dictionaries(
    st.tuples(st.sampled_from("abcdefgh"), st.sampled_from("uvwxyz")),
    st.integers(0, 4),  # few values, so that there are ties
    min_size=1,
)


def table(scores):
    rows = [(query, doc, score / 4, None) for (query, doc), score in scores.items()]
    return pl.DataFrame(rows, TYPES, orient="row")


def take(open_, count):
    ordered = open_.sort("query_id", "score", "doc_id", descending=[False, True, False])
    return ordered.group_by("query_id", maintain_order=True).head(count)


def settle(candidates, count, limit):
    bars = no_bars()
    while True:
        closed = close_below(candidates, bars)
        taken = take(closed.filter(pl.col("reason").is_null()), count)
        raised = raise_bars(taken.select("query_id", "doc_id", "score"), limit, bars)
        if raised is None:
            return closed, taken
        bars = raised


def one_after_the_other(scores, count, limit, order):
    """Let each query in turn ask its best document; one that is full sends its worst away."""
    wishes = {
        query: sorted((-score, doc) for (q, doc), score in scores.items() if q == query)
        for query in order
    }
    held, waiting = {}, [query for query in order for _ in range(count)]
    while waiting:
        query = waiting.pop()
        if not wishes[query]:
            continue
        score, doc = wishes[query].pop(0)
        held.setdefault(doc, []).append((score, query))
        if len(held[doc]) > limit:
            worst = max(held[doc])
            held[doc].remove(worst)
            waiting.append(worst[1])
    return {(query, doc) for doc, pairs in held.items() for _, query in pairs}


@given(scored, st.integers(1, 3), st.integers(1, 4), st.randoms())
def test_what_is_taken_does_not_depend_on_who_asks_first(scores, count, limit, chance):
    order = sorted({query for query, _ in scores})
    chance.shuffle(order)
    _, taken = settle(table(scores), count, limit)
    found = set(taken.select("query_id", "doc_id").rows())
    assert found == one_after_the_other(scores, count, limit, order)


@given(scored, st.integers(1, 3), st.integers(1, 4))
def test_a_reason_stands_where_the_limit_took_something_away(scores, count, limit):
    candidates = table(scores)
    closed, taken = settle(candidates, count, limit)
    order = pl.int_range(1, pl.len() + 1).over("query_id").alias("order")
    ordered = closed.join(
        taken.select("query_id", "doc_id", order), on=["query_id", "doc_id"], how="left"
    )
    reasoned = forget_needless(ordered, count).filter(reason=REASON)
    lowest = {query: score for query, _, score, _ in taken.rows()}  # the last one taken
    sizes = dict(taken.group_by("query_id").len().rows())
    for query, doc, score in closed.filter(reason=REASON).select(list(TYPES)[:3]).rows():
        wanted = sizes.get(query, 0) < count or score >= lowest[query]
        assert ((query, doc) in set(reasoned.select("query_id", "doc_id").rows())) == wanted


def test_other_reasons_stay():
    candidates = table({("a", "u"): 1, ("b", "u"): 2}).with_columns(
        reason=pl.when(pl.col("query_id") == "a").then(pl.lit("known positive: copy"))
    )
    bars = pl.DataFrame({"doc_id": ["u"], "bar": [1.0], "last": ["a"]}, schema=no_bars().schema)
    assert close_below(candidates, bars)["reason"].to_list() == ["known positive: copy", REASON]


def test_the_limit_leaves_room_in_small_sets():
    assert limit_of(10_000, 10_000, 7, 0.05) == 500
    assert limit_of(20, 1_000, 7, 0.05) == FEWEST
    assert limit_of(1_000, 100, 7, 0.05) == EVEN * 70
    assert limit_of(1_000, 5_000, 7, 1.0) == 1_000


@pytest.fixture(scope="module")
def crowd():
    """Sixty questions of one word each, their answers, and two documents that have every word."""
    words = [f"word{number:02d}" for number in range(60)]
    texts = {f"d{word}": f"{word} {words[(at + 1) % 60]} apart" for at, word in enumerate(words)}
    texts |= {"everything": " ".join(words), "everything-else": f"{' '.join(words)} and more"}
    return {
        "corpus": pl.DataFrame({"doc_id": list(texts), "text": list(texts.values())}),
        "queries": pl.DataFrame({"query_id": words, "text": words}),
        "judgments": pl.DataFrame({"query_id": words, "doc_id": [f"d{word}" for word in words]}),
    }


def test_the_rules_of_other_tools_are_as_they_are_there():
    shares = {rule: SelectionSettings(rule=rule).hub_share for rule in ("risk", "naive", "percent")}
    assert shares == {"risk": 0.05, "naive": 1.0, "percent": 1.0}
    assert SelectionSettings(rule="naive", max_hub_share=0.1).hub_share == 0.1


@pytest.mark.parametrize("rule", ["risk", "naive"])
def test_a_document_that_answers_to_every_query_stays_with_a_few(crowd, rule, tmp_path):
    limit = None if rule == "risk" else 0.05  # the others have none of their own
    asked = {"teachers": ["bm25"], "negatives": 2, "selection": {"rule": rule, "max_risk": 1.0,
             "max_false_negative_rate": 0.9, "max_hub_share": limit}}  # fmt: skip

    def mined(shard_queries):
        engine = EngineSettings(memory=shard_queries / 1024, store=str(tmp_path / "store"))
        return polymine.mine(**crowd, **asked, output=tmp_path / f"{shard_queries}", engine=engine)

    runs = [mined(7), mined(1024)]
    first, second = (run.negatives for run in runs)
    assert first.equals(second)  # shards of 7 queries, and one of all
    uses = first.filter(verdict="negative").group_by("doc_id").len()
    assert uses["len"].max() == FEWEST
    refused = first.filter(reason=REASON)
    assert set(refused["doc_id"]) == {"everything", "everything-else"}
    assert uses["len"].sum() == 60 + 2 * FEWEST  # a neighbour each, and few a document of all words
    short = runs[0].shortfalls.filter(pl.col("reason").str.contains("enough other queries"))
    assert set(short["query_id"]) <= set(refused["query_id"])
    assert short["wanted"].sum() - short["found"].sum() == 2 * 60 - uses["len"].sum()
    assert "2 passages near everything" in runs[0].report().headline


def test_more_negatives_in_the_same_store_are_chosen_anew(crowd, tmp_path):
    """A pool that is drawn from reaches as deep for one negative as for two."""
    asked = {"teachers": ["bm25"], "selection": {"rule": "naive", "sampling": "random", "pool": 6,
             "max_hub_share": 0.05}}  # fmt: skip

    def mined(count, store):
        engine = EngineSettings(store=str(tmp_path / store))
        output = tmp_path / f"{store}-{count}"
        return polymine.mine(**crowd, **asked, negatives=count, output=output, engine=engine)

    mined(1, "one")
    assert mined(2, "one").negatives.equals(mined(2, "other").negatives)
