"""Files whose columns, grades, marks or encoding may mean something else than they seem to.

The maker knows the right reading. A file may be refused, its rows set aside; what must never happen
is that something else is read than was meant and nothing announces it.
"""

import csv
import io
import json
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import polars as pl

Rows = list[dict[str, Any]]
Found = tuple[str, str]  # the outcome, and what the file is
WRONG = "silently wrong"
ASK = ("query", "question", "prompt", "anchor", "sentence1", "premise")
SAY = ("positive", "answer", "response", "chosen", "passage", "correct_answer", "hypothesis")
NEGATIVE = ("negative", "neg", "hard_negative", "rejected", "negative_1", "rejected_response")
AGAINST = ("distractor", "distractor1", "incorrect_answer", "wrong_answer", "negative_text",
           "neg_passage")  # fmt: skip
OTHER = ("", "Unnamed: 0", "id", "score", "title", "source", "split", "length", "lang")
MARKS = ("NaN", "nan", "null", "None", "NA", "N/A", "n/a", "#N/A", "<NA>", "NULL", r"\N")
UNSEEN = ("\u200b", "\u00ad\u200d", "\x00", " \t", "\ufeff", "\u2060", "\u2800", "\u3164\ufe0f")


def attempt(chance: random.Random, folder: Path) -> Found:
    """Write and read one file; say what came of it, and what the file is."""
    return chance.choice(MAKERS)(chance, folder)


def _columns(chance: random.Random, folder: Path) -> Found:
    """Pairs among columns of all kinds, in any order; the positive may go by an unknown name."""
    known = chance.random() < 0.7
    ask, say = chance.choice(ASK), chance.choice(SAY) if known else "reply"
    others = chance.sample(OTHER, chance.randint(0, 3))
    against = chance.sample(AGAINST, chance.randint(0, 2))
    given = [chance.choice(NEGATIVE)] if chance.random() < 0.4 else []
    names = [ask, say, *others, *against, *given]
    chance.shuffle(names)
    pairs = [(f"how tall is tower {n}", f"tower {n} is {n} metres tall") for n in range(6)]
    bad = [f"nobody knows, says {n}" for n in range(6)]
    rows = []
    for n, (question, answer) in enumerate(pairs):
        cells = {ask: question, say: answer}
        cells |= dict.fromkeys((*against, *given), bad[n])
        cells |= {name: str(n) for name in others}
        rows.append({name: cells[name] for name in names})
    path = write_rows(folder / "pairs", rows, chance.choice(["csv", "jsonl", "parquet", "tsv"]))
    what = f"{path.suffix} with {', '.join(map(repr, names))}"
    raw = _read(pairs=str(path))
    if isinstance(raw, str):
        return raw, what
    if _pairs_of(raw) != set(pairs):
        return f"{WRONG}: {sorted(_pairs_of(raw))[:2]}", what
    offered = 0 if raw.given is None else raw.given.height
    if bool(given) != bool(offered):
        return f"{WRONG}: {offered} negatives, given in {given}", what
    about = raw.understood[0]
    said = {column for _, column in about.columns} | {*about.ignored}
    lost = {name or "column 1" for name in names} - said - {""}
    if lost - {"column 1"}:
        return f"{WRONG}: {', '.join(lost)} is named nowhere", what
    printed = known or "positive" in about.by_position
    return ("accepted rightly" if printed else f"{WRONG}: position is not said"), what


