"""Datasets: a manifest last, damage found and repaired, full disks."""

import errno
import logging
import os
import subprocess
from pathlib import Path

import dataframely as dy
import numpy as np
import polars as pl
import pytest

from polymine.data_contracts.errors import InputError, StoreError
from polymine.data_contracts.settings import EngineSettings, OutputSettings
from polymine.data_contracts.tables import Documents, PairScores
from polymine.tasks.engine.context import Context
from polymine.tasks.engine.execution import carry_out
from polymine.tasks.engine.plan import Maker, Plan
from polymine.tasks.mining.teachers import index
from polymine.tasks.store.atomic import write_bytes, write_frame
from polymine.tasks.store.datasets import (
    Dataset,
    Store,
    info_of,
    load,
    scan,
    shard_name,
    shard_paths,
)
from polymine.tasks.store.manifests import MANIFEST, RUN
from polymine.tasks.store.output import publish_folder
from tests.small import BM25


class Numbers(dy.Schema):
    number = dy.Int64(primary_key=True, min=0)


def numbers(start: int, stop: int) -> pl.DataFrame:
    return pl.DataFrame({"number": range(start, stop)}, schema={"number": pl.Int64})


@pytest.fixture
def store(tmp_path) -> Store:
    return Store(str(tmp_path / "store"))


def begin(store: Store):
    """Two shards of five numbers, not yet finished."""
    dataset = store.dataset("numbers", "f00d")
    for shard in (0, 1):
        dataset.write(shard_name(shard), numbers(5 * shard, 5 * shard + 5), Numbers)
    return dataset


def names(folder: Path) -> list[str]:
    """All but checksums of shards, which lie there until a manifest has them."""
    return sorted(path.name for path in folder.iterdir() if path.suffix != ".sum")


def test_finished_blocks_of_a_killed_run_are_not_made_again(store, monkeypatch):
    def make(number, order, progress):
        return numbers(5 * number, 5 * number + 5)

    plan = Plan(
        contract="numbers", depends={"name": "five a block"}, blocks=dict.fromkeys(range(3), 5),
        open=lambda run: Maker(make, Numbers),
    )  # fmt: skip
    run, written, write = Context(store, EngineSettings()), [], Dataset.write
    store.dataset("numbers", plan.fingerprint).write(shard_name(1), numbers(5, 10), Numbers)
    monkeypatch.setattr(
        Dataset, "write", lambda self, *rest: written.append(rest[0]) or write(self, *rest)
    )
    assert load(carry_out(run, plan))["number"].to_list() == list(range(15))
    assert written == [shard_name(0), shard_name(2)]
    assert carry_out(run, plan).reused


def test_what_is_many_files_is_rebuilt_as_a_whole(store):
    def write(dataset):
        dataset.write("table/part-00000.parquet", numbers(0, 5), Numbers)
        write_bytes(dataset.folder / "notes.txt", b"of the same block")

    plan = Plan(
        contract="numbers", depends={"name": "two files"}, resumable=False,
        open=lambda run: Maker(lambda *_: write),
    )  # fmt: skip
    run = Context(store, EngineSettings())
    made = carry_out(run, plan)
    whole = {path.name: path.read_bytes() for path in shard_paths(made)}
    for damaged in shard_paths(made):
        damaged.write_bytes(b"x")
        assert not carry_out(run, plan).reused
        assert {path.name: path.read_bytes() for path in shard_paths(made)} == whole
    assert carry_out(run, plan).reused


def test_what_is_only_planned_touches_nothing(store):
    plan = Plan(
        contract="numbers", depends={"name": "planned"},
        open=lambda run: Maker(lambda *_: numbers(0, 5), Numbers),
    )  # fmt: skip
    run, dry = Context(store, EngineSettings()), Context(store, EngineSettings(), dry=True)
    assert not carry_out(dry, plan).reused
    assert not store.folder.exists()
    made = carry_out(run, plan)
    (shard,) = shard_paths(made)
    shard.write_bytes(b"damaged")
    folder = Path(made.path)
    before = {path: path.stat().st_mtime_ns for path in folder.iterdir()}
    assert carry_out(dry, plan).reused
    assert {path: path.stat().st_mtime_ns for path in folder.iterdir()} == before


