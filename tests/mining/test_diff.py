"""Changes between two runs: complete, and each with the reason that the tables hold."""

from dataclasses import replace

import dataframely as dy
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from polymine.data_contracts.tables import Changes, DocumentHashes, Negatives, QueryHashes
from polymine.mining.diff import KEYS, RunTables, compare, count_reasons
from polymine.reporting.runs.changes import explain_change

QUERIES, DOCUMENTS = ("q0", "q1", "q2"), ("d0", "d1", "d2", "d3", "d4")
REFUSED = (
    "known positive: near_copy", "risk: too likely to be relevant for its hardness",
    "percent: at or above the ceiling", "shifted: among the 2 best", "validator: in the grey zone",
    "some other rule",
)  # fmt: skip
EVIDENCE = {"query_id": pl.String, "doc_id": pl.String, "rank": pl.UInt32, "score": pl.Float32,
            "risk": pl.Float32}  # fmt: skip
POSITIVES = {"query_id": pl.String, "doc_id": pl.String}


def _schema(contract: type[dy.Schema]) -> pl.Schema:
    return contract.create_empty().schema


def make_run(
    queries: dict[str, int],
    documents: dict[str, int | str],
    pairs: dict[tuple[str, str], tuple[str, float]],
    answered: tuple[str, ...] = QUERIES,
) -> RunTables:
    """A run by hand.

    `documents`: a text's number, or the document that a copy is merged into. `pairs`: `kept`,
    `passed`, `promoted` or a refusal, and the risk; those not named are no candidates.
    Kept ones are numbered as they come.
    """
    rows, found, places = [], [], dict.fromkeys(queries, 0)
    for (query, document), (what, risk) in pairs.items():
        found.append((query, document, len(found) + 1, 0.5, risk))
        if what == "passed":
            continue
        kept = what == "kept"
        places[query] += kept
        verdict = {"kept": "negative", "promoted": "promoted"}.get(what, "excluded")
        reason = {"kept": "passed the rule", "promoted": "promoted: relevant by a label"}
        rows.append((query, document, places[query] if kept else None, 0.5, 0.6, risk, None,
                     verdict, reason.get(what, what)))  # fmt: skip
    known = [(d, t if isinstance(t, int) else None, t if isinstance(t, str) else None)
             for d, t in documents.items()]  # fmt: skip
    return RunTables(
        queries=pl.DataFrame(list(queries.items()), _schema(QueryHashes), orient="row"),
        documents=pl.DataFrame(known, _schema(DocumentHashes), orient="row"),
        negatives=Negatives.validate(
            pl.DataFrame(rows, _schema(Negatives), orient="row"), cast=True
        ),
        positives=pl.DataFrame(schema=POSITIVES),
        ceilings=pl.DataFrame({"query_id": [q for q in queries if q in answered]},
                              schema={"query_id": pl.String}).with_columns(ceiling=0.55),
        evidence=pl.DataFrame(found, EVIDENCE, orient="row").lazy(),
    )  # fmt: skip


@st.composite
def runs(draw) -> RunTables:
    queries = {q: draw(st.integers(0, 1)) for q in draw(st.sets(st.sampled_from(QUERIES)))}
    texts = st.one_of(st.integers(0, 1), st.just("d0"))
    held = draw(st.sets(st.sampled_from(DOCUMENTS)))
    documents = {d: draw(st.integers(0, 1) if d == "d0" else texts) for d in sorted(held)}
    whole = [d for d, text in documents.items() if isinstance(text, int)]
    what = st.sampled_from(["none", "kept", "kept", "kept", "passed", "promoted", *REFUSED])
    pairs = {}
    for query in sorted(queries):
        for document in draw(st.permutations(whole)):
            if (drawn := draw(what)) != "none":
                pairs[query, document] = (drawn, draw(st.sampled_from([0.1, 0.2, 0.3])))
    return make_run(dict(sorted(queries.items())), documents, pairs)


def kept(run: RunTables) -> dict[tuple[str, str], int]:
    rows = run.negatives.filter(verdict="negative").select(*KEYS, "position").rows()
    return {(query, document): position for query, document, position in rows}


@settings(max_examples=150)
@given(before=runs(), after=runs())
def test_changes_lead_from_one_run_to_the_other(before, after):
    changes = Changes.validate(compare(before, after))
    made = kept(before)
    for row in changes.to_dicts():
        pair = (row["query_id"], row["doc_id"])
        assert made.pop(pair, None) == row["position_before"]
        if row["position_after"] is not None:
            made[pair] = row["position_after"]
        assert explain_change(row)
    assert made == kept(after)
    assert count_reasons(changes)["pairs"].sum() == len(changes)


@settings(max_examples=50)
@given(run=runs())
def test_a_run_differs_from_itself_in_nothing(run):
    assert len(compare(run, run)) == 0


