"""The whole command on the smallest judged collection."""

import json

import pytest

from benchmarks.negatives import false_negatives
from benchmarks.negatives.false_negatives import main
from benchmarks.negatives.trade_off_tables import mean_ratio
from tests.public_data import public


@pytest.fixture(scope="module")
def ran(tmp_path_factory):
    """The quick path over two seeds: the folder it wrote to."""
    folder = tmp_path_factory.mktemp("results")

    def save(name, result):
        path = folder / f"{name}.json"
        path.write_text(json.dumps(result))
        return path

    arguments = [str(public("adi")), "--quick", "--seeds", "2", "--queries", "12"]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(false_negatives, "save", save)
        patch.setattr("sys.argv", ["false_negatives", *arguments])
        main()
    return folder


@pytest.fixture(scope="module")
def results(ran):
    return json.loads((ran / "false_negatives_quick.json").read_text())


def test_the_settings_say_what_was_swept(results):
    assert results["settings"]["seeds"] == [0, 1]
    assert 0.95 in results["settings"]["values"]["percent"]
    assert results["machine"]["cores"] >= 1


def test_every_method_is_measured(results):
    found = results["collections"]["adi"]
    assert found["queries"] == 12
    assert found["curves"].keys() == results["settings"]["values"].keys()
    points = [point for curve in found["curves"].values() for point in curve]
    assert all(0 <= point.get("false_negatives", 0) <= 1 for point in points)
    naive = found["curves"]["naive"][0]
    assert naive["yield"] == 1
    full = [point["hardness"] for point in points if point["yield"] == 1]
    assert naive["hardness"] == pytest.approx(max(full))


def test_the_reference_is_compared_with_itself(results):
    collections = results["collections"]
    reference = collections["adi"]["at_reference"]["percent"]
    assert (reference["seeds"], reference["ratio"]) == (2, pytest.approx(1))
    assert mean_ratio(collections, "percent", ["adi"]) == pytest.approx(1)
    assert mean_ratio(collections, "percent", ["adi", "med"]) is None


def test_a_picture_is_drawn(ran):
    assert (ran / "false_negatives_quick.png").stat().st_size > 10_000
