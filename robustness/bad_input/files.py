"""Malformed files: cut, empty, something else than their names say, or not there."""

import os
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

from robustness.bad_input.tables import Case, good_rows, write_all


def bad_file(folder: Path, rng: random.Random) -> Case:
    """A file is cut, empty, something else than its name says, or not there."""
    tables = good_rows(rng)
    form = rng.choice(["parquet", "jsonl", "csv", "csv.gz", "jsonl.gz"])
    settings = write_all(folder, tables, form)
    table = rng.choice(list(tables))
    path = Path(settings[table])
    fault = rng.choice(list(FILE_FAULTS))
    case = Case("files", f"{table}.{form}: {fault}", settings, None, mentions=(table,))
    FILE_FAULTS[fault](path, rng, case, table, tables)
    return case


def _cut(path: Path, rng: random.Random, case: Case, table: str, tables: Any) -> None:
    content = path.read_bytes()
    if path.suffix in (".parquet", ".gz"):
        path.write_bytes(content[: rng.randrange(1, len(content) - 8)])
        return
    if path.suffix == ".csv":  # cut within a quoted field: elsewhere nobody can see it
        content = content.rstrip(b"\n") + b'\n"d99","cut in the mid'
        path.write_bytes(content)
        case.lax, case.given = True, tables
        return
    lines = content.splitlines(keepends=True)
    left = rng.randrange(0, len(lines))
    path.write_bytes(b"".join(lines[:left]) + lines[left][:-5])
    case.given, case.broken = {**tables, table: tables[table][:left]}, {table: 1}


def _rename(to: str) -> Callable[..., None]:
    def fault(path: Path, rng: random.Random, case: Case, table: str, tables: Any) -> None:
        other = path.with_name(f"{table}{to}")
        if other.name == path.name:
            other = path.with_name(f"{table}.zip")
        os.replace(path, other)
        case.settings[table] = str(other)

    return fault


def _replace(content: Callable[[random.Random], bytes]) -> Callable[..., None]:
    def fault(path: Path, rng: random.Random, case: Case, table: str, tables: Any) -> None:
        path.write_bytes(content(rng))

    return fault


def _folder(path: Path, rng: random.Random, case: Case, table: str, tables: Any) -> None:
    path.unlink()
    path.mkdir()


def _gone(path: Path, rng: random.Random, case: Case, table: str, tables: Any) -> None:
    path.unlink()
    if rng.random() < 0.5:
        path.symlink_to(rng.choice([path.name, "nowhere"]))


def _no_name(path: Path, rng: random.Random, case: Case, table: str, tables: Any) -> None:
    case.settings[table] = rng.choice(
        ["", "x" * 5000, "a\x00b.csv", "~nobody-here/x.csv", "demo:nothing", "s3//x.csv",
         "nothing://x/y.csv", "hf://datasets", "file:///nowhere/x.csv", "http://[bad/x.csv",
         str(path / "deeper.csv"), "s3://me:secret@bucket/x.csv", "/dev/null"]
    )  # fmt: skip
    case.mentions = (table, str(case.settings[table])[:20] or table)


def _header_only(path: Path, rng: random.Random, case: Case, table: str, tables: Any) -> None:
    _rename(".csv")(path, rng, case, table, tables)
    Path(case.settings[table]).write_text(",".join(tables[table][0]) + "\n")


FILE_FAULTS: dict[str, Callable[..., None]] = {
    "cut": _cut, "cut again": _cut,
    "empty": _replace(lambda rng: b""),
    "blank": _replace(lambda rng: b"\n \n\n"),
    "noise": _replace(lambda rng: rng.randbytes(rng.choice([1, 7, 600, 9000]))),
    "zeros": _replace(lambda rng: bytes(500)),
    "only magic": _replace(lambda rng: rng.choice([b"PAR1", b"PAR1PAR1", b"\x1f\x8b\x08"])),
    "HTML": _replace(lambda rng: b"<!doctype html><title>404</title>\n<p>not found, sorry\n"),
    "a JSON list": _replace(lambda rng: b'[{"doc_id": "d1", "text": "a"}]\n'),
    "JSON of something": _replace(lambda rng: b'1\n"a"\nnull\n[]\n{}\n'),
    "deep JSON": _replace(lambda rng: b'{"doc_id": ' + b"[" * 100_000 + b"\n"),
    "named .doc": _rename(".doc"), "no suffix": _rename(""), "named .parquet": _rename(".parquet"),
    "named .gz": _rename(".csv.gz"), "folder": _folder, "gone": _gone, "no name": _no_name,
    "only a header": _header_only,
}  # fmt: skip
