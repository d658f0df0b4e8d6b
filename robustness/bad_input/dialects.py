"""Pairs written in a dialect drawn by chance: separators, quoting, headers, columns, formats.

Every file can be read rightly, and its maker knows the pairs. It may be asked about; what must
never happen is a wrong reading that nothing announces.
"""

import csv
import io
import json
import random
from pathlib import Path
from typing import Any, Literal

import polars as pl

PIECES = (
    "red apples", "how tall is it", '"the office', 'say "so"', '5" pipe', "a, b and c", "x; y",
    "p|q", "it's", "\u00fcn\u00efcode", '"quoted"', "tab\there", "line\nbreak", "NaN is a number",
    "null and void", "1,5", "-", '\\"escaped\\"', "\u65e5\u672c\u8a9e", '"a" and "b"', "7",
)  # fmt: skip
NAMES = (
    ("query", "positive"), ("question", "answer"), ("prompt", "response"), ("anchor", "positive"),
    ("sentence1", "sentence2"), ("Frage", "Antwort"), ("", ""),
)  # fmt: skip
MARKS = ("NaN", "null", "None", "NA", "")
WRONG = "silently wrong"
Pairs = list[tuple[str, str]]


def attempt(chance: random.Random, folder: Path) -> tuple[str, str]:
    """Write and read one file; say what came of it, and what the file is."""
    from polymine.data_contracts.errors import PolymineError
    from polymine.data_contracts.settings import DatasetSettings
    from polymine.tasks.sources.reading import read_sources

    path, pairs, what = make(chance, folder)
    settings = DatasetSettings(pairs=str(path), on_invalid="quarantine")
    try:
        raw = read_sources(settings)
    except PolymineError as error:
        return "clear error" if path.name in str(error) else f"unclear: {error!s:.200}", what
    asked = dict(raw.queries.select("query_id", "text").rows())
    passages = dict(raw.documents.select("doc_id", "text").rows())
    judged = raw.judgments.select("query_id", "doc_id").rows()
    found = {(_lines(asked[query]), _lines(passages[document])) for query, document in judged}
    whole = {pair for pair in pairs if not {*pair} & {*MARKS}}
    lost = len(pairs) - len(raw.rows_rejected) - len(found)
    if found == whole and lost == 0:
        return "quarantined" if len(whole) < len(pairs) else "accepted rightly", what
    # Without a header that says what is what, the choice is printed; the first pair may be it.
    printed = bool(raw.understood[0].by_position) and lost == 1
    announced = found <= whole and (lost == 0 or printed)
    return "quarantined" if announced else WRONG, f"{what}: {sorted(found ^ whole)[:2]!r:.200}"


def make(chance: random.Random, folder: Path) -> tuple[Path, Pairs, str]:
    """Write pairs, all different, in some format."""
    form = chance.choice(["csv"] * 6 + ["jsonl", "json", "parquet", "flagembedding", "tevatron"])
    separator, style = chance.choice(",;\t|"), chance.choice(["minimal", "all", "some", "none"])
    avoided = [*'"\n', separator] if style == "none" and separator != "\t" else []
    avoided += [separator, "\n"] if style == "none" else []
    pairs = _pairs(chance, avoided if form == "csv" else [])
    if form == "csv":
        return _delimited(chance, folder, pairs, separator, style)
    names = chance.choice([pair for pair in NAMES if pair[0]])
    rows: list[dict[str, Any]] = [dict(zip(names, pair, strict=True)) for pair in pairs]
    if form == "flagembedding":
        rows = [{"query": query, "pos": [text], "neg": []} for query, text in pairs]
    if form == "tevatron":
        rows = [{"query": query, "positive_passages": [{"docid": "1", "text": text}],
                 "negative_passages": []} for query, text in pairs]  # fmt: skip
    path = folder / f"pairs.{form if form in ('json', 'parquet') else 'jsonl'}"
    if form == "parquet":
        pl.DataFrame(rows).with_columns(__index_level_0__=pl.lit("x")).write_parquet(path)
    elif form == "json":
        path.write_text(json.dumps(rows), encoding="utf-8")
    else:
        path.write_text("".join(f"{json.dumps(row)}\n" for row in rows), encoding="utf-8")
    return path, pairs, f"{form} {names}"


def _pairs(chance: random.Random, avoided: list[str]) -> Pairs:
    pieces = [piece for piece in PIECES if not any(mark in piece for mark in avoided)]
    pairs = []
    for number in range(chance.choice([1, 2, 3, 7, 40])):
        query, text = (" ".join(chance.choices(pieces, k=chance.randint(1, 4))) for _ in range(2))
        pairs.append((f"{query} {number}?" if chance.random() < 0.7 else f"{number} {query}", text))
        if chance.random() < 0.1:
            pairs[-1] = (pairs[-1][0], chance.choice(MARKS))
    return pairs


def _delimited(
    chance: random.Random, folder: Path, pairs: Pairs, separator: str, style: str
) -> tuple[Path, Pairs, str]:
    names, extra = chance.choice(NAMES), chance.choice(["", "", "id", "index and score"])
    header, rows = [*names], [[*pair] for pair in pairs]
    if extra == "id" and names[0]:
        header, rows = ["id", *header], [[str(n), *row] for n, row in enumerate(rows)]
    elif extra and names[0]:
        header, rows = ["", *header, "score"], [[str(n), *row, "0.5"] for n, row in enumerate(rows)]
    table = [header, *rows] if names[0] else rows
    if style == "none":
        text = "".join(separator.join(row) + "\n" for row in table)
    else:
        stream = io.StringIO()
        quoting: Literal[0, 1] = csv.QUOTE_ALL if style == "all" else csv.QUOTE_MINIMAL
        ending = chance.choice(["\n", "\r\n"])
        csv.writer(stream, delimiter=separator, quoting=quoting, lineterminator=ending).writerows(
            table
        )
        text = stream.getvalue()
        if style == "some":  # marks that nothing needs
            text = "".join(separator.join(_marked(cell, separator, chance) for cell in row) + ending
                           for row in table)  # fmt: skip
    if separator == ";" and chance.random() < 0.3:
        text = f"sep=;\n{text}"
    encoding = chance.choice(["utf-8", "utf-8", "utf-8-sig", "utf-16"])
    path = folder / f"pairs.{'tsv' if separator == chr(9) else 'csv'}"
    path.write_bytes(text.encode(encoding))
    return path, pairs, f"{path.suffix} by {separator!r}, quoting {style}, {names}, {encoding}"


def _marked(cell: str, separator: str, chance: random.Random) -> str:
    needed = any(mark in cell for mark in ('"', "\n", "\r", separator))
    return '"' + cell.replace('"', '""') + '"' if needed or chance.random() < 0.3 else cell


def _lines(text: str) -> str:
    return text.replace("\r\n", "\n")
