"""What must come of malformed tables, told from the rows themselves by plain Python.

Shares no code with what is tested: the rules of the contracts are written down here a second time.
"""

import json
import math
import re
import unicodedata
from collections import Counter
from dataclasses import dataclass
from typing import Any

from robustness.bad_input.tables import Case, Rows

# What other libraries write for a value that is not there.
_MARKS = {"NaN", "nan", "NAN", "null", "NULL", "None", "NA", "N/A", "n/a", "<NA>", "#N/A", "#NA",
          r"\N"}  # fmt: skip
_UNSEEN = "\u034f\u115f\u1160\u2800\u3164\uffa0"  # letters of Unicode that are blank
_CODE = re.compile(r"[A-Za-z]{2,3}([-_][A-Za-z0-9]{2,8})*")
_NUMBER = re.compile(r"[+-]?\d+(\.\d*)?([eE][+-]?\d+)?")
COLUMNS = {"corpus": ("doc_id", "text"), "queries": ("query_id", "text")}


@dataclass
class Expected:
    """Rows that must be kept, by their ids, and how many are set aside in each table."""

    documents: dict[str, str]
    queries: dict[str, str]
    judgments: dict[tuple[str, str], int]
    rejected: dict[str, int]


def expect(given: dict[str, Rows], broken: dict[str, int], form: str) -> Expected:
    """Apply the contracts to rows as they were written."""
    read = {table: _read(rows, form) for table, rows in given.items()}
    documents, queries = (_texts(read[table], *COLUMNS[table]) for table in COLUMNS)
    judgments = _judgments(read["judgments"], documents, queries)
    kept = {"corpus": len(documents), "queries": len(queries), "judgments": len(judgments)}
    rejected = {name: len(rows) - kept[name] + broken.get(name, 0) for name, rows in given.items()}
    return Expected(documents, queries, judgments, rejected)


def compare(case: Case, form: str, made: Any) -> list[str]:
    """Say what of an ingested collection is not as the case's rows demand."""
    assert case.given is not None
    wanted = expect(case.given, case.broken, form)
    copies = dict(made.copies.rows())
    documents = dict(made.documents.select("doc_id", "text").rows())
    queries = dict(made.queries.select("query_id", "text").rows())
    judged = {(q, d): r for q, d, r in made.judgments.rows()}
    pointed: dict[tuple[str, str], int] = {}
    for (query, document), grade in wanted.judgments.items():
        place = (query, copies.get(document, document))
        pointed[place] = max(grade, pointed.get(place, 0))
    faults = _texts_differ("document", documents, wanted.documents, set(copies), case.lax)
    faults += _texts_differ("query", queries, wanted.queries, set(), case.lax)
    faults += [f"judgment {p} is {r}" for p, r in judged.items() if pointed.get(p) != r]
    for copy, kept in copies.items():
        if _folded(wanted.documents.get(copy, "")) != _folded(wanted.documents.get(kept, "-")):
            faults.append(f"{copy} was taken for a copy of {kept}")
    if not case.lax:
        faults += [f"judgment {place} is lost" for place in pointed.keys() - judged.keys()]
    return faults + _counts_differ(case, wanted, made, documents, queries, copies)


def count_good(case: Case, form: str) -> int:
    """Count the positive judgments that may be kept: with one of them there is work to do."""
    assert case.given is not None
    found = expect(case.given, case.broken, form).judgments
    return 0 if case.lax else sum(grade > 0 for grade in found.values())


def _texts_differ(
    what: str, kept: dict[str, str], wanted: dict[str, str], merged: set[str], lax: bool
) -> list[str]:
    faults = []
    for key, text in kept.items():
        if key not in wanted:
            faults.append(f"{what} {key!r:.40} was kept and breaks a rule")
        elif unicodedata.normalize("NFC", wanted[key]) != text:
            faults.append(f"{what} {key!r:.40} is {text!r:.40}, given was {wanted[key]!r:.40}")
    lost = wanted.keys() - kept.keys() - merged
    return faults if lax else faults + [f"{what} {key!r:.40} is lost" for key in lost]


