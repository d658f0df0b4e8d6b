"""Files to train on and to measure by, which may mean something else than they seem to.

The maker knows the right rows. As with mining's inputs, a file may be refused or its rows set
aside; what must never happen is that others are read and nothing says so.
"""

import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

from robustness.bad_input.meanings import WRONG, Found, Rows, write_rows

SCORES = ("score", "similarity", "label", "labels", "gold_label", "rating", "sts_score",
          "relatedness", "cosine", "laser_score", "is_duplicate", "quality")  # fmt: skip
FORMS = ("csv", "jsonl", "parquet", "tsv")


def attempt(chance: random.Random, folder: Path) -> Found:
    """Write and read one file or folder; say what came of it, and what it is."""
    return chance.choice(MAKERS)(chance, folder)


def _triplets(chance: random.Random, folder: Path) -> Found:
    """Files that number their rows alike, name a language or grades, and repeat what is right."""
    files, right = [], set[tuple[str, str, str, tuple[str, ...]]]()
    named, graded = chance.random() < 0.5, chance.choice([None, None, (0, 1), (1, 2), (0.9, 1)])
    ids = chance.choice([(), ("query_id", "positive_id"), ("query_id",)])
    form = chance.choice(FORMS)
    for number in range(chance.randint(1, 3)):
        rows: Rows = []
        for n in range(4):
            ask, say = f"file {number}, question {n}?", f"Answer {n} of file {number}."
            bad = chance.choice([f"no answer {n}", say, say.upper(), ask, f" {say} "])
            row: dict[str, Any] = {name: str(n) for name in ids}
            row |= {"query": ask, "positive": say, "negative": bad}
            row |= {"language": "de"} if named else {}
            grade = graded[n % 2] if graded else 1
            row |= {"relevance": grade} if graded else {}
            rows.append(row)
            if grade >= 1:
                kept = (bad,) if bad.startswith("no") else ()
                right.add((ask, say, "de" if named else "und", kept))
        files.append(str(write_rows(folder / f"part{number}", rows, form)))
    what = f"{len(files)} {form} with ids {ids}, language {named}, grades {graded}"
    part = _part(triplets=files)
    if isinstance(part, str):
        return part, what
    columns = ("anchor", "positive", "positive_language", "negatives")
    found = {(*row[:3], tuple(row[3])) for row in part.made.rows.select(columns).rows()}
    if found != right:
        return f"{WRONG}: {sorted(found ^ right)[:2]}", what
    if part.made.counts.merged:
        return f"{WRONG}: rows of different texts were merged", what
    return "accepted rightly", what


def _scored(chance: random.Random, folder: Path) -> Found:
    """Pairs with how alike they are: a column of scores must not be passed over."""
    from polymine.data_contracts.errors import PolymineError
    from polymine.data_contracts.settings import EvaluationSet
    from polymine.evaluation.local_sets import set_kind
    from polymine.tasks.evaluation.files import tables_of

    column = chance.choice(SCORES)
    values = chance.choice([(0, 1), (0.0, 2.5, 5.0), (0.1, 0.9), (1, None), (None, None)])
    rows = [{"sentence1": f"tower {n} is old", "sentence2": f"tower {n} is not young",
             column: values[n % len(values)]} for n in range(6)]  # fmt: skip
    path = write_rows(folder / "sts", rows, chance.choice(FORMS))
    what = f"{path.suffix}: pairs with {column} = {values}"
    chosen = EvaluationSet(name="a", path=str(path), language="en", on_invalid="quarantine")
    try:
        tables, _ = tables_of(chosen)
        rejected = tables.pop("rejected").height
        kind = set_kind(tables)
    except PolymineError as error:
        clear = path.name in str(error) or "pairs" in str(error)
        return ("clear error" if clear else f"unclear: {error!s:.200}"), what
    blank = set(values) == {None}
    if kind == "parallel" and not blank:
        return f"{WRONG}: scores were passed over, and all pairs taken for equal", what
    if tables["pairs"].height + rejected != len(rows):
        return f"{WRONG}: {tables['pairs'].height} of {len(rows)}", what
    return ("quarantined" if rejected else "accepted rightly"), what


def _splits(chance: random.Random, folder: Path) -> Found:
    """What is for testing lies beside what is to be trained on: in a folder, or by a column."""
    kinds = chance.sample(["train", "test", "dev", "validation"], 2)
    asked = chance.choice([None, kinds[0], "other"])
    parts: dict[str, Rows] = {
        split: [{"query": f"{split} {n}?", "positive": f"answer {n} of {split}"} for n in range(3)]
        for split in kinds
    }
    place = chance.choice(["files", "folders", "column", "names"])
    if place == "column":
        rows = [row | {"split": split} for split, some in parts.items() for row in some]
        named = write_rows(folder / "pairs", rows, chance.choice(FORMS))
    else:
        named = folder / "set"
        for split, some in parts.items():
            name = {"files": split, "folders": f"{split}/data", "names": f"my_{split}_set"}[place]
            (named / name).parent.mkdir(parents=True, exist_ok=True)
            write_rows(named / name, some, "jsonl")
    what = f"{' and '.join(kinds)} by {place}, split = {asked}"
    part = _part(triplets=str(named), **({} if asked is None else {"split": asked}))
    if isinstance(part, str):
        return part, what
    right = {row["query"] for row in parts[kinds[0]]} if asked == kinds[0] else set()
    found = set(part.made.rows["anchor"])
    return (f"{WRONG}: {sorted(found)[:4]}" if found != right else "accepted rightly"), what


def _lines(chance: random.Random, folder: Path) -> Found:
    """Lines without a header, with a third column, and cells in single quotation marks."""
    third = chance.choice([None, "CC-BY 2.0 (France) by someone", "not an answer at all, this"])
    marks, name = chance.random() < 0.3, chance.choice(["pairs.tsv", "triplets.tsv", "fra.tsv"])
    pairs = [
        (f"how long has number {n} been?", f"Number {n} has been for years.") for n in range(4)
    ]
    cells = [[*pair, *([third] if third else [])] for pair in pairs]
    if marks:
        cells = [[f"'{cell}'" for cell in row] for row in cells]
    path = folder / name
    path.write_text("".join("\t".join(row) + "\n" for row in cells), encoding="utf-8")
    what = f"{name} with {len(cells[0])} columns{' in single marks' if marks else ''}"
    part = _part(triplets=str(path))
    if isinstance(part, str):
        return part, what
    columns = ("anchor", "positive", "negatives")
    found = {(a, p, *n) for a, p, n in part.made.rows.select(columns).rows()}
    told = third is None or "triplets" in name
    if marks or not told or found != {tuple(row) for row in cells}:
        return f"{WRONG}: {sorted(found)[:2]}", what
    return "accepted rightly", what


def _part(**named: Any) -> Any:
    """A part of a step's data as it is read, or what an error counts as."""
    from polymine.data_contracts.errors import PolymineError
    from polymine.data_contracts.settings import LossSettings, TrainingData
    from polymine.tasks.training.data import read_part

    sources = named["triplets"] if isinstance(named["triplets"], list) else [named["triplets"]]
    try:
        return read_part(TrainingData.model_validate(named), "data-0", LossSettings())
    except PolymineError as error:
        clear = any(Path(source).name in str(error) for source in sources)
        return "clear error" if clear else f"unclear: {error!s:.200}"


MAKERS: tuple[Callable[[random.Random, Path], Found], ...] = (_triplets, _scored, _splits, _lines)
