"""Output folders: whose they are, and put into their place whole."""

import os
from pathlib import Path

import pytest

from polymine.data_contracts.errors import StoreError
from polymine.data_contracts.references import Manifest, Shard
from polymine.data_contracts.settings import DatasetSettings, OutputSettings
from polymine.tasks.store import output
from polymine.tasks.store.atomic import staged, write_bytes
from polymine.tasks.store.manifests import MANIFEST
from polymine.tasks.store.output import check_output, without_passwords


def output_at(path: Path, **values) -> OutputSettings:
    return OutputSettings(path=str(path), **values)


def run_at(place: Path, run: str = "aaaa", contract: str = "run", **settings) -> Path:
    """An output folder of a run with one file."""
    (place / "triplets").mkdir(parents=True)
    (place / "triplets" / "part-00000.parquet").write_bytes(b"1")
    shard = Shard(name="triplets/part-00000.parquet", rows=1, checksum="")
    info = {"settings": {name: without_passwords(part) for name, part in settings.items()}}
    manifest = Manifest(contract=contract, fingerprint=run, rows=1, shards=(shard,), info=info)
    (place / MANIFEST).write_text(manifest.model_dump_json())
    return place


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


class TestWhatMayBeReplaced:
    def test_nothing_and_an_earlier_output_of_the_same_run(self, tmp_path):
        (tmp_path / "empty").mkdir()
        own = run_at(tmp_path / "own")
        for place in (tmp_path / "new" / "deep", tmp_path / "empty", own):
            check_output(output_at(place), "aaaa")
        check_output(output_at(own))  # before it is known which run this will be

    def test_another_run_only_if_it_may_be_overwritten(self, tmp_path):
        place = run_at(tmp_path / "other", run="bbbb")
        with pytest.raises(StoreError, match=r"holds another run .bbbb.*output.overwrite = true"):
            check_output(output_at(place), "aaaa")
        check_output(output_at(place, overwrite=True), "aaaa")

    @pytest.mark.parametrize("overwrite", [False, True])
    def test_no_files_that_no_run_has_written(self, tmp_path, overwrite):
        thesis = tmp_path / "home"
        thesis.mkdir()
        (thesis / "thesis.tex").write_text("years of work")
        stage = run_at(tmp_path / "stage", contract="exports")
        (thesis / MANIFEST).write_text('{"name": "of another program"}')
        beside = run_at(tmp_path / "run")
        (beside / "model").mkdir()
        (beside / "model" / "adapter.safetensors").write_bytes(b"a night of training")
        for place, said in (
            (thesis, "not a Polymine run"),
            (stage, "not a Polymine run"),
            (beside, "has not written, such as model/adapter"),
        ):
            for run in (None, "aaaa", "bbbb"):
                with pytest.raises(StoreError, match=said):
                    check_output(output_at(place, overwrite=overwrite), run)

    def test_no_run_that_came_while_this_one_was_copied(self, tmp_path, monkeypatch):
        place, source = tmp_path / "out", tmp_path / "source"
        source.write_bytes(b"1")
        copy = output.copy_file

        def copy_slowly(*paths):
            copy(*paths)
            run_at(place, run="bbbb")

        monkeypatch.setattr(output, "copy_file", copy_slowly)
        with pytest.raises(StoreError, match="holds another run"):
            output.publish_folder(output_at(place), {"one": source}, {}, kind="run", run="aaaa")
        assert names(place) == [MANIFEST, "triplets"]
        assert names(tmp_path) == ["out", "source"]

    def test_no_file(self, tmp_path):
        (tmp_path / "file").write_text("")
        with pytest.raises(StoreError, match="a file is in the way"):
            check_output(output_at(tmp_path / "file", overwrite=True))
        with pytest.raises(StoreError, match="a file is in the way of a folder"):
            write_bytes(tmp_path / "file" / "below", b"")

    def test_a_run_of_other_settings_is_known_before_any_work(self, tmp_path):
        mined = DatasetSettings(corpus="a.parquet")
        held = output_at(run_at(tmp_path / "run", dataset=mined))
        check_output(held, settings={"dataset": mined})
        with pytest.raises(StoreError, match=r"dataset.corpus is 'a.parquet', this one's is 'b"):
            check_output(held, settings={"dataset": DatasetSettings(corpus="b.parquet")})

    def test_a_password_is_neither_shown_nor_a_difference(self, tmp_path):
        secret = DatasetSettings(corpus="ftp://ann:secret@host/corpus.parquet")
        assert without_passwords(secret)["corpus"] == "ftp://***@host/corpus.parquet"
        quoted = without_passwords(DatasetSettings(corpus='https://host/x?of="a"', language="de"))
        assert quoted["corpus"].startswith("https://host/x?***")
        assert quoted["language"] == "de"
        held = output_at(run_at(tmp_path / "run", dataset=secret))
        check_output(held, settings={"dataset": secret})


class TestStaged:
    def fill(self, place: Path, content: bytes | None = b"") -> None:
        with staged(place) as beside:
            (beside / "new").write_bytes(b"")
            (beside / "further").write_bytes(content)

    def test_replaces_the_old_folder_whole_or_leaves_it(self, tmp_path):
        place = run_at(tmp_path / "out")
        with pytest.raises(TypeError):
            self.fill(place, None)
        assert names(place) == [MANIFEST, "triplets"]
        self.fill(place)
        assert names(place) == ["further", "new"]
        assert names(tmp_path) == ["out"]

    def test_two_runs_that_publish_at_once_both_end_well(self, tmp_path):
        place = tmp_path / "out"
        with staged(place) as one, staged(place) as two:
            (one / "new").write_bytes(b"")
            (two / "new").write_bytes(b"")
        assert names(place) == ["new"]
        assert names(tmp_path) == ["out"]

    def test_a_folder_that_is_taken_again_and_again(self, tmp_path, monkeypatch):
        place, replace, met = run_at(tmp_path / "out"), os.replace, []

        def taken_before(source, target):
            met.append(source)
            if Path(target) == place and len(met) < 5:
                (place / "of another run").mkdir(parents=True)
            replace(source, target)

        monkeypatch.setattr(os, "replace", taken_before)
        self.fill(place)
        assert names(place) == ["further", "new"]
        assert names(tmp_path) == ["out"]
