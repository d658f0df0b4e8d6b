"""Reads the data that a step's settings name: triplets of runs and files, pairs, collections."""

import logging
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import polars as pl

from polymine import models
from polymine.data_contracts.errors import SettingsError, StoreError
from polymine.data_contracts.notes import Understood
from polymine.data_contracts.references import fingerprint
from polymine.data_contracts.settings import (
    DATA_KINDS,
    DatasetSettings,
    LossSettings,
    Reading,
    RecipeSettings,
    Source,
    TrainingData,
    TrainingSettings,
)
from polymine.data_contracts.tables import Negatives
from polymine.reading.pairs import triplet_rows
from polymine.reading.roles import PARALLEL, TRIPLETS, Role
from polymine.reading.shared_texts import read_parquet
from polymine.tasks.runs.folder import RunFolder
from polymine.tasks.sources.files import digest, fetch
from polymine.tasks.sources.reading import check_raw, fingerprint_sources, one_split, read_sources
from polymine.tasks.sources.tables import Findings, read_texts
from polymine.tasks.store.datasets import is_dataset, open_folder
from polymine.tasks.store.manifests import RUN, read_manifest
from polymine.tasks.training.lists import fingerprint_lists, rows_of_lists
from polymine.training import mixture
from polymine.training.relations import own_relations, relations_of_run, texts_of

_NUMBERS = (
    "score", "weight", "positive_weight", "position", "positive_score", "negative_score",
    "relevance",
)  # fmt: skip
_TABLES = ("triplets", "closure", "negatives")  # of a run, that training reads
logger = logging.getLogger("polymine.training")


@dataclass(frozen=True)
class ReadPart:
    """A part of a step's data.

    Args:
        made: its rows.
        relations: what is known of anchors and texts of these rows, of those not chosen, too.
        rejected: rows of its files that were set aside.
        sources: what these files were taken for.
    """

    made: mixture.Part
    relations: pl.DataFrame
    rejected: int
    sources: tuple[Understood, ...] = ()


def resolve_training(training: TrainingSettings, run: str | None) -> TrainingSettings:
    """Put the folder of a run in the place of `mined`, and settle the prompts of the base.

    Raises SettingsError where `mined` stands for nothing, ModelError for a base that is not there.
    """

    def resolved(part: TrainingData) -> TrainingData:
        if not part.is_mined:
            return part
        if run is None:
            raise SettingsError(
                "training: its data is `mined`, and nothing is mined here: name the folder of a "
                f'mining run, as `{"lists" if part.lists else "triplets"} = "runs/mine-01"`, or '
                "start `polymine pipeline`"
            )
        return part.model_copy(update={"lists" if part.lists else "triplets": run})

    steps = tuple(
        step.model_copy(update={"data": tuple(resolved(part) for part in step.data)})
        for step in training.steps
    )
    recipe = training.recipe or (None if steps else RecipeSettings())
    if recipe is not None:
        parts = {name: getattr(recipe, name) for name in ("mono", "cross", "align")}
        update = {name: resolved(part) for name, part in parts.items() if part is not None}
        recipe = recipe.model_copy(update=update)
    base = models.settled(training.base)
    if base.similarity == "dot":
        raise SettingsError(
            f"training.base: {base.model} compares vectors by dot product, and training teaches "
            'cosines; set `training.base.similarity = "cosine"` to train and measure it so'
        )
    return training.model_copy(update={"steps": steps, "recipe": recipe, "base": base})


def describe_source(part: TrainingData) -> str:
    """Name where a part of data comes from."""
    source = part.triplets or part.lists or part.parallel or part.collection
    return source if isinstance(source, str) else ", ".join(source or [])


def read_part(part: TrainingData, name: str, loss: LossSettings) -> ReadPart:
    """Read a part's rows, as a loss wants them, and what is known beside them."""
    if part.lists is not None:
        made, told = rows_of_lists(part.lists, name, loss)
        return ReadPart(made, pl.concat([own_relations(made.rows), told]), 0)
    known: list[pl.DataFrame] = []
    found = Findings()
    if part.triplets is not None:
        triplets, known, rejected = _read_triplets(part, part.triplets, found)
        given = triplets.height
        if "relevance" in triplets.columns:
            triplets = triplets.filter(pl.col("relevance").fill_null(1) > 0)
        refuted = given - triplets.height
        made = mixture.from_triplets(triplets, name, loss.negatives)
        made = replace(made, counts=made.counts.and_dropped("judged as not relevant", refuted))
    elif part.parallel is not None:
        pairs, rejected = _read_files(part, part.parallel, PARALLEL, found)
        _warn_of_scores(part, pairs)
        made = mixture.from_parallel(pairs, name, part.min_score)
    else:
        raw = read_sources(_as_dataset(part))
        one_split(raw, str(part.collection))
        found.understood += raw.understood
        checked = check_raw(raw, part.on_invalid)
        made = mixture.from_collection(checked.documents, checked.queries, checked.judgments, name)
        rejected = checked.rejected.height
    relations = pl.concat([own_relations(made.rows), *known])
    return ReadPart(made, relations, rejected, tuple(found.understood))


