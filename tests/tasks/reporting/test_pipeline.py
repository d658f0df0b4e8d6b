"""A pipeline's page is put together from what its parts have written, and from nothing else."""

import json
from pathlib import Path

import polars as pl

from polymine.data_contracts.references import Manifest
from polymine.reporting.learning.page import render_learning
from polymine.reporting.learning.report import EvaluationReport, TrainingReport
from polymine.reporting.report import Note, Report, Timing
from polymine.tasks.reporting.evaluation import COMPARISONS, SCORES
from polymine.tasks.reporting.pipeline import PARTS, join_parts
from polymine.tasks.reporting.training import CURVES
from polymine.tasks.store.manifests import MANIFEST
from tests.reporting.learning.small_learning import make_learning

WHOLE = make_learning()


def write_part(folder: Path, report: Report, **tables: pl.DataFrame) -> None:
    folder.mkdir()
    for name, table in tables.items():
        table.write_parquet(folder / f"{name}.parquet")
    manifest = Manifest(
        contract="part", fingerprint="f", rows=0, shards=(), info=report.model_dump(mode="json")
    )
    (folder / MANIFEST).write_bytes(manifest.sealed())


def test_the_parts_together_are_the_whole(tmp_path):
    shared = {"title": "part", "base": WHOLE.base, "confidence": 0.9}
    took, doubt = (Timing("rank", 1.5, 7, True),), (Note("warning", "few queries"),)
    write_part(tmp_path / "mining", Report(title="mining", headline="7 triplets", timings=took))
    write_part(
        tmp_path / "training",
        TrainingReport(
            headline="1 adapter", steps=WHOLE.steps, curves=WHOLE.curves, speeds=WHOLE.speeds,
            contamination=WHOLE.contamination, routes={"*": "mono"}, notes=WHOLE.notes, **shared,
        ),
        curves=WHOLE.curves,
    )  # fmt: skip
    write_part(
        tmp_path / "evaluation",
        EvaluationReport(
            headline=WHOLE.headline, models=("trained",), pivot="en", notes=doubt, **shared
        ),
        comparisons=WHOLE.comparisons,
        scores=WHOLE.scores,
        changes=WHOLE.changes,
        differences=WHOLE.differences,
    )
    found = join_parts({name: tmp_path / name for name in PARTS}, "run", {"training": {"seed": 0}})
    assert {f"{name}.parquet" for name in ("curves", "comparisons", "scores")} == {
        CURVES, COMPARISONS, SCORES,
    }  # fmt: skip
    assert (found.title, found.headline, found.confidence) == ("run", WHOLE.headline, 0.9)
    assert (found.steps, found.speeds) == (WHOLE.steps, WHOLE.speeds)
    assert (found.contamination, found.routes) == (WHOLE.contamination, {"*": "mono"})
    assert found.comparisons.equals(WHOLE.comparisons)
    assert found.notes == WHOLE.notes + doubt
    assert found.reused == ["mining: rank"]
    noted = json.loads(json.dumps(found.model_dump(mode="json")))
    assert "comparisons" not in noted
    assert "What training changed" in render_learning(found)
