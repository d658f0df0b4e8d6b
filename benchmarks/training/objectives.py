"""Which evidence should a model learn from? Arms on the same triplets, by a student of seconds.

    python -m benchmarks.training.objectives [SET ...] [--seeds 3] [--labels 200] [--cache DIR]

Of each query one relevant document is known. All arms have its seven negatives and as many steps.
`percent` is sentence-transformers' own rule; the others take what Polymine's risk chooses: as it
is, with masks in the batch, with soft labels, with promoted positives, or oracles in its place.
Promotion learns how precise the risk is from pairs that a person labels, and `labels` trains on
these few alone. What was promised of the promoted is held against the truth.

The budget of promotion was chosen on DEVELOPMENT; APART took no part. Gains are nDCG@10 over
the whole corpus and the whole truth, intervals by component, seeds averaged. Figures are kept in
benchmarks/results/objectives.json.
"""

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray
from scipy.stats import bootstrap

from benchmarks.negatives.cases import Encoder
from benchmarks.processes import machine, save, told
from benchmarks.training.objective_sets import Mined, mine
from benchmarks.training.proxy import Known, Numbers, Proxy, Rows, ndcg
from polymine.data_contracts.settings import SelectionSettings
from polymine.mining.budget import apply_choice, search
from polymine.mining.precision import LEAST_PRECISION, assess, fit_precisions
from polymine.mining.promotion import find_cut
from polymine.mining.selection import pool_decided

DEVELOPMENT = ("xquad", "cranfield", "cisi", "epqa-dev")
APART = ("cacm", "med", "scifact", "lareqa-xquad-r", "medquad", "piaf")
NEGATIVES, SOFT = 7, 31  # per row; candidates of a soft list
STEPS = (40, 200)  # of small sets, and of those with more than LARGE queries to learn from
LARGE = 1000
BUDGETS = (0.1, 0.2, 0.3, 0.4)
Arm = tuple[Rows, Known | None]


def choose_negatives(candidates: pl.DataFrame, count: int = NEGATIVES) -> pl.DataFrame:
    """Take what the rule `risk` takes within its default budget: query, document."""
    open_ = candidates.with_columns(reason=pl.lit(None, pl.String))
    rule = SelectionSettings()
    pool = pool_decided([open_], count)
    choice = search(pool, count, rule.max_false_negative_rate, rule.max_risk)
    ordered = apply_choice(open_, choice, count)
    return ordered.filter(pl.col("order") <= count).sort("query", "order")


def hardest(candidates: pl.DataFrame, count: int) -> pl.DataFrame:
    """The candidates of highest cosine, per query."""
    ordered = candidates.sort("query", "score", "document", descending=[False, True, False])
    return ordered.filter(pl.int_range(pl.len()).over("query") < count)


def make_rows(
    positives: pl.DataFrame, negatives: pl.DataFrame, width: int, mass: bool = False
) -> Rows:
    """One row per positive (query, document, weight) with the negatives of its query."""
    lists = negatives.group_by("query", maintain_order=True).agg("document", "risk")
    table = positives.sort("query", "document").join(
        lists.rename({"document": "others"}), on="query", how="left", maintain_order="left"
    )
    numbers = np.full((len(table), width), -1, dtype=np.int64)
    share = np.zeros((len(table), width), dtype=np.float32)
    for row, (others, risks) in enumerate(table.select("others", "risk").iter_rows()):
        if others:
            numbers[row, : len(others)], share[row, : len(others)] = others, risks
    share[numbers == table["document"].to_numpy()[:, None]] = 0.0
    numbers[numbers == table["document"].to_numpy()[:, None]] = -1
    weights = table["weight"].cast(pl.Float32).to_numpy()
    return Rows(table["query"].to_numpy(), table["document"].to_numpy(), numbers, weights,
                share if mass else None)  # fmt: skip


def relate(mined: Mined, candidates: pl.DataFrame, risk: str) -> Known:
    """What a batch knows: closed pairs are no negatives, others count by 1 - risk."""
    width = len(mined.documents)
    pairs = pl.concat([
        mined.closed.select("query", "document", shift=pl.lit(-np.inf, pl.Float32)),
        candidates.select("query", "document", shift=(1 - pl.col(risk).clip(0, 0.9999)).log()
                          .cast(pl.Float32)),
    ]).with_columns(key=pl.col("query") * width + pl.col("document"))  # fmt: skip
    table = pairs.group_by("key").agg(pl.min("shift")).sort("key")
    return Known(width, table["key"].to_numpy(), table["shift"].to_numpy())


