"""A finished run in further shapes: equal to what the run would have written, or a clear error."""

from pathlib import Path

import polars as pl
import pytest

import polymine
from polymine.data_contracts.errors import SettingsError, StoreError
from polymine.data_contracts.references import Manifest
from polymine.mining.export import build_view
from polymine.tasks.mining.trainer_formats import TrainerFiles
from polymine.tasks.runs.exporting import FORMATS, VIEWS, check_shape
from polymine.tasks.store.atomic import write_frame
from polymine.tasks.store.manifests import MANIFEST, RUN, describe_shard
from tests.mining.small_triplets import TWO

BLOCKS = [TWO.filter(query_id="q"), TWO.filter(query_id="r")]
FINGERPRINT = "f" * 32


def write_run(folder: Path, blocks: list[pl.DataFrame], contract: str = RUN) -> Path:
    """What a run leaves behind, as far as it is read again."""
    for number, block in enumerate(blocks):
        write_frame(block, folder / "triplets" / f"part-{number:05d}.parquet")
        write_frame(block.select("query_id"), folder / "shortfalls" / f"part-{number:05d}.parquet")
    files = sorted(folder.rglob("*.parquet"))
    manifest = Manifest(
        contract=contract,
        fingerprint=FINGERPRINT,
        rows=sum(map(len, blocks)),
        shards=tuple(describe_shard(path, folder) for path in files),
        info={"settings": {"mining": {"negatives": 2}}},
    )
    (folder / MANIFEST).write_text(manifest.model_dump_json())
    return folder


@pytest.fixture
def run(tmp_path) -> Path:
    return write_run(tmp_path / "run", BLOCKS)


def contents(folder: Path) -> dict[str, bytes]:
    paths = (path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in paths}


@pytest.mark.parametrize("form", FORMATS)
def test_format_has_the_bytes_the_run_would_have_written(run, tmp_path, form):
    files = TrainerFiles(tmp_path / "direct", form, FINGERPRINT)
    written = sum(files.write_block(number, block) for number, block in enumerate(BLOCKS))
    before = contents(run)
    assert polymine.open(run).export(form, tmp_path / "out").records == written
    assert contents(tmp_path / "out") == contents(tmp_path / "direct")
    assert contents(run) == before


@pytest.mark.parametrize("view", VIEWS)
def test_view_takes_its_number_of_negatives_from_the_run(run, tmp_path, view):
    expected = pl.concat([build_view(block, view, 2) for block in BLOCKS])
    assert polymine.open(run).export(view, tmp_path / "out").records == len(expected)
    assert pl.read_parquet(tmp_path / "out" / "*.parquet").equals(expected)
    assert polymine.open(run).to_dataset(view).to_polars().equals(expected)


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("flagembeding", "did you mean `flagembedding`?"),
        ("FlagEmbedding", "did you mean `flagembedding`?"),
        ("swift", "did you mean `ms-swift`?"),
        ("ntuple", "did you mean `n-tuple`?"),
        ("zzz", "for other trainers: flagembedding, tevatron, nemo, ms-swift"),
    ],
)
def test_unknown_format_is_answered_with_the_nearest(name, said):
    with pytest.raises(SettingsError) as error:
        check_shape(name)
    assert said in str(error.value)


def test_run_without_triplets_is_refused(tmp_path):
    run = write_run(tmp_path / "run", [TWO.clear()])
    with pytest.raises(StoreError, match=r"no triplets; its shortfalls/ say why"):
        polymine.open(run).export("tevatron", tmp_path / "out")


def test_shape_that_comes_out_empty_leaves_nothing(tmp_path):
    run = write_run(tmp_path / "run", [TWO.filter(query_id="r")])  # one negative, two are wanted
    with pytest.raises(StoreError, match="make no record of n-tuple"):
        polymine.open(run).export("n-tuple", tmp_path / "out")
    assert [path.name for path in tmp_path.iterdir()] == ["run"]


def test_damaged_triplets_are_named(run, tmp_path):
    (run / "shortfalls" / "part-00000.parquet").unlink()  # of no interest here
    assert polymine.open(run).export("tevatron", tmp_path / "out").records
    (run / "triplets" / "part-00001.parquet").write_bytes(b"PAR1")
    with pytest.raises(StoreError, match=r"part-00001.parquet: missing or not as the run wrote it"):
        polymine.open(run).export("tevatron", tmp_path / "again")


def test_target_that_exists_or_lies_in_the_run_is_refused(run, tmp_path):
    (tmp_path / "there").mkdir()
    with pytest.raises(StoreError, match="already there"):
        polymine.open(run).export("nemo", tmp_path / "there")
    with pytest.raises(StoreError, match="lies in the run's own folder"):
        polymine.open(run).export("nemo", run / "nemo")
    assert polymine.open(run).export("nemo").folder == tmp_path / "run-nemo"