def _grades(chance: random.Random, folder: Path) -> Found:
    """Judgments and labelled pairs whose values may be grades, shares or classes."""
    values: list[Any] = list(chance.choice([
        (0, 1), (1, 2, 3), (0, 0.5, 0.9, 1), (-1, 0, 1), (0, 1, 2), ("yes", "no"), (1, None),
        ("entailment", "contradiction", "neutral"), ("1", "0"), ("1.0", "2.0"), (200, 1),
        ("NaN", 1), (0.7, 0.2), (True, False),
    ]))  # fmt: skip
    hint: Any = chance.choice([None, None, None, 0.6, 1, [1], ["yes"], ["entailment"], [2, 3]])
    column = chance.choice(["relevance", "score", "label", "rel"])
    judged = [(f"q{n}", f"d{n}", values[n % len(values)]) for n in range(6)]
    rows = [{"query_id": q, "doc_id": d, column: grade} for q, d, grade in judged]
    form = (
        "jsonl" if len({type(value) for value in values}) > 1 else chance.choice(["csv", "jsonl"])
    )
    corpus = [{"doc_id": f"d{n}", "text": f"passage {n}"} for n in range(6)]
    asked = [{"query_id": f"q{n}", "text": f"question {n}"} for n in range(6)]
    what = f"{form}: {column} = {values}, grades = {hint}"
    raw = _read(
        corpus=str(write_rows(folder / "corpus", corpus, "jsonl")),
        queries=str(write_rows(folder / "queries", asked, "jsonl")),
        judgments=str(write_rows(folder / "judgments", rows, form)),
        **({} if hint is None else {"grades": hint}),
    )
    if isinstance(raw, str):
        return raw, what
    ingested = _ingest(raw)
    if isinstance(ingested, str):
        return ingested, what
    right = {(q, d): _meant(grade, hint) for q, d, grade in judged}
    kept = {(q, d): grade for q, d, grade in ingested.judgments.rows()}
    if any(right[pair] != grade for pair, grade in kept.items()):
        return f"{WRONG}: {sorted(kept.items())[:3]}", what
    classes = column == "label" and hint is None and any(_number(v) < 0 for v in values)
    if classes:
        return f"{WRONG}: classes were taken for grades", what
    lost = {pair for pair, grade in right.items() if grade is not None} - kept.keys()
    if lost or len(kept) + len(ingested.rejected) + len(raw.rows_rejected) != len(judged):
        return f"{WRONG}: {len(kept)} kept of {len(judged)}, {len(lost)} lost", what
    return ("quarantined" if len(kept) < len(judged) else "accepted rightly"), what


def _labels(chance: random.Random, folder: Path) -> Found:
    """Labelled pairs: those of a contradiction are no positives, whatever the label is called."""
    values = chance.choice([(0, 1), (0, 1, 2), (-1, 0, 1, 2), ("entailment", "contradiction")])
    hint: Any = chance.choice([None, [0], [1], ["entailment"]])
    column = chance.choice(["label", "label", "gold_label", "is_duplicate", "same", "score"])
    if column == "same":
        values = (0, 1)
    rows = [
        {"premise": f"tower {n} is old", "hypothesis": f"tower {n} was built long ago",
         column: values[n % len(values)]} for n in range(8)
    ]  # fmt: skip
    path = write_rows(folder / "pairs", rows, chance.choice(["csv", "jsonl", "parquet"]))
    what = f"{path.suffix}: pairs with {column} = {values}, grades = {hint}"
    raw = _read(pairs=str(path), **({} if hint is None else {"grades": hint}))
    if isinstance(raw, str):
        return raw, what
    asked = dict(raw.queries.select("query_id", "text").rows())
    kept = {asked[q]: grade for q, grade in raw.judgments.select("query_id", "relevance").rows()}
    right = {row["premise"]: _meant(row["label"], hint) for row in rows}
    if column != "label" or (hint is None and set(values) != {0, 1}):
        return f"{WRONG}: classes were taken for grades", what
    wrong = {text for text, grade in kept.items() if right[text] != grade}
    return (f"{WRONG}: {sorted(wrong)[:2]}" if wrong else "accepted rightly"), what