def assess_candidates(candidates: pl.DataFrame) -> pl.DataFrame:
    """Learn from the labels how precise the risk is, and say it of what is not labelled."""
    truth = candidates.filter(pl.col("label").is_not_null()).select(
        "query_id", "kind", "languages", "right", risk="risk_labelled"
    )
    unknown = candidates.filter(pl.col("label").is_null()).with_columns(risk="risk_labelled")
    return assess(unknown, fit_precisions(truth))


def make_arms(mined: Mined, budgets: tuple[float, ...]) -> tuple[dict[str, Arm], dict[str, Any]]:
    """Every arm's rows, and of each budget what was promised and what was true of the promoted."""
    given = mined.candidates
    known = mined.known.select("query", "document", weight=pl.lit(1.0))
    chosen, width = choose_negatives(given), NEGATIVES
    ours = make_rows(known, chosen, width)
    # With labels: what they call relevant is a positive, what they do not is surely none.
    told_risk = pl.coalesce(pl.col("label").cast(pl.Float64), "risk_labelled")
    obeyed = given.with_columns(risk=told_risk)
    right = obeyed.filter(pl.col("label") == 1)
    further = right.select("query", "document", weight=pl.lit(1.0))
    apart = obeyed.join(right, on=["query", "document"], how="anti")
    labelled = pl.concat([known, further])
    clean = given.filter(~pl.col("right"))
    truth = given.filter("right").select("query", "document", weight=pl.lit(1.0))
    none = mined.percent.with_columns(risk=pl.lit(0.0))
    arms: dict[str, Arm] = {
        "percent": (make_rows(known, none, width), None),
        "ours": (ours, None),
        "mask": (ours, relate(mined, given, "risk")),
        "soft": (make_rows(known, hardest(given, SOFT), SOFT, mass=True), None),
        "labels": (make_rows(labelled, choose_negatives(apart), width), None),
        "oracle of negatives": (make_rows(known, hardest(clean, width), width), None),
        "oracle of positives": (make_rows(pl.concat([known, truth]),
                                          hardest(clean, width), width), None),
    }  # fmt: skip
    promised = {}
    assessed = assess_candidates(given)
    for budget in budgets:
        cut = find_cut(assessed["lower"].to_numpy(), budget, LEAST_PRECISION)
        above = pl.col("lower") >= (2 if cut is None else cut)
        promoted = assessed.filter(above).with_columns(weight="precision")
        positives = pl.concat([labelled, promoted.select(labelled.columns)])
        left = apart.join(promoted, on=["query", "document"], how="anti")
        rows = make_rows(positives, choose_negatives(left), width)
        arms[f"promotion {budget:g}"] = rows, None
        arms[f"all {budget:g}"] = rows, relate(mined, obeyed, "risk")
        promised[f"{budget:g}"] = describe(promoted, assessed.filter(~above))
    return arms, promised


def describe(promoted: pl.DataFrame, left: pl.DataFrame) -> dict[str, Any]:
    """Hold what was expected of the promoted, and of the likely ones below, against the truth."""
    return {
        name: {
            "candidates": len(part), "expected": part["precision"].mean(),
            "at least": part["lower"].mean(), "true": part["right"].mean(),
        }
        for name, part in (("promoted", promoted), ("below", left))
    }  # fmt: skip


def measure(mined: Mined, arms: dict[str, Arm]) -> dict[str, NDArray[np.float64]]:
    """nDCG@10 of the base and of each arm, per measured query."""
    numbers = mined.tested["query"].unique().sort()
    relevant = mined.tested.with_columns(
        query=pl.col("query").replace_strict(numbers, pl.int_range(len(numbers), eager=True))
    )
    sides = mined.queries[numbers.to_numpy()], mined.documents
    steps = STEPS[mined.known["query"].n_unique() > LARGE]
    found = {"base": ndcg(*sides, relevant, None)}
    for name, (rows, known) in arms.items():
        student = Proxy(steps=steps).train(mined.queries, mined.documents, rows, mined.seed, known)
        found[name] = ndcg(*sides, relevant, student)
    return found


