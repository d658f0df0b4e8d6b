"""Outputs that hold those of several flows: a folder per part, a page over all of them."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from polymine.data_contracts.errors import SettingsError, StoreError
from polymine.data_contracts.references import DatasetRef, Manifest
from polymine.data_contracts.settings import (
    HELD_OUT,
    EncoderSettings,
    EvaluatedModel,
    EvaluationSettings,
    OutputSettings,
)
from polymine.tasks.evaluation.encoding import as_measured, check_candidates
from polymine.tasks.store.atomic import write_bytes
from polymine.tasks.store.manifests import MANIFEST, describe_shard, read_manifest
from polymine.tasks.store.output import describe_difference
from polymine.tasks.store.usage import used_datasets
from polymine.tasks.training.split import as_set


def part_of(output: OutputSettings, part: str) -> OutputSettings:
    """Give one part its folder."""
    return output.model_copy(update={"path": str(Path(output.path).expanduser() / part)})


def check_parts(
    output: OutputSettings, kind: str, parts: Sequence[str], settings: Mapping[str, BaseModel]
) -> None:
    """Refuse a folder that holds something else than this kind of output.

    Parts of an interrupted run may lie there; each is checked again where it is written.
    """
    folder = Path(output.path).expanduser().absolute()
    if folder.is_file():
        raise StoreError(f"{folder}: a file is in the way; choose another `output.path`")
    if not folder.exists() or not any(folder.iterdir()):
        return
    held = read_manifest(folder)
    known = {MANIFEST, "report.html", *parts}
    foreign = sorted(p.name for p in folder.iterdir() if p.name not in known and p.name[0] != ".")
    if (held is not None and held.contract != kind) or foreign:
        what = f"such as {foreign[0]}" if foreign else f"of a {held.contract if held else ''} run"
        raise StoreError(
            f"{folder}: holds files {what} that no {kind} has written; choose another `output.path`"
        )
    difference = describe_difference(held, settings) if held else None
    if difference and not output.overwrite:
        raise StoreError(
            f"{folder}: holds another {kind} ({difference}); choose another `output.path`, or set "
            "`output.overwrite = true` to replace it"
        )


def publish_parts(
    output: OutputSettings, kind: str, run: str, pages: Mapping[str, str], info: Mapping[str, Any]
) -> Path:
    """Write the pages over the parts, and the manifest last."""
    folder = Path(output.path).expanduser().absolute()
    for name, content in pages.items():
        write_bytes(folder / name, content.encode())
    manifest = Manifest(
        contract=kind,
        fingerprint=run,
        rows=0,
        shards=tuple(describe_shard(folder / name, folder) for name in pages),
        info={**info, "datasets": used_datasets()},
    )
    write_bytes(folder / MANIFEST, manifest.sealed())
    return folder


def check_evaluation(evaluation: EvaluationSettings, base: EncoderSettings) -> None:
    """Refuse an evaluation that would end a pipeline with nothing, or with a missing model.

    `base` is what the pipeline trains, and measures against if the settings name no other.
    """
    if not evaluation.held_out and not evaluation.sets:
        raise SettingsError(
            "evaluation: nothing is held out and no set is named; set `held_out`, as 0.1, or name "
            "`sets` to measure on"
        )
    check_candidates(evaluation.model_copy(update={"base": evaluation.base or base}))


def with_held_out(evaluation: EvaluationSettings, held: DatasetRef | None) -> EvaluationSettings:
    """Put what was held out first among the sets."""
    if held is None:
        return evaluation
    return evaluation.model_copy(update={"sets": (as_set(HELD_OUT, held), *evaluation.sets)})


def with_trained(
    evaluation: EvaluationSettings, folders: Mapping[str, Path], base: EncoderSettings
) -> EvaluationSettings:
    """Put what was trained first among the models, by name; each is called as the base is."""
    call = as_measured(base, evaluation).model_dump()
    models = [
        EvaluatedModel(name=name, **call | {"model": str(folder)})
        for name, folder in folders.items()
    ]
    return evaluation.model_copy(update={"models": (*models, *evaluation.models)})


def refresh_card(folder: Path, card: str) -> None:
    """Write a model's card anew, now that it was measured, and its checksum into the manifest."""
    name = "model/README.md"
    write_bytes(folder / name, card.encode())
    manifest = read_manifest(folder)
    assert manifest is not None
    fresh = describe_shard(folder / name, folder)
    shards = tuple(fresh if shard.name == name else shard for shard in manifest.shards)
    changed = manifest.model_copy(update={"shards": shards})
    write_bytes(folder / MANIFEST, changed.sealed())


def read_info(folder: Path) -> dict[str, Any]:
    """Read what the manifest of a part says."""
    manifest = read_manifest(folder)
    assert manifest is not None, f"{folder} was written a moment ago"
    return manifest.info
