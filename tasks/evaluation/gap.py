"""Measures how far apart the same meaning lies in different languages, a model and set at a time.

| dataset | shards |
|---|---|
| `gap-texts` | `texts`: one per group and language; `flags` of some; `clusters` of questions |
| `gap-measures` | `cases`: a value per group or query; `spreads`; `points`; `similarity` to |
| | people's scores |
| `gap-scores` | `scores`: means with intervals; `changes`: models against the first one |
"""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial

import polars as pl

from polymine.data_contracts.gap import (
    GapCases,
    GapChanges,
    GapClusters,
    GapFlags,
    GapPoints,
    GapScores,
    GapSimilarities,
    GapSpreads,
    ParallelTexts,
)
from polymine.data_contracts.references import DatasetRef
from polymine.data_contracts.settings import EvaluationSet, GapSettings
from polymine.evaluation.collection import EvaluationCollection
from polymine.evaluation.gap.agreement import rank_consistency
from polymine.evaluation.gap.bitext import mining_errors
from polymine.evaluation.gap.cases import gather_cases
from polymine.evaluation.gap.cosines import compatible_cosines, translation_cosines
from polymine.evaluation.gap.parallel import Parallel, Vectors, flag_pairs, gather, set_aside
from polymine.evaluation.gap.pool import pool_measures
from polymine.evaluation.gap.projection import project, umap_version
from polymine.evaluation.gap.scores import Averages
from polymine.evaluation.gap.scripts import in_other_script
from polymine.evaluation.gap.separation import separation
from polymine.evaluation.gap.sts import (
    compare_crossed,
    cross_pairs,
    flag_scored,
    name_changes,
    name_scores,
)
from polymine.evaluation.significance import Resampling
from polymine.reporting.templates import say
from polymine.tasks.engine.context import Context
from polymine.tasks.engine.plan import Maker, Plan
from polymine.tasks.engine.progress import track
from polymine.tasks.engine.stage import stage
from polymine.tasks.evaluation.encoding import Measured, Side, encode, load_of, offsets_of
from polymine.tasks.evaluation.sets import (
    LONE,
    kind_of,
    open_collection,
    read_table,
    sides_of_set,
    tables_in,
)
from polymine.tasks.store.datasets import Dataset, open_folder

VERSION = 3
GOOD = 0.8  # of the highest score: a pair that people gave as much goes together
TEXTS, FLAGS, CLUSTERS = "texts.parquet", "flags.parquet", "clusters.parquet"
CASES, SPREADS, SIMILARITY = "cases.parquet", "spreads.parquet", "similarity.parquet"
POINTS = "points.parquet"
SCORES, CHANGES = "scores.parquet", "changes.parquet"
Measures = Mapping[str, DatasetRef]  # set name to what was measured of one model
logger = logging.getLogger("polymine.evaluation")


@dataclass(frozen=True)
class _Found:
    """What was measured; what there is nothing to measure of is empty."""

    cases: pl.DataFrame = field(default_factory=GapCases.create_empty)
    spreads: pl.DataFrame = field(default_factory=GapSpreads.create_empty)
    similarity: pl.DataFrame = field(default_factory=GapSimilarities.create_empty)
    points: pl.DataFrame = field(default_factory=GapPoints.create_empty)


@stage("gap-texts", "gap-texts-{chosen.name}")
def gather_texts(run: Context, chosen: EvaluationSet, tables: DatasetRef, gap: GapSettings) -> Plan:
    """Put a set's texts into groups by what they say, and look for what is no translation."""

    def write(dataset: Dataset) -> None:
        parallel, aside = _parallel(chosen.name, tables)
        parallel = parallel.draw(gap.texts, gap.seed)
        # Texts in another script are those of all sides, also what the pool or STS would read.
        sides = [table.select("language", "text") for table, _ in sides_of_set(tables)]
        every = pl.concat(sides).unique()
        strange = every.filter(in_other_script(every))
        flags = pl.concat([
            set_aside("script", strange), aside.filter(pl.col("kind") != "script"),
            flag_pairs(parallel, gap.fewest),
        ])  # fmt: skip
        if kind_of(tables) == "similarity":
            flags = pl.concat([flags, flag_scored(cross_pairs(_pairs(tables)), gap.fewest)])
        for row in flags.iter_rows(named=True):
            logger.warning(say("gap", "flag", chosen.name, row, gap.fewest))
        dataset.write(TEXTS, parallel.texts, ParallelTexts)
        dataset.write(FLAGS, flags, GapFlags)
        dataset.write(CLUSTERS, _clusters(tables), GapClusters)

    return Plan(
        contract="gap-texts",
        depends={"version": VERSION, "set": tables, "name": chosen.name, "texts": gap.texts,
                 "seed": gap.seed, "fewest": gap.fewest},
        open=lambda _: Maker(lambda *_: write),
        resumable=False,
        reads=True,
    )  # fmt: skip


