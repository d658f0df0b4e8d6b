"""The names of metrics and verdicts, and gains as text."""

import polars as pl

from polymine.evaluation.matrix import FEWEST
from polymine.reporting.formatting import count_of, format_gain, format_interval, format_score
from polymine.reporting.learning.tables import Gain, Verdict, pick_result

VERDICTS: dict[Verdict | None, str] = {
    "better": "better", "worse": "worse", "unclear": "no clear difference", None: "no interval",
}  # fmt: skip
METRICS = {
    "ndcg": ("nDCG@{k}", "how near the top of the first {k} the right documents stand"),
    "recall": ("recall@{k}", "share of the right documents among the first {k}"),
    "mrr": ("MRR@{k}", "1 divided by the rank of the first right document among the first {k}"),
    "map": ("MAP", "precision at every right document, averaged"),
    "spearman": ("Spearman", "rank correlation of the model's similarity with people's"),
    "cosine_spearman": ("Spearman", "rank correlation of the model's similarity with people's"),
    "accuracy": ("accuracy", "share of right answers"),
    "v_measure": ("V-measure", "how well groups found by the vectors agree with the true ones"),
}


def name_metric(metric: str, k: int) -> str:
    """Name a metric the way papers do, as `nDCG@10`; unknown ones stay as they are.

    A metric such as `ndcg@100` has a cut-off of its own, the others have `k`.
    """
    stem, _, cutoff = metric.partition("@")
    return METRICS[stem][0].format(k=cutoff or k) if stem in METRICS else metric


def explain_metric(metric: str, k: int) -> str:
    """Say in a few words what a metric measures; nothing for unknown ones."""
    stem, _, cutoff = metric.partition("@")
    return METRICS[stem][1].format(k=cutoff or k) if stem in METRICS else ""


def write_gain(gain: Gain) -> str:
    """Write as much as there is of `0.512 → 0.547, +0.035 [+0.021, +0.049]`."""
    if gain.base is None or gain.gain is None:
        shown = format_score(gain.value)
        return shown if gain.low is None else f"{shown} {write_interval(gain)}"
    shown = f"{format_score(gain.base)} → {format_score(gain.value)}, {format_gain(gain.gain)}"
    return shown if gain.low is None else f"{shown} {write_interval(gain)}"


def write_interval(gain: Gain) -> str:
    """Write the bounds of a gain with their signs, those of a base measured alone without."""
    if gain.gain is not None or gain.low is None or gain.high is None:
        return format_interval(gain.low, gain.high)
    return f"[{format_score(gain.low)}, {format_score(gain.high)}]"


def write_headline(
    comparisons: pl.DataFrame, name: str, model: str, k: int, where: str = ""
) -> str:
    """Say what a model gains on a set.

    Args:
        comparisons: contract Comparisons.
        name: of the set.
        model: as in `comparisons`.
        k: the metric's cut-off.
        where: stands for the set's name, as in `held-out queries`.

    Returns:
        `nDCG@10 on NAME 0.512 → 0.547, +0.035 [+0.021, +0.049]`, or that it was not measured.
    """
    result = pick_result(comparisons, name, model)
    if not result.overall:
        few = f"all {len(result.directions)} directions of {name} have too few queries for a mean"
        return few if result.directions else f"{model} was not measured on {name}"
    first = result.headline
    alone = f", of {count_of(first.queries, 'query', 'queries')} alone"
    said = f"{name_metric(first.metric, k)} on {where or name} {write_gain(first)}"
    return said + alone if first.queries < FEWEST else said
