"""Plain words for what the tables say in short, and numbers and texts the way people read them."""

import html
import re

from polymine.data_contracts.settings import MiningSettings, SelectionSettings

LONGEST = 1500  # characters of a text in a summary

LANGUAGES = {
    "ar": "Arabic", "bg": "Bulgarian", "bn": "Bengali", "cs": "Czech", "da": "Danish",
    "de": "German", "el": "Greek", "en": "English", "es": "Spanish", "et": "Estonian",
    "fa": "Persian", "fi": "Finnish", "fr": "French", "he": "Hebrew", "hi": "Hindi",
    "hu": "Hungarian", "id": "Indonesian", "it": "Italian", "ja": "Japanese", "ko": "Korean",
    "nl": "Dutch", "no": "Norwegian", "pl": "Polish", "pt": "Portuguese", "ro": "Romanian",
    "ru": "Russian", "sv": "Swedish", "sw": "Swahili", "ta": "Tamil", "th": "Thai",
    "tr": "Turkish", "uk": "Ukrainian", "und": "not stated", "vi": "Vietnamese", "zh": "Chinese",
}  # fmt: skip

CLOSURE = {
    "positive": "is itself a known positive",
    "copy": "has the same text as a known positive",
    "near_copy": "is nearly word for word a known positive",
    "same_group": "is a translation or version of a known positive",
    "equals_query": "only repeats the query",
    "judged_query_group": "is a known positive of another query that asks the same",
}

NAMES = {
    "known positive: positive": "known positive",
    "known positive: copy": "copy of a known positive",
    "known positive: near_copy": "near-copy of a known positive",
    "known positive: same_group": "version of a known positive",
    "known positive: equals_query": "copy of the query",
    "known positive: judged_query_group": "known positive of the same question",
    "validator: in the grey zone": "validator unsure",
    "validator: as relevant as the known positive": "promoted: an unmarked answer",
    "risk: too likely to be relevant for its hardness": "too risky for its hardness",
    "risk: higher than any negative may have": "too likely to be relevant",
    "promoted: risk and validator agree": "promoted: risk and validator agree",
    "promoted: relevant by a label": "promoted: relevant by a label",
}

VALIDATOR = {
    "validator: below the grey zone": "is, the validator agrees, clearly less relevant than the "
    "known positive",
    "validator: in the grey zone": "is, to the validator, too close to the known positive to be "
    "called wrong",
    "validator: as relevant as the known positive": "is, to the validator, as relevant as the "
    "known positive",
}


RISK = {
    "risk: too likely to be relevant for its hardness": "is too likely to be relevant, for how "
    "hard it is",
    "risk: higher than any negative may have": "is likelier to be relevant than a negative may be",
    "promoted: risk and validator agree": "is very likely relevant, and the validator agrees: it "
    "is a further positive of its query",
    "promoted: relevant by a label": "is relevant by a label: it is a further positive of its "
    "query",
}


def name_reason(reason: str) -> str:
    """Name a verdict's reason in a few words."""
    if reason.endswith("at or above the ceiling"):
        return "too close to the known positive"
    if reason.startswith("shifted: "):
        return "passed over"
    return NAMES.get(reason, reason)


def explain(reason: str, settings: SelectionSettings) -> str:
    """Say in a plain sentence what a verdict's reason means; unknown reasons stay as they are."""
    if reason.startswith("known positive: "):
        return CLOSURE.get(reason.removeprefix("known positive: "), reason)
    if reason.endswith("at or above the ceiling"):
        return f"scores {_reach(settings)}, so it may be a right answer nobody marked"
    if reason.startswith("shifted: "):
        return f"is among the query's {settings.shift} best candidates, which are passed over"
    if reason == "passed the rule" and settings.rule == "risk":
        return "is among the hardest that the budget of expected false negatives pays for"
    if reason == "passed the rule":
        return "is similar enough to be hard and far enough from the known positive to be wrong"
    return {**VALIDATOR, **RISK}.get(reason, reason)


