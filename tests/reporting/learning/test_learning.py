"""The page holds together on its own, shows names as text and the numbers of its frames."""

import json
import re
from typing import Any

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from polymine.data_contracts.settings import (
    LossSettings,
    ScheduleSettings,
    StepSettings,
    TrainingSettings,
)
from polymine.reporting.learning.adapter_card import render_adapter_card
from polymine.reporting.learning.metrics import write_headline
from polymine.reporting.learning.page import render_learning, render_summary
from polymine.reporting.learning.report import (
    Contamination,
    EvaluationReport,
    LearningReport,
    PipelineReport,
    RowCount,
    StepReport,
    TrainingReport,
)
from polymine.reporting.learning.tables import Gain, list_arms, list_results, pick_result
from polymine.reporting.templates import say
from tests.reporting.learning.small_learning import (
    SCRIPT,
    SIX,
    TWELVE,
    make_arms,
    make_comparison,
    make_comparisons,
    make_differences,
    make_learning,
)
from tests.reporting.mining.test_page import Outline


def read(report: LearningReport) -> Outline:
    outline = Outline()
    outline.feed(render_learning(report))
    assert not outline.open
    return outline


@pytest.mark.parametrize("languages", [("en",), SIX, TWELVE])
def test_every_set_has_its_sections(languages: tuple[str, ...]) -> None:
    outline = read(make_learning(languages))
    matrices = len(languages) > 1
    assert ("All documents together" in outline.text) == matrices
    assert ("documents ↓ queries →" in outline.text) == matrices
    assert outline.tags.count("svg") == 2 + 3 * matrices
    assert "One language only: English (en) documents" in outline.text


@pytest.mark.parametrize("kind", [TrainingReport, EvaluationReport, PipelineReport])
def test_sections_without_data_are_left_out(kind: type[LearningReport]) -> None:
    nothing = kind(title="run", headline="nothing yet", base="org/model")
    text = read(nothing).text
    for title in ("What was done", "How training went", "What training changed", "Timings"):
        assert title not in text
    assert "Nothing was measured in this run." in text
    assert render_summary(nothing).strip() == "# nothing yet"


@pytest.mark.parametrize("report", [make_learning(), make_comparison()])
def test_the_page_holds_together_and_requests_nothing(report: LearningReport) -> None:
    page, outline = render_learning(report), read(report)
    targets = set(re.findall(r'href="#([^"]+)"', page))
    assert targets <= set(re.findall(r'id="([^"]+)"', page))
    assert all(a.startswith("#") or a == "model/README.md" for a in outline.addresses)
    assert "url(" not in page
    assert "<script" not in page.replace("&lt;script", "")
    assert set(re.findall(r"https?://[^\"]*", page)) == {"http://www.w3.org/2000/svg"}


def test_a_report_is_made_again_from_what_the_manifest_says() -> None:
    report = make_learning()
    tables = {name: getattr(report, name) for name in ("curves", "comparisons", "scores")}
    noted = json.loads(json.dumps(report.model_dump(mode="json")))
    assert not noted.keys() & tables.keys()
    again = PipelineReport.model_validate({**noted, **tables, "files": report.files})
    assert render_learning(again) == render_learning(report)


def test_names_with_markup_are_shown_and_not_obeyed() -> None:
    step = StepReport(StepSettings(name="mono"), (RowCount(SCRIPT, SCRIPT, "en", 3),))
    report = make_learning(
        title=SCRIPT,
        steps=(step,),
        comparisons=make_comparisons(("en", SCRIPT), SCRIPT),
    )
    arms = make_comparison(title=SCRIPT, arms=make_arms().with_columns(arm=pl.lit(SCRIPT)))
    for shown in (report, arms):
        outline = read(shown)
        assert "script" not in outline.tags
        assert outline.text.count(SCRIPT) > 5
        assert "<script>" not in render_summary(shown)


def test_the_gain_is_told_in_words_with_its_interval() -> None:
    frame = make_comparisons(("en",), "held-out")
    row = frame.filter(group="all", metric="ndcg").row(0, named=True)
    headline = write_headline(frame, "held-out", "trained", 10, "held-out queries")
    shown = f"{row['base']:.3f} → {row['value']:.3f}, {row['gain']:+.3f}"
    assert headline.startswith(f"nDCG@10 on held-out queries {shown} [{row['low']:+.3f}, ")
    assert "▲ better" in read(make_learning(comparisons=frame)).text
    assert "not measured" in write_headline(frame, "held-out", "other", 10)


@given(
    st.floats(-1, 1), st.floats(0, 0.5), st.floats(0, 0.5)
)  # fmt: skip
def test_a_verdict_needs_an_interval_without_zero(gain: float, below: float, above: float) -> None:
    found = Gain("", 0.5, 0.5 + gain, gain, gain - below, gain + above).verdict
    inside = gain - below <= 0 <= gain + above
    assert (found == "unclear") == inside
    assert inside or found == ("better" if gain > 0 else "worse")
    assert Gain("", 0.5, 0.5, 0.0, None, None).verdict is None


