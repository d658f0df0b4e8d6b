"""Renders the page of a language gap: HTML on its own."""

from collections.abc import Sequence
from dataclasses import dataclass

import polars as pl
from markupsafe import Markup

from polymine.evaluation.collection import POOL
from polymine.reporting.charts.heatmap import Cell, Place, draw_heatmap, panel_width, shade_value
from polymine.reporting.formatting import format_score, name_language
from polymine.reporting.gap.maps import LanguageMap, lay_out
from polymine.reporting.gap.measures import MEASURES, Measure
from polymine.reporting.gap.report import GapReport
from polymine.reporting.gap.verdict import JUDGED, Finding, find_verdict
from polymine.reporting.report import Note, flatten
from polymine.reporting.templates import markdown, say, templates

MATRICES = ("rank-consistency", "above-random", "xsim", "sts", "found", "agreement")
LANGUAGES = (
    "rank-consistency", "purity", "compatible-above-random", "mix-cost", "pool-ndcg", "preference",
)  # fmt: skip
ONE_BY_ONE = 3  # pairs with few texts that have a remark each


@dataclass(frozen=True)
class Row:
    """One line of a table: what it is of, and a score (value, low, high, flagged) per model."""

    name: str
    about: str
    values: tuple[tuple[float, float, float, bool] | None, ...]


@dataclass(frozen=True)
class Panels:
    """The matrices of a measure, a model each, on one scale."""

    measure: Measure
    charts: tuple[tuple[str, Markup], ...]
    width: int


@dataclass(frozen=True)
class SetPage:
    """Everything of one set.

    Args:
        overall: a row per measure: means over all pairs or languages.
        similarity: a row per direction: people's scores, with the number of pairs.
        changes: (measure, rows): a row per pair: every model less the first one.
        languages: (measure, rows): a row per language.
        panels: matrices of languages.
        maps: (model, map by each method).
        spreads: (model, `GapSpreads`) as rows.
    """

    name: str
    overall: tuple[Row, ...]
    similarity: tuple[Row, ...]
    changes: tuple[tuple[Measure, tuple[Row, ...]], ...]
    languages: tuple[tuple[Measure, tuple[Row, ...]], ...]
    panels: tuple[Panels, ...]
    maps: tuple[tuple[str, tuple[LanguageMap, ...]], ...]
    spreads: tuple[tuple[str, list[dict[str, object]]], ...]


def render_gap(report: GapReport) -> str:
    """Write the page of a language gap.

    Args:
        report: names and texts of the data are shown as text, whatever they contain.

    Returns:
        HTML that needs no other file.
    """
    return templates().get_template("gap/page.html.j2").render(
        report=report,
        findings=find_verdict(report),
        notes=(*report.notes, *list_flags(report)),
        sets=[gather_set(report, name) for name in report.sets],
        settings=flatten(report.settings),
    )  # fmt: skip


def render_summary(report: GapReport, findings: Sequence[Finding]) -> str:
    """Write the headline, what was flagged, the verdict and the figures, as Markdown."""
    return markdown().get_template("gap/summary.md.j2").render(
        report=report,
        notes=(*report.notes, *list_flags(report)),
        findings=findings,
        sets=[(name, list_overall(report, name)) for name in report.sets],
    )  # fmt: skip


def list_flags(report: GapReport) -> list[Note]:
    """Say what speaks against texts and pairs of each set; of many pairs with few texts, once."""
    notes = []
    for name in report.sets:
        flags = report.flagged(name)
        few = flags.filter(kind="few").sort("count").rows(named=True)
        if len(few) > ONE_BY_ONE:
            flags = flags.filter(pl.col("kind") != "few")
            notes.append(Note("warning", say("gap", "several", name, few, report.fewest)))
        notes += [
            Note("remark" if row["kind"] == "extra" else "warning",
                 say("gap", "flag", name, row, report.fewest))
            for row in flags.iter_rows(named=True)
        ]  # fmt: skip
    return notes


def gather_set(report: GapReport, name: str) -> SetPage:
    """Pick everything that the page shows of one set."""
    rows = report.scores.filter(set=name)
    languages = {
        measure: _by_language(report, rows.filter(measure=measure), measure)
        for measure in LANGUAGES
    }
    panels = [draw_matrices(report, rows.filter(measure=each), each) for each in MATRICES]
    maps = {model: lay_out(report.map(model, name)) for model in report.models}
    spreads = {
        model: report.spread(model, name).sort("kind", "language_a", "language_b").to_dicts()
        for model in report.models
    }
    return SetPage(
        name=name,
        overall=list_overall(report, name),
        similarity=_by_pair(report, rows.filter(measure="sts")),
        changes=_list_changes(report, name),
        languages=tuple((MEASURES[key], each) for key, each in languages.items() if len(each) > 1),
        panels=tuple(each for each in panels if each.charts),
        maps=tuple((model, each) for model, each in maps.items() if each),
        spreads=tuple((model, each) for model, each in spreads.items() if each),
    )


