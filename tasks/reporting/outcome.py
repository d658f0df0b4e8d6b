"""What every command hands on: an output folder with its page, and how it is summed up."""

import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import polars as pl
from pydantic import BaseModel

from polymine.data_contracts.notes import CollectionNote, RowsNote, SetNote, Understood
from polymine.data_contracts.references import CollectionRef, DatasetRef
from polymine.data_contracts.settings import OutputSettings
from polymine.reporting.learning.page import render_learning
from polymine.reporting.learning.report import LearningReport
from polymine.reporting.report import Report, Timing
from polymine.tasks.monitoring.artifacts import publish
from polymine.tasks.reporting.learning_artifacts import make_learning_artifacts
from polymine.tasks.store.datasets import note_of
from polymine.tasks.store.output import publish_folder, without_passwords

Files = dict[str, Path | str | bytes]


def write_folder(
    report: LearningReport, files: Files, output: OutputSettings, kind: str, run: str, flow: str
) -> dict[str, Any]:
    """Write an output folder with its page, show it in the UI, and sum it up."""
    pages: Files = {**files, "report.html": render_learning(report)}
    folder = publish_folder(output, pages, report.model_dump(mode="json"), kind=kind, run=run)
    publish(make_learning_artifacts(report, flow, str(folder)))
    return sum_up(report, folder)


def sum_up(report: Report, folder: Path) -> dict[str, Any]:
    """Say what the command line shows of a run."""
    timings = [{"stage": t.stage, "seconds": t.seconds} for t in report.timings]
    return {
        "output": str(folder),
        "report": str(folder / "report.html"),
        "headline": report.headline,
        "warnings": [note.text for note in report.notes if note.level == "warning"],
        "timings": timings,
        "reused": report.reused,
        "searched": [one.said for one in getattr(report, "searched", ())],
    }


def show(**parts: BaseModel) -> dict[str, Any]:
    """List settings as a page shows them, by section."""
    return {name: without_passwords(part) for name, part in parts.items()}


def sources_of(
    made: Mapping[str, DatasetRef], kind: type[CollectionNote | SetNote | RowsNote]
) -> tuple[Understood, ...]:
    """Say what each file that something was made of was taken for, once."""
    return merged(*(note_of(reference, kind).sources for reference in made.values()))


def merged(*sources: Sequence[Understood]) -> tuple[Understood, ...]:
    """List files that several things were made of once."""
    return tuple(dict.fromkeys(file for each in sources for file in each))


def list_timings(stages: Mapping[str, DatasetRef | CollectionRef]) -> tuple[Timing, ...]:
    """Say of each stage, by its name, how long it took and what it made."""
    return tuple(Timing(n, round(r.seconds, 3), r.rows, r.reused) for n, r in stages.items())


def write_parquet(table: pl.DataFrame) -> bytes:
    """Give a table as the bytes of a Parquet file."""
    written = io.BytesIO()
    table.write_parquet(written)
    return written.getvalue()
