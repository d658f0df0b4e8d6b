"""Puts public collections into the cache: `python -m benchmarks.data squad-dev med`.

A collection that lies in $POLYMINE_DATA or beside the checkout is copied; otherwise its source is
read, at the version noted in `benchmarks.data.catalogue`. Every table is compared with the checksum
of what the published figures were measured on, and what differs is said.
"""

import argparse
import hashlib
import json
import os
import shutil
import sys
import tempfile
from pathlib import Path

import polars as pl

from benchmarks.data import NEARBY, cache
from benchmarks.data.catalogue import ORIGINS, make
from benchmarks.data.download import Download
from benchmarks.data.questions import Tables
from polymine.data_contracts.errors import InputError

PUBLISHED = Path(__file__).parent / "manifest.json"
Sums = dict[str, dict[str, int | str]]


def main(download: Download | None = None) -> None:
    """Fetch what is named and print where it lies, its licence, and whether it is as published."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("names", nargs="*", metavar="NAME", help="collections, or `all`")
    parser.add_argument("--list", action="store_true", help="name the collections there are")
    parser.add_argument("--refetch", action="store_true", help="read the source, copy nothing")
    options = parser.parse_args()
    unknown = set(options.names) - ORIGINS.keys() - {"all"}
    if unknown or not (options.names or options.list):
        parser.error(f"name some of {', '.join(ORIGINS)}; got {', '.join(unknown) or 'none'}")
    if options.list:
        for name, origin in ORIGINS.items():
            print(f"{name:16} {origin.what} ({origin.licence})\n{'':16} {origin.address}")
    names = list(ORIGINS) if "all" in options.names else options.names
    failed = [name for name in names if not _report(name, download or Download(), options.refetch)]
    sys.exit(f"not fetched: {', '.join(failed)}" if failed else None)


def fetch(name: str, download: Download, refetch: bool = False) -> Path:
    """Fill the folder of a collection in the cache, whole or not at all; return it."""
    target = cache() / name
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=target.parent) as scratch:
        folder = Path(scratch) / name
        beside = None if refetch else _at_hand(name)
        if beside:
            shutil.copytree(beside, folder)
        else:
            folder.mkdir()
            for table, frame in make(name, download).items():
                frame.write_parquet(folder / f"{table}.parquet", compression="zstd")
        manifest = {
            "source": ORIGINS[name].address,
            "licence": ORIGINS[name].licence,
            "copied_from": str(beside) if beside else None,
            "tables": checksums(read(folder)),
        }
        (folder / "manifest.json").write_text(json.dumps(manifest, indent=1) + "\n")
        shutil.rmtree(target, ignore_errors=True)
        folder.rename(target)
    return target


def read(folder: Path) -> Tables:
    """All tables of a collection by name."""
    return {path.stem: pl.read_parquet(path) for path in sorted(folder.glob("*.parquet"))}


def checksums(tables: Tables) -> Sums:
    """Rows and a checksum of each table's content, whatever the order of rows and columns."""
    sums: Sums = {}
    for name, frame in tables.items():
        columns = sorted(frame.columns)
        rows = frame.select(columns).sort(columns).write_ndjson()
        digest = hashlib.sha256(rows.encode()).hexdigest()
        sums[name] = {"rows": frame.height, "sha256": digest}
    return sums


def differences(name: str, found: Sums) -> list[str]:
    """Say which tables are not those that the published figures were measured on."""
    published: Sums = json.loads(PUBLISHED.read_text())[name]
    return [
        f"{table}: {_rows(found, table)}, published {_rows(published, table)}"
        for table in sorted(published.keys() | found.keys())
        if published.get(table) != found.get(table)
    ]


def _report(name: str, download: Download, refetch: bool) -> bool:
    origin = ORIGINS[name]
    try:
        folder = fetch(name, download, refetch)
    except (OSError, LookupError, ValueError, InputError) as error:
        print(f"{name}: {error}", file=sys.stderr)
        return False
    print(f"{name}: {folder}\n  licence: {origin.licence}\n  source: {origin.address}")
    differing = differences(name, json.loads((folder / "manifest.json").read_text())["tables"])
    print("  " + ("differs: " + "; ".join(differing) if differing else "content as published"))
    return True


def _at_hand(name: str) -> Path | None:
    places = [Path(named)] if (named := os.environ.get("POLYMINE_DATA")) else [NEARBY]
    found = (place / name for place in places)
    return next((folder for folder in found if any(folder.glob("*.parquet"))), None)


def _rows(sums: Sums, table: str) -> str:
    return f"{sums[table]['rows']:,} rows" if table in sums else "not there"


if __name__ == "__main__":
    main()
