"""Writes the folder of an evaluation: figures as tables, and the page."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import polars as pl

from polymine.data_contracts.notes import MeasuresNote, SetNote
from polymine.data_contracts.references import DatasetRef
from polymine.data_contracts.settings import EncoderSettings, EvaluationSettings, OutputSettings
from polymine.evaluation.arms import find_best
from polymine.evaluation.collection import POOL
from polymine.evaluation.matrix import FEWEST
from polymine.evaluation.mteb_results import as_mteb_result
from polymine.reporting.learning.metrics import write_headline
from polymine.reporting.learning.report import Called, EvaluationReport, Searched
from polymine.reporting.learning.tables import PRIMARY, pick_result
from polymine.reporting.report import LinkedFile, Note
from polymine.reporting.templates import say
from polymine.tasks.engine.context import Context
from polymine.tasks.engine.stage import step
from polymine.tasks.evaluation.gains import CHANGES, DIFFERENCES, read_comparisons
from polymine.tasks.evaluation.measuring import UNTOUCHED, untouched_languages
from polymine.tasks.monitoring.events import DROPPED, announce
from polymine.tasks.reporting.mining import versions
from polymine.tasks.reporting.outcome import Files, list_timings, show, sources_of, write_folder
from polymine.tasks.store.datasets import load, note_of, open_folder
from polymine.tasks.store.output import EVALUATION

COMPARISONS, SCORES = "comparisons.parquet", "scores.parquet"
COMPARED = {  # files that comparing has written
    COMPARISONS: "means and gains with intervals",
    SCORES: "sets without queries",
    CHANGES: "queries that got better and worse most",
    DIFFERENCES: "every pair of models, corrected for their number",
}
MEASURED = {
    "mteb/": "results of retrieval as MTEB writes them",
    "measures/": "every query, pair or item",
}


@dataclass(frozen=True)
class Evaluated:
    """All that evaluation made, by references.

    `models` are without the base, `calls` of all; `plain` are measures as plain trec_eval has them,
    of the sets for which that differs; `further` are measures by other cut-offs.
    """

    base: str
    models: tuple[str, ...]
    sets: Mapping[str, DatasetRef]
    measures: Mapping[str, Mapping[str, DatasetRef]]
    compared: DatasetRef
    calls: Mapping[str, EncoderSettings]
    notes: tuple[Note, ...] = ()
    plain: Mapping[str, Mapping[str, DatasetRef]] = field(default_factory=dict)
    further: Mapping[int, Mapping[str, Mapping[str, DatasetRef]]] = field(default_factory=dict)


@step("report-evaluation")
def report_evaluation(
    run: Context, evaluated: Evaluated, evaluation: EvaluationSettings, output: OutputSettings
) -> dict[str, Any]:
    """Write the output folder of an evaluation: figures as tables, and the page."""
    comparisons, scores = read_comparisons(evaluated.compared)
    folder = open_folder(evaluated.compared.path)
    differences = pl.read_parquet(folder / DIFFERENCES, glob=False)
    measures = {
        (model, name): ref for model, of in evaluated.measures.items() for name, ref in of.items()
    }
    report = EvaluationReport(
        title=Path(output.path).name,
        headline=describe_gain(comparisons, scores, differences, evaluation),
        base=evaluated.base,
        models=evaluated.models,
        calls=tuple(describe_call(name, call) for name, call in evaluated.calls.items()),
        comparisons=comparisons,
        scores=scores,
        changes=pl.read_parquet(folder / CHANGES, glob=False),
        differences=differences,
        k=evaluation.k,
        confidence=evaluation.confidence,
        searched=describe_sets(evaluated.sets),
        sources=sources_of(evaluated.sets, SetNote),
        pivot=evaluation.pivot,
        settings=show(evaluation=evaluation, output=output, engine=run.engine),
        timings=list_timings(
            {f"measure {m} on {name}": ref for (m, name), ref in measures.items()}
        ),
        fingerprints={"comparison": evaluated.compared.fingerprint},
        versions=versions(),
        notes=(
            *evaluated.notes,
            *remark_on_sets(evaluated.sets),
            *remark_on_plain(evaluated, evaluation.k),
            *remark_on_few(evaluated.measures["base"]),
            *_warn_of_measures(measures),
        ),
        files=tuple(
            LinkedFile(name, name, about) for name, about in {**COMPARED, **MEASURED}.items()
        ),
    )
    files: Files = {
        **{name: folder / name for name in COMPARED},
        **_mteb_files(evaluated, evaluation),
        **{
            f"measures/{model}/{name}.parquet": open_folder(ref.path) / "part-00000.parquet"
            for (model, name), ref in measures.items()
        },
    }
    version = evaluated.compared.fingerprint
    made = write_folder(report, files, output, EVALUATION, version, "evaluate")
    for loss in name_losses(comparisons, evaluation):
        announce(DROPPED, made["output"], loss, doubtful=True)
    return made


def name_losses(comparisons: pl.DataFrame, evaluation: EvaluationSettings) -> list[str]:
    """Say what each model lost on each set where it is surely below its untouched base."""
    if evaluation.baseline == "bm25":
        return []
    names = [chosen.name for chosen in evaluation.models]
    asked = comparisons.filter(pl.col("model").is_in(names)).select("set", "model")
    results = [pick_result(comparisons, *row) for row in asked.unique(maintain_order=True).rows()]
    return [
        f"{found.model}: {write_headline(comparisons, found.set, found.model, evaluation.k)}"
        for found in results
        if found.overall and found.headline.verdict == "worse"
    ]


def _warn_of_measures(measures: Mapping[tuple[str, str], DatasetRef]) -> list[Note]:
    """Warn of queries that a ranking leaves out, and of languages that no adapter touches."""
    counts = {key: note_of(ref, MeasuresNote).unranked for key, ref in measures.items()}
    languages = {key: untouched_languages(ref) for key, ref in measures.items()}
    return [
        Note("warning", say("learning", sentence, *key, found))
        for sentence, of in (("unranked", counts), ("untouched", languages))
        for key, found in of.items()
        if found
    ]


def _mteb_files(evaluated: Evaluated, evaluation: EvaluationSettings) -> Files:
    """Results as `mteb.ResultCache` of the folder `mteb` finds them: of plain trec_eval's figures.

    Figures at further cut-offs are there where they do not depart from it.
    """
    splits = {chosen.name: chosen.split or "test" for chosen in evaluation.sets}
    version, files = evaluated.compared.fingerprint, dict[str, Path | str | bytes]()
    for model, of in evaluated.measures.items():
        name = "bm25" if model == "base" and evaluation.baseline == "bm25" else model
        folder = f"mteb/results/{name}/{version}"
        for set_name, ref in of.items():
            if note_of(ref, MeasuresNote).kind != "retrieval":
                continue
            plain = evaluated.plain.get(set_name, {}).get(model)
            further = {k: each[model][set_name] for k, each in evaluated.further.items()
                       if model in each and plain is None}  # fmt: skip
            files[f"{folder}/{set_name}.json"] = as_mteb_result(
                load(plain or ref), task=set_name, revision=evaluated.sets[set_name].fingerprint,
                split=splits.get(set_name, "test"), k=evaluation.k,
                further={k: load(each) for k, each in further.items()},
            )  # fmt: skip
            files[f"{folder}/model_meta.json"] = json.dumps({"name": name, "revision": version})
    return files


def describe_gain(
    comparisons: pl.DataFrame,
    scores: pl.DataFrame,
    differences: pl.DataFrame,
    evaluation: EvaluationSettings,
) -> str:
    """Say what is gained on the first set with a model beside the base; of several, which is best.

    A run of another system may rank but one of the sets; of a base alone its figure is said.
    """
    if comparisons.height:
        others = comparisons.filter(pl.col("model") != "base")
        first = (others if others.height else comparisons).row(0, named=True)
        best = find_best(differences, first["set"], PRIMARY, evaluation.confidence)
        chosen = best[0] if best else first["model"]
        gain = write_headline(comparisons, first["set"], chosen, evaluation.k)
        if not best:
            return gain
        verdict = pick_result(comparisons, first["set"], chosen).headline.verdict
        return say("learning", "best_arm", best, gain, verdict)
    gained = scores.filter(pl.col("gain").is_not_null())
    if gained.height:
        row = gained.row(0, named=True)
        return f"{row['metric']} on {row['set']}: {row['value']:.3f}, {row['gain']:+.3f}"
    return "nothing was measured"


def describe_call(name: str, call: EncoderSettings) -> Called:
    """Say how a model was called to be measured; of the base also which one it is."""
    said = f"{name} ({call.model})" if name in ("base", UNTOUCHED) else name
    return Called(said, call.query_prompt or "", call.document_prompt or "", call.max_length)


def describe_sets(sets: Mapping[str, DatasetRef]) -> tuple[Searched, ...]:
    """Say what the queries of each set of retrieval search."""
    notes = {name: note_of(reference, SetNote) for name, reference in sets.items()}
    return tuple(
        Searched(
            name,
            note.documents,
            note.queries,
            say("learning", "searched", note.held_out),
            note.languages,
        )
        for name, note in notes.items()
        if note.kind == "retrieval"
    )


def remark_on_sets(sets: Mapping[str, DatasetRef]) -> tuple[Note, ...]:
    """Say what readers of intervals and means should know of the sets."""
    notes = {name: note_of(reference, SetNote) for name, reference in sets.items()}
    rejected = [
        Note("warning", say("learning", "rejected", name, note.rejected))
        for name, note in notes.items()
        if note.rejected
    ]
    return (
        *rejected,
        *(
            Note("remark", say("learning", said, name, count, note.queries))
            for name, note in notes.items()
            for said, count in (("unanswered", note.unanswered), ("chained", note.chained))
            if count
        ),
    )


def remark_on_plain(evaluated: Evaluated, k: int) -> tuple[Note, ...]:
    """Say where figures depart from plain trec_eval's, and what these are."""
    notes = []
    for name, of in evaluated.plain.items():
        means = [(model, _headline_mean(load(ref))) for model, ref in of.items()]
        note = note_of(evaluated.sets[name], SetNote)
        notes.append(Note("remark", say("learning", "departs", name, note, means, k)))
    return tuple(notes)


def _headline_mean(scores: pl.DataFrame) -> float | None:
    """The mean over directions that headlines have: those of few queries do not count."""
    each = scores.filter(pl.col("document_language") != POOL).group_by(
        "document_language", "query_language"
    ).agg(pl.col("ndcg").mean(), count=pl.len())  # fmt: skip
    mean = each.filter((pl.col("count") >= FEWEST) | (pl.len() == 1))["ndcg"].mean()
    return None if mean is None else float(mean)  # type: ignore[arg-type]


def remark_on_few(measures: Mapping[str, DatasetRef]) -> tuple[Note, ...]:
    """Name the directions of each set that have too few queries to count in a mean."""
    notes = []
    for name, reference in measures.items():
        if note_of(reference, MeasuresNote).kind != "retrieval":
            continue
        counts = load(reference).group_by("document_language", "query_language").len()
        few = counts.filter(pl.col("len") < FEWEST).sort("document_language", "query_language")
        cells = [f"{document}-{query} ({count})" for document, query, count in few.rows()]
        if cells:
            every = counts.height if few.height == counts.height else 0
            notes.append(Note("warning", say("learning", "few", name, cells, FEWEST, every)))
    return tuple(notes)
