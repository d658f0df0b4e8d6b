"""A language temperature evens out the language pairs of a part, and nothing else."""

import logging

import numpy as np
import polars as pl
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError
from torch.utils.data import ConcatDataset

from polymine.data_contracts.learning import TrainingRows
from polymine.data_contracts.settings import ScheduleSettings, StepSettings, TrainingData
from polymine.tasks.store.datasets import Store
from polymine.tasks.training.rows import check_rows
from polymine.training import batches
from tests.small import save_small_encoder
from tests.training.test_trainer import Killed, KilledAt, make_rows, make_step, same, train, weights

TWO = (TrainingData(parallel="x", share=0.25), TrainingData(parallel="y", share=0.75))


def at(temperature: float, **given) -> StepSettings:
    step = make_step(**given)
    schedule = step.schedule.model_copy(update={"language_temperature": temperature})
    return step.model_copy(update={"schedule": schedule})


def parts_of(sizes: dict[str, int]) -> dict[str, pl.DataFrame]:
    return {name: pl.DataFrame({"row": range(count)}) for name, count in sizes.items()}


@given(
    st.lists(st.integers(2, 100_000), min_size=1, max_size=12),
    st.lists(st.integers(2, 100_000), min_size=1, max_size=12),
    st.sampled_from([1, 2, 5, 100]),
)
def test_shares_are_those_of_the_formula(first, second, temperature):
    sizes = {f"data-0 | l{i} | en": n for i, n in enumerate(first)}
    sizes |= {f"data-1 | l{i} | en": n for i, n in enumerate(second)}
    shares = batches.share_parts(parts_of(sizes), at(temperature, data=TWO))
    expected = []
    for rows, own in ((first, 0.25), (second, 0.75)):
        smoothed = np.array(rows, float) ** (1 / temperature)
        expected += (own * smoothed / smoothed.sum()).tolist()
    np.testing.assert_allclose(list(shares.values()), expected, rtol=1e-12)
    if temperature == 1:  # to the bit as by rows, so that batches stay what they were
        by_rows = [own * n / sum(rows) for rows, own in ((first, 0.25), (second, 0.75))
                   for n in rows]  # fmt: skip
        assert list(shares.values()) == by_rows


def test_rows_without_negatives_count_with_those_of_their_pair():
    sizes = {"data-0 | en | en": 300, "data-0 | en | en | pairs": 100, "data-0 | ru | ru": 16}
    shares = batches.share_parts(parts_of(sizes), at(2))
    english = 20 / 24  # of the roots of 400 and 16
    np.testing.assert_allclose(list(shares.values()), [english * 0.75, english * 0.25, 4 / 24])


def test_rows_are_read_as_often_as_is_said():
    sizes = {("en", "en"): 12, ("ru", "ru"): 8, ("fa", "fa"): 3}
    rows = pl.concat(make_rows(document=d, query=q, count=n) for (d, q), n in sizes.items())
    step = at(100, steps=90)
    parts = batches.split_rows(rows)
    datasets, shares = batches.build_datasets(parts, step), batches.share_parts(parts, step)
    samplers = [
        batches.sample_without_copies(part, 4, True, ["label"], torch.Generator(), 0)
        for part in datasets.values()
    ]
    whole = ConcatDataset(list(datasets.values()))
    plan = batches.SharedBatches(
        whole, samplers, torch.Generator(), 0, shares=tuple(shares.values()), steps=90
    )
    read = np.bincount([row for batch in plan for row in batch])
    counts = {name: len(part) for name, part in parts.items()}
    said = batches.count_passes(counts, shares, 90, 4)
    ends = np.cumsum(list(counts.values()))[:-1]
    for found, (name, passes) in zip(np.split(read, ends), said.items(), strict=True):
        assert found.mean() == pytest.approx(passes, rel=0.05), name
        assert found.max() - found.min() <= 1
    assert said["data-0 | fa | fa"] == pytest.approx(90 * 3 / 3 / 3, rel=0.02)  # batches of three


def test_passes_of_mixed_batches_are_those_of_the_whole_part():
    rows = {"data-0 | en | en": 90, "data-0 | ru | ru": 10, "data-0 | ru | ru | pairs": 5}
    shares = {"data-0 | mixed | mixed": 0.8, "data-0 | mixed | mixed | pairs": 0.2}
    said = batches.count_passes(rows, shares, 50, 10)
    assert said == dict(zip(rows, [4.0, 4.0, 10.0], strict=True))


def test_an_interrupted_step_ends_with_the_same_bytes(tmp_path):
    base = save_small_encoder(tmp_path / "base")
    rows = pl.concat([make_rows(), make_rows(document="ru", query="ru", count=3)])
    rows = rows.with_columns(row=pl.int_range(pl.len(), dtype=pl.UInt32))
    step = at(5, steps=7)
    whole = train(step, rows, base, tmp_path / "whole")
    with pytest.raises(Killed):
        train(step, rows, base, tmp_path / "cut", progress=KilledAt(5))
    assert same(weights(whole), weights(train(step, rows, base, tmp_path / "cut")))
    assert not same(weights(whole), weights(train(at(1, steps=7), rows, base, tmp_path / "even")))


def test_how_often_rows_will_be_read_is_told_before_training(tmp_path, caplog):
    rows = pl.concat([make_rows(), make_rows(document="ru", query="ru", count=3)])
    rows = TrainingRows.validate(
        rows.with_columns(row=pl.int_range(pl.len(), dtype=pl.UInt32)), cast=True
    )
    place = Store(str(tmp_path)).dataset("training-rows", f"{0:032}")
    reference = place.write_single(rows, TrainingRows, info={})
    with caplog.at_level(logging.INFO, "polymine.training"):
        check_rows(at(1, steps=30), reference)
        assert not caplog.messages
        check_rows(at(2, steps=30), reference)
    assert caplog.messages == [
        "mono: at a language temperature of 2 each row is read about so many times: "
        "6.7 of data-0 | en | en (12), 10.0 of data-0 | ru | ru (3)"
    ]


def test_mixed_batches_have_no_language_pairs_to_even_out():
    with pytest.raises(ValidationError, match="leave out one of the two"):
        ScheduleSettings(mixed_languages=True, language_temperature=5)
    with pytest.raises(ValidationError, match="greater than or equal to 1"):
        ScheduleSettings(language_temperature=0.5)