def list_overall(report: GapReport, name: str) -> tuple[Row, ...]:
    """List the means over all pairs or languages, a row per measure that was taken."""
    whole = report.scores.filter(set=name, language_a=POOL, language_b=POOL)
    return tuple(
        Row(measure.title, measure.about, _values(report, whole.filter(measure=key)))
        for key, measure in MEASURES.items()
        if whole.filter(measure=key).height
    )


def draw_matrices(
    report: GapReport, rows: pl.DataFrame, measure: str, *, tips: bool = True
) -> Panels:
    """Draw a measure of pairs or directions, a matrix per model.

    Args:
        report: names the models.
        rows: `GapScores` of one measure on one set.
        measure: its key.
        tips: whether hovering tells all of a cell.

    Returns:
        Charts on one scale; none for fewer than three languages.
    """
    what = MEASURES[measure]
    pairs = rows.filter(pl.col("language_a") != POOL, pl.col("language_b") != POOL)
    codes = sorted({*pairs["language_a"], *pairs["language_b"]})
    if len(codes) < 3:
        return Panels(what, (), 0)
    low, high = float(pairs["value"].min()), float(pairs["value"].max())  # type: ignore[arg-type]
    ends = (low, high) if what.better != "low" else (high, low)
    shown = tuple(f"{value * 100:.1f}".replace("-", "−") for value in ends)
    corner = "both languages" if what.shape == "pairs" else "texts ↓ asked by →"
    charts = []
    for model in report.models:
        cells = [
            cell
            for row in pairs.filter(model=model).iter_rows(named=True)
            for cell in _cells(row, what, (low, high))
        ]
        if cells:
            charts.append(
                (model, draw_heatmap(model, codes, (shown[0], shown[1]), cells, corner=corner,
                                     tips=tips))
            )  # fmt: skip
    return Panels(what, tuple(charts), panel_width(len(codes)))


def _cells(row: dict[str, object], what: Measure, between: tuple[float, float]) -> list[Cell]:
    """A score as a cell, of a pair as two."""
    a, b, value = str(row["language_a"]), str(row["language_b"]), float(str(row["value"]))
    marked = f", only {row['count']} cases" if row["flagged"] else ""
    tip = (
        f"{name_language(a)} and {name_language(b)}: {format_score(value)}, from "
        f"{format_score(float(str(row['low'])))} to {format_score(float(str(row['high'])))}{marked}"
    )
    places = {(a, b), (b, a)} if what.shape == "pairs" else {(a, b)}
    return [
        shade_value(Place(x, y, tip), value, between, up=what.better != "low")
        for x, y in sorted(places)
    ]


def _by_language(report: GapReport, rows: pl.DataFrame, measure: str) -> tuple[Row, ...]:
    """A row per language: its mean with all others, or what was measured of it alone."""
    alone = MEASURES[measure].shape == "languages"
    other = pl.col("language_a") if alone else pl.lit(POOL)
    own = rows.filter(pl.col("language_a") != POOL, pl.col("language_b") == other)
    return tuple(
        Row(name_language(code), "", _values(report, own.filter(language_a=code)))
        for code in own["language_a"].unique().sort()
    )


def _by_pair(report: GapReport, rows: pl.DataFrame) -> tuple[Row, ...]:
    """A row per pair or direction, with how many cases it has at most."""
    pairs = rows.filter(pl.col("language_a") != POOL, pl.col("language_b") != POOL)
    counts = pairs.group_by("language_a", "language_b").agg(pl.col("count").max())
    return tuple(
        Row(f"{a}–{b}" if a != b else a, f"{count:,}",
            _values(report, pairs.filter(language_a=a, language_b=b)))
        for a, b, count in counts.sort("language_a", "language_b").rows()
    )  # fmt: skip


def _list_changes(report: GapReport, name: str) -> tuple[tuple[Measure, tuple[Row, ...]], ...]:
    """What every model changes, pair by pair, for the measures that models are compared by."""
    changes = report.changes.filter(set=name).rename({"change": "value"})
    rows = {key: _by_pair(report, changes.filter(measure=key)) for key in JUDGED}
    return tuple((MEASURES[key], each) for key, each in rows.items() if each)


def _values(
    report: GapReport, rows: pl.DataFrame
) -> tuple[tuple[float, float, float, bool] | None, ...]:
    found = {r["model"]: (r["value"], r["low"], r["high"], r["flagged"]) for r in rows.to_dicts()}
    return tuple(found.get(model) for model in report.models)