BASE = make_run(
    {"q0": 0},
    {"d0": 0, "d1": 0, "d2": 0},
    {("q0", "d0"): ("kept", 0.1), ("q0", "d1"): ("kept", 0.1)},
)
OTHERS = {
    "query": ({}, {"d0": 0, "d1": 0, "d2": 0}, {}),
    "document": ({"q0": 0}, {"d0": 0, "d2": 0}, {("q0", "d0"): ("kept", 0.1)}),
    "copy": ({"q0": 0}, {"d0": 0, "d1": "d0", "d2": 0}, {("q0", "d0"): ("kept", 0.1)}),
}
PAIRS = {
    "closed": ("known positive: positive", 0.1),
    "promoted": ("promoted", 0.9),
    "risk": ("risk: higher than any negative may have", 0.4),
    "budget": ("risk: too likely to be relevant for its hardness", 0.1),
    "ceiling": ("percent: at or above the ceiling", 0.1),
    "shifted": ("shifted: among the 2 best", 0.1),
    "validator": ("validator: in the grey zone", 0.1),
    "refused": ("some other rule", 0.1),
    "wanted": ("passed", 0.1),
}


def reason_of(before: RunTables, after: RunTables, document: str = "d1") -> tuple[str, str, str]:
    [row] = compare(before, after).filter(doc_id=document).to_dicts()
    return row["change"], row["reason"], row["other_id"]


@pytest.mark.parametrize("name", [*OTHERS, *PAIRS])
def test_the_reason_is_what_the_other_run_says(name):
    first = {("q0", "d0"): ("kept", 0.1)}
    other = (
        make_run(*OTHERS[name])
        if name in OTHERS
        else make_run({"q0": 0}, {"d0": 0, "d1": 0, "d2": 0}, first | {("q0", "d1"): PAIRS[name]})
    )
    assert reason_of(BASE, other)[:2] == ("went", name)
    assert reason_of(other, BASE)[:2] == ("came", name)
    assert reason_of(BASE, other)[2] == ("d0" if name == "copy" else None)


def test_where_fewer_are_wanted_only_as_many_went_for_what_came():
    documents = {f"d{number}": number % 2 for number in range(5)}
    kept, passed = ("kept", 0.1), ("passed", 0.1)
    pairs = [("q0", document) for document in documents]
    before = make_run({"q0": 0}, documents, dict(zip(pairs, [kept] * 4 + [passed], strict=True)))
    after = make_run(
        {"q0": 0}, documents, dict(zip(pairs, [kept] + [passed] * 3 + [kept], strict=True))
    )
    found = {row["doc_id"]: row for row in compare(before, after).to_dicts()}
    assert (found["d1"]["reason"], found["d1"]["other_id"]) == ("order", "d4")
    assert [(found[d]["reason"], found[d]["other_id"]) for d in ("d2", "d3")] == [
        ("wanted", None)
    ] * 2
    assert (found["d4"]["reason"], found["d4"]["other_id"]) == ("order", "d1")


def test_a_query_without_positives_has_no_negatives():
    unanswered = make_run({"q0": 0}, {"d0": 0, "d1": 0, "d2": 0}, {}, answered=())
    assert reason_of(BASE, unanswered) == ("went", "positive", None)


def test_what_is_displaced_names_what_took_its_place():
    hard = make_run(
        {"q0": 0}, {"d0": 0, "d1": 0, "d2": 0},
        {("q0", "d2"): ("kept", 0.1), ("q0", "d0"): ("kept", 0.1), ("q0", "d1"): ("passed", 0.1)},
    )  # fmt: skip
    assert reason_of(BASE, hard) == ("went", "order", "d2")
    assert reason_of(BASE, hard, "d2") == ("came", "candidate", None)
    assert reason_of(BASE, hard, "d0") == ("moved", "position", None)


def test_what_is_ranked_out_names_who_came_in():
    deeper = make_run(
        {"q0": 0}, {"d0": 0, "d1": 0, "d2": 0},
        {("q0", "d2"): ("passed", 0.1), ("q0", "d0"): ("kept", 0.1)},
    )  # fmt: skip
    assert reason_of(BASE, deeper) == ("went", "candidate", "d2")


def test_another_text_explains_what_follows_from_it():
    edited = replace(BASE, documents=BASE.documents.with_columns(text_hash=pl.lit(1, pl.UInt64)))
    assert set(compare(BASE, edited)["change"]) == {"edited"}
    gone = make_run({"q0": 0}, {"d0": 0, "d1": 1, "d2": 0}, {("q0", "d0"): ("kept", 0.1)})
    assert reason_of(BASE, gone) == ("went", "text", None)
    closed = ("known positive: near_copy", 0.1)
    near = make_run({"q0": 0}, {"d0": 0, "d1": 1, "d2": 0},
                    {("q0", "d0"): ("kept", 0.1), ("q0", "d1"): closed})  # fmt: skip
    assert reason_of(BASE, near)[1] == "closed"
