"""The lists of a finished run, from its own tables, block by block of queries."""

from collections.abc import Iterator

import polars as pl

from polymine.data_contracts.errors import StoreError
from polymine.data_contracts.settings import MiningSettings
from polymine.data_contracts.tables import Logits, lists_schema
from polymine.mining.export import find_near, judge_positives
from polymine.mining.lists import KEYS, build_lists
from polymine.tasks.mining.export import QUERIES_PER_FILE
from polymine.tasks.runs.folder import RunFolder

FURTHER = 16  # candidates of every risk and score, per query
ALL = 2**31  # candidates of a query
TABLES = ("evidence", "risks", "negatives", "promoted", "positives")  # that lists are made of


def read_lists(run: RunFolder, further: int = FURTHER) -> pl.DataFrame:
    """Read all lists at once (contract Lists)."""
    teachers = tuple(teacher.name for teacher in run.mining.teachers)
    empty = lists_schema(teachers).create_empty()
    return pl.concat([empty, *iterate_lists(run, further)])


def iterate_lists(run: RunFolder, further: int = FURTHER) -> Iterator[pl.DataFrame]:
    """Read the lists of some thousand queries at a time, in the order of their ids.

    Raises StoreError for a run without the tables that lists are made of.
    """
    mining, queries = run.mining, run.ids()
    contract = lists_schema(tuple(teacher.name for teacher in mining.teachers))
    for table in TABLES:
        run.scan(table)
    for start in range(0, len(queries), QUERIES_PER_FILE):
        block = queries.slice(start, QUERIES_PER_FILE)
        yield contract.validate(_lists_of(run, mining, block, further), cast=True)


def further_for(scores: str | None, count: int) -> int:
    """How many candidates to draw where those without a score are left out afterwards.

    A validator reads few: of what it has read, everything is taken.
    """
    return ALL if scores == "validator" else count


def has_logits(run: RunFolder) -> bool:
    """Whether the run kept what its validator said, of known positives too."""
    return bool(run.paths("logits"))


def texts_of(run: RunFolder, lists: pl.DataFrame) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Read queries (query_id, text, language) and documents (doc_id, ...) of lists, each once.

    Raises StoreError where the store no longer has them.
    """
    found = []
    for table, key in (("queries", "query_id"), ("documents", "doc_id")):
        rows = run.collection(table, key, lists[key].unique())
        if rows is None:
            raise StoreError(
                f"{run.name}: lists name texts that only the store has, and it no longer has them "
                f"({run.store_name()}); run again with the same settings to have them"
            )
        found.append(rows.select(key, "text", "language").sort(key))
    return found[0], found[1]


def _lists_of(
    run: RunFolder, mining: MiningSettings, block: pl.Series, further: int
) -> pl.DataFrame:
    def read(table: str) -> pl.DataFrame:
        between = pl.col("query_id").is_between(pl.lit(block[0]), pl.lit(block[-1]))
        return run.collect(run.scan(table).filter(between), table)

    evidence = read("evidence").join(read("risks"), on=KEYS, how="left", maintain_order="left")
    positives, negatives = read("positives"), read("negatives")
    positives = positives.with_columns(score=f"score_{mining.primary_teacher}")
    near = positives.clear()
    if mining.positives.within is not None:
        near = find_near(evidence, positives, _languages(run, mining, positives), mining)
    trained, _ = judge_positives(positives, near, mining.positives)
    logits = read("logits") if has_logits(run) else Logits.create_empty()
    return build_lists(
        evidence, negatives.with_columns(pl.col("verdict").cast(pl.String)), read("promoted"),
        trained, logits, weighted=mining.selection.rule == "risk", further=further,
        seed=mining.seed,
    )  # fmt: skip


def _languages(run: RunFolder, mining: MiningSettings, positives: pl.DataFrame) -> pl.DataFrame:
    """Languages of known positives, which the store knows: asked where a filter depends on them."""
    if mining.languages is None:
        return positives.clear()
    return texts_of(run, positives)[1]
