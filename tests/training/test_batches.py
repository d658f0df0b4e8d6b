"""Batches of texts that repeat: as the library draws them, and each text in memory once."""

import numpy as np
import polars as pl
import pytest
import torch
from sentence_transformers.base.sampler import NoDuplicatesBatchSampler

from polymine.data_contracts.settings import LossSettings, ScheduleSettings, StepSettings
from polymine.reading.shared_texts import share_texts
from polymine.training import batches
from polymine.training.labels import RowFacts
from polymine.training.mixture import from_triplets

TEXT = "a document that is too long to stand in a view of sixteen bytes, number {}"


def rows_of_few_texts(count: int, seed: int = 0) -> pl.DataFrame:
    """Rows of one to three negatives whose texts stand in many of them."""
    drawn = np.random.default_rng(seed).integers(0, count, (count, 4))
    documents = [[TEXT.format(number) for number in row] for row in drawn]
    names = ("positive", "negative_1", "negative_2", "negative_3")
    table = pl.DataFrame(documents, schema=names, orient="row").with_columns(
        anchor=pl.format(
            "a question that nobody else has asked, number {}", pl.int_range(pl.len())
        ),
        negative_3=pl.when(pl.int_range(pl.len()) % 3 > 0).then("negative_3"),
    )
    return from_triplets(table, "data-0", 3).rows


def settings(batch: int) -> StepSettings:
    return StepSettings(
        name="a", loss=LossSettings(negatives=3), schedule=ScheduleSettings(steps=4, batch=batch)
    )


@pytest.mark.parametrize("batch", [4, 16])
def test_batches_are_those_of_the_library(batch):
    parts = batches.split_rows(rows_of_few_texts(60))
    for dataset in batches.build_datasets(parts, settings(batch)).values():
        ours, theirs = (
            make(dataset, batch, False, ["label"], torch.Generator(), 5)
            for make in (batches.sample_without_copies, NoDuplicatesBatchSampler)
        )
        for epoch in (0, 1):
            ours.set_epoch(epoch)
            theirs.set_epoch(epoch)
            drawn = list(ours)
            assert drawn == list(theirs)
        assert len(drawn) > len(dataset) / batch  # copies were kept apart


def test_a_row_of_fewer_negatives_repeats_its_last_with_no_weight():
    first = {"anchor": ["a", "b"], "positive": ["A", "B"], "negative_1": ["n", "m"]}
    table = pl.DataFrame({**first, "negative_2": ["o", None]})
    parts = batches.split_rows(from_triplets(table, "data-0", 2).rows)
    (dataset,) = batches.build_datasets(parts, settings(2)).values()
    assert dataset[1] == {
        "anchor": "b", "positive": "B", "negative_1": "m", "negative_2": "m", "label": 1,
    }  # fmt: skip
    shifts = RowFacts(parts.values()).of(np.array([0, 1]), 4).shifts
    assert torch.isneginf(shifts[:, 7]).all()
    assert shifts[1, 5] == 0


def test_datasets_hold_each_text_once():
    rows = share_texts([rows_of_few_texts(2000)])
    (dataset,) = batches.build_datasets(batches.split_rows(rows), settings(4)).values()
    texts = rows.select("anchor", "positive", "negatives")
    once = pl.concat([texts["anchor"], texts["positive"], texts["negatives"].explode()]).unique()
    column = dataset.data.table["negative_2"].combine_chunks()
    held = sum(buffer.size for buffer in column.buffers()[2:] if buffer)
    assert held < 2 * once.str.len_bytes().sum()