def interval(gains: NDArray[np.float64], components: Numbers) -> list[float]:
    """Mean gain and its 95 % interval; whole components are drawn."""
    place = np.unique(components, return_inverse=True)[1]
    sums, counts = np.bincount(place, weights=gains), np.bincount(place)
    drawn = bootstrap(
        (sums, counts), lambda a, b, axis: a.sum(axis) / b.sum(axis), paired=True,
        vectorized=True, method="percentile", rng=0, n_resamples=2_000,
    ).confidence_interval  # fmt: skip
    return [round(float(each), 4) for each in (gains.mean(), drawn.low, drawn.high)]


def run_set(name: str, options: argparse.Namespace, encoder: Encoder) -> dict[str, Any]:
    """Mine, train and measure a set with every seed."""
    scores: list[dict[str, NDArray[np.float64]]] = []
    components, promises = [], []
    for seed in range(options.seeds):
        mined = mine(name, seed, encoder, options.labels, NEGATIVES)
        arms, promised = make_arms(mined, BUDGETS)
        scores.append(measure(mined, arms))
        components.append(mined.components.sort("query")["component"].to_numpy())
        promises.append(promised)
    drawn = np.concatenate(components)
    joined = {arm: np.concatenate([each[arm] for each in scores]) for arm in scores[0]}
    base = joined.pop("base")
    gains = {arm: interval(values - base, drawn) for arm, values in joined.items()}
    over = {arm: interval(values - joined["percent"], drawn) for arm, values in joined.items()}
    return {"set": name, "base": round(float(base.mean()), 4), "gain": gains,
            "over percent": over, "promised": promises}  # fmt: skip


def compare(results: list[dict[str, Any]]) -> dict[str, Any]:
    """Choose the budget on DEVELOPMENT; then say of both kinds of sets what each arm gains.

    Of each arm: the mean gain, its ratio to that of `percent` (goal 1.5), and the lowest gain of a
    set (goal: not below 0). Of the promoted: expected and true precision, and their ratio.
    """
    by_set = {each["set"]: each for each in results}
    chosen = max(BUDGETS, key=lambda budget: _mean(by_set, DEVELOPMENT, f"promotion {budget:g}"))
    found: dict[str, Any] = {"budget": chosen}
    for kind, names in (("development", DEVELOPMENT), ("apart", APART)):
        there = [name for name in names if name in by_set]
        if not there:
            continue
        arms = by_set[there[0]]["gain"]
        percent = _mean(by_set, there, "percent")
        found[kind] = {
            arm: {
                "gain": round(_mean(by_set, there, arm), 4),
                # of a rule that ends below the base there is no multiple
                "of percent": round(_mean(by_set, there, arm) / percent, 2)
                if percent > 0
                else None,
                "lowest": min(by_set[name]["gain"][arm][0] for name in there),
            }
            for arm in arms
        }
    return found


def _mean(by_set: dict[str, dict[str, Any]], names: Sequence[str], arm: str) -> float:
    gains = [by_set[name]["gain"][arm][0] for name in names if name in by_set]
    return float(np.mean(gains)) if gains else 0.0


def show(result: dict[str, Any]) -> None:
    """Print one set's arms and what was promised of the promoted."""
    print(f"{result['set']}: base {result['base']:.4f}")
    for arm, (gain, low, high) in result["gain"].items():
        over = result["over percent"][arm]
        print(f"  {arm:20} {gain:+.4f} [{low:+.4f}, {high:+.4f}]  over percent {over}")
    for seed, promised in enumerate(result["promised"]):
        for budget, true in promised.items():
            print(f"  seed {seed}, budget {budget}: {true}")
    sys.stdout.flush()


def main() -> None:
    """Run the sets asked for, print the figures and keep them."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("sets", nargs="*", default=[*DEVELOPMENT, *APART])
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--labels", type=int, default=200)
    parser.add_argument("--cache", type=Path)
    parser.add_argument("--no-results", action="store_true")
    options = parser.parse_args()
    encoder = Encoder(options.cache)
    results = []
    for name in options.sets:
        results.append(run_set(name, options, encoder))
        show(results[-1])
    compared = compare(results)
    print(json.dumps(compared, indent=1))
    if not options.no_results:
        kept = {"machine": machine(), "options": told(options), "compared": compared}
        save("objectives", {**kept, "sets": results})


if __name__ == "__main__":
    main()
