"""A finished run's triplets in further shapes, without mining anew."""

from collections.abc import Callable
from difflib import get_close_matches
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, cast, get_args

import polars as pl

from polymine.data_contracts.errors import SettingsError, StoreError
from polymine.data_contracts.settings import Format, ListFormat, View
from polymine.mining.export import build_view
from polymine.tasks.mining.trainer_formats import TrainerFiles
from polymine.tasks.runs.folder import RunFolder
from polymine.tasks.runs.list_files import FUSED, write_lists
from polymine.tasks.store.atomic import staged_new, write_frame
from polymine.tasks.store.datasets import shard_name

if TYPE_CHECKING:
    from datasets import Dataset

VIEWS: tuple[View, ...] = get_args(View)
FORMATS: tuple[Format, ...] = get_args(Format)
LIST_FORMATS: tuple[ListFormat, ...] = get_args(ListFormat)


class Exported(NamedTuple):
    """What was written, and where."""

    records: int
    shape: str
    folder: Path

    def __str__(self) -> str:
        return f"{self.records:,} records of {self.shape} in {self.folder}"


def export(
    run: RunFolder, name: str, target: Path | None = None, scores: str | None = None
) -> Exported:
    """Write a run's triplets or lists in one more shape into a new folder.

    A file of triplets, or the lists of as many queries, is in memory at a time. A training view
    takes the number of negatives from the run, and lists the `scores` of one teacher. Raises
    SettingsError for an unknown shape, and for scores that it has no place for; StoreError when the
    run is damaged or without triplets, and when `target` exists or lies inside it.
    """
    shape = check_shape(name)
    if scores is not None and shape not in LIST_FORMATS:
        raise SettingsError(
            f"{shape}: holds the scores of the run's own teacher; `scores` are for lists: "
            f"{', '.join(LIST_FORMATS)}"
        )
    target = (target or run.folder.with_name(f"{run.folder.name}-{shape}")).expanduser().absolute()
    triplets = _triplets(run)
    _check_target(run.folder, target)
    with staged_new(target) as beside:
        if shape in LIST_FORMATS:
            records = write_lists(run, shape, beside, scores or FUSED)
        else:
            write = _writer(run, cast(View | Format, shape), beside)
            frames = (pl.read_parquet(path, glob=False) for path in triplets)
            records = sum(write(number, frame) for number, frame in enumerate(frames))
        if not records:
            what = "lists" if shape in LIST_FORMATS else "triplets"
            raise StoreError(f"{run.folder}: its {what} make no record of {shape}")
    return Exported(records, shape, target)


def to_dataset(run: RunFolder, name: str) -> "Dataset":
    """Shape a run's triplets as a view, in memory."""
    from datasets import Dataset

    shape = check_shape(name)
    if shape not in VIEWS:
        raise SettingsError(f"{name}: a format of files: `export` writes it; {_known()}")
    blocks = [pl.read_parquet(path, glob=False) for path in _triplets(run)]
    views = [build_view(block, shape, negatives_of(run)) for block in blocks]
    return Dataset.from_polars(pl.concat(views))


def negatives_of(run: RunFolder) -> int:
    """Negatives that the run looked for, per query."""
    return run.mining.negatives


def check_shape(name: str) -> View | Format | ListFormat:
    """Return the view or format of this name, or raise SettingsError with the nearest one."""
    shapes = (*VIEWS, *FORMATS, *LIST_FORMATS)
    for shape in shapes:
        if name == shape:
            return shape
    close = get_close_matches(name.lower(), shapes, n=1, cutoff=0.5)
    hint = f"; did you mean `{close[0]}`?" if close else ""
    raise SettingsError(f"{name}: there is no such format{hint}\n{_known()}")


def _known() -> str:
    return (
        f"  for other trainers: {', '.join(FORMATS)}\n"
        f"  for sentence-transformers: {', '.join(VIEWS)}\n"
        f"  lists with a teacher's scores: {', '.join(LIST_FORMATS)}"
    )


def _triplets(run: RunFolder) -> list[Path]:
    """List the files of triplets, whole and in order."""
    if not sum(s.rows for s in run.manifest.shards if s.name.startswith("triplets/")):
        raise StoreError(f"{run.folder}: the run has no triplets; its shortfalls/ say why")
    return run.whole("triplets")


def _check_target(folder: Path, target: Path) -> None:
    if target.is_relative_to(folder):
        raise StoreError(
            f"{target}: lies in the run's own folder, which holds what the run wrote and is "
            "replaced as a whole; name another folder with --to"
        )


def _writer(
    run: RunFolder, shape: View | Format, folder: Path
) -> Callable[[int, pl.DataFrame], int]:
    if shape in FORMATS:
        return TrainerFiles(folder, shape, run.manifest.fingerprint).write_block

    def write(number: int, triplets: pl.DataFrame) -> int:
        rows = build_view(triplets, cast(View, shape), negatives_of(run))
        write_frame(rows, folder / shard_name(number))
        return len(rows)

    return write