def _warn_of_scores(part: TrainingData, pairs: pl.DataFrame) -> None:
    """Pairs of every score are trained as equal in meaning, unless `min_score` says from where."""
    scores = pairs["score"].drop_nulls() if "score" in pairs.columns else pl.Series()
    if part.min_score is None and scores.n_unique() > 1:
        logger.warning(
            "%s: `score` goes from %g to %g, and pairs of all scores are trained as equal in "
            "meaning; `min_score` says from which on they are",
            describe_source(part), scores.min(), scores.max(),
        )  # fmt: skip


def _as_dataset(part: TrainingData) -> DatasetSettings:
    hints = part.model_dump(include=set(Reading.model_fields))
    return DatasetSettings(corpus=part.collection, **hints)


def _read_triplets(
    part: TrainingData, source: Source, found: Findings
) -> tuple[pl.DataFrame, list[pl.DataFrame], int]:
    """Triplets of runs and files, the runs' relations, and how many rows were set aside."""
    frames, known, rejected = [], [], 0
    for each in [source] if isinstance(source, str) else source:
        folder = _folder(each)
        if (folder / "triplets").is_dir():
            _check_run(folder)
            frames.append(_table(folder, "triplets"))
            known += _relations(folder, frames[-1])
        else:
            frame, broken = _read_files(part, each, TRIPLETS, found)
            frames.append(triplet_rows(frame))
            rejected += broken
    return pl.concat(frames, how="diagonal_relaxed", rechunk=True), known, rejected


def _relations(folder: Path, triplets: pl.DataFrame) -> list[pl.DataFrame]:
    """What a run knows beside its triplets: its closure, and risks where it has judged any."""
    if not (folder / "closure").is_dir():
        logger.info(
            "%s: has no closure, so of texts in other rows of a batch only the triplets' own "
            "positives are known not to be negatives; mine again to have it",
            folder,
        )
        return []
    judged = (folder / "negatives").is_dir()
    decided = _table(folder, "negatives") if judged else Negatives.create_empty()
    return [relations_of_run(*texts_of(triplets), _table(folder, "closure"), decided)]


def _table(folder: Path, name: str) -> pl.DataFrame:
    return read_parquet(sorted((folder / name).glob("*.parquet")))


def _folder(source: str) -> Path:
    """Name the folder of a source on this machine, fetching a dataset of a remote store."""
    return open_folder(source) if is_dataset(source) else Path(source).expanduser()


def _check_run(folder: Path) -> None:
    """Refuse a damaged or unfinished run; a dataset of the store is as good as an output folder."""
    manifest = read_manifest(folder)
    if manifest is None or manifest.contract == RUN:
        RunFolder(folder)
    if manifest is not None and not any(s.name.startswith("triplets/") for s in manifest.shards):
        raise StoreError(f"{folder}: the run has no triplets; its shortfalls/ say why")


def _read_files(
    part: TrainingData, source: Source, role: Role, found: Findings
) -> tuple[pl.DataFrame, int]:
    """Read files of texts as mining does; also the number of rows that were set aside."""
    here, frames = Findings(), []
    for each in [source] if isinstance(source, str) else source:
        with fetch(each) as files:
            numbers = [name for name in _NUMBERS if name in role.columns]
            frames += [frame for _, frame in read_texts(files, role, part, here, numbers)]
    rejected = here.check(part).height
    found.understood += here.understood
    return pl.concat(frames, how="diagonal_relaxed", rechunk=True), rejected


def kind_and_choice(part: TrainingData) -> tuple[str, dict[str, Any]]:
    """Say what kind of data a part is and what of it is taken, wherever it lies."""
    kind = next(name for name in DATA_KINDS if getattr(part, name) is not None)
    return kind, part.model_dump(mode="json", exclude=set(DATA_KINDS))


def fingerprint_part(part: TrainingData) -> str:
    """Hash the files that a part's data lie in."""
    if part.collection is not None:
        return fingerprint_sources(_as_dataset(part))
    if part.lists is not None:
        return fingerprint_lists(part.lists)
    digests = []
    source = part.triplets or part.parallel or []
    for each in [source] if isinstance(source, str) else source:
        folder = _folder(each)
        if (folder / "triplets").is_dir():
            manifest = read_manifest(folder)
            shards = manifest.shards if manifest else ()
            digests += [s.checksum for s in shards if s.name.partition("/")[0] in _TABLES]
            continue
        with fetch(each) as files:
            digests += [digest(file.path) for file in files]
    return fingerprint(files=digests)
