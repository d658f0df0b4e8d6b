"""Reads one file of any known format into a frame, and says which of its rows it could not read.

Delimited text is read as strings throughout, so that ids keep their leading zeros. JSON is parsed
by Python: polars is a few times faster, but silently writes a list among strings as a string.
Large corpora are better kept as Parquet.
"""

import csv
import gzip
import zlib
from pathlib import Path

import polars as pl
import polars.selectors as cs

from polymine.data_contracts.errors import InputError
from polymine.data_contracts.notes import Understood
from polymine.data_contracts.settings import Reading
from polymine.mining.broken_rows import broken_frame
from polymine.reading.delimited import read_delimited
from polymine.reading.json_records import read_json
from polymine.reading.roles import Role
from polymine.reading.shared_texts import read_parquet, share_texts
from polymine.reading.text import decoded, is_whole
from polymine.reading.understood import Table

SUFFIXES = (".parquet", ".pq", ".arrow", ".csv", ".tsv", ".jsonl", ".ndjson")
# Read where they are named, or called after what they hold: others of a folder are notes.
_TREC = (".txt", ".qrels", ".trec")
NAMED = (".json", *_TREC)
_UNREADABLE = (
    pl.exceptions.PolarsError, pl.exceptions.PanicException, OSError, EOFError, csv.Error,
    zlib.error, LookupError,
)  # fmt: skip


def suffix_of(path: Path) -> str:
    """Format of a file by its name, a final `.gz` aside; empty if unknown."""
    name = path.name.lower().removesuffix(".gz")
    return next((suffix for suffix in SUFFIXES + NAMED if name.endswith(suffix)), "")


def read_file(path: Path, name: str, role: Role, hints: Reading) -> Table:
    """Read one file as it is.

    Args:
        name: what errors call the file.
        role: says which names its columns may go by.
        hints: what the settings say of encoding and dialect.

    Returns:
        Its rows under its own column names, and the records that cannot be read.

    Raises:
        InputError: the file as a whole cannot be read.
    """
    suffix = suffix_of(path)
    if not suffix or (suffix in _TREC and not role.is_trec):
        raise InputError(f"{name}: cannot tell the format; known are {', '.join(SUFFIXES)}")
    if path.stat().st_size == 0:
        raise InputError(f"{name}: the file is empty")
    try:
        if suffix in (".parquet", ".pq", ".arrow"):
            return _columnar(path, name, suffix, repeated=role.is_pairs)
        text, encoding = _text(path, name, hints)
        if suffix in (".jsonl", ".ndjson", ".json"):
            return read_json(text, name, role.known, whole=suffix == ".json")
        return read_delimited(text, name, suffix, role, hints, encoding)
    except _UNREADABLE as error:
        what = suffix.removeprefix(".").upper()
        raise InputError(f"{name}: cannot be read as {what}: {error!s:.500}") from error


def read_text(path: Path, name: str, hints: Reading) -> str:
    """Read a text file, compressed or not; InputError where it cannot be read, or not whole."""
    try:
        text, _ = _text(path, name, hints)
    except _UNREADABLE as error:
        raise InputError(f"{name}: cannot be read: {error!s:.500}") from error
    if not is_whole(text):
        raise InputError(f"{name}: is not UTF-8; save it so")
    return text


def _text(path: Path, name: str, hints: Reading) -> tuple[str, str]:
    content = path.read_bytes()
    if path.suffix.lower() == ".gz":
        content = gzip.decompress(content)
    return decoded(content, name, hints.encoding)


def _columnar(path: Path, name: str, suffix: str, *, repeated: bool) -> Table:
    if suffix != ".arrow":
        form = "Parquet"
        if repeated:  # a document of pairs may stand in many rows
            frame = read_parquet(path)
        else:
            frame = pl.read_parquet(path, hive_partitioning=False, glob=False)
    else:  # `save_to_disk` of `datasets` writes streams
        form = "Arrow"
        with path.open("rb") as stream:
            streamed = stream.read(6) != b"ARROW1"
        frame = pl.read_ipc_stream(path) if streamed else pl.read_ipc(path)
    # Texts that repeat are written as categories, and lists of one length as arrays.
    as_text = (cs.categorical() | cs.enum()).cast(pl.String)
    frame = frame.with_columns(as_text, cs.array(cs.string()).cast(pl.List(pl.String)))
    if repeated and form == "Arrow":
        frame = share_texts([frame])
    return Table(frame, broken_frame([]), Understood(name, form, frame.height))
