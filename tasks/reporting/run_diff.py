"""Two finished runs' folders side by side: what became of the negatives, and what was different.

Everything is read from the folders: the store may be gone.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl
from pydantic import ValidationError

from polymine.data_contracts.errors import InputError, StoreError
from polymine.data_contracts.references import Manifest
from polymine.data_contracts.settings import MiningSettings
from polymine.data_contracts.tables import DocumentHashes, QueryHashes
from polymine.mining.diff import KEYS, RunTables, compare
from polymine.mining.selection import compute_ceilings
from polymine.tasks.mining.run_folder import open_run
from polymine.tasks.reporting.inspection import find_nearest
from polymine.tasks.store.atomic import staged
from polymine.tasks.store.datasets import read_manifest, write_bytes, write_frame
from polymine.tasks.store.output import PIPELINE

PARTS = ("dataset", "mining")  # of the settings: what decides the result
Differences = list[tuple[str, Any, Any]]


@dataclass(frozen=True)
class RunDiff:
    """What two runs differ in.

    Args:
        before, after: their folders.
        changes: contract Changes.
        settings: name, value before and after of every setting of the data set and of mining that
            differs.
        stages: stages by what became of their results: `same`, `other`, or in one run only.
        reused: stages that the later run did not make itself.
        versions: as `settings`, of the libraries.
        choices: price and highest risk of each run, of the rule `risk`.
        kept: negatives that both runs have, with the same text and position.
    """

    before: Path
    after: Path
    changes: pl.DataFrame
    settings: Differences
    stages: dict[str, list[str]]
    reused: list[str]
    versions: Differences
    choices: tuple[dict[str, float] | None, dict[str, float] | None]
    kept: int


def diff_runs(before: Path, after: Path, query_id: str | None = None) -> RunDiff:
    """Compare two runs, or what they did for one query.

    Raises StoreError when a folder holds no mining run, a damaged one or one that an earlier
    version wrote, InputError for a query that neither has.
    """
    runs = [_Run(folder, query_id) for folder in (before, after)]
    if query_id is not None and not any(len(run.tables.queries) for run in runs):
        raise InputError(_unknown(query_id, runs[1]))
    changes = compare(runs[0].tables, runs[1].tables)
    stayed = changes.filter(pl.col("change") != "came")
    negatives = runs[0].tables.negatives.filter(pl.col("verdict") == "negative")
    info = [run.manifest.info for run in runs]
    return RunDiff(
        before=runs[0].folder,
        after=runs[1].folder,
        changes=changes,
        settings=[
            difference
            for part in PARTS
            for difference in differences(
                info[0]["settings"][part], info[1]["settings"][part], part
            )
        ],
        stages=compare_stages(*(each["fingerprints"] for each in info)),
        reused=list(info[1].get("reused", [])),
        versions=differences(*(each.get("versions", {}) for each in info)),
        choices=(_choice(info[0]), _choice(info[1])),
        kept=len(negatives) - len(stayed),
    )


def find_texts(diff: RunDiff, shown: pl.DataFrame) -> dict[tuple[str, str], tuple[str, str]]:
    """Read question and negative of each shown change; what has no triplet is left out."""
    found: dict[tuple[str, str], tuple[str, str]] = {}
    for folder in (diff.before, diff.after):  # the later run's text where both have one
        rows = (
            _scan(folder, open_run(folder), "triplets")
            .select("query_id", "anchor", "negative", doc_id="negative_id")
            .join(shown.select(KEYS).lazy(), on=KEYS, how="semi")
            .unique(KEYS)
            .collect()
        )
        found |= {
            (r["query_id"], r["doc_id"]): (r["anchor"], r["negative"]) for r in rows.to_dicts()
        }
    return found


def write_diff(diff: RunDiff, summary: str, target: Path) -> None:
    """Write the changes as a table and the summary as JSON into a new folder."""
    if target.exists() or target.is_symlink():
        raise StoreError(f"{target}: already there; remove it, or name another place with --to")
    with staged(target) as beside:
        write_frame(diff.changes, beside / "changes.parquet")
        write_bytes(beside / "summary.json", summary.encode())


def differences(before: Any, after: Any, name: str = "") -> Differences:
    """List the values that differ, by their dotted names; None stands for what is not there."""
    if isinstance(before, Mapping) and isinstance(after, Mapping):
        keys = list(dict.fromkeys([*before, *after]))
        return [
            difference
            for key in keys
            for difference in differences(
                before.get(key), after.get(key), f"{name}.{key}" if name else str(key)
            )
        ]
    if isinstance(before, list) and isinstance(after, list) and _named(before) and _named(after):
        old, new = ({str(item["name"]): item for item in items} for items in (before, after))
        return differences(old, new, name) or _order(before, after, name)
    return [(name, before, after)] if before != after else []


def compare_stages(before: Mapping[str, str], after: Mapping[str, str]) -> dict[str, list[str]]:
    """Sort the stages by what became of their results."""
    return {
        "same": [name for name in after if before.get(name) == after[name]],
        "other": [name for name in after if before.get(name, after[name]) != after[name]],
        "before_only": [name for name in before if name not in after],
        "after_only": [name for name in after if name not in before],
    }


class _Run:
    """A run's folder, opened."""

    def __init__(self, folder: Path, query_id: str | None) -> None:
        self.folder = _mining_of(folder)
        self.manifest = open_run(self.folder)
        self._query = query_id
        try:
            self.mining = MiningSettings.model_validate(self.manifest.info["settings"]["mining"])
            self.manifest.info["settings"]["dataset"], self.manifest.info["fingerprints"]
            self.tables = self._read()
        except (KeyError, ValidationError) as error:
            raise _foreign(self.folder, "manifest.json") from error
        except (OSError, pl.exceptions.PolarsError) as error:
            raise StoreError(
                f"{self.folder}: a table is missing or not as the run wrote it ({error}); run "
                "again with the same settings into another folder, which reuses what was mined"
            ) from error

    def _read(self) -> RunTables:
        score = f"score_{self.mining.primary_teacher}"
        positives = self._scan("positives").select(*KEYS, score=score).collect()
        ceilings = compute_ceilings(positives.drop("doc_id"), self.mining.selection)
        hashes = _scan(self.folder, self.manifest, "document_hashes").collect()
        risks = self._scan("risks")
        evidence = self._scan("evidence").select(*KEYS, "rank", score=score)
        return RunTables(
            queries=QueryHashes.cast(self._scan("query_hashes").collect()),
            documents=DocumentHashes.cast(hashes),
            negatives=self._scan("negatives").collect(),
            positives=positives.select(KEYS),
            ceilings=ceilings.select("query_id", "ceiling"),
            evidence=evidence.join(risks, on=KEYS, how="left"),
        )

    def _scan(self, table: str) -> pl.LazyFrame:
        rows = _scan(self.folder, self.manifest, table)
        return rows if self._query is None else rows.filter(pl.col("query_id") == self._query)


