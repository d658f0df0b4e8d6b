"""A small evaluation set on disk, and the one way in which tests read sets."""

from pathlib import Path

import polars as pl

from polymine.data_contracts.references import DatasetRef
from polymine.data_contracts.settings import EngineSettings, EvaluationSet
from polymine.evaluation.collection import EvaluationCollection
from polymine.tasks.engine.context import Context
from polymine.tasks.evaluation.reading import read_set
from polymine.tasks.evaluation.sets import open_collection

Tables = dict[str, pl.DataFrame]
NAMED = {"corpus": "corpus", "queries": "queries", "judgments": "qrels"}  # keys and their files
PAIRS = pl.DataFrame(
    {
        "id": ["1", "2", "3"],
        "text_a": ["an otter", "an owl", "an otter"],
        "lang_a": ["en", "en", "en"],
        "text_b": ["выдра", "сова", "une loutre"],
        "lang_b": ["ru", "ru", "fr"],
    }
)


def small() -> Tables:
    """Two documents in two languages each, one question in both, one judgment of each kind."""
    return {
        "corpus": pl.DataFrame(
            {
                "doc_id": ["a-en", "a-ru", "b-en", "b-ru"],
                "text": ["otters swim", "выдры плавают", "owls fly", "совы летают"],
                "title": ["Otter", None, "", "Сова"],
                "language": ["en", "ru", "en", "ru"],
            }
        ),
        "queries": pl.DataFrame(
            {
                "query_id": ["q-en", "q-ru"],
                "text": ["who swims?", "кто плавает?"],
                "language": ["en", "ru"],
            }
        ),
        "qrels": pl.DataFrame(
            {"query_id": ["q-en", "q-en"], "doc_id": ["a-en", "b-en"], "relevance": [1, 0]}
        ),
        "translations": pl.DataFrame(
            {"doc_id": ["a-en", "a-ru", "elsewhere"], "group_id": ["a", "a", "a"]}
        ),
        "query_translations": pl.DataFrame({"query_id": ["q-en", "q-ru"], "group_id": ["?", "?"]}),
    }


def write(folder: Path, tables: Tables) -> str:
    folder.mkdir(parents=True, exist_ok=True)
    for name, table in tables.items():
        table.write_parquet(folder / f"{name}.parquet")
    return str(folder)


def run_in(folder: Path) -> Context:
    """Work in the store of a folder."""
    return Context.of(EngineSettings(store=str(folder / "store"), threads=1))


def read(folder: Path, seed: int = 0, **chosen: object) -> DatasetRef:
    """Read a set of `folder / "set"`, or what else is chosen, into a store beside it."""
    named = {} if {"corpus", "path", "benchmark"} & set(chosen) else {"path": str(folder / "set")}
    return read_set(run_in(folder), EvaluationSet(name="own", **named, **chosen), seed)


def collect(folder: Path, tables: Tables, **chosen: object) -> EvaluationCollection:
    write(folder / "set", tables)
    return open_collection(read(folder, **chosen))


def name_tables(folder: Path) -> dict[str, str]:
    """The three files of `folder / "set"`, by the keys of a set."""
    return {key: str(folder / "set" / f"{name}.parquet") for key, name in NAMED.items()}
