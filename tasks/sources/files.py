"""Finds the files behind a source and brings them onto this machine.

A source is a file, a folder, or a URL that fsspec knows; `hf://datasets/ORG/NAME[@REVISION][/PATH]`
goes through the hub's cache, so that a second run needs no network. Whatever is remote is fetched
before anything looks at it: the same bytes are then fingerprinted and read.
A dataset of a remote store is checked by its checksums on the way.
"""

import logging
import re
import tempfile
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from glob import escape
from pathlib import Path
from urllib.parse import unquote

import xxhash

from polymine.data_contracts.errors import InputError
from polymine.models.failures import first_line
from polymine.reading.files import NAMED, SUFFIXES, suffix_of
from polymine.reading.roles import FILE_NAMES
from polymine.tasks.store.datasets import is_dataset, open_folder

_HUB = re.compile(r"hf://datasets/([^/@]+/[^/@]+)(?:@([^/]+))?(?:/(.*))?")
_SHARD = re.compile(r"(?:-|(?<=/))\d+-of-(\d+)(?=[-.])")  # also `-HASH.parquet`, `00000-of-2.`
_CHUNK = 1 << 20  # bytes hashed at a time
# What is read beside a file that settings name; `allowed_roots` sees where it leads.
SIDE_TABLES = ("translations", "query_translations", "splits")
SPLITS = frozenset(("train", "training", "dev", "valid", "val", "validation", "eval", "test"))

logger = logging.getLogger("polymine.sources")


@dataclass(frozen=True)
class SourceFile:
    """One file of a source.

    Args:
        name: what errors call it.
        path: where it lies on this machine.
        role: `corpus` of `corpus.jsonl`, `corpus/a.parquet` and `corpus-00000-of-00002.parquet`.
        folder: where side tables that belong to it may lie.
        part: which of several collections in a folder it belongs to, as `android` of CQADupStack.
        split: which part of a data set for training and testing, by the name of a file or folder.
    """

    name: str
    path: Path
    role: str
    folder: Path | None
    part: str = ""
    split: str = ""


@contextmanager
def fetch(source: str) -> Iterator[list[SourceFile]]:
    """Bring a source onto this machine for as long as the context lasts, and list its files.

    The files of a folder are sorted by path. Raises InputError if there is nothing to read.
    """
    if source.startswith("hf://"):
        yield _listed(source, _hub_path(source))
    elif is_dataset(source):
        yield _listed(source, open_folder(source))
    elif "://" in source:
        with tempfile.TemporaryDirectory(prefix="polymine-") as folder:
            yield _listed(source, _remote_path(source, Path(folder)))
    else:
        yield _local(source)


def side_table(file: SourceFile, role: str) -> Path | None:
    """A file named for `role`, one of SIDE_TABLES, in the folder that `file` belongs to."""
    assert role in SIDE_TABLES, role
    if file.folder is None:
        return None
    found = sorted(path for path in file.folder.glob(f"{role}.*") if suffix_of(path))
    return found[0] if found else None


def digest(path: Path) -> str:
    """Hash of a file's bytes (xxh3, 128 bit)."""
    state = xxhash.xxh3_128()
    with path.open("rb") as stream:
        while chunk := stream.read(_CHUNK):
            state.update(chunk)
    return state.hexdigest()


def _hub_path(source: str) -> Path:
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import EntryNotFoundError

    match = _HUB.fullmatch(source.rstrip("/"))
    if match is None:
        raise InputError(f"{source}: expected `hf://datasets/ORG/NAME[@REVISION][/PATH]`")
    repository, revision, path = match[1], unquote(match[2] or "") or None, match[3] or ""
    patterns = [path] if suffix_of(Path(path)) else [f"{path}*{suffix}*" for suffix in SUFFIXES]
    try:
        folder = snapshot_download(
            repository, repo_type="dataset", revision=revision, allow_patterns=patterns
        )
    except (OSError, ValueError, EntryNotFoundError) as error:  # network errors are OSErrors
        reason = first_line(error)
        raise InputError(f"{source}: cannot be fetched from the hub: {reason}") from error
    return Path(folder) / path


def _local(source: str) -> list[SourceFile]:
    try:
        return _listed(source, Path(source).expanduser())
    except (OSError, RuntimeError, ValueError) as error:  # too long a name, links in a circle
        raise InputError(f"{source:.200}: cannot be opened: {error!s:.200}") from error


