"""Writes the validator's model card from its recipe and its measured scores."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from shipped.validator import ValidatorSettings
from shipped.validator_data import ListSettings
from shipped.validator_evaluation import DomainScores

NAMES = {
    "bm25": "BM25",
    "minilm": "MiniLM cosine",
    "validator": "validator",
    "teachers": "BM25 + MiniLM",
    "teachers+validator": "BM25 + MiniLM + validator",
}
MEASURES = (
    ("AUC within a query", "auc"),
    ("MRR@10", "mrr_at_10"),
    ("accuracy@1", "accuracy_at_1"),
)


@dataclass(frozen=True)
class TrainingSet:
    """One row of the card's table of training data."""

    name: str
    licence: str
    source: str
    lists: int
    queries_held_out: int


def render_card(
    training: ValidatorSettings,
    lists: ListSettings,
    sets: Sequence[TrainingSet],
    domains: Sequence[DomainScores],
    *,
    licence: str,
    versions: dict[str, str],
) -> str:
    """Render the card as Markdown; every number in it comes from the arguments."""
    return (
        "\n\n".join(
            [
                _front_matter(training, licence),
                _use(training),
                "## Data",
                _data_table(sets),
                _negatives(lists),
                "## What it adds",
                _verdicts(domains),
                _score_tables(domains),
                "## How it was made",
                _recipe(training, sets, versions),
                "## Limits",
                _limits(training),
                "## Licence",
                _licence(licence, sets),
            ]
        )
        + "\n"
    )


def _front_matter(training: ValidatorSettings, licence: str) -> str:
    return f"""---
license: {licence}
library_name: peft
base_model: sentence-transformers/all-MiniLM-L6-v2
language: en
pipeline_tag: text-ranking
---

# Embedded validator

A cross-encoder that reads a query and a passage together and gives one raw logit: higher is more
relevant. It is a LoRA adapter of rank {training.rank} on the weights of
`{training.base}`, with a head that compares the tokens of query and passage
after they have read each other (`polymine/maxsim.py`)."""


def _use(training: ValidatorSettings) -> str:
    return f"""```python
from polymine.models import load_cross_encoder

validator = load_cross_encoder("embedded:validator", device="cpu", dtype="auto")
validator.predict([("how do plants make sugar", "Photosynthesis turns light into glucose.")])
```

Only differences between logits of the same query mean something: compare a candidate with the
known positive, never with a fixed threshold. It was trained on pairs of at most
{training.max_length} tokens."""


def _data_table(sets: Sequence[TrainingSet]) -> str:
    rows = [
        f"| {item.name} | {item.licence} | {item.lists:,} | {item.queries_held_out:,} |"
        for item in sets
    ]
    head = "| set | licence | training lists | queries held out |\n|---|---|---:|---:|\n"
    return head + "\n".join(rows)


def _negatives(lists: ListSettings) -> str:
    return f"""A list is one query, one known positive, {lists.hard} negatives drawn from the
{lists.pool} candidates most similar by MiniLM and {lists.random} drawn from the whole set.
Candidates with a cosine of {lists.near_copy} or more to the positive, or known to answer a
question that close to the query, were left out as probably relevant. Whole topics (articles,
diseases) are held out, not single queries."""


def _verdicts(domains: Sequence[DomainScores]) -> str:
    lines = []
    for item in domains:
        low, high = item.gain_interval
        lines.append(
            f"- **{item.name}** ({item.kind}): {item.verdict}; AUC {item.gain:+.3f} "
            f"[{low:+.3f}, {high:+.3f}]"
        )
    return (
        "Adding the validator to the sum of BM25 and MiniLM (each standardised per query) changes "
        "the AUC between\nrelevant and other candidates by this much, with its 95 % interval "
        "(paired bootstrap over queries):\n\n"
        + "\n".join(lines)
        + "\n\nOn its own it does not beat the better of BM25 and MiniLM everywhere:\n\n"
        + "\n".join(_not_better(domains, *measured) for measured in MEASURES)
    )


def _not_better(domains: Sequence[DomainScores], label: str, measure: str) -> str:
    """List the sets on which the validator alone is no better than one of the teachers."""
    names = []
    for item in domains:
        best = max(getattr(item.scores[teacher], measure) for teacher in ("bm25", "minilm"))
        if getattr(item.scores["validator"], measure) <= best:
            names.append(item.name)
    return f"- by {label}, no better on: {', '.join(names) or 'none'}"


def _score_tables(domains: Sequence[DomainScores]) -> str:
    tables = []
    for label, measured in MEASURES:
        head = f"| {label} | queries | " + " | ".join(NAMES.values()) + " |"
        rule = "|---|---:|" + "---:|" * len(NAMES)
        rows = [
            f"| {item.name} | {item.queries} | "
            + " | ".join(f"{getattr(item.scores[scorer], measured):.3f}" for scorer in NAMES)
            + " |"
            for item in domains
        ]
        tables.append("\n".join([head, rule, *rows]))
    note = (
        "Candidates per query are the hardest by MiniLM and BM25 (judged sets: by MiniLM alone, "
        "which\nmakes MiniLM's own task there the hardest). The same numbers are in "
        "`evaluation.json`."
    )
    return "\n\n".join([*tables, note])


def _recipe(
    training: ValidatorSettings, sets: Sequence[TrainingSet], versions: dict[str, str]
) -> str:
    total = sum(item.lists for item in sets)
    made_with = ", ".join(f"{name} {version}" for name, version in versions.items())
    return f"""`python -m shipped.train_validator --out DIR` by `shipped/validator.toml`: softmax
cross-entropy over each list, {training.epochs} pass over {total:,} lists,
{training.lists_per_batch} lists a step, AdamW at {training.learning_rate:g} (adapter) and
{training.head_learning_rate:g} (head), warm-up over {training.warmup:.0%} of the steps, then
cosine to 0, seed {training.seed}. Made with {made_with}."""


def _limits(training: ValidatorSettings) -> str:
    return f"""English only, questions against paragraphs and documentation. It shares its weights
with the teacher it checks, so some of their mistakes are the same. Where the list above says
"adds nothing measurable" or "harms", use a larger cross-encoder or train one on your own pairs
with the same command. Passages beyond {training.max_length} tokens are longer than anything it
was trained on."""


def _licence(licence: str, sets: Sequence[TrainingSet]) -> str:
    learned = [
        f"{item.name} ({', '.join(part for part in (item.licence, item.source) if part)})"
        for item in sets
        if item.lists
    ]
    return f"""`{licence}`, by the licences of what it was trained on: {"; ".join(learned)}.
None of their text is stored in the adapter's files."""