def _counts_differ(
    case: Case, wanted: Expected, made: Any, documents: Any, queries: Any, copies: Any
) -> list[str]:
    """Rows in = rows kept + rows set aside, table by table."""
    assert case.given is not None
    stems = Counter(source.rpartition("/")[2].split(".")[0] for source in made.rejected["source"])
    kept = {"corpus": len(documents) + len(copies), "queries": len(queries)}
    faults = []
    for table, count in kept.items():
        rows = len(case.given[table]) + case.broken.get(table, 0)
        if count + stems[table] != rows and not case.lax:
            faults.append(f"{table}: {rows} rows in, {count} kept and {stems[table]} set aside")
    if not case.lax and stems["judgments"] != wanted.rejected["judgments"]:
        faults.append(
            f"judgments: {stems['judgments']} set aside, expected {wanted.rejected['judgments']}"
        )
    return faults


def _texts(rows: Rows, key: str, text: str) -> dict[str, str]:
    distinct = _distinct(rows, (key, text, "language"))
    ids = Counter(row[key] for row in distinct)
    return {
        row[key]: row[text]
        for row in distinct
        if row[key] and ids[row[key]] == 1 and row[text] is not None
        and not _is_blank(row[text]) and _is_code(row.get("language"))
    }  # fmt: skip


def _judgments(
    rows: Rows, documents: dict[str, str], queries: dict[str, str]
) -> dict[tuple[str, str], int]:
    distinct = _distinct(rows, ("query_id", "doc_id", "relevance"))
    pairs = Counter((row["query_id"], row["doc_id"]) for row in distinct)
    found = {}
    for row in distinct:
        grade, pair = _grade(row.get("relevance", 1)), (row["query_id"], row["doc_id"])
        if grade is not None and pairs[pair] == 1 and pair[0] in queries and pair[1] in documents:
            found[pair] = grade
    return found


def _distinct(rows: Rows, names: tuple[str, ...]) -> Rows:
    seen: dict[str, dict[str, Any]] = {}
    for row in rows:
        whole = [_grade_key(row.get(n)) if n == "relevance" else row.get(n) for n in names]
        seen.setdefault(json.dumps(whole), row)
    return list(seen.values())


def _grade_key(value: Any) -> Any:
    grade = _grade(value)
    return ["grade", grade] if grade is not None else ["wrong", value is None]


def _grade(value: Any) -> int | None:
    """A grade from 0 to 127, or None."""
    if isinstance(value, str):
        value = float(value) if _NUMBER.fullmatch(value) else None
    if value is None or isinstance(value, (list, dict)):
        return None
    number = float(value)
    whole = math.isfinite(number) and number == int(number) and 0 <= number <= 127
    return int(number) if whole else None


def _is_code(value: Any) -> bool:
    return value is None or bool(_CODE.fullmatch(value))


def _kind(value: Any) -> str:
    if value is None:
        return "nothing"
    if isinstance(value, bool):
        return "truth"
    if isinstance(value, (int, float)):
        return "number"
    return type(value).__name__


def _read(rows: Rows, form: str) -> Rows:
    """Rows without those that differ in kind from most, numbers among texts as texts."""
    if not form.startswith("jsonl"):
        return [{n: None if v == "" else _marked(v) for n, v in row.items()} for row in rows]
    names = list(dict.fromkeys(name for row in rows for name in row))
    common = {}
    for name in names:
        kinds = Counter(_kind(row.get(name)) for row in rows if row.get(name) is not None)
        common[name] = kinds.most_common(1)[0][0] if kinds else "nothing"
    fits = {"str": {"str", "number"}, "number": {"str", "number"}}
    read = []
    for row in rows:
        if all(
            _kind(row.get(name)) in {"nothing", common[name]} | fits.get(common[name], set())
            for name in names
        ):
            read.append(
                {n: _marked(_as_text(v) if n != "relevance" else v) for n, v in row.items()}
            )
    return read


def _marked(value: Any) -> Any:
    return None if isinstance(value, str) and value.strip() in _MARKS else value


def _is_blank(text: str) -> bool:
    """Whether nothing of a text can be seen: blanks, control characters, marks of no width."""
    return all(
        unicodedata.category(letter) in ("Cc", "Cf", "Zs", "Zl", "Zp")
        or letter in _UNSEEN or unicodedata.name(letter, "").startswith("VARIATION SELECTOR")
        for letter in text
    )  # fmt: skip


def _as_text(value: Any) -> Any:
    return str(value) if _kind(value) == "number" else value


def _folded(text: str) -> str:
    folded = unicodedata.normalize("NFKC", text).casefold()
    return " ".join(unicodedata.normalize("NFKC", folded).split())