class TestDataset:
    def test_is_there_only_once_its_manifest_is(self, store):
        dataset = begin(store)
        assert dataset.find() is None
        assert store.finished("numbers", "") == []
        made = dataset.commit({"of": "input"}, {"note": 7})
        found = dataset.find()
        assert (made.rows, made.reused, found.reused) == (10, False, True)
        assert [reference.fingerprint for reference in store.finished("numbers", "")] == ["f00d"]
        assert load(found)["number"].to_list() == list(range(10))
        assert scan(found).collect().equals(load(found))
        assert info_of(found) == {"note": 7}

    def test_shards_come_in_the_order_of_their_numbers(self, store):
        dataset = store.dataset("numbers", "cafe")
        for shard in (11, 2, 0):
            dataset.write(shard_name(shard), numbers(shard, shard + 1), Numbers)
        assert load(dataset.commit())["number"].to_list() == [0, 2, 11]

    def test_dataset_without_rows_keeps_its_columns(self, store):
        empty = store.dataset("numbers", "0").write_single(numbers(0, 0), Numbers)
        assert load(empty).schema == {"number": pl.Int64}
        assert empty.rows == 0

    def test_shard_that_is_expected_and_gone_is_no_part_of_a_finished_dataset(self, store):
        dataset, expected = begin(store), [shard_name(0), shard_name(1)]
        (dataset.folder / expected[1]).unlink()
        with pytest.raises(StoreError, match=r"1 of its files .* part-00001.parquet; run again"):
            dataset.commit(expected=expected)
        assert dataset.find() is None
        dataset.write(expected[1], numbers(5, 10), Numbers)
        assert dataset.commit(expected=expected).rows == 10

    def test_what_is_left_of_a_write_that_was_killed_is_no_part_of_it(self, store):
        dataset = begin(store)
        (dataset.folder / ".part-00002.parquet.1a2b3c4d").write_bytes(b"half")
        assert load(dataset.commit())["number"].len() == 10

    def test_frame_that_breaks_its_contract_is_not_written(self, store):
        dataset = store.dataset("numbers", "bad")
        with pytest.raises(InputError, match=r"numbers/part-00000.* contract Numbers"):
            dataset.write(shard_name(0), pl.DataFrame({"number": [1, -1]}), Numbers)
        with pytest.raises(InputError, match="breaks its contract PairScores"):
            dataset.write(
                shard_name(0),
                pl.DataFrame({"query_hash": [1], "text_hash": [2], "logit": [float("nan")]}),
                PairScores,
            )
        assert not dataset.folder.exists()

    def test_staged_files_join_it_together_or_not_at_all(self, store):
        dataset = store.dataset("models", "f00d")

        def write_half() -> None:
            with dataset.staging() as folder:
                (folder / "weights").write_bytes(b"half")
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

        with pytest.raises(StoreError, match="the disk is full"):
            write_half()
        assert not list(dataset.folder.parent.iterdir())
        with dataset.staging() as folder:
            (folder / "below").mkdir()
            (folder / "below" / "weights").write_bytes(b"whole")
        assert shard_paths(dataset.commit()) == [dataset.folder / "below" / "weights"]
        assert names(dataset.folder.parent) == ["f00d"]

    def test_equal_frames_give_equal_files(self, tmp_path):
        pieces = pl.concat([numbers(0, 3), numbers(3, 9)], rechunk=False)
        for name in ("a.parquet", "a.arrow"):
            write_frame(numbers(0, 9), tmp_path / "whole" / name)
            write_frame(pieces, tmp_path / "pieces" / name)
            whole, cut = ((tmp_path / side / name).read_bytes() for side in ("whole", "pieces"))
            assert whole == cut


