"""A finished run's tables, or its trained adapters, to a repository on the Hugging Face hub."""

import json
import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from polymine.data_contracts.errors import StoreError
from polymine.models.failures import first_line
from polymine.tasks.runs.folder import RunFolder
from polymine.tasks.store.manifests import damaged_shards, read_manifest
from polymine.tasks.store.model_folder import ABOUT, find_model

if TYPE_CHECKING:
    from huggingface_hub import CommitOperationAdd

MANIFEST = "manifest.json"
TEXTS = {".md", ".html", ".json"}
HERE = "path/to/this/folder"  # what a data set's card calls its own folder


def push_run(run: RunFolder, repository: str, *, private: bool = True) -> str:
    """Push what a mining run gave as a data set; returns its address. See `push`."""
    if damaged := damaged_shards(run.folder, run.manifest.shards):
        raise StoreError(f"{run.folder / damaged[0]}: missing or not as the run wrote it")
    names = [shard.name for shard in run.manifest.shards] + [MANIFEST]
    files = {name: run.folder / name for name in names}
    return _push(files, run.manifest.info, repository, "dataset", private)


def push(folder: Path, repository: str, *, private: bool = True) -> str:
    """Push the adapters that a training run made, or else what a mining run gave.

    Both go with their card. Paths of this machine that stand in the settings are cut down to the
    name of the file in cards, reports and manifests; tables go as they are.

    Args:
        folder: of a training run, or of its model; of a mining run or a pipeline. Of a pipeline
            the model is taken: name its `mining` folder for the triplets.
        repository: `organisation/name`; made if it is not there.
        private: whether a new one can be seen by its organisation alone.

    Returns:
        The repository's address.

    Raises:
        StoreError: not a finished run, a damaged one, or a hub that cannot be reached or refuses.
    """
    found = find_model(str(folder))
    if found is None:
        return push_run(RunFolder(folder), repository, private=private)
    model = Path(found[0])
    files = {str(p.relative_to(model)): p for p in sorted(model.rglob("*")) if p.is_file()}
    manifest = read_manifest(folder) or read_manifest(model.parent)
    return _push(files, manifest.info if manifest else {}, repository, "model", private)


def _push(files: dict[str, Path], info: Any, repository: str, kind: str, private: bool) -> str:
    """Send files in one commit, so that a repository never holds half a run."""
    from huggingface_hub import HfApi, errors

    refusals = (OSError, errors.HTTPError, errors.HfUriError, errors.HFValidationError)  # type: ignore[attr-defined]
    paths = sorted(set(_named_in(info, files.values())), key=len, reverse=True)
    operations = [_operation(name, path, paths, repository) for name, path in files.items()]
    hub = HfApi(library_name="polymine")
    try:
        address = hub.create_repo(repository, repo_type=kind, private=private, exist_ok=True)
        hub.create_commit(
            repository, operations, repo_type=kind, commit_message="Upload with Polymine"
        )
    except refusals as error:
        said = first_line(error)
        raise StoreError(
            f"{repository}: the hub did not take it ({said}). A token that may write is read from "
            "HF_TOKEN or from `hf auth login`; HF_ENDPOINT names another hub"
        ) from error
    return str(address)


def _operation(name: str, path: Path, paths: list[str], repository: str) -> "CommitOperationAdd":
    from huggingface_hub import CommitOperationAdd

    if path.suffix not in TEXTS:
        return CommitOperationAdd(name, path)
    text = path.read_text(encoding="utf-8").replace(HERE, repository)
    for known in paths:
        for written in (known, known.replace("\\", "\\\\")):  # as it is, and as JSON writes it
            text = text.replace(written, re.split(r"[\\/]", known)[-1])
    if path.name == MANIFEST:  # its seal is that of the file before
        text = json.dumps({k: v for k, v in json.loads(text).items() if k != "seal"}, indent=1)
    return CommitOperationAdd(name, text.encode())


def _named_in(info: Any, files: Iterable[Path]) -> Iterator[str]:
    """Walk the paths in a run's settings and sources, and in what describes a model.

    Texts of the data may begin like paths: they stand in other parts of a manifest.
    """
    yield from absolute_paths([info.get("settings"), info.get("sources")])
    for path in files:
        if path.name in (ABOUT, "adapter_config.json"):
            yield from absolute_paths(json.loads(path.read_text(encoding="utf-8")))


def absolute_paths(info: Any) -> Iterator[str]:
    """Walk the absolute paths in the values of something read from JSON."""
    if isinstance(info, str):
        if re.match(r"(/[^/]|[A-Za-z]:\\|~/|file:/)\S", info) and "\n" not in info:
            yield info.rstrip("/\\")
    elif isinstance(info, dict):
        yield from absolute_paths([*info, *info.values()])
    elif isinstance(info, (list, tuple)):
        for each in info:
            yield from absolute_paths(each)
