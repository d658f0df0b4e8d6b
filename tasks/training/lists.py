"""Training rows from the lists of a mining run, and what must be stored for them."""

from pathlib import Path

import polars as pl

from polymine.data_contracts.errors import SettingsError
from polymine.data_contracts.references import fingerprint
from polymine.data_contracts.settings import LossSettings, MiningSettings
from polymine.mining.lists import score_by
from polymine.tasks.runs.folder import RunFolder
from polymine.tasks.runs.lists import TABLES, further_for, has_logits, read_lists, texts_of
from polymine.training import mixture
from polymine.training.relations import relations_of_run

_READ = (*TABLES, "closure", "logits", "query_hashes", "document_hashes")  # texts by their hashes


def rows_of_lists(folder: str, name: str, loss: LossSettings) -> tuple[mixture.Part, pl.DataFrame]:
    """Make a row of every query's list.

    Args:
        folder: of a mining run.
        name: of the rows' source.
        loss: how long a row is, and what it learns.

    Returns:
        The rows, and what the run knows of pairs of their texts.

    Raises:
        StoreError: no run, one without the tables, or a store that has lost its texts.
        SettingsError: a run without what the loss is to learn.
        InputError: no list is left.
    """
    run = open_run(folder)
    mining = run.mining
    check_target(loss, folder, mining, run)
    scored = loss.target is not None
    lists = read_lists(run, further_for(loss.target, loss.negatives) if scored else 0)
    if loss.target is not None:
        lists = score_by(lists, loss.target)
    queries, documents = texts_of(run, lists)
    made = mixture.from_lists(
        lists, queries, documents, name, negatives=loss.negatives,
        positives=mining.positives.per_query, scored=scored,
    )  # fmt: skip
    return made, relations_of_run(queries, documents, run.read("closure"), run.read("negatives"))


def check_target(
    loss: LossSettings, name: str, mining: MiningSettings, run: RunFolder | None = None
) -> None:
    """Refuse to learn what a run has not stored.

    Args:
        loss: with its target.
        name: of the run, in errors.
        mining: its settings.
        run: where it is mined already.

    Raises:
        SettingsError: no validator has read its pairs, or it kept no logits.
    """
    if loss.target != "validator":
        return
    if mining.validation is None:
        raise SettingsError(
            f'loss.target = "validator": {name} is mined without a validator; name one as '
            "`mining.validation.model` and mine again, which reuses the rest, or learn `fused` or "
            "`risk`"
        )
    if run is not None and not has_logits(run):
        raise SettingsError(
            f'loss.target = "validator": {name} has no table `logits`, as an older version of '
            "Polymine wrote it; run it again with the same settings into another folder, which "
            "reuses what was mined"
        )


def open_run(folder: str) -> RunFolder:
    """Open the run that lists come from, and look whether it has their tables.

    Raises StoreError for what is no folder of a run, or lacks one of them.
    """
    run = RunFolder(Path(folder).expanduser())
    for table in (*TABLES, "closure"):
        run.scan(table)
    return run


def fingerprint_lists(folder: str) -> str:
    """Hash the tables that lists are made of, and the settings that they were mined with."""
    run = RunFolder(Path(folder).expanduser())
    tables = [s.checksum for s in run.manifest.shards if s.name.partition("/")[0] in _READ]
    return fingerprint(tables=tables, mining=run.settings_of("mining", MiningSettings))