class TestDamage:
    @pytest.mark.parametrize("damage", ["cut short", "one bit flipped", "gone"])
    def test_damaged_shard_is_named_and_only_it_is_made_again(self, store, caplog, damage):
        dataset = begin(store)
        made = dataset.commit()
        sound, broken = shard_paths(made)
        content = bytearray(broken.read_bytes())
        if damage == "cut short":
            broken.write_bytes(content[:-20])
        elif damage == "one bit flipped":
            content[len(content) // 2] ^= 1
            broken.write_bytes(content)
        else:
            broken.unlink()
        before = sound.stat().st_mtime_ns
        with caplog.at_level(logging.WARNING, "polymine.store"):
            assert dataset.find() is None
        assert "part-00001.parquet differs from its checksum" in caplog.text
        assert (dataset.has(sound.name), dataset.has(broken.name)) == (True, False)
        assert store.finished("numbers", "") == []

        dataset.write(broken.name, numbers(5, 10), Numbers)
        again = dataset.commit()
        assert load(again)["number"].to_list() == list(range(10))
        assert sound.stat().st_mtime_ns == before

    @pytest.mark.parametrize("content", [b"", b"{", b'{"rows": 3}', b"\xff\xfe"])
    def test_manifest_that_cannot_be_read_is_no_manifest(self, store, caplog, content):
        dataset = begin(store)
        dataset.commit()
        (dataset.folder / MANIFEST).write_bytes(content)
        with caplog.at_level(logging.WARNING, "polymine.store"):
            assert dataset.find() is None
        assert "manifest cannot be read" in caplog.text

    def test_manifest_with_one_bit_flipped_is_no_manifest(self, store, caplog):
        """Numbers in it decide, such as a budget's price: it has a checksum of its own."""
        dataset = begin(store)
        dataset.commit(info={"price": 0.25})
        manifest = dataset.folder / MANIFEST
        manifest.write_bytes(manifest.read_bytes().replace(b"0.25", b"0.75"))
        assert dataset.find() is None
        assert "manifest cannot be read" in caplog.text
        assert not dataset.has(shard_name(0))  # nobody knows its checksum any more

    def test_manifest_of_another_dataset_is_not_believed(self, store, caplog):
        dataset, other = store.dataset("numbers", "a"), store.dataset("numbers", "b")
        for each in (dataset, other):
            each.commit()
        (dataset.folder / MANIFEST).write_bytes((other.folder / MANIFEST).read_bytes())
        assert dataset.find() is None
        assert "its manifest is that of another dataset" in caplog.text

    @pytest.mark.parametrize("length", [100, None])
    def test_shard_that_was_damaged_before_its_dataset_was_finished(self, store, caplog, length):
        dataset = begin(store)
        broken = dataset.folder / shard_name(1)
        broken.write_bytes(b"x" + broken.read_bytes()[1:length])
        assert (dataset.has(shard_name(0)), dataset.has(broken.name)) == (True, False)
        assert "part-00001.parquet differs from its checksum" in caplog.text
        dataset.write(broken.name, numbers(5, 10), Numbers)
        assert dataset.commit().rows == 10
        assert names(dataset.folder) == [MANIFEST, shard_name(0), shard_name(1)]

    def test_dataset_that_is_gone_says_what_to_do(self, store):
        made = begin(store).commit()
        (Path(made.path) / MANIFEST).unlink()
        with pytest.raises(StoreError, match="is gone; run again"):
            load(made)


@pytest.fixture
def small_disk(tmp_path):
    """A disk of one megabyte."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(disk)], capture_output=True
    )
    if mounted.returncode:
        pytest.skip("mounting a small disk is not permitted here")
    yield disk
    subprocess.run(["umount", str(disk)], check=True)


def noise(rows: int) -> pl.DataFrame:
    """Numbers that do not compress: about eight bytes each."""
    drawn = np.random.default_rng(0).choice(1 << 62, size=rows)
    return pl.DataFrame({"number": drawn}).unique(maintain_order=True)


class TestFullDisk:
    def test_shard_that_does_not_fit_leaves_nothing_behind(self, small_disk):
        dataset = Store(str(small_disk)).dataset("numbers", "f00d")
        dataset.write(shard_name(0), numbers(0, 5), Numbers)
        for name in (shard_name(1), "part-00001.arrow"):
            with pytest.raises(StoreError, match=r"the disk is full.*run again") as caught:
                dataset.write(name, noise(400_000), Numbers)
            assert str(dataset.folder / name) in str(caught.value)
        assert names(dataset.folder) == [shard_name(0)]
        assert dataset.find() is None

    def test_manifest_that_does_not_fit_leaves_the_dataset_unfinished(self, small_disk):
        with pytest.raises(StoreError, match="the disk is full"):
            write_bytes(small_disk / MANIFEST, bytes(3 << 20))
        assert names(small_disk) == []

    def test_output_that_does_not_fit_vanishes(self, small_disk):
        output = OutputSettings(path=str(small_disk / "runs" / "one"))
        with pytest.raises(StoreError, match="the disk is full"):
            publish_folder(output, {"large": bytes(3 << 20)}, {}, kind=RUN, run="aaaa")
        assert names(small_disk / "runs") == []

    @pytest.mark.parametrize("length", [60, 300])  # its words do not fit, or its numbers
    def test_index_that_does_not_fit_is_no_index(self, small_disk, tmp_path, length):
        words = (f"w{number}" for number in range(1000 * length))
        texts = [" ".join(next(words) for _ in range(length)) for _ in range(1000)]
        documents = pl.DataFrame(
            {"doc_id": [f"d{n:04}" for n in range(1000)], "text": texts}
        ).with_columns(
            title=pl.lit(None, pl.String), language=pl.lit("en"), group_id=pl.lit(None, pl.String)
        )
        corpus = Store(str(tmp_path / "store")).dataset("documents", "d")
        made = corpus.write_single(documents, Documents)
        store = Store(str(small_disk))
        with pytest.raises(StoreError, match="the disk is full"):
            index(Context(Store(str(small_disk)), EngineSettings()), BM25, made)
        assert store.finished("index", "") == []
        assert names(small_disk / "index") == []

    def test_error_while_a_file_gets_its_name(self, tmp_path, monkeypatch):
        def full(source, target):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

        dataset = begin(Store(str(tmp_path)))
        monkeypatch.setattr(os, "replace", full)
        with pytest.raises(StoreError, match="the disk is full"):
            dataset.commit()
        monkeypatch.undo()
        assert names(dataset.folder) == [shard_name(0), shard_name(1)]
        assert dataset.find() is None
