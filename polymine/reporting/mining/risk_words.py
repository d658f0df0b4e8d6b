"""Sentences about the risk: what is expected, where the weights come from, what was changed."""

import math

from polymine.data_contracts.risk import RiskModel
from polymine.mining.validator_evidence import PROMOTING_TRUST
from polymine.reporting.formatting import count_of, format_rate, format_score, format_share
from polymine.reporting.mining.risk import CONFIDENT, Looked, RiskData

EVERYTHING = 0.99  # share of what the curve finds that counts as all of it
KNOWN = "known positives"  # names of sources that a fit gives
HIDDEN = "hidden positives"
LABELS = "labels"
WHY_NOT = {
    "measured": "because on judged collections this validator was measured to add nothing to the "
    "other evidence",
    "set": "because the settings do not trust it",
    "untested": "because it is not trusted",
}
WHY_SO = {
    "measured": "as was measured on judged collections",
    "set": "as the settings ask",
    "untested": "for nobody has measured this validator here",
}


def describe_fit(data: RiskData) -> list[str]:
    """Say where the weights come from and what the data at hand added, in sentences."""
    counts = {source.name: source.pairs for source in data.model.sources}
    shipped = "the weights that come with Polymine"
    if not data.fitted:
        judged = ", ".join(f"{name} ({pairs:,} pairs)" for name, pairs in counts.items())
        return [
            f"Used are {shipped}, as the settings asked for; nothing was fitted to these data.",
            f"They were fitted on judged collections: {judged}." if judged else "",
        ]
    known, hidden, labels = (counts.pop(name, 0) for name in (KNOWN, HIDDEN, LABELS))
    if not (known or hidden or labels or counts):
        return [f"These data say too little to fit anything to: used are {shipped}."]
    lines = [f"The start were {shipped}; they were moved by what these data say."]
    if known:
        lines.append(
            f"How many relevant passages nobody has marked was learned from where "
            f"{count_of(known, 'known positive')} lie among the candidates."
        )
    whose = " (the validator's among them)" if data.asked_validator else ""
    parts = [count_of(labels, "labelled pair") + whose] if labels else []
    if hidden:
        parts.append(f"{count_of(hidden, 'known positive')} that were hidden in turn and found")
    parts += [f"{count_of(pairs, 'pair')} of {name}" for name, pairs in counts.items()]
    if parts:
        lines.append(f"The weights were learned from {' and '.join(parts)}.")
    else:
        lines.append(
            "The weights themselves are as shipped: there are too few queries with several known "
            "positives, and too few labels of both kinds, to learn them from."
        )
    return lines


def describe_expected(data: RiskData) -> str:
    """Say how many of the kept negatives are expected to be false, in one sentence."""
    if data.interval is None or data.kept.rate is None:
        return "Nothing was kept, so there is no rate to expect."
    low, high = data.interval
    return (
        f"{format_rate(data.kept.rate)} of the kept negatives are expected to be relevant "
        f"(95 % interval {format_rate(low)} to {format_rate(high)}), with "
        f"{format_share(data.kept.found)} of the wanted negatives found and a hardness (mean "
        f"score) of {format_score(data.kept.hardness)}."
    )


def note_expected(data: RiskData) -> str:
    """Say the same in a few words."""
    if data.interval is None or data.kept.rate is None:
        return ""
    low, high = (format_rate(bound) for bound in data.interval)
    return f"{format_rate(data.kept.rate)} expected to be relevant ({low} to {high})"


def describe_budget(data: RiskData) -> str:
    """Say how the budget was met, or at what cost."""
    if data.budget is None or data.chosen is None or data.choice is None:
        return ""
    budget = f"The budget is {format_rate(data.budget)}."
    if not data.choice.price:
        return (
            f"{budget} It did not bind: the hardest candidates that are not riskier than allowed "
            "stay within it, so each query simply gets those."
        )
    if data.curve and data.chosen.found < EVERYTHING * data.curve[-1].found:
        return (
            f"{budget} No choice of {format_share(data.curve[-1].found)} of the wanted negatives "
            "stays within it, so those of the highest risk were left out: queries are short. A "
            "larger budget or corpus helps, or fewer negatives per query."
        )
    return (
        f"{budget} It is held over the whole set: a candidate is taken by its score minus "
        f"{data.choice.price:.3g} times its risk, so riskier ones have to be harder."
    )


def describe_looks(looked: Looked) -> str:
    """Say how many pairs the validator read and what that changed."""
    promoted = f"{count_of(looked.promoted, 'candidate was', 'candidates were')} promoted"
    scored = (
        f"The validator read {count_of(looked.pairs, 'pair')}, nearest the decision first, and the "
        "known positives to compare them with."
    )
    silent = ""
    if looked.trust < PROMOTING_TRUST:
        silent = f" One that counts for less than {PROMOTING_TRUST:g} promotes nothing."
    if not looked.trust:
        return f"{scored} Its score changes no risk, {WHY_NOT[looked.origin]}: {promoted}.{silent}"
    return (
        f"{scored} Its score counts {looked.trust:.2g} times beside the other evidence, "
        f"{WHY_SO[looked.origin]}, and moved their risk by {format_rate(looked.moved)} on average: "
        f"{count_of(looked.dropped, 'negative')} of before "
        f"{'was' if looked.dropped == 1 else 'were'} dropped, {looked.taken:,} were taken instead "
        f"or in addition, and {promoted}.{silent}"
    )


def describe_sureness(model: RiskModel) -> str:
    """Say how far expected rates may be off."""
    return (
        "How sure: an expected rate is right within a factor of "
        f"{math.exp(CONFIDENT * model.rate_spread):.1f} on 95 of 100 data sets, if they are as far "
        "from these weights as the judged collections were that took no part in the fit."
    )
