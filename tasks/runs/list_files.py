"""Lists as files for other trainers, with the scores of one teacher.

Trainers that look texts up by their ids get three tables: `train/`, `queries/` and `documents/`,
which `datasets.load_dataset` finds by the README beside them. The others get JSON lines.
"""

import logging
from pathlib import Path

import polars as pl

from polymine.data_contracts.errors import SettingsError
from polymine.data_contracts.settings import ListFormat
from polymine.mining.lists import interleave, score_by
from polymine.mining.trainer_formats import build_list_records
from polymine.tasks.runs.folder import RunFolder
from polymine.tasks.runs.lists import FURTHER, further_for, has_logits, iterate_lists, texts_of
from polymine.tasks.store.atomic import write_bytes, write_frame, write_whole
from polymine.tasks.store.datasets import shard_name

FUSED = "fused"  # scores, where none are named: every candidate has them
TABLES = ("train", "queries", "documents")
CARD = "".join(
    ["---\nconfigs:\n"]
    + [f"- config_name: {name}\n  data_files: {name}/*.parquet\n" for name in TABLES]
    + ["---\n"]
)  # by which `load_dataset(folder, name)` finds each table
logger = logging.getLogger("polymine.runs")


def write_lists(run: RunFolder, form: ListFormat, folder: Path, scores: str) -> int:
    """Write the lists of a run.

    Args:
        run: its lists and texts are read.
        form: for which trainer.
        folder: where to.
        scores: `risk`, `fused`, `validator` or a teacher's name.

    Returns:
        The number of records. Documents without such a score are left out and counted in the log.

    Raises:
        SettingsError: the run has no such scores.
        StoreError: the store no longer has the texts.
    """
    _check_scores(run, scores)
    files, records, bare = _ListFiles(folder, form), 0, 0
    for number, lists in enumerate(iterate_lists(run, further_for(scores, FURTHER))):
        scored = score_by(interleave(lists), scores).drop_nulls("score")
        bare += lists.height - scored.height
        records += files.write_block(number, scored, *texts_of(run, scored))
    if bare:
        logger.info("%s documents have no score of `%s` and are left out", f"{bare:,}", scores)
    return records


class _ListFiles:
    """The files of one format, written block by block of queries."""

    def __init__(self, folder: Path, form: ListFormat) -> None:
        self._folder, self._form = folder, form
        self._written = pl.Series("doc_id", [], pl.String)

    def write_block(
        self, number: int, lists: pl.DataFrame, queries: pl.DataFrame, documents: pl.DataFrame
    ) -> int:
        """Write the lists of some queries and return the number of records."""
        records = build_list_records(lists, queries, documents, self._form)
        if records.is_empty():
            return 0
        if self._form.endswith("-kd"):
            path = self._folder / Path(shard_name(number)).with_suffix(".jsonl")
            write_whole(path, records.write_ndjson)
            return len(records)
        named = records.select(doc_id=pl.col("document_ids").explode()).unique()
        new = documents.join(named, on="doc_id", how="semi", maintain_order="left")
        new = new.filter(~pl.col("doc_id").is_in(self._written.implode()))
        self._written = pl.concat([self._written, new["doc_id"]])
        asked = queries.join(records, on="query_id", how="semi", maintain_order="left")
        read = new.select(pl.col("doc_id").alias("document_id"), "text")
        tables = (records, asked.select("query_id", "text"), read)
        for name, table in zip(TABLES, tables, strict=True):
            write_frame(table, self._folder / name / shard_name(number))
        write_bytes(self._folder / "README.md", CARD.encode())
        return len(records)


def _check_scores(run: RunFolder, scores: str) -> None:
    mining = run.mining
    names = ["risk", FUSED, *(teacher.name for teacher in mining.teachers)]
    names += ["validator"] * has_logits(run)
    if scores not in names:
        why = "" if scores != "validator" else ": no validator has read its pairs and was kept"
        raise SettingsError(
            f"{scores}: {run.name} has no such scores{why}; it has {', '.join(names)}"
        )
