"""The folder of a result: whose it is, and put there whole."""

import json
import shutil
import uuid
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import polars as pl
from pydantic import BaseModel

from polymine.data_contracts.credentials import hide_credentials
from polymine.data_contracts.errors import StoreError
from polymine.data_contracts.references import Manifest
from polymine.data_contracts.settings import OutputSettings
from polymine.tasks.store.atomic import staged, write_frame
from polymine.tasks.store.manifests import MANIFEST, RUN, describe_shard, read_manifest
from polymine.tasks.store.usage import used_datasets

TRAINING, EVALUATION, PIPELINE, COMPARISON = "training", "evaluation", "pipeline", "comparison"
GAP = "language-gap"
_NAMES = {RUN: "run", TRAINING: "training run"}


def publish_folder(
    output: OutputSettings,
    files: Mapping[str, Path | str | bytes | pl.DataFrame],
    manifest: Mapping[str, Any],
    *,
    kind: str,
    run: str,
    rows: int = 0,
) -> Path:
    """Write a result's folder beside where it belongs and move it there.

    Args:
        files: name within the folder to the file it is a copy of, or to its content.
        manifest: content of `manifest.json` apart from the files.
        kind, run: what this is, and its fingerprint.
    """
    folder = Path(output.path).expanduser().absolute()
    check_output(output, run, kind=kind)
    with staged(folder) as beside:
        for name, source in files.items():
            if isinstance(source, Path):
                copy_file(source, beside / name)
            elif isinstance(source, pl.DataFrame):
                write_frame(source, beside / name)
            else:
                content = source.encode() if isinstance(source, str) else source
                (beside / name).parent.mkdir(parents=True, exist_ok=True)
                (beside / name).write_bytes(content)
        write_folder_manifest(beside, kind, run, rows, manifest)
        check_output(output, run, kind=kind)  # again: copying may have taken minutes
    return folder


def copy_file(source: Path, target: Path) -> None:
    """Copy a file; a copy and not a link, so that editing an output never damages the store."""
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(source, target)


def write_folder_manifest(
    folder: Path, kind: str, run: str, rows: int, manifest: Mapping[str, Any]
) -> None:
    """Write `manifest.json` over all files of a folder."""
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    content = Manifest(
        contract=kind,
        fingerprint=run,
        rows=rows,
        shards=tuple(describe_shard(path, folder) for path in files),
        info={**manifest, "datasets": used_datasets()},
    )
    (folder / MANIFEST).write_bytes(content.sealed())


def check_output(
    output: OutputSettings,
    run: str | None = None,
    settings: Mapping[str, BaseModel] | None = None,
    *,
    kind: str = RUN,
) -> None:
    """Refuse a folder that holds something else than this run's own earlier output.

    `output.overwrite` gives up another run, never files that no run has written, as a model that
    was trained into the folder. With `settings` given, by the names of their parts, another run is
    known by them before any work is done; the same settings over other data are refused at the end,
    by fingerprint. `kind` is what a manifest there has to say it is.
    """
    folder = Path(output.path).expanduser().absolute()
    if folder.is_file():
        raise StoreError(f"{folder}: a file is in the way; choose another `output.path`")
    if not folder.exists() or not any(folder.iterdir()):
        return
    held = read_manifest(folder)
    if held is None or held.contract != kind:
        raise StoreError(
            f"{folder}: holds files that are not a Polymine {_NAMES.get(kind, kind)}; choose "
            "another `output.path`"
        )
    if foreign := _foreign_files(folder, held):
        raise StoreError(
            f"{folder}: holds {len(foreign)} files that the run there has not written, such as "
            f"{foreign[0]}, and would be replaced as a whole; move them away, or choose another "
            "`output.path`"
        )
    difference = None
    if run is not None and held.fingerprint != run:
        difference = f"{held.fingerprint[:8]}, this one is {run[:8]}"
    difference = difference or describe_difference(held, settings or {})
    if difference and not output.overwrite:
        raise StoreError(
            f"{folder}: holds another run ({difference}); choose another `output.path`, or set "
            "`output.overwrite = true` to replace it"
        )


def describe_difference(held: Manifest, settings: Mapping[str, BaseModel]) -> str | None:
    """Name the first setting that is another one than the manifest says, with both values."""
    for part, asked in settings.items():
        before = held.info.get("settings", {}).get(part)
        if before is not None and (found := _differing(before, without_passwords(asked), part)):
            return found
    return None


def without_passwords(settings: BaseModel) -> dict[str, Any]:
    """Dump settings for all to read: addresses keep neither users and passwords nor queries."""
    shown: dict[str, Any] = _hidden(json.loads(settings.model_dump_json()))
    return shown


def _hidden(value: Any) -> Any:
    """Hide credentials in every text within; not in the JSON, where a quote ends no address."""
    if isinstance(value, dict):
        return {key: _hidden(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_hidden(item) for item in value]
    return hide_credentials(value) if isinstance(value, str) else value


def _differing(before: Any, asked: Any, name: str) -> str | None:
    """Name the first setting that differs, with both values."""
    if isinstance(before, dict) and isinstance(asked, dict):
        keys = [key for key in asked if before.get(key) != asked[key]]
        return (
            _differing(before.get(keys[0]), asked[keys[0]], f"{name}.{keys[0]}") if keys else None
        )
    return f"{name} is {before!r:.60}, this one's is {asked!r:.60}" if before != asked else None


def _foreign_files(folder: Path, held: Manifest) -> list[str]:
    """Name the files of an output folder that its manifest does not."""
    written = {MANIFEST, *(shard.name for shard in held.shards)}
    files = (path for path in sorted(folder.rglob("*")) if path.is_symlink() or not path.is_dir())
    files = (path for path in files if path.name != ".DS_Store")  # Finder's, made by looking
    return [name for path in files if (name := path.relative_to(folder).as_posix()) not in written]


def resolve_path(output: OutputSettings) -> OutputSettings:
    """Put the flow run's day and id in the stead of `{date}` and `{run}` in `output.path`.

    The day is the one the run was scheduled for, in UTC, not the one it started on: a run that is
    retried after midnight, or has waited for its turn, keeps its folder. Call it in a flow.
    """
    if "{" not in output.path:
        return output
    from prefect.runtime import flow_run

    day = f"{flow_run.scheduled_start_time or datetime.now(UTC):%Y-%m-%d}"
    run = str(flow_run.id or uuid.uuid4())[:8]  # outside a flow, in a notebook, there is no id
    path = output.path.replace("{date}", day).replace("{run}", run)
    return output.model_copy(update={"path": path})
