"""The verdict: which languages lie apart, who loses by it, what helped, and what that cost.

Only what is surely so is said: a language or pair lies behind if its whole interval does.
"""

from dataclasses import dataclass

import polars as pl

from polymine.evaluation.collection import POOL
from polymine.reporting.gap.measures import MEASURES
from polymine.reporting.gap.report import GapReport
from polymine.reporting.templates import say

NAMED = 4  # languages or pairs that a sentence names
JUDGED = (
    "rank-consistency",
    "xsim",
    "pool-ndcg",
    "sts",
)  # by which models are compared, best first
PURE = 2.0  # times the odds of chance: from here on neighbours are chosen by language
LOST = 0.5  # of translations: from here on more are taken for another text's than found


@dataclass(frozen=True)
class Finding:
    """What is said of a model on a set; `good` is None for what is neither good nor bad."""

    model: str
    set: str
    text: str
    good: bool | None = None


def find_verdict(report: GapReport) -> list[Finding]:
    """Say in plain words what the figures come to, set by set and model by model.

    Args:
        report: with its scores, changes and flags.

    Returns:
        Findings: what lies apart, which pairs lose, what the mixed pool does, and what each model
        changes against the first.
    """
    found: list[Finding] = []
    for name in report.sets:
        for model in report.models:
            rows = report.scores.filter(set=name, model=model)
            said = (_neighbours(rows, report), _order(rows), _mining(rows), _similarity(rows),
                    _pool(rows))  # fmt: skip
            for text, good in said:
                found += [Finding(model, name, text, good)] if text else []
            found += _changes(report, model, name)
    return found


def write_headline(report: GapReport) -> str:
    """Sum up in one sentence, model by model, what matters most of what was measured.

    That is what a mixed pool costs, as users feel it, else how alike languages order texts.
    """
    for measure in ("mix-cost", *JUDGED):
        for name in report.sets:
            rows = report.scores.filter(set=name, measure=measure, language_a=POOL, language_b=POOL)
            values = {m: rows.filter(model=m)["value"] for m in report.models}
            known = [(model, float(each[0])) for model, each in values.items() if len(each)]
            if known and measure == "mix-cost":
                return say("gap", "headline_of_pool", name, known)
            if known:
                return say("gap", "headline", name, MEASURES[measure].title, known)
    return say("gap", "nothing")


Said = tuple[str, bool | None]
NOTHING: Said = ("", None)


def _neighbours(rows: pl.DataFrame, report: GapReport) -> Said:
    """Whether neighbours are chosen by language: surely so, surely not, or between the two.

    By odds: of two languages chance alone gives half, and nothing has twice as much.
    """
    purity, chance = _whole(rows, "purity"), _whole(rows, "purity-by-chance")
    if purity is None or not chance or chance >= 1:
        return NOTHING
    bound = rows.filter(measure="purity", language_a=POOL, language_b=POOL).row(0, named=True)
    least = PURE * chance / (1 - chance)
    edge = least / (1 + least)
    apart = True if bound["low"] >= edge else False if bound["high"] < edge else None
    count = report.neighbours
    text = say("gap", "neighbours", purity * count, chance * count, count, apart)
    return text, None if apart is None else not apart


def _order(rows: pl.DataFrame) -> Said:
    """Which languages order texts otherwise than the rest."""
    whole = _whole(rows, "rank-consistency")
    if whole is None:
        return NOTHING
    behind = _behind(rows.filter(measure="rank-consistency"))
    pairs = rows.filter(
        pl.col("measure") == "rank-consistency", pl.col("language_b") != POOL, ~pl.col("flagged")
    ).sort("value")
    return say("gap", "order", whole, behind, _ends(pairs)), False if behind else None


def _mining(rows: pl.DataFrame) -> Said:
    """In which directions translations are not found."""
    whole = _whole(rows, "xsim")
    if whole is None:
        return NOTHING
    pairs = rows.filter(
        pl.col("measure") == "xsim", pl.col("language_a") != POOL, pl.col("language_b") != POOL,
        ~pl.col("flagged"), pl.col("low") > whole,
    ).sort("value", descending=True)  # fmt: skip
    worst = pairs.head(NAMED).select("language_a", "language_b", "value").rows()
    lost = whole >= LOST
    return say("gap", "mining", whole, worst, pairs.height, lost), False if worst or lost else None


