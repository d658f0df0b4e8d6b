"""Keeps what settings name within the folders and addresses that a machine lets runs use.

A deployment takes its settings from whoever may start it. `POLYMINE_ROOTS` in the environment of
the process that works, not in any setting, lists what they may name: folders, beginnings of
addresses, and Ray clusters as `ray://host:port`, separated as PATH is. Unset, as on one's own
machine, everything may be named.

`POLYMINE_TRUSTED_CODE` lists, by commas, the models whose own code may run then.
"""

import os
import posixpath
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from itertools import chain
from pathlib import Path
from urllib.parse import unquote

from pydantic import BaseModel

from polymine.data_contracts.errors import SettingsError
from polymine.data_contracts.settings import EngineSettings, EvaluationSettings, OutputSettings
from polymine.data_contracts.settings.locations import Named, check_locations, locations_in
from polymine.tasks.sources.files import SIDE_TABLES
from polymine.tasks.store.home import home_path

ROOTS, TRUSTED = "POLYMINE_ROOTS", "POLYMINE_TRUSTED_CODE"
# A colon parts two roots only where the next one begins: not in `s3://`, not before a port.
_BETWEEN = re.compile(r":(?!//)(?=[/~]|[A-Za-z][A-Za-z0-9+.-]*://)") if os.pathsep == ":" else ";"
_NO_TABLES = ("mined", "demo:docstrings")  # what a source may be besides a place


@dataclass(frozen=True)
class Roots:
    """What may be named: folders, with all links followed, and beginnings of addresses."""

    folders: tuple[Path, ...]
    addresses: tuple[str, ...]
    text: str

    @classmethod
    def read(cls, text: str) -> "Roots":
        """Read a list; SettingsError for an entry that is neither."""
        folders, addresses = [], []
        for entry in filter(None, map(str.strip, re.split(_BETWEEN, text))):
            path = Path(entry).expanduser()
            if "://" in entry and (address := _normal(entry)):
                addresses.append(address)
            elif "://" not in entry and path.is_absolute():
                folders.append(path.resolve())
            else:
                raise SettingsError(
                    f"{ROOTS}: `{entry}` is neither a whole path nor an address such as "
                    "`s3://bucket/team/`"
                )
        return cls(tuple(folders), tuple(addresses), text)

    def hold(self, named: Named) -> bool:
        """Whether a place lies within one of the roots, whatever `..` and links lead to it."""
        value = named.value
        if named.kind == "address":  # of a cluster, `host:port`: listed to the letter
            return _normal(value if "://" in value else f"ray://{value}") in self.addresses
        if "://" not in value:
            return any(_within(Path(value), root) for root in self.folders)
        address = _normal(value)
        return address is not None and any(
            address == root or address.startswith((f"{root}/", *_revision(root)))
            for root in self.addresses
        )

    def check(self, named: Named) -> None:
        """Raise SettingsError for a place outside, or one with a link that leads outside."""
        if named.trusts_code and not _is_trusted(named.value):
            raise SettingsError(
                f"{named.key}: `trust_remote_code` runs the code that comes with `{named.value}`, "
                "which this machine lets no run do; whoever runs it may name the model in "
                f"{TRUSTED}"
            )
        readable = named.kind in ("table", "model", "store")
        # This machine's own store was chosen by no setting.
        if not _is_place(named) or (readable and _within(Path(named.value), home_path() / "store")):
            return
        if not self.hold(named):
            raise SettingsError(
                f"{named.key}: `{named.value}` lies outside of what this machine lets runs use "
                f"({ROOTS}={self.text}); name a place within, or let whoever runs it add one"
            )
        for link in _links(named):
            if not any(_within(link, root) for root in self.folders):
                raise SettingsError(
                    f"{named.key}: `{link}` is a link to a place outside of what this machine lets "
                    f"runs use ({ROOTS}={self.text}); put a copy in its stead"
                )