def _marks(chance: random.Random, folder: Path) -> Found:
    """Texts and titles that are missing, or hold nothing that anybody can see."""
    bad = [chance.choice([*MARKS, *UNSEEN, "", None]) for _ in range(3)]
    texts = [f"passage {n} of NaN and null" for n in range(4)]
    rows: Rows = [{"doc_id": f"d{n}", "title": None, "text": text}
                  for n, text in enumerate([*texts, *bad])]  # fmt: skip
    for row in rows:
        row["title"] = chance.choice(["NaN", "", None, "Towers"])
    form = chance.choice(["csv", "tsv", "jsonl", "parquet", "json"])
    if form in ("csv", "tsv"):
        form = "csv" if any(text and set(text) & set("\t\n") for text in bad) else form
    if form == "jsonl" and chance.random() < 0.5:
        rows[0]["title"] = float("nan")
    asked = [{"query_id": f"q{n}", "text": f"question {n}"} for n in range(4)]
    judged = [{"query_id": f"q{n}", "doc_id": f"d{n}", "relevance": 1} for n in range(4)]
    what = f"{form}: texts {bad!r}"
    raw = _read(
        corpus=str(write_rows(folder / "corpus", rows, form)),
        queries=str(write_rows(folder / "queries", asked, "jsonl")),
        judgments=str(write_rows(folder / "judgments", judged, "jsonl")),
    )
    if isinstance(raw, str):
        return raw, what
    ingested = _ingest(raw)
    if isinstance(ingested, str):
        return ingested, what
    kept = dict(ingested.documents.select("doc_id", "text").rows())
    right = {f"d{n}": (f"Towers {text}" if rows[n]["title"] == "Towers" else text)
             for n, text in enumerate(texts)}  # fmt: skip
    for n, text in enumerate(bad, start=len(texts)):
        if rows[n]["title"] == "Towers" and text is not None and text not in MARKS:
            right[f"d{n}"] = "Towers"  # a text that is there and empty: the title is all there is
            kept.setdefault(f"d{n}", "Towers")  # or set aside
    if kept != right:
        return f"{WRONG}: {sorted(kept.items())!r:.300}", what
    return "quarantined", what


def _encodings(chance: random.Random, folder: Path) -> Found:
    """Pairs in an encoding that the settings name, or do not."""
    code = chance.choice(
        ["cp1252", "latin-1", "shift_jis", "utf-16-le", "utf-8", "utf-32", "koi8_r"]
    )
    letters = {"shift_jis": "日本", "koi8_r": "мир"}.get(code, "café")
    pairs = [(f"question {n} {letters if n % 2 else ''}?", f"answer {n}") for n in range(6)]
    rows = [{"query": query, "positive": text} for query, text in pairs]
    plain = write_rows(folder / "plain", rows, chance.choice(["csv", "jsonl", "tsv"]), ascii_=False)
    path = folder / f"pairs{plain.suffix}"
    path.write_bytes(plain.read_text(encoding="utf-8").encode(code))
    named = chance.random() < 0.5
    what = f"{path.suffix} in {code}, {'named' if named else 'not named'}"
    raw = _read(pairs=str(path), **({"encoding": code} if named else {}))
    if isinstance(raw, str):
        return (raw if not named else f"refused though it is named: {raw}"), what
    found = _pairs_of(raw)
    if not found <= set(pairs):
        return f"{WRONG}: {sorted(found - set(pairs))[:2]}", what
    if len(found) + len(raw.rows_rejected) != len(pairs):
        return f"{WRONG}: {len(found)} of {len(pairs)} pairs", what
    return ("accepted rightly" if len(found) == len(pairs) else "quarantined"), what


def _no_texts(chance: random.Random, folder: Path) -> Found:
    """Choices, numbers, written lists or escaped marks where texts belong: all to be refused."""
    cells = chance.choice([
        ["A", "B", "A", "D"], ["True", "False"] * 2, ["0.7", "0.1", "1", "0"],
        [f"['x {n}', 'y']" for n in range(4)], [f"b'x {n}'" for n in range(4)],
        [f'["x {n}"]' for n in range(4)], [f"{{'text': 'x {n}'}}" for n in range(4)],
    ])  # fmt: skip
    rows = [{ASK[0]: f"how is {n}", SAY[1]: cell} for n, cell in enumerate(cells)]
    form = chance.choice(["csv", "jsonl", "parquet", "tsv", "no header", "escaped"])
    path = folder / "pairs.tsv"
    if form == "no header":
        path.write_text("".join(f"how is number {n}\tit is {n}\t{n % 2}\n" for n in range(4)))
    elif form == "escaped":
        path.write_text('query\tanswer\n"how is it?"\t"it is \\"so\\", they say"\n')
    else:
        path = write_rows(folder / "pairs", rows, form)
    raw = _read(pairs=str(path))
    return raw if isinstance(raw, str) else f"{WRONG}: texts", f"{form} with {cells[0]}"


