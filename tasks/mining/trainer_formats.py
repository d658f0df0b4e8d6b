"""Files for other trainers, written block by block of queries: `part-00000.jsonl`, ...

NeMo Automodel keeps texts apart: `part-00000.json` has ids, `corpus/` each document once.
"""

from pathlib import Path

import polars as pl

from polymine.data_contracts.settings import Format
from polymine.mining.trainer_formats import build_corpus, build_records
from polymine.tasks.store.atomic import write_bytes, write_frame, write_whole
from polymine.tasks.store.datasets import shard_name

CORPUS = "corpus"  # beside the files that name it, which therefore may be moved along with it


class TrainerFiles:
    """The files of one format, in a folder that holds nothing else: FlagEmbedding reads them all.

    Args:
        folder: where they go.
        form: which format.
        run: fingerprint of the run; corpora of several runs that are trained on together need
            different names.
    """

    def __init__(self, folder: Path, form: Format, run: str) -> None:
        self._folder, self._form = folder, form
        self._corpus_id = f"polymine-{run[:12]}"

    def write_block(self, number: int, triplets: pl.DataFrame) -> int:
        """Write the triplets of some queries and return the number of records.

        Nothing is written where there is none: no reader makes sense of an empty file.
        """
        records = build_records(triplets, self._form)
        if records.is_empty():
            return 0
        if self._form == "nemo":
            self._write_corpus(number, triplets)
            self._write_json(number, records)
        else:
            path = self._folder / Path(shard_name(number)).with_suffix(".jsonl")
            write_whole(path, records.write_ndjson)
        return len(records)

    def _write_corpus(self, number: int, triplets: pl.DataFrame) -> None:
        """Add the documents no earlier block named; `train` is the split its reader asks for."""
        folder = self._folder / CORPUS
        new, file = build_corpus(triplets), folder / f"train-{number:05d}.parquet"
        if before := [path for path in sorted(folder.glob("*.parquet")) if path < file]:
            new = new.join(pl.read_parquet(before, columns=["id"], glob=False), on="id", how="anti")
        if len(new):
            write_frame(new.sort("id"), file)
        about = f'{{"class": "TextQADataset", "corpus_id": "{self._corpus_id}"}}\n'
        write_bytes(folder / "merlin_metadata.json", about.encode())

    def _write_json(self, number: int, records: pl.DataFrame) -> None:
        named = records.with_columns(corpus_id=pl.lit(self._corpus_id))
        data = named.write_ndjson().rstrip("\n").replace("\n", ",\n")  # no text holds a bare one
        content = f'{{"corpus": [{{"path": "{CORPUS}"}}], "data": [\n{data}\n]}}\n'
        path = self._folder / Path(shard_name(number)).with_suffix(".json")
        write_bytes(path, content.encode())
