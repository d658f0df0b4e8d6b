"""The report of a mining run, and its page: HTML that stands on its own."""

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from pydantic import Field

from polymine.data_contracts.notes import Primary
from polymine.data_contracts.settings import MiningSettings
from polymine.reporting.mining import risk
from polymine.reporting.mining.figures import draw_figures, draw_proofs, draw_risk
from polymine.reporting.mining.funnel import Step
from polymine.reporting.mining.risk import RiskData
from polymine.reporting.mining.summary import Summary
from polymine.reporting.mining.turns import Turn
from polymine.reporting.reasons import EVIDENCE, explain, name_reason
from polymine.reporting.report import Report, flatten
from polymine.reporting.templates import templates


class MiningReport(Report):
    """What a page of mining shows.

    Args:
        given: what became of the candidates that files gave.
        primary: the teacher whose scores decide, and why.
        turns: what to turn next.
        example: one row of the triplets, or nothing.
    """

    kind = "mining"

    funnel: tuple[Step, ...]
    given: tuple[Step, ...] = ()
    primary: Primary
    summary: Summary = Field(exclude=True)
    risk: RiskData = Field(exclude=True)
    turns: Sequence[Turn] = Field((), exclude=True)
    example: dict[str, Any] = Field(exclude=True)
    mining: MiningSettings = Field(exclude=True)

    def to_manifest(self) -> dict[str, Any]:
        """What the output's manifest says."""
        return {
            **self.model_dump(mode="json"),
            "seed": self.mining.seed,
            "recall": [asdict(found) for found in self.summary.recall],
            "risk": self.risk.to_manifest(),
            "warnings": [note.text for note in self.notes if note.level == "warning"],
        }


def render_page(report: MiningReport) -> str:
    """Write the page: HTML that needs no other file, in which texts of the data are only text."""
    return (
        templates()
        .get_template("mining/page.html.j2")
        .render(
            report=report,
            summary=report.summary,
            mining=report.mining,
            figures=draw_figures(report.summary, report.mining),
            risk=report.risk,
            risk_figures=draw_risk(report.risk),
            reliability=draw_proofs(report.risk),
            offers=risk.offer_budgets(report.risk),
            weights=risk.list_weights(report.risk.model),
            typical=risk.typical_risk(report.risk.model),
            settings=flatten(report.settings),
            evidence=EVIDENCE,
            name_reason=name_reason,
            explain=lambda reason: explain(reason, report.mining.selection),
        )
    )