@stage("measure-gap", "measure-gap-{measured.name}-{chosen.name}")
def measure_gap(
    run: Context,
    measured: Measured,
    chosen: EvaluationSet,
    tables: DatasetRef,
    texts: DatasetRef,
    gap: GapSettings,
) -> Plan:
    """Measure one model on the texts of one set."""

    def write(dataset: Dataset) -> None:
        of_set = _of_set(run, measured, chosen, tables, gap)
        of_texts = _of_texts(run, measured, tables, texts, gap)
        dataset.write(CASES, gather_cases([of_texts.cases, of_set.cases]), GapCases)
        dataset.write(SPREADS, pl.concat([of_texts.spreads, of_set.spreads]), GapSpreads)
        dataset.write(POINTS, of_texts.points, GapPoints)
        dataset.write(SIMILARITY, of_set.similarity, GapSimilarities)

    return Plan(
        contract="gap-measures",
        depends={
            "version": VERSION,
            "model": measured.fingerprint,
            "name": [measured.name, chosen.name],
            "set": tables,
            "texts": texts,
            "how": [gap.points, gap.neighbours, gap.k, gap.seed],
            "umap": umap_version(),
        },
        open=lambda _: Maker(lambda *_: write),
        estimate=lambda: load_of(
            run, measured, [(read_gap(texts, TEXTS), _side(tables)), *sides_measured(tables)]
        ),
        resumable=False,
    )


@stage("score-gap")
def score_gap(
    run: Context, texts: Measures, measures: Mapping[str, Measures], gap: GapSettings
) -> Plan:
    """Average what was measured, with intervals, and compare every model with the first one."""
    return Plan(
        contract="gap-scores",
        depends={
            "version": VERSION,
            "texts": dict(texts),
            "measures": {model: dict(of) for model, of in measures.items()},
            "order": list(measures),  # all are compared with the first
            "how": [gap.fewest, gap.confidence, gap.resamples, gap.seed],
        },
        open=lambda _: Maker(lambda *_: partial(_write_scores, texts, measures, gap)),
        resumable=False,
    )


def read_gap(reference: DatasetRef, file: str) -> pl.DataFrame:
    """Read one of the tables of a stage of this module."""
    return pl.read_parquet(open_folder(reference.path) / file, glob=False)


def _write_scores(
    texts: Measures, measures: Mapping[str, Measures], gap: GapSettings, dataset: Dataset
) -> None:
    resampling = Resampling(gap.confidence, gap.resamples, gap.seed)
    scores: list[pl.DataFrame] = [GapScores.create_empty()]
    changes: list[pl.DataFrame] = [GapChanges.create_empty()]
    reference = next(iter(measures))
    for (name,) in track([(name,) for name in texts], "score-gap", len(texts), "sets"):
        flags, clusters = (read_gap(texts[name], file) for file in (FLAGS, CLUSTERS))
        averages = Averages(name, flags, gap.fewest, resampling, clusters)
        cases, similar = (
            {model: read_gap(of[name], file) for model, of in measures.items()}
            for file in (CASES, SIMILARITY)
        )
        for model in measures:
            rows = similar[model]
            scores += [
                averages.scores(cases[model], model),
                name_scores(rows, model, name, gap.fewest, gap.confidence),
            ]
            if model != reference:
                names = (model, reference)
                changes += [
                    averages.changes(cases[model], cases[reference], names),
                    name_changes(rows, similar[reference], names, name, gap.fewest, resampling),
                ]
    dataset.write(SCORES, pl.concat(scores), GapScores)
    dataset.write(CHANGES, pl.concat(changes), GapChanges)