def _similarity(rows: pl.DataFrame) -> Said:
    """In which directions cosines follow people's scores, and where too few pairs tell."""
    pairs = rows.filter(measure="sts").sort("value")
    sure = pairs.filter(~pl.col("flagged"))
    if not pairs.height:
        return NOTHING
    few = pairs.filter("flagged").select("language_a", "language_b", "count").rows()
    return say("gap", "similarity", _ends(sure), sure.height, few), None


def _pool(rows: pl.DataFrame) -> Said:
    """What a question gets from documents in all languages, and what that costs."""
    cost, preference = _whole(rows, "mix-cost"), _whole(rows, "preference")
    if cost is None or preference is None:
        return NOTHING
    found = rows.filter(measure="found", language_b=POOL).filter(pl.col("language_a") != POOL)
    least = found.sort("value").head(1).select("language_a", "value").rows()
    most = rows.filter(pl.col("measure") == "mix-cost", pl.col("language_a") != POOL)
    most = most.filter(~pl.col("flagged")).sort("value", descending=True).head(1)
    dearest = most.select("language_a", "value").rows()
    return say("gap", "pool", preference, cost, least, dearest), None


def _changes(report: GapReport, model: str, name: str) -> list[Finding]:
    """What a model gains and loses against the first one, pair by pair."""
    found = []
    for measure in JUDGED:
        rows = report.changes.filter(model=model, set=name, measure=measure)
        whole = rows.filter(language_a=POOL, language_b=POOL)
        each = rows.filter(pl.col("language_a") != POOL, pl.col("language_b") != POOL)
        each = each.filter(~pl.col("flagged"))
        if not each.height:
            continue
        sign = -1 if MEASURES[measure].better == "low" else 1
        up, down = (pl.col("low") > 0), (pl.col("high") < 0)
        helped, hurt = (up, down) if sign > 0 else (down, up)
        text = say(
            "gap", "change", report.models[0], MEASURES[measure].title,
            whole["change"][0] if whole.height else None,
            _pairs(each.filter(helped), sign), _pairs(each.filter(hurt), -sign),
            (each.filter(helped).height, each.filter(hurt).height, each.height),
        )  # fmt: skip
        more = each.filter(helped).height - each.filter(hurt).height
        good = more > 0 if more else None
        found.append(Finding(model, name, text, good))
    return found


def _pairs(rows: pl.DataFrame, sign: int) -> list[tuple[str, str, float]]:
    """The pairs that change most, as (language, language, change)."""
    most = rows.sort(pl.col("change") * sign, descending=True).head(NAMED)
    return [(row["language_a"], row["language_b"], row["change"])
            for row in most.iter_rows(named=True)]  # fmt: skip


def _ends(pairs: pl.DataFrame) -> list[tuple[str, str, float]]:
    """First and last of pairs by their value; the one pair, or none."""
    shown = pairs.select("language_a", "language_b", "value").rows()
    return [shown[0], shown[-1]] if len(shown) > 1 else shown


def _whole(rows: pl.DataFrame, measure: str) -> float | None:
    """Value over all pairs or languages that count."""
    found = rows.filter(measure=measure, language_a=POOL, language_b=POOL)["value"]
    return float(found[0]) if len(found) else None


def _behind(rows: pl.DataFrame) -> list[tuple[str, float]]:
    """Languages whose mean surely lies below that of all pairs, lowest first."""
    whole = rows.filter(language_a=POOL, language_b=POOL)
    each = rows.filter(pl.col("language_a") != POOL, pl.col("language_b") == POOL)
    below = each.filter(pl.col("high") < whole["low"][0]).sort("value").head(NAMED)
    return [(str(code), float(value)) for code, value in below.select("language_a", "value").rows()]
