"""Renders the README.md of an output folder: a dataset card that `datasets` reads its tables by."""

from collections.abc import Mapping, Sequence

from polymine.data_contracts.settings import Format
from polymine.reporting.mining.page import MiningReport
from polymine.reporting.report import flatten
from polymine.reporting.templates import markdown


def render_card(
    report: MiningReport, rows: Mapping[str, int], formats: Sequence[Format] = ()
) -> str:
    """Write the dataset card.

    Args:
        report: of the run.
        rows: rows per folder of tables in the output, in the order in which they are listed. The
            first is what `load_dataset` opens without a name; empty tables it cannot open at all.
        formats: what the output holds for other trainers.

    Returns:
        Markdown with the hub's YAML metadata before it.
    """
    # ISO 639-1 codes alone: the hub refuses cards with others, as `und`.
    codes = {language.partition("-")[0] for language in report.summary.languages["query_language"]}
    return (
        markdown()
        .get_template("mining/card.md.j2")
        .render(
            report=report,
            mining=report.mining,
            rows={name: count for name, count in rows.items() if count},
            languages=sorted(code for code in codes if len(code) == 2),
            formats=formats,
            # Not [dataset] and [engine]: paths of one machine, which the manifest has.
            settings=flatten({"mining": report.settings["mining"]}),
        )
    )
