"""Reads evaluation sets, local or from the hub, into one shape per kind.

| kind | shards |
|---|---|
| `retrieval` | documents, queries, judgments, hidden |
| `similarity` | pairs with gold scores |
| `clustering` | sentences with labels |
| `choice` | passages, questions and four answers |
| `mteb` | none: MTEB reads its own data |

`splits.*` (query_id or id, split) beside the queries, pairs or sentences says what `split` chooses.
"""

from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import polars as pl

from data_contracts.errors import InputError, SettingsError
from data_contracts.references import DatasetRef, fingerprint
from data_contracts.settings import DatasetSettings, EvaluationSet
from polymine.evaluation import local_sets
from polymine.evaluation.collection import EvaluationCollection
from polymine.mining.input_checks import SOURCE_COLUMN
from tasks.source_columns import QUERIES, rename_columns
from tasks.source_files import SourceFile, digest, fetch, side_table
from tasks.source_formats import read_file
from tasks.sources import fingerprint_sources, read_sources
from tasks.stages import stage
from tasks.store import Store, info_of, write_frame

VERSION = 1
CONTRACT = "evaluation-sets"
HUB = ("belebele", "belebele-choice", "xquad")
_COLLECTION = ("documents", "queries", "judgments", "hidden")


@stage("read-set", "read-set-{chosen.name}")
def read_set(chosen: EvaluationSet, seed: int, root: str) -> DatasetRef:
    """Read one set, restricted to the split, languages and number of queries asked for."""
    version = fingerprint(version=VERSION, source=_fingerprint(chosen), settings=chosen, seed=seed)
    place = Store(root).dataset(CONTRACT, version)
    if found := place.find():
        return found
    kind, tables = _read(chosen, seed)
    for name, table in tables.items():
        write_frame(table, place.folder / f"{name}.parquet")
    return place.commit(info={"kind": kind, "name": chosen.name, "benchmark": chosen.benchmark})


def kind_of(reference: DatasetRef) -> str:
    """Say what kind of set this is."""
    return str(info_of(reference)["kind"])


def open_collection(reference: DatasetRef) -> EvaluationCollection:
    """Open a set of the kind `retrieval`."""
    return EvaluationCollection(*(read_table(reference, name) for name in _COLLECTION))


def read_table(reference: DatasetRef, name: str) -> pl.DataFrame:
    """Read one of the tables of a set."""
    return pl.read_parquet(Path(reference.path) / f"{name}.parquet")


def texts_of_set(reference: DatasetRef) -> pl.DataFrame:
    """List the texts that training must not have seen: id, text."""
    kind = kind_of(reference)
    columns = {
        "retrieval": [("documents", "doc_id", "text"), ("queries", "query_id", "text")],
        "similarity": [("pairs", "id", "text_a"), ("pairs", "id", "text_b")],
        "clustering": [("sentences", "id", "text")],
        "choice": [("items", "item_id", "passage"), ("items", "item_id", "question")],
    }.get(kind, [])
    parts = [
        read_table(reference, table).select(id=pl.col(key).cast(pl.String), text=text)
        for table, key, text in columns
    ]
    empty = pl.DataFrame(schema={"id": pl.String, "text": pl.String})
    return pl.concat([empty, *parts]).unique(maintain_order=True)


def _read(chosen: EvaluationSet, seed: int) -> tuple[str, dict[str, pl.DataFrame]]:
    if chosen.benchmark is not None:
        return _read_benchmark(chosen, chosen.benchmark, seed)
    if chosen.path is None or _names_retrieval(chosen.path):
        return "retrieval", _restricted(_collection(chosen), chosen, seed)
    tables = _tables_of(chosen.path)
    kind, languages, split = local_sets.set_kind(tables), chosen.languages, chosen.split
    if kind == "similarity":
        return kind, {"pairs": local_sets.similarity_set(tables, languages, split=split)}
    if kind == "clustering":
        return kind, {"sentences": local_sets.sentence_set(tables, languages, split=split)}
    found = local_sets.parallel_set(tables, languages, split=split)
    return "retrieval", _restricted(found, chosen, seed, narrowed=True)


def _collection(chosen: EvaluationSet) -> EvaluationCollection:
    raw = read_sources(_as_dataset(chosen))
    _check_unique(raw.documents, "doc_id")
    _check_unique(raw.queries, "query_id")
    _check_unique(raw.judgments, "query_id", "doc_id")
    whole = EvaluationCollection(raw.documents, raw.queries, raw.judgments)
    if chosen.split is None:
        return whole
    splits = _splits(chosen)
    return whole.ask(local_sets.only_split(whole.queries, splits, "query_id", chosen.split))


