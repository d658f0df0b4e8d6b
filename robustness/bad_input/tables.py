"""Malformed tables for `robustness.bad_input`: each case is files on disk and what they hold.

A case knows the rows that it wrote. What of them is right is for `oracle` to say, which shares
no code with what is tested.
"""

import csv
import gzip
import io
import json
import random
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import polars as pl

Rows = list[dict[str, Any]]
TABLES = {"corpus": "doc_id", "queries": "query_id", "judgments": ""}
WORDS = (  # noqa: SIM905
    "amber basin cedar dune ember fjord grove haze inlet jade kelp lagoon mesa north opal pine "
    "quartz reef sand tide umber vale willow yarrow zinc"
).split()
NOISE = [
    None, "", " ", "\t\r\n", "\u00a0\u2003", "\u200b", "\x00", "a\x07b\x1bc", "cafe\u0301",
    "caf\u00e9", "\ufeffx", "\U0001f642\u200d", "\u202eabc", "<script>alert(1)</script>", "NaN",
    "null", "x" * 200_000, 'say "so", then', "two\nlines", 5, -1, 1.5, True, ["a"], [1, "a"],
    {"a": 1}, [], 2**80,
]  # fmt: skip
GRADES = [
    None, "", "1", "2.0", "high", 0, 1, 3, 127, 128, -1, -129, 1.5, 1e30, 2**70, True, False,
    float("nan"), float("inf"), float("-inf"), ["1"], {"a": 1},
]  # fmt: skip
CODES = [None, "", "e", "EN", "zh-Hans", "english language", "en_US", "12", "e\u0301", "x" * 50]


@dataclass
class Case:
    """One malformed input.

    Args:
        kind, what: for the table and for people.
        settings: of `[dataset]`.
        given: rows by table as the files hold them; None where nothing may be accepted.
        broken: lines that are no rows, by table.
        lax: rows may be set aside that the oracle cannot foresee; none may be kept wrongly.
        mentions: an error has to hold one of these.
    """

    kind: str
    what: str
    settings: dict[str, Any]
    given: dict[str, Rows] | None = None
    broken: dict[str, int] = field(default_factory=dict)
    lax: bool = False
    mentions: tuple[str, ...] = ()


def good_rows(rng: random.Random) -> dict[str, Rows]:
    """Tables without a fault: different texts, every query with a document."""
    words = rng.sample(WORDS, len(WORDS))
    documents = [
        {"doc_id": f"d{n}", "text": f"{words[n]} and {words[n + 1]} by the {words[-n - 1]}",
         "language": "en"}
        for n in range(rng.randint(5, 9))
    ]  # fmt: skip
    queries = [
        {"query_id": f"q{n}", "text": f"where is {words[n]} {n}?", "language": "en"}
        for n in range(rng.randint(4, 6))
    ]
    judgments = [
        {"query_id": q["query_id"], "doc_id": rng.choice(documents)["doc_id"], "relevance": 1}
        for q in queries
    ]
    return {"corpus": documents, "queries": queries, "judgments": judgments}


def write(folder: Path, name: str, rows: Rows, form: str) -> Path:
    """Write rows as they are, in a form that can hold them; JSON lines can hold all."""
    path = folder / f"{name}.{form}"
    if form.startswith("jsonl"):
        content = "".join(json.dumps(row) + "\n" for row in rows).encode()
    elif form == "parquet":
        pl.DataFrame(rows, infer_schema_length=None).write_parquet(path)
        return path
    else:
        content = as_csv(rows, "\t" if form.startswith("tsv") else ",").encode()
    path.write_bytes(gzip.compress(content) if form.endswith("gz") else content)
    return path


def as_csv(rows: Rows, separator: str = ",") -> str:
    """Write rows as CSV; nothing stands for None."""
    names = list(dict.fromkeys(name for row in rows for name in row))
    stream = io.StringIO()
    writer = csv.writer(stream, delimiter=separator, lineterminator="\n")
    writer.writerow(names)
    writer.writerows([row.get(name) for name in names] for row in rows)
    return stream.getvalue()


def write_all(folder: Path, tables: dict[str, Rows], form: str = "jsonl") -> dict[str, Any]:
    """Write three tables; return the settings that name them."""
    return {name: str(write(folder, name, rows, form)) for name, rows in tables.items()}


# --- values ----------------------------------------------------------------------------------


def bad_value(folder: Path, rng: random.Random) -> Case:
    """One to three cells of the tables are something else."""
    tables, said = good_rows(rng), []
    for _ in range(rng.randint(1, 3)):
        table = rng.choice(list(tables))
        row = rng.choice(tables[table])
        column = rng.choice(list(row))
        pools: dict[str, list[Any]] = {"relevance": GRADES, "language": CODES}
        pool = pools.get(column, NOISE)
        row[column] = rng.choice(pool)
        said.append(f"{table}.{column}={row[column]!r:.30}")
    form = "jsonl"
    if all(isinstance(value, (str, type(None))) or name == "relevance"
           for rows in tables.values() for row in rows for name, value in row.items()):  # fmt: skip
        form = rng.choice(["jsonl", "jsonl.gz"])
    settings = write_all(folder, tables, form)
    return Case("values", "; ".join(said), settings, tables, mentions=(*tables, "dataset"))


