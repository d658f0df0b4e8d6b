"""A finished run's triplets in further shapes, without mining anew."""

from collections.abc import Callable
from difflib import get_close_matches
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, cast, get_args

import polars as pl

from polymine.data_contracts.errors import SettingsError, StoreError
from polymine.data_contracts.settings import Format, MiningSettings, View
from polymine.mining.export import build_view
from polymine.tasks.mining.trainer_formats import TrainerFiles
from polymine.tasks.runs.folder import RunFolder
from polymine.tasks.store.atomic import staged_new, write_frame
from polymine.tasks.store.datasets import shard_name

if TYPE_CHECKING:
    from datasets import Dataset

VIEWS: tuple[View, ...] = get_args(View)
FORMATS: tuple[Format, ...] = get_args(Format)


class Exported(NamedTuple):
    """What was written, and where."""

    records: int
    shape: str
    folder: Path

    def __str__(self) -> str:
        return f"{self.records:,} records of {self.shape} in {self.folder}"


def export(run: RunFolder, name: str, target: Path | None = None) -> Exported:
    """Write a run's triplets in one more shape into a new folder.

    One file of triplets is in memory at a time; each holds whole queries. A training view takes
    the number of negatives from the run. Raises SettingsError for an unknown shape, StoreError when
    the run is damaged or without triplets, and when `target` exists or lies inside it.
    """
    shape = check_shape(name)
    target = (target or run.folder.with_name(f"{run.folder.name}-{shape}")).expanduser().absolute()
    triplets = _triplets(run)
    _check_target(run.folder, target)
    with staged_new(target) as beside:
        write = _writer(run, shape, beside)
        records = sum(
            write(number, pl.read_parquet(path, glob=False)) for number, path in enumerate(triplets)
        )
        if not records:
            raise StoreError(f"{run.folder}: its triplets make no record of {shape}")
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
    return run.settings_of("mining", MiningSettings).negatives


def check_shape(name: str) -> View | Format:
    """Return the view or format of this name, or raise SettingsError with the nearest one."""
    for shape in (*VIEWS, *FORMATS):
        if name == shape:
            return shape
    close = get_close_matches(name.lower(), (*VIEWS, *FORMATS), n=1, cutoff=0.5)
    hint = f"; did you mean `{close[0]}`?" if close else ""
    raise SettingsError(f"{name}: there is no such format{hint}\n{_known()}")


def _known() -> str:
    return (
        f"  for other trainers: {', '.join(FORMATS)}\n"
        f"  for sentence-transformers: {', '.join(VIEWS)}"
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