def check_roots(**parts: BaseModel) -> None:
    """Refuse settings that name what this machine lets no run use; the first thing a flow does.

    `parts` are the sections of the settings by their names. Nothing is opened. Always refused: an
    address that holds a password, and an output within the store or around it. Raises
    SettingsError naming the key.
    """
    for name, part in parts.items():
        check_locations(part, name)
    _check_apart(parts)
    for name, part in parts.items():
        # What is measured may be a trained model: whose code that runs, its folder says, and is
        # checked where that is opened (`polymine.tasks.evaluation.encoding`).
        later = isinstance(part, EvaluationSettings)
        check_named(
            replace(named, trusts_code=named.trusts_code and not later)
            for named in locations_in(part, name)
        )


def check_named(places: Iterable[Named]) -> None:
    """Refuse what this machine lets no run use, whoever names it; SettingsError with the key."""
    if text := os.environ.get(ROOTS, "").strip():
        roots = Roots.read(text)
        for named in places:
            roots.check(named)


def _is_trusted(model: str) -> bool:
    """Whether a model is listed; a folder is, however it is written."""

    def whole(name: str) -> str:
        path = os.path.expanduser(name)
        return os.path.realpath(path) if os.path.isdir(path) else name

    names = filter(None, map(str.strip, os.environ.get(TRUSTED, "").split(",")))
    return whole(model) in map(whole, names)


def _is_place(named: Named) -> bool:
    """Whether a value names a place at all: a model may be one of the hub, or an earlier step."""
    value = named.value
    if named.kind == "table":
        return value not in _NO_TABLES
    if named.kind != "model":
        return True
    if value.startswith("package:"):
        return False
    looks = value.startswith((".", "/", "~")) or "\\" in value or value.count("/") > 1
    return looks or ":" in value or ".." in value or os.path.lexists(value)


def _links(named: Named) -> Iterator[Path]:
    """Links that are read with a table: all below a folder, side tables beside a file."""
    if named.kind != "table" or "://" in named.value:
        return
    path = Path(named.value).expanduser()
    beside = (path.parent.glob(f"{role}.*") for role in SIDE_TABLES)
    found = path.rglob("*") if path.is_dir() else chain.from_iterable(beside)
    yield from filter(Path.is_symlink, found)


def _check_apart(parts: dict[str, BaseModel]) -> None:
    """Refuse an output in the store, or around it: the one is replaced whole, the other shared."""
    output, engine = parts.get("output"), parts.get("engine")
    if not isinstance(output, OutputSettings) or not isinstance(engine, EngineSettings):
        return
    folder, store = Path(output.path), Path(engine.store or home_path() / "store")
    if "://" in output.path or "://" in (engine.store or ""):
        return
    if _within(folder, store) or _within(store, folder):
        raise SettingsError(
            f"output.path: `{output.path}` and the store ({store}) lie in one another; choose a "
            "folder beside it"
        )


def _within(path: Path, folder: Path) -> bool:
    """Whether a path leads into a folder, with links followed."""
    try:
        return path.expanduser().resolve().is_relative_to(folder.expanduser().resolve())
    except (OSError, RuntimeError, ValueError):  # links in a circle, a NUL in the name
        return False


def _normal(address: str) -> str | None:
    """Write an address in one way; None where what it leads to is not plain to see."""
    scheme, _, rest = address.partition("://")
    scheme = scheme.lower()
    seen = unquote(unquote(rest)).replace("\\", "/")
    if not scheme.isalnum() or scheme in ("file", "local") or "://" in seen or "::" in address:
        return None
    if ".." in seen.split("/") or not rest.strip("/"):
        return None
    return f"{scheme}://{posixpath.normpath(rest).strip('/')}"


def _revision(root: str) -> tuple[str, ...]:
    """`hf://datasets/ORG/NAME` covers `...NAME@REVISION`, too."""
    return (f"{root}@",) if root.startswith("hf://") else ()
