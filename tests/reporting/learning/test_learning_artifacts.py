"""What the UI shows of training, evaluation and comparison: keys, tables, small pictures."""

import json
import re
from typing import Any

import pytest

from polymine.reporting.learning.report import LearningReport, TrainingReport
from polymine.tasks.reporting.learning_artifacts import make_learning_artifacts
from tests.reporting.learning.small_learning import (
    SCRIPT,
    TWELVE,
    make_comparison,
    make_differences,
    make_learning,
)

PLACE = "/runs/out"


def make(report: LearningReport, flow: str) -> dict[str, dict[str, Any]]:
    made = make_learning_artifacts(report, flow, PLACE)
    assert all(re.fullmatch(r"[a-z0-9-]+", artifact["key"]) for artifact in made)
    keyed = {artifact["key"]: artifact for artifact in made}
    assert len(keyed) == len(made)
    return keyed


def rows(artifact: dict[str, Any]) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(artifact["data"])
    assert all(row.keys() == found[0].keys() for row in found)
    return found


@pytest.mark.parametrize("flow", ["evaluate", "pipeline"])
def test_every_direction_stands_in_the_table_before_and_after(flow: str) -> None:
    report = make_learning(TWELVE)
    made = make(report, flow)
    assert made.keys() == {
        f"{flow}-{part}"
        for part in ("summary", "curves", "xquad-trained", "rows", "speeds", "gains", "scores")
    }
    gains = rows(made[f"{flow}-gains"])
    directions = [row for row in gains if row["set"] == "xquad" and row["documents"] != "all"]
    assert len(directions) == len(TWELVE) ** 2
    for row in gains:
        assert row["after"] - row["base"] == pytest.approx(row["gain"], abs=2e-4)
        assert row["low"] <= row["gain"] <= row["high"]
        assert (row["verdict"] == "better") == (row["low"] > 0)
    assert {row["measure"] for row in gains} == {"nDCG@10"}
    assert made[f"{flow}-xquad-trained"]["data"].count("data:image") == 3
    assert f"{PLACE}/report.html" in made[f"{flow}-summary"]["data"]
    assert all(SCRIPT not in artifact["data"] for artifact in made.values())


def test_training_shows_its_rows_and_speeds() -> None:
    made = make(make_learning(comparisons=make_learning().comparisons.head(0)), "train")
    learned = rows(made["train-rows"])
    assert sum(row["rows"] for row in learned) == 36_000
    assert [row["step"] for row in rows(made["train-speeds"])] == ["mono", "cross"]
    assert made["train-curves"]["data"].count("data:image") == 2


def test_a_comparison_shows_arms_seeds_and_intervals() -> None:
    report = make_comparison(differences=make_differences())
    made = make(report, "compare")
    arms = rows(made["compare-arms"])
    assert len(arms) == 2 * 4 * 3
    together = [row for row in arms if row["seeds"] == "all" and row["set"] == "pquad"]
    assert together[0]["arm"] == "default"
    differences = rows(made["compare-differences"])
    assert {row["arm"] for row in differences} == {"default"}
    assert {row["verdict"] for row in differences} == {"better", "not told apart"}
    assert all(row["low"] < row["difference"] < row["high"] for row in differences)
    assert made["compare-chart"]["data"].count("data:image") == 2


def test_a_report_of_nothing_is_a_summary() -> None:
    assert make(TrainingReport(title="run", headline="nothing yet", base="b"), "train").keys() == {
        "train-summary"
    }