def odd_pointers(folder: Path, rng: random.Random) -> Case:
    """Ids that stand twice, judgments that contradict each other or point nowhere."""
    tables = good_rows(rng)
    faults: dict[str, Callable[[], object]] = {
        "same id, other text": lambda: tables["corpus"].append(
            {**rng.choice(tables["corpus"]), "text": "something else altogether"}
        ),
        "same row twice": lambda: tables["queries"].append(dict(rng.choice(tables["queries"]))),
        "judgments disagree": lambda: tables["judgments"].append(
            {**rng.choice(tables["judgments"]), "relevance": 0}
        ),
        "dangling document": lambda: tables["judgments"].append(
            {"query_id": "q0", "doc_id": "nobody", "relevance": 1}
        ),
        "dangling query": lambda: tables["judgments"].append(
            {"query_id": "nobody", "doc_id": "d0", "relevance": 1}
        ),
        "copy under another id": lambda: tables["corpus"].append(
            {"doc_id": "copy", "text": tables["corpus"][0]["text"].upper(), "language": "en"}
        ),
        "composed and decomposed": lambda: tables["corpus"].extend(
            [{"doc_id": "nfc", "text": "caf\u00e9 noir", "language": "fr"},
             {"doc_id": "nfd", "text": "cafe\u0301 noir", "language": "fr"}]
        ),
        "no positive": lambda: [row.update(relevance=0) for row in tables["judgments"]],
    }  # fmt: skip
    chosen = rng.sample(list(faults), rng.randint(1, 3))
    for name in chosen:
        faults[name]()
    form = rng.choice(["jsonl", "parquet", "csv", "tsv", "csv.gz"])
    settings = write_all(folder, tables, form)
    return Case("values", ", ".join(chosen), settings, tables, mentions=(*tables, "dataset"))


# --- columns ---------------------------------------------------------------------------------


def bad_columns(folder: Path, rng: random.Random) -> Case:
    """A column is missing, doubled or of a type that no cast makes right."""
    tables = good_rows(rng)
    settings = write_all(folder, tables, "parquet")
    table = rng.choice(list(tables))
    frame = pl.DataFrame(tables[table])
    needed = [name for name in frame.columns if name not in ("language", "relevance")]
    column = rng.choice(needed)
    path = folder / f"{table}.parquet"
    types: dict[str, Callable[[pl.Expr], pl.Expr]] = {
        "list": lambda c: pl.concat_list(c, c), "struct": lambda c: pl.struct(c),
        "binary": lambda c: c.cast(pl.Binary), "float": lambda c: c.str.len_chars() / 2,
        "bool": lambda c: c == "", "date": lambda c: pl.lit("2020-01-01").str.to_date(),
        "duration": lambda c: pl.duration(days=c.str.len_chars()),
    }  # fmt: skip
    fault = rng.choice([*types, "missing", "renamed", "doubled", "doubled key", "no header"])
    case = Case("columns", f"{table}.{column}: {fault}", settings, None, mentions=(path.stem,))
    if fault in types:
        frame.with_columns(types[fault](pl.col(column)).alias(column)).write_parquet(path)
    elif fault == "missing":
        frame.drop(column).write_parquet(path)
    elif fault == "renamed":
        frame.rename({column: f"{column}_x"}).write_parquet(path)
    else:
        path.unlink()
        _doubled(case, folder, table, column, tables[table], fault)
    return case


def _doubled(case: Case, folder: Path, table: str, column: str, rows: Rows, fault: str) -> None:
    lines = as_csv(rows).splitlines()
    if fault == "doubled":
        text = "\n".join([f"{lines[0]},{column}", *(f"{line},other" for line in lines[1:])])
    elif fault == "no header":
        text = "\n".join(lines[1:])
    else:
        text = "\n".join(f'{json.dumps(row)[:-1]}, "{column}": "other"}}' for row in rows)
    path = folder / f"{table}.{'jsonl' if fault == 'doubled key' else 'csv'}"
    path.write_text(text + "\n", encoding="utf-8")
    case.settings[table] = str(path)


# --- encodings -------------------------------------------------------------------------------


def bad_encoding(folder: Path, rng: random.Random) -> Case:
    """A text file in something else than UTF-8, wholly or in places."""
    tables = good_rows(rng)
    settings = write_all(folder, tables)
    table, form = rng.choice(["corpus", "queries"]), rng.choice(["csv", "tsv", "jsonl"])
    for row in tables[table][::2]:
        row["text"] += " caf\u00e9"
    text = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in tables[table])
    if form != "jsonl":
        text = as_csv(tables[table], "\t" if form == "tsv" else ",")
    name = rng.choice(["utf-16", "utf-16-le", "utf-16-be", "utf-32", "latin-1", "cp1252",
                          "utf-8-sig", "stray bytes", "surrogate"])  # fmt: skip
    path = folder / f"{table}.{form}"
    (folder / f"{table}.jsonl").unlink()
    settings[table] = str(path)
    case = Case("encodings", f"{form} in {name}", settings, tables, lax=True, mentions=(table,))
    if name == "stray bytes":
        content = bytearray(text.encode())
        for _ in range(rng.randint(1, 4)):
            at = rng.randrange(len(content) // 2, len(content) - 2)
            if chr(content[at]).isalpha():
                content[at] = rng.choice([0xFF, 0xC0, 0x80, 0xFE])
        path.write_bytes(bytes(content))
    elif name == "surrogate":
        path.write_bytes(text.replace("caf\u00e9", "caf\ud83d").encode("utf-8", "surrogatepass"))
    else:
        path.write_bytes(text.encode(name))
        case.lax = name != "utf-8-sig"
    return case