def _remote_path(source: str, folder: Path) -> Path:
    import fsspec

    try:
        filesystem, path = fsspec.url_to_fs(source)
        target = folder / (Path(path).name.strip(".") or "source")
        many = filesystem.isdir(path)
        # A name such as `a/../../b` is legal in a bucket, and would be written beside the folder.
        if many and any(".." in found.split("/") for found in filesystem.find(path)):
            raise InputError(f"{source}: holds files with `..` in their names; rename them")
        filesystem.get(path, str(target), recursive=many)
    except InputError:
        raise
    except Exception as error:  # each file system has its own, beside OSError
        what = str(error) or type(error).__name__
        raise InputError(f"{source}: cannot be fetched: {what:.500}") from error
    return target


def _listed(source: str, path: Path) -> list[SourceFile]:
    if path.is_file():
        if not suffix_of(path):
            raise InputError(f"{source}: cannot tell the format; known are {', '.join(SUFFIXES)}")
        folder = None if "://" in source else path.parent
        return [SourceFile(source, path, _role(path.name), folder)]
    if not path.is_dir() and (shards := _shards(source, path)):
        return shards
    if not path.is_dir():
        where = "" if "://" in source else f" (looked for {path.absolute()})"
        raise InputError(f"{source}: there is no such file or folder{where}")
    files = []
    for found in sorted(path.rglob("*")):
        inside = found.relative_to(path)
        if not found.is_file() or any(part.startswith((".", "_")) for part in inside.parts):
            continue
        roles = [_role(part) for part in inside.parts]
        place = next((n for n, role in enumerate(roles) if role in FILE_NAMES), 0)
        if found.name.startswith("cache-") and (found.parent / "state.json").exists():
            continue  # what `datasets` has computed from a folder of `save_to_disk`
        suffix = suffix_of(found)
        if suffix and (suffix not in NAMED or roles[place] in FILE_NAMES):
            name = f"{source.rstrip('/')}/{inside.as_posix()}"
            part = "/".join(inside.parts[:place])
            split = next(filter(None, map(_split, inside.parts)), "")
            files.append(SourceFile(name, found, roles[place], path / part, part, split))
    _check_shards(source, [file.path for file in files])
    if not files:
        raise InputError(f"{source}: the folder holds none of {', '.join(SUFFIXES)}")
    return _parted(source, files)


def _shards(source: str, path: Path) -> list[SourceFile]:
    """The files `train-00000-of-00002.parquet` ... of a name without its number, as the hub's."""
    found = sorted(
        each for each in path.parent.glob(f"{escape(path.name)}-[0-9]*") if suffix_of(each)
    )
    _check_shards(source, found)
    names = [source + each.name.removeprefix(path.name) for each in found]
    return [SourceFile(name, each, _role(path.name), None)
            for name, each in zip(names, found, strict=True)]  # fmt: skip


def _check_shards(source: str, paths: Sequence[Path]) -> None:
    """Raise InputError where `train-00000-of-00003.parquet` and the third are there alone."""
    there = Counter(
        (f"{path}"[: shard.start()], int(shard[1]))
        for path in paths
        if (shard := _SHARD.search(f"{path}"))
    )
    for (start, wanted), count in there.items():
        if count < wanted:
            raise InputError(
                f"{source}: of {wanted} files {Path(start).name}-* {count} are there; fetch the "
                "others, too"
            )


def _parted(source: str, files: list[SourceFile]) -> list[SourceFile]:
    """Keep the parts of a folder of collections; a part that has no corpus of its own is none."""
    found = defaultdict[str, set[str]](set)
    for file in files:
        found[file.part].add(file.role)
    roles = dict(found)
    needed = {"corpus", "queries", "qrels"}
    stray = {part for part, each in roles.items() if not each & FILE_NAMES}
    if any(needed <= each for each in roles.values()):  # what else lies there is no collection
        roles = {part: each for part, each in roles.items() if part not in stray}
        files = [file for file in files if file.part in roles]
    apart = len(roles) > 1 and all(needed <= each for each in roles.values())
    several = [part for part, each in roles.items() if len(each & needed) > 1]
    if not apart and len(several) > 1:
        part = min(part for part, each in roles.items() if not needed <= each)
        raise InputError(
            f"{source}: holds {len(several)} collections, and {part or 'the folder itself'} lacks "
            f"{' and '.join(sorted(needed - roles[part]))}; add it, or name a folder that is whole"
        )
    if apart:
        logger.info(
            "%s: holds %d collections (%s ...), whose documents are one pool; name one folder to "
            "have it alone",
            source, len(roles), min(roles),
        )  # fmt: skip
    return files if apart else [replace(file, part="") for file in files]


def _split(name: str) -> str:
    words = re.split(r"[-_.\d]+", name.lower())
    return next((word for word in words if word in SPLITS), "")


def _role(name: str) -> str:
    return re.sub(r"-\d.*$", "", name.split(".")[0]).lower()