def test_the_overall_row_is_the_widest_mean_there_is() -> None:
    frame = make_comparisons(SIX)
    assert pick_result(frame, "xquad", "trained").headline.queries == 240 * 36
    one = frame.filter(pl.col("group") == "pool")
    assert pick_result(one, "xquad", "trained").headline.queries == 240 * 36
    only = make_comparisons(("en",)).filter(pl.col("group") == "direction")
    assert pick_result(only, "xquad", "trained").headline.queries == 240
    assert [gain.metric for gain in pick_result(frame, "xquad", "trained").overall] == [
        "ndcg", "recall", "mrr", "map",
    ]  # fmt: skip


def test_rows_of_the_base_are_no_result_unless_it_is_alone() -> None:
    base = make_comparisons(("en",), model="base")
    assert [result.model for result in list_results(base)] == ["base"]
    alone = read(make_learning(comparisons=make_comparisons(SIX, model="base"))).text
    assert "The diagonal is search within one language. Outlined" in alone  # nothing is gained
    assert "got better" not in alone
    both = pl.concat([base, make_comparisons(("en",))])
    assert [result.model for result in list_results(both)] == ["trained"]


def test_several_models_are_told_apart() -> None:
    frame = pl.concat([make_comparisons(SIX, model=name) for name in ("mono", "stacked")])
    text = read(make_learning(comparisons=frame)).text
    assert "xquad : stacked" in text or "xquad: stacked" in text


def test_arms_are_listed_best_first_with_their_seeds() -> None:
    outline = read(make_comparison())
    part = outline.text.partition("Which negatives train best")[2]
    table = part.partition("gain per seed")[2]
    assert table.index("default") < table.index("st-percent") < table.index("random")
    assert "seed 0:" in table
    assert "seed 1:" in table


def test_pairs_of_arms_say_which_are_told_apart() -> None:
    report = make_comparison(differences=make_differences())
    text = " ".join(read(report).text.split())
    assert text.count("default and st-percent are not told apart.") == 2
    table = text.partition("corrected for the number of pairs")[2]
    assert table.index("random") < table.index("naive") < table.index("st-percent")
    assert "+0.027 [+0.017, +0.037] 0.006 better" in table
    assert "0.6 not told apart" in table
    assert "corrected" not in read(make_comparison()).text


def test_without_a_row_for_all_seeds_their_mean_stands_in() -> None:
    each = make_arms().filter(pl.col("seed").is_not_null())
    arm = list_arms(each)[0]
    assert arm.together.gain == pytest.approx(sum(seed.gain or 0 for seed in arm.seeds) / 2)
    assert arm.together.verdict is None
    assert "no interval" in read(make_comparison(arms=each)).text


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({}, "A new adapter (LoRA of rank 16) on the base learned from 5 rows of triplets mined"),
        ({"adapter": "continue", "on": "mono"}, "Going on with the adapter of mono"),
        ({"adapter": "stack"}, "on top of the adapter of the step before, which stayed frozen"),
        ({"loss": LossSettings(kind="gist", guide="big")}, "save those that big takes for right"),
        (
            {"loss": LossSettings(kind="distill", negatives=1)},
            "1 hard negative per row the way the",
        ),
        ({"schedule": ScheduleSettings(steps=30)}, "30 optimizer steps in batches of 64"),
        ({"languages": ("fa",)}, "Only Persian (fa) texts pass through it"),
    ],
)
def test_a_step_is_one_sentence(changed: dict[str, Any], said: str) -> None:
    step = StepReport(StepSettings(name="one", **changed), (RowCount("mined", "fa", "fa", 5),))
    assert said in say("learning", "step", step)


def test_contamination_is_said_either_way() -> None:
    assert "none was found" in say("learning", "contamination", Contamination(10))
    assert "2 training rows left out" in say(
        "learning", "contamination", Contamination(10, 2, 0, 2)
    )
    assert "scores on these sets are too good" in say(
        "learning", "contamination", Contamination(10, 2)
    )


def test_chance_is_mentioned_where_it_matters() -> None:
    assert say("learning", "by_chance", 16, 0.95) == ""
    assert "about 7" in say("learning", "by_chance", 144, 0.95)


def test_the_summary_is_a_table_of_gains_and_files() -> None:
    text = render_summary(make_learning())
    assert text.startswith("# nDCG@10 on held-out queries")
    assert "- **Check this:** No query in fa was held out." in text
    assert "| xquad | trained | nDCG@10 |" in text
    assert "| sib200, Persian (fa) | trained | V-measure | 0.080 | 0.150 | +0.070 | – |" in text
    assert "- `model/README.md`: the trained adapters" in text


def test_page_and_card_say_how_often_rows_were_read() -> None:
    counts = (RowCount("mined", "fa", "fa", 300, 0.03, 14.26),)
    report = make_learning(steps=(StepReport(StepSettings(name="one"), counts),))
    assert "14.3" in read(report).text
    card = render_adapter_card(report, TrainingSettings(), {"*": "one"}, "package")
    assert "| `one` | mined | Persian (fa) | Persian (fa) | 300 | 14.3 |" in card


def test_pairs_of_which_few_rows_are_learned_from_are_marked() -> None:
    counts = (RowCount("mined", "fa", "fa", 970, 0.97), RowCount("mined", "ar", "ar", 30, 0.03))
    text = read(make_learning(steps=(StepReport(StepSettings(name="one"), counts),))).text
    assert text.count("low-resource") == 1
    assert "97 %" in text