def _named(chance: random.Random, folder: Path) -> Found:
    """Columns by names that nobody knows, which the settings tell: there is nothing to ask."""
    rows = [{"alpha": f"question {n}?", "beta": f"answer {n}", "gamma": n % 2, "delta": "no"}
            for n in range(6)]  # fmt: skip
    path = write_rows(folder / "pairs", rows, chance.choice(["csv", "jsonl", "parquet", "tsv"]))
    said: dict[str, Any] = {"query": "alpha", "positive": "beta", "relevance": "gamma",
                            "negative": "delta"}  # fmt: skip
    raw = _read(pairs=str(path), columns=said)
    if isinstance(raw, str):
        return f"refused though all is named: {raw}", path.suffix
    kept = dict(raw.judgments.join(raw.queries, on="query_id").select("text", "relevance").rows())
    wrong = kept != {row["alpha"]: row["gamma"] for row in rows} or raw.given.height != 6
    return (f"{WRONG}: {sorted(kept.items())[:3]}" if wrong else "accepted rightly"), path.suffix


MAKERS: tuple[Callable[[random.Random, Path], Found], ...] = (
    _columns, _columns, _grades, _labels, _marks, _encodings, _no_texts, _named,
)  # fmt: skip


def _read(**named: Any) -> Any:
    """The raw tables, or what an error counts as."""
    from polymine.data_contracts.errors import PolymineError
    from polymine.data_contracts.settings import DatasetSettings
    from polymine.tasks.sources.reading import read_sources

    sources = [value for value in named.values() if isinstance(value, str)]
    try:
        return read_sources(DatasetSettings(**named, on_invalid="quarantine"))
    except PolymineError as error:
        clear = any(Path(source).name in str(error) for source in sources)
        return "clear error" if clear else f"unclear: {error!s:.200}"


def _ingest(raw: Any) -> Any:
    from polymine.data_contracts.errors import PolymineError
    from polymine.mining.ingestion import ingest

    try:
        return ingest(raw.documents, raw.queries, raw.judgments, on_invalid="quarantine",
                      names=raw.names)  # fmt: skip
    except PolymineError:
        return "clear error"


def _pairs_of(raw: Any) -> set[tuple[str, str]]:
    asked = dict(raw.queries.select("query_id", "text").rows())
    passages = dict(raw.documents.select("doc_id", "text").rows())
    return {(asked[q], passages[d]) for q, d in raw.judgments.select("query_id", "doc_id").rows()}


def _number(value: Any) -> float:
    try:
        return float(value)
    except (TypeError, ValueError):
        return float("nan")


def _meant(value: Any, hint: Any) -> int | None:
    """What a value of a judgment means; None where it can be no grade."""
    number = _number(value)
    if isinstance(hint, list):
        return None if value is None or value == "NaN" else int(
            str(value) in map(str, hint) or number in [h for h in hint if not isinstance(h, str)]
        )  # fmt: skip
    if hint is not None:
        return int(number >= hint) if number == number else None
    return int(number) if number == number and number in range(128) else None


def write_rows(path: Path, rows: Rows, form: str, ascii_: bool = True) -> Path:
    """Write rows as a file of this form, whose name the path has without an ending."""
    target = path.with_suffix(f".{form}")
    if form == "parquet":
        pl.DataFrame(rows, infer_schema_length=None, strict=False).write_parquet(target)
    elif form == "json":
        target.write_text(json.dumps(rows), encoding="utf-8")
    elif form == "jsonl":
        lines = (json.dumps(row, ensure_ascii=ascii_) for row in rows)
        target.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    else:
        stream = io.StringIO()
        separator = "\t" if form == "tsv" else ","
        writer = csv.writer(stream, delimiter=separator, lineterminator="\n")
        writer.writerow(rows[0])
        writer.writerows(["" if v is None else v for v in row.values()] for row in rows)
        target.write_text(stream.getvalue(), encoding="utf-8", newline="")
    return target
