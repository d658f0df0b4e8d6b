"""Plain words for recipes, gains and metrics."""

from collections.abc import Sequence

import polars as pl

from polymine.data_contracts.settings import LossSettings, StepSettings
from polymine.reporting.formatting import (
    count_of,
    format_gain,
    format_interval,
    format_score,
    name_language,
)
from polymine.reporting.learning.data import Contamination, LearningReport, StepReport
from polymine.reporting.learning.tables import Gain, Verdict, count_verdicts, pick_result
from polymine.reporting.mining.notes import Note

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
    """Name a metric the way papers do; unknown ones stay as they are."""
    return METRICS[metric][0].format(k=k) if metric in METRICS else metric


def explain_metric(metric: str, k: int) -> str:
    """Say in a few words what a metric measures; nothing for unknown ones."""
    return METRICS[metric][1].format(k=k) if metric in METRICS else ""


def name_model(model: str) -> str:
    """Name a model in words where its name in the settings is no hub id."""
    kind, _, package = model.partition(":")
    return f"the one inside the Python package {package}" if kind == "package" else model


def name_side(code: str) -> str:
    """Name the language of one side; `*` is all of them."""
    return "all languages" if code == "*" else name_language(code)


def name_pair(document: str, query: str) -> str:
    """Name one language, or two as `Arabic (ar) and English (en)`."""
    if document == query:
        return name_side(document)
    return f"{name_side(document)} and {name_side(query)}"


def name_direction(document: str, query: str) -> str:
    """Name a direction, document first, as everywhere; `*` is any language."""
    return f"documents in {name_side(document)}, queries in {name_side(query)}"


def write_headline(
    comparisons: pl.DataFrame, name: str, model: str, k: int, where: str = ""
) -> str:
    """Say what a model gains on a set: `nDCG@10 on NAME 0.512 → 0.547, +0.035 [+0.021, +0.049]`.

    `where` stands for the set's name, as in `held-out queries`.
    """
    result = pick_result(comparisons, name, model)
    if not result.overall:
        return f"{model} was not measured on {name}"
    return (
        f"{name_metric(result.headline.metric, k)} on {where or name} {write_gain(result.headline)}"
    )


def write_gain(gain: Gain) -> str:
    """Write `0.512 → 0.547, +0.035 [+0.021, +0.049]`, as much of it as there is."""
    if gain.base is None or gain.gain is None:
        return format_score(gain.value)
    shown = f"{format_score(gain.base)} → {format_score(gain.value)}, {format_gain(gain.gain)}"
    return shown if gain.low is None else f"{shown} {format_interval(gain.low, gain.high)}"


def describe_step(step: StepReport) -> str:
    """Say in one sentence what a step did."""
    settings, schedule = step.settings, step.settings.schedule
    rows = f"{count_of(step.rows, 'row')} of " if step.counts else ""
    length = (
        count_of(schedule.steps, "optimizer step")
        if schedule.steps is not None
        else f"{schedule.epochs:g} {'pass' if schedule.epochs == 1 else 'passes'} over the data"
    )
    return (
        f"{_describe_adapter(settings)} learned from {rows}{_describe_sources(settings)}: {length} "
        f"in batches of {schedule.batch}, peak learning rate {schedule.learning_rate:g}. "
        f"{_describe_loss(settings.loss)} {_describe_languages(settings)}"
    )


def _describe_adapter(settings: StepSettings) -> str:
    lora = settings.lora
    shape = f"LoRA of rank {lora.rank}"
    before = f"the adapter of {settings.on}" if settings.on else "the adapter of the step before"
    return {
        "new": f"A new adapter ({shape}) on the base",
        "continue": f"Going on with {before}, the adapter",
        "stack": f"A second adapter ({shape}) on top of {before}, which stayed frozen,",
    }[settings.adapter]


def _describe_sources(settings: StepSettings) -> str:
    parts = []
    for part in settings.data:
        kind = "triplets" if part.triplets else "parallel texts" if part.parallel else "collection"
        share = f" ({part.share:.0%} of the batches)" if part.share is not None else ""
        pairs = f" in {', '.join(part.languages)}" if part.languages else ""
        mined = " mined in this run" if part.triplets == "mined" else ""
        parts.append(f"{kind}{mined}{pairs}{share}")
    return " and ".join(parts)


def _describe_loss(loss: LossSettings) -> str:
    wrong = (
        f"{count_of(loss.negatives, 'hard negative')}" if loss.negatives else "no hard negatives"
    )
    guide = loss.guide.model if loss.guide else "no guide"
    return {
        "infonce": f"It was taught to rank the right document above the others of its batch and "
        f"{wrong} per row (InfoNCE, temperature {loss.temperature:g})"
        f"{', in both directions' if loss.symmetric else ''}.",
        "gist": f"It was taught to rank the right document above the others of its batch and "
        f"{wrong} per row, save those that {guide} takes for right (GIST, temperature "
        f"{loss.temperature:g}).",
        "distill": f"It was taught to rank the right document and {wrong} per row the way the "
        "teacher's stored scores do (distillation).",
    }[loss.kind]


def _describe_languages(settings: StepSettings) -> str:
    if settings.languages is None:
        return "Texts of all languages pass through it."
    names = ", ".join(name_language(code) for code in settings.languages)
    return f"Only {names} texts pass through it, all others through the untouched base."


def describe_counts(gains: Sequence[Gain], noun: str = "direction") -> str:
    """Say how many are better or worse, and how many unclear."""
    counts = count_verdicts(gains)
    return (
        f"Of {count_of(len(gains), noun)} {counts['better']} got better, {counts['worse']} got "
        f"worse, {counts['unclear']} show no clear difference."
    )


def warn_of_chance(count: int, confidence: float) -> str:
    """Say how many of many intervals leave out 0 by chance, if that is one or more."""
    expected = count * (1 - confidence)
    if expected < 1:
        return ""
    return (
        f"Among so many, about {expected:.0f} would leave out 0 by chance even if training changed "
        "nothing."
    )


def describe_contamination(found: Contamination) -> str:
    """Say in one sentence what training and evaluation data share."""
    total = found.exact + found.near
    looked = f"{count_of(found.checked, 'training text')} looked for in the evaluation data: "
    if not total:
        return f"{looked}none was found there, exactly or nearly."
    ended = (
        f"{count_of(found.removed, 'training row')} left out because of it."
        if found.removed
        else "Nothing was left out: scores on these sets are too good."
    )
    return f"{looked}{found.exact:,} stand there word for word, {found.near:,} nearly. {ended}"


def note_untouched(model: str, name: str, languages: Sequence[str]) -> Note:
    """Warn that a model was measured as its base on a set in these languages."""
    spoken = " and ".join(name_side(code) for code in languages)
    return Note(
        "warning",
        f"No text of {name} passes through an adapter of {model}: all are in {spoken}, which it "
        "leaves to the base, so that every gain there is exactly 0. If the texts are in another "
        "language, give the set its `language`.",
    )


def describe_kind(report: LearningReport) -> str:
    """Say what kind of run the page is about."""
    return {
        "training": "training", "evaluation": "evaluation", "pipeline": "mining, training and "
        "evaluation", "comparison": "comparison of ways to mine",
    }[report.kind]  # fmt: skip
