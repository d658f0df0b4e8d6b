"""The page is self-contained, shows texts as text and the numbers of the summary."""

import re
from html.parser import HTMLParser
from typing import Any

import polars as pl
import pytest

from polymine.data_contracts.notes import Primary, Understood
from polymine.data_contracts.settings import MiningSettings
from polymine.reporting.mining.card import render_card
from polymine.reporting.mining.figures import draw_figures
from polymine.reporting.mining.funnel import Totals, build_funnel, count_given
from polymine.reporting.mining.notes import find_notes
from polymine.reporting.mining.page import MiningReport, render_page
from polymine.reporting.mining.risk import RiskData
from polymine.reporting.mining.summary import summarise
from polymine.reporting.mining.tables import Tables
from polymine.reporting.report import Timing
from polymine.reporting.templates import say
from tests.reporting.mining.small_run import MINING, SCRIPT, make_model, make_tables

VOID = {"meta", "br", "link", "img"}


class Outline(HTMLParser):
    """Collects a page's text, tags and addresses, and checks that tags are closed in order."""

    def __init__(self) -> None:
        super().__init__()
        self.texts: list[str] = []
        self.tags: list[str] = []
        self.addresses: list[str] = []
        self.open: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.addresses += [v or "" for k, v in attrs if k in ("src", "href", "srcset", "data")]
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.texts.append(data)

    @property
    def text(self) -> str:
        return re.sub(r"\s+", " ", " ".join(self.texts))


def make_report(tables: Tables | None = None, **changed: Any) -> MiningReport:
    tables = tables or make_tables()
    mining = changed.get("mining", MINING)
    summary = summarise(tables, mining)
    decided = tables.negatives.group_by("verdict", "reason").len().collect().rows()
    totals = Totals(
        documents=6, copies=0, rejected=2, queries=3, candidates=12, deep=1,
        unanswered_candidates=3, reasons=decided, validated=None, validated_now=0,
        triplets=summary.triplets, shortfalls=summary.short,
    )  # fmt: skip
    funnel = build_funnel(totals, mining)
    given = count_given(
        [("negative", "passed the rule", 3), ("excluded", "known positive: copy", 1)], mining
    )
    source = Understood(
        SCRIPT, "CSV", 7, 9, separator=";", quoting=True, header=True,
        columns=(("anchor", "Frage"),), by_position=("anchor",), ignored=("score",),
    )  # fmt: skip
    example = {
        "query_id": "q2", "positive_id": "d4", "negative_id": "d1", "anchor": SCRIPT,
        "positive": "yes", "negative": SCRIPT, "anchor_language": "fr", "positive_language": "fr",
        "negative_language": "en", "positive_score": 0.8, "negative_score": 0.3, "weight": 0.99,
    }  # fmt: skip
    fields: dict[str, Any] = {
        "title": "run", "headline": say("mining", "headline", summary), "summary": summary,
        "notes": find_notes(summary, funnel, given, mining),
        "risk": RiskData(make_model(), summary.kept, fitted=True),
        "funnel": funnel, "given": given, "primary": Primary("one", "kept"), "sources": (source,),
        "example": example, "mining": MINING, "timings": [Timing("ingest", 2.0, 100, False)],
        "settings": {"mining": MINING.model_dump(mode="json")},
        "fingerprints": {"ingest": "abc"}, "versions": {"polars": "2.1"},
    }  # fmt: skip
    return MiningReport(**{**fields, **changed})


def read(report: MiningReport) -> Outline:
    outline = Outline()
    outline.feed(render_page(report))
    assert not outline.open
    return outline


def test_markup_in_texts_is_shown_and_not_obeyed() -> None:
    outline = read(make_report())
    assert "script" not in outline.tags
    assert "<script>alert(1)</script>" in outline.text
    assert SCRIPT in outline.text