def _clusters(tables: DatasetRef) -> pl.DataFrame:
    """Name what questions are drawn with, also where they are the parallel texts."""
    if kind_of(tables) != "retrieval":
        return GapClusters.create_empty()
    collection = _collection(tables)
    asked = collection.queries.select("query_id", "group_id").join(
        collection.questions, on="query_id", maintain_order="left"
    )
    own = asked.join(collection.clusters.select("query_id", cluster="question"), on="query_id")
    parts = [own.select("cluster", case="question")]
    if _asked_or_searched(collection) is not collection.documents:
        parts.append(own.select("cluster", case="group_id").drop_nulls())
    found = pl.concat(parts).unique("case", keep="first", maintain_order=True)
    return found.select("case", "cluster").sort("case")


def _parallel(name: str, tables: DatasetRef) -> tuple[Parallel, pl.DataFrame]:
    """Gather the texts of a set by what they say; none of a set of pairs that are no versions."""
    texts, kind = _texts(tables), kind_of(tables)
    versions = texts.group_by("group").agg(pl.col("language").n_unique())["language"]
    alone = (versions.max() or 0) < 2  # type: ignore[operator]
    if kind == "retrieval" and alone and _answers_in_several(tables):
        logger.warning(
            "%s: no `group_id` says which texts are versions of one another, so only what the pool "
            "of all languages finds is measured", name,
        )  # fmt: skip
    elif kind != "similarity" or not alone:
        return gather(texts, name)
    return Parallel(ParallelTexts.create_empty()), GapFlags.create_empty()


def _answers_in_several(tables: DatasetRef) -> bool:
    """Whether a question is answered in more than one language, as all of LAReQA's are."""
    answers = open_collection(tables).relevant.group_by("query_id")
    return any(answers.agg(pl.col("document_language").n_unique() > 1)["document_language"])


def _texts(tables: DatasetRef) -> pl.DataFrame:
    """Texts of a set with their groups; of a collection its questions, if these are translated.

    What has no group is one by itself.
    """
    match kind_of(tables):
        case "retrieval":
            found = _asked_or_searched(open_collection(tables))
            found = found.rename({found.columns[0]: "id"})
            if LONE in tables_in(tables):
                found = pl.concat([found, read_table(tables, LONE)], how="diagonal")
            own = pl.format("i:{}", "id")
            found = found.with_columns(pl.coalesce("group_id", own).alias("group_id"))
        case "clustering":
            found = read_table(tables, "sentences")
        case "similarity":
            pairs = read_table(tables, "pairs")
            found = pairs.select("group_id", language="language_a", text="text_a")
        case _:
            return ParallelTexts.create_empty()
    return found.select(group="group_id", language="language", text="text")


def _asked_or_searched(collection: EvaluationCollection) -> pl.DataFrame:
    grouped = collection.queries.drop_nulls("group_id")
    return collection.queries if grouped["language"].n_unique() > 1 else collection.documents


def _side(tables: DatasetRef) -> str:
    """Name the prompt for a set's texts: documents' where these are what is compared."""
    if kind_of(tables) != "retrieval":
        return "queries"
    collection = open_collection(tables)
    return "documents" if _asked_or_searched(collection) is collection.documents else "queries"


def _of_texts(
    run: Context, measured: Measured, tables: DatasetRef, texts: DatasetRef, gap: GapSettings
) -> _Found:
    """All that is measured on parallel texts alone."""
    parallel = Parallel(read_gap(texts, TEXTS))
    if not parallel.texts.height:
        return _Found()

    (vectors,) = _encode_sides(run, measured, tables, [(parallel.texts, _side(tables))])
    drawn = parallel.widest(gap.points, gap.seed)
    near = vectors[parallel.texts.with_row_index("row").join(
        drawn.texts, on=["group", "language"], how="semi", maintain_order="left"
    )["row"].to_numpy()]  # fmt: skip
    cosines, spreads = translation_cosines(parallel, vectors)
    cases = [
        rank_consistency(parallel, vectors),
        cosines,
        mining_errors(parallel, vectors),
        separation(drawn, near, gap.neighbours),
    ]
    points = project(drawn, near, gap.seed)
    return _Found(gather_cases(cases), spreads, points=points)


def _collection(tables: DatasetRef) -> EvaluationCollection:
    """Open a collection without texts in another script than their language's."""
    whole = open_collection(tables)
    kept = [each.filter(~in_other_script(each)) for each in (whole.documents, whole.queries)]
    same = [each.height for each in kept] == [whole.documents.height, whole.queries.height]
    return whole if same else whole.cut(*kept)


