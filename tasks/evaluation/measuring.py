"""Measures models on sets, one dataset each, and compares them with the untouched base."""

import logging
from collections.abc import Callable, Mapping, Sequence

import polars as pl

from polymine.data_contracts.learning import Comparisons, QueryScores, SetScores
from polymine.data_contracts.references import DatasetRef, fingerprint
from polymine.data_contracts.settings import EngineSettings, EvaluationSet, EvaluationSettings
from polymine.evaluation import choice, similarity
from polymine.evaluation.matrix import compare
from polymine.evaluation.mteb_tasks import mteb_scores, mteb_version
from polymine.evaluation.retrieval import measure as measure_retrieval
from polymine.evaluation.significance import Resampling
from polymine.tasks.engine.progress import TaskProgress
from polymine.tasks.engine.stages import stage
from polymine.tasks.evaluation.encoding import Matrix, Measured, encode
from polymine.tasks.evaluation.sets import kind_of, languages_of_set, open_collection, read_table
from polymine.tasks.store.datasets import Store, info_of, load, open_folder, write_frame

VERSION = 2
CONTRACT = "measures"
FEWEST = 5  # queries a direction needs to count in a mean

logger = logging.getLogger("polymine.evaluation")


@stage("measure", "measure-{measured.name}-{chosen.name}")
def measure(
    measured: Measured,
    chosen: EvaluationSet,
    tables: DatasetRef,
    evaluation: EvaluationSettings,
    engine: EngineSettings,
    root: str,
) -> DatasetRef:
    """Measure one model on one set; per query, pair or item wherever these can be resampled."""
    kind = kind_of(tables)
    version = fingerprint(
        version=VERSION,
        model=measured.fingerprint,
        set=tables.fingerprint,
        name=chosen.name,
        k=evaluation.k if kind == "retrieval" else None,
        pooled=chosen.pooled if kind == "retrieval" else None,
        languages=chosen.languages if kind == "mteb" else None,
        seed=evaluation.seed if kind == "clustering" else None,
        mteb=mteb_version() if kind == "mteb" else None,
    )
    place = Store(root).dataset(CONTRACT, version)
    if found := place.find():
        return found
    frame = _Taker(measured, tables, chosen, evaluation, engine, root).take(kind)
    write_frame(frame, place.folder / "part-00000.parquet")
    languages = languages_of_set(tables) or set(chosen.languages or ())
    untouched = sorted(languages) if measured.leaves_untouched(languages) else []
    if untouched:
        logger.warning(
            "%s: no text of %s (%s) passes through an adapter; it is measured as its base",
            measured.name, chosen.name, ", ".join(untouched),
        )  # fmt: skip
    info = {"kind": kind, "untouched": untouched}
    return place.commit({"set": tables.fingerprint}, info)


def untouched_languages(measures: DatasetRef) -> tuple[str, ...]:
    """List the languages of a set none of whose texts passed through an adapter; else nothing."""
    return tuple(info_of(measures)["untouched"])


class _Taker:
    """Takes the measures of one model on one set."""

    def __init__(
        self,
        measured: Measured,
        tables: DatasetRef,
        chosen: EvaluationSet,
        evaluation: EvaluationSettings,
        engine: EngineSettings,
        root: str,
    ) -> None:
        self._measured, self._tables, self._chosen = measured, tables, chosen
        self._evaluation, self._engine, self._root = evaluation, engine, root

    def take(self, kind: str) -> pl.DataFrame:
        """Take the measures of a set of this kind."""
        takers: dict[str, Callable[[], pl.DataFrame]] = {
            "retrieval": self.retrieval,
            "similarity": self.similarity,
            "clustering": self.clusters,
            "choice": self.choices,
            "mteb": self.benchmark,
        }
        return takers[kind]()

    def retrieval(self) -> pl.DataFrame:
        collection = open_collection(self._tables)
        documents = self._encode(collection.documents, "text", "documents")
        queries = self._encode(collection.queries, "text", "queries")
        return measure_retrieval(
            collection,
            queries,
            documents,
            name=self._chosen.name,
            k=self._evaluation.k,
            pooled=self._chosen.pooled and collection.documents["language"].n_unique() > 1,
        )

    def similarity(self) -> pl.DataFrame:
        pairs = read_table(self._tables, "pairs")
        similarity.check_pairs(pairs)
        sides = [
            self._encode(pairs.rename({f"language_{side}": "language"}), f"text_{side}", "queries")
            for side in ("a", "b")
        ]
        return similarity.compare_texts(pairs, *sides)

    def clusters(self) -> pl.DataFrame:
        sentences = read_table(self._tables, "sentences")
        vectors = self._encode(sentences, "text", "documents")
        return similarity.cluster(
            sentences,
            vectors,
            model=self._measured.name,
            set=self._chosen.name,
            seed=self._evaluation.seed,
        )

    def choices(self) -> pl.DataFrame:
        items = read_table(self._tables, "items")
        options = choice.option_texts(items)
        languages = items["language"].to_list()
        fourfold = [language for language in languages for _ in range(choice.OPTIONS)]
        asked = encode(
            self._measured, options, fourfold, "queries", self._engine, self._root,
            self._tables.fingerprint,
        )  # fmt: skip
        return choice.answer(items, asked, self._encode(items, "passage", "documents"))

    def benchmark(self) -> pl.DataFrame:
        def run(texts: Sequence[str], language: str, role: str) -> Matrix:
            side = "documents" if role == "document" else "queries"
            spoken = [language] * len(texts)
            return encode(self._measured, texts, spoken, side, self._engine, self._root)

        scores = mteb_scores(str(self._chosen.benchmark), run, self._chosen.languages)
        return scores.with_columns(set=pl.lit(self._chosen.name), model=pl.lit(self._measured.name))

    def _encode(self, table: pl.DataFrame, text: str, side: str) -> Matrix:
        return encode(
            self._measured, table[text].to_list(), table["language"].to_list(), side,
            self._engine, self._root, self._tables.fingerprint,
        )  # fmt: skip


