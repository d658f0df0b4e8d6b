"""Renders the README.md of an output folder: a dataset card that `datasets` reads its tables by."""

from collections.abc import Mapping, Sequence

from polymine.data_contracts.settings import Format, MiningSettings
from polymine.reporting.charts.charts import markdown
from polymine.reporting.formatting import code, describe_rule, plain
from polymine.reporting.mining.page import ReportData, flatten
from polymine.reporting.mining.risk_words import describe_expected

ABOUT = {
    "triplets": "one row per query, known positive and hard negative, texts included",
    "negatives": "every candidate that was decided on, by ids, with verdict, risk and reason",
    "promoted": "candidates that became further positives, with their weight in training",
    "risks": "how likely each candidate is to be relevant, from the evidence alone",
    "evidence": "every candidate with the rank and score of each teacher",
    "positives": "the known positives with the score of each teacher",
    "shortfalls": "queries with fewer negatives than wanted, and why",
    "rejected": "input rows that broke a contract, and which",
    "n-tuple": "anchor, positive, negative_1 ... negative_n, for trainers that take several",
    "labeled-pair": "anchor, document, label (1 for a known positive)",
    "labeled-list": "anchor, documents, labels (the known positive first)",
}


def render_card(report: ReportData, rows: Mapping[str, int], formats: Sequence[Format] = ()) -> str:
    """Write the card.

    Args:
        rows: rows per folder of tables in the output, in the order in which they are listed. The
            first is what `load_dataset` opens without a name; empty tables it cannot open at all.
        formats: what the output holds for other trainers.
    """
    # Not [dataset] and [engine]: paths of one machine, which the manifest has for who needs them.
    settings = flatten({"mining": report.settings["mining"]})
    configs = [{"name": n, "rows": count, "about": ABOUT[n]} for n, count in rows.items() if count]
    template = markdown().get_template("mining/card.md.j2")
    return template.render(
        name=report.name,
        plain=plain,
        headline=report.headline,
        configs=configs,
        opened=[config for config in configs if config["rows"]],
        languages=_languages(report),
        rule=describe_rule(report.mining),
        validator=_describe_validator(report.mining),
        expected=describe_expected(report.risk),
        by_risk=report.mining.selection.rule == "risk",
        formats=[f"`{form}/`" for form in formats],
        teacher=report.mining.primary_teacher,
        funnel=report.funnel,
        settings=settings,
    )


def _describe_validator(mining: MiningSettings) -> str:
    if mining.validation is None:
        return ""
    model = f" A second model, {code(mining.validation.model)},"
    if mining.selection.rule == "risk":
        return (
            f"{model} read the pairs nearest the decision; without its agreement, or a label, no "
            "passage became a further positive."
        )
    return (
        f"{model} read every one of them with its query and turned down those it found as relevant "
        "as the known positive, or nearly."
    )


def _languages(report: ReportData) -> list[str]:
    """ISO 639-1 codes alone: the hub refuses cards with others, as `und`."""
    codes = {row.language.partition("-")[0] for row in report.summary.languages}
    return sorted(code for code in codes if len(code) == 2)