def _pairs(tables: DatasetRef) -> pl.DataFrame:
    """Read pairs with scores whose texts are both in their language's script."""
    pairs = read_table(tables, "pairs")
    strange = [in_other_script(table) for table, _ in sides_of_set(tables)]
    return pairs.filter(~(strange[0] | strange[1]))


def sides_measured(tables: DatasetRef) -> list[Side]:
    """List the texts of a set that are in their language's script, a side at a time."""
    match kind_of(tables):
        case "retrieval":
            found = _collection(tables)
            sides = (found.queries, "queries"), (found.documents, "documents")
            return [(table.select("text", "language"), side) for table, side in sides]
        case "similarity":
            named = [{"text": f"text_{end}", "language": f"language_{end}"} for end in "ab"]
            return [(_pairs(tables).select(**names), "queries") for names in named]
        case _:
            return sides_of_set(tables)


def _encode_sides(
    run: Context, measured: Measured, tables: DatasetRef, wanted: Sequence[Side] | None = None
) -> list[Vectors]:
    """Unit vectors of the wanted texts of a set, or of all of them, a side at a time."""
    sides = sides_measured(tables)
    offsets = offsets_of(run, measured, sides)
    return [
        encode(run, measured, table["text"], table["language"], side, offsets, unit=True)
        for table, side in wanted or sides
    ]


def _of_set(
    run: Context, measured: Measured, chosen: EvaluationSet, tables: DatasetRef, gap: GapSettings
) -> _Found:
    match kind_of(tables):
        case "retrieval":
            return _of_collection(run, measured, chosen.name, tables, gap)
        case "similarity":
            return _of_pairs(run, measured, tables)
        case _:
            return _Found()


def _of_collection(
    run: Context, measured: Measured, name: str, tables: DatasetRef, gap: GapSettings
) -> _Found:
    """The pool, and questions with their answers; nothing of parallel sentences."""
    collection = _collection(tables)
    if set(collection.queries["query_id"]) == set(collection.documents["doc_id"]):
        return _Found()
    asked, found = _encode_sides(run, measured, tables)
    cases, spreads = compatible_cosines(*_answered(collection, asked, found))
    if collection.documents["language"].n_unique() > 1:
        pool = pool_measures(collection, asked, found, name=name, k=gap.k)
        cases = gather_cases([cases, pool])
    return _Found(cases, spreads)


def _answered(
    collection: EvaluationCollection, asked: Vectors, found: Vectors
) -> tuple[pl.DataFrame, Vectors, Vectors, pl.DataFrame]:
    """Each question beside its first answer in its own language, and who else's is its answer."""
    own = collection.relevant.filter(pl.col("query_language") == pl.col("document_language"))
    own = own.unique("query_id", keep="first", maintain_order=True)
    own = own.join(collection.questions, on="query_id", maintain_order="left")
    rows = [
        own.select(key).join(table.with_row_index("row"), on=key, maintain_order="left")["row"]
        for key, table in (("query_id", collection.queries), ("doc_id", collection.documents))
    ]
    pairs = own.select(language="query_language", case="question")
    placed = own.select("query_id", "doc_id").with_row_index("place")
    others = collection.relevant.select("query_id", "doc_id")
    together = others.join(placed.select("query_id", left="place"), on="query_id").join(
        placed.select("doc_id", right="place"), on="doc_id"
    )
    left, right = asked[rows[0].to_numpy()], found[rows[1].to_numpy()]
    return pairs, left, right, together.select("left", "right")


def _of_pairs(run: Context, measured: Measured, tables: DatasetRef) -> _Found:
    """Similarity to people's scores, and pairs of one language that people found alike."""
    pairs = _pairs(tables)
    left, right = _encode_sides(run, measured, tables)
    rows = pairs.with_row_index("row").filter(
        pl.col("language_a") == pl.col("language_b"), pl.col("gold") >= GOOD * pl.col("gold").max()
    )
    chosen = rows["row"].to_numpy()
    alike = rows.select(language="language_a", case="id")
    similarity = compare_crossed(cross_pairs(pairs), left, right)
    return _Found(*compatible_cosines(alike, left[chosen], right[chosen]), similarity)