def test_what_the_files_were_taken_for_and_what_became_of_their_candidates() -> None:
    text = read(make_report()).text
    assert "semicolon, quotes, a header; anchor = `Frage` (by its position); not used" in text
    assert "in 9 lines" in text
    assert "The files gave 4 candidates of their own: 3 kept, 1 excluded, 0 promoted" in text
    assert "Refused negatives of the files" in text


def test_nothing_is_requested() -> None:
    page = render_page(make_report())
    assert all(a.startswith(("#", "data:")) for a in read(make_report()).addresses)
    assert "@import" not in page
    assert "url(" not in page
    assert re.findall(r"https?://[^\"]*", page) == ["http://www.w3.org/2000/svg"] * page.count(
        "<svg"
    )


def test_the_headline_and_the_counts() -> None:
    text = read(make_report()).text
    assert "3 triplets from 3 queries; 2 queries are short of negatives" in text
    assert "3 hard negatives" in text
    assert "6 passages searched" in text
    assert "2 input rows broke a contract" in text
    assert "1 query has no known positive" in text
    assert "only 1 documents of the corpus pass the rule" in text
    assert "French (fr)" in text


def test_the_funnel_divides_the_candidates_up() -> None:
    funnel = make_report().funnel
    parts = [s for s in funnel if s.share is not None and s.kind != "candidates"]
    assert sum(step.count for step in parts) == 12
    assert sum(step.share or 0 for step in parts) == pytest.approx(1)
    assert {s.step: s.count for s in parts if s.kind in ("unused", "negative")} == {
        "set aside": 3, "not needed": 2, "kept": 3,
    }  # fmt: skip


def test_a_run_without_any_triplet_still_renders() -> None:
    rows = make_tables(rows=[])
    nothing = make_tables(
        rows=[],
        positives=rows.positives.head(0),
        closure=rows.closure.head(0),
        rejected=rows.rejected.head(0),
        logits=pl.DataFrame(schema={"query_id": pl.String, "lowest": pl.Float32}),
    )
    report = make_report(nothing, example={})
    text = read(report).text
    assert "0 triplets from 3 queries" in text
    assert "There is none: no candidate of any query was kept." in text
    assert draw_figures(report.summary, report.mining) == []
    assert "0 triplets" in render_card(report, {"triplets": 0})


def test_all_verdicts_have_their_samples_and_charts() -> None:
    verdict = {"d2": "promoted", "d3": "excluded"}
    why = {
        "d2": "validator: as relevant as the known positive",
        "d3": "validator: in the grey zone",
    }
    doc = pl.col("doc_id")
    tables = make_tables()
    judged = tables.negatives.with_columns(
        verdict=doc.replace_strict(verdict, default=pl.col("verdict").cast(pl.String)).cast(
            tables.negatives.collect_schema()["verdict"]
        ),
        reason=doc.replace_strict(why, default=pl.col("reason")),
        validator_score=pl.when(doc.is_in(["d1", "d2", "d3"])).then(pl.lit(1.5, pl.Float32)),
    )
    mining = MiningSettings.model_validate(
        {**MINING.model_dump(), "validation": {"model": "some-model"}}
    )
    logits = pl.DataFrame({"query_id": ["q1", "q2"], "lowest": [1.0, 3.0]})
    report = make_report(make_tables(negatives=judged, logits=logits), mining=mining)
    text = read(report).text
    for title in ("Promoted to positive", "Excluded in the grey zone", "The validator's opinion"):
        assert title in text
    assert "1 unmarked passage as relevant as the known positive" in text


def test_the_card_lists_its_tables() -> None:
    card = render_card(make_report(), {"triplets": 3, "n-tuple": 1})
    for command in (
        "-m FlagEmbedding.finetune",
        "-m tevatron.retriever",
        "swift sft",
        "n_passages: 3",
    ):
        assert command in card
    assert "```bash\npolymine export" in card
    assert "- config_name: triplets\n  data_files: triplets/*.parquet\n  default: true" in card
    assert "- config_name: n-tuple\n  data_files: n-tuple/*.parquet" in card
    assert 'language:\n- "en"\n- "fr"' in card
    assert "mining.negatives = 2" in card