def _scan(folder: Path, manifest: Manifest, table: str) -> pl.LazyFrame:
    names = [shard.name for shard in manifest.shards if shard.name.startswith(f"{table}/")]
    if not names:
        raise _foreign(folder, f"{table}/")
    return pl.scan_parquet([folder / name for name in sorted(names)], glob=False)


def _mining_of(folder: Path) -> Path:
    """Of a pipeline's folder, take the part that mining wrote."""
    manifest = read_manifest(folder) if folder.is_dir() else None
    return folder / "mining" if manifest and manifest.contract == PIPELINE else folder


def _foreign(folder: Path, what: str) -> StoreError:
    return StoreError(
        f"{folder}: {what} is missing or was written by another version of Polymine; "
        "run again with the same settings into another folder"
    )


def _unknown(query_id: str, run: _Run) -> str:
    ids = _scan(run.folder, run.manifest, "query_hashes").select("query_id").collect()
    near = find_nearest(query_id, ids["query_id"].sort())
    hint = f"; did you mean {' or '.join(f'`{name}`' for name in near)}?" if near else ""
    return f"{query_id}: a query of neither run{hint}"


def _choice(info: Mapping[str, Any]) -> dict[str, float] | None:
    return (info.get("risk") or {}).get("choice")


def _named(items: list[Any]) -> bool:
    names = [item.get("name") for item in items if isinstance(item, Mapping)]
    return len(names) == len(items) == len(set(names)) and None not in names


def _order(before: list[Any], after: list[Any], name: str) -> Differences:
    """Tell that a list holds the same in another order."""
    old, new = ([item["name"] for item in items] for items in (before, after))
    return [(name, old, new)] if old != new else []
