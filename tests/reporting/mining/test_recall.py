"""Recall of known positives, held against a count by hand over whole score matrices."""

from dataclasses import replace

import numpy as np
import polars as pl
import pytest

from polymine.data_contracts.notes import Primary
from polymine.mining.recall import ENOUGH
from polymine.reporting.mining.notes import find_notes
from polymine.reporting.mining.recall import Recall, Recalled, find_weak
from polymine.reporting.mining.summary import summarise
from polymine.reporting.mining.tables import Tables, collect
from polymine.reporting.templates import say
from tests.reporting.mining.small_run import MINING, make_tables

QUERIES, DOCUMENTS, DEPTH = 40, 60, 15


def scored(rng: np.random.Generator) -> tuple[Tables, dict[str, np.ndarray], np.ndarray]:
    """Random scores of two teachers with many ties; each query has one or two positives."""
    scores = {name: rng.integers(0, 30, (QUERIES, DOCUMENTS)) / 30 for name in ("one", "two")}
    known = np.zeros((QUERIES, DOCUMENTS), bool)
    for query in range(QUERIES):
        known[query, rng.choice(DOCUMENTS, 1 + query % 2, replace=False)] = True
    ranks = {}
    for name, values in scores.items():
        order = np.argsort(np.argsort(-values, axis=1, kind="stable"), axis=1)
        ranks[name] = order + 1
    rows, positives = [], []
    for query, doc in np.ndindex(QUERIES, DOCUMENTS):
        pair = {"query_id": f"q{query}", "doc_id": f"d{doc}"}
        pair |= {f"score_{name}": float(values[query, doc]) for name, values in scores.items()}
        if known[query, doc]:
            positives.append(pair)
        if min(each[query, doc] for each in ranks.values()) <= DEPTH:
            pair = pair | {"closed": "positive" if known[query, doc] else None}
            places = {name: int(each[query, doc]) for name, each in ranks.items()}
            rows.append(pair | {f"rank_{n}": r if r <= DEPTH else None for n, r in places.items()})
    asked = {"query_id": [f"q{n}" for n in range(QUERIES)], "text": "", "language": "en"}
    queries = pl.DataFrame(asked).with_columns(
        language=pl.Series(["en" if n < 25 else "ja" for n in range(QUERIES)])
    )
    tables = make_tables(
        evidence=pl.DataFrame(rows, infer_schema_length=None).lazy(),
        positives=pl.DataFrame(positives).lazy(),
        queries=queries.lazy(),
    )
    return tables, scores, known


def test_shares_are_those_of_a_count_over_all_documents() -> None:
    tables, scores, known = scored(np.random.default_rng(0))
    section = Recall(tables, DEPTH)
    collect(section)
    found = {(each.teacher, each.language): each for each in section.finish()}

    assert len(found) == 6
    for (name, language), each in found.items():
        chosen = {None: range(QUERIES), "en": range(25), "ja": range(25, QUERIES)}[language]
        firsts, withins = [], []
        for query in chosen:
            values, marks = scores[name][query], known[query]
            above = [(values[~marks] >= value).sum() for value in values[marks]]
            firsts.append(np.mean([count < 1 for count in above]))
            withins.append(np.mean([count < 10 for count in above]))
        assert each.queries == len(chosen)
        assert each.first == pytest.approx(np.mean(firsts))
        assert each.within == pytest.approx(np.mean(withins))


def test_fewer_ranked_than_ten_tell_nothing_of_the_first_ten() -> None:
    section = Recall(make_tables(), 5)
    collect(section)
    assert {each.within for each in section.finish()} == {None}


def recalled(teacher: str, within: float, language: str | None = None) -> Recalled:
    return Recalled(teacher, language, ENOUGH, within / 2, within)


def test_a_teacher_is_weak_behind_another_or_by_itself() -> None:
    assert not find_weak([recalled("one", 0.8), recalled("two", 0.7)])
    (weak,) = find_weak([recalled("one", 0.06), recalled("two", 0.88)])
    assert (weak.found.teacher, weak.best.teacher) == ("one", "two")
    alone = [recalled("one", 0.1), recalled("one", 0.1, "ja")]
    assert [each.found.language for each in find_weak(alone)] == [None]
    japanese = [recalled("one", 0.9), recalled("one", 0.2, "ja"), recalled("one", 0.95, "en")]
    assert [each.found.language for each in find_weak(japanese)] == ["ja"]
    few = Recalled("one", "ja", ENOUGH - 1, 0.0, 0.0)
    assert not find_weak([few])


def test_the_headline_and_a_warning_say_so() -> None:
    found = summarise(make_tables(), MINING)
    assert not found.weak  # two queries are too few to tell
    assert "check the teacher" not in say("mining", "headline", found)
    blind = replace(
        found, recall=(recalled("one", 0.06), recalled("two", 0.88), recalled("two", 0.9, "ja"))
    )
    headline = say("mining", "headline", blind)
    assert headline.endswith(
        "check the teacher: one finds only 6.0 % of the known positives (two 88 %)"
    )
    (warning,) = [
        n.text for n in find_notes(blind, (), (), MINING) if "mining.selection.teacher" in n.text
    ]
    assert warning.startswith(
        "one finds 6.0 % of the known positives among its ten best, two 88 %."
    )
    shares = "one 3.0 % / 6.0 % · two 44 % / 88 %"
    assert say("mining", "recall", (blind, Primary("one", "only"))) == shares
    told = say("mining", "recall", (blind, Primary("two", "chosen")))
    assert told == f"{shares}; two is primary, chosen by that"


def test_negatives_above_their_positives_are_in_the_headline() -> None:
    """A teacher of another language may still find half of a small corpus within ten."""
    found = replace(summarise(make_tables(), MINING), above=0.59)
    assert not found.outscored  # of two queries
    many = replace(found, queries=200)
    headline = say("mining", "headline", many)
    assert headline.endswith("59 % of the negatives score above their known positive")
    assert any("with one. Either it does not" in n.text for n in find_notes(many, (), (), MINING))
    assert not replace(many, above=0.2).outscored
    weak = replace(many, recall=(recalled("one", 0.06), recalled("two", 0.88)))
    assert "score above" not in say("mining", "headline", weak)  # said once