def _check_unique(table: pl.DataFrame, *key: str) -> None:
    """Check that no key is there twice; the collection does too, but does not know the files."""
    twice = table.filter(pl.struct(key).is_duplicated())
    if twice.is_empty():
        return
    first = twice.select(key).row(0)
    same = pl.all_horizontal(
        pl.col(name).eq_missing(pl.lit(value)) for name, value in zip(key, first, strict=True)
    )
    files = twice.filter(same)[SOURCE_COLUMN].unique().sort()
    named = ", ".join(f"{name} {value!r}" for name, value in zip(key, first, strict=True))
    raise InputError(
        f"{' and '.join(files)}: {named} stands {twice.filter(same).height} times; "
        "give every row its own and leave copies out"
    )


def _splits(chosen: EvaluationSet) -> pl.DataFrame | None:
    """Which query is of which split, from `splits.*` beside the queries."""
    names = {"query_id": QUERIES.columns["query_id"], "split": ("split",)}
    with _split_files(chosen) as files:
        tables = [rename_columns(_whole(path, path.name), names) for path in files]
    return pl.concat(tables, how="diagonal_relaxed") if tables else None


@contextmanager
def _split_files(chosen: EvaluationSet) -> Iterator[list[Path]]:
    """Files `splits.*` beside the queries, on this machine for as long as the context lasts."""
    named = chosen.path or chosen.queries or []
    with ExitStack() as stack:
        sources = [named] if isinstance(named, str) else named
        files = [file for source in sources for file in stack.enter_context(fetch(source))]
        beside = (side_table(file, "splits") for file in files)
        yield list(dict.fromkeys(path for path in beside if path is not None))


def _as_dataset(chosen: EvaluationSet) -> DatasetSettings:
    title = "prepend" if chosen.title else "ignore"
    if chosen.path is not None:
        return DatasetSettings(corpus=chosen.path, title=title)
    return DatasetSettings(
        corpus=chosen.corpus, queries=chosen.queries, judgments=chosen.judgments, title=title
    )


def _restricted(
    collection: EvaluationCollection, chosen: EvaluationSet, seed: int, narrowed: bool = False
) -> dict[str, pl.DataFrame]:
    if chosen.languages is not None and not narrowed:
        collection = collection.only(chosen.languages)
    if chosen.queries_per_language is not None:
        collection = collection.draw(chosen.queries_per_language, seed)
    return {name: getattr(collection, name) for name in _COLLECTION}


def _read_benchmark(
    chosen: EvaluationSet, name: str, seed: int
) -> tuple[str, dict[str, pl.DataFrame]]:
    benchmark, _, revision = name.partition("@")
    if benchmark not in HUB:
        return "mteb", {}
    languages = _named_languages(chosen)
    if benchmark == "xquad":
        from polymine.evaluation.xquad import load_xquad, xquad_collection

        found = load_xquad(languages, *([f"google/xquad@{revision}"] if revision else []))
        return "retrieval", _restricted(xquad_collection(found), chosen, seed)
    from polymine.evaluation.belebele import belebele_choice, belebele_collection, load_belebele

    rows = load_belebele(languages, *([f"mteb/belebele@{revision}"] if revision else []))
    if benchmark == "belebele-choice":
        return "choice", {"items": belebele_choice(rows)}
    return "retrieval", _restricted(belebele_collection(rows), chosen, seed)


def _named_languages(chosen: EvaluationSet) -> Iterable[str]:
    if chosen.languages is None:
        raise SettingsError(
            f"evaluation.sets.{chosen.name}: name the `languages` of `{chosen.benchmark}`, as "
            '["ar", "en", "es", "fa", "fr", "ru"]'
        )
    return chosen.languages


def _names_retrieval(path: str) -> bool:
    if "://" in path:
        return True
    with fetch(path) as files:
        return not {"corpus", "queries"}.isdisjoint(file.role for file in files)


def _tables_of(path: str) -> dict[str, pl.DataFrame]:
    """Read the pairs or sentences of a folder, or one file of pairs."""
    with fetch(path) as files:
        return {_role(file, len(files)): _whole(file.path, file.name) for file in files}


def _role(file: SourceFile, files: int) -> str:
    return "pairs" if files == 1 and file.role != "sentences" else file.role


def _whole(path: Path, name: str) -> pl.DataFrame:
    known = frozenset(("id", "text_a", "lang_a", "text_b", "lang_b", "score", "text", "label"))
    frame, broken = read_file(path, name, known)
    if broken.height:
        raise InputError(
            f"{name}: {broken.height} lines cannot be read, the first: {broken.row(0)!r:.200}"
        )
    if "score" in frame.columns and frame["score"].dtype == pl.String:
        return frame.with_columns(pl.col("score").cast(pl.Float64, strict=False))
    return frame


def _fingerprint(chosen: EvaluationSet) -> str:
    if chosen.benchmark is not None:
        return chosen.benchmark
    if chosen.path is None or _names_retrieval(chosen.path):
        sources = fingerprint_sources(_as_dataset(chosen))
        if chosen.split is None:
            return sources
        with _split_files(chosen) as paths:
            return fingerprint(sources=sources, splits=[digest(path) for path in paths])
    with fetch(chosen.path) as files:
        return fingerprint(files={file.name: digest(file.path) for file in files})
