"""What the page of a language gap shows."""

import polars as pl
from pydantic import Field

from polymine.data_contracts.gap import GapChanges, GapFlags, GapPoints, GapScores, GapSpreads
from polymine.reporting.report import Report


class GapReport(Report):
    """How far apart the same meaning lies in different languages.

    Args:
        models: in the order asked for; all are compared with the first one.
        sets: in the order asked for.
        k, neighbours, fewest, confidence: as in the settings.
        scores, changes: `GapScores` and `GapChanges` of all models and sets.
        flags: set to its `GapFlags`.
        spreads, points: (model, set) to `GapSpreads` and `GapPoints`.
    """

    kind = "language gap"

    models: tuple[str, ...]
    sets: tuple[str, ...]
    k: int = 10
    neighbours: int = 10
    fewest: int = 10
    confidence: float = 0.95
    scores: pl.DataFrame = Field(default_factory=GapScores.create_empty, exclude=True)
    changes: pl.DataFrame = Field(default_factory=GapChanges.create_empty, exclude=True)
    flags: dict[str, pl.DataFrame] = Field(default_factory=dict, exclude=True)
    spreads: dict[tuple[str, str], pl.DataFrame] = Field(default_factory=dict, exclude=True)
    points: dict[tuple[str, str], pl.DataFrame] = Field(default_factory=dict, exclude=True)

    def flagged(self, name: str) -> pl.DataFrame:
        """What speaks against texts of a set; nothing where nobody looked."""
        return self.flags.get(name, GapFlags.create_empty())

    def spread(self, model: str, name: str) -> pl.DataFrame:
        """Spreads of cosines of a model on a set."""
        return self.spreads.get((model, name), GapSpreads.create_empty())

    def map(self, model: str, name: str) -> pl.DataFrame:
        """Points of the maps of a model on a set."""
        return self.points.get((model, name), GapPoints.create_empty())
