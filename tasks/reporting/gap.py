"""The folder, page and artifacts of a language gap."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from polymine.data_contracts.notes import SetNote
from polymine.data_contracts.references import DatasetRef
from polymine.data_contracts.settings import GapSettings, OutputSettings
from polymine.evaluation.collection import POOL
from polymine.evaluation.gap.projection import umap_version
from polymine.reporting.formatting import as_key
from polymine.reporting.gap.page import draw_matrices, render_gap, render_summary
from polymine.reporting.gap.report import GapReport
from polymine.reporting.gap.verdict import find_verdict, write_headline
from polymine.reporting.report import LinkedFile, Note
from polymine.reporting.templates import say
from polymine.tasks.engine.context import Context
from polymine.tasks.engine.stage import step
from polymine.tasks.evaluation.gap import (
    CASES,
    CHANGES,
    FLAGS,
    POINTS,
    SCORES,
    SPREADS,
    Measures,
    read_gap,
)
from polymine.tasks.monitoring.artifacts import embed, markdown, publish, summary_page, table
from polymine.tasks.reporting.mining import versions
from polymine.tasks.reporting.outcome import list_timings, show, sources_of, sum_up
from polymine.tasks.store.datasets import open_folder
from polymine.tasks.store.output import GAP, publish_folder

SHOWN = "rank-consistency"  # the matrix in the Prefect UI; the page has them all


@step("report-gap")
def report_gap(
    run: Context,
    sets: Measures,
    texts: Measures,
    measures: Mapping[str, Measures],
    scored: DatasetRef,
    gap: GapSettings,
    output: OutputSettings,
) -> dict[str, Any]:
    """Write the output folder of a language gap: figures as tables, and the page."""
    each = {(model, name): ref for model, of in measures.items() for name, ref in of.items()}
    report = GapReport(
        title=Path(output.path).name,
        headline="",
        models=tuple(measures),
        sets=tuple(texts),
        k=gap.k,
        neighbours=gap.neighbours,
        fewest=gap.fewest,
        confidence=gap.confidence,
        scores=read_gap(scored, SCORES),
        changes=read_gap(scored, CHANGES),
        flags={name: read_gap(ref, FLAGS) for name, ref in texts.items()},
        spreads={key: read_gap(ref, SPREADS) for key, ref in each.items()},
        points={key: read_gap(ref, POINTS) for key, ref in each.items()},
        settings=show(gap=gap, output=output, engine=run.engine),
        timings=list_timings({f"measure {m} on {name}": ref for (m, name), ref in each.items()}),
        fingerprints={"scores": scored.fingerprint},
        versions=versions(),
        sources=sources_of(sets, SetNote),
        notes=() if umap_version() else (Note("remark", say("gap", "no_umap")),),
        files=(
            LinkedFile(SCORES, SCORES, "every measure, per pair, language and set, with intervals"),
            LinkedFile(CHANGES, CHANGES, "every model less the first one"),
            LinkedFile("cases/", "cases/", "every measure of every text and query"),
        ),
    )
    report = report.model_copy(update={"headline": write_headline(report)})
    folder = publish_folder(
        output,
        {
            **{name: open_folder(scored.path) / name for name in (SCORES, CHANGES)},
            **{f"cases/{model}/{name}.parquet": open_folder(ref.path) / CASES
               for (model, name), ref in each.items()},
            "report.html": render_gap(report),
        },
        report.model_dump(mode="json"), kind=GAP, run=scored.fingerprint,
    )  # fmt: skip
    publish(make_gap_artifacts(report, str(folder)))
    return sum_up(report, folder)


def make_gap_artifacts(report: GapReport, folder: str) -> list[dict[str, Any]]:
    """Write what the Prefect UI shows: the verdict, matrices of each set, every mean."""
    text = render_summary(report, find_verdict(report))
    made = [summary_page("gap", text, folder, report.headline)]
    for name in report.sets:
        rows = report.scores.filter(set=name, measure=SHOWN)
        panels = draw_matrices(report, rows, SHOWN, tips=False)
        images = [image for model, chart in panels.charts if (image := embed(model, chart))]
        if images:
            about = f"{panels.measure.title} on {name}"
            made.append(markdown(as_key("gap", name), "\n".join(images), about))
    means = report.scores.filter(language_b=POOL).drop("flagged").to_dicts()
    return [*made, table("gap-scores", means, "Means per language and over all pairs")]
