"""A finished run's folder, opened again: its triplets in further shapes, without mining anew."""

from collections.abc import Callable
from difflib import get_close_matches
from functools import partial
from pathlib import Path
from typing import cast, get_args

import polars as pl

from polymine.data_contracts.errors import SettingsError, StoreError
from polymine.data_contracts.references import Manifest, Shard
from polymine.data_contracts.settings import Format, View
from polymine.mining.export import build_view
from polymine.tasks.mining.trainer_formats import TrainerFiles
from polymine.tasks.store.atomic import staged
from polymine.tasks.store.datasets import (
    RUN,
    damaged_shards,
    read_manifest,
    shard_name,
    write_frame,
)

VIEWS: tuple[View, ...] = get_args(View)
FORMATS: tuple[Format, ...] = get_args(Format)


def check_shape(name: str) -> View | Format:
    """Return the view or format of this name, or raise SettingsError with the nearest one."""
    for shape in (*VIEWS, *FORMATS):
        if name == shape:
            return shape
    close = get_close_matches(name.lower(), (*VIEWS, *FORMATS), n=1, cutoff=0.5)
    hint = f"; did you mean `{close[0]}`?" if close else ""
    raise SettingsError(
        f"{name}: there is no such format{hint}\n"
        f"  for other trainers: {', '.join(FORMATS)}\n"
        f"  for sentence-transformers: {', '.join(VIEWS)}"
    )


def beside_run(folder: Path, shape: View | Format) -> Path:
    """Name the place of a shape that was given none: not in the run, which is replaced whole."""
    return folder.with_name(f"{folder.name}-{shape}")


def export_run(folder: Path, shape: View | Format, target: Path) -> int:
    """Write a run's triplets in one more shape into a new folder; return how many records.

    One file of triplets is in memory at a time; each holds whole queries. A training view takes
    the number of negatives from the run. Raises StoreError when `folder` holds no run, a damaged
    one or one without triplets, and when `target` exists or lies inside it.
    """
    manifest = open_run(folder)
    triplets = _check_triplets(folder, manifest)
    _check_target(folder, target)
    with staged(target) as beside:
        write = _writer(shape, beside, manifest)
        records = sum(
            write(number, pl.read_parquet(folder / shard.name, glob=False))
            for number, shard in enumerate(triplets)
        )
        if not records:
            raise StoreError(f"{folder}: its triplets make no record of {shape}")
    return records


def open_run(folder: Path) -> Manifest:
    """Read the manifest of a finished run's folder; raise StoreError where there is none."""
    if not folder.is_dir():
        raise StoreError(f"{folder}: there is no such folder; name one that a run has written")
    manifest = read_manifest(folder)
    if manifest is None or manifest.contract != RUN:
        raise StoreError(
            f"{folder}: not the folder of a finished run, whose manifest.json says so; name the "
            "`output.path` of a run"
        )
    return manifest


def _check_triplets(folder: Path, manifest: Manifest) -> list[Shard]:
    """List the files of triplets, whole and in order."""
    shards = [shard for shard in manifest.shards if shard.name.startswith("triplets/")]
    if damaged := damaged_shards(folder, manifest.model_copy(update={"shards": tuple(shards)})):
        raise StoreError(
            f"{folder / damaged[0]}: missing or not as the run wrote it; run again with the same "
            "settings into another folder, which reuses what was mined"
        )
    if not sum(shard.rows for shard in shards):
        raise StoreError(f"{folder}: the run has no triplets; its shortfalls/ say why")
    return sorted(shards, key=lambda shard: shard.name)


def _check_target(folder: Path, target: Path) -> None:
    if target.exists() or target.is_symlink():
        raise StoreError(f"{target}: already there; remove it, or name another place with --to")
    if target.is_relative_to(folder):
        raise StoreError(
            f"{target}: lies in the run's own folder, which holds what the run wrote and is "
            "replaced as a whole; name another place with --to"
        )


def _writer(
    shape: View | Format, folder: Path, manifest: Manifest
) -> Callable[[int, pl.DataFrame], int]:
    if shape in FORMATS:
        return TrainerFiles(folder, shape, manifest.fingerprint).write_block
    negatives = int(manifest.info["settings"]["mining"]["negatives"])
    return partial(_write_view, folder, cast(View, shape), negatives)


def _write_view(
    folder: Path, view: View, negatives: int, number: int, triplets: pl.DataFrame
) -> int:
    rows = build_view(triplets, view, negatives)
    write_frame(rows, folder / shard_name(number))
    return len(rows)