@stage("compare")
def compare_models(
    sets: Mapping[str, DatasetRef],
    base: Mapping[str, DatasetRef],
    models: Mapping[str, Mapping[str, DatasetRef]],
    evaluation: EvaluationSettings,
    root: str,
) -> DatasetRef:
    """Compare every model with the base on every set, with intervals.

    Args:
        sets: set name to its tables.
        base: set name to the base's measures.
        models: model name to the same.

    Writes `comparisons` (retrieval) and `scores` (all else).
    """
    version = fingerprint(
        version=VERSION,
        sets={name: reference.fingerprint for name, reference in sets.items()},
        base={name: reference.fingerprint for name, reference in base.items()},
        models={
            model: {name: reference.fingerprint for name, reference in of.items()}
            for model, of in models.items()
        },
        resampling=[evaluation.confidence, evaluation.resamples, evaluation.seed],
        pivot=evaluation.pivot,
    )
    place = Store(root).dataset("comparisons", version)
    if found := place.find():
        return found
    resampling = Resampling(evaluation.confidence, evaluation.resamples, evaluation.seed)
    compared: list[pl.DataFrame] = [Comparisons.create_empty()]
    scored: list[pl.DataFrame] = [SetScores.create_empty()]
    progress = TaskProgress()
    progress.start("compare", len(sets) * len(models), "measures")
    for name, tables in sets.items():
        kind = kind_of(tables)
        if kind != "retrieval":
            scored += _score(kind, name, base[name], models, resampling)
            progress.advance("compare", len(models))
            continue
        collection = open_collection(tables)
        questions = collection.questions.with_columns(set=pl.lit(name))
        languages = set(collection.languages)
        for model, of in models.items():
            compared.append(
                compare(
                    QueryScores.validate(load(base[name]), cast=True),
                    QueryScores.validate(load(of[name]), cast=True),
                    name=model,
                    questions=questions,
                    pivot=evaluation.pivot if evaluation.pivot in languages else None,
                    fewest=fewest_of(load(base[name])),
                    resampling=resampling,
                )
            )
            progress.advance("compare", 1, f"{model} on {name}")
    progress.finish("compare")
    write_frame(pl.concat(compared), place.folder / "comparisons.parquet")
    write_frame(pl.concat(scored), place.folder / "scores.parquet")
    return place.commit(info={"models": list(models), "sets": list(sets)})


def _score(
    kind: str,
    name: str,
    base: DatasetRef,
    models: Mapping[str, Mapping[str, DatasetRef]],
    resampling: Resampling,
) -> list[pl.DataFrame]:
    """SetScores of base and models on one set that is no retrieval."""
    reference = load(base)
    of = {model: load(measures[name]) for model, measures in models.items()}
    if kind in ("similarity", "choice"):
        score = similarity.correlations if kind == "similarity" else choice.accuracies
        found = [score(reference, None, model="base", set=name)]
        return found + [
            score(rows, reference, model=model, set=name, resampling=resampling)
            for model, rows in of.items()
        ]
    key = ["set", "document_language", "query_language", "metric"]
    before = reference.select(*key, before="value")
    empty = pl.lit(None, pl.Float64)
    frames = []
    for model, rows in {"base": reference, **of}.items():
        gained = rows.join(before, on=key, maintain_order="left").with_columns(
            model=pl.lit(model),
            gain=empty if model == "base" else pl.col("value") - pl.col("before"),
            low=empty, high=empty,
        )  # fmt: skip
        frames.append(SetScores.validate(gained.select(SetScores.column_names()), cast=True))
    return list(frames)


def fewest_of(scores: pl.DataFrame) -> int:
    """Say how many queries a direction needs to count in means; 1 where no direction has enough."""
    counts = scores.group_by("document_language", "query_language").len()["len"]
    return FEWEST if int(counts.max() or 0) >= FEWEST else 1  # type: ignore[arg-type]


def read_comparisons(compared: DatasetRef) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Read Comparisons and SetScores."""
    folder = open_folder(compared.path)
    return (
        pl.read_parquet(folder / "comparisons.parquet", glob=False),
        pl.read_parquet(folder / "scores.parquet", glob=False),
    )
