"""References and manifests: what tasks hand to each other instead of frames."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import xxhash
from pydantic import BaseModel, ConfigDict
from pydantic_core import from_json, to_json


@dataclass(frozen=True)
class DatasetRef:
    """A finished dataset: a folder with shards and a manifest.

    Args:
        path: the folder.
        contract: name of the table schema its rows obey.
        rows: how many there are.
        fingerprint: of everything the content depends on; equal fingerprints, equal content.
        reused: whether this run found it instead of making it.
        seconds: how long this run spent on it.
    """

    path: str
    contract: str
    rows: int
    fingerprint: str
    reused: bool = False
    seconds: float = 0.0


@dataclass(frozen=True)
class CollectionRef:
    """The ingested tables of one data set."""

    documents: DatasetRef
    queries: DatasetRef
    judgments: DatasetRef
    labels: DatasetRef
    closure: DatasetRef
    copies: DatasetRef
    rejected: DatasetRef
    given: DatasetRef
    versions: DatasetRef
    fingerprint: str
    reused: bool = False
    seconds: float = 0.0

    @property
    def rows(self) -> int:
        """Documents and queries together."""
        return self.documents.rows + self.queries.rows


class Shard(BaseModel):
    """One file of a dataset with its row count and checksum (xxh3, 128 bit)."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    rows: int
    checksum: str


class Manifest(BaseModel):
    """The last file written into a dataset's folder; without it there is no dataset."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    contract: str
    fingerprint: str
    rows: int
    shards: tuple[Shard, ...]
    inputs: dict[str, str] = {}
    info: dict[str, Any] = {}

    def sealed(self) -> bytes:
        """Return it as JSON, with a checksum of all of it as `seal`."""
        content = from_json(self.model_dump_json())
        return to_json({**content, "seal": fingerprint(**content)}, indent=1)

    @classmethod
    def unsealed(cls, text: bytes) -> "Manifest":
        """Read what `sealed` wrote, or a manifest without a seal.

        Raises ValueError for anything else, such as a manifest of which one byte was altered.
        """
        content = from_json(text)
        seal = content.pop("seal", None) if isinstance(content, dict) else None
        if seal is not None and seal != fingerprint(**content):
            raise ValueError("the manifest differs from its checksum")
        return cls.model_validate(content)


def fingerprint(**parts: Any) -> str:
    """Hash named parts (settings, versions, references) into 32 hex digits.

    A reference counts by its own fingerprint, wherever it lies. Order of the names does not matter;
    order inside lists does.
    """
    return xxhash.xxh3_128_hexdigest(_canonical(parts))


def _canonical(value: Any) -> bytes:
    if isinstance(value, (DatasetRef, CollectionRef)):
        value = value.fingerprint
    if isinstance(value, BaseModel):
        value = value.model_dump(mode="json")
    if isinstance(value, Mapping):
        pairs = (to_json(str(key)) + b":" + _canonical(value[key]) for key in sorted(value))
        return b"{" + b",".join(pairs) + b"}"
    if isinstance(value, (list, tuple)):
        return b"[" + b",".join(map(_canonical, value)) + b"]"
    return to_json(value)