def _reach(settings: SelectionSettings) -> str:
    if settings.rule == "percent":
        return f"at or above {format_share(settings.percent)} of the known positive's score"
    if settings.rule == "margin":
        return f"no more than {settings.margin:g} below the known positive"
    return f"{settings.absolute:g} or more"


def describe_rule(mining: MiningSettings) -> str:
    """Say in one sentence which candidates may become negatives."""
    settings, teacher = mining.selection, mining.primary_teacher
    limit = {
        "risk": "the hardest candidates whose expected share of false negatives is at most "
        f"{format_rate(settings.max_false_negative_rate)} of all",
        "naive": "every candidate that is not a known positive",
        "shifted": f"candidates after the query's {settings.shift} best",
        "absolute": f"candidates whose {teacher} score is below {settings.absolute:g}",
        "margin": f"candidates whose {teacher} score is more than {settings.margin:g} below the "
        "known positive's",
        "percent": f"candidates whose {teacher} score is below "
        f"{format_share(settings.percent)} of the "
        "known positive's",
    }[settings.rule]
    order = {
        "top": "hardest first",
        "random": f"drawn at random from the {settings.pool} hardest",
        "top1_sampled": f"the hardest and others drawn from the {settings.pool} hardest",
        "softmax": f"drawn from the {settings.pool} hardest, harder ones more often",
    }[settings.sampling]
    return f"Taken are {limit}; {order}; {mining.negatives} per query."


def name_language(code: str) -> str:
    """Write a language code with its name, where it is a common one."""
    name = LANGUAGES.get(code.partition("-")[0])
    return f"{name} ({code})" if name else code


def plain(text: str) -> str:
    """Write a text so that its own markup is shown in Markdown and not obeyed, in one line."""
    short = text if len(text) <= LONGEST else text[:LONGEST] + " …"
    flat = html.escape(" ".join(short.split()), quote=False)
    return re.sub(r"([\\`*_\[\]#|~!])", r"\\\1", flat)


def code(text: str) -> str:
    """Write a name or path as code in Markdown, whatever quotes and lines it holds itself."""
    flat = " ".join(text.split())
    longest = max((len(run) for run in re.findall(r"`+", flat)), default=0)
    space = " " if longest else ""
    return f"{'`' * (longest + 1)}{space}{flat}{space}{'`' * (longest + 1)}"


def format_count(value: int) -> str:
    """Write 1234 as 1,234."""
    return f"{value:,}"


def format_share(value: float) -> str:
    """Write a share as percent; small ones are not rounded to nothing."""
    if 0 < value < 0.001:
        return "< 0.1 %"
    return (
        f"{value:.0%}".replace("%", " %") if value >= 0.1 or value == 0 else f"{value * 100:.1f} %"
    )


def format_rate(value: float) -> str:
    """Write a rate as percent with two digits, however small it is."""
    percent = value * 100
    return f"{percent:.0f} %" if percent >= 10 else f"{percent:.2g} %"


def format_score(value: float | None) -> str:
    """Write a score with three decimals, less where it is large, and a dash where there is none."""
    if value is None:
        return "–"
    return f"{value:.1f}" if abs(value) >= 100 else f"{value:.3f}".replace("-", "−")


def format_gain(value: float | None) -> str:
    """Write a difference of scores with its sign, and a dash where there is none."""
    if value is None:
        return "–"
    shown = format_score(value)
    return shown if shown.startswith("−") else f"+{shown}"


def format_interval(low: float | None, high: float | None) -> str:
    """Write the bounds of a difference, and a dash where there are none."""
    if low is None or high is None:
        return "–"
    return f"[{format_gain(low)}, {format_gain(high)}]"


def format_seconds(seconds: float) -> str:
    """Write a duration as a person would say it."""
    if seconds < 10:
        return f"{seconds:.2f} s"
    if seconds < 120:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 120 else f"{minutes // 60} h {minutes % 60:02d} min"


def count_of(count: int, noun: str, plural: str | None = None) -> str:
    """Write a count with its noun: `1 query`, `2 queries`."""
    return f"{count:,} {noun if count == 1 else plural or noun + 's'}"
