"""Batches as the product samples them, and what they say of known positives."""

from itertools import product

import numpy as np
import polars as pl

from polymine.data_contracts.settings import LossSettings, ScheduleSettings, StepSettings
from polymine.training import batches
from polymine.training.labels import RowFacts


def count_closed(rows: pl.DataFrame, known: set[tuple[str, str]], batch: int) -> int:
    """Count documents of other rows that are known positives; every one of them must be masked."""
    step = StepSettings(
        name="a", loss=LossSettings(negatives=2), schedule=ScheduleSettings(steps=4, batch=batch)
    )
    parts = batches.split_rows(rows)
    (dataset,) = batches.build_datasets(parts, step).values()
    facts, met = RowFacts(parts.values()), 0
    for numbers in batches.sample_without_copies(dataset, batch, False, ["label"]):
        texts = [dataset[number] for number in numbers]
        columns = [name for name in texts[0] if name != "label"]
        labels = facts.of(np.array([row["label"] for row in texts]), len(columns))
        places = [(column, j) for column in columns for j in range(len(texts))]
        closed = 0
        for i, (place, (column, j)) in product(range(len(texts)), enumerate(places)):
            own = i == j and column in ("anchor", "positive")
            if (texts[i]["anchor"], texts[j][column]) in known and not own:
                assert labels.shifts[i, place] == -np.inf
                closed += column != "anchor"
        assert labels.closed >= closed
        met += closed
    return met
